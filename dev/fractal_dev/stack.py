"""The whole system on one machine: three stand-ins in this process, the operator as a child."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fractal_dev import interrupts, landscape
from fractal_dev.ecs.client import EcsControl
from fractal_dev.ecs.server import EcsStandIn
from fractal_dev.kube import KubeApi
from fractal_dev.kubectl import Kubectl
from fractal_dev.operator_process import OperatorProcess
from fractal_dev.postgres import Postgres
from fractal_helpers import migrate


class Stack:
    """Kubernetes API, ECS, PostgreSQL and the operator, with everything in ``directory``.

    Inside a ``with`` block the three stand-ins run, on free ports, and what ``manifests`` name
    exists in AWS; the operator is started by :meth:`start_operator`. ``database_url`` names a
    PostgreSQL to use instead of an own one. Both are ended with the block, in any case.

    Raises the errors of :mod:`fractal_models.errors` if the database cannot be used.
    """

    kubectl: Kubectl
    ecs: EcsControl
    ecs_url: str
    queue_url: str
    """The queue of the events of all tasks that operators start."""
    operator: OperatorProcess

    def __init__(
        self,
        directory: Path,
        manifests: Sequence[Mapping[str, Any]],
        database_url: str | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.manifests = manifests
        self.database_url = database_url or ""
        self.kubeconfig = self.directory / "kubeconfig"
        self.log = self.directory / "operator.log"
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            with interrupts.deferred():
                self._start()
            migrate.upgrade(self.database_url)
            self.kubectl.install_crd()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def start_operator(self) -> int:
        """Start the operator, in place of one that has ended; returns its process id."""
        with interrupts.deferred():
            return self.operator.start()

    def kill_operator(self) -> None:
        """Kill the operator with SIGKILL."""
        self.operator.kill()

    def _start(self) -> None:
        self.kubectl = Kubectl(self._parts.enter_context(_kube(self.kubeconfig)))
        self._start_ecs()
        if not self.database_url:
            postgres = self._parts.enter_context(Postgres(self.directory / "postgres"))
            self.database_url = postgres.url()
        self.operator = OperatorProcess(self._settings(), self.log)
        self._parts.callback(self.operator.stop)

    def _start_ecs(self) -> None:
        server = EcsStandIn()
        self._parts.callback(server.stop)
        self.ecs_url = server.start()
        self.ecs = EcsControl(self.ecs_url)
        landscapes = landscape.named_by(self.manifests)
        for region, each in landscapes.items():
            for cluster in each.providers:
                server.ensure_cluster(cluster, region, landscape.INSTANCES)
        landscape.prepare(self.ecs_url, server.account_id, landscapes)
        self.queue_url = self.ecs.put_rule(**landscape.EVENTS)

    def _settings(self) -> Mapping[str, str]:
        """Return the environment that makes the operator use this stack and nothing else."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "AWS_ENDPOINT_URL": self.ecs_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": landscape.REGION,
            # Files of the user's might name other endpoints.
            "AWS_CONFIG_FILE": str(self.directory / "no-aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.directory / "no-aws-credentials"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            # This stack never runs two; one that was killed is replaced at once.
            "FRACTAL_LEADER_ELECTION": "false",
            "FRACTAL_DATABASE_URL": self.database_url,
            "FRACTAL_CLUSTER": landscape.CLUSTER,
            "FRACTAL_SUBNETS": landscape.SUBNET,
            "FRACTAL_FAST_SWEEP_SECONDS": "1",
            "FRACTAL_SQS_QUEUE_URL": self.queue_url,
            "FRACTAL_METRICS_HOST": "127.0.0.1",
            "FRACTAL_METRICS_PORT": "0",
            "FRACTAL_LOG_FORMAT": "text",
        }

    def _stop(self) -> None:
        with interrupts.deferred():
            self._parts.close()


@contextmanager
def _kube(kubeconfig: Path) -> Iterator[str]:
    """Run the Kubernetes API in a thread of its own; gives its URL."""
    loop, api = asyncio.new_event_loop(), KubeApi()
    thread = threading.Thread(target=loop.run_forever, name="kube-stand-in", daemon=True)
    thread.start()
    try:
        url = asyncio.run_coroutine_threadsafe(api.start(), loop).result()
        api.write_kubeconfig(kubeconfig)
        yield url
        asyncio.run_coroutine_threadsafe(api.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
