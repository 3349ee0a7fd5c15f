"""One task, and what AWS says about it: ready-made text, made anew when the task changes."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fractal_dev.ecs.plan import TaskPlan

REGION_ZONE = "a"


@dataclass(slots=True, eq=False)
class Definition:
    """A revision of a task definition; ``request`` is the body that registered it."""

    arn: str
    family: str
    revision: int
    request: Mapping[str, Any]
    status: str = "ACTIVE"

    @property
    def network_mode(self) -> str:
        """ECS's default is bridge."""
        return str(self.request.get("networkMode", "bridge"))

    @property
    def compatibilities(self) -> list[str]:
        """The launch types that it was made for."""
        return ["EC2", *self.request.get("requiresCompatibilities", ())]

    @property
    def container_definitions(self) -> list[dict[str, Any]]:
        """As registered."""
        return list(self.request["containerDefinitions"])

    def json(self) -> dict[str, Any]:
        """As Describe- and RegisterTaskDefinition show it."""
        shown = {name: value for name, value in self.request.items() if name != "tags"}
        shown["containerDefinitions"] = [
            {"essential": True, "environment": [], "portMappings": [], **each}
            for each in self.container_definitions
        ]
        shown |= {"taskDefinitionArn": self.arn, "revision": self.revision, "status": self.status}
        return {**shown, "networkMode": self.network_mode, "compatibilities": self.compatibilities}


