"""Every leaf field of the spec, by path, and where its value comes out at ECS.

``leaves`` are made from the model; ``SENT`` says by hand where each must be found.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.unit.core.world import TEMPLATE

Spec = dict[str, Any]
ROLE = "arn:aws:iam::123456789012:role/walked"


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(JSON path, field) of each field that holds no model; ``[]`` marks a list of models."""
    for name, field in model.model_fields.items():
        here = f"{path}{field.alias or name}"
        inner, many = _model_of(field.annotation)
        if inner is None:
            yield here, field
        else:
            yield from leaves(inner, f"{here}[]." if many else f"{here}.")


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that an annotation holds, if any, and whether it holds many of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = [each for each in get_args(annotation) if each is not NoneType]
        return _model_of(inner)
    if get_origin(annotation) is tuple:
        return _model_of(get_args(annotation)[0])[0], True
    return None, False


def definition(**fields: Any) -> Spec:
    return {"taskDefinition": "web", **fields}


def template(**fields: Any) -> Spec:
    return {"template": {**TEMPLATE, **fields}}


@dataclass(frozen=True)
class Sent:
    """A field that goes to ECS: ``make(value)`` is a spec with it, ``path`` where it comes out.

    ``path`` begins with the operation, run or register; ``shown`` is the value as ECS gets it.
    """

    make: Callable[[Any], Spec]
    value: Any
    path: str
    shown: Callable[[Any], Any] = lambda value: value


def _on(**fields: Any) -> Callable[[Any], Spec]:
    """A maker of template specs; ``...`` among the fields stands for the value."""

    def fill(part: Any, value: Any) -> Any:
        match part:
            case e if e is ...:
                return value
            case dict():
                return {key: fill(each, value) for key, each in part.items()}
            case list():
                return [fill(each, value) for each in part]
            case _:
                return part

    return lambda value: template(**fill(fields, value))


def _with(name: str) -> Callable[[Any], Spec]:
    return lambda value: definition(**{name: value})


def _variable(name: str) -> Callable[[Any], Any]:
    return lambda value: {"name": name, "value": str(value)}


_CHECK: Mapping[str, Any] = {"command": ["CMD", "walk"]}
_ENVIRONMENT = "run.overrides.containerOverrides.0.environment.*"
_MAIN = "register.containerDefinitions.0"
_LOGS = f"{_MAIN}.logConfiguration.options"
_VPC = "run.networkConfiguration.awsvpcConfiguration"

