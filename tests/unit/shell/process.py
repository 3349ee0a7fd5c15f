"""One operator process on the fakes: the shell put together, and its loops in a line."""

from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry
from tests.unit.shell.ecs_world import REGION, EcsWorld
from tests.unit.shell.event_queue import EventQueue, FakeEvents
from tests.unit.shell.fakes import FakeEcs, FakeKube, FakeLedger
from tests.unit.shell.kube_world import KubeWorld
from tests.unit.shell.wire import FakeClock, Wire, run

from fractal_models.container import Phase, Status
from fractal_models.errors import FractalError
from fractal_models.kube import ObjectKey
from fractal_models.observed import TaskArn
from fractal_models.records import Refused
from fractal_operator.core import tokens
from fractal_operator.core.plan import Policy
from fractal_operator.health import STEPS, Health
from fractal_operator.metrics import Metrics
from fractal_operator.shell.agenda import Agenda, namespace_of
from fractal_operator.shell.clusters import Cluster
from fractal_operator.shell.leader import Leader
from fractal_operator.shell.objects import Body, Objects, key_of, uid_of
from fractal_operator.shell.observe import Pace
from fractal_operator.shell.reconcile import Rest
from fractal_operator.shell.wiring import Knobs
from fractal_operator.shell.wiring import wire as wire_up
from fractal_operator.shell.workqueue import WorkQueue

INSTALL = "ins"
POLICY = Policy(install=INSTALL, region=REGION, cluster="main")
KEY = ObjectKey("default", "one")
PACE = Pace(30.0)


