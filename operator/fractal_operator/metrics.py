"""What Prometheus sees. Names of controller-runtime where it has one, so that dashboards fit.

No label holds the name of a user or an object; every label takes few values, which its help names.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics

from fractal_operator.core import failures
from fractal_operator.core.ending import WHY
from fractal_operator.core.words.stop_codes import STOP_CODES
from fractal_operator.event_metrics import EventMetrics
from fractal_operator.outside_metrics import OutsideMetrics
from fractal_operator.quota_metrics import QuotaMetrics
from fractal_operator.shell.workqueue import WorkQueue

CONTROLLER = "fractalcontainer"
RECONCILE_RESULTS = ("success", "error", "requeue", "requeue_after")
ORPHANED = "Orphaned"
"""The reason, in fractal_stops_total, of what the reaper stops."""
LAUNCH_RESULTS = ("launched", "adopted", "failed", "throttled", "rejected", "unknown")

_STOPS = {text: code for code, text in WHY.items()}
# controller-runtime's buckets, so that its dashboards and recording rules find them.
_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
    *(0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30),
    *(40, 50, 60),
)
_QUEUE_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000)
# A cached image starts in seconds, a large one on Fargate in minutes, a new instance takes longer.
_START_BUCKETS = (1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)


class Metrics(OutsideMetrics, EventMetrics, QuotaMetrics):
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
        self._events()
        self._rate_limit()

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
            "StopTask calls by what they are for: "
            f"{', '.join(sorted({*WHY, ORPHANED}))}, or Other.",
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
        for code in STOP_CODES:
            self.terminations.labels(code, failures.termination(code, "").reason)
        self.build_info = self._gauge(
            "fractal_build_info", "1; the label holds the release.", "version"
        )
        self.build_info.labels(version("fractal-operator")).set(1)

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a reconcile; ``result`` is one of RECONCILE_RESULTS."""
        self.reconciles.labels(CONTROLLER, result).inc()
        self.reconcile_seconds.observe(seconds)
        if result == "error":
            self.reconcile_errors.inc()

    def terminated(self, stop_code: str, text: str = "") -> None:
        """Count an attempt's end; codes that have no words count as Other."""
        code = stop_code if stop_code in STOP_CODES else "Other"
        self.terminations.labels(code, failures.termination(code, text).reason).inc()

    def stopped(self, text: str) -> None:
        """Count a StopTask by the reason that it gives ECS; one that is not in WHY as Other."""
        self.stops.labels(_STOPS.get(text, "Other")).inc()

    def orphan_stopped(self) -> None:
        """Count a StopTask of a task without an object."""
        self.stops.labels(ORPHANED).inc()

    def watch_leader(self, name: str, leads: Callable[[], bool]) -> None:
        """Ask ``leads`` at each scrape."""
        self._leader.labels(name).set_function(leads)

    def watch_queue(self, queue: WorkQueue[Any]) -> None:
        """Read the queue's gauges at each scrape, which must run in the queue's thread."""
        self._depth.set_function(queue.depth)
        self._unfinished.set_function(lambda: sum(queue.working_seconds()))
        self._longest.set_function(lambda: max(queue.working_seconds(), default=0.0))
