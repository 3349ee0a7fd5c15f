"""What Prometheus sees. Names of controller-runtime where it has one, so that dashboards fit.

No label holds the name of a user or an object; every label takes few values, which its help names.
"""

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics

from fractal_helpers.aws.limits import OPERATIONS
from fractal_operator.core import failures
from fractal_operator.core.ending import WHY
from fractal_operator.metric_families import StateMetrics
from fractal_operator.shell.workqueue import WorkQueue

CONTROLLER = "fractalcontainer"
RECONCILE_RESULTS = ("success", "error", "requeue", "requeue_after")
STOP_CODES = (
    "TaskFailedToStart",
    "EssentialContainerExited",
    "UserInitiated",
    "ServiceSchedulerInitiated",
    "SpotInterruption",
    "TerminationNotice",
    "InfrastructureHealth",
)
"""ECS's enumeration of a task's stopCode (API reference, Task)."""

OUR_STOP_CODES = (
    "CapacityUnavailable",
    "LaunchFailed",
    "LaunchRejected",
    "Lost",
    "StopReasonUnknown",
    "Unresolved",
    *WHY,
)
"""What the core calls the end of an attempt that ECS has no code for."""

LAUNCH_RESULTS = ("launched", "adopted", "failed", "throttled", "rejected", "unknown")

_SERVICES = {
    "DescribeInstances": "ec2",
    "DescribeNetworkInterfaces": "ec2",
    "GetCallerIdentity": "sts",
}
_STOPS = {text: code for code, text in WHY.items()}
_THROTTLES = re.compile("Throttl|RequestLimitExceeded|TooManyRequests|SlowDown|BandwidthLimit")
_DENIALS = re.compile(
    "AccessDenied|Unauthorized|UnrecognizedClient|ExpiredToken|InvalidSignature"
    "|MissingAuthentication|NoCredentials|SignatureDoesNotMatch|InvalidClientTokenId"
)
# controller-runtime's buckets, so that its dashboards and recording rules find them.
_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
    *(0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30),
    *(40, 50, 60),
)
_QUEUE_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000)
_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_SWEEP_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120)
# A cached image starts in seconds, a large one on Fargate in minutes, a new instance takes longer.
_START_BUCKETS = (1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)


