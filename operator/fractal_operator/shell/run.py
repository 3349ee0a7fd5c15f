"""The loops that keep the shell going: workers on the queue, sweeps, the ring, lists, recording.

Everything that needs an event loop stands here and in aws.py; what the loops call does not. A loop
that dies takes the process with it (crash-only): a restart is cheap and always right.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from fractal_models.errors import FractalError
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Kube, ObjectKey
from fractal_operator.probes import Health
from fractal_operator.shell.act import Actor
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.leader import Leader
from fractal_operator.shell.objects import Body, Objects, key_of, older, uid_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.reconcile import Reconciler
from fractal_operator.shell.record import Recorder
from fractal_operator.shell.sweeps import Running, admitted
from fractal_operator.shell.workqueue import WorkQueue

log = logging.getLogger(__name__)

Loop = asyncio.Task[None]

FIRST_LIST = "the first list of FractalContainers"
ELECTION = "the leader election"
FIRST_SWEEP = "the first sweep of ECS tasks"
STEPS = (FIRST_LIST, ELECTION, FIRST_SWEEP)

RESYNC_SECONDS = 600.0
TICK_SECONDS = 0.25
FLUSH_SECONDS = 0.5
BEAT_SECONDS = 60.0
DRAIN_SECONDS = 5.0


class Runner:
    """All loops of one operator. ``run`` ends when ``stop`` is set, or raises what ended a loop.

    Until it leads it only follows the watch, and is ready to: nothing is swept, reconciled, written
    or recorded. Without a ``leader`` it leads from the start.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        clock: Clock,
        objects: Objects,
        queue: WorkQueue[ObjectKey],
        clusters: Clusters,
        observer: Observer,
        reconciler: Reconciler,
        actor: Actor,
        recorder: Recorder,
        metrics: Metrics,
        health: Health,
        leader: Leader | None,
        workers: int,
        ring_seconds: float,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._objects = objects
        self._queue = queue
        self._clusters = clusters
        self._observer = observer
        self._reconciler = reconciler
        self._actor = actor
        self._recorder = recorder
        self._metrics = metrics
        self._health = health
        self._gauges = Gauges(
            clock=clock,
            metrics=metrics,
            objects=objects,
            clusters=clusters,
            reconciler=reconciler,
            recorder=recorder,
        )
        self._leader = leader
        self._led = asyncio.Event()
        self._workers = workers
        self._ring_seconds = ring_seconds
        self._work = asyncio.Event()
        self._listed = False
        self.stop = asyncio.Event()

    # --- what others tell ---

    def wake(self, uid: str) -> None:
        """Something of the object with this uid has changed."""
        key = self._objects.key(uid)
        if key is not None:
            self._look(key)

    def watched(self, kind: str, body: Mapping[str, Any]) -> None:
        """One event of the watch."""
        self._metrics.watch_event.set(self._clock.now().timestamp())
        self.event(kind, body)

    def event(self, kind: str, body: Mapping[str, Any]) -> None:
        """How an object is or was, from the watch or from a list."""
        key = key_of(body)
        if kind == "DELETED":
            self._vanished(key, uid_of(body))
            return
        known = self._objects.get(key)
        self._objects.seen(body)
        if self._objects.get(key) is known:
            return  # late news, also of a predecessor
        if known is not None and uid_of(known) != uid_of(body):
            self._end(known)
        if known is None or _version(known) != _version(body):  # else the echo of an own write
            self._look(key)

    def _look(self, key: ObjectKey) -> None:
        if self._led.is_set():  # else every object is looked at as soon as it leads
            self._queue.add(key)
            self._work.set()

    def _vanished(self, key: ObjectKey, uid: str) -> None:
        known = self._objects.gone(key, uid)
        if known is not None:
            self._end(known)

    def _end(self, known: Body) -> None:
        if self._led.is_set():  # else it is the leader's to record, or the next one's audit's
            self._actor.vanished(known)

    def _lead(self) -> None:
        """This process leads from now on: sweep, and look at every object."""
        self._health.set(ELECTION)
        self._health.set(FIRST_SWEEP, False)
        self._led.set()
        for body in self._objects.bodies():
            self._queue.add(key_of(body))

    def _follow(self) -> None:
        """Another process leads, so this one is all that it can be: it could take over."""
        self._health.set(ELECTION)
        self._health.set(FIRST_SWEEP)

    # --- the loops ---

    async def run(self) -> None:
        """Run until ``stop`` is set: follow, lead, and hand the lead over in the end."""
        campaign = self._campaign()
        loops = [*campaign, *_started(self._resync, self._gauges.loop_lag)]
        stopping = asyncio.create_task(self.stop.wait(), name="stop")
        led = asyncio.create_task(self._led.wait(), name="led")
        others: list[asyncio.Task[Any]] = [stopping, led]
        await asyncio.wait([*loops, *others], return_when=asyncio.FIRST_COMPLETED)
        if led.done():
            loops += _started(self._dispatch, self._sweeps, self._rings)
            loops += _started(self._record, self._audit, self._gauges.gauges)
            others += _started(self._leader.announce) if self._leader is not None else []
        done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        # It goes on leading while its loops end: what is under way may end well.
        await _cancelled(each for each in loops if each not in campaign)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._recorder.flush()
        await _cancelled([*campaign, *others])
        if self._leader is not None:
            await self._leader.release()
        for each in loops:
            if each in done and not each.cancelled():  # kopf's end cancels all that runs
                each.result()

    def _campaign(self) -> list[Loop]:
        if self._leader is None:
            self._lead()
            return []
        campaign = self._leader.campaign(self._lead, self._follow)
        return [asyncio.create_task(campaign, name="campaign")]

    async def _dispatch(self) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._health.beat("work queue", BEAT_SECONDS)
                key = self._queue.take() if len(running) < self._workers else None
                if key is not None:
                    task = asyncio.create_task(self._reconcile(key))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda _: self._work.set())
                    continue
                self._work.clear()
                await self._wait_for_work(len(running))
        finally:
            if running:
                # What is under way may end well; what does not is found again after a restart.
                await asyncio.wait(running, timeout=DRAIN_SECONDS)

    async def _wait_for_work(self, running: int) -> None:
        timeout = BEAT_SECONDS / 4
        deadline = self._queue.next_deadline()
        if deadline is not None and running < self._workers:
            timeout = min(timeout, max(deadline - self._clock.monotonic(), 0.0))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._work.wait()

    async def _reconcile(self, key: ObjectKey) -> None:
        began = self._clock.monotonic()
        self._metrics.active_workers.inc()
        result = "error"
        try:
            rest = await self._reconciler.reconcile(key)
        except FractalError as error:
            again = self._queue.retry(key)
            log.warning("reconcile of %s failed, again in %.0f s: %s", key, again, error)
        except Exception:
            again = self._queue.retry(key)
            self._metrics.reconcile_panics.inc()
            log.exception("reconcile of %s failed unexpectedly, again in %.0f s", key, again)
        else:
            self._queue.forget(key)
            result = "success" if rest.after is None else "requeue_after"
            if rest.after is not None:
                self._queue.add_after(key, rest.after)
        finally:
            self._queue.done(key)
            self._metrics.active_workers.dec()
            self._metrics.reconciled(result, self._clock.monotonic() - began)

    async def _resync(self) -> None:
        """List everything, at the start and now and then: what the watch missed."""
        while True:
            pause = RESYNC_SECONDS
            try:
                await self._list()
            except FractalError as error:
                log.warning("listing FractalContainers failed, tried again: %s", error)
                pause = 5.0
            await self._clock.sleep(pause)

    async def _list(self) -> None:
        before = {uid_of(body): key_of(body) for body in self._objects.bodies()}
        for body in await self._kube.list():
            known = self._objects.get(key_of(body))
            if known is not None and older(body, known):
                before[uid_of(known)] = key_of(known)  # left to a read of its own
                continue
            before.pop(uid_of(body), None)
            self.event("", body)
            self._look(key_of(body))
        for uid, key in before.items():
            # A list may be older than an object just made or written; but after a restore of etcd
            # versions begin again below the known ones. Only a read tells which it is.
            await self._read(uid, key)
        bodies = self._objects.bodies()
        named = [name for body in bodies for name in self._reconciler.clusters(body)]
        if named:
            self._clusters.keep(named)
        self._listed = True
        self._health.set(FIRST_LIST)

    async def _read(self, uid: str, key: ObjectKey) -> None:
        """Believe a fresh read of an object that a list does not show as it is known."""
        fresh = await self._kube.get(key)
        if fresh is None or uid_of(fresh) != uid:
            self._vanished(key, uid)
        if fresh is not None:
            self._objects.read(fresh)
            self._look(key)

    async def _sweeps(self) -> None:
        running = Running()
        while True:
            self._health.beat("sweeps", BEAT_SECONDS)
            busy, known = running.clusters(), self._clusters.all()
            due = (each for each in known if each not in busy and self._observer.due(each))
            for cluster in admitted(due, busy):
                running.start(cluster, self._sweep(cluster))
            # A cluster that is none, or does not answer, must not keep a process from being ready.
            if self._listed and all(each.swept_at is not None for each in known if each.held):
                self._health.set(FIRST_SWEEP)
            await self._clock.sleep(TICK_SECONDS)

    async def _sweep(self, cluster: Cluster) -> None:
        began = self._clock.monotonic()
        complete = await self._observer.sweep(cluster)
        self._metrics.sweep_seconds.observe(self._clock.monotonic() - began)
        if complete:
            self._metrics.sweep_success.set(self._clock.now().timestamp())

    async def _rings(self) -> None:
        running = Running()
        while True:
            busy = running.clusters()
            for cluster in self._clusters.all():
                if cluster.info is not None and cluster not in busy:
                    running.start(cluster, self._observer.ring(cluster))
            await self._clock.sleep(self._ring_seconds)

    async def _record(self) -> None:
        while True:
            began = self._clock.monotonic()
            busy, failures = self._recorder.depth() > 0, self._recorder.failures
            written = await self._recorder.flush()
            if self._recorder.failures > failures:
                self._metrics.db_errors.inc()
            elif busy and written:
                self._metrics.db_write_seconds.observe(self._clock.monotonic() - began)
            await self._clock.sleep(FLUSH_SECONDS)

    async def _audit(self) -> None:
        while not self._listed:
            await self._clock.sleep(TICK_SECONDS)
        while True:
            await _despite_outages("auditing the database", self._audit_once)
            await self._clock.sleep(RESYNC_SECONDS)

    async def _audit_once(self) -> None:
        closed = await self._recorder.audit(self._uids)
        if closed:
            log.warning("closed the database rows of %d objects that are gone", closed)

    async def _uids(self) -> set[str]:
        """All objects: as listed, and as known, since a list may be older than an object."""
        return {uid_of(body) for body in (*await self._kube.list(), *self._objects.bodies())}


def _started(*loops: Callable[[], Coroutine[Any, Any, None]]) -> list[Loop]:
    return [asyncio.create_task(loop(), name=loop.__name__) for loop in loops]


async def _cancelled(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel tasks, and wait until they have ended."""
    ended = tuple(tasks)
    for each in ended:
        each.cancel()
    await asyncio.gather(*ended, return_exceptions=True)


async def _despite_outages(what: str, do: Callable[[], Awaitable[None]]) -> None:
    try:
        await do()
    except FractalError as error:
        log.warning("%s failed, tried again later: %s", what, error)


def _version(body: Body) -> str:
    return str(body["metadata"].get("resourceVersion", ""))
