"""One task, and what AWS says about it."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from fractal_dev.ecs.plan import TaskPlan

DEFAULT_STOP_TIMEOUT = 30.0
"""Seconds between SIGTERM and SIGKILL without a stopTimeout (ECS API, ContainerDefinition)."""
MAX_STOP_TIMEOUT = 120.0
"""The longest stopTimeout on Fargate (same source)."""


@dataclass(slots=True)
class Container:
    """One container of a task, from its definition."""

    definition: Mapping[str, Any]
    arn: str
    last_status: str = "PENDING"
    exit_code: int | None = None
    reason: str = ""
    bindings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The container's name in its definition."""
        return str(self.definition["name"])


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a task runs. ``instance`` is moto's container instance, None on Fargate."""

    launch_type: str
    capacity_provider: str = ""
    instance: Any = None
    needs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether it is known where the task runs."""
        return self.launch_type == "FARGATE" or self.instance is not None


@dataclass(slots=True, eq=False)
class Task:
    """The stand-in's record of one task. Times are seconds since the epoch."""

    seq: int
    id: str
    arn: str
    region: str
    cluster_name: str
    cluster_arn: str
    definition: Any
    request: Mapping[str, Any]
    client_token: str
    plan: TaskPlan
    placement: Placement
    created_at: float
    containers: list[Container]
    tags: list[dict[str, str]] = field(default_factory=list)
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    version: int = 1
    times: dict[str, float] = field(default_factory=dict)
    stop_code: str = ""
    stopped_reason: str = ""
    health: str = ""
    attachment: dict[str, Any] | None = None
    interface: Any = None
    vanished: bool = False
    exit_codes: dict[str, int] = field(default_factory=dict)
    steps: deque[tuple[float, str]] = field(default_factory=deque)
    epoch: int = 0

    @property
    def started_by(self) -> str:
        """The request's startedBy, "" without one."""
        return str(self.request.get("startedBy", ""))

    @property
    def stopped(self) -> bool:
        """Whether the task has ended for good."""
        return self.last_status == "STOPPED"

    @property
    def main(self) -> Container | None:
        """The first essential container, None while (or because) there are no containers."""
        essential = (c for c in self.containers if c.definition.get("essential", True))
        return next(essential, None)

    @property
    def stop_timeout(self) -> float:
        """Seconds that a container which ignores SIGTERM holds up the stop."""
        waits = (c.definition.get("stopTimeout", DEFAULT_STOP_TIMEOUT) for c in self.containers)
        return min(max(map(float, waits), default=0.0), MAX_STOP_TIMEOUT)

    def short_json(self) -> dict[str, Any]:
        """Return what the replay of a token tells of a stopped task (ECS idempotency guide)."""
        return {
            "taskArn": self.arn,
            "lastStatus": self.last_status,
            "desiredStatus": self.desired_status,
        }

    def json(self, *, tags: bool = False) -> dict[str, Any]:
        """Return the task as DescribeTasks shows it; members without a value are left out."""
        request, definition, placement = self.request, self.definition, self.placement
        overrides = request.get("overrides") or {}
        fargate = placement.launch_type == "FARGATE"
        shown = {
            **self.short_json(),
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": definition.arn,
            "group": request.get("group") or f"family:{definition.family}",
            "startedBy": self.started_by,
            "version": self.version,
            "launchType": placement.launch_type,
            "capacityProviderName": placement.capacity_provider,
            "containerInstanceArn": getattr(placement.instance, "container_instance_arn", ""),
            "cpu": str(overrides.get("cpu") or definition.cpu or self._sum("cpu")),
            "memory": str(overrides.get("memory") or definition.memory or self._sum("memory")),
            "availabilityZone": self._availability_zone(),
            "platformVersion": "1.4.0" if fargate else "",
            "platformFamily": "Linux" if fargate else "",
            "healthStatus": self.health_status,
            "overrides": self._overrides_json(overrides),
            "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
            "createdAt": self.created_at,
            **self.times,
        }
        if "connectivityAt" in self.times:
            shown["connectivity"] = "CONNECTED"
        shown = {name: value for name, value in shown.items() if value != ""}
        shown["attachments"] = [self.attachment] if self.attachment else []
        shown["attributes"] = []
        shown["enableExecuteCommand"] = bool(request.get("enableExecuteCommand", False))
        shown["containers"] = [self._container_json(c) for c in self.containers]
        shown["tags"] = list(self.tags) if tags else []
        return shown

    @property
    def health_status(self) -> str:
        """HEALTHY or UNHEALTHY while RUNNING with a health check, else UNKNOWN (ECS API, Task)."""
        checks = [self._container_health(container) for container in self.containers]
        if "UNHEALTHY" in checks:
            return "UNHEALTHY"
        return "HEALTHY" if "HEALTHY" in checks else "UNKNOWN"

    def _container_health(self, container: Container) -> str:
        if container.last_status != "RUNNING":
            return "UNKNOWN"
        if self.health and container is self.main:
            return self.health
        return "HEALTHY" if container.definition.get("healthCheck") else "UNKNOWN"

    def _container_json(self, container: Container) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "containerArn": container.arn,
            "taskArn": self.arn,
            "name": container.name,
            "image": container.definition["image"],
            "lastStatus": container.last_status,
            "healthStatus": self._container_health(container),
            "cpu": str(container.definition.get("cpu", 0)),
            "networkBindings": container.bindings,
            "networkInterfaces": self._interfaces_json(),
        }
        if "memory" in container.definition:
            shown["memory"] = str(container.definition["memory"])
        if "startedAt" in self.times:
            shown["runtimeId"] = f"{self.id}-{crc32(container.name.encode()):010d}"
        if container.exit_code is not None:
            shown["exitCode"] = container.exit_code
        if container.reason:
            shown["reason"] = container.reason
        return shown

    def _interfaces_json(self) -> list[dict[str, str]]:
        if not self.attachment or self.interface is None:
            return []
        address = str(self.interface.private_ip_address)
        return [{"attachmentId": self.attachment["id"], "privateIpv4Address": address}]

    def _overrides_json(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        given: Sequence[Mapping[str, Any]] = overrides.get("containerOverrides") or ()
        named = {each.get("name") for each in given}
        rest = [{"name": c["name"]} for c in self.definition.container_definitions]
        missing = [each for each in rest if each["name"] not in named]
        return {
            **overrides,
            "containerOverrides": [*given, *missing],
            "inferenceAcceleratorOverrides": [],
        }

    def _sum(self, what: str) -> int:
        definitions = self.definition.container_definitions
        return sum(int(each.get(what) or 0) for each in definitions)

    def _availability_zone(self) -> str:
        if self.interface is not None:
            return str(self.interface.availability_zone)
        instance = self.placement.instance
        return str(instance.attributes["ecs.availability-zone"]) if instance else ""
