"""One SQS queue, in SQS's JSON protocol: long polling, a visibility timeout, batches.

No dead-letter queue: the fake's own events are never poison.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from fractal_dev.ecs.errors import AwsError

VISIBILITY_SECONDS = 60.0
LONGEST_WAIT = 20.0
LARGEST_BATCH = 10

Request = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Message:
    """A message; ``hidden_until`` is set by each receipt."""

    id: str
    body: str
    sent_at: float
    received: int = 0
    hidden_until: float = 0.0


class Queue:
    """The queue at path ``/<account>/<name>``; times are the event loop's."""

    def __init__(self, name: str, arn: str) -> None:
        self.name, self.arn = name, arn
        self.sent = self.deleted = 0
        self._ready: deque[Message] = deque()
        self._flying: dict[str, Message] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()

    def send(self, body: str, now: float) -> None:
        """Put a message in; ``now`` in seconds since the epoch is its SentTimestamp."""
        number = next(self._numbers)
        self._ready.append(Message(f"00000000-0000-4000-8000-{number:012x}", body, now))
        self.sent += 1
        self._news.set()

    def depth(self) -> tuple[int, int]:
        """How many messages wait, and how many are with a consumer."""
        return len(self._ready), len(self._flying)

    async def call(self, operation: str, request: Request, url: str) -> Mapping[str, Any]:
        """The answer to an operation on the queue, whose URL is ``url``.

        Raises:
            AwsError: no such queue, or more messages than a batch holds.
        """
        if operation == "GetQueueUrl":
            self._check(str(request.get("QueueName", "")))
            return {"QueueUrl": url}
        self._check(str(request.get("QueueUrl", "")).rsplit("/", 1)[-1])
        match operation:
            case "ReceiveMessage":
                return await self._receive(request)
            case "DeleteMessage":
                self._delete(str(request["ReceiptHandle"]))
                return {}
            case "DeleteMessageBatch":
                for entry in request["Entries"]:
                    self._delete(str(entry["ReceiptHandle"]))
                return {"Successful": [{"Id": each["Id"]} for each in request["Entries"]]}
            case "ChangeMessageVisibility":
                self._hide(str(request["ReceiptHandle"]), float(request["VisibilityTimeout"]))
                return {}
            case "GetQueueAttributes":
                return {"Attributes": self._attributes()}
            case _:
                raise AwsError("UnsupportedOperation", f"the fake does not know {operation}")

    def _check(self, name: str) -> None:
        if name != self.name:
            code = "com.amazonaws.sqs#QueueDoesNotExist"
            raise AwsError(code, "The specified queue does not exist.")

    async def _receive(self, request: Request) -> Mapping[str, Any]:
        most = int(request.get("MaxNumberOfMessages", 1))
        wait = float(request.get("WaitTimeSeconds", 0))
        if not (1 <= most <= LARGEST_BATCH and 0 <= wait <= LONGEST_WAIT):
            raise AwsError("InvalidParameterValue", "MaxNumberOfMessages or WaitTimeSeconds")
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while not self._show(loop.time()) and loop.time() < end:
            self._news.clear()
            try:
                async with asyncio.timeout(min(1.0, end - loop.time())):
                    await self._news.wait()
            except TimeoutError:
                continue
        hidden = float(request.get("VisibilityTimeout", VISIBILITY_SECONDS))
        taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        return {"Messages": [self._hand_out(each, loop.time() + hidden) for each in taken]}

    def _show(self, now: float) -> bool:
        """Whether a message waits; those come back whose consumer took too long."""
        while self._flying:
            receipt, message = next(iter(self._flying.items()))
            if message.hidden_until > now:
                break  # in the order of their receipts, and all are hidden for about as long
            del self._flying[receipt]
            self._ready.append(message)
        return bool(self._ready)

    def _hand_out(self, message: Message, hidden_until: float) -> Mapping[str, Any]:
        message.received += 1
        message.hidden_until = hidden_until
        receipt = f"{message.id}/{message.received}"
        self._flying[receipt] = message
        return {
            "MessageId": message.id,
            "ReceiptHandle": receipt,
            "MD5OfBody": md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "Body": message.body,
            "Attributes": {
                "SentTimestamp": str(int(message.sent_at * 1000)),
                "ApproximateReceiveCount": str(message.received),
            },
        }

    def _delete(self, receipt: str) -> None:
        if self._flying.pop(receipt, None) is not None:
            self.deleted += 1

    def _hide(self, receipt: str, seconds: float) -> None:
        message = self._flying.pop(receipt, None)
        if message is None:
            return
        message.hidden_until = asyncio.get_running_loop().time() + seconds
        if seconds > 0:
            self._flying[receipt] = message
        else:
            self._ready.append(message)
            self._news.set()

    def _attributes(self) -> dict[str, str]:
        return {
            "QueueArn": self.arn,
            "ApproximateNumberOfMessages": str(len(self._ready)),
            "ApproximateNumberOfMessagesNotVisible": str(len(self._flying)),
            "ApproximateNumberOfMessagesDelayed": "0",
            "VisibilityTimeout": f"{VISIBILITY_SECONDS:.0f}",
        }
