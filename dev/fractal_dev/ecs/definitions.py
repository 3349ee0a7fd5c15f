"""What ECS refuses in a task definition and moto 5.2.5 accepts."""

import re
from collections.abc import Mapping
from typing import Any

from fractal_dev.ecs.errors import client_error

_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_GIB = 1024
_FARGATE_MEMORY: Mapping[int, tuple[int, ...]] = {
    256: (512, 1 * _GIB, 2 * _GIB),
    512: tuple(range(1 * _GIB, 4 * _GIB + 1, _GIB)),
    1024: tuple(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: tuple(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: tuple(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: tuple(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: tuple(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
}
"""MiB that go with each number of CPU units (ECS API, RegisterTaskDefinition, parameter cpu)."""


def check_definition(request: Mapping[str, Any]) -> None:
    """Check a RegisterTaskDefinition request beyond what moto checks.

    Raises:
        AwsError: ClientException.
    """
    if not _FAMILY.fullmatch(request.get("family", "")):
        raise client_error("Family should be 1 to 255 letters, digits, hyphens and underscores.")
    containers = request.get("containerDefinitions") or []
    if not 1 <= len(containers) <= 10:
        raise client_error("A task definition has 1 to 10 container definitions.")
    if not any(each.get("essential", True) for each in containers):
        raise client_error("At least one essential container must be specified.")
    if "FARGATE" in (request.get("requiresCompatibilities") or ()):
        _check_fargate(request)


def _check_fargate(request: Mapping[str, Any]) -> None:
    if request.get("networkMode") != "awsvpc":
        raise client_error("Fargate only supports network mode 'awsvpc'.")
    for name in ("cpu", "memory"):
        if not request.get(name):
            raise client_error(f"Fargate requires that '{name}' be defined at the task level.")
    cpu = units(request["cpu"], "vcpu")
    memory = units(request["memory"], "gb")
    if memory not in _FARGATE_MEMORY.get(cpu, ()):
        raise client_error(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the"
            " Amazon ECS documentation for the valid values."
        )


def units(value: str, unit: str) -> int:
    """Read CPU units or MiB, given as such or in ``unit``, which is 1024 of them."""
    text = value.lower().replace(" ", "")
    try:
        if text.endswith(unit):
            return round(float(text.removesuffix(unit)) * 1024)
        return int(text)
    except ValueError:
        raise client_error(f"Invalid 'cpu' or 'memory' setting for task: {value}") from None
