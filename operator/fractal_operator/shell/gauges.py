"""The gauges: how the objects, the clusters and the recorder stand, looked at every few seconds."""

from collections import Counter
from datetime import datetime

from fractal_models.container import Phase
from fractal_operator.core import broken
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.objects import Known, Objects, Shape
from fractal_operator.shell.permits import Permits
from fractal_operator.shell.record import Recorder

GAUGE_SECONDS = 5.0
LAG_SECONDS = 0.5


class Gauges:
    """Two loops for the Runner: ``gauges`` and ``loop_lag``."""

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        objects: Objects,
        clusters: Clusters,
        permits: Permits,
        recorder: Recorder,
        install: str,
    ) -> None:
        self._install = install
        self._clock = clock
        self._metrics = metrics
        self._objects = objects
        self._clusters = clusters
        self._permits = permits
        self._recorder = recorder
        self._known: dict[tuple[str, str], datetime] = {}

    async def gauges(self) -> None:
        """Set all gauges, again and again."""
        while True:
            self.look()
            await self._clock.sleep(GAUGE_SECONDS)

    async def loop_lag(self) -> None:
        """Measure how late a sleep ends."""
        while True:
            asleep = self._clock.monotonic()
            await self._clock.sleep(LAG_SECONDS)
            late = self._clock.monotonic() - asleep - LAG_SECONDS
            self._metrics.loop_lag.observe(max(late, 0.0))

    def look(self) -> None:
        """Set all gauges once."""
        metrics, now = self._metrics, self._clock.now()
        self._of_objects(now)
        metrics.quotas()
        metrics.lines(self._permits.standings())
        clusters = self._clusters.all()
        metrics.launches_paused.set(sum(1 for cluster in clusters if cluster.paused))
        self._known = {_name(each): self._known.get(_name(each), now) for each in clusters}
        metrics.sweep_age.set(max((self._age(each, now) for each in clusters), default=0.0))
        metrics.db_outbox_depth.set(self._recorder.depth())
        metrics.db_lag_seconds.set(self._recorder.lag())

    def _of_objects(self, now: datetime) -> None:
        phases: Counter[str] = Counter()
        conditions: Counter[tuple[str, str]] = Counter()
        elsewhere = 0
        for shape, count in self._objects.shapes.items():
            if not self._is_ours(shape):
                elsewhere += count
                continue
            phases[shape.phase] += count
            for kind, status, _ in shape.conditions:
                conditions[kind, status] += count
        ends = [each for each in self._objects.deleting() if self._is_ours(each.shape)]
        self._metrics.objects_elsewhere.set(elsewhere)
        self._metrics.phases(phases, [phase.value for phase in Phase])
        self._metrics.condition_counts(conditions)
        self._metrics.stuck_deletions.set(sum(_stuck(each.shape) for each in ends))
        self._metrics.oldest_deletion.set(max((_deleting(each, now) for each in ends), default=0.0))

    def _is_ours(self, shape: Shape) -> bool:
        return shape.installation in ("", self._install)

    def _age(self, cluster: Cluster, now: datetime) -> float:
        """Seconds since the last complete sweep; 0 of a cluster that ECS says is not there.

        And of one that nobody has ever seen and no attempt names: a mistyped region is told to the
        object that names it, and is no reason to wake anybody.
        """
        if (cluster.known and not cluster.there) or (
            cluster.swept_since is None and not cluster.held
        ):
            return 0.0
        since = cluster.swept_since or self._known[_name(cluster)]
        return max((now - since).total_seconds(), 0.0)


def _name(cluster: Cluster) -> tuple[str, str]:
    return cluster.region, cluster.reference


def _stuck(shape: Shape) -> bool:
    reasons = ("DeletionStuck", broken.REASON)
    return any(reason in reasons and status == "True" for _, status, reason in shape.conditions)


def _deleting(known: Known, now: datetime) -> float:
    """For how many seconds an object is in deletion."""
    return (now - datetime.fromisoformat(known.deleting)).total_seconds()