class Metrics(StateMetrics):
    """Every metric of one operator, in ``registry``. The methods count what takes several metrics.

    Attributes without labels, and controller-runtime's with their labels filled in, are used as
    they are: ``metrics.duplicate_tasks.inc()``. All may be used from any thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        super().__init__(registry)
        self._state()
        self._reconciling()
        self._queueing()
        self._leading()
        self._containers()
        self._outside()
        self._recording()

    def _reconciling(self) -> None:
        prefix, label = "controller_runtime_", {"controller": CONTROLLER}
        self.reconciles = self._counter(
            f"{prefix}reconcile_total",
            "Reconciles by result: success, error, requeue or requeue_after.",
            "controller",
            "result",
        )
        for result in RECONCILE_RESULTS:
            self.reconciles.labels(CONTROLLER, result)
        self.reconcile_errors = self._counter(
            f"{prefix}reconcile_errors_total", "Reconciles that ended in an error.", *label
        ).labels(**label)
        self.reconcile_panics = self._counter(
            f"{prefix}reconcile_panics_total",
            "Reconciles that ended in an exception nobody foresaw: a bug.",
            *label,
        ).labels(**label)
        self.reconcile_seconds = self._histogram(
            f"{prefix}reconcile_time_seconds", "Length of a reconcile.", _RECONCILE_BUCKETS, *label
        ).labels(**label)
        self.active_workers = self._gauge(
            f"{prefix}active_workers", "Reconciles that run now.", *label
        ).labels(**label)
        self.max_concurrent = self._gauge(
            f"{prefix}max_concurrent_reconciles", "Reconciles that may run at once.", *label
        ).labels(**label)

    def _queueing(self) -> None:
        label = {"name": CONTROLLER, "controller": CONTROLLER}
        self.queue_adds = self._counter(
            "workqueue_adds_total", "Keys added to the queue, duplicates included.", *label
        ).labels(**label)
        self.queue_retries = self._counter(
            "workqueue_retries_total", "Keys added again after an error.", *label
        ).labels(**label)
        self.queue_seconds = self._histogram(
            "workqueue_queue_duration_seconds",
            "Time from a key's being ready to its being taken.",
            _QUEUE_BUCKETS,
            *label,
        ).labels(**label)
        self.work_seconds = self._histogram(
            "workqueue_work_duration_seconds",
            "Time from a key's being taken to its being done.",
            _QUEUE_BUCKETS,
            *label,
        ).labels(**label)
        self._depth = self._gauge("workqueue_depth", "Keys that are ready.", *label).labels(**label)
        self._unfinished = self._gauge(
            "workqueue_unfinished_work_seconds",
            "Sum of the time spent so far on the keys being worked on.",
            *label,
        ).labels(**label)
        self._longest = self._gauge(
            "workqueue_longest_running_processor_seconds",
            "Longest time spent so far on a key being worked on.",
            *label,
        ).labels(**label)

    def _leading(self) -> None:
        self._leader = self._gauge(
            "leader_election_master_status",
            "1 if this process leads, 0 if it stands by; the label holds the Lease's name. Absent "
            "without leader election.",
            "name",
        )

    def _containers(self) -> None:
        self.launches = self._counter(
            "fractal_launches_total",
            "RunTask calls by result: launched, adopted, failed, throttled, rejected or unknown.",
            "result",
        )
        for result in LAUNCH_RESULTS:
            self.launches.labels(result)
        self.stops = self._counter(
            "fractal_stops_total",
            f"StopTask calls by what they are for: {', '.join(sorted(set(WHY)))}, or Other.",
            "reason",
        )
        self.duplicate_tasks = self._counter(
            "fractal_duplicate_tasks_total",
            "Second live tasks seen for one object and attempt. Must stay 0.",
        )
        self.start_seconds = self._histogram(
            "fractal_container_start_duration_seconds",
            "Time from the first launch call of an attempt to Ready.",
            _START_BUCKETS,
        )
        self.terminations = self._counter(
            "fractal_container_terminations_total",
            "Ended attempts by stop code (ECS's, the operator's own, or Other) and by the reason "
            "that the status names.",
            "stop_code",
            "reason",
        )
        for code in (*STOP_CODES, *OUR_STOP_CODES):
            self.terminations.labels(code, failures.termination(code, "").reason)
        self.build_info = self._gauge(
            "fractal_build_info", "1; the label holds the release.", "version"
        )
        self.build_info.labels(version("fractal-operator")).set(1)

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

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a reconcile; ``result`` is one of RECONCILE_RESULTS."""
        self.reconciles.labels(CONTROLLER, result).inc()
        self.reconcile_seconds.observe(seconds)
        if result == "error":
            self.reconcile_errors.inc()

    def terminated(self, stop_code: str, text: str = "") -> None:
        """Count an attempt's end; codes in neither STOP_CODES nor OUR_STOP_CODES count as Other."""
        code = stop_code if stop_code in {*STOP_CODES, *OUR_STOP_CODES} else "Other"
        self.terminations.labels(code, failures.termination(code, text).reason).inc()

    def stopped(self, text: str) -> None:
        """Count a StopTask by the reason that it gives ECS; one that is not in WHY as Other."""
        self.stops.labels(_STOPS.get(text, "Other")).inc()

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

    def watch_leader(self, name: str, leads: Callable[[], bool]) -> None:
        """Ask ``leads`` at each scrape."""
        self._leader.labels(name).set_function(leads)

    def watch_queue(self, queue: WorkQueue[Any]) -> None:
        """Read the queue's gauges at each scrape, which must run in the queue's thread."""
        self._depth.set_function(queue.depth)
        self._unfinished.set_function(lambda: sum(queue.working_seconds()))
        self._longest.set_function(lambda: max(queue.working_seconds(), default=0.0))
