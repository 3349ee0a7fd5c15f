"""The rows that are not closed: read page by page, and closed where their object is gone.

A page is some objects by uid and their live tasks, also of objects that count as deleted: two
statements, however many rows there are.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    String,
    any_,
    exists,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from fractal_helpers.sql import fractal_sql_update
from fractal_helpers.upserts import storable
from fractal_models.records import AppStateRecord, ContainerRecord, LivePage
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer
from fractal_models.tables.hardware import LIVE

Mirrored = TypeVar("Mirrored", AppStateRecord, ContainerRecord)

VANISHED = "the object vanished without a last record; closed by the auditor"
"""``stopped_reason`` and history message of what ``close_missing`` closed."""

UNOBSERVED = "the object is gone, so nobody observes this task any more; closed by the auditor"
"""``stopped_reason`` of the rows that ``close_missing`` closed of objects deleted before."""


def among(column: InstrumentedAttribute[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Return ``column = ANY(array)``: one parameter, however many values."""
    return column == any_(literal([storable(value) for value in values], ARRAY(String)))


def live_page(
    session: Session, install: str, namespaces: Sequence[str], after: str, size: int
) -> LivePage:
    """Read the page of at most ``size`` objects whose uids follow ``after``, "" for the first."""
    mine = UserAppState.install == storable(install)
    if namespaces:
        mine &= among(UserAppState.namespace, namespaces)
    mine &= UserAppState.task_id > after
    live = mine & ~UserAppState.deleted
    apps = _records(session, AppStateRecord, UserAppState, live, UserAppState.task_id, size)
    upto = apps[-1].task_id if len(apps) == size else None
    where = LIVE & (UserContainer.uid > after)
    if upto is not None:
        where &= UserContainer.uid <= upto
        mine &= UserAppState.task_id <= upto
    where &= exists().where(mine & (UserAppState.task_id == UserContainer.uid))
    order = UserContainer.container_id
    return LivePage((*apps, *_records(session, ContainerRecord, UserContainer, where, order)), upto)


def _records(
    session: Session,
    kind: type[Mirrored],
    model: type[Base],
    where: ColumnElement[bool],
    order: InstrumentedAttribute[str],
    size: int | None = None,
) -> list[Mirrored]:
    """Rows as records, without the objects that SQLAlchemy would make of them in between."""
    names = [each.name for each in fields(kind)]
    columns = (getattr(model, name) for name in names)
    found = session.execute(select(*columns).where(where).order_by(order).limit(size))
    return [kind(**dict(zip(names, row, strict=True))) for row in found]


def close_missing(
    session: Session, install: str, uids: Sequence[str], arns: Sequence[str], at: datetime
) -> int:
    """Do what ``PostgresLedger.close_missing`` promises."""
    ended = exists().where(
        (UserAppState.install == storable(install))
        & UserAppState.deleted
        & (UserAppState.task_id == UserContainer.uid)
    )
    if arns:
        _stop(session, among(UserContainer.container_id, arns) & ended, at, UNOBSERVED)
    if not uids:
        return 0
    closed = session.execute(
        update(UserAppState)
        .where(among(UserAppState.task_id, uids) & ~UserAppState.deleted)
        .values(
            state="CANCELLED",
            deleted=True,
            observed_at=func.greatest(UserAppState.observed_at, at),
        )
        .returning(UserAppState.task_id, UserAppState.namespace, UserAppState.name),
        execution_options={"synchronize_session": False},
    ).all()
    if closed:
        _stop(session, among(UserContainer.uid, [row.task_id for row in closed]), at, VANISHED)
        entries = [_gap(row.task_id, row.namespace, row.name, at) for row in closed]
        # RETURNING has SQLAlchemy send a thousand rows a statement, and not one.
        appended = insert(ContainerHistory).on_conflict_do_nothing()
        session.connection().execute(appended.returning(literal_column("1")), entries)
    return len(closed)


def _stop(session: Session, where: ColumnElement[bool], at: datetime, reason: str) -> None:
    """Close the rows of live tasks."""
    stopped = {
        "state": "STOPPED",
        "observed_at": func.greatest(UserContainer.observed_at, at),
        "stopped_at": at,
        "stop_code": "",
        "stopped_reason": reason,
    }
    fractal_sql_update(session, UserContainer, where & LIVE, stopped)


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
