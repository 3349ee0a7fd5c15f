"""Real boto3 clients without a network, for the tests of the AWS helpers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.stub import Stubber

from fractal_helpers.aws.session import RegionClients, make_clients

REGION = "eu-central-1"
CLUSTER = f"arn:aws:ecs:{REGION}:111122223333:cluster/main"


def task_arn(number: int) -> str:
    return f"arn:aws:ecs:{REGION}:111122223333:task/main/{number:032x}"


@cache
def session() -> boto3.Session:
    """One for all: it keeps the parsed service models, the slow part of making a client."""
    return boto3.Session(aws_access_key_id="id", aws_secret_access_key="key")


def clients(**attributes: Any) -> RegionClients:
    made = make_clients(REGION, session=session())
    return RegionClients(
        ecs=attributes.get("ecs", made.ecs),
        ecs_once=attributes.get("ecs_once", made.ecs_once),
        ec2=attributes.get("ec2", made.ec2),
    )


@dataclass
class Clock:
    """A monotonic clock that only sleeping moves."""

    time: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@dataclass
class Stubs:
    """Stubbers of the three clients: requests and answers are checked against AWS's own model."""

    clients: RegionClients
    ecs: Stubber
    once: Stubber
    ec2: Stubber

    @classmethod
    def active(cls) -> "Stubs":
        made = clients()
        stubs = cls(made, Stubber(made.ecs), Stubber(made.ecs_once), Stubber(made.ec2))
        for stubber in (stubs.ecs, stubs.once, stubs.ec2):
            stubber.activate()
        return stubs

    def assert_all_sent(self) -> None:
        for stubber in (self.ecs, self.once, self.ec2):
            stubber.assert_no_pending_responses()


class RawBody:
    """The file-like body that botocore expects of a response."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Any:
        yield self._content


def answer(content: bytes, status: int = 200, **headers: str) -> AWSResponse:
    return AWSResponse("https://ecs.invalid", status, headers, RawBody(content))  # type: ignore[arg-type]


def on_send(client: Any, operation: str, reply: Callable[[AWSRequest], AWSResponse]) -> None:
    """Let ``reply`` stand for the network under ``operation``: it answers or raises."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(
        f"before-send.{service}.{operation}", lambda request, **_: reply(request)
    )
