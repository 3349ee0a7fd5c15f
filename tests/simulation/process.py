"""One operator process: the real shell, put together as main.py does, on the fakes.

The Runner is the real one. Its loops that only await ports and the clock run as they are; the four
that start asyncio tasks (dispatch, sweeps, ring, confirms) are played here, in the same order.
"""

from collections import Counter
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from tests.simulation.queue import SimEvents
from tests.simulation.timeline import Job, Pause, Pending, SimClock, SimWire
from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.fakes import FakeEcs, FakeKube
from tests.unit.shell.kube_world import Body

from fractal_models.errors import FractalError
from fractal_models.kube import ObjectKey
from fractal_models.records import Refused
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.plan import Policy
from fractal_operator.health import STEPS, Health
from fractal_operator.metrics import Metrics
from fractal_operator.shell.agenda import Agenda, namespace_of
from fractal_operator.shell.leader import Leader, LeadLost, Terms
from fractal_operator.shell.objects import Objects
from fractal_operator.shell.observe import Pace
from fractal_operator.shell.wiring import Knobs
from fractal_operator.shell.wiring import wire as wire_up
from fractal_operator.shell.workqueue import WorkQueue

if TYPE_CHECKING:
    from tests.simulation.world import World

INSTALL = "sim"
LEASE = ObjectKey("system", "fractal-leader")
METRICS = Metrics(CollectorRegistry())
"""One for all processes: they are slow to make, and no invariant looks at them."""
WORKERS = 4
TICK_SECONDS = 1.0
RING_TICKS = 4
RECORD = "record", 0
RULE = Rule(namespaces=("*",), clusters=("*",), regions=("*",), images=("*",), adoptable=("*",))


