"""The Alembic environment, inside the package: no alembic.ini is needed to run it."""

from typing import Any

from sqlalchemy import String
from sqlalchemy.types import TypeEngine

from fractal_models.tables import Base

SCHEMAS = tuple(sorted({table.schema for table in Base.metadata.tables.values() if table.schema}))
_TABLES = {table.name for table in Base.metadata.tables.values()}


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Say whether Alembic may look at something: other people's schemas and tables it may not."""
    match kind:
        case "schema":
            return name in SCHEMAS
        case "table":
            return name in _TABLES
        case _:
            return True


def _other_length(
    _context: Any, _live: Any, _column: Any, live: TypeEngine[Any], wanted: TypeEngine[Any]
) -> bool | None:
    """See what Alembic does not: a length limit where the model has none."""
    if isinstance(live, String) and isinstance(wanted, String) and live.length != wanted.length:
        return True
    return None  # compare as usual


# The version table stands in a schema of ours: since PostgreSQL 15 `public` is not writable by
# everyone, and another application's Alembic may already keep its own `alembic_version` there.
OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    "version_table_schema": "logs",
    "include_schemas": True,
    "include_name": _ours,
    "compare_type": _other_length,
    "compare_server_default": True,
}
