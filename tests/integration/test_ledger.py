"""The ledger against a real PostgreSQL: the newest wins, whatever the order, number or text."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.live_rows import UNOBSERVED, VANISHED
from fractal_helpers.upserts import rank, storable
from fractal_models.errors import Rejected
from fractal_models.observed import TaskArn
from fractal_models.records import (
    AppStateRecord,
    ContainerRecord,
    HistoryRecord,
    LivePage,
    Record,
)
from fractal_models.tables.hardware import APP_STATES, CONTAINER_STATES, TERMINAL_STATES

T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ARN = "arn:aws:ecs:us-east-1:123456789012:task/main/0123456789abcdef0123456789abcdef"

CONTAINER = ContainerRecord(
    container_id=ARN,
    uid="uid-1",
    namespace="team",
    name="web",
    attempt=1,
    user_id="ada@example.org",
    cluster="arn:aws:ecs:us-east-1:123456789012:cluster/main",
    location="us-east-1",
    ip="",
    state="CREATING",
    port_32262=-1,
    port_32263=-1,
    port_32273=-1,
    dpi=None,
    task_definition="fc-0123456789",
    task_version=1,
    version=1,
    generation=1,
    observed_at=T0,
    created_at=T0,
    started_at=None,
    stopped_at=None,
    stop_code="",
    stopped_reason="",
    exit_code=None,
)
APP_STATE = AppStateRecord(
    install="lab",
    task_id="uid-1",
    namespace="team",
    name="web",
    user_id="ada@example.org",
    state="PENDING",
    ip="",
    port=-1,
    generation=1,
    resource_version="1",
    observed_at=T0,
    deleted=False,
)
HISTORY = HistoryRecord(
    key="uid-1/1/Running",
    at=T0,
    uid="uid-1",
    namespace="team",
    name="web",
    attempt=1,
    container_id=ARN,
    phase_from="Pending",
    phase_to="Running",
    reason="TaskRunning",
    message="",
)


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements sent to the server, without the pool's pings."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, rows: Any, *_: object) -> None:
        # A list of rows goes to psycopg2's executemany, which is a round trip a row.
        sent.extend([statement] * (len(rows) if isinstance(rows, list) else 1))

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s for it"
        time.sleep(0.01)


def empty(engine: Engine) -> None:
    tables = "hardware.user_containers, hardware.user_app_state, logs.container_history"
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables}"))


def stored(ledger: PostgresLedger, uid: str = "uid-1") -> tuple[object, object, object]:
    return ledger.containers(uid), ledger.app_state(uid), ledger.history(uid)


def live_uids(ledger: PostgresLedger, install: str, namespaces: Sequence[str] = ()) -> list[str]:
    rows = ledger.live(install, namespaces).rows
    return [row.task_id for row in rows if isinstance(row, AppStateRecord)]


def rows(ledger: PostgresLedger) -> list[object]:
    """What records decide: all but last_pinged, which also grows by records that lose."""
    containers = [row | {"last_pinged": 0} for row in ledger.containers("uid-1")]
    return [containers, ledger.app_state("uid-1"), ledger.app_state("uid-2")]


# -- what a record becomes


def test_every_field_is_stored_and_read_back(ledger: PostgresLedger) -> None:
    container = replace(
        CONTAINER,
        state="STOPPED",
        ip="192.0.2.1",
        port_32262=32768,
        dpi=96,
        started_at=T0 + SECOND,
        stopped_at=T0.astimezone(timezone(timedelta(hours=9))) + 2 * SECOND,
        stop_code="EssentialContainerExited",
        stopped_reason="done",
        exit_code=137,
        version=2**63 - 1,
        generation=2**63 - 1,
    )
    assert ledger.write([container, APP_STATE, HISTORY]) == ()

    times = {
        "observed_at": "2026-01-02T03:04:05.678901Z",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "started_at": "2026-01-02T03:04:06.678901Z",
        "stopped_at": "2026-01-02T03:04:07.678901Z",
    }
    (row,) = ledger.containers("uid-1")
    assert row == asdict(container) | times | {"last_pinged": int(T0.timestamp())}
    assert ledger.app_state("uid-1") == asdict(APP_STATE) | {"observed_at": times["observed_at"]}
    assert ledger.history("uid-1") == [asdict(HISTORY) | {"at": times["observed_at"]}]


def test_an_unknown_object_has_no_rows(ledger: PostgresLedger) -> None:
    assert stored(ledger, "nobody\x00") == ([], None, [])


def test_every_state_is_accepted(ledger: PostgresLedger) -> None:
    batch: list[Record] = [replace(CONTAINER, container_id=s, state=s) for s in CONTAINER_STATES]
    batch += [replace(APP_STATE, task_id=state, state=state) for state in APP_STATES]
    assert ledger.write(batch) == ()


def test_rows_come_back_in_the_order_things_happened(ledger: PostgresLedger) -> None:
    ledger.write([replace(CONTAINER, container_id=f"t{n}", attempt=n) for n in (10, 2, 1)])
    ledger.write([replace(HISTORY, key=f"k{n}", at=T0 + n * SECOND) for n in (3, 1, 2)])
    assert [row["attempt"] for row in ledger.containers("uid-1")] == [1, 2, 10]
    assert [row["key"] for row in ledger.history("uid-1")] == ["k1", "k2", "k3"]


# -- the newest wins


@pytest.mark.parametrize(
    ("stored_first", "then", "winner"),
    [
        pytest.param({"version": 2}, {"version": 3}, 1, id="newer version"),
        pytest.param({"version": 3}, {"version": 2}, 0, id="older version"),
        pytest.param(
            {"version": 3, "observed_at": T0},
            {"version": 2, "observed_at": T0 + SECOND, "generation": 9},
            0,
            id="the version goes before generation and time",
        ),
        pytest.param({"generation": 3}, {"generation": 2}, 0, id="older generation"),
        pytest.param(
            {"generation": 2, "observed_at": T0 + SECOND},
            {"generation": 3, "observed_at": T0},
            1,
            id="the generation goes before the time",
        ),
        pytest.param({"observed_at": T0 + SECOND}, {}, 0, id="older observation"),
        pytest.param({}, {}, 1, id="of equals the later write"),
        pytest.param(
            {"state": "STOPPED", "version": 5}, {"version": 6}, 0, id="stopped stays stopped"
        ),
        pytest.param(
            {"state": "FAILED"}, {"generation": 6, "state": "DELETING"}, 0, id="failed stays failed"
        ),
        pytest.param(
            {"version": 6}, {"state": "STOPPED", "version": 5}, 1, id="an end always wins"
        ),
        pytest.param(
            {"state": "STOPPED", "version": 5}, {"state": "FAILED", "version": 6}, 1, id="newer end"
        ),
    ],
)
def test_which_container_record_wins(
    ledger: PostgresLedger, stored_first: dict[str, object], then: dict[str, object], winner: int
) -> None:
    records = [
        replace(CONTAINER, ip="first", **stored_first),  # type: ignore[arg-type]
        replace(CONTAINER, ip="then", **then),  # type: ignore[arg-type]
    ]
    expected = (records[winner].ip, records[winner].state)
    for record in records:
        ledger.write([record])
    (apart,) = ledger.containers("uid-1")
    assert (apart["ip"], apart["state"]) == expected

    together = [replace(record, container_id="t2", uid="uid-2") for record in records]
    ledger.write(together)
    (one,) = ledger.containers("uid-2")
    assert (one["ip"], one["state"]) == expected


@pytest.mark.parametrize(
    ("stored_first", "then", "winner"),
    [
        pytest.param({"generation": 3}, {"generation": 2}, 0, id="older generation"),
        pytest.param({"observed_at": T0 + SECOND}, {}, 0, id="older observation"),
        pytest.param({}, {}, 1, id="of equals the later write"),
        pytest.param(
            {"resource_version": "9", "observed_at": T0 + SECOND},
            {"resource_version": "10"},
            1,
            id="a newer body, told by a clock that is behind",
        ),
        pytest.param(
            {"resource_version": "10"},
            {"resource_version": "9", "observed_at": T0 + SECOND, "generation": 9},
            0,
            id="the body goes before generation and time",
        ),
        pytest.param(
            {"resource_version": "1"},
            {"resource_version": "x9"},
            0,
            id="what is no number is least",
        ),
        pytest.param(
            {"resource_version": "9" * 18},
            {"resource_version": "9" * 19},
            0,
            id="nor is one so big",
        ),
        pytest.param(
            {"deleted": True},
            {"generation": 9, "observed_at": T0 + SECOND},
            0,
            id="gone stays gone",
        ),
        pytest.param({"generation": 9}, {"deleted": True}, 1, id="an end wins"),
        pytest.param(
            {"deleted": True}, {"resource_version": "2"}, 1, id="it was closed, but is there again"
        ),
    ],
)
def test_which_app_state_wins(
    ledger: PostgresLedger, stored_first: dict[str, object], then: dict[str, object], winner: int
) -> None:
    records = [
        replace(APP_STATE, ip="first", **stored_first),  # type: ignore[arg-type]
        replace(APP_STATE, ip="then", **then),  # type: ignore[arg-type]
    ]
    for record in records:
        ledger.write([record])
    apart = ledger.app_state("uid-1")
    assert apart is not None
    assert (apart["ip"], apart["deleted"]) == (records[winner].ip, records[winner].deleted)

    ledger.write([replace(record, task_id="uid-2") for record in records])
    together = ledger.app_state("uid-2")
    assert together is not None
    assert together["ip"] == records[winner].ip


def test_history_is_never_rewritten(ledger: PostgresLedger) -> None:
    assert ledger.write([HISTORY]) == ()
    assert ledger.write([replace(HISTORY, message="again", at=T0 + SECOND)]) == ()
    assert [row["message"] for row in ledger.history("uid-1")] == [""]


def test_of_a_transition_told_twice_in_one_batch_the_first_telling_counts(
    ledger: PostgresLedger,
) -> None:
    ledger.write([HISTORY, replace(HISTORY, message="told again", phase_to="Running")])
    assert [row["message"] for row in ledger.history("uid-1")] == [HISTORY.message]


ranks = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 3))
containers = st.builds(
    lambda arn, state, rank: replace(
        CONTAINER,
        container_id=arn,
        state=state,
        ip=f"{state} {rank}",
        version=rank[0],
        generation=rank[1],
        observed_at=T0 + rank[2] * SECOND,
    ),
    st.sampled_from(["t1", "t2"]),
    st.sampled_from(["CREATING", "RUNNING_AVAILABLE", "STOPPED"]),
    ranks,
)
app_states = st.builds(
    lambda uid, deleted, version, rank: replace(
        APP_STATE,
        task_id=uid,
        deleted=deleted,
        ip=f"{deleted} {version} {rank[1:]}",
        resource_version=version,
        generation=rank[1],
        observed_at=T0 + rank[2] * SECOND,
    ),
    st.sampled_from(["uid-1", "uid-2"]),
    st.booleans(),
    st.sampled_from(["9", "10"]),
    ranks,
)


def distinct(record: ContainerRecord | AppStateRecord) -> object:
    """One record a row and rank: records that differ at one rank are told apart by nothing."""
    match record:
        case ContainerRecord() as r:
            ended = r.state in TERMINAL_STATES
            return r.container_id, ended, r.version, r.generation, r.observed_at
        case AppStateRecord() as r:
            return r.task_id, r.resource_version, r.deleted, r.generation, r.observed_at


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_and_any_batching_end_in_the_same_rows(
    data: st.DataObject, engine: Engine, ledger: PostgresLedger
) -> None:
    records = data.draw(st.lists(containers | app_states, max_size=12, unique_by=distinct))
    shuffled = data.draw(st.permutations(records + data.draw(st.permutations(records))))
    cut = data.draw(st.integers(0, len(shuffled)))

    empty(engine)
    for record in sorted(records, key=lambda r: str(distinct(r))):
        ledger.write([record])
    expected = rows(ledger)

    empty(engine)
    ledger.write(shuffled[:cut])
    ledger.write(shuffled[cut:])
    assert rows(ledger) == expected
    for uid in ("uid-1", "uid-2"):
        apps = [r for r in records if isinstance(r, AppStateRecord) and r.task_id == uid]
        stored_ip = (ledger.app_state(uid) or {}).get("ip")
        assert stored_ip == (max(apps, key=rank).ip if apps else None), "as the fakes rank it"

    # … and in the greatest of them, said without the ledger's own words.
    for arn in ("t1", "t2"):
        own = [r for r in records if isinstance(r, ContainerRecord) and r.container_id == arn]
        ended = [r for r in own if r.state in TERMINAL_STATES] or own
        newest = sorted(ended, key=lambda r: (r.version, r.generation, r.observed_at))[-1:]
        found = [row for row in ledger.containers("uid-1") if row["container_id"] == arn]
        assert [row["ip"] for row in found] == [r.ip for r in newest]


def test_writing_again_changes_nothing(ledger: PostgresLedger) -> None:
    batch: list[Record] = [CONTAINER, APP_STATE, HISTORY]
    ledger.write(batch)
    before = stored(ledger)
    assert ledger.write(batch) == ()
    assert ledger.write(batch + batch) == ()
    assert stored(ledger) == before


# -- how it is written


def test_a_batch_is_one_transaction_and_a_statement_a_table(
    engine: Engine, ledger: PostgresLedger
) -> None:
    batch: list[Record] = []
    for n in range(300):
        batch.append(replace(CONTAINER, container_id=f"t{n}"))
        batch.append(replace(APP_STATE, task_id=f"u{n}"))
        batch.append(replace(HISTORY, key=f"k{n}"))
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    with statements(engine) as sent:
        ledger.write(batch)

    assert len(sent) == 3
    assert len(commits) == 1
    assert len(live_uids(ledger, "lab")) == len(ledger.containers("uid-1")) == 300


def test_an_empty_batch_sends_nothing(engine: Engine, ledger: PostgresLedger) -> None:
    with statements(engine) as sent:
        assert ledger.write([]) == ()
    assert sent == []


def test_rows_are_locked_in_one_order_so_that_writers_cannot_deadlock(
    engine: Engine, ledger: PostgresLedger
) -> None:
    batch = [replace(CONTAINER, container_id=f"t{n}") for n in range(9)]
    ledger.write(batch)
    lock = "SELECT FROM hardware.user_containers WHERE container_id = :id FOR UPDATE NOWAIT"
    # Not pg_stat_activity: what that shows is frozen for the length of a transaction.
    waiting = text(
        "SELECT count(*) FROM pg_locks"
        " WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
    )
    with ThreadPoolExecutor(1) as writer, engine.begin() as connection:
        connection.execute(text(lock), {"id": "t0"})
        written = writer.submit(ledger.write, batch[::-1])
        until(lambda: connection.scalar(waiting) == 1)
        connection.execute(text(lock), {"id": "t8"})  # raises if the writer began at this end
        connection.rollback()
        assert written.result(timeout=30) == ()


# -- texts


NASTY = [
    "\x00",
    "a\x00b\x00",
    "\ud800",
    "\udfff tail",
    "'; DROP TABLE hardware.user_containers; --",
    '"quoted" \\ %s %(x)s :y $1 {z}',
    "line\nbreak\r\t\x1b[31m",
    "\u202eright to left",
    "\U0001f600 ünï 漢字",
    "\uffff\ufdd0",
    "x" * 65536,
    "",
    " ",
    "NULL",
]


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_nasty_text_is_stored_and_read_back(ledger: PostgresLedger, nasty: str) -> None:
    short = nasty[:1000]  # of an index entry, PostgreSQL takes no more than a third of a page
    container = replace(
        CONTAINER, container_id=short, uid=short, user_id=short, name=nasty, stopped_reason=nasty
    )
    app_state = replace(APP_STATE, task_id=short, ip=nasty, resource_version=nasty)
    history = replace(HISTORY, key=short, uid=short, message=nasty, reason=nasty)
    assert ledger.write([container, app_state, history]) == ()

    (row,) = ledger.containers(short)
    assert (row["name"], row["stopped_reason"]) == (storable(nasty), storable(nasty))
    assert (ledger.app_state(short) or {})["ip"] == storable(nasty)
    assert [entry["message"] for entry in ledger.history(short)] == [storable(nasty)]
    ledger.touch({TaskArn(short): T0 + SECOND})
    assert ledger.containers(short)[0]["last_pinged"] == int(T0.timestamp()) + 1
    assert ledger.close_missing("lab", [short], [], T0) == 1


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(), max_size=200))
def test_any_text_is_stored_and_read_back(ledger: PostgresLedger, value: str) -> None:
    assert ledger.write([replace(HISTORY, key=value, uid="any", message=value)]) == ()
    assert storable(value) in [row["message"] for row in ledger.history("any")]


def test_only_what_postgres_cannot_hold_is_replaced() -> None:
    assert storable("a\x00b\ud800c\udfffd") == "a\ufffdb\ufffdc\ufffdd"
    assert storable("\x01\ud7ff\ue000\U0010ffff") == "\x01\ud7ff\ue000\U0010ffff"


def test_keys_that_become_equal_do_not_meet_in_one_statement(ledger: PostgresLedger) -> None:
    batch = [replace(CONTAINER, container_id=f"t{c}") for c in ("\x00", "\ud800", "\ufffd")]
    assert ledger.write(batch) == ()
    assert len(ledger.containers("uid-1")) == 1


# -- poison


def poisons() -> Sequence[Record]:
    too_long_to_index = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(6000))
    return [
        replace(CONTAINER, container_id="p1", state="DRAINING"),
        replace(CONTAINER, container_id="p2", dpi=2**31),
        replace(CONTAINER, container_id="p3", version=2**63),
        replace(CONTAINER, container_id="p4", user_id=too_long_to_index),
        replace(APP_STATE, task_id="p5", state=""),
        replace(APP_STATE, task_id="p6", namespace=None),  # type: ignore[arg-type]
        replace(HISTORY, key="p7", attempt=-(2**64)),
    ]


@pytest.mark.parametrize("poison", poisons(), ids=lambda record: type(record).__name__)
def test_a_poison_record_is_found_and_the_others_are_written(
    ledger: PostgresLedger, poison: Record
) -> None:
    batch: list[Record] = [replace(CONTAINER, container_id=f"t{n}") for n in range(20)]
    batch += [replace(APP_STATE, task_id=f"u{n}") for n in range(20)]
    batch += [replace(HISTORY, key=f"k{n}") for n in range(20)]
    batch.insert(33, poison)

    (refused,) = ledger.write(batch)

    assert refused.record is poison
    assert refused.reason.startswith("PostgreSQL: ")
    assert len(ledger.containers("uid-1")) == 20
    assert len(live_uids(ledger, "lab")) == 20
    assert len(ledger.history("uid-1")) == 20


def test_every_poison_record_of_a_batch_is_found(ledger: PostgresLedger) -> None:
    good = [replace(CONTAINER, container_id=f"t{n}") for n in range(3)]
    bad = poisons()
    refused = ledger.write([*bad, *good])
    assert {id(entry.record) for entry in refused} == {id(record) for record in bad}
    assert len(ledger.containers("uid-1")) == 3


def test_a_refusal_does_not_quote_the_row(ledger: PostgresLedger) -> None:
    record = replace(APP_STATE, state="BOGUS", name="the-canary")
    (refused,) = ledger.write([record])
    assert "user_app_state_state_check" in refused.reason
    assert "canary" not in refused.reason


def test_a_missing_table_is_no_poison(engine: Engine, ledger: PostgresLedger) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE hardware.user_containers"))
    with pytest.raises(Rejected, match="user_containers") as caught:
        ledger.write([CONTAINER])
    assert caught.value.code == "42P01"
    assert ledger.write([APP_STATE]) == ()


# -- what the auditor reads and mends


def test_what_is_live_comes_back_as_the_records_that_were_written(ledger: PostgresLedger) -> None:
    ended = replace(CONTAINER, container_id="t2", state="STOPPED")
    gone = replace(APP_STATE, task_id="uid-2", deleted=True)
    nobodys = replace(CONTAINER, container_id="t3", uid="uid-3")
    ledger.write([CONTAINER, APP_STATE, ended, gone, nobodys])
    assert ledger.live("lab").rows == (APP_STATE, CONTAINER)
    assert ledger.live("lab", ["other"]) == LivePage((), None)


def test_a_correction_goes_over_newer_rows_and_older_records_follow_it(
    ledger: PostgresLedger,
) -> None:
    newest = replace(APP_STATE, resource_version="9", deleted=True, state="CANCELLED")
    ledger.write([newest, replace(CONTAINER, state="STOPPED", version=9)])
    assert ledger.live("lab") == LivePage((), None)
    assert ledger.correct([APP_STATE, CONTAINER]) == ()
    assert ledger.live("lab").rows == (APP_STATE, CONTAINER)
    later = replace(CONTAINER, version=2, state="RUNNING_AVAILABLE")
    ledger.write([later])
    assert ledger.live("lab").rows == (APP_STATE, later)


def test_a_correction_that_is_refused_keeps_no_other_back(ledger: PostgresLedger) -> None:
    poison = replace(CONTAINER, container_id="p", state="DRAINING")
    (refused,) = ledger.correct([APP_STATE, poison, CONTAINER])
    assert refused.record is poison
    assert ledger.live("lab").rows == (APP_STATE, CONTAINER)


# -- touch


def last_pinged(ledger: PostgresLedger) -> dict[object, object]:
    return {row["container_id"]: row["last_pinged"] for row in ledger.containers("uid-1")}


def touch(ledger: PostgresLedger, **seconds: int) -> None:
    """Tasks by name, seen so many seconds after T0."""
    ledger.touch({TaskArn(arn): T0 + after * SECOND for arn, after in seconds.items()})


def test_touch_moves_forward_only_and_in_one_statement(
    engine: Engine, ledger: PostgresLedger
) -> None:
    t0 = int(T0.timestamp())
    ledger.write([replace(CONTAINER, container_id=arn) for arn in ("t1", "t2", "t3")])
    with statements(engine) as sent:
        touch(ledger, t1=60, t2=50, stranger=60)
    assert len(sent) == 1
    assert last_pinged(ledger) == {"t1": t0 + 60, "t2": t0 + 50, "t3": t0}

    touch(ledger, t1=30, t3=30)
    assert last_pinged(ledger) == {"t1": t0 + 60, "t2": t0 + 50, "t3": t0 + 30}

    ledger.write([replace(CONTAINER, container_id="t1", observed_at=T0 + 10 * SECOND)])
    assert last_pinged(ledger)["t1"] == t0 + 60


def test_touching_nothing_is_harmless(ledger: PostgresLedger) -> None:
    touch(ledger)
    touch(ledger, stranger=0)
    assert stored(ledger) == ([], None, [])


# -- the auditor


def test_closing_what_vanished(ledger: PostgresLedger) -> None:
    ended = replace(CONTAINER, container_id="t1", state="STOPPED", stop_code="UserInitiated")
    live = replace(CONTAINER, container_id="t2", attempt=2, state="RUNNING_AVAILABLE", version=7)
    other = replace(APP_STATE, task_id="uid-2")
    ledger.write(
        [ended, live, APP_STATE, other, replace(CONTAINER, container_id="t3", uid="uid-2")]
    )
    assert live_uids(ledger, "lab") == ["uid-1", "uid-2"]

    assert ledger.close_missing("lab", ["uid-1", "stranger"], [], T0 + 60 * SECOND) == 1

    assert live_uids(ledger, "lab") == ["uid-2"]
    state = ledger.app_state("uid-1") or {}
    assert (state["state"], state["deleted"]) == ("CANCELLED", True)
    assert state["observed_at"] == "2026-01-02T03:05:05.678901Z"
    first, second = ledger.containers("uid-1")
    assert (first["state"], first["stop_code"]) == ("STOPPED", "UserInitiated")
    assert (second["state"], second["stop_code"], second["stopped_reason"]) == (
        "STOPPED",
        "",
        VANISHED,
    )
    assert second["stopped_at"] == "2026-01-02T03:05:05.678901Z"
    (gap,) = ledger.history("uid-1")
    assert (gap["reason"], gap["namespace"], gap["name"]) == ("ObjectVanished", "team", "web")
    assert [row["state"] for row in ledger.containers("uid-2")] == ["CREATING"]
    assert ledger.history("uid-2") == []


def test_installations_that_share_a_database_do_not_see_each_other(
    ledger: PostgresLedger,
) -> None:
    ledger.write([APP_STATE, replace(APP_STATE, task_id="uid-2", install="other\x00")])
    assert live_uids(ledger, APP_STATE.install) == ["uid-1"]
    assert live_uids(ledger, "other\x00") == ["uid-2"]
    assert live_uids(ledger, "nobody") == []


def test_the_auditor_asks_only_for_objects_of_the_namespaces_that_are_watched(
    ledger: PostgresLedger,
) -> None:
    ledger.write([APP_STATE, replace(APP_STATE, task_id="uid-2", namespace="other")])
    assert live_uids(ledger, "lab", ["team"]) == ["uid-1"]
    assert live_uids(ledger, "lab", ["team", "other"]) == ["uid-1", "uid-2"]
    assert live_uids(ledger, "lab", ["third"]) == []


def test_live_tasks_of_objects_deleted_before_are_closed(ledger: PostgresLedger) -> None:
    strangers = replace(APP_STATE, task_id="uid-2", install="other", deleted=True)
    ended = replace(CONTAINER, container_id="t1", state="FAILED", stop_code="TaskFailedToStart")
    ledger.write(
        [
            *(replace(APP_STATE, deleted=True), strangers, replace(APP_STATE, task_id="uid-3")),
            *(ended, replace(CONTAINER, container_id="t2", version=7)),
            *(replace(CONTAINER, container_id=f"of-{uid}", uid=uid) for uid in ("uid-2", "uid-3")),
        ]
    )
    told = [*(row["container_id"] for row in ledger.containers("uid-1")), "of-uid-2", "of-uid-3"]
    arns = [TaskArn(str(arn)) for arn in told]
    assert ledger.close_missing("lab", [], arns, T0 + 60 * SECOND) == 0
    first, second = ledger.containers("uid-1")
    assert (first["state"], first["stop_code"]) == ("FAILED", "TaskFailedToStart")
    assert (second["state"], second["stopped_reason"]) == ("STOPPED", UNOBSERVED)
    assert second["stopped_at"] == "2026-01-02T03:05:05.678901Z"
    for uid in ("uid-2", "uid-3"):
        assert [row["state"] for row in ledger.containers(uid)] == ["CREATING"]
    assert ledger.history("uid-1") == []


def test_closing_again_changes_nothing(ledger: PostgresLedger) -> None:
    ledger.write([CONTAINER, APP_STATE])
    ledger.close_missing("lab", ["uid-1"], [], T0)
    before = stored(ledger)
    assert ledger.close_missing("lab", ["uid-1"], [], T0 + SECOND) == 0
    assert stored(ledger) == before


def test_the_true_end_overwrites_what_the_auditor_wrote(ledger: PostgresLedger) -> None:
    ledger.write([CONTAINER, APP_STATE])
    ledger.close_missing("lab", ["uid-1"], [], T0 + SECOND)
    ledger.write([replace(CONTAINER, version=2, state="RUNNING_AVAILABLE")])
    assert ledger.containers("uid-1")[0]["stopped_reason"] == VANISHED

    ledger.write([replace(CONTAINER, version=3, state="STOPPED", exit_code=0)])
    assert ledger.containers("uid-1")[0]["exit_code"] == 0
    assert ledger.containers("uid-1")[0]["stopped_reason"] == ""
