"""Schema ``hardware``: what runs, and what its users are told about it.

The columns are the seed system's, without its foreign keys: ``user_id`` and ``task_definition``
come from objects that anyone with access to the namespace may write, and a stranger's value must
not make a row impossible. No column holds a secret.
"""

from datetime import datetime

from sqlalchemy import Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from fractal_models.tables.base import Base, one_of

TERMINAL_STATES = ("STOPPED", "FAILED")
ENDED = text("state IN ('STOPPED', 'FAILED')")
LIVE = text("state NOT IN ('STOPPED', 'FAILED')")
CONTAINER_STATES = (
    "CREATING",
    "RUNNING_AVAILABLE",
    "RUNNING_UNAVAILABLE",
    "DELETING",
    *TERMINAL_STATES,
)
APP_STATES = (
    "PENDING",
    "SPINNING_UP_NEW",
    "WAITING_FOR_CLIENT_APP",
    "READY",
    "FAILURE",
    "CANCELLED",
)


class UserContainer(Base):
    """One ECS task. ``last_pinged`` is its last observation, in whole seconds since 1970.

    ``version`` is ECS's ``Task.version``, ``task_version`` the task definition's revision.

    ``last_pinged`` is in no index, and pages keep room for new versions of their rows, so that the
    touches of ten thousand tasks stay within the pages (heap-only tuples) and leave no bloat.
    """

    __tablename__ = "user_containers"

    container_id: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str]
    namespace: Mapped[str]
    name: Mapped[str]
    attempt: Mapped[int]
    user_id: Mapped[str | None]
    cluster: Mapped[str]
    location: Mapped[str]
    ip: Mapped[str]
    state: Mapped[str]
    port_32262: Mapped[int] = mapped_column(server_default=text("-1"))
    port_32263: Mapped[int] = mapped_column(server_default=text("-1"))
    port_32273: Mapped[int] = mapped_column(server_default=text("-1"))
    dpi: Mapped[int | None] = mapped_column(Integer, server_default=text("96"))
    task_definition: Mapped[str]
    task_version: Mapped[int | None] = mapped_column(Integer)
    version: Mapped[int]
    generation: Mapped[int]
    observed_at: Mapped[datetime]
    last_pinged: Mapped[int | None]
    created_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    stop_code: Mapped[str]
    stopped_reason: Mapped[str]
    exit_code: Mapped[int | None]

    __table_args__ = (
        one_of("state", CONTAINER_STATES),
        Index("user_containers_user_id_idx", "user_id"),
        Index("user_containers_uid_attempt_idx", "uid", "attempt"),
        Index("user_containers_namespace_name_idx", "namespace", "name"),
        Index("user_containers_created_at_idx", "created_at"),
        # The live ones are a small part of all; the ended ones are asked for, and pruned, by time.
        Index("user_containers_live_idx", "cluster", "uid", postgresql_where=LIVE),
        Index("user_containers_ended_idx", "stopped_at", postgresql_where=ENDED),
        {"schema": "hardware", "postgresql_with": {"fillfactor": 70}},
    )


class UserAppState(Base):
    """One object, as its user sees it. ``task_id`` is the object's uid.

    ``install`` names the operator's installation: several may share a database.
    """

    __tablename__ = "user_app_state"

    task_id: Mapped[str] = mapped_column(primary_key=True)
    install: Mapped[str]
    namespace: Mapped[str]
    name: Mapped[str]
    user_id: Mapped[str | None]
    state: Mapped[str]
    ip: Mapped[str]
    port: Mapped[int]
    generation: Mapped[int]
    resource_version: Mapped[str]
    observed_at: Mapped[datetime]
    deleted: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (
        one_of("state", APP_STATES),
        Index("user_app_state_user_id_idx", "user_id"),
        Index("user_app_state_namespace_name_idx", "namespace", "name"),
        Index("user_app_state_live_state_idx", "state", postgresql_where=text("NOT deleted")),
        # The auditor reads the live ones page by page; the others are pruned by time.
        Index(
            "user_app_state_live_task_id_idx",
            "install",
            "task_id",
            postgresql_where=text("NOT deleted"),
        ),
        Index(
            "user_app_state_deleted_idx",
            "install",
            "observed_at",
            postgresql_where=text("deleted"),
        ),
        {"schema": "hardware"},
    )
