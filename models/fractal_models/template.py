"""The inline container of a FractalContainer: what becomes a task definition of one container."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StrictInt

from fractal_models.api_types import (
    LIST_ATOMIC,
    LIST_SET,
    NO_NUL,
    Rule,
    SpecModel,
    list_map,
    replaces,
    unique,
    unique_by,
)

TEMPLATE_CONTAINER = "main"
"""The name of a template's only container in ECS."""

RESERVED_PREFIX = "FRACTAL_"
WEBSERVER_URL = "WEBSERVER_URL"

ENV_NAME = r"^[A-Za-z_.-][A-Za-z0-9_.-]*$"
ROLE_ARN = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$"
VALUE_FROM = (
    r"^(arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9/_+=.@:!-]+"
    r"|[A-Za-z0-9_./-]+)$"
)
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/#-]*(@sha256:[A-Fa-f0-9]{64})?$"


class Protocol(StrEnum):
    """Transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class NetworkMode(StrEnum):
    """ECS's network modes."""

    AWSVPC = "awsvpc"
    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class Compatibility(StrEnum):
    """Where ECS can run a task definition."""

    EC2 = "EC2"
    FARGATE = "FARGATE"
    EXTERNAL = "EXTERNAL"
    MANAGED_INSTANCES = "MANAGED_INSTANCES"


class CpuArchitecture(StrEnum):
    """CPU architectures of ECS."""

    X86_64 = "X86_64"
    ARM64 = "ARM64"


def _unreserved(name: str) -> bool:
    return not name.startswith(RESERVED_PREFIX) and name != WEBSERVER_URL


_RESERVED = Rule(
    "names that start with FRACTAL_ and the name WEBSERVER_URL are reserved: "
    "use spec.dpi and spec.webserverUrl",
    "!self.name.startsWith('FRACTAL_') && self.name != 'WEBSERVER_URL'",
    lambda item: _unreserved(item.name),
)

EnvName = Annotated[
    str,
    replaces(
        "name of the environment variable, 1 to 255 characters; FRACTAL_* and WEBSERVER_URL "
        "are reserved.",
        min_length=1,
        max_length=255,
        pattern=ENV_NAME,
    ),
]


class EnvVar(SpecModel):
    """One environment variable. Anyone who may describe the task can read it."""

    RULES: ClassVar[tuple[Rule, ...]] = (_RESERVED,)

    name: EnvName
    value: Annotated[
        str,
        replaces(
            "its value, at most 8192 characters without NUL; not for secrets.",
            max_length=8192,
            pattern=NO_NUL,
        ),
    ] = ""


class Secret(SpecModel):
    """One environment variable that ECS fills from Secrets Manager or Parameter Store."""

    RULES: ClassVar[tuple[Rule, ...]] = (_RESERVED,)

    name: EnvName
    value_from: Annotated[
        str,
        replaces(
            "where the value is: ARN of a Secrets Manager secret, or ARN or name of a parameter "
            "of the task's region; at most 2048 characters.",
            min_length=1,
            max_length=2048,
            pattern=VALUE_FROM,
        ),
    ]


class Port(SpecModel):
    """One published port."""

    name: Annotated[
        str,
        replaces(
            "what status.endpoint calls the port, 1 to 63 lower-case letters, digits, hyphens.",
            min_length=1,
            max_length=63,
            pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        ),
    ]
    container_port: Annotated[
        StrictInt, replaces("port the container listens on, 1 to 65535.", ge=1, le=65535)
    ]
    protocol: Annotated[Protocol, replaces("tcp (default) or udp.")] = Protocol.TCP


