"""The cross-field rules of a FractalContainer's spec, each in Python and in CEL."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from fractal_models.api_types import Rule
from fractal_models.patterns import TAG_TEXT
from fractal_models.template_parts import Compatibility, NetworkMode

FARGATE_MEMORY_MIB: Mapping[int, range] = {
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}
"""CPU units -> MiB that Fargate sells with them, but for the smallest size
(AWS, RegisterTaskDefinition, parameter ``memory``)."""
FARGATE_SMALLEST_MIB = (512, 1024, 2048)
"""What Fargate sells with 256 CPU units."""
FARGATE_CPU_UNITS = (256, *FARGATE_MEMORY_MIB)


def fargate(spec: Any) -> bool:
    """Whether a Spec asks for Fargate itself: by requiresCompatibilities or by a rung."""
    template = spec.template
    if template and Compatibility.FARGATE in template.requires_compatibilities:
        return True
    return any(
        rung.launch_type == "FARGATE" or rung.capacity_provider in ("FARGATE", "FARGATE_SPOT")
        for rung in spec.placement
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


def _fargate_rule(message: str, cel: str, holds: Any) -> Rule:
    """A rule about the template, for specs that ask for Fargate. ``holds`` gets the template."""
    return Rule(
        message,
        f"!has(self.template) || !{_FARGATE} || {cel}",
        lambda spec: spec.template is None or not fargate(spec) or holds(spec.template),
    )


def _memory_rule(cpu: int, sizes: range | tuple[int, ...]) -> Rule:
    cpu_units, memory = "self.template.cpuUnits", "self.template.memoryMiB"
    if isinstance(sizes, range):
        least, most = sizes[0], sizes[-1]
        words = f"{least} to {most} in steps of {sizes.step}"
        cel = f"({memory} >= {least} && {memory} <= {most} && {memory} % {sizes.step} == 0)"
    else:
        words = ", ".join(map(str, sizes[:-1])) + f" or {sizes[-1]}"
        cel = f"{memory} in {list(sizes)}"
    return _fargate_rule(
        f"on Fargate, template.cpuUnits {cpu} goes with memoryMiB {words}",
        f"{cpu_units} != {cpu} || {cel}",
        lambda template: template.cpu_units != cpu or template.memory_mib in sizes,
    )


def _external(spec: Any) -> bool:
    template = spec.template
    return bool(
        (template and Compatibility.EXTERNAL in template.requires_compatibilities)
        or any(rung.launch_type == "EXTERNAL" for rung in spec.placement)
    )


def _not_awsvpc(spec: Any) -> bool:
    mode = spec.template.network_mode if spec.template else None
    return spec.network is None and mode is not NetworkMode.AWSVPC


def _compatible(spec: Any) -> bool:
    allowed = spec.template.requires_compatibilities if spec.template else ()
    return not allowed or all(
        rung.launch_type is None or rung.launch_type in allowed for rung in spec.placement
    )


def _taggable(key: str) -> bool:
    return 1 <= len(key) <= 128 and all(
        unicodedata.category(letter)[0] in "LZN" or letter in "_.:/=+@-" for letter in key
    )


def _reserved_tag(key: str) -> bool:
    return key.lower().startswith("aws:") or key.startswith("fractal.co/")


SPEC_RULES = (
    Rule(
        "exactly one of taskDefinition and template must be set",
        "has(self.taskDefinition) != has(self.template)",
        lambda spec: bool(spec.task_definition) != (spec.template is not None),
    ),
    Rule(
        "containerName goes with taskDefinition: a template has one container, named main",
        "!has(self.template) || !has(self.containerName) || self.containerName == ''",
        lambda spec: spec.template is None or not spec.container_name,
    ),
    _fargate_rule(
        "on Fargate, template.cpuUnits is one of " + ", ".join(map(str, FARGATE_CPU_UNITS)),
        f"self.template.cpuUnits in {list(FARGATE_CPU_UNITS)}",
        lambda template: template.cpu_units in FARGATE_CPU_UNITS,
    ),
    _memory_rule(256, FARGATE_SMALLEST_MIB),
    *(_memory_rule(cpu, sizes) for cpu, sizes in FARGATE_MEMORY_MIB.items()),
    _fargate_rule(
        "on Fargate, template.networkMode is awsvpc: set it, or leave it out",
        "!has(self.template.networkMode) || self.template.networkMode == 'awsvpc'",
        lambda template: template.network_mode in (None, NetworkMode.AWSVPC),
    ),
    _fargate_rule(
        "on Fargate, template.stopTimeoutSeconds is at most 120",
        "!has(self.template.stopTimeoutSeconds) || self.template.stopTimeoutSeconds <= 120",
        lambda template: (template.stop_timeout_seconds or 0) <= 120,
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
        "EXTERNAL instances know no awsvpc: leave out network, and networkMode awsvpc",
        f"!{_EXTERNAL} || (!has(self.network) && (!has(self.template) || "
        "!has(self.template.networkMode) || self.template.networkMode != 'awsvpc'))",
        lambda spec: not _external(spec) or _not_awsvpc(spec),
    ),
    Rule(
        "tags: keys have 1 to 128 letters, digits, spaces and _.:/=+@-",
        "!has(self.tags) || "
        f"self.tags.all(k, size(k) >= 1 && size(k) <= 128 && k.matches(r'{TAG_TEXT}'))",
        lambda spec: all(_taggable(key) for key in spec.tags),
    ),
    Rule(
        "tags: keys must not start with aws: or fractal.co/",
        "!has(self.tags) || self.tags.all(k, "
        "!k.lowerAscii().startsWith('aws:') && !k.startsWith('fractal.co/'))",
        lambda spec: not any(_reserved_tag(key) for key in spec.tags),
    ),
)
