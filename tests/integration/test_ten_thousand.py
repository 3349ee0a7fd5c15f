"""Ten thousand objects in a real PostgreSQL: statements, rows and pages are counted."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, text
from tests.integration.test_ledger import APP_STATE, CONTAINER, HISTORY, T0, statements, until
from tests.unit.shell.fakes import FakeKube
from tests.unit.shell.kube_world import KubeWorld
from tests.unit.shell.wire import FakeClock, Wire

from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.ledger import PAGE, PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models.observed import TaskArn
from fractal_models.records import (
    AppStateRecord,
    ContainerRecord,
    HistoryRecord,
    MirrorRecord,
    Record,
    Refused,
)
from fractal_operator.shell.audit import Audit, Auditor
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.ledgers import ThreadedLedger
from fractal_operator.shell.objects import Known
from fractal_operator.shell.record import BATCH, Recorder
from fractal_operator.shell.touches import SLICE_SECONDS, SLICES, Touches

OBJECTS = 10_000
Answer = TypeVar("Answer")


def uid(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}-0000-4000-8000-{number:012x}"


def app(number: int, **changes: Any) -> AppStateRecord:
    user = f"user-{number % 3000}@example.org"
    return replace(APP_STATE, task_id=uid(number), name=f"web-{number}", user_id=user, **changes)


def task(number: int, **changes: Any) -> ContainerRecord:
    arn = f"arn:aws:ecs:us-east-1:123456789012:task/main/{number:032x}"
    return replace(CONTAINER, container_id=arn, uid=uid(number), name=f"web-{number}", **changes)


def told(number: int) -> HistoryRecord:
    return replace(HISTORY, key=f"{uid(number)}-1-Running", uid=uid(number), name=f"web-{number}")


def known_as(number: int) -> Known:
    """An object as the watch has told of it."""
    meta = {"uid": uid(number), "namespace": "team", "name": f"web-{number}"}
    return Known.of({"metadata": meta})


def life(number: int, **changes: Any) -> list[Record]:
    return [app(number, **changes), task(number), told(number)]


class Bench:
    """The operator's recorder in front of a real ledger."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.clock = engine, FakeClock()
        self.ledger = ThreadedLedger(PostgresLedger(engine), "lab")
        self.refused: list[Refused] = []
        self.replays: Callable[[], None] = lambda: None
        self.recorder = Recorder(
            self.ledger, self.clock, refused=self.refused.append, replay=lambda: self.replays()
        )

    def run(self, coro: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run(coro)

    def flush(self) -> bool:
        self.clock.advance(60)
        return self.run(self.recorder.flush())

    def count(self, table: str, where: str = "true") -> int:
        with self.engine.connect() as connection:
            query = text(f"SELECT count(*) FROM {table} WHERE {where}")
            return int(connection.execute(query).scalar_one())


@pytest.fixture(scope="module")
def filled(make_database: Callable[..., str], migrated: str) -> Iterator[Bench]:
    """A database that holds ten thousand objects, as the recorder has written them."""
    engine = create_engine(make_database(template=migrated))
    bench = Bench(engine)
    with statements(engine) as sent:
        for number in range(OBJECTS):
            bench.recorder.offer(life(number))
        assert bench.flush()
    bench.sent = sent  # type: ignore[attr-defined]
    yield bench
    engine.dispose()


def test_ten_thousand_objects_are_recorded_in_batches(filled: Bench) -> None:
    sent: Sequence[str] = filled.sent  # type: ignore[attr-defined]
    assert filled.count("hardware.user_app_state") == OBJECTS
    assert filled.count("hardware.user_containers") == OBJECTS
    assert filled.count("logs.container_history") == OBJECTS
    # A batch is one transaction of a statement a table; the history goes with the mirror's rows.
    assert len(sent) <= 3 * 2 * OBJECTS / BATCH
    assert filled.recorder.depth() == 0


def test_offering_all_of_them_again_writes_nothing(filled: Bench) -> None:
    with statements(filled.engine) as sent:
        for number in range(OBJECTS):
            filled.recorder.offer([app(number), task(number)])
        assert filled.flush()
    assert sent == []


def test_an_audit_reads_pages_and_writes_nothing(filled: Bench) -> None:
    known = {uid(number): known_as(number) for number in range(OBJECTS)}
    auditor = Auditor(
        FakeKube(KubeWorld(filled.clock), Wire()),
        filled.ledger,
        filled.recorder,
        filled.clock,
        lambda arn: True,
        known.get,
        Clusters(),
    )
    with statements(filled.engine) as sent:
        assert filled.run(auditor.audit()) == Audit(closed=0, corrected=0)
    assert len(sent) == 2 * (OBJECTS // PAGE + 1)
    assert all(statement.startswith("SELECT") for statement in sent)

    for number in range(0, OBJECTS, 10):
        del known[uid(number)]
    with statements(filled.engine) as sent:
        assert filled.run(auditor.audit()) == Audit(closed=OBJECTS // 10, corrected=0)
    assert len(sent) <= 2 * (OBJECTS // PAGE + 1) + 4
    assert filled.count("hardware.user_app_state", "deleted") == OBJECTS // 10
    assert filled.count("hardware.user_containers", "state = 'STOPPED'") == OBJECTS // 10
    assert filled.count("logs.container_history", "reason = 'ObjectVanished'") == OBJECTS // 10


def test_one_row_that_is_refused_costs_a_batch_no_more_than_a_bisection(engine: Engine) -> None:
    bench = Bench(engine)
    rows: list[MirrorRecord] = [app(number) for number in range(BATCH)]
    rows[BATCH // 3] = app(BATCH // 3, state="NO SUCH STATE")
    bench.recorder.offer(rows)
    with statements(engine) as sent:
        assert bench.flush()
    assert [each.record for each in bench.refused] == [rows[BATCH // 3]]
    assert bench.count("hardware.user_app_state") == BATCH - 1
    assert len(sent) <= 2 * BATCH.bit_length() + 1


def test_after_an_outage_all_objects_are_told_again(
    own_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_helpers.sql.sleep", lambda _: None)
    url = own_server.create_database("outage")
    migrate.upgrade(url)
    bench = Bench(create_engine(url))
    for number in range(100):
        bench.recorder.offer(life(number))
    assert bench.flush()

    own_server.stop()
    for number in range(OBJECTS):
        bench.recorder.offer(life(number, state="READY", resource_version="2"))
    assert not bench.flush()
    assert bench.recorder.depth() == 3 * OBJECTS - 100, "all but the tasks that are written"

    def replay() -> None:
        for number in range(OBJECTS):
            bench.recorder.offer(life(number, state="READY", resource_version="2"))

    bench.replays = replay
    own_server.start()
    assert bench.flush()
    assert bench.recorder.depth() == 3 * OBJECTS, "all are offered again"
    with statements(bench.engine) as sent:
        assert bench.flush()
    assert len(sent) <= 3 * 2 * OBJECTS / BATCH
    assert bench.count("hardware.user_app_state", "state = 'READY'") == OBJECTS
    assert bench.count("hardware.user_containers") == OBJECTS
    assert bench.count("logs.container_history") == OBJECTS
    bench.engine.dispose()


def test_touching_ten_thousand_tasks_for_an_hour_makes_no_table_grow(engine: Engine) -> None:
    bench = Bench(engine)
    with engine.begin() as connection:
        # Nobody cleans up: the pages do it by themselves.
        connection.execute(
            text("ALTER TABLE hardware.user_containers SET (autovacuum_enabled = off)")
        )
    arns = [TaskArn(task(number).container_id) for number in range(OBJECTS)]
    bench.recorder.offer(task(number, state="RUNNING_AVAILABLE") for number in range(OBJECTS))
    assert bench.flush()
    before = size(engine)
    touches = Touches(bench.clock)

    async def hour() -> None:
        for minute in range(60):
            touches.note(arns, T0 + timedelta(minutes=minute + 1))
            await touches.write(bench.ledger)
            bench.clock.advance(SLICE_SECONDS)

    with statements(engine) as sent:
        bench.run(hour())
    assert len(sent) == 60
    oldest = int(T0.timestamp()) + 60 * (60 - SLICES + 1)
    assert bench.count("hardware.user_containers", f"last_pinged < {oldest}") == 0
    engine.dispose()  # a session that ends tells its statistics
    until(lambda: updates(engine)[0] == OBJECTS * 60 // SLICES)
    updated, in_place = updates(engine)
    assert in_place >= 0.98 * updated
    assert size(engine) <= 1.02 * before


def size(engine: Engine) -> int:
    with engine.connect() as connection:
        query = text("SELECT pg_total_relation_size('hardware.user_containers')")
        return int(connection.execute(query).scalar_one())


def updates(engine: Engine) -> tuple[int, int]:
    """How many rows were updated, and how many of those within their page."""
    query = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'user_containers'"
    )
    with engine.connect() as connection:
        row = connection.execute(query).one()
    return int(row[0]), int(row[1])
