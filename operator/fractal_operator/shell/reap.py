"""The reaper: looks for live tasks of ours that no object stands for, and stops those that prove
themselves to be orphans (``core.orphans`` says which).

A round costs one list of the objects, and no call to AWS while nothing is orphaned: the sweeps know
the tasks. What it has sighted is kept in memory only, so a new leader begins anew.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from fractal_models.errors import FractalError, Unavailable
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import orphans, tokens
from fractal_operator.core.orphans import Census, Judgement, Kind, Reaping
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs, Kube, ObjectKey
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.leader import NOT_LEADING
from fractal_operator.shell.objects import uid_of
from fractal_operator.shell.permits import NoPermit, Permits, Waiter
from fractal_operator.shell.tasks import Tasks

log = logging.getLogger(__name__)

PERIOD_SECONDS = 300.0
"""Between two rounds; a task is stopped in the second one that finds it an orphan."""

TURN_SECONDS = 1.0
"""Between two looks whether it is an orphan's turn to be stopped."""

_UNPROVEN = "it is left alone: its startedBy or its tags do not prove that it is ours"
_STOPPED = "it is stopped once it is old enough"
_REPORTED = "it is left alone: FRACTAL_REAPER is report"


class Reaper:
    """``reap`` is the loop, ``round`` one look. With ``stops`` False it reports, and stops none.
    With ``selects`` the lists leave objects out that exist.

    It acts as long as ``leads`` says that this process leads.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        ecs: Ecs,
        clock: Clock,
        tasks: Tasks,
        clusters: Clusters,
        reaping: Reaping,
        permits: Permits,
        metrics: Metrics,
        leads: Callable[[], bool],
        stops: bool,
        selects: bool = False,
    ) -> None:
        self._selects = selects
        self._kube = kube
        self._ecs = ecs
        self._clock = clock
        self._tasks = tasks
        self._clusters = clusters
        self._reaping = reaping
        self._permits = permits
        self._metrics = metrics
        self._leads = leads
        self._stops = stops
        self._told = {Kind.TASK: _STOPPED if stops else _REPORTED, Kind.UNPROVEN: _UNPROVEN}
        self._first: dict[TaskArn, datetime] = {}

    async def reap(self) -> None:
        """Look again and again; the first time when there have been sweeps."""
        while True:
            await self._clock.sleep(PERIOD_SECONDS)
            try:
                await self.round()
            except FractalError as error:
                log.warning("looking for orphaned tasks failed, tried again later: %s", error)
            except Exception:  # nobody's task depends on it
                log.exception("looking for orphaned tasks broke, tried again later")

    async def round(self) -> None:
        """Look once, and stop what is to be stopped now.

        Raises what the list of the objects raised: without one nothing is an orphan. Whatever else
        fails is logged, and tried again in the next round.
        """
        known = self._tasks.ours()  # before the objects are listed: see core.orphans
        bodies = await self._kube.list()
        suspects = orphans.unclaimed(known, bodies, self._reaping.install)
        found, unanswered = await self._described(suspects)
        found, unselected, unread = await self._read(found)
        unanswered |= unread
        census = Census(self._clock.now(), len(known), len(bodies), found, unanswered, unselected)
        judgement = orphans.judge(census, self._first, self._reaping)
        self._tell(census, judgement)
        self._first = dict(judgement.first)
        for task in judgement.stop if self._stops else ():
            await self._in_turn(task)

    async def _read(
        self, found: Sequence[ObservedTask]
    ) -> tuple[list[ObservedTask], frozenset[TaskArn], frozenset[TaskArn]]:
        """The orphans whose fate a read of their object settles, if the list was a selection.

        All that are left, those of them whose object exists, and those without an answer.
        """
        there: set[TaskArn] = set()
        unread: set[TaskArn] = set()
        for task in found if self._selects else ():
            if orphans.kind(task, self._reaping) is not Kind.TASK:
                continue
            try:
                body = await self._kube.get(_name(task))
            except FractalError as error:
                log.warning("whether task %s has an object cannot be told: %s", task.arn, error)
                unread.add(task.arn)
                continue
            if body is not None and uid_of(body) in orphans.uids(task, self._reaping.install):
                there.add(task.arn)
        left = [task for task in found if task.arn not in unread]
        return left, frozenset(there), frozenset(unread)

    async def _described(
        self, suspects: Iterable[ObservedTask]
    ) -> tuple[list[ObservedTask], frozenset[TaskArn]]:
        """The suspects that live, as ECS shows them now; and those that it did not answer for."""
        by_cluster: dict[str, list[ObservedTask]] = {}
        for task in suspects:
            by_cluster.setdefault(task.cluster_arn, []).append(task)
        live: list[ObservedTask] = []
        unanswered: set[TaskArn] = set()
        for cluster, those in by_cluster.items():
            arns = [task.arn for task in those]
            now = self._clock.now()
            try:
                found = await self._ecs.describe_tasks(tokens.region_of(cluster), cluster, arns)
            except FractalError as error:
                log.warning("describing orphans in ECS cluster %s failed: %s", cluster, error)
                unanswered.update(arns)
                continue
            for task in found.tasks:
                self._tasks.observe(task)
            for gone in found.missing:
                self._tasks.absent(gone, now)
            live += [task for task in found.tasks if task.live]
        return live, frozenset(unanswered)

    def _tell(self, census: Census, judgement: Judgement) -> None:
        counts = Counter(judgement.kinds.values())
        for each in Kind:
            self._metrics.orphans.labels(each).set(counts[each])
        vanished = (self._tasks.vanished(each.arn) for each in self._clusters.all() if each.arn)
        self._metrics.orphans.labels("object").set(sum(map(len, vanished)))
        self._metrics.reaper_held.set(bool(judgement.held))
        for task in census.orphans:
            what = self._told.get(judgement.kinds[task.arn])
            if what is not None and task.arn not in self._first:
                log.warning("task %s has no FractalContainer %s: %s", task.arn, _name(task), what)
        if judgement.held:
            log.error(judgement.held)

    async def _in_turn(self, task: ObservedTask) -> None:
        """Stop one orphan when it is its turn among all that is to be stopped."""
        region, waiter = tokens.region_of(task.arn), Waiter(_name(task).namespace, task.arn)
        try:
            while not self._permits.ask(region, "StopTask", waiter):
                await self._clock.sleep(TURN_SECONDS)
            await self._stop(task, waiter)
        finally:
            self._permits.keep(waiter)

    async def _stop(self, task: ObservedTask, waiter: Waiter) -> None:
        """Stop one orphan, if a fresh read does not show its object: a list may be stale."""
        key = _name(task)
        try:
            body = await self._kube.get(key)
            if body is not None and uid_of(body) in orphans.uids(task, self._reaping.install):
                log.error("a list of FractalContainers did not show %s, which exists", key)
                return
            if not self._leads():
                raise Unavailable(NOT_LEADING)
            region = tokens.region_of(task.arn)
            self._permits.use(region, "StopTask", waiter)
            after = await self._ecs.stop_task(
                region,
                task.cluster_arn,
                task.arn,
                f"its FractalContainer {key} is gone",
            )
        except (FractalError, NoPermit) as error:
            log.warning("the orphaned task %s was not stopped: %s", task.arn, error)
            return
        log.warning("stopped task %s: its FractalContainer %s is gone", task.arn, key)
        self._metrics.orphan_stopped()
        if after is not None:
            self._tasks.observe(after)


def _name(task: ObservedTask) -> ObjectKey:
    """The object that a task was launched for, or adopted by, as its tags tell."""
    return ObjectKey(task.tag(tokens.TAG_NAMESPACE), task.tag(tokens.TAG_NAME))
