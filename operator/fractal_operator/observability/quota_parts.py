"""The rate limit: its row of the dashboard, and the alert about it."""

from fractal_operator.observability.alert import Alert
from fractal_operator.observability.panel import Panel, Query, Row, one, quantiles

QUOTAS = Row(
    "Rate limit",
    (
        Panel(
            "Objects that wait for their turn",
            "Launches (RunTask) and stops (StopTask) that wait for a token; namespaces in turns.",
            "short",
            one(
                "max by (region, operation) (fractal_permits_waiting{})", "{{operation}} {{region}}"
            ),
        ),
        Panel(
            "The longest wait",
            "Of the object that waits for longest now. An alert fires at 15 minutes.",
            "s",
            one(
                "max by (region, operation) (fractal_permits_oldest_wait_seconds{})",
                "{{operation}} {{region}}",
            ),
            alarming=900,
        ),
        Panel(
            "Waits that are over",
            "How long objects waited for their turn, of those that had to.",
            "s",
            quantiles("fractal_permit_wait_duration_seconds{}", by="operation"),
        ),
        Panel(
            "Tokens at hand",
            "Calls that may be made at once, by quota group; below 0 they are owed.",
            "short",
            one(
                "min by (region, group, reserve) (fractal_aws_quota_tokens{})",
                "{{group}} {{reserve}} {{region}}",
            ),
        ),
        Panel(
            "Throttles, and the rate that is left",
            "Throttle replies by quota group; after one its bucket is refilled more slowly.",
            "ops",
            (
                Query(
                    "sum by (region, group)"
                    " (rate(fractal_aws_throttles_total{}[$__rate_interval]))",
                    "throttled {{group}} {{region}}",
                ),
                Query(
                    "sum by (region, group) (fractal_aws_quota_tokens_per_second{"
                    'group=~"cluster-modify|fargate-launch"})',
                    "refilled {{group}} {{region}}",
                ),
            ),
        ),
    ),
)

QUOTA_ALERTS: tuple[Alert, ...] = (
    Alert(
        "FractalQuotaWait",
        "warning",
        "5m",
        "max by (job, namespace, region, operation) (fractal_permits_oldest_wait_seconds) > 900",
        "Launches or stops wait long for the rate limit.",
        "An object has waited for {{ $value | humanizeDuration }} for its {{ $labels.operation }}"
        " in {{ $labels.region }}.",
    ),
)
