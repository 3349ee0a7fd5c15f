"""Alerts about what the operator depends on: AWS, the Kubernetes API, PostgreSQL."""

from fractal_operator.observability.alert import Alert, share

OUTSIDE: tuple[Alert, ...] = (
    Alert(
        "FractalAwsThrottling",
        "warning",
        "10m",
        share(
            "fractal_aws_throttled_total",
            "fractal_aws_requests_total",
            "5m",
            0.05,
            by="job, namespace, operation",
        ),
        "AWS throttles the operator.",
        "{{ $value | humanizePercentage }} of the calls of {{ $labels.operation }} are throttled.",
    ),
    Alert(
        "FractalAwsErrors",
        "warning",
        "10m",
        share('fractal_aws_requests_total{code!="OK"}', "fractal_aws_requests_total", "5m", 0.1),
        "Many AWS calls fail.",
        "{{ $value | humanizePercentage }} of the AWS calls"
        " of {{ $labels.namespace }}/{{ $labels.job }} fail.",
    ),
    Alert(
        "FractalAwsAccessDenied",
        "critical",
        "",
        "sum by (job, namespace, service, operation) (increase(fractal_aws_denied_total[15m])) > 0",
        "AWS refuses the operator's calls for want of rights.",
        "{{ $labels.service }}:{{ $labels.operation }} is refused: credentials or IAM policy.",
    ),
    Alert(
        "FractalKubernetesErrors",
        "warning",
        "10m",
        share(
            'fractal_kube_requests_total{code=~"error|401|403|429|5.."}',
            "fractal_kube_requests_total",
            "5m",
            0.1,
        ),
        "Many calls of the Kubernetes API fail.",
        "{{ $value | humanizePercentage }} of the operator's Kubernetes calls fail.",
    ),
    Alert(
        "FractalDatabaseDown",
        "warning",
        "5m",
        "sum by (job, namespace) (increase(fractal_db_errors_total[5m])) > 0\n"
        "unless sum by (job, namespace)"
        " (increase(fractal_db_write_duration_seconds_count[5m])) > 0",
        "PostgreSQL takes no records.",
        "Every write of {{ $labels.namespace }}/{{ $labels.job }} to the database fails;"
        " all else goes on.",
    ),
    Alert(
        "FractalDatabaseLag",
        "warning",
        "10m",
        "max by (job, namespace) (fractal_db_lag_seconds) > 300",
        "Records wait long to be written to PostgreSQL.",
        "The oldest record has waited for {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "FractalRecordsRefused",
        "warning",
        "",
        "sum by (job, namespace) (increase(fractal_db_refused_records_total[1h])) > 0",
        "PostgreSQL refuses records for good.",
        "{{ $value | humanize }} records were refused in an hour; tables do not tell the truth.",
    ),
)