class HealthCheck(SpecModel):
    """ECS's container health check. An image's own HEALTHCHECK is ignored by ECS."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "healthCheck.command must start with CMD or CMD-SHELL and go on with what to run",
            "size(self.command) >= 2 && self.command[0] in ['CMD', 'CMD-SHELL']",
            lambda check: len(check.command) >= 2 and check.command[0] in ("CMD", "CMD-SHELL"),
        ),
    )

    command: Annotated[
        tuple[Annotated[str, Field(max_length=4096, pattern=NO_NUL)], ...],
        replaces(
            'what to run in the container: "CMD" and arguments, or "CMD-SHELL" and one command '
            "line; exit code 0 is healthy. At most 50 items of 4096 characters.",
            min_length=1,
            max_length=50,
            json_schema_extra=LIST_ATOMIC,
        ),
    ]
    interval_seconds: Annotated[
        StrictInt | None,
        replaces("seconds between checks, 5 to 300; ECS's default 30.", ge=5, le=300),
    ] = None
    timeout_seconds: Annotated[
        StrictInt | None,
        replaces("seconds a check may take, 2 to 60; ECS's default 5.", ge=2, le=60),
    ] = None
    retries: Annotated[
        StrictInt | None,
        replaces("failures in a row until UNHEALTHY, 1 to 10; ECS's default 3.", ge=1, le=10),
    ] = None
    start_period_seconds: Annotated[
        StrictInt | None,
        replaces(
            "seconds after the start in which failures do not count, 0 to 300; default none.",
            ge=0,
            le=300,
        ),
    ] = None


class RuntimePlatform(SpecModel):
    """What the image is built for."""

    cpu_architecture: Annotated[
        CpuArchitecture | None, replaces("X86_64 or ARM64; ECS's default X86_64.")
    ] = None
    operating_system_family: Annotated[
        str,
        replaces(
            "LINUX or one of ECS's WINDOWS_SERVER_… families, at most 64 characters; ECS's "
            "default LINUX.",
            max_length=64,
            pattern=r"^(LINUX|WINDOWS_SERVER_[A-Z0-9_]+)?$",
        ),
    ] = ""


class Logs(SpecModel):
    """Where the container's output goes: CloudWatch Logs, by ECS's driver awslogs."""

    group: Annotated[
        str,
        replaces(
            "log group, 1 to 512 characters; it must exist.",
            min_length=1,
            max_length=512,
            pattern=r"^[A-Za-z0-9_./#-]+$",
        ),
    ]
    region: Annotated[
        str,
        replaces(
            "AWS region of the group, at most 32 characters; empty: the task's region.",
            max_length=32,
            pattern=r"^[a-z0-9-]*$",
        ),
    ] = ""
    stream_prefix: Annotated[
        str,
        replaces(
            "what the log stream's name starts with, at most 256 characters; empty: fractal.",
            max_length=256,
            pattern=r"^[A-Za-z0-9_./#-]*$",
        ),
    ] = ""


class Template(SpecModel):
    """A container described in place; the operator registers one task definition for all alike.

    Sidecars, volumes and whatever else ECS can do: register a task definition, name it instead.
    """

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "ports: a name stands twice",
            None,
            lambda t: len({p.name for p in t.ports}) == len(t.ports),
        ),
        Rule(
            "a name stands in both environment and secrets",
            None,
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
        unique_by("container_port", "protocol"),
        replaces(
            "published ports, at most 20.",
            max_length=20,
            json_schema_extra=list_map("containerPort", "protocol"),
        ),
    ] = ()
    environment: Annotated[
        tuple[EnvVar, ...],
        unique_by("name"),
        replaces(
            "environment variables, at most 100; spec.environment overrides them.",
            max_length=100,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    secrets: Annotated[
        tuple[Secret, ...],
        unique_by("name"),
        replaces(
            "environment variables from Secrets Manager or Parameter Store, at most 100; ECS reads "
            "them with the execution role.",
            max_length=100,
            json_schema_extra=list_map("name"),
        ),
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
            "most 2048 characters; empty: the operator's setting.",
            max_length=2048,
            pattern=rf"^$|{ROLE_ARN}",
        ),
    ] = ""
    task_role_arn: Annotated[
        str,
        replaces(
            "ARN of the role that the container's own AWS calls use, at most 2048 characters; "
            "empty: the operator's setting.",
            max_length=2048,
            pattern=rf"^$|{ROLE_ARN}",
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
        AfterValidator(unique),
        replaces(
            "where the task must be able to run, at most 4 of EC2, FARGATE, EXTERNAL and "
            "MANAGED_INSTANCES; ECS checks the template against them.",
            max_length=4,
            json_schema_extra=LIST_SET,
        ),
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
