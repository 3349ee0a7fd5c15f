"""The dashboard's lower rows: AWS, Kubernetes, PostgreSQL, sweeps, and the process itself."""

from fractal_operator.observability.panel import Panel, Query, Row, one, quantiles

AWS = Row(
    "AWS",
    (
        Panel(
            "Calls by operation",
            "Calls that were sent; retries within a call are one.",
            "reqps",
            one(
                "sum by (operation) (rate(fractal_aws_requests_total{}[$__rate_interval]))",
                "{{operation}}",
            ),
            stacked=True,
        ),
        Panel(
            "Errors by code",
            "Calls that AWS refused, or that never came back.",
            "reqps",
            one(
                "sum by (operation, code)"
                ' (rate(fractal_aws_requests_total{code!="OK"}[$__rate_interval]))',
                "{{operation}} {{code}}",
            ),
            stacked=True,
        ),
        Panel(
            "Throttled and refused calls",
            "Throttled by AWS; refused for want of rights; not sent for want of a token.",
            "reqps",
            (
                Query("sum(rate(fractal_aws_throttled_total{}[$__rate_interval]))", "throttled"),
                Query("sum(rate(fractal_aws_denied_total{}[$__rate_interval]))", "denied"),
                Query("sum(rate(fractal_aws_unsent_total{}[$__rate_interval]))", "unsent"),
            ),
        ),
        Panel(
            "Length of a call (p95)",
            "With its retries, without the wait for the own rate limit.",
            "s",
            quantiles("fractal_aws_request_duration_seconds{}", by="operation"),
        ),
        Panel(
            "Wait for the own rate limit (p95)",
            "Time a call waited for a token of its quota group (FRACTAL_QUOTA_SHARE).",
            "s",
            quantiles("fractal_aws_wait_duration_seconds{}", by="operation"),
        ),
    ),
)

LOOKING = Row(
    "Sweeps and watch",
    (
        Panel(
            "Age of the last complete sweep",
            "Of the ECS cluster that waits longest for one. An alert fires at 10 minutes.",
            "s",
            one("max(fractal_sweep_age_seconds{})", "oldest"),
            alarming=600,
        ),
        Panel(
            "Time since any sweep succeeded",
            "Whether sweeps succeed at all.",
            "s",
            one("time() - max(fractal_sweep_last_success_timestamp_seconds{} > 0)", "age"),
            alarming=600,
        ),
        Panel(
            "Length of a sweep",
            "Of all tasks of a cluster, 100 a call.",
            "s",
            quantiles("fractal_sweep_duration_seconds{}"),
        ),
        Panel(
            "Time since the watch told something",
            "Long only while no FractalContainer changes, or when the watch is dead.",
            "s",
            one(
                "time() - max by (instance) (fractal_watch_last_event_timestamp_seconds{} > 0)",
                "{{instance}}",
            ),
        ),
        Panel(
            "Watchdogs: share of the limit",
            "For how long a part has stood still though it should not. At 100 % the process ends.",
            "percentunit",
            one(
                "max by (watchdog) (fractal_watchdog_seconds{} / fractal_watchdog_limit_seconds{})",
                "{{watchdog}}",
            ),
            alarming=0.8,
        ),
    ),
)

KUBERNETES = Row(
    "Kubernetes API",
    (
        Panel(
            "Calls by verb and resource",
            "The operator's own calls; the watch is not among them.",
            "reqps",
            one(
                "sum by (verb, resource) (rate(fractal_kube_requests_total{}[$__rate_interval]))",
                "{{verb}} {{resource}}",
            ),
            stacked=True,
        ),
        Panel(
            "Calls that did not succeed",
            "409 and 422 are lost races, which are read and decided again; 404: it was gone.",
            "reqps",
            one(
                "sum by (verb, code)"
                ' (rate(fractal_kube_requests_total{code!~"2.."}[$__rate_interval]))',
                "{{verb}} {{code}}",
            ),
            stacked=True,
        ),
    ),
)

DATABASE = Row(
    "PostgreSQL",
    (
        Panel(
            "Lag",
            "Age of the oldest record that waits to be written.",
            "s",
            one("max(fractal_db_lag_seconds{})", "lag"),
            alarming=300,
        ),
        Panel(
            "Records that wait",
            "Rows and history that no transaction holds yet.",
            "short",
            one("max(fractal_db_outbox_depth{})", "waiting"),
        ),
        Panel(
            "Failures",
            "Transactions that failed and are tried again; records that are refused for good.",
            "ops",
            (
                Query("sum(rate(fractal_db_errors_total{}[$__rate_interval]))", "failed"),
                Query("sum(rate(fractal_db_refused_records_total{}[$__rate_interval]))", "refused"),
            ),
        ),
        Panel(
            "Length of a write",
            "Of a transaction that wrote records.",
            "s",
            quantiles("fractal_db_write_duration_seconds{}"),
        ),
        Panel(
            "Pruned",
            "Rows of what was over longer than FRACTAL_HISTORY_DAYS ago, deleted in an hour.",
            "short",
            one("sum(increase(fractal_db_pruned_rows_total{}[1h]))", "rows"),
        ),
    ),
)

PROCESS = Row(
    "The operator itself",
    (
        Panel(
            "Leader",
            "1 for the replica that leads. No line without leader election.",
            "bool",
            one("max by (instance) (leader_election_master_status{})", "{{instance}}"),
        ),
        Panel(
            "Releases",
            "Replicas by the release that they run.",
            "short",
            one("count by (version) (fractal_build_info{})", "{{version}}"),
        ),
        Panel(
            "Running since",
            "Time since the start; a saw shows crashes.",
            "s",
            one(
                "time() - process_start_time_seconds{}"
                " and on (job, namespace, instance) fractal_build_info{}",
                "{{instance}}",
            ),
        ),
        Panel(
            "CPU",
            "Cores in use. One is the most that one event loop can use.",
            "short",
            one(
                "rate(process_cpu_seconds_total{}[$__rate_interval])"
                " and on (job, namespace, instance) fractal_build_info{}",
                "{{instance}}",
            ),
        ),
        Panel(
            "Memory",
            "Resident set.",
            "bytes",
            one(
                "process_resident_memory_bytes{}"
                " and on (job, namespace, instance) fractal_build_info{}",
                "{{instance}}",
            ),
        ),
        Panel(
            "Event loop lag (p99)",
            "How late what slept is woken: every reconcile and probe is as late.",
            "s",
            one(
                "histogram_quantile(0.99, sum by (le, instance)"
                " (rate(fractal_event_loop_lag_seconds_bucket{}[$__rate_interval])))",
                "{{instance}}",
            ),
            alarming=1,
        ),
    ),
)
