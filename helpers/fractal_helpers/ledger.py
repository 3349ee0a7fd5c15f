"""The ledger: what the operator knows, in PostgreSQL.

Which record wins a row is told in :mod:`fractal_helpers.upserts`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Engine,
    String,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from fractal_helpers import live_rows, pruning
from fractal_helpers.sql import fractal_sql_commit, fractal_sql_update, is_refused_value
from fractal_helpers.upserts import Row, coalesce, overwrite, storable, upsert
from fractal_models.errors import Rejected
from fractal_models.observed import TaskArn
from fractal_models.records import LivePage, MirrorRecord, Record, Refused
from fractal_models.serializers import JsonScalar, serialize
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer

PAGE = 1000
"""Objects of one page of ``live``."""


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

    def touch(self, seen: Mapping[TaskArn, datetime]) -> None:
        """Move ``last_pinged`` of these tasks forward to when they were seen, in one statement."""
        fractal_sql_commit(self._engine, _touch, seen)

    def live(
        self, install: str, namespaces: Sequence[str] = (), after: str = "", size: int = PAGE
    ) -> LivePage:
        """Return an installation's rows that are not closed, of ``size`` objects and their tasks.

        ``namespaces`` limits them; empty means all. ``after`` is the last page's ``upto``.
        """
        return fractal_sql_commit(
            self._engine, live_rows.live_page, install, namespaces, storable(after), size
        )

    def close_missing(
        self, install: str, uids: Sequence[str], arns: Sequence[str], at: datetime
    ) -> int:
        """Close the rows of objects that are gone although nobody recorded their end.

        The object's row becomes CANCELLED and deleted, its live tasks' rows STOPPED with the reason
        ``VANISHED`` (the task's true end, recorded later, overwrites them), and the history gets an
        entry that marks the gap. Of the tasks ``arns``, the live rows of the installation's objects
        that are deleted already become STOPPED with the reason ``UNOBSERVED``. Returns the number
        of objects closed.
        """
        return fractal_sql_commit(self._engine, live_rows.close_missing, install, uids, arns, at)

    def prune(self, install: str, before: datetime, limit: int) -> dict[str, int]:
        """Delete rows of what was over before ``before``, at most ``limit`` of each table.

        Which ones is told in :mod:`fractal_helpers.pruning`. Returns how many by table.
        """
        return fractal_sql_commit(self._engine, pruning.prune, install, before, limit)

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


def _touch(session: Session, seen: Mapping[TaskArn, datetime]) -> None:
    arns = bindparam("arns", [storable(arn) for arn in seen], ARRAY(String))
    times = bindparam("times", [int(at.timestamp()) for at in seen.values()], ARRAY(BigInteger))
    touched = func.unnest(arns, times).table_valued("arn", "seconds").render_derived()
    older = or_(UserContainer.last_pinged.is_(None), UserContainer.last_pinged < touched.c.seconds)
    where = (UserContainer.container_id == touched.c.arn) & older
    fractal_sql_update(session, UserContainer, where, {"last_pinged": touched.c.seconds})


def _read(
    session: Session,
    model: type[Base],
    where: ColumnElement[bool],
    order: Sequence[InstrumentedAttribute[Any]],
) -> list[dict[str, JsonScalar]]:
    return [serialize(row) for row in session.scalars(select(model).where(where).order_by(*order))]
