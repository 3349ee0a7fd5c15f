"""Transactions against a real PostgreSQL that stops, cuts connections and loses answers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text, true
from sqlalchemy.orm import Session

from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import (
    create_engine,
    fractal_sql_commit,
    fractal_sql_delete,
    fractal_sql_update,
)
from fractal_models.errors import AccessDenied, OutcomeUnknown, Rejected, Unavailable
from fractal_models.observed import TaskArn
from fractal_models.records import HistoryRecord
from fractal_models.tables import ContainerHistory

Waits = list[float]


def entry(key: str) -> HistoryRecord:
    return HistoryRecord(
        key=key,
        at=datetime(2026, 1, 2, tzinfo=UTC),
        uid="uid-1",
        namespace="team",
        name="web",
        attempt=1,
        container_id="",
        phase_from="",
        phase_to="",
        reason="",
        message="",
    )


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Count the waits between attempts instead of waiting."""
    waited: Waits = []
    monkeypatch.setattr("fractal_helpers.sql.sleep", waited.append)
    return waited


# -- the seed's three


def test_commit_returns_what_the_function_returned(engine: Engine) -> None:
    def double(session: Session, number: int, *, plus: int) -> int:
        return int(session.scalar(text(f"SELECT {number} * 2")) or 0) + plus

    assert fractal_sql_commit(engine, double, 4, plus=1) == 9


def test_update_and_delete_say_how_many_rows_they_met(
    engine: Engine, ledger: PostgresLedger
) -> None:
    ledger.write([entry("a"), entry("b"), entry("c")])
    two = ContainerHistory.key.in_(["a", "b"])
    new = {"reason": "Why", "message": ContainerHistory.key + "!"}
    assert fractal_sql_commit(engine, fractal_sql_update, ContainerHistory, two, new) == 2
    assert fractal_sql_commit(engine, fractal_sql_update, ContainerHistory, ~true(), new) == 0
    assert [(row["reason"], row["message"]) for row in ledger.history("uid-1")] == [
        ("Why", "a!"),
        ("Why", "b!"),
        ("", ""),
    ]
    assert fractal_sql_commit(engine, fractal_sql_delete, ContainerHistory, two) == 2
    assert [row["key"] for row in ledger.history("uid-1")] == ["c"]


def test_an_error_of_the_function_rolls_back(engine: Engine, ledger: PostgresLedger) -> None:
    ledger.write([entry("a")])

    def fail(session: Session) -> None:
        fractal_sql_delete(session, ContainerHistory, true())
        raise LookupError

    with pytest.raises(LookupError):
        fractal_sql_commit(engine, fail)
    assert len(ledger.history("uid-1")) == 1


# -- what PostgreSQL refuses


@pytest.mark.parametrize(
    ("statement", "error", "code"),
    [
        ("SELECT 1/0", Rejected, "22012"),
        ("SELECT * FROM nowhere", Rejected, "42P01"),
        ("SELEC", Rejected, "42601"),
        ("SET ROLE pg_read_all_stats; DELETE FROM pg_database", AccessDenied, "42501"),
    ],
)
def test_refusals_are_not_repeated(
    engine: Engine, waits: Waits, statement: str, error: type[Rejected], code: str
) -> None:
    with pytest.raises(error) as caught:
        fractal_sql_commit(engine, Session.execute, text(statement))
    assert caught.value.code == code
    assert type(caught.value) is error
    assert ("fractal-operator migrate" in str(caught.value)) is (code == "42P01")
    assert waits == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", id="too slow"),
        pytest.param("SET TRANSACTION READ ONLY; CREATE TABLE t (i int)", id="a standby"),
    ],
)
def test_what_cannot_be_served_now_is_repeated_a_bounded_number_of_times(
    engine: Engine, waits: Waits, statement: str
) -> None:
    calls = []

    def work(session: Session) -> None:
        calls.append(1)
        session.execute(text(statement))

    with pytest.raises(Unavailable, match="PostgreSQL: "):
        fractal_sql_commit(engine, work)
    assert len(calls) == 3
    assert waits == [0.2, 0.8]


