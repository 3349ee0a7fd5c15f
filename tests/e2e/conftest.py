"""The servers of a worker, and a world for each test.

The Kubernetes API is the one that E2E_KUBECONFIG names, or the stand-in; ECS and PostgreSQL are
always the stand-in and the embedded one.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import STANDIN_ONLY
from tests.e2e import image, prometheus
from tests.e2e.api import GIVEN, Api, describe, install_crd, served, standin
from tests.e2e.proxy import Proxy, proxy
from tests.e2e.stack import Servers, World, new_namespace, new_world

from fractal_dev.postgres import Postgres

if GIVEN:
    collect_ignore = list(STANDIN_ONLY)
else:
    # Helm needs a server with RBAC and server-side apply.
    collect_ignore = ["test_chart.py", "test_rights.py", "test_uninstall.py", "test_waiting.py"]
    if not prometheus.available():
        collect_ignore.append("test_monitoring.py")  # tests/conftest.py says so
    if not image.available():
        collect_ignore.append("test_image.py")

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
    with new_namespace(api) as name:
        yield name


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


@pytest.fixture(scope="session")
def servers(api: Api, way: Proxy, ecs_url: str, postgres: Postgres) -> Servers:
    """All servers of this worker."""
    return Servers(api, way, ecs_url, postgres)


@pytest.fixture
def world(servers: Servers, tmp_path: Path) -> Iterator[World]:
    """A world of the test's own."""
    with new_world(servers, tmp_path) as made:
        yield made
