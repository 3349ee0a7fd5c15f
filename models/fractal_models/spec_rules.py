"""The cross-field rules of a FractalContainer's spec, each in Python and in CEL."""

import unicodedata
from typing import Any

from fractal_models.api_types import Rule
from fractal_models.template import Compatibility, NetworkMode

FARGATE_MEMORY_MIB: dict[int, tuple[int, int, int]] = {
    512: (1024, 4096, 1024),
    1024: (2048, 8192, 1024),
    2048: (4096, 16384, 1024),
    4096: (8192, 30720, 1024),
    8192: (16384, 61440, 4096),
    16384: (32768, 122880, 8192),
}
"""CPU units -> least, most and step of memory (AWS: "Task size", RegisterTaskDefinition)."""
FARGATE_SMALLEST = (256, (512, 1024, 2048))

FARGATE_PROVIDERS = ("FARGATE", "FARGATE_SPOT")


TAG_KEY = r"^[\p{L}\p{Z}\p{N}_.:/=+@-]+$"


def _taggable(key: str) -> bool:
    return 1 <= len(key) <= 128 and all(
        unicodedata.category(letter)[0] in "LZN" or letter in "_.:/=+@-" for letter in key
    )


def fargate(spec: Any) -> bool:
    """Whether a Spec asks for Fargate itself: by requiresCompatibilities or by a rung."""
    template = spec.template
    if template and Compatibility.FARGATE in template.requires_compatibilities:
        return True
    return any(
        rung.launch_type == "FARGATE" or rung.capacity_provider in FARGATE_PROVIDERS
        for rung in spec.placement
    )


def fargate_offers(cpu_units: int, memory_mib: int) -> bool:
    """Whether Fargate sells this pair of CPU units and MiB."""
    if cpu_units == FARGATE_SMALLEST[0]:
        return memory_mib in FARGATE_SMALLEST[1]
    if cpu_units not in FARGATE_MEMORY_MIB:
        return False
    least, most, step = FARGATE_MEMORY_MIB[cpu_units]
    return least <= memory_mib <= most and memory_mib % step == 0


_CPU, _MEM = "self.template.cpuUnits", "self.template.memoryMiB"
_OFFERED = " || ".join(
    [f"({_CPU} == {FARGATE_SMALLEST[0]} && {_MEM} in {list(FARGATE_SMALLEST[1])})"]
    + [
        f"({_CPU} == {cpu} && {_MEM} >= {least} && {_MEM} <= {most} && {_MEM} % {step} == 0)"
        for cpu, (least, most, step) in FARGATE_MEMORY_MIB.items()
    ]
)
_OFFERED_TEXT = "; ".join(
    [f"{FARGATE_SMALLEST[0]} with 512, 1024 or 2048"]
    + [
        f"{cpu} with {least} to {most} in steps of {step}"
        for cpu, (least, most, step) in FARGATE_MEMORY_MIB.items()
    ]
)

_FARGATE = (
    "((has(self.template.requiresCompatibilities) && "
    "'FARGATE' in self.template.requiresCompatibilities) || (has(self.placement) && "
    "self.placement.exists(p, (has(p.launchType) && p.launchType == 'FARGATE') || "
    "(has(p.capacityProvider) && p.capacityProvider in ['FARGATE', 'FARGATE_SPOT']))))"
)
_EXTERNAL = (
    "((has(self.template) && has(self.template.requiresCompatibilities) && "
    "'EXTERNAL' in self.template.requiresCompatibilities) || (has(self.placement) && "
    "self.placement.exists(p, has(p.launchType) && p.launchType == 'EXTERNAL')))"
)


def _external(spec: Any) -> bool:
    template = spec.template
    return bool(
        (template and Compatibility.EXTERNAL in template.requires_compatibilities)
        or any(rung.launch_type == "EXTERNAL" for rung in spec.placement)
    )


def _compatible(spec: Any) -> bool:
    allowed = spec.template.requires_compatibilities if spec.template else ()
    return not allowed or all(
        rung.launch_type is None or rung.launch_type in allowed for rung in spec.placement
    )


PLACEMENT_RULES = (
    Rule(
        "exactly one of capacityProvider and launchType must be set",
        "has(self.capacityProvider) != has(self.launchType)",
        lambda rung: bool(rung.capacity_provider) != (rung.launch_type is not None),
    ),
)

ONE_SOURCE = Rule(
    "exactly one of taskDefinition and template must be set",
    "has(self.taskDefinition) != has(self.template)",
    lambda s: bool(s.task_definition) != (s.template is not None),
)

SPEC_RULES = (
    ONE_SOURCE,
    Rule(
        "containerName goes with taskDefinition: a template has one container, named main",
        "!has(self.template) || !has(self.containerName) || self.containerName == ''",
        lambda s: s.template is None or not s.container_name,
    ),
    Rule(
        "Fargate does not offer this pair of template.cpuUnits and template.memoryMiB: "
        + _OFFERED_TEXT,
        f"!has(self.template) || !{_FARGATE} || {_OFFERED}",
        lambda s: (
            s.template is None
            or not fargate(s)
            or fargate_offers(s.template.cpu_units, s.template.memory_mib)
        ),
    ),
    Rule(
        "Fargate needs template.networkMode awsvpc: set it, or leave it empty",
        f"!has(self.template) || !{_FARGATE} || !has(self.template.networkMode) || "
        "self.template.networkMode == 'awsvpc'",
        lambda s: (
            s.template is None
            or not fargate(s)
            or s.template.network_mode in (None, NetworkMode.AWSVPC)
        ),
    ),
    Rule(
        "Fargate waits at most 120 s after SIGTERM: lower template.stopTimeoutSeconds",
        f"!has(self.template) || !{_FARGATE} || !has(self.template.stopTimeoutSeconds) || "
        "self.template.stopTimeoutSeconds <= 120",
        lambda s: (
            s.template is None or not fargate(s) or (s.template.stop_timeout_seconds or 0) <= 120
        ),
    ),
    Rule(
        "a launchType of placement is missing in template.requiresCompatibilities",
        "!has(self.template) || !has(self.template.requiresCompatibilities) || "
        "size(self.template.requiresCompatibilities) == 0 || !has(self.placement) || ("
        + " && ".join(
            f"('{launch_type}' in self.template.requiresCompatibilities || "
            f"!self.placement.exists(p, has(p.launchType) && p.launchType == '{launch_type}'))"
            for launch_type in ("EC2", "FARGATE", "EXTERNAL")
        )
        + ")",
        _compatible,
    ),
    Rule(
        "EXTERNAL instances know no awsvpc: remove network, and choose another networkMode",
        f"!{_EXTERNAL} || (!has(self.network) && (!has(self.template) || "
        "!has(self.template.networkMode) || self.template.networkMode != 'awsvpc'))",
        lambda s: (
            not _external(s)
            or (
                s.network is None
                and (s.template is None or s.template.network_mode is not NetworkMode.AWSVPC)
            )
        ),
    ),
    Rule(
        "tags: keys have 1 to 128 letters, digits, spaces and _.:/=+@-",
        f"!has(self.tags) || self.tags.all(k, size(k) <= 128 && k.matches(r'{TAG_KEY}'))",
        lambda s: all(_taggable(key) for key in s.tags),
    ),
    Rule(
        "tags: keys must not start with aws: or fractal.co/",
        "!has(self.tags) || self.tags.all(k, !k.lowerAscii().startsWith('aws:') && "
        "!k.startsWith('fractal.co/'))",
        lambda s: (
            not any(
                key.lower().startswith("aws:") or key.startswith("fractal.co/") for key in s.tags
            )
        ),
    ),
)
