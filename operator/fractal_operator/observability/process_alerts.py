"""Alerts about the operator itself: whether it runs, leads, looks, decides and keeps up."""

from fractal_operator.observability.alert import Alert, share

_MINE = '{controller="fractalcontainer"}'
"""controller-runtime's names are other controllers' names, too."""
_QUEUE = '{name="fractalcontainer"}'

PROCESS: tuple[Alert, ...] = (
    Alert(
        "FractalOperatorDown",
        "critical",
        "5m",
        'up{job=~".*fractal-operator.*"} == 0',
        "The operator does not answer Prometheus.",
        "{{ $labels.instance }} of {{ $labels.namespace }}/{{ $labels.job }}"
        " has not answered for 5 minutes.",
    ),
    Alert(
        "FractalOperatorAbsent",
        "critical",
        "10m",
        "absent(fractal_build_info)",
        "Prometheus knows no operator.",
        "No operator has been scraped for 10 minutes: none runs, or none is discovered.",
    ),
    Alert(
        "FractalOperatorRestarts",
        "warning",
        "",
        "changes(process_start_time_seconds[30m]) > 3"
        " and on (job, namespace, instance) fractal_build_info",
        "The operator starts again and again.",
        "{{ $labels.instance }} has started {{ $value }} times in 30 minutes.",
    ),
    Alert(
        "FractalNoLeader",
        "critical",
        "2m",
        "max by (job, namespace) (leader_election_master_status) < 1",
        "No replica of the operator leads.",
        "Replicas of {{ $labels.namespace }}/{{ $labels.job }} run,"
        " but none has held the lease for 2 minutes.",
    ),
    Alert(
        "FractalEventLoopBlocked",
        "warning",
        "10m",
        "histogram_quantile(0.99, sum by (job, namespace, le)"
        " (rate(fractal_event_loop_lag_seconds_bucket[5m]))) > 1",
        "The operator's event loop is blocked.",
        "What sleeps is woken {{ $value | humanizeDuration }} late (99th percentile).",
    ),
    Alert(
        "FractalReconcileErrors",
        "warning",
        "10m",
        share(
            f"controller_runtime_reconcile_errors_total{_MINE}",
            f"controller_runtime_reconcile_total{_MINE}",
            "5m",
            0.1,
        ),
        "Many reconciles fail.",
        "{{ $value | humanizePercentage }} of the reconciles"
        " of {{ $labels.namespace }}/{{ $labels.job }} fail.",
    ),
    Alert(
        "FractalReconcilePanics",
        "warning",
        "",
        f"increase(controller_runtime_reconcile_panics_total{_MINE}[15m]) > 0",
        "A reconcile met an error that nobody foresaw.",
        "{{ $labels.instance }} logged an unforeseen exception: a bug of the operator.",
    ),
    Alert(
        "FractalQueueStuck",
        "critical",
        "5m",
        f"max by (job, namespace) (workqueue_longest_running_processor_seconds{_QUEUE}) > 300\n"
        f"or max by (job, namespace) (min_over_time(workqueue_depth{_QUEUE}[10m])) > 0\n"
        "  unless sum by (job, namespace)"
        f" (rate(workqueue_work_duration_seconds_count{_QUEUE}[10m])) > 0",
        "The work queue does not move.",
        "Keys of {{ $labels.namespace }}/{{ $labels.job }} wait and none is done,"
        " or one has been worked on for 5 minutes.",
    ),
    Alert(
        "FractalSweepStale",
        "critical",
        "5m",
        "max by (job, namespace) (fractal_sweep_age_seconds) > 600",
        "An ECS cluster has not been looked at for long.",
        "The last complete sweep of a cluster was {{ $value | humanizeDuration }} ago.",
    ),
    Alert(
        "FractalStandstill",
        "warning",
        "",
        "max by (job, namespace, watchdog) (max_over_time(fractal_watchdog_seconds[15m])\n"
        "  / max_over_time(fractal_watchdog_limit_seconds[15m])) > 0.8",
        "A part of the operator stands still.",
        "The watchdog {{ $labels.watchdog }} of {{ $labels.namespace }}/{{ $labels.job }} has found"
        " {{ $value | humanizePercentage }} of its limit, at which the process ends.",
    ),
)