def test_a_serialization_failure_at_commit_is_repeated(engine: Engine, waits: Waits) -> None:
    """Two transactions read each other's row and write their own: one must go again."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE doctors (id int, on_call bool)"))
        connection.execute(text("INSERT INTO doctors VALUES (1, true), (2, true)"))
    calls = []

    def leave(session: Session) -> None:
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        session.execute(text("SELECT count(*) FROM doctors WHERE on_call"))
        session.execute(text("UPDATE doctors SET on_call = false WHERE id = 1"))
        calls.append(1)
        if len(calls) == 1:
            with engine.connect().execution_options(isolation_level="SERIALIZABLE") as other:
                other.execute(text("SELECT count(*) FROM doctors WHERE on_call"))
                other.execute(text("UPDATE doctors SET on_call = false WHERE id = 2"))
                other.commit()

    fractal_sql_commit(engine, leave)
    assert len(calls) == 2
    assert waits == [0.2]


# -- connections that break


def test_a_connection_killed_midway_is_replaced_and_the_work_done_once(
    engine: Engine, ledger: PostgresLedger, waits: Waits
) -> None:
    calls = []

    def work(session: Session) -> None:
        row = {column.key: getattr(entry("a"), column.key) for column in COLUMNS}
        session.add(ContainerHistory(**row))
        session.flush()
        calls.append(1)
        if len(calls) == 1:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            with engine.connect() as other:
                other.execute(text(f"SELECT pg_terminate_backend({pid}, 10000)"))
        session.execute(text("SELECT 1"))

    fractal_sql_commit(engine, work)
    assert len(calls) == 2
    assert waits == [0.2]
    assert len(ledger.history("uid-1")) == 1


COLUMNS = list(ContainerHistory.__table__.columns)


def test_connections_that_died_while_idle_cost_no_attempt(
    engine: Engine, ledger: PostgresLedger, waits: Waits, server_url: str
) -> None:
    ledger.write([entry("a")])
    kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name"
    with closing(create_engine(server_url).connect()) as other:
        other.execute(text(kill), {"name": engine.url.database})
    ledger.write([entry("b")])
    assert len(ledger.history("uid-1")) == 2
    assert waits == []


def test_a_full_pool_is_unavailable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(engine.connect())
        with pytest.raises(Unavailable, match="pooled connection"):
            fractal_sql_commit(engine, Session.execute, text("SELECT 1"))


def test_a_stopped_database_is_unavailable_and_works_after_its_restart(
    own_server: Postgres, waits: Waits
) -> None:
    url = own_server.create_database("stopped")
    migrate.upgrade(url)
    engine = create_engine(url)
    ledger = PostgresLedger(engine)
    ledger.write([entry("a")])

    own_server.stop()
    operations: list[Callable[[], Any]] = [
        lambda: ledger.write([entry("b")]),
        lambda: ledger.touch({TaskArn("t"): entry("b").at}),
        lambda: ledger.close_missing("lab", ["u"], [], entry("b").at),
        lambda: ledger.live("lab"),
        lambda: ledger.history("uid-1"),
        lambda: migrate.check(url),
    ]
    for operation in operations:
        with pytest.raises(Unavailable, match="connection to server"):
            operation()
    assert waits[:2] == [0.2, 0.8]

    own_server.start()
    waits.clear()
    ledger.write([entry("b")])
    assert [row["key"] for row in ledger.history("uid-1")] == ["a", "b"]
    assert waits == []

    own_server.crash()
    own_server.start()
    assert own_server.url("stopped") == url
    assert [row["key"] for row in ledger.history("uid-1")] == ["a", "b"]
    own_server.restart()
    assert [row["key"] for row in ledger.history("uid-1")] == ["a", "b"]
    engine.dispose()


def test_a_shutdown_in_the_middle_of_a_transaction_is_unavailable(
    own_server: Postgres, waits: Waits
) -> None:
    engine = create_engine(own_server.url())

    def work(session: Session) -> None:
        session.execute(text("SELECT 1"))
        own_server.stop()
        session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        fractal_sql_commit(engine, work)
    assert waits == [0.2, 0.8]
    own_server.start()
    engine.dispose()


class CommitLoser:
    """A proxy that passes everything, until it is told to swallow the answer to a COMMIT."""

    def __init__(self, server: Any) -> None:
        self.armed = threading.Event()
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Shutting down wakes the threads that wait for a socket, which closing alone does not.
        for waiting in (self._listener, *self._clients):
            with suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with ExitStack() as sessions:
            while True:
                try:
                    client, _ = self._listener.accept()
                except OSError:
                    return
                self._clients.append(client)
                session = threading.Thread(target=self._session, args=(client,))
                session.start()
                sessions.callback(session.join)

    def _session(self, client: socket.socket) -> None:
        """PostgreSQL's protocol is ask and answer here, so one thread passes both directions on."""
        with client, self._connect() as server:
            while asked := client.recv(65536):
                server.sendall(asked)
                if asked.startswith(b"X"):  # Terminate has no answer
                    return
                answer = server.recv(65536)
                while asked.startswith(b"Q") and answer[-6:-1] != b"Z\x00\x00\x00\x05":
                    answer += server.recv(65536)
                if self.armed.is_set() and b"COMMIT" in asked:
                    self.armed.clear()
                    return
                client.sendall(answer)

    def _connect(self) -> socket.socket:
        if isinstance(self._server, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            return server
        return socket.create_connection(self._server)


@pytest.fixture
def proxy(database: str) -> Iterator[CommitLoser]:
    url = make_url(database)
    folder = url.query.get("host")
    port = url.port or 5432
    proxy = CommitLoser(f"{folder}/.s.PGSQL.{port}" if folder else (url.host, port))
    yield proxy
    proxy.close()


def test_a_commit_whose_answer_is_lost_has_an_unknown_outcome(
    database: str, ledger: PostgresLedger, proxy: CommitLoser, waits: Waits
) -> None:
    url = make_url(database).set(
        host="127.0.0.1", port=proxy.port, query={"sslmode": "disable", "gssencmode": "disable"}
    )
    engine = create_engine(url.render_as_string(hide_password=False))
    through = PostgresLedger(engine)
    through.write([entry("a")])

    proxy.armed.set()
    with pytest.raises(OutcomeUnknown):
        through.write([entry("b")])
    assert waits == []
    assert [row["key"] for row in ledger.history("uid-1")] == ["a", "b"]

    through.write([entry("b"), entry("c")])  # so a ledger's write may simply be repeated
    assert [row["key"] for row in ledger.history("uid-1")] == ["a", "b", "c"]
    engine.dispose()


# -- engines


@pytest.mark.parametrize(
    "url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg2://u@h/d"]
)
def test_every_spelling_of_the_url_uses_one_driver(url: str) -> None:
    engine = create_engine(url)
    assert engine.driver == "psycopg2"
    assert engine.hide_parameters


def test_another_database_is_refused_without_its_password() -> None:
    with pytest.raises(ValueError, match="not a PostgreSQL URL") as caught:
        create_engine("mysql://u:canary@h/d")
    assert "canary" not in str(caught.value)


def test_statements_and_locks_are_limited_and_times_are_utc(engine: Engine) -> None:
    with engine.connect() as connection:
        shown = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "lock_timeout", "TimeZone", "application_name")
        }
    assert shown == {
        "statement_timeout": "15s",
        "lock_timeout": "5s",
        "TimeZone": "UTC",
        "application_name": "fractal-operator",
    }


def test_no_error_holds_the_password_or_a_parameter(tmp_path: Path, engine: Engine) -> None:
    unreachable = create_engine(f"postgresql://u:canary@/d?host={tmp_path}")
    with pytest.raises(Unavailable) as caught:
        fractal_sql_commit(unreachable, Session.execute, text("SELECT 1"))
    assert "canary" not in f"{caught.value} {caught.value.__cause__} {unreachable!r}"

    with pytest.raises(Rejected) as refused:
        fractal_sql_commit(
            engine, Session.execute, text("SELECT CAST(:value AS int) + 1"), {"value": "canary"}
        )
    assert "'canary'" not in str(refused.value)
