"""The ledger: what the operator knows, in PostgreSQL.

Which record wins a row is told in :mod:`fractal_helpers.upserts`.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Engine,
    String,
    any_,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from fractal_helpers.sql import fractal_sql_commit, fractal_sql_update, is_refused_value
from fractal_helpers.upserts import Row, coalesce, overwrite, storable, upsert
from fractal_models.errors import Rejected
from fractal_models.records import (
    AppStateRecord,
    ContainerRecord,
    MirrorRecord,
    Record,
    Refused,
)
from fractal_models.serializers import JsonScalar, serialize
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer
from fractal_models.tables.hardware import TERMINAL_STATES

Mirrored = TypeVar("Mirrored", AppStateRecord, ContainerRecord)

VANISHED = "the object vanished without a last record; closed by the auditor"
"""``stopped_reason`` and history message of what ``close_missing`` closed."""

UNOBSERVED = "the object is gone, so nobody observes this task any more; closed by the auditor"
"""``stopped_reason`` of the rows that ``close_missing`` closed of objects deleted before."""


class PostgresLedger:
    """The tables as the operator writes and reads them. Blocking; safe to share between threads.

    Every method raises the errors of :func:`fractal_helpers.sql.fractal_sql_commit`, and may be
    repeated after any of them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, batch: Sequence[Record]) -> tuple[Refused, ...]:
        """Write a batch in one transaction, a multi-row statement a table.

        Where PostgreSQL refuses a value (a state it does not know, a number out of range), halves
        are written apart until the record is found. Returns the refused records, all others are
        written. A refused record will be refused again: it must not be repeated.
        """
        return self._write(coalesce(batch), upsert)

    def correct(self, batch: Sequence[MirrorRecord]) -> tuple[Refused, ...]:
        """Write as ``write`` does, but over newer rows, too: they are known to be wrong."""
        return self._write(coalesce(batch), overwrite)

    def _write(
        self, rows: Sequence[Row], how: Callable[[Session, Sequence[Row]], None]
    ) -> tuple[Refused, ...]:
        if not rows:
            return ()
        try:
            fractal_sql_commit(self._engine, how, rows)
        except Rejected as error:
            if not is_refused_value(error):
                raise
            if len(rows) == 1:
                return (Refused(rows[0].record, str(error)),)
            half = len(rows) // 2
            return self._write(rows[:half], how) + self._write(rows[half:], how)
        return ()

    def touch(self, arns: Sequence[str], observed_at: datetime) -> None:
        """Move ``last_pinged`` of these tasks forward to ``observed_at``, in one statement."""
        seconds = int(observed_at.timestamp())
        older = or_(UserContainer.last_pinged.is_(None), UserContainer.last_pinged < seconds)
        where = _among(UserContainer.container_id, arns) & older
        values = {"last_pinged": seconds}
        fractal_sql_commit(self._engine, fractal_sql_update, UserContainer, where, values)

    def live(self, install: str, namespaces: Sequence[str] = ()) -> tuple[MirrorRecord, ...]:
        """Return an installation's rows that are not closed, of objects and of tasks, as records.

        ``namespaces`` limits them; empty means all.
        """
        return fractal_sql_commit(self._engine, _live, install, namespaces)

    def close_missing(self, install: str, uids: Sequence[str], at: datetime) -> int:
        """Close the rows of objects that are gone although nobody recorded their end.

        The object's row becomes CANCELLED and deleted, its live tasks' rows STOPPED with the reason
        ``VANISHED`` (the task's true end, recorded later, overwrites them), and the history gets an
        entry that marks the gap. Live tasks' rows of the installation's objects that are deleted
        already become STOPPED with the reason ``UNOBSERVED``. Returns the number of objects closed.
        """
        return fractal_sql_commit(self._engine, _close_missing, install, uids, at)

    def containers(self, uid: str) -> list[dict[str, JsonScalar]]:
        """Return the serialized rows of an object's tasks, in the order of the attempts."""
        order = (UserContainer.attempt, UserContainer.container_id)
        where = UserContainer.uid == storable(uid)
        return fractal_sql_commit(self._engine, _read, UserContainer, where, order)

    def app_state(self, uid: str) -> dict[str, JsonScalar] | None:
        """Return the serialized row of an object; None if there is none."""
        where = UserAppState.task_id == storable(uid)
        rows = fractal_sql_commit(self._engine, _read, UserAppState, where, ())
        return rows[0] if rows else None

    def history(self, uid: str) -> list[dict[str, JsonScalar]]:
        """Return the serialized transitions of an object, oldest first."""
        order = (ContainerHistory.at, ContainerHistory.attempt, ContainerHistory.key)
        where = ContainerHistory.uid == storable(uid)
        return fractal_sql_commit(self._engine, _read, ContainerHistory, where, order)


