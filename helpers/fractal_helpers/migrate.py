"""The schema's life: Alembic from Python, without an alembic.ini.

The role that migrates owns the tables; the operator's own role needs no DDL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import CheckConstraint, Connection, Index, inspect, text
from sqlalchemy.exc import DBAPIError

import fractal_models.migrations
from fractal_helpers.sql import create_engine, translate
from fractal_models.migrations import OPTIONS
from fractal_models.tables import Base

VERSIONS = Path(fractal_models.migrations.__file__).parent / "versions"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to ``revision``: everything in one transaction, one process at a time.

    Raises the errors of :func:`fractal_helpers.sql.translate`.
    """
    with _connect(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision``; ``base`` drops the tables with their rows."""
    with _connect(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """Return the revision that the database is at; None where nothing was ever migrated."""
    with _connect(url) as connection:
        return MigrationContext.configure(connection, opts=OPTIONS).get_current_revision()


def check(url: str) -> list[str]:
    """Return what differs between the models and the live tables, a line each; [] means equal.

    Alembic compares everything but CHECK constraints, which are compared here by their name.
    """
    with _connect(url) as connection:
        context = MigrationContext.configure(connection, opts=OPTIONS)
        differences = compare_metadata(context, Base.metadata)
        lines = [line for difference in differences for line in _lines(difference)]
        return lines + sorted(_check_differences(connection))


def draft(url: str, message: str, folder: Path = VERSIONS) -> Path:
    """Write the next revision from what ``check`` finds, to be read and corrected; return its path.

    For developers: ``url`` is a database at ``head``.
    """
    with _connect(url) as connection:
        config = _config(connection)
        config.set_main_option("version_locations", f"{_escaped(VERSIONS)}:{_escaped(folder)}")
        script = command.revision(
            config, message, autogenerate=True, head="head", version_path=str(folder)
        )
    assert isinstance(script, Script)
    return Path(script.path)


def _lines(difference: Any) -> Iterator[str]:
    """Put Alembic's difference into words: a tuple, or a list of tuples for one column."""
    match difference:
        case list():
            for part in difference:
                yield from _lines(part)
        case (str(kind), schema, table, column, dict(), old, new):
            old, new = (getattr(value, "arg", value) for value in (old, new))
            yield f"{kind} {schema}.{table}.{column}: database {old}, models {new}"
        case ("add_column" | "remove_column" as kind, schema, table, column):
            yield f"{kind} {schema}.{table}.{column.name}"
        case (str(kind), Index() as index):
            yield f"{kind} {index.name} on {index.table}"
        case _:
            kind, subject, *_ = difference
            yield f"{kind} {subject}"


def _check_differences(connection: Connection) -> Iterator[str]:
    inspector = inspect(connection)
    for table in Base.metadata.tables.values():
        if not inspector.has_table(table.name, table.schema):
            continue  # Alembic has said so
        found = inspector.get_check_constraints(table.name, table.schema)
        live = {str(entry["name"]) for entry in found}
        wanted = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
        for name in wanted ^ live:
            side = "the models" if name in wanted else "the database"
            yield f"check constraint {table.fullname}.{name} exists in {side} only"


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            # Building an index or rewriting a table may take longer than an operator's statement.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            yield connection
    except DBAPIError as error:
        raise translate(error) from error
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", _escaped(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _escaped(path: Path) -> str:
    """Return a path as ConfigParser wants it: it expands percent signs."""
    return str(path).replace("%", "%%")