class Operator:
    """A process from its start to its death; ``name`` is its own for ever."""

    def __init__(self, world: "World", name: str, skew: float, *, elected: bool) -> None:
        self.world, self.name, self.alive = world, name, True
        self.clock = SimClock(world.timeline, skew)
        self._jobs: dict[Job, None] = {}  # in the order of their beginning
        self._busy: set[tuple[str, int]] = set()
        self._workers = 1 if world.began.poison else WORKERS
        self._working = 0
        self._waited = 0.0
        self._taken: Counter[ObjectKey] = Counter()
        self._alarm = self._granting = float("inf")
        self._ticks = 0
        self._compose(elected=elected)

    def _compose(self, *, elected: bool) -> None:
        """As main.compose, with the fakes in place of the clients."""
        world, clock, wire = self.world, self.clock, SimWire()
        policy = Policy(
            install=INSTALL,
            process=self.name,
            region=REGION,
            cluster="main",
            allow=Allow((RULE,)),
        )
        kube = Timed(world.kube, wire)
        ecs = Permits(world, FakeEcs(world.ecs, wire))
        ledger = world.ledger.over(wire)
        self.queue: WorkQueue[ObjectKey] = WorkQueue(
            clock.monotonic, lane=namespace_of, on_wait=self._waits
        )
        self.leader = Leader(kube, clock, LEASE, self.name, Terms()) if elected else None
        refused: list[Refused] = []
        self.shell = wire_up(
            kube=kube,
            ecs=ecs,
            ledger=ledger,
            clock=clock,
            policy=policy,
            agenda=Agenda(Objects(), self.queue),
            leader=self.leader,
            metrics=METRICS,
            health=Health(clock.monotonic, steps=STEPS),
            refused=refused.append,
            duplicate=lambda: world.watch.duplicate_seen(self.name),
            knobs=Knobs(
                self._workers,
                Pace(60.0),
                ring_seconds=RING_TICKS * TICK_SECONDS,
                keep=timedelta(minutes=20),
            ),
            events=SimEvents(world.queue, wire, clock) if world.queue is not None else None,
        )
        self.runner, self.recorder = self.shell.runner, self.shell.recorder
        self.observer = self.shell.observer
        self.shell.stream.changed = self._turned
        self._relied = False

    def _turned(self, healthy: bool) -> None:
        """Events are relied on from now on, or not any more."""
        self.world.log(self.name, f"events {'are' if healthy else 'are not'} relied on")
        self.world.notes.sometimes["events relied on"] += healthy
        self.world.notes.sometimes["sweeps took over from events"] += self._relied and not healthy
        self._relied = healthy

    def leads(self) -> bool:
        return self.leader is None or self.leader.leads()

    # --- life ---

    def start(self) -> None:
        """As Runner.run: follow, and act from the moment that it leads."""
        self._go(self.shell.news.resync(), self._loop_ended)
        if self.leader is None:
            self._lead()
        else:
            campaign = self.leader.campaign(self._lead, self.runner.follow)
            self._go(campaign, self._loop_ended)

    def die(self) -> None:
        """kill -9: nothing of it runs on; what was sent is under way."""
        self.alive = False
        jobs, self._jobs = self._jobs, {}
        for job in jobs:
            job.drop()

    def hear(self, kind: str, body: Body) -> None:
        """One event of the watch."""
        if self.alive:
            self.shell.news.watched(kind, body)
            self._dispatch()

    # --- the loops ---

    def _lead(self) -> None:
        self.runner.lead()
        assert self.shell.recording is not None
        assert self.shell.pruner is not None
        self._go(self.shell.recording.audit(), self._loop_ended)
        self._go(self.shell.pruner.prune(), self._loop_ended)
        self._go(self.shell.reaper.reap(), self._loop_ended)
        if self.shell.pollers is not None:
            self._go(self.shell.pollers.poll(), self._loop_ended)
        self.world.timeline.after(0.0, self._tick)

    def _tick(self) -> None:
        if not self.alive:
            return
        if not self.leads():
            return self._loop_ended(None, LeadLost("the lead is lost"))
        self._ticks += 1
        for cluster in self.shell.clusters.all():
            name = "sweep", id(cluster)
            if name not in self._busy and self.observer.due(cluster):
                self._once(name, self.shell.sweeps.sweep(cluster))
            name = "confirm", id(cluster)
            if name not in self._busy and self.observer.unconfirmed(cluster):
                self._once(name, self.observer.confirm(cluster))
            name = "locate", id(cluster)
            if name not in self._busy and self.observer.locator.waits(cluster):
                self._once(name, self.observer.locator.take_in(cluster))
            name = "ring", id(cluster)
            if self._ticks % RING_TICKS == 0 and name not in self._busy:
                self._once(name, self.observer.ring(cluster))
        if RECORD not in self._busy and (self.recorder.depth() or self.recorder._touches.waiting()):
            self._once(RECORD, self.recorder.flush())
        if self.alive:
            self.world.timeline.after(TICK_SECONDS, self._tick)

    def _once(self, name: tuple[str, int], coro: Coroutine[Any, Any, object]) -> None:
        self._busy.add(name)

        def ended(job: Job | None, error: Exception | None) -> None:
            self._busy.discard(name)
            if error is not None:
                self._loop_ended(job, error)

        self.answer(self._job(coro, ended), None, None)

    def _waits(self, seconds: float) -> None:
        self._waited = seconds

    def _dispatch(self) -> None:
        if not self.alive or not self.shell.agenda.led.is_set():
            return
        self._grant()
        while self._working < self._workers:
            key = self.queue.take()
            if key is None:
                break
            self._taken[key] += 1
            self.world.watch.taken(key, self._waited, self._taken[key])
            self._working += 1
            self._go(self.shell.workers.reconcile(key), self._reconciled)
        due = self.queue.next_deadline()
        if due is not None and self._working < self._workers:
            when = due - 1000.0  # the monotonic clock of this machine
            if when < self._alarm:
                self._alarm = when
                self.world.timeline.at(when, self._ring_alarm)

    def _grant(self) -> None:
        """As the loop of permits.py: when something changed, and when there may be more."""
        pause = self.shell.permits.grant()
        if pause is not None and self.world.timeline.now + pause < self._granting:
            self._granting = self.world.timeline.now + pause
            self.world.timeline.at(self._granting, self._grant_again)

    def _grant_again(self) -> None:
        self._granting = float("inf")
        self._dispatch()

    def _ring_alarm(self) -> None:
        self._alarm = float("inf")
        self._dispatch()

    def _reconciled(self, job: Job | None, error: Exception | None) -> None:
        self._working -= 1
        if error is not None:
            self._loop_ended(job, error)

    def _loop_ended(self, job: Job | None, error: Exception | None) -> None:
        """Crash-only: a loop that ends takes the process with it, and another one is started."""
        if not self.alive:
            return
        if not isinstance(error, FractalError):
            self.world.watch.panic(self.name, error)
        self.world.log(self.name, "ends", str(error))
        self.world.crash(self)

    # --- jobs ---

    def _go(self, coro: Coroutine[Any, Any, object], ended: Any) -> None:
        """Begin as a task of asyncio does: when what runs now has given control away."""
        job = self._job(coro, ended)
        self.world.timeline.after(0.0, partial(self.answer, job, None, None))

    def _job(self, coro: Coroutine[Any, Any, object], ended: Any) -> Job:
        def gone(job: Job, error: Exception | None) -> None:
            self._jobs.pop(job, None)
            if self.alive:
                ended(job, error)
                self._dispatch()

        job = Job(coro, self._serve, gone)
        self._jobs[job] = None
        return job

    def _serve(self, job: Job, asked: Pending | Pause) -> None:
        if not self.alive:
            job.drop()
        elif isinstance(asked, Pause):
            self.world.timeline.after(asked.seconds, partial(self.answer, job, None, None))
        else:
            self.world.perform(self, job, asked)

    def answer(self, job: Job, value: Any, error: Exception | None) -> None:
        """What a job waited for has come, if it still waits."""
        if job not in self._jobs:
            return
        if error is None:
            job.send(value)
        else:
            job.throw(error)
        self._dispatch()


class Timed(FakeKube):
    """The port Kube, whose calls for the Lease tell how long they may take."""

    async def get_lease(self, key: ObjectKey, within: float) -> Mapping[str, Any] | None:
        return await self._wire.call("get_lease", lambda: self._world.get_lease(key), key, within)

    async def create_lease(
        self, key: ObjectKey, spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.create_lease(key, spec)

        return await self._wire.call("create_lease", do, key, spec, within)

    async def update_lease(
        self, lease: Mapping[str, Any], spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.update_lease(lease, spec)

        return await self._wire.call("update_lease", do, lease, spec, within)


class Permits(FakeEcs):
    """The port Ecs, where a permit may be wanting."""

    def __init__(self, world: "World", ecs: FakeEcs) -> None:
        super().__init__(ecs._world, ecs._wire)
        self._sim = world

    def draw(self, region: str, operation: str) -> float:
        return self._sim.permit()
