"""Where tasks are reached.

Under awsvpc a task has a network interface of its own: ECS tells its private address, EC2 its
public one. Under bridge or host it is reached at its instance: ECS tells the container instance,
that its EC2 instance, and EC2 the addresses. Both are asked 100 at a time and remembered.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from fractal_helpers.aws.cache import Cache
from fractal_helpers.aws.calls import Api, batches, member
from fractal_helpers.aws.ec2 import Ec2Client
from fractal_models.errors import AccessDenied
from fractal_models.observed import Address, ClusterArn, ObservedTask, TaskArn

log = logging.getLogger(__name__)

_BATCH = 100
_SIZE = 20_000
_INSTANCE_SECONDS = 3600.0  # an elastic IP may be moved while the instance lives
_NO_PUBLIC_SECONDS = 20.0  # an address may still be associated
_DENIED_SECONDS = 60.0

T = TypeVar("T")


class AddressBook:
    """The addresses of the tasks of one region."""

    def __init__(
        self, ecs: Api, ec2: Ec2Client, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ecs = ecs
        self._ec2 = ec2
        self._monotonic = monotonic
        self._public_ips: Cache[str, str] = Cache(_SIZE, monotonic=monotonic)
        self._ids: Cache[str, str] = Cache(_SIZE, monotonic=monotonic)
        self._hosts: Cache[str, Address] = Cache(_SIZE, monotonic=monotonic)
        self._denied_until: dict[str, float] = {}

    def addresses(self, tasks: Sequence[ObservedTask]) -> dict[TaskArn, Address]:
        """The address of each live task that has a known one; the others are absent.

        Without the permission to ask, what can be known without it is returned, a warning is
        logged once, and the question is tried again after a minute. Other errors are raised.
        """
        tasks = [task for task in tasks if task.live]
        public_ips = self._public(task.eni_id for task in tasks if task.eni_id)
        hosts = self._instances([task for task in tasks if _on_host(task)])
        found: dict[TaskArn, Address] = {}
        for task in tasks:
            if _on_host(task):
                address = hosts.get(task.container_instance_arn, Address())
            else:
                address = Address(public_ips.get(task.eni_id, ""), task.private_ip)
            if address != Address():
                found[task.arn] = address
        return found

    def _public(self, eni_ids: Iterable[str]) -> dict[str, str]:
        known, unknown = _split(self._public_ips, eni_ids)
        if unknown:
            asked = self._permitted(
                "ec2:DescribeNetworkInterfaces", lambda: self._ec2.public_ips(unknown)
            )
            for eni_id, public_ip in asked.items():
                age = float("inf") if public_ip else _NO_PUBLIC_SECONDS
                self._public_ips.put(eni_id, public_ip, age)
            known |= asked
        return known

    def _instances(self, tasks: Sequence[ObservedTask]) -> dict[str, Address]:
        """Addresses by container instance ARN; absent for instances that EC2 does not show."""
        instance_ids = self._instance_ids(tasks)
        # ECS Anywhere's instances (`mi-…`) are machines that EC2 does not know.
        in_ec2 = (id_ for id_ in instance_ids.values() if id_.startswith("i-"))
        known, unknown = _split(self._hosts, in_ec2)
        if unknown:
            asked = self._permitted(
                "ec2:DescribeInstances", lambda: self._ec2.instance_addresses(unknown)
            )
            for instance_id, address in asked.items():
                age = _INSTANCE_SECONDS if address.public_ip else _NO_PUBLIC_SECONDS
                self._hosts.put(instance_id, address, age)
            known |= asked
        return {arn: known[id_] for arn, id_ in instance_ids.items() if id_ in known}

    def _instance_ids(self, tasks: Sequence[ObservedTask]) -> dict[str, str]:
        clusters = {task.container_instance_arn: task.cluster_arn for task in tasks}
        known, unknown = _split(self._ids, clusters)
        by_cluster: dict[ClusterArn, list[str]] = {}
        for arn in unknown:
            by_cluster.setdefault(clusters[arn], []).append(arn)
        for cluster, arns in by_cluster.items():
            asked = self._permitted(
                "ecs:DescribeContainerInstances", partial(self._ask_for_ids, cluster, arns)
            )
            for arn, instance_id in asked.items():
                self._ids.put(arn, instance_id)
            known |= asked
        return known

    def _ask_for_ids(self, cluster: ClusterArn, arns: Sequence[str]) -> dict[str, str]:
        operation = "DescribeContainerInstances"
        found: dict[str, str] = {}
        for batch in batches(arns, _BATCH):
            params = {"cluster": cluster, "containerInstances": batch}
            answer = self._ecs.call(operation, params)
            for item in member(answer, operation, "containerInstances"):
                if instance_id := item.get("ec2InstanceId"):
                    found[item["containerInstanceArn"]] = instance_id
        return found

    def _permitted(self, action: str, ask: Callable[[], dict[str, T]]) -> dict[str, T]:
        if self._monotonic() < self._denied_until.get(action, float("-inf")):
            return {}
        try:
            return ask()
        except AccessDenied as error:
            if action not in self._denied_until:
                log.warning("addresses of tasks are incomplete: no %s: %s", action, error)
            self._denied_until[action] = self._monotonic() + _DENIED_SECONDS
            return {}


def _on_host(task: ObservedTask) -> bool:
    return bool(task.container_instance_arn) and not (task.eni_id or task.private_ip)


def _split(cache: Cache[str, T], keys: Iterable[str]) -> tuple[dict[str, T], list[str]]:
    known: dict[str, T] = {}
    unknown: list[str] = []
    for key in sorted(set(keys)):
        value = cache.get(key)
        if value is None:
            unknown.append(key)
        else:
            known[key] = value
    return known, unknown
