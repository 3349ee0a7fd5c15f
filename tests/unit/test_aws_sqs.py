"""The SQS client: its requests fit AWS's model, its answers become values and typed errors."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from tests.unit.aws_wire import REGION, on_send, session
from tests.unit.test_task_events import NOW, event

from fractal_helpers.aws.session import make_queue_client
from fractal_helpers.aws.sqs import SqsClient, region_of
from fractal_models.errors import AccessDenied, FractalError, OutcomeUnknown, Rejected, Throttled
from fractal_models.task_events import TaskEvent, Unreadable

URL = f"https://sqs.{REGION}.amazonaws.com/111122223333/fractal-task-events"
ASKED = {
    "QueueUrl": URL,
    "MaxNumberOfMessages": 10,
    "WaitTimeSeconds": 20,
    "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
}


class World:
    """A queue's client, what it is answered, and what it counted."""

    def __init__(self) -> None:
        self.boto = make_queue_client(REGION, session(), 2)
        self.stub = Stubber(self.boto)
        self.stub.activate()
        self.seen: list[tuple[str, str]] = []
        self.client = SqsClient(
            self.boto,
            URL,
            observe=lambda name, code, _: self.seen.append((name, code)),
            now=lambda: NOW,
        )


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.stub.assert_no_pending_responses()


def message(body: str | None, sent: str = "", count: str = "1") -> dict[str, Any]:
    attributes = {"SentTimestamp": sent, "ApproximateReceiveCount": count}
    said = {"ReceiptHandle": "r", "Attributes": {k: v for k, v in attributes.items() if v}}
    return said if body is None else {**said, "Body": body}


def test_it_waits_for_messages_and_tells_when_they_came(world: World) -> None:
    noon = str(int(NOW.timestamp() * 1000))
    bodies = [message(event(), noon), message("{", noon, "3"), message(None), message("[]", "x")]
    world.stub.add_response("receive_message", {"Messages": bodies}, ASKED)
    told, broken, empty, odd = world.client.receive()
    assert isinstance(told.content, TaskEvent)
    assert told.receipt == "r"
    # the change was told of a while before it came into the queue
    assert told.sent_at == datetime(2026, 5, 4, 11, 59, 1, 500000, tzinfo=UTC)
    assert not told.again
    assert isinstance(broken.content, Unreadable)
    assert broken.sent_at == NOW
    assert broken.again
    assert isinstance(empty.content, Unreadable)
    assert odd.sent_at is None
    assert world.seen == [("ReceiveMessage", "OK")]


def test_a_queue_without_messages_is_no_error(world: World) -> None:
    world.stub.add_response("receive_message", {}, ASKED)
    assert world.client.receive() == ()


def test_it_tells_how_many_messages_were_not_deleted(world: World) -> None:
    asked = {
        "QueueUrl": URL,
        "Entries": [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate("abc")],
    }
    answer = {
        "Successful": [{"Id": "0"}],
        "Failed": [{"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}],
    }
    world.stub.add_response("delete_message_batch", answer, asked)
    assert world.client.delete(["a", "b", "c"]) == 2  # of "c" the answer says nothing


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", 400, Rejected),
        ("AccessDenied", 403, AccessDenied),
        ("KMS.AccessDeniedException", 400, AccessDenied),
        ("RequestThrottled", 403, Throttled),
        ("InternalError", 500, OutcomeUnknown),
    ],
)
def test_errors_are_typed_by_meaning(
    world: World, code: str, status: int, kind: type[FractalError]
) -> None:
    world.stub.add_client_error("receive_message", code, "text", status)
    with pytest.raises(kind) as caught:
        world.client.receive()
    assert type(caught.value) is kind
    assert world.seen == [("ReceiveMessage", code)]


def test_it_listens_for_longer_than_sqs_waits_and_tries_once_only() -> None:
    world, sent = World(), []
    world.stub.deactivate()

    def reply(request: Any) -> Any:
        sent.append(request.url)
        raise ReadTimeoutError(endpoint_url=request.url)

    on_send(world.boto, "ReceiveMessage", reply)
    with pytest.raises(OutcomeUnknown):
        world.client.receive()
    assert len(sent) == 1
    assert world.boto.meta.config.read_timeout > 20


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (URL, REGION),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/1/q", "eu-west-1"),
        ("http://127.0.0.1:5000/123456789012/q", ""),
        ("https://example.com/sqs.eu-west-1", ""),
    ],
)
def test_a_queue_names_its_region(url: str, region: str) -> None:
    assert region_of(url) == region
