"""ECS's JSON as frozen values: what boto3 returns, and what EventBridge delivers.

One tolerant decoder for both, as AWS asks for ("be prepared to handle unknown properties"). They
differ in times (datetimes or ISO 8601 text) and in the attachment's type
(``ElasticNetworkInterface`` or ``eni``). A field that is absent or of another type is read as its
default.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fractal_models.observed import (
    ClusterArn,
    ClusterInfo,
    DefinitionContainer,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    PortBinding,
    TaskArn,
    TaskDefinition,
)

_OUR_TAGS = "fractal.co/"
_SPEC_HASH = "FRACTAL_SPEC_HASH"


def task(payload: Mapping[str, Any], observed_at: datetime) -> ObservedTask:
    """A task of DescribeTasks, RunTask or StopTask, or the ``detail`` of a task event.

    Raises ValueError without ``taskArn``: nothing can be said of such a task.
    """
    arn = _text(payload.get("taskArn"))
    if not arn:
        raise ValueError("a task without taskArn")
    last_status = _text(payload.get("lastStatus"))
    containers = tuple(
        _container(item, task_stopped=last_status == "STOPPED")
        for item in _objects(payload.get("containers"))
    )
    eni_id, private_ip = _interface(payload)
    return ObservedTask(
        arn=TaskArn(arn),
        cluster_arn=ClusterArn(_text(payload.get("clusterArn"))),
        observed_at=observed_at,
        last_status=last_status,
        desired_status=_text(payload.get("desiredStatus"), "RUNNING"),
        definition_arn=_text(payload.get("taskDefinitionArn")),
        started_by=_text(payload.get("startedBy")),
        spec_hash=_spec_hash(payload),
        version=_integer(payload.get("version")),
        health=_text(payload.get("healthStatus"), "UNKNOWN"),
        launch_type=_text(payload.get("launchType")),
        capacity_provider=_text(payload.get("capacityProviderName")),
        created_at=instant(payload.get("createdAt")),
        started_at=instant(payload.get("startedAt")),
        stopping_at=instant(payload.get("stoppingAt")),
        stopped_at=instant(payload.get("stoppedAt")),
        stop_code=_text(payload.get("stopCode")),
        stopped_reason=_text(payload.get("stoppedReason")),
        containers=containers,
        container_instance_arn=_text(payload.get("containerInstanceArn")),
        eni_id=eni_id,
        private_ip=private_ip,
        tags=_tags(payload),
    )


def launch_failure(payload: Mapping[str, Any]) -> LaunchFailure:
    """One entry of ``failures[]``."""
    return LaunchFailure(
        reason=_text(payload.get("reason")),
        detail=_text(payload.get("detail")),
        arn=_text(payload.get("arn")),
    )


def cluster(payload: Mapping[str, Any]) -> ClusterInfo:
    """A cluster of DescribeClusters; ValueError without ``clusterArn``."""
    arn = _text(payload.get("clusterArn"))
    if not arn:
        raise ValueError("a cluster without clusterArn")
    name = _text(payload.get("clusterName"), arn.rsplit("/", 1)[-1])
    return ClusterInfo(arn=ClusterArn(arn), name=name, status=_text(payload.get("status")))


def definition(payload: Mapping[str, Any]) -> TaskDefinition:
    """A task definition of Describe- or RegisterTaskDefinition; ValueError without its ARN.

    A container is essential unless it says otherwise, and the network mode bridge: ECS's defaults.
    """
    arn = _text(payload.get("taskDefinitionArn"))
    if not arn:
        raise ValueError("a task definition without taskDefinitionArn")
    return TaskDefinition(
        arn=arn,
        status=_text(payload.get("status")),
        network_mode=_text(payload.get("networkMode"), "bridge"),
        containers=tuple(
            DefinitionContainer(
                name=_text(item.get("name")),
                essential=item.get("essential") is not False,
                has_health_check=bool(item.get("healthCheck")),
                image=_text(item.get("image")),
            )
            for item in _objects(payload.get("containerDefinitions"))
        ),
        requires_compatibilities=tuple(
            _text(item) for item in payload.get("requiresCompatibilities") or ()
        ),
        task_role=_text(payload.get("taskRoleArn")),
        execution_role=_text(payload.get("executionRoleArn")),
    )


def instant(value: object) -> datetime | None:
    """An aware UTC time from a datetime, ISO 8601 text or seconds since 1970; else None."""
    try:
        match value:
            case datetime():
                moment = value
            case str():
                moment = datetime.fromisoformat(value)
            case int() | float() if not isinstance(value, bool):
                moment = datetime.fromtimestamp(value, UTC)
            case _:
                return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _container(payload: Mapping[str, Any], *, task_stopped: bool) -> ObservedContainer:
    last_status = _text(payload.get("lastStatus"))
    # moto reports exit code 0 for containers that have not even started.
    ended = task_stopped or last_status == "STOPPED"
    return ObservedContainer(
        name=_text(payload.get("name")),
        last_status=last_status,
        exit_code=_integer(payload.get("exitCode")) if ended else None,
        reason=_text(payload.get("reason")),
        health=_text(payload.get("healthStatus"), "UNKNOWN"),
        bindings=_bindings(payload.get("networkBindings")),
    )


def _bindings(value: object) -> tuple[PortBinding, ...]:
    """Single ports only, each once: IPv4 and IPv6 bindings of one port come as two entries."""
    found: dict[PortBinding, None] = {}
    for item in _objects(value):
        container_port = _integer(item.get("containerPort"))
        host_port = _integer(item.get("hostPort"))
        if container_port is not None and host_port is not None:
            protocol = _text(item.get("protocol"), "tcp")
            found[PortBinding(container_port, host_port, protocol)] = None
    return tuple(found)


def _interface(payload: Mapping[str, Any]) -> tuple[str, str]:
    """The task's own network interface (awsvpc): its id and private IPv4 address, else ""."""
    eni_id = private_ip = ""
    for attachment in _objects(payload.get("attachments")):
        if attachment.get("type") in ("ElasticNetworkInterface", "eni"):
            details = {
                _text(item.get("name")): item for item in _objects(attachment.get("details"))
            }
            eni_id = eni_id or _text(details.get("networkInterfaceId", {}).get("value"))
            private_ip = private_ip or _text(details.get("privateIPv4Address", {}).get("value"))
    for container in _objects(payload.get("containers")):
        for interface in _objects(container.get("networkInterfaces")):
            private_ip = private_ip or _text(interface.get("privateIpv4Address"))
    return eni_id, private_ip


def _spec_hash(payload: Mapping[str, Any]) -> str:
    overrides = payload.get("overrides")
    if isinstance(overrides, Mapping):
        for container in _objects(overrides.get("containerOverrides")):
            for variable in _objects(container.get("environment")):
                if variable.get("name") == _SPEC_HASH:
                    return _text(variable.get("value"))
    return ""


def _tags(payload: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """Our tags; None where a payload does not tell of tags at all (task events)."""
    if "tags" not in payload:
        return None
    pairs = ((_text(tag.get("key")), _text(tag.get("value"))) for tag in _objects(payload["tags"]))
    return tuple(sorted(pair for pair in pairs if pair[0].startswith(_OUR_TAGS)))


def _text(value: object, default: str = "") -> str:
    return value if isinstance(value, str) and value else default


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
