"""Task events: their row of the dashboard, and the alerts about them."""

from fractal_operator.observability.alert import Alert
from fractal_operator.observability.panel import Panel, Query, Row, one

EVENTS = Row(
    "Task events",
    (
        Panel(
            "Relied on",
            "1 while sweeps are an audit. No line without a queue.",
            "bool",
            one("min by (queue) (fractal_events_healthy{})", "{{queue}}"),
        ),
        Panel(
            "Lag of events",
            "Age of the newest message of the last batch. From 60 s on the sweeps take over.",
            "s",
            one("max(fractal_events_lag_seconds{})", "lag"),
            alarming=60,
        ),
        Panel(
            "Messages by what they were",
            "Of ECS's some six for each life of a task; known are the second ones, or late.",
            "ops",
            one(
                "sum by (result) (rate(fractal_events_total{}[$__rate_interval]))",
                "{{result}}",
            ),
            stacked=True,
        ),
        Panel(
            "What went wrong",
            "Changes that no event told of; messages that were not deleted; batches that broke.",
            "ops",
            (
                Query("sum(rate(fractal_events_missed_total{}[$__rate_interval]))", "missed"),
                Query("sum(rate(fractal_events_undeleted_total{}[$__rate_interval]))", "undeleted"),
                Query("sum(rate(fractal_events_crashes_total{}[$__rate_interval]))", "crashed"),
            ),
        ),
    ),
)

EVENT_ALERTS: tuple[Alert, ...] = (
    Alert(
        "FractalEventsUnhealthy",
        "warning",
        "15m",
        "min by (job, namespace, queue) (fractal_events_healthy) == 0",
        "Task events cannot be relied on.",
        "Sweeps do without the queue {{ $labels.queue }}: ends are told of later,"
        " and ECS is asked more often.",
    ),
    Alert(
        "FractalEventsUnreadable",
        "warning",
        "",
        'sum by (job, namespace) (increase(fractal_events_total{result="unreadable"}[15m])) > 0\n'
        "or sum by (job, namespace) (increase(fractal_events_crashes_total[15m])) > 0",
        "The queue of task events holds what the operator cannot read.",
        "Somebody else writes to the queue of {{ $labels.namespace }}/{{ $labels.job }},"
        " or its events have changed their form.",
    ),
)
