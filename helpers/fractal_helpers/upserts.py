"""Records as rows: one INSERT … SELECT FROM unnest(arrays) a table, in which nothing older wins.

A row is the greatest of the records it was ever given, by rank. That makes writes safe in any
order and any number: late replies, replays and two operators at once all end in the same row.

    user_containers     (terminal, version, generation, observed_at)    terminal is absorbing
    user_app_state      (resourceVersion, deleted, generation, observed_at)
    container_history   appended once by key, never changed

Between equal ranks the later write wins: the same observation, better understood. An object's row
follows from its body alone, so the body's version orders it, whatever two operators' clocks say;
resourceVersions of one resource compare as numbers (KEP-5504).

A restore of etcd turns versions back: then only the auditor's ``overwrite`` helps.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord, Record
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer
from fractal_models.tables.hardware import TERMINAL_STATES

_DIGITS = "^[0-9]{1,18}$"
_NUMBER = re.compile(_DIGITS, re.ASCII)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return ``text`` with U+FFFD for NUL and lone surrogates, which PostgreSQL cannot hold."""
    return _UNSTORABLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Row:
    """A record beside its table, its storable primary key and its storable values."""

    record: Record
    model: type[Base]
    key: str
    values: Mapping[str, Any]


def rank(record: Record) -> tuple[Any, ...]:
    """Return what the statements below compare, so that it can be told apart from the database."""
    match record:
        case ContainerRecord() as r:
            return r.state in TERMINAL_STATES, r.version, r.generation, r.observed_at
        case AppStateRecord() as r:
            version = int(r.resource_version) if _NUMBER.fullmatch(r.resource_version) else 0
            return version, r.deleted, r.generation, r.observed_at
        case HistoryRecord():
            return ()
        case _:
            assert_never(record)


def coalesce(batch: Sequence[Record]) -> list[Row]:
    """Return one row for each primary key, the greatest: ON CONFLICT cannot touch a row twice.

    Of a transition told twice it is the first. They are sorted, so that two writers lock rows in
    the same order and cannot deadlock.
    """
    rows: dict[tuple[str, str], Row] = {}
    for row in map(_row, batch):
        place = (row.model.__tablename__, row.key)
        known = rows.setdefault(place, row)
        if rank(row.record) >= rank(known.record) and row.model is not ContainerHistory:
            rows[place] = row
    return [rows[place] for place in sorted(rows)]


def upsert(session: Session, rows: Sequence[Row]) -> None:
    """Write coalesced rows, one statement a table."""
    _execute(session, rows, _STATEMENTS)


def overwrite(session: Session, rows: Sequence[Row]) -> None:
    """Write coalesced rows of the mirror, whatever their rank."""
    _execute(session, rows, _OVERWRITES)


def _execute(
    session: Session, rows: Sequence[Row], statements: Mapping[type[Base], Insert]
) -> None:
    for model, statement in statements.items():
        if values := [row.values for row in rows if row.model is model]:
            columns = {name: [each[name] for each in values] for name in values[0]}
            session.connection().execute(statement, columns)


def _row(record: Record) -> Row:
    # Not dataclasses.asdict: its deep copies took more time than all else of a write.
    told = ((name, getattr(record, name)) for name in type(record).__slots__)
    values = {name: storable(value) if isinstance(value, str) else value for name, value in told}
    match record:
        case ContainerRecord():
            values["last_pinged"] = int(record.observed_at.timestamp())
            return Row(record, UserContainer, values["container_id"], values)
        case AppStateRecord():
            return Row(record, UserAppState, values["task_id"], values)
        case HistoryRecord():
            return Row(record, ContainerHistory, values["key"], values)
        case _:
            assert_never(record)


def _insert(model: type[Base]) -> Insert:
    """Return an INSERT of any number of rows, whose parameters are an array for each column.

    A third of the time that VALUES with a parameter for each value takes on this side.
    """
    columns = model.__table__.columns
    arrays = (bindparam(each.name, type_=ARRAY(each.type)) for each in columns)
    names = [each.name for each in columns]
    rows = func.unnest(*arrays).table_valued(*names).render_derived()
    return insert(model).from_select(names, select(*(rows.c[name] for name in names)))


def _write(model: type[Base], rank: Callable[[Any], Any] | None = None) -> Insert:
    """Return an upsert that overwrites a row, unless the row's rank is the greater one."""
    statement = _insert(model)
    new, table = statement.excluded, statement.table
    keys = [column.key for column in table.primary_key]
    values: dict[str, ColumnElement[Any]] = {
        column.key: new[column.key] for column in table.c if column.key not in keys
    }
    if "last_pinged" in values:
        # Touched on its own by sweeps that saw nothing else change.
        values["last_pinged"] = func.greatest(table.c.last_pinged, new.last_pinged)
    newer = None if rank is None else rank(new) >= rank(table.c)
    return statement.on_conflict_do_update(index_elements=keys, set_=values, where=newer)


def _version(row: Any) -> ColumnElement[int]:
    number = row.resource_version.regexp_match(literal_column(f"'{_DIGITS}'"))
    return case((number, cast(row.resource_version, BigInteger)), else_=literal_column("0"))


_STATEMENTS: Mapping[type[Base], Insert] = {
    UserContainer: _write(
        UserContainer,
        lambda c: tuple_(c.state.in_(TERMINAL_STATES), c.version, c.generation, c.observed_at),
    ),
    UserAppState: _write(
        UserAppState, lambda c: tuple_(_version(c), c.deleted, c.generation, c.observed_at)
    ),
    ContainerHistory: _insert(ContainerHistory).on_conflict_do_nothing(),
}
_OVERWRITES: Mapping[type[Base], Insert] = {
    model: _write(model) for model in (UserContainer, UserAppState)
}
