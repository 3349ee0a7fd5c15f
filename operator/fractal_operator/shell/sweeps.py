"""Which clusters are looked at when: each by itself, and the unknown ones only a few at a time.

Anybody can make up names of clusters and regions, and each costs calls and threads until ECS has
said that it knows none. So a cluster that was never swept is a newcomer: newcomers take turns, and
leave every region most of its share of the threads, in which launches are sent, too. Those where
tasks of ours may be (``held``) take turns among themselves.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from operator import itemgetter
from typing import Any

from fractal_operator.health import BEAT_SECONDS, FIRST_SWEEP, Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.news import News
from fractal_operator.shell.observe import Observer

TICK_SECONDS = 0.25
"""Between two looks which sweeps are due."""

CONFIRM_SECONDS = 0.5
"""Between two looks what events have told of: what comes meanwhile is one call."""

NEWCOMERS = 8
"""How many clusters that were never swept are tried at a time; and as many of the held ones."""

NEWCOMERS_OF_REGION = 2
"""How many of them in one region."""

BIG_CALLS, BIG_OF_REGION = 10, 2
"""A sweep of so many calls keeps a thread of its region for as long as the rate limit has it wait;
so many at a time leave the ring, lookups and addresses theirs."""


class Running:
    """The tasks that look at clusters, one a cluster, so that none waits for another."""

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[Cluster, float, asyncio.Task[None]]] = {}

    def clusters(self) -> list[Cluster]:
        """Those that are being looked at. Raises what a task has raised that has ended."""
        for key, (*_, task) in tuple(self._tasks.items()):
            if task.done():
                del self._tasks[key]
                task.result()
        return [cluster for cluster, *_ in self._tasks.values()]

    def start(self, cluster: Cluster, look: Coroutine[Any, Any, None], now: float) -> None:
        self._tasks[id(cluster)] = (cluster, now, asyncio.create_task(look))

    def oldest(self) -> tuple[float, Cluster] | None:
        """When the task was started that has not ended for longest, and what it looks at."""
        tasks = self._tasks.values()
        under_way = ((began, cluster) for cluster, began, task in tasks if not task.done())
        return min(under_way, key=itemgetter(0), default=None)


class Sweeps:
    """Three loops: ``sweeps`` looks at all tasks, ``rings`` more often at those that are moving,
    ``confirms`` at once at those of which events have told what takes a call of AWS to take in."""

    def __init__(
        self,
        *,
        clock: Clock,
        clusters: Clusters,
        observer: Observer,
        news: News,
        metrics: Metrics,
        health: Health,
        ring_seconds: float,
    ) -> None:
        self._clock = clock
        self._clusters = clusters
        self._observer = observer
        self._news = news
        self._metrics = metrics
        self._health = health
        self._ring_seconds = ring_seconds
        self._sweeping, self._ringing = Running(), Running()
        self._confirming, self._locating = Running(), Running()

    async def sweeps(self) -> None:
        """Sweep each cluster when it is due."""
        running = self._sweeping
        while True:
            self._health.beat("sweeps", BEAT_SECONDS)
            busy, known = running.clusters(), self._clusters.all()
            due = (each for each in known if each not in busy and self._observer.due(each))
            for cluster in admitted(due, busy):
                running.start(cluster, self.sweep(cluster), self._clock.monotonic())
            # A cluster that is none, or does not answer, must not keep a process from being ready.
            if self._news.listed and all(each.swept_at is not None for each in known if each.held):
                self._health.set(FIRST_SWEEP)
            await self._clock.sleep(TICK_SECONDS)

    def standing(self) -> tuple[float, str]:
        """For how long a look has not ended, and which: see ``Health.watch``."""
        kinds = (self._sweeping, self._ringing, self._confirming, self._locating)
        looks = [oldest for each in kinds if (oldest := each.oldest())]
        if not looks:
            return 0.0, ""
        began, cluster = min(looks, key=itemgetter(0))
        name = f"{cluster.reference} in {cluster.region}"
        return self._clock.monotonic() - began, f"the look at ECS cluster {name} has not ended"

    async def sweep(self, cluster: Cluster) -> None:
        """Sweep one cluster."""
        began = self._clock.monotonic()
        complete = await self._observer.sweep(cluster)
        self._metrics.sweep_seconds.observe(self._clock.monotonic() - began)
        if complete:
            self._metrics.sweep_success.set(self._clock.now().timestamp())

    async def rings(self) -> None:
        """Look at the moving tasks of each cluster."""
        observer = self._observer
        while True:
            self._start(self._ringing, lambda each: each.info is not None, observer.ring)
            await self._clock.sleep(self._ring_seconds)

    async def confirms(self) -> None:
        """Look at the tasks whose ends events have just told of, and for the addresses of those
        that run. Apart from each other: an EC2 out of reach holds up no end."""
        observer, locator = self._observer, self._observer.locator
        while True:
            self._start(self._confirming, observer.unconfirmed, observer.confirm)
            self._start(self._locating, locator.waits, locator.take_in)
            await self._clock.sleep(CONFIRM_SECONDS)

    def _start(
        self,
        running: Running,
        wanted: Callable[[Cluster], bool],
        look: Callable[[Cluster], Coroutine[Any, Any, None]],
    ) -> None:
        """Look at each cluster where that is wanted, and not under way."""
        busy = running.clusters()
        for cluster in self._clusters.all():
            if cluster not in busy and wanted(cluster):
                running.start(cluster, look(cluster), self._clock.monotonic())


def admitted(due: Iterable[Cluster], running: Collection[Cluster]) -> list[Cluster]:
    """Those of ``due`` that may be swept now, beside those that are.

    All that were swept before, but of big ones a few in a region; and of the newcomers those whose
    last try is longest ago, first of all those without one.
    """
    big = Counter(each.region for each in running if each.calls >= BIG_CALLS)
    newcomers = [each for each in running if each.swept_since is None]
    chosen: list[Cluster] = []
    for cluster in sorted(due, key=_tried):
        if cluster.swept_since is None:
            rivals = [each for each in newcomers if each.held == cluster.held]
            there = sum(each.region == cluster.region for each in rivals)
            if len(rivals) >= NEWCOMERS or there >= NEWCOMERS_OF_REGION:
                continue
            newcomers.append(cluster)
        elif cluster.calls >= BIG_CALLS:
            if big[cluster.region] >= BIG_OF_REGION:
                continue
            big[cluster.region] += 1
        chosen.append(cluster)
    return chosen


def _tried(cluster: Cluster) -> float:
    return float("-inf") if cluster.swept_at is None else cluster.swept_at
