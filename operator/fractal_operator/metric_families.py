"""Metrics that say how things stand, read from time to time; and how every metric is registered.

What happens is counted by :class:`fractal_operator.metrics.Metrics`, which has these, too.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONDITIONS = ("Ready", "Reconciling", "Stalled", "Synced")
CONDITION_STATUSES = ("True", "False", "Unknown")
ORPHANS = ("task", "unproven", "unwatched", "unselected", "retained", "object", "row")
# A loop that is late by a tenth of a second is busy; one late by seconds delays every launch.
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Row(NamedTuple):
    """One line of docs/metrics.md."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Families:
    """Registers metrics in ``registry``; ``rows`` describes each of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows: list[Row] = []
        self._registry = registry

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.rows.append(Row(name, "counter", labels, text))
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.rows.append(Row(name, "gauge", labels, text))
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        self.rows.append(Row(name, "histogram", labels, text))
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)


class StateMetrics(Families):
    """How the objects, the clusters and this process stand; shell/gauges.py sets them."""

    def _state(self) -> None:
        self.containers = self._gauge(
            "fractal_containers", "FractalContainers by status.phase.", "phase"
        )
        self.conditions = self._gauge(
            "fractal_container_conditions",
            "FractalContainers by condition type and status.",
            "type",
            "status",
        )
        self.stuck_deletions = self._gauge(
            "fractal_stuck_deletions",
            "Objects in deletion whose task ECS has not confirmed as stopped for 5 minutes.",
        )
        self.oldest_deletion = self._gauge(
            "fractal_oldest_deletion_seconds",
            "Time since the deletion was asked for of the object that waits longest; 0: none.",
        )
        self.objects_elsewhere = self._gauge(
            "fractal_objects_elsewhere",
            "FractalContainers that are selected here while another installation looks after them: "
            "for seconds when one changes hands, for longer where two select it.",
        )
        self.launches_paused = self._gauge(
            "fractal_launches_paused",
            "ECS clusters where launches are paused because too many tasks vanished at once.",
        )
        self.orphans = self._gauge(
            "fractal_orphans",
            "What has lost its other half, by kind: task (lives without an object, and is stopped "
            "when it is 10 minutes old), unproven (the same, but adopted or without its tags: for "
            "a person to look at), unwatched (of another operator's namespaces), unselected (its "
            "object exists with labels that are not selected here), retained (kept on purpose), "
            "object (its task has vanished), row (put right by the last audit "
            "of the database).",
            "kind",
        )
        for kind in ORPHANS:
            self.orphans.labels(kind)
        self.reaper_held = self._gauge(
            "fractal_reaper_held",
            "1 while no orphaned task is stopped, because there are too many at once.",
        )
        self.sweep_age = self._gauge(
            "fractal_sweep_age_seconds",
            "Time since the newest complete sweep of the ECS cluster that waits longest for one.",
        )
        self.watch_event = self._gauge(
            "fractal_watch_last_event_timestamp_seconds",
            "Unix time at which the watch of FractalContainers last told something.",
        )
        self._standing = self._gauge(
            "fractal_watchdog_seconds",
            "For how long what a watchdog watches has stood still though it should not. Above its "
            "limit /healthz tells it, and 30 s later the process ends.",
            "watchdog",
        )
        self._limits = self._gauge(
            "fractal_watchdog_limit_seconds", "How long that may be.", "watchdog"
        )
        self.loop_lag = self._histogram(
            "fractal_event_loop_lag_seconds",
            "How late the event loop wakes what has slept: what every reconcile waits for, too.",
            _LAG_BUCKETS,
        )

    def stands(self, watchdog: str, seconds: float, limit: float) -> None:
        """Set what a watchdog has found."""
        self._standing.labels(watchdog).set(seconds)
        self._limits.labels(watchdog).set(limit)

    def phases(self, counts: Mapping[str, int], every: Iterable[str]) -> None:
        """Set the number of objects in each of ``every`` phase; those not counted are 0."""
        for phase in every:
            self.containers.labels(phase).set(counts.get(phase, 0))

    def condition_counts(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set the number of objects by (type, status); types that are not ours are left out."""
        for kind in CONDITIONS:
            for status in CONDITION_STATUSES:
                self.conditions.labels(kind, status).set(counts.get((kind, status), 0))
