"""The declarative base: one set of types and constraint names for every table."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, String
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of the models.

    Text has no length limit, so that no value that Kubernetes or AWS allows is refused for its
    size; integers are 64 bits wide, as Kubernetes' generation and ECS's version are; times carry
    their zone. Primary keys are named as PostgreSQL itself names them.
    """

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads a plain dictionary
        str: String(),
        int: BigInteger(),
        datetime: DateTime(timezone=True),
    }


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Return a CHECK that ``column`` holds one of ``values`` (trusted words, not user input)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
