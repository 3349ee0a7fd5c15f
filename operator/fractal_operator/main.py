"""The composition root: the only module that knows every part and puts them together."""

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any, cast

import kopf
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from fractal_helpers import log as logs
from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import Quotas
from fractal_helpers.aws.session import Sessions
from fractal_helpers.aws.sqs import SqsClient, region_of
from fractal_helpers.kube import KubeClient
from fractal_models.errors import FractalError, Rejected
from fractal_operator.core.allow import Allow
from fractal_operator.core.plan import Policy
from fractal_operator.core.tokens import digest
from fractal_operator.deadman import DeadMan
from fractal_operator.handlers import watch
from fractal_operator.health import STEPS, Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import ObjectKey
from fractal_operator.probes import Probes
from fractal_operator.settings import Settings
from fractal_operator.shell.agenda import Agenda, namespace_of
from fractal_operator.shell.aws import AwsEcs
from fractal_operator.shell.leader import Leader, Terms
from fractal_operator.shell.ledgers import ledger
from fractal_operator.shell.objects import Objects
from fractal_operator.shell.observe import Pace
from fractal_operator.shell.queues import SqsEvents
from fractal_operator.shell.refusals import Refusals
from fractal_operator.shell.wiring import Knobs, Shell, wire
from fractal_operator.shell.workqueue import WorkQueue

log = logging.getLogger(__name__)

_TOLD_OF_EACH = tuple(
    f"fractal_operator.shell.{name}"
    for name in ("bystander", "calls", "launches", "observe", "workers")
)
"""Loggers that warn of each object, cluster or call that has the same trouble."""

_COLLECT_AFTER = (25_000, 10, 10)
"""Python's thresholds of garbage collection (default 700, 10, 10). Nearly all that is let go of is
freed by its reference count, while each full collection walks all objects' data: at 5,000 objects
one took 0.2 s of the event loop and all together 14 % of the CPU of a mass launch."""


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def run(settings: Settings, deadman: DeadMan) -> None:
    """Run the operator until SIGTERM or SIGINT; raises FractalError if it cannot start or go on."""
    gc.set_threshold(*_COLLECT_AFTER)
    deadman.follow(asyncio.get_running_loop())
    logs.configure(settings.log_format, settings.log_level, few=_TOLD_OF_EACH)
    stop = asyncio.Event()
    _set_on_signals(stop)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = Metrics(registry)
    kube = await KubeClient.connect(
        namespaces=settings.namespaces,
        selector=str(settings.label_selector),
        observe=metrics.kube_call,
    )
    try:
        install = await install_id(settings, kube)
        namespaces = ", ".join(settings.namespaces) or "all"
        labels = str(settings.label_selector) or "any"
        log.info("installation %s starts: namespaces %s, labels %s", install, namespaces, labels)
        if not settings.allow:
            log.warning(
                "FRACTAL_ALLOW is not set: whoever may create FractalContainers may use every "
                "cluster, image and role that the operator's AWS rights reach"
            )
        clock = SystemClock()
        health = Health(clock.monotonic, steps=STEPS)
        probes = Probes(health, registry)
        port = await _serve(probes, settings)
        log.info("serving /metrics, /healthz and /readyz on port %d", port)
        shell = compose(settings, install, kube, clock, metrics, health)
        shell.runner.stop = stop
        if not stop.is_set():
            await _run_with_watch(settings, shell)
        await probes.stop()
    finally:
        deadman.leave()
        await kube.close()
    log.info("stopped")


async def _serve(probes: Probes, settings: Settings) -> int:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        return await probes.start(host, port)
    except OSError as error:
        raise Rejected(
            f"cannot serve /metrics and /healthz on {host}:{port}: {error.strerror or error} "
            "(FRACTAL_METRICS_HOST, FRACTAL_METRICS_PORT)"
        ) from error


async def install_id(settings: Settings, kube: KubeClient) -> str:
    """FRACTAL_INSTALL_ID, or a name derived from the cluster and the release; stable for both."""
    if settings.install_id:
        return settings.install_id
    uid = await kube.server_uid()
    if uid is None:
        raise Rejected(
            "cannot read namespace kube-system, whose uid names this installation: allow "
            "it, or set FRACTAL_INSTALL_ID"
        )
    return digest(f"{uid}/{settings.release_namespace}/{settings.release_name}", 10)


