"""The AWS account behind the stand-in: clusters, task definitions and EC2, all kept by moto."""

import itertools
from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_private_ip, random_public_ip
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.ecs.models import TaskDefinition as MotoTaskDefinition
from moto.sqs.models import SQSBackend, sqs_backends

from fractal_dev.ecs.definitions import units
from fractal_dev.ecs.errors import AwsError, client_error, invalid_parameter

FARGATE_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
_DYNAMIC_PORTS = (32768, 61000)
"""Linux's ephemeral ports, from which dynamic host ports are drawn (ECS API, PortMapping)."""


class Account:
    """One account of moto's, across regions. Hold the engine's lock around every use."""

    def __init__(self, account_id: str) -> None:
        self.id = account_id
        self._host_ports: dict[str, itertools.cycle[int]] = {}

    def ecs(self, region: str) -> EC2ContainerServiceBackend:
        """Return moto's ECS of a region."""
        return ecs_backends[self.id][region]

    def regions(self) -> list[str]:
        """Return the regions of which anything was asked so far."""
        return list(ecs_backends[self.id])

    def ec2(self, region: str) -> Any:
        """Return moto's EC2 of a region."""
        return ec2_backends[self.id][region]

    def sqs(self, region: str) -> SQSBackend:
        """Return moto's SQS of a region."""
        return sqs_backends[self.id][region]

    def cluster(self, region: str, reference: str) -> Any:
        """Return moto's cluster by name or ARN, whatever its status.

        Raises:
            AwsError: ClusterNotFoundException.
        """
        prefix, _, name = reference.rpartition("/")
        here = f"arn:aws:ecs:{region}:{self.id}:cluster"
        found = self.ecs(region).clusters.get(name) if prefix in ("", here) else None
        if found is None:
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return found

    def active_cluster(self, region: str, reference: str) -> Any:
        """Return the cluster if tasks can be launched in it.

        Raises:
            AwsError: ClusterNotFoundException, also for an INACTIVE cluster.
        """
        cluster = self.cluster(region, reference)
        if cluster.status != "ACTIVE":
            raise AwsError("ClusterNotFoundException", "The referenced cluster was inactive.")
        return cluster

    def definition(self, region: str, reference: str) -> MotoTaskDefinition:
        """Return an ACTIVE task definition by family, family:revision or ARN.

        Raises:
            AwsError: ClientException for an unknown or an inactive one.
        """
        family, _, revision = reference.rsplit("/", 1)[-1].partition(":")
        revisions = self.ecs(region).task_definitions.get(family, {})
        if revision:
            found = revisions.get(int(revision)) if revision.isdigit() else None
        else:
            active = [each for each in revisions.values() if each.status == "ACTIVE"]
            found = max(active, key=lambda each: each.revision, default=None)
        if found is None:
            raise client_error("TaskDefinition not found.")
        if found.status != "ACTIVE":
            raise client_error("TaskDefinition is inactive")
        return found

    def ensure_cluster(self, name: str, region: str, instances: int) -> str:
        """Create the cluster unless it is ACTIVE, and container instances up to ``instances``.

        Returns the cluster's ARN. Fargate's capacity providers are associated with it.
        """
        ecs = self.ecs(region)
        cluster = ecs.clusters.get(name)
        if cluster is None or cluster.status != "ACTIVE":
            cluster = ecs.create_cluster(name, capacity_providers=list(FARGATE_PROVIDERS))
        missing = instances - len(ecs.container_instances.get(name, {}))
        if missing > 0:
            reservation = self.ec2(region).run_instances(
                "ami-12c6146b", missing, None, [], instance_type="m5.xlarge",
                is_instance_type_default=False,
            )  # fmt: skip
            for instance in reservation.instances:
                ecs.register_container_instance(name, instance.id)
        return str(cluster.arn)

    def check_network(self, region: str, vpc: Mapping[str, Any]) -> None:
        """Check that subnets and security groups exist.

        Raises:
            AwsError: InvalidParameterException that wraps EC2's error, as ECS does.
        """
        ec2 = self.ec2(region)
        known = {subnet for zone in ec2.subnets.values() for subnet in zone}
        for subnet in vpc.get("subnets", ()):
            if subnet not in known:
                raise invalid_parameter(
                    f"Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}'"
                    " does not exist (ErrorCode: InvalidSubnetID.NotFound)"
                )
        for group in vpc.get("securityGroups", ()):
            if ec2.get_security_group_from_id(group) is None:
                raise invalid_parameter(
                    f"Error retrieving security group information for [{group}]: The security group"
                    f" '{group}' does not exist (ErrorCode: InvalidGroup.NotFound)"
                )

    def create_interface(self, region: str, vpc: Mapping[str, Any]) -> Any:
        """Create the network interface of an awsvpc task in the first of its subnets."""
        ec2 = self.ec2(region)
        subnet = ec2.get_subnet(vpc["subnets"][0])
        try:
            address = subnet.get_available_subnet_ip(None)
        except StopIteration:  # a full subnet must not end a load test
            address = random_private_ip(subnet.cidr_block)
        interface = ec2.create_network_interface(
            subnet, address, group_ids=vpc.get("securityGroups", []), description="ECS stand-in"
        )
        interface.status = "in-use"
        if vpc.get("assignPublicIp") == "ENABLED":
            interface.public_ip = random_public_ip()
        return interface

    def place(
        self, region: str, cluster_name: str, definition: MotoTaskDefinition
    ) -> tuple[Any, Mapping[str, Any], list[dict[str, str]]]:
        """Take room on the first container instance that has it.

        Returns (instance or None, what was taken, failures as RunTask lists them).
        """
        instances = self.ecs(region).container_instances.get(cluster_name, {}).values()
        needs = _needs(definition)
        failures = []
        for instance in instances:
            if instance.status == "ACTIVE" and not (short := _shortage(instance, needs)):
                self.ecs(region).update_container_instance_resources(instance, dict(needs))
                return instance, needs, []
            reason = "INACTIVE" if instance.status != "ACTIVE" else f"RESOURCE:{short}"
            failures.append({"arn": instance.container_instance_arn, "reason": reason})
        return None, needs, failures

    def release(self, region: str, instance: Any, needs: Mapping[str, Any]) -> None:
        """Give back what :meth:`place` took."""
        self.ecs(region).update_container_instance_resources(instance, dict(needs), removing=True)

    def dynamic_port(self, instance: Any) -> int:
        """Return a host port of the instance that was not given out lately."""
        ports = self._host_ports.setdefault(
            instance.container_instance_arn, itertools.cycle(range(*_DYNAMIC_PORTS))
        )
        return next(ports)


def _needs(definition: MotoTaskDefinition) -> dict[str, Any]:
    containers: list[dict[str, Any]] = definition.container_definitions
    static = [
        mapping.get("hostPort") or mapping["containerPort"]
        for container in containers
        for mapping in container.get("portMappings", ())
        if mapping.get("hostPort") or definition.network_mode == "host"
    ]
    cpu = sum(each.get("cpu") or 0 for each in containers)
    if definition.cpu:
        cpu = units(definition.cpu, "vcpu")
    memory = sum(each.get("memoryReservation") or each.get("memory") or 0 for each in containers)
    if definition.memory:
        memory = units(definition.memory, "gb")
    ports = [] if definition.network_mode == "awsvpc" else static
    return {"CPU": cpu, "MEMORY": memory, "PORTS": ports, "PORTS_UDP": []}


def _shortage(instance: Any, needs: Mapping[str, Any]) -> str:
    for resource in instance.remaining_resources:
        match resource["name"]:
            case "CPU" | "MEMORY" as name:
                if needs[name] > resource["integerValue"]:
                    return str(name)
            case "PORTS":
                if {str(port) for port in needs["PORTS"]} & set(resource["stringSetValue"]):
                    return "PORTS"
            case _:
                pass
    return ""
