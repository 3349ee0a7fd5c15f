"""Rows of what is over, deleted some at a time once they are old.

What lives is never touched: a task that has not ended, an object that is not deleted. What another
installation's object owns is left to that one; history that no object's row claims (the marks of
gaps) is anybody's. An object's row goes last, since it tells whose the others are.
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from fractal_helpers.sql import fractal_sql_delete
from fractal_helpers.upserts import storable
from fractal_models.tables import Base, ContainerHistory, UserAppState, UserContainer
from fractal_models.tables.hardware import ENDED


def prune(session: Session, install: str, before: datetime, limit: int) -> dict[str, int]:
    """Delete at most ``limit`` rows of each table; returns how many by the table's name.

    They tell of what ended before ``before``: transitions, tasks (of objects that live, too) and
    deleted objects.
    """
    me = storable(install)
    return {
        ContainerHistory.__tablename__: _delete(
            session,
            ContainerHistory.key,
            (ContainerHistory.at < before) & _ours(ContainerHistory.uid, me),
            ContainerHistory.at,
            limit,
        ),
        UserContainer.__tablename__: _delete(
            session,
            UserContainer.container_id,
            ENDED & (UserContainer.stopped_at < before) & _ours(UserContainer.uid, me),
            UserContainer.stopped_at,
            limit,
        ),
        UserAppState.__tablename__: _delete(
            session,
            UserAppState.task_id,
            (UserAppState.install == me)
            & UserAppState.deleted
            & (UserAppState.observed_at < before)
            & ~exists().where(ContainerHistory.uid == UserAppState.task_id)
            & ~exists().where(UserContainer.uid == UserAppState.task_id),
            UserAppState.observed_at,
            limit,
        ),
    }


def _ours(uid: InstrumentedAttribute[str], me: str) -> ColumnElement[bool]:
    """Whether no object of another installation has this uid.

    Not NOT EXISTS, of which PostgreSQL makes a join that reads the whole table of the objects.
    """
    owner = select(UserAppState.install).where(UserAppState.task_id == uid).scalar_subquery()
    return func.coalesce(owner, me) == me


def _delete(
    session: Session,
    key: InstrumentedAttribute[str],
    where: ColumnElement[bool],
    oldest: InstrumentedAttribute[Any],
    limit: int,
) -> int:
    """Delete the oldest rows where ``where`` holds."""
    model = cast("type[Base]", key.class_)
    chosen = select(key).where(where).order_by(oldest).limit(limit)
    return fractal_sql_delete(session, model, key.in_(chosen))
