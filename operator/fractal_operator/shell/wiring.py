"""The shell of one process, put together; what is outside of it is given.

The process (main.py), the unit tests and the simulation build it by the same function, so that
what is proven of the one holds of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fractal_models.records import Refused
from fractal_operator.core.orphans import Reaping
from fractal_operator.core.plan import Policy
from fractal_operator.health import Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs, Kube, Ledger
from fractal_operator.shell.act import Actor
from fractal_operator.shell.agenda import Agenda
from fractal_operator.shell.audit import Auditor
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.hearing import Hearing
from fractal_operator.shell.leader import Leader
from fractal_operator.shell.memory import Memories
from fractal_operator.shell.news import News
from fractal_operator.shell.objects import uid_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.poison import Poison
from fractal_operator.shell.reap import Reaper
from fractal_operator.shell.reconcile import Reconciler
from fractal_operator.shell.record import Recorder
from fractal_operator.shell.recording import Recording
from fractal_operator.shell.run import Runner
from fractal_operator.shell.sweeps import Sweeps
from fractal_operator.shell.tasks import Tasks
from fractal_operator.shell.watchdogs import Watchdogs
from fractal_operator.shell.workers import Workers


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the settings choose: reconciles at a time, seconds between two sweeps and two rings,
    the clusters whose mass loss somebody has confirmed, the watched namespaces (none: all), and
    whether orphans are stopped or only told of."""

    workers: int
    sweep_seconds: float
    ring_seconds: float
    confirmed_losses: frozenset[str] = frozenset()
    namespaces: tuple[str, ...] = ()
    reaps: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """The parts; ``runner`` runs them, ``news`` wants the watch's events."""

    agenda: Agenda
    memories: Memories
    clusters: Clusters
    tasks: Tasks
    observer: Observer
    recorder: Recorder
    actor: Actor
    reconciler: Reconciler
    news: News
    hearing: Hearing
    workers: Workers
    sweeps: Sweeps
    recording: Recording
    reaper: Reaper
    runner: Runner


def wire(
    *,
    kube: Kube,
    ecs: Ecs,
    ledger: Ledger,
    clock: Clock,
    policy: Policy,
    agenda: Agenda,
    leader: Leader | None,
    metrics: Metrics,
    health: Health,
    refused: Callable[[Refused], None],
    duplicate: Callable[[], None],
    knobs: Knobs,
) -> Shell:
    """Put the parts together. ``refused`` is told of each record that the database will never take,
    ``duplicate`` of each second live task of one attempt."""
    objects, memories, clusters = agenda.objects, Memories(), Clusters()
    leads = leader.leads if leader is not None else lambda: True

    def replay() -> None:
        memories.retell()
        for body in objects.bodies():
            agenda.wake(uid_of(body))

    recorder = Recorder(ledger, clock, refused=refused, replay=replay)
    tasks = Tasks(policy.install, agenda.wake, duplicate)
    observer = Observer(
        ecs=ecs,
        clock=clock,
        tasks=tasks,
        clusters=clusters,
        wake=agenda.wake,
        touch=recorder.touch,
        sweep_seconds=knobs.sweep_seconds,
        confirmed_losses=knobs.confirmed_losses,
    )
    actor = Actor(
        kube=kube,
        ecs=ecs,
        clock=clock,
        objects=objects,
        memories=memories,
        observer=observer,
        recorder=recorder,
        policy=policy,
        metrics=metrics,
        leads=leads,
    )
    reconciler = Reconciler(
        clock=clock,
        objects=objects,
        memories=memories,
        observer=observer,
        recorder=recorder,
        actor=actor,
        policy=policy,
    )
    if policy.region and policy.cluster:
        clusters.own(policy.region, policy.cluster)
    hearing = Hearing(kube=kube, clock=clock, objects=objects, by_namespace=bool(knobs.namespaces))
    news = News(
        kube=kube,
        clock=clock,
        agenda=agenda,
        clusters=clusters,
        hearing=hearing,
        reconciler=reconciler,
        actor=actor,
        metrics=metrics,
        health=health,
    )
    workers = Workers(
        clock=clock,
        agenda=agenda,
        reconciler=reconciler,
        poison=Poison(kube=kube, clock=clock, objects=objects, actor=actor, leads=leads),
        metrics=metrics,
        health=health,
        count=knobs.workers,
    )
    sweeps = Sweeps(
        clock=clock,
        clusters=clusters,
        observer=observer,
        news=news,
        metrics=metrics,
        health=health,
        ring_seconds=knobs.ring_seconds,
    )
    recording = Recording(
        kube=kube,
        clock=clock,
        objects=objects,
        news=news,
        recorder=recorder,
        auditor=Auditor(
            kube,
            ledger,
            recorder,
            clock,
            lambda arn: tasks.shown(arn, clock.now()),
            clusters,
            watched=knobs.namespaces,
        ),
        metrics=metrics,
    )
    reaper = Reaper(
        kube=kube,
        ecs=ecs,
        clock=clock,
        tasks=tasks,
        clusters=clusters,
        reaping=Reaping(policy.install, knobs.namespaces),
        metrics=metrics,
        leads=leads,
        stops=knobs.reaps,
    )
    gauges = Gauges(
        clock=clock,
        metrics=metrics,
        objects=objects,
        clusters=clusters,
        reconciler=reconciler,
        recorder=recorder,
    )
    watchdogs = Watchdogs(
        clock=clock,
        health=health,
        metrics=metrics,
        queue=agenda.queue,
        workers=knobs.workers,
        sweeps=sweeps,
        hearing=hearing,
    )
    runner = Runner(
        agenda=agenda,
        recorder=recorder,
        health=health,
        leader=leader,
        following=(news.resync, hearing.listen, watchdogs.guard, gauges.loop_lag),
        leading=(
            workers.dispatch,
            sweeps.sweeps,
            sweeps.rings,
            recording.record,
            recording.audit,
            gauges.gauges,
            reaper.reap,
        ),
    )
    return Shell(
        agenda=agenda,
        memories=memories,
        clusters=clusters,
        tasks=tasks,
        observer=observer,
        recorder=recorder,
        actor=actor,
        reconciler=reconciler,
        news=news,
        hearing=hearing,
        workers=workers,
        sweeps=sweeps,
        recording=recording,
        reaper=reaper,
        runner=runner,
    )
