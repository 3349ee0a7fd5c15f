"""The ECS client over HTTP against plain moto: another implementation of AWS's wire format.

Moto's state machine is frozen (otherwise each DescribeTasks moves the tasks towards STOPPED), and
its oddities are part of the test: no version, unknown tasks dropped silently, ids with dashes, both
lists of RunTask empty, errors 500.
"""

import json
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.ec2.utils import generate_instance_identity_document
from moto.server import ThreadedMotoServer
from tests.ports import closed_port

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups
from fractal_helpers.aws.session import RegionClients, make_clients
from fractal_models.errors import OutcomeUnknown, Rejected, Unavailable
from fractal_models.observed import Address, ClusterArn, ObservedTask, TaskArn

REGION = "eu-central-1"


def post(url: str, body: object = None) -> None:
    data = json.dumps(body).encode() if body is not None else b""
    request = urllib.request.Request(url, data=data, method="POST")
    urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    transition = {"progression": "manual", "times": 1_000_000_000}
    post(
        f"{url}/moto-api/state-manager/set-transition",
        {"model_name": "ecs::task", "transition": transition},
    )
    yield url
    server.stop()


@dataclass
class World:
    """An account with a cluster, a network, and the client under test; ``calls`` as observed."""

    ecs: EcsClient
    clients: RegionClients
    cluster: ClusterArn
    subnet: str
    group: str
    calls: list[tuple[str, str]]

    def definition(self, family: str = "fc-1", **values: Any) -> str:
        container = {"name": "app", "image": "nginx", "cpu": 1, "memory": 8, "essential": True}
        body = {"family": family, "containerDefinitions": [container]} | values
        return self.ecs.ensure_definition(body).arn

    def request(self, definition: str, **values: Any) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "taskDefinition": definition,
            "count": 1,
            "clientToken": "token",
            "startedBy": "fc/i/u/1",
        } | values

    def fargate(self, definition: str, **values: Any) -> ObservedTask:
        network = {"subnets": [self.subnet], "securityGroups": [self.group]}
        request = self.request(
            definition,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
            **values,
        )
        (task,) = self.ecs.run_task(request).tasks
        return task


@pytest.fixture
def world(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    post(f"{endpoint}/moto-api/reset")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    session = boto3.Session(aws_access_key_id="id", aws_secret_access_key="key")
    clients = make_clients(REGION, session=session)
    cluster = clients.ecs.create_cluster(clusterName="main")["cluster"]["clusterArn"]
    calls: list[tuple[str, str]] = []
    ecs = EcsClient(clients, QuotaGroups(1.0), observe=lambda op, code, _: calls.append((op, code)))
    subnet = clients.ec2.describe_subnets()["Subnets"][0]
    groups = clients.ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}]
    )["SecurityGroups"]
    yield World(ecs, clients, cluster, subnet["SubnetId"], groups[0]["GroupId"], calls)
    for client in (clients.ecs, clients.ecs_once, clients.ec2):
        client.close()


def test_a_task_from_launch_to_stop(world: World) -> None:
    definition = world.definition()
    environment = [{"name": "FRACTAL_SPEC_HASH", "value": "v1:a"}]
    launched = world.fargate(
        definition,
        overrides={"containerOverrides": [{"name": "app", "environment": environment}]},
    )
    assert launched.cluster_arn == world.cluster
    assert launched.definition_arn == definition
    assert (launched.started_by, launched.spec_hash) == ("fc/i/u/1", "v1:a")
    assert launched.version is None
    assert launched.live

    (running,) = world.ecs.describe_tasks(world.cluster, [launched.arn]).tasks
    assert running.last_status == "RUNNING"
    assert [container.exit_code for container in running.containers] == [None]
    assert world.ecs.list_tasks(world.cluster) == (launched.arn,)
    assert world.ecs.list_tasks(world.cluster, started_by="fc/i/u/1") == (launched.arn,)
    assert world.ecs.list_tasks(world.cluster, started_by="fc/i/u/2") == ()

    stopped = world.ecs.stop_task(world.cluster, launched.arn, "deleted")
    assert stopped
    assert (stopped.last_status, stopped.stopped_reason) == ("STOPPED", "deleted")
    assert world.ecs.list_tasks(world.cluster) == ()
    assert world.ecs.list_tasks(world.cluster, stopped=True) == (launched.arn,)


def test_tasks_that_moto_does_not_know_are_missing(world: World) -> None:
    task = world.fargate(world.definition())
    unknown = TaskArn(task.arn.rsplit("/", 1)[0] + "/0123456789abcdef0123456789abcdef")
    result = world.ecs.describe_tasks(world.cluster, [unknown, task.arn])
    assert [found.arn for found in result.tasks] == [task.arn]
    assert result.missing == (unknown,)


def test_an_error_500_leaves_the_outcome_unknown(world: World) -> None:
    definition = world.definition(networkMode="bridge")
    with pytest.raises(OutcomeUnknown):  # plain moto: no container instances
        world.ecs.run_task(world.request(definition, launchType="EC2"))
    assert world.calls.count(("RunTask", "OK")) == 0
    assert len([operation for operation, _ in world.calls if operation == "RunTask"]) == 1


