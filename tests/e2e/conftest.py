"""The servers of a worker, and a world for each test.

The Kubernetes API is the one that E2E_KUBECONFIG names, or the stand-in; ECS and PostgreSQL are
always the stand-in and the embedded one.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from tests.e2e.api import GIVEN, Api, describe, install_crd, served, standin
from tests.e2e.proxy import Proxy, proxy
from tests.e2e.stack import World

from fractal_dev.ecs.client import EcsControl
from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.sql import create_engine
from fractal_models.kube import GROUP, PLURAL, VERSION

collect_ignore = ["test_demo.py"] if GIVEN else []  # the demo brings an API server of its own

ECS = [sys.executable, "-m", "fractal_dev.ecs", "--start-seconds", "0.6", "--stop-seconds", "0.3"]


@pytest.fixture(scope="session")
def bare_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API, whatever is installed in it."""
    home = tmp_path_factory.mktemp("home")
    if GIVEN:
        yield describe(GIVEN, home)
    else:
        with standin(tmp_path_factory.mktemp("standin")) as kubeconfig:
            yield describe(kubeconfig, home)


@pytest.fixture(scope="session")
def api(bare_api: Api) -> Api:
    """The API with the CRD of this checkout installed and served."""
    install_crd(bare_api)
    return bare_api


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid4().hex[:10]}"
    # from a manifest: `create namespace` speaks protobuf, which the stand-in does not
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    made = api.kubectl("create", "-f", "-", stdin=json.dumps(body))
    assert made.returncode == 0, made.stderr
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def way(api: Api) -> Iterator[Proxy]:
    """The operators' way to the API server."""
    with proxy(api.kubeconfig) as made:
        yield made


@pytest.fixture(scope="session")
def ecs_url() -> Iterator[str]:
    """The ECS stand-in, as a process."""
    with served(ECS) as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that a test may stop, and has to start again."""
    # Not under tmp_path: pytest closes that to other users, and as root the server runs as one.
    with (
        tempfile.TemporaryDirectory(prefix="fractal-pg-") as folder,
        Postgres(Path(folder) / "data") as server,
    ):
        yield server
        server.crash()  # saves the checkpoint of what is deleted next


@pytest.fixture
def world(
    api: Api, namespace: str, way: Proxy, ecs_url: str, postgres: Postgres, tmp_path: Path
) -> Iterator[World]:
    """A world of the test's own; at the end, what must always hold is checked."""
    name = f"w-{uuid4().hex[:10]}"
    url = postgres.create_database(name.replace("-", "_"))
    migrate.upgrade(url)
    ecs, engine = EcsControl(ecs_url), create_engine(url)
    with api.client() as connection:
        objects = client.CustomObjectsApi(connection)
        made = World(
            api, way, ecs, ecs_url, engine, url, namespace, name, tmp_path, objects, connection
        )
        yield made
        for operator in made.operators:
            operator.kill()
            print(f"--- {operator.logfile}\n{operator.logfile.read_text()[-5_000:]}")
        ecs.reset()
        tear_down(made)
    engine.dispose()
    made.check()


def tear_down(world: World) -> None:
    """Remove the objects, which nobody would release any more."""
    listed = world.objects.list_namespaced_custom_object(GROUP, VERSION, world.namespace, PLURAL)
    for item in listed["items"]:  # type: ignore[index]
        name = item["metadata"]["name"]
        try:
            world.patch(name, metadata={"finalizers": None})
            world.objects.delete_namespaced_custom_object(
                GROUP, VERSION, world.namespace, PLURAL, name
            )
        except ApiException as error:
            if error.status != 404:
                raise
