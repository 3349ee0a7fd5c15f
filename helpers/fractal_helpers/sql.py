"""PostgreSQL over SQLAlchemy: engines with limits, transactions with bounded retries, typed errors.

    fractal_sql_commit(engine, func, *args)     run func(session, *args) in one transaction
    fractal_sql_update(session, model, …)       change the rows that match
    fractal_sql_delete(session, model, …)       delete the rows that match

Errors are told apart by SQLSTATE, never by exception class or text: psycopg2 raises
OperationalError for a lost connection and for an index entry that is too long alike.
"""

from collections.abc import Callable, Mapping
from time import sleep
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy
from sqlalchemy import ColumnElement, CursorResult, Engine, delete, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, Session

from fractal_models.errors import AccessDenied, FractalError, OutcomeUnknown, Rejected, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

BACKOFF_SECONDS = (0.2, 0.8)
"""Waits between the attempts of one transaction; whoever calls has longer ones of their own."""

_INVALID_VALUE = {"22", "23", "54"}  # data exception, integrity violation, program limit exceeded
_NOT_NOW = {
    "08",  # connection exception
    "25",  # read-only transaction: a standby after a failover
    "40",  # rolled back: serialization failure, deadlock
    "53",  # insufficient resources: too many connections, disk full
    "55",  # not in the prerequisite state: lock_timeout
    "57",  # operator intervention: shutdown, statement_timeout
    "58",  # system error
}
_CANCELLED = "57014"
_NO_SCHEMA = {"3F000", "42P01", "42703"}  # no such schema, table or column


def create_engine(url: str) -> Engine:
    """Return an engine for ``url`` (``postgresql://…``; the driver is always psycopg2).

    Nothing waits for ever: 5 s to connect, 15 s a statement, 5 s a lock, 10 s for one of the four
    pooled connections, 30 s until a silent peer is given up. Parameters stay out of error texts.
    Raises ValueError for a URL of another database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError(f"not a PostgreSQL URL: {parsed.render_as_string(hide_password=True)}")
    return sqlalchemy.create_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=0,
        pool_timeout=10,
        pool_recycle=1800,
        connect_args={
            "application_name": "fractal-operator",
            "connect_timeout": 5,
            "options": "-c statement_timeout=15s -c lock_timeout=5s -c TimeZone=UTC"
            " -c idle_in_transaction_session_timeout=60s",
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )


def fractal_sql_commit(
    engine: Engine, func: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``func(session, *args, **kwargs)`` in one transaction, commit it, return its result.

    A transaction that PostgreSQL could not serve is rolled back and run again from the start, up
    to three times in all, so ``func`` must not do anything else than use its session.

    Raises ``Unavailable`` when the last attempt failed too, ``OutcomeUnknown`` when the connection
    was lost after COMMIT was sent (not run again: only the caller knows whether that is harmless),
    ``AccessDenied`` and ``Rejected`` (``code`` is the SQLSTATE) for what PostgreSQL refuses.
    """
    for delay in BACKOFF_SECONDS:
        try:
            return _transact(engine, func, *args, **kwargs)
        except Unavailable:
            sleep(delay)
    return _transact(engine, func, *args, **kwargs)


def fractal_sql_update(
    session: Session,
    model: type[DeclarativeBase],
    where: ColumnElement[bool],
    attributes: Mapping[str, Any],
) -> int:
    """Set ``attributes`` (column name to value or expression) where ``where`` holds.

    Returns the number of rows changed.
    """
    statement = update(model).where(where).values(dict(attributes))
    return _rowcount(session, statement)


def fractal_sql_delete(
    session: Session, model: type[DeclarativeBase], where: ColumnElement[bool]
) -> int:
    """Delete the rows where ``where`` holds; returns their number."""
    return _rowcount(session, delete(model).where(where))


def is_refused_value(error: Rejected) -> bool:
    """Say whether PostgreSQL refused a value of a row, rather than the statement as such."""
    return error.code[:2] in _INVALID_VALUE


def translate(error: DBAPIError | PoolTimeoutError, *, committing: bool = False) -> FractalError:
    """Return what a database error means.

    The text is PostgreSQL's primary message only: its DETAIL line quotes the values of the row.
    """
    if isinstance(error, PoolTimeoutError):
        return Unavailable("PostgreSQL: every pooled connection is in use")
    state = getattr(error.orig, "pgcode", None) or ""
    primary = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    message = f"PostgreSQL: {primary or _first_line(error.orig)}"
    if error.connection_invalidated or not state or state[:2] in _NOT_NOW:
        lost = state[:2] != "40" and state != _CANCELLED
        return OutcomeUnknown(message) if committing and lost else Unavailable(message)
    if state in _NO_SCHEMA:
        message += "; run `fractal-operator migrate` to bring the schema to this release"
    if state == "42501":
        return AccessDenied(message, code=state)
    return Rejected(message, code=state)


def _transact(
    engine: Engine, func: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    committing = False
    try:
        with Session(engine, expire_on_commit=False) as session:
            result = func(session, *args, **kwargs)
            session.flush()
            committing = True
            session.commit()
            return result
    except (DBAPIError, PoolTimeoutError) as error:
        raise translate(error, committing=committing) from error


def _rowcount(session: Session, statement: Any) -> int:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
