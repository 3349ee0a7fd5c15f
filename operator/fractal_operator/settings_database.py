"""The database, and for how long it keeps what is over. Pure."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings


def _postgres(url: SecretStr) -> SecretStr:
    if not re.match(r"postgres(ql)?(\+psycopg2)?://.", url.get_secret_value()):
        raise ValueError("not a PostgreSQL URL")
    return url


class DatabaseSettings(BaseSettings):
    """The part of ``Settings`` about PostgreSQL."""

    database_url: Annotated[SecretStr, AfterValidator(_postgres)] | None = Field(
        None,
        description="PostgreSQL database that mirrors the containers. Unset: nothing is recorded.",
        json_schema_extra={"allowed": "postgresql://user:password@host:5432/database"},
    )
    history_days: int = Field(
        90,
        description="Days for which the database keeps transitions, ended tasks and deleted "
        "objects; older rows of this installation are deleted, a few at a time. 0 keeps them all.",
        ge=0,
        le=3650,
    )
