"""What a task occupies while it lives: containers, a network interface, room on an instance."""

import uuid
from collections.abc import Mapping
from typing import Any

from fractal_dev.ecs.account import Account
from fractal_dev.ecs.task import Container, Placement, Task


class Estate:
    """Gives tasks what they occupy, and takes it back. Hold the engine's lock around every use."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def claim(self, task: Task) -> None:
        """Give a new task its attachment, and its containers if it is known where it will run."""
        if vpc := _vpc(task):
            task.attachment = {
                "id": str(uuid.uuid4()),
                "type": "ElasticNetworkInterface",
                "status": "PRECREATED",
                "details": [{"name": "subnetId", "value": vpc["subnets"][0]}],
            }
        if task.placement.settled:
            _create_containers(task)

    def place(self, task: Task) -> bool:
        """Find room for a task that a capacity provider accepted; False: there is none yet."""
        placement = task.placement
        if placement.settled:
            return True
        instance, needs, _ = self._account.place(task.region, task.cluster_name, task.definition)
        if instance is None:
            return False
        provider = placement.capacity_provider
        task.placement = Placement(placement.launch_type, provider, instance, needs)
        _create_containers(task)
        return True

    def attach(self, task: Task, status: str) -> None:
        """Move the attachment of an awsvpc task on, with a network interface behind it."""
        if task.attachment is None:
            return
        task.attachment["status"] = status
        if task.interface is None:
            task.interface = self._account.create_interface(task.region, _vpc(task))
            dns = getattr(task.interface, "private_dns_name", "")  # absent without DNS names
            task.attachment["details"] += [
                {"name": "networkInterfaceId", "value": task.interface.id},
                {"name": "macAddress", "value": task.interface.mac_address},
                {"name": "privateDnsName", "value": dns},
                {"name": "privateIPv4Address", "value": task.interface.private_ip_address},
            ]

    def start(self, task: Task) -> None:
        """Start the containers and publish their ports."""
        published = task.definition.network_mode in ("bridge", "host")
        for container in task.containers:
            container.last_status = "RUNNING"
            mappings = container.definition.get("portMappings", ()) if published else ()
            container.bindings = [self._binding(task, mapping) for mapping in mappings]

    def stop_containers(self, task: Task) -> None:
        """Stop the containers; those that never ran have no exit code."""
        for container in task.containers:
            container.last_status = "STOPPED"
            container.exit_code = task.exit_codes.get(container.name)

    def release(self, task: Task) -> None:
        """Take everything back from a task that has ended."""
        self.stop_containers(task)
        if task.placement.instance is not None:
            self._account.release(task.region, task.placement.instance, task.placement.needs)
        if task.attachment is not None:
            task.attachment["status"] = "DELETED"
        if task.interface is not None:
            task.interface.delete()

    def _binding(self, task: Task, mapping: Mapping[str, Any]) -> dict[str, Any]:
        host_port = mapping.get("hostPort")
        if task.definition.network_mode == "host":
            host_port = mapping["containerPort"]
        return {
            "bindIP": "0.0.0.0",  # noqa: S104 - what the agent reports, not a listener
            "containerPort": mapping["containerPort"],
            "hostPort": host_port or self._account.dynamic_port(task.placement.instance),
            "protocol": mapping.get("protocol", "tcp"),
        }


def _vpc(task: Task) -> Mapping[str, Any]:
    network: Mapping[str, Any] = task.request.get("networkConfiguration") or {}
    vpc: Mapping[str, Any] = network.get("awsvpcConfiguration") or {}
    return vpc


def _create_containers(task: Task) -> None:
    prefix = task.arn.replace(":task/", ":container/")
    task.containers = [
        Container(definition, f"{prefix}/{uuid.uuid4()}")
        for definition in task.definition.container_definitions
    ]
