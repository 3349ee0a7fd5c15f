"""Rows as JSON: what an API, a log or a test may hand on."""

from datetime import UTC, datetime

from sqlalchemy import inspect

from fractal_models.tables.base import Base

JsonScalar = str | int | float | bool | None


def serialize(row: Base) -> dict[str, JsonScalar]:
    """Return a row's columns as a JSON-safe dictionary, in the table's column order.

    Times become ISO 8601 in UTC with microseconds and a ``Z``, so that their text sorts as they do.
    """
    return {
        column.key: _json_safe(getattr(row, column.key))
        for column in inspect(type(row)).column_attrs
    }


def _json_safe(value: JsonScalar | datetime) -> JsonScalar:
    if isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None)
        return utc.isoformat(timespec="microseconds") + "Z"
    return value
