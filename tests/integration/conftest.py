"""A real PostgreSQL for each worker: FRACTAL_DATABASE_URL's, or one that is started here."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine

# tests/conftest.py says so at the end of the run.
collect_ignore = [] if shutil.which("promtool") else ["test_alert_rules.py"]

DATABASE_URL = os.environ.get("FRACTAL_DATABASE_URL")
MakeDatabase = Callable[..., str]


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A URL of a role that may create databases on this worker's server."""
    with ExitStack() as stack:
        yield DATABASE_URL or stack.enter_context(embedded()).url()


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with embedded() as server:
        yield server


@contextmanager
def embedded() -> Iterator[Postgres]:
    # Not under tmp_path: pytest closes that to other users, and as root the server runs as one.
    with (
        tempfile.TemporaryDirectory(prefix="fractal-pg-") as folder,
        Postgres(Path(folder) / "data") as server,
    ):
        yield server
        server.crash()  # saves the checkpoint of what is deleted next


@pytest.fixture(scope="session")
def make_database(server_url: str) -> Iterator[MakeDatabase]:
    """Create databases, by ``template=`` as a copy; a server that stays has them dropped."""
    engine = create_engine(server_url).execution_options(isolation_level="AUTOCOMMIT")
    numbers, names = itertools.count(), []

    def make(template: str = "template1") -> str:
        name = f"fractal_test_{os.getpid()}_{next(numbers)}"
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE {name} TEMPLATE "{template}"'))
        names.append(name)
        return make_url(server_url).set(database=name).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in names if DATABASE_URL else ():
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated(make_database: MakeDatabase) -> str:
    """The name of a migrated, empty database to copy."""
    url = make_database()
    migrate.upgrade(url)
    return str(make_url(url).database)


@pytest.fixture
def database(make_database: MakeDatabase, migrated: str) -> str:
    """The URL of a migrated, empty database of the test's own."""
    return make_database(template=migrated)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: Engine) -> PostgresLedger:
    return PostgresLedger(engine)
