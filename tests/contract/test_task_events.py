"""Task events of the stand-in, by way of moto's SQS, as the operator's own client reads them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from tests.contract.ecs_world import REGION, StandIn

from fractal_helpers.aws import decode
from fractal_helpers.aws.session import make_queue_client
from fractal_helpers.aws.sqs import SqsClient
from fractal_models.errors import AccessDenied, Rejected
from fractal_models.observed import ObservedTask
from fractal_models.task_events import TaskEvent

LIFE = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]
END = ["RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


class Listener:
    """A rule, its queue, and all that has come by way of it."""

    def __init__(self, world: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.name = world, world.cluster
        self.url = world.control.put_rule(self.name, self.name, REGION, prefix=f"fc/{self.name}/")
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.url.rsplit("/", 2)[0])
        session = boto3.Session("test", "test", region_name=REGION)
        self.client = SqsClient(make_queue_client(REGION, session, 2), self.url)
        self.told: list[ObservedTask] = []

    def change(self, **options: object) -> None:
        self.world.control.put_rule(
            self.name, self.name, REGION, **{"prefix": f"fc/{self.name}/", **options}
        )

    def hear(self, count: int) -> list[ObservedTask]:
        """Let time pass until so many events have been told, and delete them."""
        while len(self.told) < count:
            self.world.control.advance(10)
            messages = self.client.receive()
            for message in messages:
                assert isinstance(message.content, TaskEvent)
                assert (message.content.region, message.content.account) == (
                    REGION,
                    message.content.task.cluster_arn.split(":")[4],
                )
                assert message.sent_at is not None
                assert not message.again
                self.told.append(message.content.task)
            assert not messages or self.client.delete([each.receipt for each in messages]) == 0
        return self.told

    def statuses(self) -> list[str]:
        return [task.last_status for task in self.told]


@pytest.fixture
def listener(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    made = Listener(stand_in, monkeypatch)
    yield made
    stand_in.control.delete_rule(made.name)


def test_each_change_of_a_task_is_told_once_as_describe_tasks_shows_it(listener: Listener) -> None:
    world = listener.world
    task = world.run(startedBy=f"fc/{listener.name}/uid/1")
    world.run(startedBy="somebody-else")
    listener.hear(4)
    assert listener.statuses() == LIFE
    shown = decode.task(world.task(task["taskArn"]), datetime.now(UTC))
    told = listener.told[-1]
    containers = tuple(replace(each, health="") for each in shown.containers)
    # the times of an event have milliseconds
    assert told == replace(
        shown,
        observed_at=told.observed_at,
        created_at=told.created_at,
        started_at=told.started_at,
        tags=None,
        health="",
        containers=containers,
    )
    world.ecs.stop_task(cluster=world.cluster, task=task["taskArn"])
    listener.hear(9)
    assert listener.statuses() == [*LIFE, *END]
    versions = [each.version for each in listener.told]
    assert versions == sorted(versions, key=lambda version: version or 0)
    assert len(set(versions)) == 9
    assert listener.told[-1].stop_code == "UserInitiated"


def test_events_may_be_doubled_and_come_in_another_order(listener: Listener) -> None:
    listener.change(double=1.0, jitter=1.0, seed=3)
    listener.world.run(startedBy=f"fc/{listener.name}/uid/1")
    told = listener.hear(8)
    versions = [each.version or 0 for each in told]
    assert sorted(versions) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert versions != sorted(versions)


@pytest.mark.parametrize("options", [{"drop": 1.0}, {"enabled": False}])
def test_events_may_be_lost(listener: Listener, options: dict[str, object]) -> None:
    world = listener.world
    listener.change(**options)
    task = world.run(startedBy=f"fc/{listener.name}/uid/1")
    world.control.advance(10)
    assert world.task(task["taskArn"])["lastStatus"] == "RUNNING"
    listener.change()
    world.ecs.stop_task(cluster=world.cluster, task=task["taskArn"])
    listener.hear(5)
    assert listener.statuses() == END


def test_nobody_tells_of_a_task_that_aws_has_lost(listener: Listener) -> None:
    world = listener.world
    task = world.run(startedBy=f"fc/{listener.name}/uid/1")
    listener.hear(4)
    world.control.vanish_task(task["taskArn"])
    world.run(startedBy=f"fc/{listener.name}/uid/2")
    listener.hear(8)
    assert listener.statuses() == [*LIFE, *LIFE]


def test_a_queue_that_is_gone_or_refused_is_told_apart(listener: Listener) -> None:
    control = listener.world.control
    control.fail_next("sqs:ReceiveMessage", code="AccessDenied", message="no", status=403)
    with pytest.raises(AccessDenied):
        listener.client.receive()
    session = boto3.Session("test", "test", region_name=REGION)
    session.client("sqs").delete_queue(QueueUrl=listener.url)
    with pytest.raises(Rejected, match="does not exist"):
        listener.client.receive()
    assert control.calls()["sqs:ReceiveMessage"] == 2
