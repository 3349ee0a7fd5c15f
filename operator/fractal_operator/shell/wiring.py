"""The shell of one process, put together; what is outside of it is given.

The process (main.py), the unit tests and the simulation build it by the same function, so that
what is proven of the one holds of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from fractal_models.records import Refused
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.core.orphans import Reaping
from fractal_operator.core.plan import Policy
from fractal_operator.health import Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs, Events, Kube, Ledger
from fractal_operator.shell.act import Actor
from fractal_operator.shell.agenda import Agenda
from fractal_operator.shell.audit import Auditor
from fractal_operator.shell.bystander import Bystander
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.events import Pollers
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.hearing import Hearing
from fractal_operator.shell.leader import Leader
from fractal_operator.shell.memory import Memories
from fractal_operator.shell.news import News
from fractal_operator.shell.objects import Known
from fractal_operator.shell.observe import Observer, Pace
from fractal_operator.shell.permits import Permits
from fractal_operator.shell.poison import Poison
from fractal_operator.shell.prune import Pruner
from fractal_operator.shell.reap import Reaper
from fractal_operator.shell.reconcile import Reconciler
from fractal_operator.shell.record import Recorder
from fractal_operator.shell.recording import Recording
from fractal_operator.shell.run import Runner
from fractal_operator.shell.stream import Stream
from fractal_operator.shell.sweeps import Sweeps
from fractal_operator.shell.tasks import Tasks
from fractal_operator.shell.watchdogs import Watchdogs
from fractal_operator.shell.workers import Workers


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the settings choose: reconciles at a time, how often ECS is swept, seconds between two
    rings, the clusters whose mass loss somebody has confirmed, the watched namespaces (none: all),
    whether orphans are stopped or only told of, how many calls wait for task events, and for how
    long the database keeps what is over (None: for ever)."""

    workers: int
    pace: Pace
    ring_seconds: float
    confirmed_losses: frozenset[str] = frozenset()
    namespaces: tuple[str, ...] = ()
    reaps: bool = True
    pollers: int = 2
    keep: timedelta | None = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """The parts; ``runner`` runs them, ``news`` wants the watch's events."""

    agenda: Agenda
    memories: Memories
    clusters: Clusters
    tasks: Tasks
    observer: Observer
    permits: Permits
    recorder: Recorder
    actor: Actor
    reconciler: Reconciler
    news: News
    hearing: Hearing
    workers: Workers
    sweeps: Sweeps
    recording: Recording | None
    pruner: Pruner | None
    reaper: Reaper
    stream: Stream
    pollers: Pollers | None
    runner: Runner


def wire(
    *,
    kube: Kube,
    ecs: Ecs,
    ledger: Ledger | None,
    clock: Clock,
    policy: Policy,
    agenda: Agenda,
    leader: Leader | None,
    metrics: Metrics,
    health: Health,
    refused: Callable[[Refused], None],
    duplicate: Callable[[], None],
    knobs: Knobs,
    events: Events | None = None,
) -> Shell:
    """Put the parts together. ``refused`` is told of each record that the database will never take,
    ``duplicate`` of each second live task of one attempt; without a ``ledger`` nothing is recorded,
    and without ``events`` only sweeps tell what ECS does."""
    objects, memories, clusters = agenda.objects, Memories(), Clusters()
    leads = leader.leads if leader is not None else lambda: True

    def replay() -> None:
        memories.retell()
        agenda.look_again(each.key for each in objects.all())

    def known(uid: str) -> Known | None:
        key = objects.key(uid)
        each = objects.known(key) if key is not None else None
        ours = each is not None and each.shape.installation in ("", policy.install)
        return each if ours else None

    recorder = Recorder(ledger, clock, refused=refused, replay=replay, keep=knobs.keep)
    tasks = Tasks(policy.install, agenda.wake, duplicate)
    stream = Stream(clock, missed=metrics.events_missed.inc)
    if events is not None:
        stream.changed = metrics.events_healthy.labels(events.name).set
    observer = Observer(
        ecs=ecs,
        clock=clock,
        tasks=tasks,
        clusters=clusters,
        wake=agenda.wake,
        touch=recorder.touch,
        pace=knobs.pace,
        stream=stream,
        confirmed_losses=knobs.confirmed_losses,
    )
    # Between two audits nothing is shown of a task that runs on.
    shown_within = LOST_AFTER if events is None else LOST_AFTER + knobs.pace.audit
    permits = Permits(ecs, clock, agenda.wake, metrics.permit_waited)
    actor = Actor(
        kube=kube,
        ecs=ecs,
        clock=clock,
        objects=objects,
        memories=memories,
        observer=observer,
        recorder=recorder,
        permits=permits,
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
        permits=permits,
        bystander=Bystander(kube, clock, policy),
        policy=policy,
    )
    if policy.region and policy.cluster:
        clusters.own(policy.region, policy.cluster)
    hearing = Hearing(
        kube=kube,
        clock=clock,
        objects=objects,
        by_namespace=bool(knobs.namespaces),
        selector=policy.selector,
    )
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
        policy=policy,
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
    recording = pruner = None
    if ledger is not None:
        auditor = Auditor(
            kube,
            ledger,
            recorder,
            clock,
            lambda arn: tasks.shown(arn, clock.now(), shown_within),
            known,
            clusters,
        )
        recording = Recording(
            clock=clock, news=news, recorder=recorder, auditor=auditor, metrics=metrics
        )
        if knobs.keep is not None:
            pruner = Pruner(ledger, clock, metrics, knobs.keep)
    reaper = Reaper(
        kube=kube,
        ecs=ecs,
        clock=clock,
        tasks=tasks,
        clusters=clusters,
        reaping=Reaping(policy.install, knobs.namespaces),
        permits=permits,
        metrics=metrics,
        leads=leads,
        stops=knobs.reaps,
        selects=bool(policy.selector),
    )
    gauges = Gauges(
        clock=clock,
        metrics=metrics,
        objects=objects,
        clusters=clusters,
        permits=permits,
        recorder=recorder,
        install=policy.install,
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
    pollers = None
    if events is not None:
        pollers = Pollers(
            queue=events,
            clock=clock,
            clusters=clusters,
            observer=observer,
            stream=stream,
            metrics=metrics,
            health=health,
            leads=leads,
        )
    runner = Runner(
        agenda=agenda,
        recorder=recorder,
        health=health,
        leader=leader,
        following=(news.resync, hearing.listen, watchdogs.guard, gauges.loop_lag),
        leading=(
            workers.dispatch,
            permits.serve,
            sweeps.sweeps,
            sweeps.rings,
            *((recording.record, recording.audit) if recording is not None else ()),
            *([pruner.prune] if pruner is not None else ()),
            gauges.gauges,
            reaper.reap,
            *((*[pollers.poll] * knobs.pollers, sweeps.confirms) if pollers is not None else ()),
        ),
    )
    return Shell(
        agenda=agenda,
        memories=memories,
        clusters=clusters,
        tasks=tasks,
        observer=observer,
        permits=permits,
        recorder=recorder,
        actor=actor,
        reconciler=reconciler,
        news=news,
        hearing=hearing,
        workers=workers,
        sweeps=sweeps,
        recording=recording,
        pruner=pruner,
        reaper=reaper,
        stream=stream,
        pollers=pollers,
        runner=runner,
    )