SENT: Mapping[str, Sent] = {
    "taskDefinition": Sent(lambda value: {"taskDefinition": value}, "walked:7", "resolve"),
    "containerName": Sent(
        _with("containerName"), "side", "run.overrides.containerOverrides.0.name"
    ),
    "placement[].capacityProvider": Sent(
        lambda value: definition(placement=[{"capacityProvider": value}]),
        "walked",
        "run.capacityProviderStrategy.0.capacityProvider",
    ),
    "placement[].launchType": Sent(
        lambda value: definition(placement=[{"launchType": value}]), "EXTERNAL", "run.launchType"
    ),
    "network.subnets": Sent(
        lambda value: definition(network={"subnets": [value]}), "subnet-0f1e1d", f"{_VPC}.subnets.*"
    ),
    "network.securityGroups": Sent(
        lambda value: definition(network={"securityGroups": [value]}),
        "sg-0f1e1d",
        f"{_VPC}.securityGroups.*",
    ),
    "network.assignPublicIp": Sent(
        lambda value: definition(network={"assignPublicIp": value}),
        "Enabled",
        f"{_VPC}.assignPublicIp",
        str.upper,
    ),
    "environment[].name": Sent(
        lambda value: definition(environment=[{"name": value, "value": "1"}]),
        "WALKED",
        f"{_ENVIRONMENT}.name",
    ),
    "environment[].value": Sent(
        lambda value: definition(environment=[{"name": "A", "value": value}]),
        "walked",
        f"{_ENVIRONMENT}.value",
    ),
    "command": Sent(_with("command"), ["walk", "on"], "run.overrides.containerOverrides.0.command"),
    "dpi": Sent(_with("dpi"), 321, _ENVIRONMENT, _variable("FRACTAL_DPI")),
    "webserverUrl": Sent(
        _with("webserverUrl"), "walked.example.org", _ENVIRONMENT, _variable("WEBSERVER_URL")
    ),
    "tags": Sent(
        lambda value: definition(tags={"team": value}),
        "walked",
        "run.tags.*",
        lambda value: {"key": "team", "value": value},
    ),
    "enableExecuteCommand": Sent(_with("enableExecuteCommand"), True, "run.enableExecuteCommand"),
    "template.image": Sent(_on(image=...), "walked:1", f"{_MAIN}.image"),
    "template.cpuUnits": Sent(_on(cpuUnits=...), 321, "register.cpu", str),
    "template.memoryMiB": Sent(_on(memoryMiB=...), 4321, "register.memory", str),
    "template.ports[].containerPort": Sent(
        _on(ports=[{"name": "p", "containerPort": ...}]),
        4321,
        f"{_MAIN}.portMappings.0.containerPort",
    ),
    "template.ports[].protocol": Sent(
        _on(ports=[{"name": "p", "containerPort": 4321, "protocol": ...}]),
        "udp",
        f"{_MAIN}.portMappings.0.protocol",
    ),
    "template.environment[].name": Sent(
        _on(environment=[{"name": ..., "value": "1"}]), "WALKED", f"{_MAIN}.environment.0.name"
    ),
    "template.environment[].value": Sent(
        _on(environment=[{"name": "A", "value": ...}]), "walked", f"{_MAIN}.environment.0.value"
    ),
    "template.secrets[].name": Sent(
        _on(secrets=[{"name": ..., "valueFrom": "x"}]), "WALKED", f"{_MAIN}.secrets.0.name"
    ),
    "template.secrets[].valueFrom": Sent(
        _on(secrets=[{"name": "S", "valueFrom": ...}]), "/walked/on", f"{_MAIN}.secrets.0.valueFrom"
    ),
    "template.command": Sent(_on(command=...), ["walk", "on"], f"{_MAIN}.command"),
    "template.healthCheck.command": Sent(
        _on(healthCheck={"command": ...}), ["CMD", "walk"], f"{_MAIN}.healthCheck.command"
    ),
    "template.healthCheck.intervalSeconds": Sent(
        _on(healthCheck={**_CHECK, "intervalSeconds": ...}), 123, f"{_MAIN}.healthCheck.interval"
    ),
    "template.healthCheck.timeoutSeconds": Sent(
        _on(healthCheck={**_CHECK, "timeoutSeconds": ...}), 43, f"{_MAIN}.healthCheck.timeout"
    ),
    "template.healthCheck.retries": Sent(
        _on(healthCheck={**_CHECK, "retries": ...}), 7, f"{_MAIN}.healthCheck.retries"
    ),
    "template.healthCheck.startPeriodSeconds": Sent(
        _on(healthCheck={**_CHECK, "startPeriodSeconds": ...}),
        234,
        f"{_MAIN}.healthCheck.startPeriod",
    ),
    "template.executionRoleArn": Sent(_on(executionRoleArn=...), ROLE, "register.executionRoleArn"),
    "template.taskRoleArn": Sent(_on(taskRoleArn=...), ROLE, "register.taskRoleArn"),
    "template.networkMode": Sent(_on(networkMode=...), "host", "register.networkMode"),
    "template.requiresCompatibilities": Sent(
        _on(requiresCompatibilities=...), ["EC2", "EXTERNAL"], "register.requiresCompatibilities"
    ),
    "template.runtimePlatform.cpuArchitecture": Sent(
        _on(runtimePlatform={"cpuArchitecture": ...}),
        "ARM64",
        "register.runtimePlatform.cpuArchitecture",
    ),
    "template.runtimePlatform.operatingSystemFamily": Sent(
        _on(runtimePlatform={"operatingSystemFamily": ...}),
        "WINDOWS_SERVER_2022_CORE",
        "register.runtimePlatform.operatingSystemFamily",
    ),
    "template.ephemeralStorageGiB": Sent(
        _on(ephemeralStorageGiB=...), 123, "register.ephemeralStorage.sizeInGiB"
    ),
    "template.stopTimeoutSeconds": Sent(_on(stopTimeoutSeconds=...), 77, f"{_MAIN}.stopTimeout"),
    "template.logs.group": Sent(_on(logs={"group": ...}), "/walked", f"{_LOGS}.awslogs-group"),
    "template.logs.region": Sent(
        _on(logs={"group": "/walked", "region": ...}), "eu-north-1", f"{_LOGS}.awslogs-region"
    ),
    "template.logs.streamPrefix": Sent(
        _on(logs={"group": "/walked", "streamPrefix": ...}),
        "walked",
        f"{_LOGS}.awslogs-stream-prefix",
    ),
}
"""Fields that go to ECS, by path."""


def found(value: Any, path: str) -> list[Any]:
    """What stands at a dotted path: numbers are places in a list, ``*`` any of them."""
    values = [value]
    for step in path.split("."):
        after: list[Any] = []
        for each in values:
            match each:
                case list() if step == "*":
                    after += each
                case list() if step.isdigit() and int(step) < len(each):
                    after.append(each[int(step)])
                case dict() if step in each:
                    after.append(each[step])
                case _:
                    pass
        values = after
    return values
