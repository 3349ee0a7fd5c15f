"""Metrics of what the operator depends on: AWS, the Kubernetes API, PostgreSQL."""

import re

from fractal_helpers.aws.limits import OPERATIONS
from fractal_operator.metric_families import StateMetrics

_SERVICES = {
    "DescribeInstances": "ec2",
    "DescribeNetworkInterfaces": "ec2",
    "GetCallerIdentity": "sts",
    "ReceiveMessage": "sqs",
    "DeleteMessageBatch": "sqs",
}
_THROTTLES = re.compile("Throttl|RequestLimitExceeded|TooManyRequests|SlowDown|BandwidthLimit")
_DENIALS = re.compile(
    "AccessDenied|Unauthorized|UnrecognizedClient|ExpiredToken|InvalidSignature"
    "|MissingAuthentication|NoCredentials|SignatureDoesNotMatch|InvalidClientTokenId"
)
_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_SWEEP_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120)


PRUNED = ("container_history", "user_app_state", "user_containers")


class OutsideMetrics(StateMetrics):
    """Calls of others: how many, how they ended, how long they took and waited."""

    def _outside(self) -> None:
        self.aws_requests = self._counter(
            "fractal_aws_requests_total",
            "AWS API calls, retries included, by service, operation and error code (OK: none).",
            "service",
            "operation",
            "code",
        )
        self.aws_seconds = self._histogram(
            "fractal_aws_request_duration_seconds",
            "Length of an AWS API call with its retries.",
            _CALL_BUCKETS,
            "service",
            "operation",
        )
        self.aws_throttled = self._counter(
            "fractal_aws_throttled_total",
            "AWS API calls that were throttled to the end.",
            "service",
            "operation",
        )
        self.aws_denied = self._counter(
            "fractal_aws_denied_total",
            "AWS API calls that were refused for want of rights or credentials.",
            "service",
            "operation",
        )
        self.aws_wait_seconds = self._histogram(
            "fractal_aws_wait_duration_seconds",
            "Time that an AWS API call waited for a token of the operator's own rate limit.",
            _CALL_BUCKETS,
            "service",
            "operation",
        )
        self.aws_unsent = self._counter(
            "fractal_aws_unsent_total",
            "AWS API calls not sent: no token of the operator's own rate limit came in time.",
            "service",
            "operation",
        )
        # From 0 on, or the first error of a kind would be no increase to Prometheus.
        for operation in OPERATIONS:
            where = (_SERVICES.get(operation, "ecs"), operation)
            self.aws_requests.labels(*where, "OK")
            for errors in (self.aws_throttled, self.aws_denied, self.aws_unsent):
                errors.labels(*where)
        self.sweep_seconds = self._histogram(
            "fractal_sweep_duration_seconds",
            "Length of a sweep over the ECS tasks.",
            _SWEEP_BUCKETS,
        )
        self.sweep_success = self._gauge(
            "fractal_sweep_last_success_timestamp_seconds",
            "Unix time at which the newest complete sweep of any cluster ended.",
        )
        self.kube_requests = self._counter(
            "fractal_kube_requests_total",
            "Kubernetes API calls by verb (get, list, patch, create, update), resource and HTTP "
            "status (error: no answer).",
            "verb",
            "resource",
            "code",
        )

    def _recording(self) -> None:
        self.db_outbox_depth = self._gauge(
            "fractal_db_outbox_depth", "Records that wait to be written to PostgreSQL."
        )
        self.db_lag_seconds = self._gauge(
            "fractal_db_lag_seconds", "Age of the oldest record that waits to be written."
        )
        self.db_write_seconds = self._histogram(
            "fractal_db_write_duration_seconds",
            "Length of a transaction that wrote records.",
            _CALL_BUCKETS,
        )
        self.db_errors = self._counter(
            "fractal_db_errors_total", "Transactions that failed; they are tried again."
        )
        self.db_refused = self._counter(
            "fractal_db_refused_records_total", "Records that PostgreSQL will never take."
        )
        self.db_pruned = self._counter(
            "fractal_db_pruned_rows_total",
            f"Old rows that were deleted, by table: {', '.join(PRUNED)}.",
            "table",
        )
        for table in PRUNED:
            self.db_pruned.labels(table)

    def aws_call(self, operation: str, code: str, seconds: float) -> None:
        """Count an AWS API call: the ``observe`` of the AWS helpers."""
        service = _SERVICES.get(operation, "ecs")
        self.aws_requests.labels(service, operation, code).inc()
        self.aws_seconds.labels(service, operation).observe(seconds)
        if _THROTTLES.search(code):
            self.aws_throttled.labels(service, operation).inc()
        if _DENIALS.search(code):
            self.aws_denied.labels(service, operation).inc()

    def aws_wait(self, operation: str, seconds: float, sent: bool) -> None:
        """Count a wait for the own rate limit: the ``waited`` of the AWS helpers."""
        where = (_SERVICES.get(operation, "ecs"), operation)
        self.aws_wait_seconds.labels(*where).observe(seconds)
        if not sent:
            self.aws_unsent.labels(*where).inc()

    def kube_call(self, verb: str, resource: str, code: str) -> None:
        """Count a Kubernetes API call: the ``observe`` of KubeClient."""
        self.kube_requests.labels(verb, resource, code).inc()
