"""The inline container of a FractalContainer: what becomes a task definition of one container."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StrictInt

from fractal_models.api_types import (
    LIST_ATOMIC,
    LIST_SET,
    Rule,
    SpecModel,
    list_map,
    replaces,
    unique,
    unique_by,
)
from fractal_models.patterns import IMAGE, NO_NUL, ROLE_ARN
from fractal_models.template_parts import (
    Compatibility,
    EnvVar,
    HealthCheck,
    Logs,
    NetworkMode,
    Port,
    RuntimePlatform,
    Secret,
)

TEMPLATE_CONTAINER = "main"
"""The name of a template's only container in ECS."""


class Template(SpecModel):
    """A container described in place; the operator registers one task definition for all alike.

    Sidecars, volumes and whatever else ECS can do: register a task definition, name it instead.
    """

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "ports: a name stands twice",
            "!has(self.ports) || self.ports.all(p, self.ports.exists_one(q, q.name == p.name))",
            lambda t: len({p.name for p in t.ports}) == len(t.ports),
        ),
        Rule(
            "a name stands in both environment and secrets",
            "!has(self.environment) || !has(self.secrets) || "
            "self.secrets.all(s, !self.environment.exists(e, e.name == s.name))",
            lambda t: not {e.name for e in t.environment} & {s.name for s in t.secrets},
        ),
        Rule(
            "networkMode none publishes no ports: remove ports or choose another mode",
            "!has(self.networkMode) || self.networkMode != 'none' || !has(self.ports) || "
            "size(self.ports) == 0",
            lambda t: t.network_mode is not NetworkMode.NONE or not t.ports,
        ),
    )

    image: Annotated[
        str,
        replaces(
            "container image, repository/image:tag or …@sha256:digest, at most 330 characters.",
            min_length=1,
            max_length=330,
            pattern=IMAGE,
        ),
    ]
    cpu_units: Annotated[
        StrictInt,
        replaces(
            "CPU units of the task, 1024 = 1 vCPU, 128 to 196608; Fargate has 256, 512, 1024, "
            "2048, 4096, 8192 and 16384.",
            ge=128,
            le=196608,
        ),
    ]
    memory_mib: Annotated[
        StrictInt,
        replaces(
            "memory of the task in MiB, 6 to 33554432; a container that needs more is killed. "
            "Fargate offers certain pairs with cpuUnits only.",
            alias="memoryMiB",
            ge=6,
            le=33554432,
        ),
    ]
    ports: Annotated[
        tuple[Port, ...],
        replaces(
            "published ports, at most 20.",
            max_length=20,
            json_schema_extra=list_map("containerPort", "protocol"),
        ),
        unique_by("container_port", "protocol"),
    ] = ()
    environment: Annotated[
        tuple[EnvVar, ...],
        replaces(
            "environment variables, at most 100; spec.environment overrides them.",
            max_length=100,
            json_schema_extra=list_map("name"),
        ),
        unique_by("name"),
    ] = ()
    secrets: Annotated[
        tuple[Secret, ...],
        replaces(
            "environment variables from Secrets Manager or Parameter Store, at most 100; ECS reads "
            "them with the execution role.",
            max_length=100,
            json_schema_extra=list_map("name"),
        ),
        unique_by("name"),
    ] = ()
    command: Annotated[
        tuple[Annotated[str, Field(max_length=8192, pattern=NO_NUL)], ...],
        replaces(
            "arguments that replace the image's CMD, at most 100 of 8192 characters.",
            max_length=100,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    health_check: Annotated[
        HealthCheck | None,
        replaces("how ECS tells whether the container is well; Ready then waits for HEALTHY."),
    ] = None
    execution_role_arn: Annotated[
        str,
        replaces(
            "ARN of the role with which ECS pulls the image, reads secrets and writes logs, at "
            "most 2048 characters; empty: none.",
            max_length=2048,
            pattern=ROLE_ARN,
        ),
    ] = ""
    task_role_arn: Annotated[
        str,
        replaces(
            "ARN of the role that the container's own AWS calls use, at most 2048 characters; "
            "empty: none.",
            max_length=2048,
            pattern=ROLE_ARN,
        ),
    ] = ""
    network_mode: Annotated[
        NetworkMode | None,
        replaces(
            "awsvpc, bridge, host or none; empty: awsvpc where Fargate is asked for, else ECS's "
            "default (bridge)."
        ),
    ] = None
    requires_compatibilities: Annotated[
        tuple[Compatibility, ...],
        replaces(
            "where the task must be able to run, at most 4 of EC2, FARGATE, EXTERNAL and "
            "MANAGED_INSTANCES; ECS checks the template against them.",
            max_length=4,
            json_schema_extra=LIST_SET,
        ),
        AfterValidator(unique),
    ] = ()
    runtime_platform: Annotated[
        RuntimePlatform | None,
        replaces("what the image is built for; ECS's default Linux on X86_64."),
    ] = None
    ephemeral_storage_gib: Annotated[
        StrictInt | None,
        replaces(
            "disk space of a Fargate task in GiB, 21 to 200; ECS's default 20.",
            alias="ephemeralStorageGiB",
            ge=21,
            le=200,
        ),
    ] = None
    stop_timeout_seconds: Annotated[
        StrictInt | None,
        replaces(
            "seconds from SIGTERM to SIGKILL, 0 to 3600, on Fargate at most 120; ECS's default 30.",
            ge=0,
            le=3600,
        ),
    ] = None
    logs: Annotated[
        Logs | None, replaces("where the container's output goes; empty: ECS's default.")
    ] = None