def compose(
    settings: Settings,
    install: str,
    kube: KubeClient,
    clock: SystemClock,
    metrics: Metrics,
    health: Health,
) -> Shell:
    """Put the parts together, and the clients of what is outside."""
    policy = Policy(
        install=install,
        process=token_hex(8),
        region=settings.region or "",
        cluster=settings.cluster or "",
        subnets=settings.subnets,
        security_groups=settings.security_groups,
        assign_public_ip=settings.assign_public_ip or "",
        allow=Allow(settings.allow),
        selector=settings.label_selector,
    )
    queue: WorkQueue[ObjectKey] = WorkQueue(
        clock.monotonic,
        lane=namespace_of,
        on_add=metrics.queue_adds.inc,
        on_retry=metrics.queue_retries.inc,
        on_wait=metrics.queue_seconds.observe,
        on_work=metrics.work_seconds.observe,
    )
    metrics.watch_queue(queue)
    metrics.max_concurrent.set(settings.workers)
    objects = Objects()
    sessions = Sessions(max_pool_connections=settings.aws_threads)
    quotas = Quotas(settings.quota_share, dict(settings.quotas), throttled=metrics.throttled)
    metrics.watch_quotas(quotas.standings)
    leader = _leader(settings, kube, clock, metrics)
    leads = leader.leads if leader is not None else lambda: True
    return wire(
        kube=kube,
        ecs=AwsEcs(_clients(sessions, quotas, metrics), settings.aws_threads, clock, leads, quotas),
        events=_events(settings, sessions, metrics, leads),
        ledger=ledger(settings, install),
        clock=clock,
        policy=policy,
        agenda=Agenda(objects, queue),
        leader=leader,
        metrics=metrics,
        health=health,
        refused=Refusals(kube, objects, metrics),
        duplicate=metrics.duplicate_tasks.inc,
        knobs=Knobs(
            workers=settings.workers,
            pace=Pace(
                settings.sweep_seconds,
                settings.audit_seconds,
                settings.quota_share * quotas.quota("cluster-read").per_second / 2,
            ),
            pollers=settings.sqs_pollers,
            ring_seconds=settings.fast_sweep_seconds,
            confirmed_losses=frozenset(settings.confirm_mass_loss),
            namespaces=settings.namespaces,
            reaps=settings.reaper == "stop",
            keep=timedelta(days=settings.history_days) if settings.history_days else None,
        ),
    )


def _leader(
    settings: Settings, kube: KubeClient, clock: SystemClock, metrics: Metrics
) -> Leader | None:
    """The candidate that this process is; None when there is no election."""
    if not settings.leader_election:
        log.warning("FRACTAL_LEADER_ELECTION is off: there must be no second process")
        return None
    lease = ObjectKey(settings.release_namespace, f"{settings.release_name}-leader")
    # In a pod the host's name is the pod's. The rest tells a restarted container from the last one,
    # which may still act.
    leader = Leader(
        kube,
        clock,
        lease,
        f"{socket.gethostname()}_{token_hex(4)}",
        Terms(settings.lease_seconds, settings.lease_renew_seconds, settings.lease_retry_seconds),
    )
    metrics.watch_leader(lease.name, leader.leads)
    return leader


def _events(
    settings: Settings, sessions: Sessions, metrics: Metrics, leads: Callable[[], bool]
) -> SqsEvents | None:
    """The queue of task events; None when there is none. Raises Rejected without its region."""
    url, pollers = settings.sqs_queue_url, settings.sqs_pollers
    if not url:
        return None
    region = region_of(url) or settings.region
    if not region:
        raise Rejected("FRACTAL_SQS_QUEUE_URL names no region: set FRACTAL_REGION")

    def make() -> SqsClient:
        return SqsClient(sessions.queue(region, pollers), url, observe=metrics.aws_call)

    return SqsEvents(url.rpartition("/")[2], make, pollers, leads)


def _clients(sessions: Sessions, quotas: Quotas, metrics: Metrics) -> Callable[[str], EcsClient]:
    def make(region: str) -> EcsClient:
        return EcsClient(
            sessions.clients(region),
            quotas.of(region),
            observe=metrics.aws_call,
            waited=metrics.aws_wait,
        )

    return make


def _set_on_signals(stop: asyncio.Event) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)


async def _run_with_watch(settings: Settings, shell: Shell) -> None:
    """The runner beside kopf's watch; whichever ends first ends the other."""
    runner = shell.runner
    ready, stop_watch = asyncio.Event(), asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(
            registry=watch.registry(shell.news.watched),
            settings=watch.settings(str(settings.label_selector)),
            memories=watch.Forgetful(),
            # Given, because kopf would else ask for the user's name: a container's user has none.
            identity=cast("Any", "fractal-operator"),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            ready_flag=ready,
            stop_flag=stop_watch,
        ),
        name="watch",
    )
    readiness = asyncio.create_task(ready.wait())
    await asyncio.wait([readiness, watching], return_when=asyncio.FIRST_COMPLETED)
    readiness.cancel()
    _set_on_signals(runner.stop)  # again: kopf has installed handlers of its own
    watching.add_done_callback(lambda _: runner.stop.set())
    try:
        await runner.run()
    finally:
        stop_watch.set()
        failure = await _ended(watching)
    if failure is not None:
        raise FractalError(f"the watch of FractalContainers ended: {failure}") from failure


async def _ended(watching: "asyncio.Task[None]") -> BaseException | None:
    try:
        async with asyncio.timeout(5):
            await watching
    except (Exception, asyncio.CancelledError) as error:
        return None if isinstance(error, TimeoutError | asyncio.CancelledError) else error
    return None
