"""The benchmarks' fast fake of ECS keeps the contract that the stand-in keeps.

The same test classes, where the fake knows all that they ask for.
"""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from aiohttp import web
from benchmarks.ecs_fake.asked import SUBNET
from benchmarks.ecs_fake.server import QUEUE, EcsFake
from benchmarks.ecs_fake.world import ACCOUNT
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_ec2 import EC2Client
from mypy_boto3_ecs import ECSClient
from tests.contract import test_ecs_api, test_ecs_rules
from tests.contract.ecs_world import PATIENCE, REGION, Aws, StandIn, clients, refusal, until

from fractal_dev.ecs.client import EcsControl
from fractal_dev.ecs.clock import StandInClock


@pytest.fixture(scope="module")
def fake_url() -> Iterator[str]:
    started, loop = threading.Event(), asyncio.new_event_loop()
    urls: list[str] = []
    ending = asyncio.Event()

    async def serve() -> None:
        fake = EcsFake(REGION, clock=StandInClock(frozen=True), events=True)
        runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        started.set()
        await ending.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(PATIENCE)
    yield urls[0]
    loop.call_soon_threadsafe(ending.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def fake_clients(fake_url: str) -> tuple[ECSClient, EC2Client]:
    return clients(fake_url)


@pytest.fixture
def stand_in(fake_url: str, fake_clients: tuple[ECSClient, EC2Client]) -> StandIn:
    ecs, ec2 = fake_clients
    control = EcsControl(fake_url)
    control.reset()
    cluster = f"c-{uuid4().hex}"
    control.ensure_cluster(cluster, REGION)
    return StandIn(ecs, ec2, cluster, SUBNET, control.advance, fake_url, control)


@pytest.fixture
def aws(stand_in: StandIn) -> Aws:
    return stand_in


class TestWhatMotoKnowsToo(test_ecs_api.TestWhatMotoKnowsToo):
    pass


class TestTags(test_ecs_api.TestTags):
    pass


class TestTokens(test_ecs_api.TestTokens):
    pass


class TestSeeing(test_ecs_api.TestSeeing):
    pass


class TestStopping(test_ecs_api.TestStopping):
    pass


class TestRefusals(test_ecs_rules.TestRefusals):
    pass


class TestTheFakeItself:
    def test_a_task_passes_through_its_states_and_tells_each_but_one(
        self, stand_in: StandIn, queue: "Consumer"
    ) -> None:
        stand_in.control.set_plan(start_seconds=3, stop_seconds=3)
        queue.drain()
        seen = [task := stand_in.run(startedBy="fc/i/uid/1")]
        for _ in range(3):
            stand_in.control.advance(1.001)
            seen.append(stand_in.task(task["taskArn"]))
        stand_in.control.stop_task(task["taskArn"], exit_code=7)
        for _ in range(3):
            seen.append(stand_in.task(task["taskArn"]))
            stand_in.control.advance(1.001)
        seen.append(stand_in.task(task["taskArn"]))
        assert [each["lastStatus"] for each in seen] == [
            *("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"),
            *("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"),
        ]
        assert seen[-1]["containers"][0]["exitCode"] == 7
        told = [each for each in queue.drain() if each["detail"]["taskArn"] == task["taskArn"]]
        states = [each["detail"]["lastStatus"] for each in told]
        assert "ACTIVATING" not in states
        assert states[-1] == "STOPPED"
        versions = [each["detail"]["version"] for each in told]
        assert versions == sorted(set(versions))
        assert versions[-1] == seen[-1]["version"]
        assert all(each["detail"]["startedBy"] == "fc/i/uid/1" for each in told)
        assert "tags" not in told[0]["detail"]

    def test_quotas_are_aws_s_when_turned_on(self, stand_in: StandIn) -> None:
        stand_in.control.set_throttle(1)
        for _ in range(20):
            stand_in.define()
        for _ in range(5):
            assert refusal(stand_in.define) == ("ThrottlingException", "Rate exceeded")
        stand_in.control.advance(1)
        assert stand_in.define()
        told = metrics(stand_in)
        assert told["groups"]["task definition modify"] == 26
        assert told["throttled"] == {"task definition modify": 5}

    def test_two_live_tasks_of_one_uid_are_remembered(self, stand_in: StandIn) -> None:
        definition, uid = stand_in.define(), uuid4().hex
        for number in (1, 2):
            stand_in.run(definition, startedBy=f"fc/i/{uid}/{number}")
        stand_in.control.stop_task(started_by=f"fc/i/{uid}/")
        stand_in.control.advance(5)
        doubled = metrics(stand_in)["doubled"]
        assert doubled[uid] == 2
        once = uuid4().hex
        stand_in.run(definition, startedBy=f"fc/i/{once}/1")
        assert once not in metrics(stand_in)["doubled"]


def metrics(stand_in: StandIn) -> Any:
    with urllib.request.urlopen(f"{stand_in.url}/_ecs/metrics", timeout=PATIENCE) as answer:
        return json.load(answer)


class Consumer:
    """A client of the fake's queue."""

    def __init__(self, url: str) -> None:
        make: Any = boto3.session.Session("a", "b", region_name=REGION).client
        config = Config(retries={"total_max_attempts": 1})
        self.sqs = make("sqs", endpoint_url=url, config=config)
        self.url = f"{url}/{ACCOUNT}/{QUEUE}"

    def receive(self, **options: Any) -> list[Any]:
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, **options)
        return list(answer.get("Messages", ()))

    def depth(self) -> tuple[int, int]:
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        waiting, flying = (int(answer["Attributes"][name]) for name in names)
        return waiting, flying

    def drain(self) -> list[Any]:
        events = []
        while found := self.receive():
            events += [json.loads(each["Body"]) for each in found]
            entries = [
                {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]}
                for number, each in enumerate(found)
            ]
            done = self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)
            assert len(done["Successful"]) == len(entries)
        return events