def test_clusters(world: World) -> None:
    found = world.ecs.describe_cluster("main")
    assert found
    assert (found.arn, found.name, found.status) == (world.cluster, "main", "ACTIVE")
    assert world.ecs.describe_cluster("other") is None
    with pytest.raises(Rejected) as caught:
        world.ecs.list_tasks("other")
    assert caught.value.code == "ClusterNotFoundException"


def test_definitions_are_registered_once_by_many_threads(world: World) -> None:
    entered = threading.Barrier(12)

    def ensure(number: int) -> str:
        entered.wait(timeout=30)
        return world.definition(f"fc-{number % 2}")

    with ThreadPoolExecutor(12) as pool:
        arns = list(pool.map(ensure, range(12)))
    assert len(set(arns)) == 2
    registered = world.clients.ecs.list_task_definitions()["taskDefinitionArns"]
    assert sorted(registered) == sorted(set(arns))
    assert world.calls.count(("RegisterTaskDefinition", "OK")) == 2


def test_an_inactive_definition_is_registered_again(world: World) -> None:
    first = world.definition()
    assert world.definition() == first
    world.clients.ecs.deregister_task_definition(taskDefinition=first)
    world.ecs.forget_definition(first)
    second = world.definition()
    assert second == first[: -len("1")] + "2"
    resolved = world.ecs.resolve_definition(first)
    assert resolved
    assert resolved.status == "INACTIVE"
    newest = world.ecs.resolve_definition("fc-1")
    assert newest
    assert (newest.arn, newest.status, newest.network_mode) == (second, "ACTIVE", "bridge")
    assert world.ecs.resolve_definition("fc-unknown") is None
    assert world.ecs.resolve_definition("fc-1:99") is None


def test_more_than_a_hundred_tasks_with_their_own_addresses(world: World) -> None:
    definition = world.definition(networkMode="awsvpc")
    with ThreadPoolExecutor(4) as pool:
        launched = list(pool.map(lambda _: world.fargate(definition), range(105)))
    arns = world.ecs.list_tasks(world.cluster)
    assert sorted(arns) == sorted(task.arn for task in launched)
    result = world.ecs.describe_tasks(world.cluster, arns)
    assert sorted(task.arn for task in result.tasks) == sorted(arns)
    assert result.missing == ()
    assert world.calls.count(("DescribeTasks", "OK")) == 2

    public = result.tasks[0]
    allocation = world.clients.ec2.allocate_address(Domain="vpc")
    world.clients.ec2.associate_address(
        AllocationId=allocation["AllocationId"], NetworkInterfaceId=public.eni_id
    )
    found = world.ecs.addresses(result.tasks)
    assert found[public.arn] == Address(allocation["PublicIp"], public.private_ip)
    assert all(found[task.arn].private_ip == task.private_ip != "" for task in result.tasks)
    assert world.calls.count(("DescribeNetworkInterfaces", "OK")) == 2


def test_tasks_on_instances_have_the_addresses_of_their_instances(world: World) -> None:
    ec2: Any = boto3.resource("ec2", REGION, aws_access_key_id="i", aws_secret_access_key="k")
    hosts: dict[str, Any] = {}
    for _ in range(2):  # two calls, two reservations
        (instance,) = ec2.create_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
        document = json.dumps(generate_instance_identity_document(instance))
        registered = world.clients.ecs.register_container_instance(
            cluster=world.cluster, instanceIdentityDocument=document
        )
        hosts[registered["containerInstance"]["containerInstanceArn"]] = instance
    definition = world.definition(networkMode="bridge")
    tasks = [
        world.ecs.run_task(world.request(definition, launchType="EC2")).tasks[0] for _ in range(3)
    ]
    started = [
        world.clients.ecs.start_task(
            cluster=world.cluster, taskDefinition=definition, containerInstances=[arn]
        )["tasks"][0]["taskArn"]
        for arn in hosts
    ]
    tasks += world.ecs.describe_tasks(world.cluster, started).tasks
    assert {task.container_instance_arn for task in tasks} == set(hosts)
    expected = {}
    for task in tasks:
        instance = hosts[task.container_instance_arn]
        instance.reload()
        expected[task.arn] = Address(instance.public_ip_address, instance.private_ip_address)
    assert world.ecs.addresses(tasks) == expected
    assert world.calls.count(("DescribeContainerInstances", "OK")) == 1
    assert world.calls.count(("DescribeInstances", "OK")) == 1
    ec2.meta.client.close()


def test_instances_without_room_give_an_answer_with_both_lists_empty(world: World) -> None:
    ec2: Any = boto3.resource("ec2", REGION, aws_access_key_id="i", aws_secret_access_key="k")
    (instance,) = ec2.create_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    world.clients.ecs.register_container_instance(
        cluster=world.cluster,
        instanceIdentityDocument=json.dumps(generate_instance_identity_document(instance)),
    )
    container = {"name": "app", "image": "nginx", "cpu": 1, "memory": 900_000}
    definition = world.definition(containerDefinitions=[container])
    result = world.ecs.run_task(world.request(definition, launchType="EC2"))
    assert (result.tasks, result.failures) == ((), ())
    ec2.meta.client.close()


def test_a_server_that_is_down_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    session = boto3.Session(aws_access_key_id="id", aws_secret_access_key="key")
    request = {"taskDefinition": "fc-1", "count": 1, "clientToken": "t"}
    with closed_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        clients = make_clients(REGION, session=session)
        with pytest.raises(Unavailable):
            EcsClient(clients, QuotaGroups()).run_task(request)
