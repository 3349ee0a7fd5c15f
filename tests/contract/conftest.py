"""Servers for the contract tests: the ECS stand-in, and plain moto to compare it with."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer
from mypy_boto3_ec2 import EC2Client
from mypy_boto3_ecs import ECSClient
from tests.contract.ecs_world import REGION, Aws, StandIn, clients

from fractal_dev.ecs.client import EcsControl
from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.server import EcsStandIn


@pytest.fixture(scope="module")
def stand_in_url() -> Iterator[str]:
    server = EcsStandIn(clock=StandInClock(frozen=True))
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server: Any = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    server._server.server_close()  # moto leaves the socket open


@pytest.fixture(scope="module")
def stand_in_clients(stand_in_url: str) -> tuple[ECSClient, EC2Client]:
    return clients(stand_in_url)


@pytest.fixture(scope="module")
def moto_clients(moto_url: str) -> tuple[ECSClient, EC2Client]:
    return clients(moto_url)


@pytest.fixture
def stand_in(stand_in_url: str, stand_in_clients: tuple[ECSClient, EC2Client]) -> StandIn:
    ecs, ec2 = stand_in_clients
    control = EcsControl(stand_in_url)
    control.reset()
    cluster = f"c-{uuid4().hex}"
    control.ensure_cluster(cluster, REGION)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    return StandIn(ecs, ec2, cluster, subnet, control.advance, stand_in_url, control)


@pytest.fixture(params=["stand-in", "moto"])
def aws(request: pytest.FixtureRequest) -> Aws:
    if request.param == "stand-in":
        server: StandIn = request.getfixturevalue("stand_in")
        return server
    ecs, ec2 = request.getfixturevalue("moto_clients")
    cluster = f"c-{uuid4().hex}"
    ecs.create_cluster(clusterName=cluster)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    return Aws(ecs, ec2, cluster, subnet, lambda _: None)
