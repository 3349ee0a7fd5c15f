"""What an inline container is made of: ports, environment, secrets, health check, logs."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from fractal_models.api_types import LIST_ATOMIC, Rule, SpecModel, replaces
from fractal_models.patterns import (
    ENV_NAME,
    LOG_NAME,
    NO_NUL,
    OS_FAMILY,
    PORT_NAME,
    REGION,
    VALUE_FROM,
)


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
    return not name.startswith("FRACTAL_") and name != "WEBSERVER_URL"


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
            pattern=PORT_NAME,
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
            pattern=OS_FAMILY,
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
            pattern=LOG_NAME,
        ),
    ]
    region: Annotated[
        str,
        replaces(
            "AWS region of the group, at most 32 characters; empty: the task's region.",
            max_length=32,
            pattern=REGION,
        ),
    ] = ""
    stream_prefix: Annotated[
        str,
        replaces(
            "what the log stream's name starts with, at most 256 characters; empty: fractal.",
            max_length=256,
            pattern=LOG_NAME,
        ),
    ] = ""
