"""Looking at ECS for all objects at once: a sweep of each cluster, and a faster ring.

The sweep lists RUNNING tasks and describes the listed and the known ones, 100 a call: 20 calls for
1,000 tasks. The first one also lists STOPPED tasks: what ended while nobody looked. The ring
describes only tasks that are starting, stopping or awaited. Never one call an object.

How often is said by :class:`Pace`: not so often that sweeps take more than their share of ECS's
quota, and rarely while events tell of changes (stream.py). A sweep is then an audit, and the ring
asks for tasks only that events have been silent about, or cannot tell of.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fractal_models.errors import FractalError, Rejected
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import backoff
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.core.monotonic import newer
from fractal_operator.ports import Clock, Ecs
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.hearsay import Hearsay
from fractal_operator.shell.locating import Locator
from fractal_operator.shell.problems import problem_of
from fractal_operator.shell.stream import Stream
from fractal_operator.shell.tasks import Tasks

log = logging.getLogger(__name__)

MASS_LOSS_MINIMUM = 10
MASS_LOSS_SHARE = 0.10

QUIET = timedelta(seconds=30)
"""For so long the ring relies on events to tell of a task that starts or stops."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two sweeps, and between two audits while events are relied on; and the calls
    a second that sweeps and rings may make in a region."""

    sweep_seconds: float
    audit_seconds: float = 600.0
    calls_per_second: float = 5.0

    @property
    def audit(self) -> timedelta:
        return timedelta(seconds=self.audit_seconds)


class Observer:
    """Sweeps and the ring. ``wake(uid)`` has an object looked at again."""

    def __init__(
        self,
        *,
        ecs: Ecs,
        clock: Clock,
        tasks: Tasks,
        clusters: Clusters,
        wake: Callable[[str], None],
        touch: Callable[[list[TaskArn], datetime], None],
        pace: Pace,
        stream: Stream,
        confirmed_losses: frozenset[str] = frozenset(),
    ) -> None:
        self.clusters = clusters
        self.tasks = tasks
        self.locator = Locator(ecs, tasks, wake)
        self._ecs = ecs
        self._clock = clock
        self._wake = wake
        self._touch = touch
        self._pace = pace
        self._stream = stream
        self._confirmed = confirmed_losses
        self._hearsay = Hearsay(clock)
        self._ring_free: dict[str, float] = {}  # by region, from when on calls are left for rings

    def request_sweep(self, cluster: Cluster, uid: str) -> None:
        """Have a cluster swept at the next opportunity, and ``uid`` woken when it has been."""
        cluster.wanted = True
        cluster.waiting.add(uid)

    def due(self, cluster: Cluster) -> bool:
        """Whether a sweep is due: wanted, never done, or the period is over; later after errors."""
        now = self._clock.monotonic()
        if cluster.swept_at is None:
            return True
        if cluster.failures:
            pause = backoff.delay(cluster.failures, cluster.reference, first=2, cap=60)
            return now - cluster.swept_at >= pause.total_seconds()
        if cluster.wanted:
            return now - cluster.swept_at >= 1.0
        return now - cluster.swept_at >= self._period(cluster)

    def _period(self, cluster: Cluster) -> float:
        """Seconds between two sweeps of a cluster, as things stand."""
        pace = self._pace
        calls = sum(each.calls for each in self.clusters.all() if each.region == cluster.region)
        usual = max(pace.sweep_seconds, calls / pace.calls_per_second)
        since = self._stream.healthy_since if self._stream.healthy() else None
        # What no event told while they were not relied on, one more sweep has to find.
        if since is None or cluster.missed or cluster.swept_at is None or cluster.swept_at < since:
            return usual
        return max(usual, pace.audit_seconds)

    async def sweep(self, cluster: Cluster) -> bool:
        """One full look at a cluster; False if it failed (noted, tried again later)."""
        began = self._clock.now()
        cluster.wanted = False
        try:
            cluster = await self._identify(cluster)
            complete = cluster.there and await self._look(cluster, began)
        except FractalError as error:
            complete = False
            self._failed(cluster, error)
        except Exception as error:  # one cluster's trouble is no other's
            log.exception("sweep of ECS cluster %s in %s broke", cluster.reference, cluster.region)
            complete = False
            self._failed(cluster, FractalError(f"the sweep broke: {error!r}"))
        cluster.swept_at = self._clock.monotonic()
        if complete:
            cluster.problem = None
            cluster.swept_since = began
        # Who waits for a cluster to become ACTIVE asks for sweeps: those become rare, too.
        cluster.failures = 0 if complete and cluster.active else cluster.failures + 1
        waiting, cluster.waiting = cluster.waiting, set()
        for uid in sorted(waiting):
            self._wake(uid)
        self.tasks.prune(began)
        self._hearsay.prune()
        self.locator.prune()
        return complete

    def _failed(self, cluster: Cluster, error: FractalError) -> None:
        code = error.code if isinstance(error, Rejected) else ""
        if code == "ClusterNotFoundException":
            cluster.known = False  # deleted since: ask what it is before the next sweep
            cluster.info = None
        cluster.problem = problem_of(error, self._clock.now())
        log.warning(
            "sweep of ECS cluster %s in %s failed: %s", cluster.reference, cluster.region, error
        )

    async def _identify(self, cluster: Cluster) -> Cluster:
        """Ask what a cluster is, if that is not known or may have changed."""
        if not cluster.account:
            cluster.account = await self._account(cluster.region)
        if cluster.known and cluster.active and not self.tasks.vanished(cluster.arn):
            return cluster
        info = await self._ecs.describe_cluster(cluster.region, cluster.arn or cluster.reference)
        if info is None:
            cluster.info, cluster.known, cluster.problem = None, True, None
            return cluster
        account = cluster.account
        shared = self.clusters.identified(cluster, info)
        shared.account = shared.account or account
        return shared

    async def _account(self, region: str) -> str:
        try:
            return await self._ecs.account(region)
        except FractalError as error:
            log.warning("the AWS account in %s cannot be told: %s", region, error)
            return ""

    async def _look(self, cluster: Cluster, began: datetime) -> bool:
        region, arn = cluster.region, cluster.arn
        listed = set(await self._ecs.list_tasks(region, arn))
        if cluster.swept_since is None:
            listed |= set(await self._ecs.list_tasks(region, arn, stopped=True))
        cluster.foreign &= listed
        self.tasks.keep_strangers(arn, listed)
        self.tasks.present(listed)
        expected = set(self.tasks.expected(arn))
        known = cluster.foreign - self.tasks.barring(arn)
        asked = sorted((listed - known) | expected | set(self.tasks.wished(arn)))
        found = await self._ecs.describe_tasks(region, arn, asked)
        await self.locator.locate(cluster, found.tasks)
        for task in found.tasks:
            self._show(task)
            if self.tasks.owner(task) is None and task.arn not in expected:
                cluster.foreign.add(task.arn)
        missing = {arn for arn in found.missing if arn not in listed}
        for gone in missing:
            self.tasks.absent(gone, began)
        cluster.missed = not missing.isdisjoint(expected)  # one that is only wished for may be none
        cluster.calls = _calls(listed) + _calls(asked)
        self._suspect(cluster, len(expected))
        self._touch([t.arn for t in found.tasks if t.live and self.tasks.owner(t)], began)
        return True

    def _suspect(self, cluster: Cluster, expected: int) -> None:
        """Pause launches while suspiciously many known tasks are missing (design rule 11)."""
        vanished = len(self.tasks.vanished(cluster.arn))
        limit = max(MASS_LOSS_MINIMUM, int(MASS_LOSS_SHARE * expected))
        name = cluster.info.name if cluster.info else cluster.reference
        confirmed = self._confirmed & {name, cluster.arn}
        if vanished > limit and not confirmed:
            cluster.paused = (
                f"ECS does not show more than {limit} tasks that ran in cluster {name}: launches "
                "are paused there. If they are really gone, set FRACTAL_CONFIRM_MASS_LOSS to "
                f"{name}; otherwise check the credentials, the region and the cluster."
            )
            log.error(cluster.paused)
        else:
            cluster.paused = ""

    async def ring(self, cluster: Cluster) -> None:
        """Describe the tasks of a cluster that are expected to change soon."""
        began = self._clock.monotonic()
        if cluster.info is None or began < cluster.ring_at:
            return
        asked = self._ringed(cluster, began)
        if not asked:
            return
        rate = self._pace.calls_per_second
        free = max(self._ring_free.get(cluster.region, began), began) + _calls(asked) / rate
        self._ring_free[cluster.region] = free
        cluster.ring_at = free - 1 / rate  # one call at each round, if there is one cluster
        await self._describe(cluster, asked)

    def unconfirmed(self, cluster: Cluster) -> bool:
        """Whether events have told of ends in a cluster that ECS has not been asked about yet."""
        return cluster.info is not None and self._hearsay.calls(cluster.arn) > 0

    async def confirm(self, cluster: Cluster) -> None:
        """Ask ECS about those that have been told of by now, as fast as the quota allows."""
        for _ in range(self._hearsay.calls(cluster.arn)):
            if not await self._describe(cluster, self._hearsay.take(cluster.arn)):
                return  # each of these calls may take as long to fail

    async def _describe(self, cluster: Cluster, asked: Collection[TaskArn]) -> bool:
        """Describe tasks in one look; whether ECS has answered."""
        now = self._clock.now()
        try:
            found = await self._ecs.describe_tasks(cluster.region, cluster.arn, sorted(asked))
        except FractalError as error:
            log.warning("describing tasks in ECS cluster %s failed: %s", cluster.arn, error)
            return False
        await self.locator.locate(cluster, found.tasks)
        for task in found.tasks:
            self._show(task)
        if not found.missing:
            return True
        expected = self.tasks.expected(cluster.arn)
        for gone in found.missing:
            self.tasks.absent(gone, now)
            self._hearsay.missed(gone)
        cluster.missed |= not set(found.missing).isdisjoint(expected)
        if not cluster.paused:  # only a full sweep ends a pause
            self._suspect(cluster, len(expected))
        return True

    def _ringed(self, cluster: Cluster, now: float) -> set[TaskArn]:
        """The tasks of a cluster that the ring asks for now."""
        moving = self.tasks.moving(cluster.arn)
        asked = {*self.tasks.wished(cluster.arn, closely=True)} | self._hearsay.asked(cluster.arn)
        if not self._stream.healthy():
            return asked | {*moving}
        asked |= {arn for arn in moving if self._is_quiet(arn)}
        if now - cluster.glanced_at >= self._pace.sweep_seconds:
            cluster.glanced_at = now
            asked |= {*self.tasks.wished(cluster.arn)} | self.tasks.barring(cluster.arn)
            asked |= {arn for arn in self.tasks.expected(cluster.arn) if self._is_untold(arn)}
        return asked

    def _is_untold(self, arn: TaskArn) -> bool:
        """Whether events do not tell of a task, or not of its health."""
        task = self.tasks.sight(arn)
        checked = task is not None and task.health in ("HEALTHY", "UNHEALTHY")
        return checked or not self.tasks.announced(arn)

    def _is_quiet(self, arn: TaskArn) -> bool:
        """Whether events have not told of a task for long, or cannot tell what is awaited: of one
        that runs its address, or its health."""
        task = self.tasks.sight(arn)
        if task is None or not self.tasks.announced(arn):
            return True
        if task.last_status == "RUNNING" and task.desired_status == "RUNNING":
            return True
        return self._clock.now() - task.observed_at >= QUIET

    def _show(self, task: ObservedTask) -> None:
        """Take in what ECS has shown, and expect an event that tells the same."""
        old = self.tasks.sight(task.arn)
        if old is not None and self._is_contradicted(old, task):
            log.error("an event told of task %s what ECS does not show: was it forged?", task.arn)
            self.tasks.take_back(task.arn)
        told = self.heard(task.arn)
        self.tasks.observe(task)
        if self.tasks.announced(task.arn):
            self._stream.shown(told, task)
        self._hearsay.shown(task)

    def _is_contradicted(self, old: ObservedTask, new: ObservedTask) -> bool:
        """Whether ECS shows a task that lives at a version below the one that is known; and not
        just of late: ECS may show the past for about five minutes."""
        if not (old.live and new.live) or new.observed_at - old.observed_at <= LOST_AFTER:
            return False
        return old.version is not None and new.version is not None and old.version > new.version

    def heard(self, arn: TaskArn) -> ObservedTask | None:
        """The last that is known of a task, be it on an event's word alone."""
        seen, put_off = self.tasks.sight(arn), self.locator.of(arn)
        return self._hearsay.of(arn) or (newer(seen, put_off) if put_off is not None else seen)

    def told(self, tasks: Iterable[ObservedTask]) -> None:
        """Take in what events tell of tasks, but for ends, which ECS has to confirm; those without
        an address to wait for later, since looking one up takes a call."""
        for task in tasks:
            if task.stopped:
                self._hearsay.tell(task)
            elif self.locator.wants(task):
                self.locator.put_off(task)
            else:
                self.tasks.observe(task, launched=True)


def _calls(arns: Collection[TaskArn]) -> int:
    """How many calls list or describe so many tasks, 100 a call; a list takes at least one."""
    return max(1, -(-len(arns) // 100))
