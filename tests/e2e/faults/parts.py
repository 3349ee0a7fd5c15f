"""The servers of all runs, and the world of one: an operator behind three proxies on one wire."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import helm_python as helm
import sqlalchemy
from kubernetes import client
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from tests.e2e import rights
from tests.e2e.api import GIVEN, Api, describe, install_crd, served
from tests.e2e.faults.pg import PostgresWay
from tests.e2e.faults.wire import EcsHand, KubernetesHand, Wire
from tests.e2e.proxy import Relay, proxy, serving
from tests.e2e.rights import TIMEOUT
from tests.e2e.stack import OPERATOR, Operator, World, new_namespace
from urllib3.util import Retry

from fractal_dev.ecs.client import EcsControl
from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.sql import create_engine

DIES_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
MORTAL = (*DIES_WITH_PARENT, *OPERATOR)
"""The operator, which ends with the process that started it, however that ends."""
ECS = [sys.executable, "-m", "fractal_dev.ecs", "--start-seconds", "0.6", "--stop-seconds", "0.3"]
KUBE = [sys.executable, "-m", "fractal_dev.kube"]
PATIENCE = 300.0
"""Seconds for whatever is waited for: many runs go on at once, and the machine may be busy."""
TEMPLATE = "fractal_template"


@dataclass(frozen=True, slots=True)
class Parts:
    """The servers that runs share; plain values, so that other processes can use them, too."""

    api: Api
    ecs_url: str
    postgres: Path
    """The directory of its data and of its socket."""
    database_url: str
    """That of the template database, with all tables."""


def until(look: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until ``look`` says so. Looks less often than other tests: many runs go on at once."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.25)


@dataclass
class Stage(World):
    """A world whose operators reach every server by way of the wire."""

    wire: Wire | None = None
    ways: tuple[str, str] = ("", "")
    """The URLs of ECS and of PostgreSQL for operators."""

    def environ(self, **changes: str) -> dict[str, str]:
        ecs_url, database_url = self.ways
        environ = super().environ(database_url=database_url, **changes)
        return {**environ, "AWS_ENDPOINT_URL": ecs_url}

    def start(
        self, *, ready: bool = True, command: Sequence[str] = MORTAL, **changes: str
    ) -> Operator:
        made = super().start(ready=False, command=command, **changes)
        return made.wait_ready(PATIENCE) if ready else made


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server that is stopped when this process ends, however it does."""
    # Not below a directory that is closed to other users: as root the server runs as one.
    with tempfile.TemporaryDirectory(prefix="fractal-pg-") as folder:
        directory = Path(folder) / "data"
        # kill -9 of this process closes its end of the pipe
        watch = (
            'read -r _; [ -f "$0/postmaster.pid" ] && kill -QUIT "$(head -1 "$0/postmaster.pid")"'
        )
        with Postgres(directory) as server:
            guard = subprocess.Popen(["sh", "-c", watch, str(directory)], stdin=subprocess.PIPE)
            try:
                yield server
                server.start()
                server.crash()  # saves the checkpoint of what is deleted next
            finally:
                guard.kill()
                guard.communicate()


@contextmanager
def parts(home: Path) -> Iterator[Parts]:
    """All servers: the API server of E2E_KUBECONFIG, or the stand-in."""
    with ExitStack() as stack:
        if GIVEN:
            api = describe(GIVEN, home)
        else:
            kubeconfig = str(home / "kubeconfig")
            stack.enter_context(served([*DIES_WITH_PARENT, *KUBE, "--kubeconfig", kubeconfig]))
            api = describe(kubeconfig, home)
        install_crd(api)
        ecs_url = stack.enter_context(served([*DIES_WITH_PARENT, *ECS]))
        server = stack.enter_context(postgres_server())
        yield shared(api, ecs_url, server)


def shared(api: Api, ecs_url: str, server: Postgres) -> Parts:
    """Parts of servers that run already."""
    url = _template(server)
    return Parts(api, ecs_url, server.directory, url)


def _template(server: Postgres) -> str:
    with create_engine(server.url()).connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)
        )
        known = found.scalar()
    url = server.url(TEMPLATE) if known else server.create_database(TEMPLATE)
    migrate.upgrade(url)
    return url


