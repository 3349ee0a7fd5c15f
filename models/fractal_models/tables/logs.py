"""Schema ``logs``: what happened. Rows are appended, never changed."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from fractal_models.tables.base import Base


class ContainerHistory(Base):
    """One transition of one object; ``key`` names it, so that a repeated append is a no-op."""

    __tablename__ = "container_history"

    key: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    uid: Mapped[str]
    namespace: Mapped[str]
    name: Mapped[str]
    attempt: Mapped[int]
    container_id: Mapped[str]
    phase_from: Mapped[str]
    phase_to: Mapped[str]
    reason: Mapped[str]
    message: Mapped[str]

    __table_args__ = (
        Index("container_history_at_idx", "at"),
        Index("container_history_uid_at_idx", "uid", "at"),
        Index("container_history_namespace_name_at_idx", "namespace", "name", "at"),
        {"schema": "logs"},
    )