def _among(column: InstrumentedAttribute[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Return ``column = ANY(array)``: one parameter, however many values."""
    return column == any_(literal([storable(value) for value in values], ARRAY(String)))


def _read(
    session: Session,
    model: type[Base],
    where: ColumnElement[bool],
    order: Sequence[InstrumentedAttribute[Any]],
) -> list[dict[str, JsonScalar]]:
    return [serialize(row) for row in session.scalars(select(model).where(where).order_by(*order))]


def _live(session: Session, install: str, namespaces: Sequence[str]) -> tuple[MirrorRecord, ...]:
    where = UserAppState.install == storable(install)
    if namespaces:
        where &= _among(UserAppState.namespace, namespaces)
    apps = select(UserAppState).where(where & ~UserAppState.deleted).order_by(UserAppState.task_id)
    tasks = (
        select(UserContainer)
        .join(UserAppState, UserAppState.task_id == UserContainer.uid)
        .where(where & UserContainer.state.not_in(TERMINAL_STATES))
        .order_by(UserContainer.container_id)
    )
    return (
        *(_record(AppStateRecord, row) for row in session.scalars(apps)),
        *(_record(ContainerRecord, row) for row in session.scalars(tasks)),
    )


def _record(kind: type[Mirrored], row: Base) -> Mirrored:
    return kind(**{each.name: getattr(row, each.name) for each in fields(kind)})


def _close_missing(session: Session, install: str, uids: Sequence[str], at: datetime) -> int:
    ended = select(UserAppState.task_id).where(
        (UserAppState.install == storable(install)) & UserAppState.deleted
    )
    _stop(session, UserContainer.uid.in_(ended), at, UNOBSERVED)
    closed = session.execute(
        update(UserAppState)
        .where(_among(UserAppState.task_id, uids) & ~UserAppState.deleted)
        .values(
            state="CANCELLED",
            deleted=True,
            observed_at=func.greatest(UserAppState.observed_at, at),
        )
        .returning(UserAppState.task_id, UserAppState.namespace, UserAppState.name),
        execution_options={"synchronize_session": False},
    ).all()
    gone = [row.task_id for row in closed]
    _stop(session, _among(UserContainer.uid, gone), at, VANISHED)
    if closed:
        entries = [_gap(row.task_id, row.namespace, row.name, at) for row in closed]
        session.connection().execute(insert(ContainerHistory).on_conflict_do_nothing(), entries)
    return len(closed)


def _stop(session: Session, where: ColumnElement[bool], at: datetime, reason: str) -> None:
    """Close the rows of live tasks."""
    live = UserContainer.state.not_in(TERMINAL_STATES)
    stopped = {
        "state": "STOPPED",
        "observed_at": func.greatest(UserContainer.observed_at, at),
        "stopped_at": at,
        "stop_code": "",
        "stopped_reason": reason,
    }
    fractal_sql_update(session, UserContainer, where & live, stopped)


def _gap(uid: str, namespace: str, name: str, at: datetime) -> dict[str, Any]:
    return {
        "key": f"{uid}/vanished",
        "at": at,
        "uid": uid,
        "namespace": namespace,
        "name": name,
        "attempt": 0,
        "container_id": "",
        "phase_from": "",
        "phase_to": "",
        "reason": "ObjectVanished",
        "message": VANISHED,
    }