@contextmanager
def credentials(api: Api, namespace: str, folder: Path) -> Iterator[str]:
    """A kubeconfig with the rights that the chart gives to an operator of this namespace, and no
    other; on the stand-in, which knows no rights, that of everybody."""
    if not GIVEN:
        yield api.kubeconfig
        return
    place: Any = SimpleNamespace(api=api, namespace=namespace, folder=folder)
    values = {"crds": {"enabled": False}, "watch": {"namespaces": [namespace]}} | rights.UNCHECKED
    with helm.Config(kubeconfig_path=api.kubeconfig, namespace=namespace) as config:
        config.install(rights.CHART, rights.RELEASE, values, timeout=TIMEOUT)
        with rights.credentials(place) as kubeconfig:
            yield str(kubeconfig)
        config.uninstall(rights.RELEASE, timeout=TIMEOUT)


@contextmanager
def stage(
    given: Parts, folder: Path, *, postgres: Postgres | None = None, nursed: bool = True
) -> Iterator[Stage]:
    """A world for one run.

    ``postgres`` is another server than the shared one. Operators killed by the wire are started
    again if they are ``nursed``.
    """
    if postgres is not None:
        given = replace(given, postgres=postgres.directory, database_url=_template(postgres))
    name, wire = f"w-{uuid4().hex[:10]}", Wire()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        namespace = stack.enter_context(new_namespace(given.api))
        kubeconfig = stack.enter_context(credentials(given.api, namespace, folder))
        way = stack.enter_context(proxy(kubeconfig, KubernetesHand(wire)))
        ecs = stack.enter_context(serving(Relay(given.ecs_url, EcsHand(wire))))
        pg = stack.enter_context(serving(PostgresWay(given.postgres, wire)))
        direct = stack.enter_context(_database(given.database_url, name.replace("-", "_")))
        database = direct.rpartition("/")[2].partition("?")[0]
        engine = create_engine(direct)
        stack.callback(engine.dispose)
        connection = stack.enter_context(given.api.client())
        retries = Retry(total=240, backoff_factor=0.2, backoff_max=1, allowed_methods=None)
        connection.rest_client.pool_manager.connection_pool_kw["retries"] = retries
        connection.rest_client.request = _once_served(connection.rest_client.request)
        world = Stage(
            api=given.api,
            proxy=way,
            ecs=EcsControl(given.ecs_url),
            ecs_url=given.ecs_url,
            engine=engine,
            database_url=direct,
            namespace=namespace,
            name=name,
            folder=folder,
            objects=client.CustomObjectsApi(connection),
            wire=wire,
            ways=(ecs.url, f"postgresql+psycopg2://postgres@127.0.0.1:{pg.port}/{database}"),
        )
        wire.victim = lambda: world.operators[0]
        nurse = threading.Thread(target=_nurse, args=(wire,), daemon=True)
        if nursed:
            nurse.start()
        try:
            yield world
        finally:
            wire.victim = lambda: None
            wire.killed.put(None)
            if nursed:
                nurse.join()
            for operator in world.operators:
                operator.kill()
            world.tear_down()


def _once_served(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Users' requests, made again while an API server that has just begun does not know the kind:
    it says so in plain text, while of an object that is not there it tells the name in JSON."""

    def request(*args: Any, **kwargs: Any) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            answer = ask(*args, **kwargs)
            told = answer.status != 404 or "json" in (answer.getheader("Content-Type") or "")
            if told or time.monotonic() > end:
                return answer
            answer.response.drain_conn()
            time.sleep(0.25)

    return request


def _nurse(wire: Wire) -> None:
    """Starts what was killed again, as a Deployment would."""
    while (operator := wire.killed.get()) is not None:
        operator.start()


@contextmanager
def _database(template: str, name: str) -> Iterator[str]:
    """A copy of the template database, meanwhile: its URL. Hundreds of them are 400,000 files."""
    url = make_url(template)
    admin = sqlalchemy.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    admin.dispose()
    yield url.set(database=name).render_as_string(hide_password=False)
    # A server that is down now is about to go, and all its databases with it.
    with suppress(OperationalError), admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()
