"""The corner of AWS that manifests name: clusters, capacity providers, networks, task definitions.

Manifests name things that an account has already; the stand-in's account is empty at first.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from moto.ec2.models import ec2_backends

REGION = "us-east-1"
CLUSTER = "fractal"
SUBNET = "subnet-0f7ac7a1"
"""The operator's settings for objects that say nothing of where they run."""

EVENTS = {"name": "task-events", "queue": "task-events", "region": REGION, "prefix": "fc/"}
"""The rule that leads task events to the operator's queue, whatever the installation's name."""

INSTANCES = 2
"""Container instances in each cluster."""

_FARGATE = ("FARGATE", "FARGATE_SPOT")
_FREE = 192
"""From 172.31.192.0 on, moto's default VPC has no subnets of its own."""


@dataclass(slots=True)
class Landscape:
    """What exists in one region. ``providers`` are capacity providers by cluster."""

    providers: dict[str, set[str]] = field(default_factory=dict)
    subnets: set[str] = field(default_factory=set)
    security_groups: set[str] = field(default_factory=set)
    definitions: dict[str, str] = field(default_factory=dict)
    """The main container's name ("": any) by family or family:revision."""


def named_by(manifests: Iterable[Mapping[str, Any]]) -> dict[str, Landscape]:
    """Return what the manifests name, by region; the operator's own settings are always there."""
    found = {REGION: Landscape({CLUSTER: set()}, {SUBNET})}
    for spec in (each["spec"] for each in manifests):
        here = found.setdefault(spec.get("region") or REGION, Landscape())
        providers = here.providers.setdefault(_last(spec.get("cluster") or CLUSTER), set())
        providers.update(_providers(spec))
        network = spec.get("network") or {}
        here.subnets.update(network.get("subnets") or ())
        here.security_groups.update(network.get("securityGroups") or ())
        if reference := _last(spec.get("taskDefinition", "")):
            here.definitions[reference] = spec.get("containerName", "")
    return found


def prepare(url: str, account_id: str, landscapes: Mapping[str, Landscape]) -> None:
    """Make everything in the ECS stand-in at ``url``, which runs in this process."""
    session = boto3.session.Session("test", "test")
    config = Config(proxies={})
    for region, landscape in landscapes.items():
        client = session.client("ecs", region_name=region, endpoint_url=url, config=config)
        for cluster, providers in landscape.providers.items():
            client.put_cluster_capacity_providers(
                cluster=cluster,
                capacityProviders=sorted({*providers, *_FARGATE}),
                defaultCapacityProviderStrategy=[],
            )
        for reference, container in landscape.definitions.items():
            for registration in _registrations(reference, container):
                client.register_task_definition(**registration)
        _create_network(account_id, region, landscape)


def _create_network(account_id: str, region: str, landscape: Landscape) -> None:
    """Create subnets and security groups; moto draws their ids, so they are renamed."""
    ec2 = ec2_backends[account_id][region]
    vpc = ec2.default_vpc
    zones = itertools.cycle([each.name for each in ec2.describe_availability_zones()])
    for number, wanted in enumerate(sorted(landscape.subnets)):
        zone = next(zones)
        cidr = f"172.31.{_FREE + number}.0/24"
        subnet = ec2.create_subnet(vpc.id, cidr, availability_zone=zone)
        ec2.subnets[zone][wanted] = ec2.subnets[zone].pop(subnet.id)
        subnet.id = wanted
    for wanted in sorted(landscape.security_groups):
        group = ec2.create_security_group(wanted, "named by a manifest", vpc.id)
        ec2.groups[vpc.id][wanted] = ec2.groups[vpc.id].pop(group.id)
        group.id = group.group_id = wanted


def _registrations(reference: str, container: str) -> Iterator[dict[str, Any]]:
    """Yield the revisions of a family up to the one that is named, with a sidecar each."""
    family, _, revision = reference.partition(":")
    main = {"name": container or "main", "image": f"{family}:1", "memory": 256, "essential": True}
    sidecar = {"name": "sidecar", "image": "sidecar:1", "memory": 64, "essential": False}
    for _ in range(int(revision or 1)):
        yield {"family": family, "containerDefinitions": [main, sidecar]}


def _providers(spec: Mapping[str, Any]) -> Iterator[str]:
    for rung in spec.get("placement") or ():
        if provider := rung.get("capacityProvider"):
            yield provider


def _last(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]
