"""What a status is made of. Texts are cut to their bounds, times to whole seconds of UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from fractal_models.api_types import LIST_ATOMIC, StatusModel


def clip(text: str, limit: int) -> str:
    """``text`` as it can be stored anywhere: at most ``limit`` characters, the cut marked by "…".

    NUL and lone surrogates become U+FFFD: PostgreSQL refuses the former, and the API server stores
    the latter so, which would make every later comparison differ.
    """
    if "\0" in text or not text.isascii():
        text = text.replace("\0", "\ufffd")
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _whole_seconds(value: datetime) -> datetime:
    try:
        at = value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of the calendar") from error
    return at.replace(microsecond=0) if at.microsecond else at


def _rfc3339(value: datetime) -> str:
    return _whole_seconds(value).replace(tzinfo=None).isoformat() + "Z"


def _cut_to(limit: int) -> Callable[[Any], Any]:
    return lambda value: clip(value, limit) if isinstance(value, str) else value


# Cut when read, and again when written, since model_copy reads nothing.
Word = Annotated[
    str, Field(max_length=128), BeforeValidator(_cut_to(128)), PlainSerializer(_cut_to(128))
]
Reference = Annotated[
    str, Field(max_length=512), BeforeValidator(_cut_to(512)), PlainSerializer(_cut_to(512))
]
Text = Annotated[
    str, Field(max_length=1024), BeforeValidator(_cut_to(1024)), PlainSerializer(_cut_to(1024))
]
Time = Annotated[
    AwareDatetime,
    AfterValidator(_whole_seconds),
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Ordinal = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]


class Phase(StrEnum):
    """The object in one word, for people; derived, never an input of a decision."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    UPDATING = "Updating"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"


class ConditionStatus(StrEnum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Role(StrEnum):
    """Whether a task is the one that serves, is to take that one's place, or is on its way out."""

    CURRENT = "Current"
    NEXT = "Next"
    RETIRING = "Retiring"


class Condition(StatusModel):
    """metav1.Condition."""

    type: Annotated[Word, Field(description="Ready, Reconciling, Stalled or Synced.")]
    status: Annotated[ConditionStatus, Field(description="True, False or Unknown.")]
    reason: Annotated[Word, Field(description="why, in one CamelCase word.")] = ""
    message: Annotated[Text, Field(description="why, for people.")] = ""
    last_transition_time: Annotated[
        Time | None, Field(description="when status last changed, RFC 3339, UTC.")
    ] = None
    observed_generation: Annotated[
        int | None,
        Field(
            description="metadata.generation that this is about.", strict=True, ge=0, le=2**53 - 1
        ),
    ] = None


class Attempt(StatusModel):
    """The latest launch: written before RunTask is called, and everything that call depends on."""

    number: Annotated[Ordinal, Field(description="number of the attempt, counted from 1.")]
    cluster_arn: Annotated[Reference, Field(description="ARN of the ECS cluster.")] = ""
    definition_arn: Annotated[
        Reference, Field(description="ARN of the task definition, with its revision.")
    ] = ""
    rung: Annotated[Count, Field(description="rung of spec.placement in use, from 0.")] = 0
    spec_hash: Annotated[
        Word, Field(description="hash of the fields whose change replaces the task.")
    ] = ""
    request_hash: Annotated[Word, Field(description="hash of the whole RunTask request.")] = ""
    first_issued_at: Annotated[
        Time | None, Field(description="when RunTask was first meant to be called with this token.")
    ] = None
    last_issued_at: Annotated[
        Time | None, Field(description="when RunTask was last meant to be called with this token.")
    ] = None
    issued_by: Annotated[
        Word, Field(description="the operator process that last meant to call RunTask.")
    ] = ""
    failures: Annotated[
        Count, Field(description="consecutive failed attempts before this one.")
    ] = 0
    container_name: Annotated[
        Reference, Field(description="the main container of the task definition.")
    ] = ""
    adopts: Annotated[
        Reference, Field(description="ARN of the task that it takes over instead of a launch.")
    ] = ""
    restart_requested_at: Annotated[
        Word, Field(description="the fractal.co/restart-requested-at that it heeds.")
    ] = ""
    used_seconds: Annotated[
        Count,
        Field(
            description="how many seconds of lifetimeSeconds the tasks that have ended have used."
        ),
    ] = 0
    yields_to: Annotated[
        Count,
        Field(
            description="the earlier attempt whose task stays in place of this one's; what is said "
            "of the spec, failures and lifetime is of that one then. 0: none."
        ),
    ] = 0


class Task(StatusModel):
    """One ECS task of the object, as last seen."""

    attempt: Annotated[Ordinal, Field(description="number of the attempt that launched it.")]
    role: Annotated[
        Role,
        Field(
            description="Current: the one task; Next (updateStrategy Surge): takes its place once "
            "Ready; Retiring: being replaced or stopped."
        ),
    ] = Role.CURRENT
    arn: Annotated[Reference, Field(description="ARN of the task.")] = ""
    definition_arn: Annotated[Reference, Field(description="ARN of its task definition.")] = ""
    last_status: Annotated[Word, Field(description="ECS's lastStatus.")] = ""
    health_status: Annotated[Word, Field(description="ECS's health of the main container.")] = ""
    started_at: Annotated[
        Time | None, Field(description="when ECS saw it RUNNING, RFC 3339, UTC.")
    ] = None
    reason: Annotated[Word, Field(description="why it retires, or will, in one word.")] = ""
    since: Annotated[
        Time | None,
        Field(description="when it was first seen in its present stage; timeouts count from here."),
    ] = None


class PlacementStatus(StatusModel):
    """Where the current task was placed."""

    rung: Annotated[Count, Field(description="rung of spec.placement, from 0.")] = 0
    capacity_provider: Annotated[
        Reference, Field(description="capacity provider, or launch type, that ECS used.")
    ] = ""
    reason: Annotated[
        Text, Field(description="why not an earlier rung, at most 1024 characters.")
    ] = ""


class EndpointPort(StatusModel):
    """One port of the running container."""

    name: Annotated[Word, Field(description="name of the port in the template, if any.")] = ""
    container_port: Annotated[
        int, Field(description="port in the container.", strict=True, ge=1, le=65535)
    ]
    host_port: Annotated[
        int, Field(description="port at the address, 0: none.", strict=True, ge=0, le=65535)
    ]
    protocol: Annotated[Word, Field(description="tcp or udp.")] = "tcp"


class Endpoint(StatusModel):
    """Where the running container is reached."""

    ip: Annotated[Word, Field(description="public address if there is one, else the private.")] = ""
    private_ip: Annotated[Word, Field(description="address inside the VPC.")] = ""
    ports: Annotated[
        tuple[EndpointPort, ...],
        Field(description="published ports.", max_length=100, json_schema_extra=LIST_ATOMIC),
    ] = ()


class Termination(StatusModel):
    """How a task of the object ended."""

    attempt: Annotated[Ordinal, Field(description="number of the attempt.")]
    stop_code: Annotated[
        Word, Field(description="why it ended: ECS's stopCode, or a word of the operator's.")
    ] = ""
    reason: Annotated[Text, Field(description="ECS's stoppedReason, at most 1024 characters.")] = ""
    exit_code: Annotated[
        int | None,
        Field(
            description="exit code of the main container; none if it never ran.",
            strict=True,
            ge=-(2**31),
            le=2**31 - 1,
        ),
    ] = None
    finished_at: Annotated[
        Time | None, Field(description="when the task ended, RFC 3339, UTC.")
    ] = None
