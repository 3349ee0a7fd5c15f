"""What the operator hands to the recorder: one frozen record a row, before it is a row.

A row is overwritten only by a record that is not older (fractal_helpers.upserts tells what that
means). Times are aware UTC datetimes.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """hardware.user_containers: one ECS task, ``container_id`` its ARN.

    ``state`` is CREATING, RUNNING_AVAILABLE, RUNNING_UNAVAILABLE, DELETING, STOPPED or FAILED.
    Ports are host ports of container ports 32262, 32263 and 32273, -1 where not published.
    """

    container_id: str
    uid: str
    namespace: str
    name: str
    attempt: int
    user_id: str | None
    cluster: str
    location: str
    ip: str
    state: str
    port_32262: int
    port_32263: int
    port_32273: int
    dpi: int | None
    task_definition: str
    task_version: int | None
    version: int
    generation: int
    observed_at: datetime
    created_at: datetime | None
    started_at: datetime | None
    stopped_at: datetime | None
    stop_code: str
    stopped_reason: str
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing follows this state."""
        return self.state in ("STOPPED", "FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStateRecord:
    """hardware.user_app_state: one object, ``task_id`` its uid, of installation ``install``.

    ``state`` is PENDING, SPINNING_UP_NEW, WAITING_FOR_CLIENT_APP, READY, FAILURE or CANCELLED.
    ``deleted`` marks the terminal row of an object that is gone.
    """

    task_id: str
    install: str
    namespace: str
    name: str
    user_id: str | None
    state: str
    ip: str
    port: int
    generation: int
    resource_version: str
    observed_at: datetime
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """logs.container_history: one transition, appended once; ``key`` is unique, always the same."""

    key: str
    at: datetime
    uid: str
    namespace: str
    name: str
    attempt: int
    container_id: str
    phase_from: str
    phase_to: str
    reason: str
    message: str


MirrorRecord = ContainerRecord | AppStateRecord
"""What a row of the mirror is made of; history is no mirror."""

Record = MirrorRecord | HistoryRecord


@dataclass(frozen=True, slots=True)
class LivePage:
    """Some of the rows that are not closed; the next page follows ``upto``, None: none follows."""

    rows: tuple[MirrorRecord, ...]
    upto: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that Postgres will never take as it is, and Postgres's reason in plain words."""

    record: Record
    reason: str