class World:
    """Everything that outlives a process."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kube = KubeWorld(self.clock)
        self.ecs = EcsWorld(self.clock)
        self.ledger_wire = Wire()
        self.ledger = FakeLedger(self.ledger_wire)
        self.processes = 0

    def status(self, key: ObjectKey = KEY) -> Status:
        return Status.from_json(self.kube.objects[key].get("status"))


class Noted(Agenda):
    """An agenda that notes who was woken."""

    def __init__(self, objects: Objects, queue: WorkQueue[ObjectKey]) -> None:
        super().__init__(objects, queue)
        self.woken: list[str] = []

    def wake(self, uid: str) -> None:
        self.woken.append(uid)
        super().wake(uid)


class Process:
    """An operator that has just started; it dies with the test, or by a Crash of its wire."""

    def __init__(
        self,
        world: World,
        wire: Wire | None = None,
        *,
        policy: Policy = POLICY,
        confirmed_losses: frozenset[str] = frozenset(),
        workers: int = 4,
        pace: Pace = PACE,
        events: EventQueue | None = None,
        recorded: bool = True,
    ) -> None:
        self.world, self.wire, self.clock = world, wire or Wire(), world.clock
        world.processes += 1
        self.kube = FakeKube(world.kube, self.wire, policy.selector)
        self.ecs = FakeEcs(world.ecs, self.wire)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.health = Health(self.clock.monotonic, steps=STEPS)
        self.objects = Objects()
        self.queue: WorkQueue[ObjectKey] = WorkQueue(self.clock.monotonic, lane=namespace_of)
        self.agenda = Noted(self.objects, self.queue)
        self.woken = self.agenda.woken
        self.refused: list[Refused] = []
        self.duplicates: list[None] = []
        self.shell = wire_up(
            kube=self.kube,
            ecs=self.ecs,
            ledger=world.ledger if recorded else None,
            clock=self.clock,
            policy=replace(policy, process=f"process-{world.processes}"),
            agenda=self.agenda,
            leader=self.leader(),
            metrics=self.metrics,
            health=self.health,
            refused=self.refused.append,
            duplicate=lambda: self.duplicates.append(None),
            knobs=Knobs(workers, pace, 1.0, confirmed_losses),
            events=None if events is None else FakeEvents(events, self.wire),
        )
        self.runner, self.news = self.shell.runner, self.shell.news
        self.memories, self.clusters = self.shell.memories, self.shell.clusters
        self.tasks, self.observer = self.shell.tasks, self.shell.observer
        self.recorder, self.actor = self.shell.recorder, self.shell.actor
        self.reconciler = self.shell.reconciler
        self.permits = self.shell.permits
        self._told = 0
        self._selector = policy.selector
        self._shown: set[str] = set()
        self.begin()

    def leader(self) -> Leader | None:
        """The candidate that it is, if there is an election."""
        return None

    def begin(self) -> None:
        """It leads, but its loops do not run: see ``settle``."""
        self.agenda.led.set()

    def main(self) -> Cluster:
        """The cluster that objects which name none are in."""
        return self.clusters.of(REGION, "main", held=True)

    def value(self, metric: str, **labels: str) -> float | None:
        """What Prometheus would see."""
        return self.registry.get_sample_value(metric, labels)

    async def start(self) -> None:
        """The first list: what is there, before any event."""
        self._told = len(self.world.kube.changes)
        for body in await self.kube.list():
            self._shown.add(uid_of(body))
            self.objects.seen(body)
            self.queue.add(key_of(body))

    async def settle(self) -> None:
        """Events, sweeps, the ring and reconciles, until nothing is to be done at this time."""
        for _ in range(60):
            self._hear()
            self.permits.grant()
            for cluster in self.clusters.all():
                if self.observer.unconfirmed(cluster):
                    await self.observer.confirm(cluster)
                if self.observer.locator.waits(cluster):
                    await self.observer.locator.take_in(cluster)
                if self.observer.due(cluster):
                    await self.observer.sweep(cluster)
                else:
                    await self.observer.ring(cluster)
            key = self.queue.take()
            if key is None:
                return
            while key is not None:
                await self._reconcile(key)
                key = self.queue.take()
        raise AssertionError("does not come to rest")

    def _hear(self) -> None:
        for kind, body in self.world.kube.changes[self._told :]:
            shown = self._as_shown(kind, body)
            if shown:
                self.news.event(shown, body)
        self._told = len(self.world.kube.changes)

    def _as_shown(self, kind: str, body: Body) -> str:
        """The type under which a watch with a selector tells of a change; "" if it does not."""
        uid, selector = uid_of(body), self._selector
        if not selector:
            return kind
        known = uid in self._shown
        if kind == "DELETED" or not selector.selects(body["metadata"].get("labels")):
            self._shown.discard(uid)
            return "DELETED" if known else ""
        self._shown.add(uid)
        return "MODIFIED" if known else "ADDED"

    async def _reconcile(self, key: ObjectKey) -> None:
        try:
            rest = await self.reconciler.reconcile(key)
        except FractalError:
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            self._again(key, rest)
        self.queue.done(key)

    def _again(self, key: ObjectKey, rest: Rest) -> None:
        if rest.after is not None:
            self.queue.add_after(key, rest.after)

    def pause(self) -> float:
        """How long until there may be something to do, at most 10 seconds (a tick of the rest)."""
        due = self.queue.next_deadline()
        return 10.0 if due is None else min(10.0, max(0.05, due - self.clock.monotonic()))


def until(process: Process, done: Callable[[World], bool], *, within: float = 3600.0) -> None:
    """Let the process work, ECS move on and time pass until ``done``; fails after ``within`` s."""
    world, limit = process.world, process.clock.monotonic() + within
    while True:
        run(process.settle())
        if done(world):
            return
        assert process.clock.monotonic() < limit, f"not done in {within} s: {world.kube.objects}"
        world.ecs.settle()
        world.clock.advance(process.pause())


def running(world: World, key: ObjectKey = KEY) -> bool:
    """Whether one task runs as the object says now, and the status shows it."""
    body, status = world.kube.objects[key], world.status(key)
    (current,) = status.tasks if len(status.tasks) == 1 else (None,)
    return (
        status.phase is Phase.RUNNING
        and status.endpoint is not None
        and status.observed_generation == body["metadata"]["generation"]
        and current is not None
        and world.ecs.live(body["metadata"]["uid"]) == [current.arn]
        and world.ecs.tasks[TaskArn(current.arn)].spec_hash == tokens.spec_hash(body["spec"])
    )
