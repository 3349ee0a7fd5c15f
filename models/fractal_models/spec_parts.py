"""What a spec is made of: its enumerations, a placement rung, the network, the timeouts."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StrictInt

from fractal_models.api_types import (
    LIST_SET,
    Rule,
    SpecModel,
    in_place,
    next_launch,
    replaces,
    unique,
)
from fractal_models.patterns import AWS_NAME, SECURITY_GROUP, SUBNET


class LaunchType(StrEnum):
    """ECS's launch types; MANAGED_INSTANCES is reached by capacityProvider only."""

    EC2 = "EC2"
    FARGATE = "FARGATE"
    EXTERNAL = "EXTERNAL"


class AssignPublicIp(StrEnum):
    """Whether a task of network mode awsvpc gets a public address."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class OperatingMode(StrEnum):
    """Whether there should be a task."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"


class RestartPolicy(StrEnum):
    """Which ends of a task are followed by another one."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class UpdateStrategy(StrEnum):
    """How a change that replaces the task is carried out."""

    RECREATE = "Recreate"
    SURGE = "Surge"


class DeletionPolicy(StrEnum):
    """What happens to the task when the object is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class Placement(SpecModel):
    """One rung of the placement ladder."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "exactly one of capacityProvider and launchType must be set",
            "has(self.capacityProvider) != has(self.launchType)",
            lambda rung: bool(rung.capacity_provider) != (rung.launch_type is not None),
        ),
    )

    capacity_provider: Annotated[
        str,
        next_launch(
            "name of a capacity provider of the cluster, FARGATE or FARGATE_SPOT, at most 255 "
            "characters. Either this or launchType.",
            min_length=1,
            max_length=255,
            pattern=AWS_NAME,
        ),
    ] = ""
    launch_type: Annotated[
        LaunchType | None,
        next_launch(
            "EC2, FARGATE or EXTERNAL; Managed Instances go by capacityProvider. Either this or "
            "capacityProvider."
        ),
    ] = None
    wait_seconds: Annotated[
        StrictInt | None,
        next_launch(
            "seconds on this rung, waiting for capacity included, 1 to 86400; then the next rung. "
            "Empty: timeouts.provisioningSeconds.",
            ge=1,
            le=86400,
        ),
    ] = None


class Network(SpecModel):
    """The network of a task of mode awsvpc (Fargate always is)."""

    subnets: Annotated[
        tuple[Annotated[str, Field(max_length=64, pattern=SUBNET)], ...],
        replaces(
            "ids of subnets of one VPC, at most 16; several zones help when one has no capacity. "
            "Empty: the operator's setting.",
            max_length=16,
            json_schema_extra=LIST_SET,
        ),
        AfterValidator(unique),
    ] = ()
    security_groups: Annotated[
        tuple[Annotated[str, Field(max_length=64, pattern=SECURITY_GROUP)], ...],
        replaces(
            "ids of security groups, at most 5. Empty: the operator's setting.",
            max_length=5,
            json_schema_extra=LIST_SET,
        ),
        AfterValidator(unique),
    ] = ()
    assign_public_ip: Annotated[
        AssignPublicIp | None,
        replaces("Enabled or Disabled, Fargate only. Empty: the operator's setting."),
    ] = None


class Timeouts(SpecModel):
    """How long things may take."""

    provisioning_seconds: Annotated[
        StrictInt,
        in_place(
            "seconds in ECS's state PROVISIONING, 1 to 86400; then the task is stopped and the "
            "next rung tried.",
            ge=1,
            le=86400,
        ),
    ] = 1800
    start_seconds: Annotated[
        StrictInt,
        in_place(
            "seconds from ECS's state PENDING to RUNNING, 1 to 86400; then the task is stopped "
            "and launched again.",
            ge=1,
            le=86400,
        ),
    ] = 600
    lifetime_seconds: Annotated[
        StrictInt | None,
        in_place(
            "seconds that the object may run, 1 to 31536000: all its tasks together, suspension "
            "not counted, and anew after an edit that replaces the task; then it ends as Expired "
            "and is not launched again. Empty: for ever.",
            ge=1,
            le=31536000,
        ),
    ] = None
    ttl_seconds_after_finished: Annotated[
        StrictInt | None,
        in_place(
            "seconds after the end (Succeeded, Failed) until the object is deleted, 0 to 31536000. "
            "Empty: it is kept.",
            ge=0,
            le=31536000,
        ),
    ] = None