@dataclass(slots=True, eq=False)
class Task:
    """The fake's record of one task. Times are seconds since the epoch."""

    seq: int
    id: str
    arn: str
    cluster: str
    cluster_arn: str
    region: str
    definition: Definition
    request: Mapping[str, Any]
    launch_type: str
    provider: str
    plan: TaskPlan
    created_at: float
    tags: list[dict[str, str]]
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    version: int = 1
    times: dict[str, float] = field(default_factory=dict)
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    attached: bool = False
    lost: bool = False
    steps: deque[tuple[float, str]] = field(default_factory=deque)
    epoch: int = 0
    _texts: dict[bool, str] = field(default_factory=dict)

    @property
    def started_by(self) -> str:
        """The request's startedBy, "" without one."""
        return str(self.request.get("startedBy", ""))

    @property
    def stopped(self) -> bool:
        """Whether the task has ended for good."""
        return self.last_status == "STOPPED"

    @property
    def eni(self) -> str:
        """The id of its network interface."""
        return f"eni-{self.seq:017x}"

    @property
    def private_ip(self) -> str:
        """Its address in the VPC."""
        return f"10.{self.seq >> 16 & 255}.{self.seq >> 8 & 255}.{self.seq & 255}"

    @property
    def vpc(self) -> Mapping[str, Any]:
        """The request's awsvpcConfiguration, empty without one."""
        network: Mapping[str, Any] = self.request.get("networkConfiguration") or {}
        vpc: Mapping[str, Any] = network.get("awsvpcConfiguration") or {}
        return vpc

    def changed(self) -> None:
        """Forget the text: the task is not as it tells."""
        self._texts.clear()

    def text(self, *, tags: bool) -> str:
        """The task as JSON text, as DescribeTasks shows it."""
        found = self._texts.get(tags)
        if found is None:
            found = self._texts[tags] = json.dumps(self.json(tags=tags), separators=(",", ":"))
        return found

    def short_json(self) -> dict[str, Any]:
        """What the replay of a token tells of a stopped task (ECS idempotency guide)."""
        return {
            "taskArn": self.arn,
            "lastStatus": self.last_status,
            "desiredStatus": self.desired_status,
        }

    def json(self, *, tags: bool) -> dict[str, Any]:
        """The task as DescribeTasks shows it; members without a value are left out."""
        definition, overrides = self.definition.request, self.request.get("overrides") or {}
        shown = {
            **self.short_json(),
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition.arn,
            "group": self.request.get("group") or f"family:{self.definition.family}",
            "startedBy": self.started_by,
            "version": self.version,
            "launchType": self.launch_type,
            "capacityProviderName": self.provider,
            "cpu": str(definition.get("cpu", "")),
            "memory": str(definition.get("memory", "")),
            "availabilityZone": f"{self.region}{REGION_ZONE}" if self.attached else "",
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
            "createdAt": self.created_at,
            "connectivity": "CONNECTED" if "connectivityAt" in self.times else "",
            **self.times,
        }
        shown = {name: value for name, value in shown.items() if value != ""}
        given = list(overrides.get("containerOverrides") or ())
        named = {each.get("name") for each in given}
        names = [each["name"] for each in self.definition.container_definitions]
        given += [{"name": name} for name in names if name not in named]
        shown["overrides"] = {**overrides, "containerOverrides": given}
        shown["healthStatus"] = self._health(*self.definition.container_definitions)
        shown["attachments"] = self._attachments()
        shown["attributes"] = []
        shown["enableExecuteCommand"] = bool(self.request.get("enableExecuteCommand", False))
        shown["containers"] = self._containers()
        shown["tags"] = list(self.tags) if tags else []
        return shown

    def event(self, account: str, event_id: str, now: float) -> str:
        """The EventBridge envelope of the task as it is, as JSON text.

        It differs from DescribeTasks in its times, in the attachment's type, and has no tags.
        """
        detail = self.json(tags=False)
        del detail["tags"]
        for name in ("createdAt", *self.times):
            detail[name] = _iso(detail[name])
        for attachment in detail["attachments"]:
            attachment["type"] = "eni"
        detail["updatedAt"] = _iso(now)
        envelope = {
            "version": "0",
            "id": event_id,
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "account": account,
            "time": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self.region,
            "resources": [self.arn],
            "detail": detail,
        }
        return json.dumps(envelope, separators=(",", ":"))

    def _attachments(self) -> list[dict[str, Any]]:
        if not self.vpc:
            return []
        details = [{"name": "subnetId", "value": self.vpc["subnets"][0]}]
        status = "DELETED" if self.stopped else "ATTACHED" if self.attached else "PRECREATED"
        if self.attached:
            details += [
                {"name": "networkInterfaceId", "value": self.eni},
                {"name": "macAddress", "value": f"0a:{self.seq:010x}"},
                {"name": "privateIPv4Address", "value": self.private_ip},
            ]
        kind = "ElasticNetworkInterface"
        return [{"id": f"att-{self.id}", "type": kind, "status": status, "details": details}]

    def _containers(self) -> list[dict[str, Any]]:
        prefix = self.arn.replace(":task/", ":container/")
        return [
            self._container(each, f"{prefix}/{number}")
            for number, each in enumerate(self.definition.container_definitions)
        ]

    def _container(self, definition: Mapping[str, Any], arn: str) -> dict[str, Any]:
        ended = self.last_status in ("DEPROVISIONING", "STOPPED")
        started = "startedAt" in self.times
        status = "STOPPED" if ended else "RUNNING" if started else "PENDING"
        shown = {
            "containerArn": arn,
            "taskArn": self.arn,
            "name": definition["name"],
            "image": definition["image"],
            "lastStatus": status,
            "healthStatus": self._health(definition),
            "cpu": str(definition.get("cpu", 0)),
            "networkBindings": [],
            "networkInterfaces": [],
        }
        if self.attached and self.vpc:
            shown["networkInterfaces"] = [
                {"attachmentId": f"att-{self.id}", "privateIpv4Address": self.private_ip}
            ]
        if started:
            shown["runtimeId"] = f"{self.id}-0"
        if ended and started and self.exit_code is not None:
            shown["exitCode"] = self.exit_code
        if self.stop_code == "TaskFailedToStart":
            shown["reason"] = self.stopped_reason
        return shown

    def _health(self, *definitions: Mapping[str, Any]) -> str:
        if self.last_status == "RUNNING" and any(each.get("healthCheck") for each in definitions):
            return "HEALTHY"
        return "UNKNOWN"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