@pytest.fixture
def queue(fake_url: str) -> Iterator[Consumer]:
    consumer = Consumer(fake_url)
    yield consumer
    consumer.sqs.close()


class TestQueue:
    def test_a_message_comes_back_unless_it_is_deleted(
        self, stand_in: StandIn, queue: Consumer
    ) -> None:
        queue.drain()
        arn = stand_in.run()["taskArn"]
        (first,) = queue.receive(VisibilityTimeout=0)
        (again,) = queue.receive(AttributeNames=["All"])
        assert json.loads(again["Body"])["detail"]["taskArn"] == arn
        assert again["MessageId"] == first["MessageId"]
        assert again["Attributes"]["ApproximateReceiveCount"] == "2"
        queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=again["ReceiptHandle"])
        assert queue.receive() == []

    def test_a_long_poll_ends_when_a_message_comes(
        self, stand_in: StandIn, queue: Consumer
    ) -> None:
        queue.drain()
        request = stand_in.request(stand_in.define())
        got: list[Any] = []
        poll = threading.Thread(target=lambda: got.extend(queue.receive(WaitTimeSeconds=20)))
        poll.start()
        stand_in.ecs.run_task(**request)
        until(lambda: got)
        poll.join()
        queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=got[0]["ReceiptHandle"])

    def test_attributes_count_what_waits_and_what_is_with_a_consumer(
        self, stand_in: StandIn, queue: Consumer
    ) -> None:
        queue.drain()
        before, definition = queue.depth(), stand_in.define()
        for _ in range(12):
            stand_in.run(definition)
        queue.receive()
        assert before[0] == 0
        assert queue.depth() == (2, before[1] + 10)
        assert queue.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"] == queue.url

    def test_another_queue_does_not_exist(self, queue: Consumer) -> None:
        with pytest.raises(ClientError) as caught:
            queue.sqs.receive_message(QueueUrl=queue.url + "-other")
        assert "QueueDoesNotExist" in caught.value.response["Error"]["Code"]
