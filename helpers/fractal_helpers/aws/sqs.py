"""The client of one SQS queue of task events: long polling, and deletion in batches.

Synchronous and thread-safe. Every method raises the errors of :mod:`fractal_models.errors` only.
SQS has no quota of calls that matters here (standard queues: "nearly unlimited"), hence no bucket.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore import xform_name

from fractal_helpers.aws import decode, task_events
from fractal_helpers.aws.calls import Observe, ignore
from fractal_helpers.aws.failures import classify, code_of
from fractal_models.task_events import Message, TaskEvent

log = logging.getLogger(__name__)

WAIT_SECONDS = 20
"""The longest that ReceiveMessage waits for a message, which is the cheapest, too (SQS API)."""

BATCH = 10
"""The most messages of one ReceiveMessage and of one DeleteMessageBatch (SQS API)."""

_REGION = re.compile(r"(?:^|[./])sqs(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.")


def region_of(queue_url: str) -> str:
    """The region that a queue's URL names; "" for a URL that is not AWS's own."""
    found = _REGION.search(queue_url)
    return found[1] if found else ""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqsClient:
    """The queue at ``queue_url``. ``observe(operation, code, seconds)`` is called once per call."""

    def __init__(
        self,
        client: Any,
        queue_url: str,
        *,
        observe: Observe = ignore,
        now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._observe = observe
        self._now = now
        self._monotonic = monotonic

    def receive(self, seconds: int = WAIT_SECONDS) -> tuple[Message, ...]:
        """Up to 10 messages, as soon as there are some; none after ``seconds`` (0..20) without.

        What is received is hidden from others for the queue's visibility timeout, and comes again
        after it unless it is deleted.
        """
        answer = self._send(
            "ReceiveMessage",
            {
                "MaxNumberOfMessages": BATCH,
                "WaitTimeSeconds": seconds,
                "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
            },
        )
        now = self._now()
        return tuple(_message(each, now) for each in answer.get("Messages") or ())

    def delete(self, receipts: Sequence[str]) -> int:
        """Delete up to 10 messages; how many SQS did not delete, which will come again."""
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)
        ]
        answer = self._send("DeleteMessageBatch", {"Entries": entries})
        deleted = {each.get("Id") for each in answer.get("Successful") or ()}
        for failure in answer.get("Failed") or ():
            log.warning("SQS did not delete a message: %s", failure.get("Code"))
        return sum(entry["Id"] not in deleted for entry in entries)

    def _send(self, operation: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        began, code = self._monotonic(), "OK"
        try:
            call = getattr(self._client, xform_name(operation))
            response: Mapping[str, Any] = call(QueueUrl=self._queue_url, **params)
        except Exception as error:  # botocore lets a garbled answer escape as, say, a KeyError
            code = code_of(error)
            raise classify(error, operation) from error
        finally:
            self._observe(operation, code, self._monotonic() - began)
        return response


def _message(payload: Mapping[str, Any], now: datetime) -> Message:
    attributes = payload.get("Attributes") or {}
    content = task_events.read(payload.get("Body"), now)
    sent_at = decode.instant(_number(attributes.get("SentTimestamp"), per=1000.0))
    if isinstance(content, TaskEvent):
        sent_at = min(sent_at or now, content.task.observed_at)
    again = _number(attributes.get("ApproximateReceiveCount")) or 1.0
    return Message(str(payload.get("ReceiptHandle", "")), content, sent_at, again > 1)


def _number(text: object, per: float = 1.0) -> float | None:
    return int(text) / per if isinstance(text, str) and re.fullmatch(r"[0-9]{1,15}", text) else None
