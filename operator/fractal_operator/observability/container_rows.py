"""The dashboard's upper rows: what runs, what starts and ends, and the reconciles behind it."""

from fractal_operator.observability.panel import Panel, Query, Row, one, quantiles

_MINE = '{controller="fractalcontainer"}'
_QUEUE = '{name="fractalcontainer"}'

RUNNING = Row(
    "What runs",
    (
        Panel(
            "Running",
            "FractalContainers whose task runs.",
            "short",
            one('max(fractal_containers{phase="Running"})'),
            kind="stat",
        ),
        Panel(
            "Stalled",
            "Objects that need a person: kubectl get fc -A, and see the condition's message.",
            "short",
            one('max(fractal_container_conditions{type="Stalled",status="True"})'),
            kind="stat",
            alarming=1,
        ),
        Panel(
            "Duplicate tasks",
            "Second live tasks seen for one attempt. Anything but 0 is a bug or a second operator.",
            "short",
            one("max(fractal_duplicate_tasks_total{})"),
            kind="stat",
            alarming=1,
        ),
        Panel(
            "Clusters with launches paused",
            "ECS clusters where too many tasks vanished at once (FRACTAL_CONFIRM_MASS_LOSS).",
            "short",
            one("max(fractal_launches_paused{})"),
            kind="stat",
            alarming=1,
        ),
        Panel(
            "Orphans held",
            "1: so many tasks have no object that none of them is stopped (docs/orphans.md).",
            "short",
            one("max(fractal_reaper_held{})"),
            kind="stat",
            alarming=1,
        ),
        Panel(
            "Orphans by kind",
            "task: lives without an object, and is stopped; unproven: the same, but left alone; "
            "object: its task has vanished; row: closed by the last audit.",
            "short",
            one("max by (kind) (fractal_orphans{})", "{{kind}}"),
        ),
        Panel(
            "Another installation's objects",
            "Selected here, and looked after by another installation (docs/splitting.md).",
            "short",
            one("max(fractal_objects_elsewhere{})"),
        ),
        Panel(
            "Containers by phase",
            "FractalContainers by status.phase.",
            "short",
            one("max by (phase) (fractal_containers{})", "{{phase}}"),
            stacked=True,
        ),
        Panel(
            "Containers by condition",
            "How many objects have each condition, and with which status.",
            "short",
            one("max by (type, status) (fractal_container_conditions{})", "{{type}}={{status}}"),
        ),
        Panel(
            "Deletions under way",
            "Age of the oldest deletion; a drain takes up to 7 minutes, 15 are too many.",
            "s",
            one("max(fractal_oldest_deletion_seconds{})", "oldest"),
            alarming=900,
        ),
        Panel(
            "Stuck deletions",
            "Objects in deletion whose task ECS has not confirmed as stopped for 5 minutes.",
            "short",
            one("max(fractal_stuck_deletions{})", "stuck"),
            alarming=1,
        ),
    ),
)

LIVES = Row(
    "Launches and ends",
    (
        Panel(
            "Launches by result",
            "RunTask calls: launched, adopted (it existed), failed (no room), throttled, rejected, "
            "unknown (no answer).",
            "ops",
            one("sum by (result) (rate(fractal_launches_total{}[$__rate_interval]))", "{{result}}"),
            stacked=True,
        ),
        Panel(
            "Time to Ready",
            "From the first launch call of an attempt to Ready.",
            "s",
            quantiles("fractal_container_start_duration_seconds{}"),
        ),
        Panel(
            "Ends by stop code",
            "Ended attempts by ECS's stop code, or the operator's own.",
            "ops",
            one(
                "sum by (stop_code)"
                " (rate(fractal_container_terminations_total{}[$__rate_interval]))",
                "{{stop_code}}",
            ),
            stacked=True,
        ),
        Panel(
            "Ends by reason",
            "Ended attempts by the reason that status and Events name.",
            "ops",
            one(
                "sum by (reason) (rate(fractal_container_terminations_total{}[$__rate_interval]))",
                "{{reason}}",
            ),
            stacked=True,
        ),
        Panel(
            "Stops by reason",
            "StopTask calls by what they were for.",
            "ops",
            one("sum by (reason) (rate(fractal_stops_total{}[$__rate_interval]))", "{{reason}}"),
            stacked=True,
        ),
    ),
)

RECONCILES = Row(
    "Reconciles",
    (
        Panel(
            "Reconciles by result",
            "requeue_after: it looks again by itself later; error: it is tried again soon.",
            "ops",
            one(
                "sum by (result)"
                f" (rate(controller_runtime_reconcile_total{_MINE}[$__rate_interval]))",
                "{{result}}",
            ),
            stacked=True,
        ),
        Panel(
            "Share of failed reconciles",
            "An alert fires at 10 %. Panics are exceptions that nobody foresaw: bugs.",
            "percentunit",
            (
                Query(
                    f"sum(rate(controller_runtime_reconcile_errors_total{_MINE}[$__rate_interval]))"
                    f" / sum(rate(controller_runtime_reconcile_total{_MINE}[$__rate_interval]))",
                    "errors",
                ),
                Query(
                    f"sum(rate(controller_runtime_reconcile_panics_total{_MINE}[$__rate_interval]))"
                    f" / sum(rate(controller_runtime_reconcile_total{_MINE}[$__rate_interval]))",
                    "panics",
                ),
            ),
            alarming=0.1,
        ),
        Panel(
            "Length of a reconcile",
            "Its calls included; it never waits for ECS to get something done.",
            "s",
            quantiles(f"controller_runtime_reconcile_time_seconds{_MINE}"),
        ),
        Panel(
            "Workers",
            "Reconciles that run now, and how many may (FRACTAL_WORKERS).",
            "short",
            (
                Query(f"sum(controller_runtime_active_workers{_MINE})", "active"),
                Query(f"max(controller_runtime_max_concurrent_reconciles{_MINE})", "most"),
            ),
        ),
    ),
)

QUEUE = Row(
    "Work queue",
    (
        Panel(
            "Depth",
            "Keys that are ready and wait for a worker.",
            "short",
            one(f"sum(workqueue_depth{_QUEUE})", "ready"),
        ),
        Panel(
            "Adds and retries",
            "Keys added, duplicates included; and keys added again after an error.",
            "ops",
            (
                Query(f"sum(rate(workqueue_adds_total{_QUEUE}[$__rate_interval]))", "adds"),
                Query(f"sum(rate(workqueue_retries_total{_QUEUE}[$__rate_interval]))", "retries"),
            ),
        ),
        Panel(
            "Wait in the queue",
            "From a key's being ready to its being taken.",
            "s",
            quantiles(f"workqueue_queue_duration_seconds{_QUEUE}"),
        ),
        Panel(
            "Work on a key",
            "From a key's being taken to its being done.",
            "s",
            quantiles(f"workqueue_work_duration_seconds{_QUEUE}"),
        ),
        Panel(
            "Longest work under way",
            "Time spent so far on the key being worked on the longest, and on all together.",
            "s",
            (
                Query(f"max(workqueue_longest_running_processor_seconds{_QUEUE})", "longest"),
                Query(f"sum(workqueue_unfinished_work_seconds{_QUEUE})", "all"),
            ),
            alarming=300,
        ),
    ),
)
