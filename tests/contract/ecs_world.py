"""What the contract tests of ECS share: clients, and ways to make what every test needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_ec2 import EC2Client
from mypy_boto3_ecs import ECSClient

from fractal_dev.ecs.client import EcsControl

REGION = "eu-west-1"
HOUR = 3600.0
PATIENCE = 60.0
"""Seconds after which what should have happened counts as not happening: on a busy machine a
server may stand still for some of them."""


def clients(url: str) -> tuple[ECSClient, EC2Client]:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE)
    session = boto3.session.Session("test", "test", region_name=REGION)
    return (
        session.client("ecs", endpoint_url=url, config=config),
        session.client("ec2", endpoint_url=url, config=config),
    )


@dataclass(frozen=True)
class Aws:
    """One server, a cluster of the test's own, and ways to make what every test needs."""

    ecs: ECSClient
    ec2: EC2Client
    cluster: str
    subnet: str
    settle: Callable[[float], None]

    def define(self, **changes: Any) -> str:
        request: dict[str, Any] = {
            "family": f"f-{uuid4().hex}",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [{"name": "app", "image": "app:1", "memory": 256}],
            **changes,
        }
        request = {name: value for name, value in request.items() if value is not None}
        answer = self.ecs.register_task_definition(**request)
        return answer["taskDefinition"]["taskDefinitionArn"]

    def define_on_ec2(self, mode: str = "bridge", memory: int = 256, **port: int) -> str:
        container = {"name": "app", "image": "app:1", "memory": memory, "portMappings": [port]}
        return self.define(
            networkMode=mode,
            requiresCompatibilities=["EC2"],
            cpu=None,
            memory=None,
            containerDefinitions=[container],
        )

    def request(self, definition: str, **changes: Any) -> dict[str, Any]:
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        vpc = {"subnets": [self.subnet], "securityGroups": [groups[0]["GroupId"]]}
        request = {
            "cluster": self.cluster,
            "taskDefinition": definition,
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": vpc},
            **changes,
        }
        return {name: value for name, value in request.items() if value is not None}

    def run(self, definition: str | None = None, **changes: Any) -> Any:
        answer = self.ecs.run_task(**self.request(definition or self.define(), **changes))
        (task,) = answer["tasks"]
        return task

    def task(self, arn: str) -> Any:
        (task,) = self.ecs.describe_tasks(cluster=self.cluster, tasks=[arn])["tasks"]
        return task

    def missing(self, arn: str) -> bool:
        answer = self.ecs.describe_tasks(cluster=self.cluster, tasks=[arn])
        assert len(answer["tasks"]) + len(answer["failures"]) == 1
        return [each["reason"] for each in answer["failures"]] == ["MISSING"]


@dataclass(frozen=True)
class StandIn(Aws):
    url: str
    control: EcsControl


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)  # between two looks
    return value
