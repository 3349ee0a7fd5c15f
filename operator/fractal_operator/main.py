"""The composition root: the only module that knows every part and puts them together."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import kopf
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from fractal_helpers import log as logs
from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups
from fractal_helpers.aws.session import make_clients
from fractal_helpers.kube import KubeClient
from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models.errors import FractalError, Rejected
from fractal_models.observed import TaskArn
from fractal_models.records import Record, Refused
from fractal_operator.core.allow import Allow
from fractal_operator.core.plan import Policy
from fractal_operator.core.tokens import digest
from fractal_operator.handlers import watch
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Ledger, ObjectKey
from fractal_operator.probes import Health, Probes
from fractal_operator.settings import Settings
from fractal_operator.shell.act import Actor
from fractal_operator.shell.aws import AwsEcs, DaemonPool
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.leader import Leader, Terms
from fractal_operator.shell.memory import Memories
from fractal_operator.shell.objects import Objects, uid_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.reconcile import Reconciler
from fractal_operator.shell.record import Recorder
from fractal_operator.shell.refusals import Refusals
from fractal_operator.shell.run import STEPS, Runner
from fractal_operator.shell.tasks import Tasks
from fractal_operator.shell.workqueue import WorkQueue

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ThreadedLedger:
    """The Ledger port over the synchronous PostgreSQL ledger, in one thread of its own."""

    def __init__(
        self, ledger: PostgresLedger, install: str, namespaces: Sequence[str] = ()
    ) -> None:
        self._ledger = ledger
        self._install = install
        self._namespaces = tuple(namespaces)
        self._pool = DaemonPool(1)

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        return await self._pool.run(lambda: self._ledger.write(batch))

    async def touch(self, arns: Sequence[TaskArn], observed_at: datetime) -> None:
        await self._pool.run(lambda: self._ledger.touch(arns, observed_at))

    async def live_uids(self) -> Sequence[str]:
        return await self._pool.run(lambda: self._ledger.live_uids(self._install, self._namespaces))

    async def close_missing(self, uids: Sequence[str], at: datetime) -> int:
        return await self._pool.run(lambda: self._ledger.close_missing(self._install, uids, at))


class NoLedger:
    """The Ledger port without a database: FRACTAL_DATABASE_URL is not set."""

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        return ()

    async def touch(self, arns: Sequence[TaskArn], observed_at: datetime) -> None:
        return None

    async def live_uids(self) -> Sequence[str]:
        return ()

    async def close_missing(self, uids: Sequence[str], at: datetime) -> int:
        return 0


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT; raises FractalError if it cannot start."""
    logs.configure(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    _set_on_signals(stop)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = Metrics(registry)
    kube = await KubeClient.connect(namespaces=settings.namespaces, observe=metrics.kube_call)
    try:
        install = await install_id(settings, kube)
        log.info("installation %s starts", install)
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
        runner = compose(settings, install, kube, clock, metrics, health)
        runner.stop = stop
        if not stop.is_set():
            await _run_with_watch(settings, runner)
        await probes.stop()
    finally:
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
) -> Runner:
    """Put the parts together."""
    policy = Policy(
        install=install,
        process=token_hex(8),
        region=settings.region or "",
        cluster=settings.cluster or "",
        subnets=settings.subnets,
        security_groups=settings.security_groups,
        assign_public_ip=settings.assign_public_ip or "",
        allow=Allow(settings.allow),
    )
    queue: WorkQueue[ObjectKey] = WorkQueue(
        clock.monotonic,
        on_add=metrics.queue_adds.inc,
        on_retry=metrics.queue_retries.inc,
        on_wait=metrics.queue_seconds.observe,
        on_work=metrics.work_seconds.observe,
    )
    metrics.watch_queue(queue)
    metrics.max_concurrent.set(settings.workers)
    objects, memories, clusters = Objects(), Memories(), Clusters()
    leader = _leader(settings, kube, clock, metrics)
    leads = leader.leads if leader is not None else lambda: True
    ecs = AwsEcs(_clients(settings, metrics), settings.aws_threads, clock, leads)

    def wake(uid: str) -> None:
        runner.wake(uid)

    def replay() -> None:
        memories.retell()
        for body in objects.bodies():
            wake(uid_of(body))

    refused = Refusals(kube, objects, metrics)
    recorder = Recorder(_ledger(settings, install), clock, refused=refused, replay=replay)
    tasks = Tasks(install, wake, metrics.duplicate_tasks.inc)
    observer = Observer(
        ecs=ecs,
        clock=clock,
        tasks=tasks,
        clusters=clusters,
        wake=wake,
        touch=recorder.touch,
        sweep_seconds=settings.sweep_seconds,
        confirmed_losses=frozenset(settings.confirm_mass_loss),
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
        clusters.of(policy.region, policy.cluster)
    runner = Runner(
        kube=kube,
        clock=clock,
        objects=objects,
        queue=queue,
        clusters=clusters,
        observer=observer,
        reconciler=reconciler,
        actor=actor,
        recorder=recorder,
        metrics=metrics,
        health=health,
        leader=leader,
        workers=settings.workers,
        ring_seconds=settings.fast_sweep_seconds,
    )
    return runner


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


def _clients(settings: Settings, metrics: Metrics) -> Callable[[str], EcsClient]:
    def make(region: str) -> EcsClient:
        clients = make_clients(region, max_pool_connections=settings.aws_threads)
        return EcsClient(
            clients,
            QuotaGroups(settings.quota_share),
            observe=metrics.aws_call,
            waited=metrics.aws_wait,
        )

    return make


def _ledger(settings: Settings, install: str) -> Ledger:
    if settings.database_url is None:
        log.warning("FRACTAL_DATABASE_URL is not set: nothing is recorded in PostgreSQL")
        return NoLedger()
    url = settings.database_url.get_secret_value()
    for secret in (url, urlsplit(url).password):
        if secret:
            logs.register_secret(secret)
    return ThreadedLedger(PostgresLedger(create_engine(url)), install, settings.namespaces)


def _set_on_signals(stop: asyncio.Event) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)


async def _run_with_watch(settings: Settings, runner: Runner) -> None:
    """The runner beside kopf's watch; whichever ends first ends the other."""
    ready, stop_watch = asyncio.Event(), asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(
            registry=watch.registry(runner.watched, _login),
            settings=watch.settings(),
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


def _login(**kwargs: Any) -> Any:
    """Credentials as kubectl has them: KUBECONFIG, the pod's service account, ~/.kube/config."""
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
