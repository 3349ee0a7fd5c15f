"""The port Events over the synchronous client: only who leads receives and deletes."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest

from fractal_helpers.aws.sqs import SqsClient
from fractal_models.errors import Rejected, Unavailable
from fractal_models.task_events import Message
from fractal_operator.shell.queues import SqsEvents


class Client:
    """What the port needs of SqsClient; counts its calls, and the threads that they run in."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.threads: set[str] = set()

    def receive(self, seconds: int) -> Sequence[Message]:
        self._note(seconds)
        return (Message("r", None),)

    def delete(self, receipts: Sequence[str]) -> int:
        self._note(tuple(receipts))
        return 1

    def _note(self, what: object) -> None:
        self.calls.append(what)
        self.threads.add(threading.current_thread().name)


def events(make: Callable[[], Client], leads: Callable[[], bool] = lambda: True) -> SqsEvents:
    return SqsEvents("q", cast("Callable[[], SqsClient]", make), 2, leads)


def run(coro: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coro)


def test_calls_are_made_in_threads_of_their_own_by_one_client() -> None:
    client = Client()
    made: list[None] = []

    def make() -> Client:
        made.append(None)
        return client

    queue = events(make)
    assert queue.name == "q"
    assert run(queue.receive(7)) == (Message("r", None),)
    assert run(queue.delete(["a", "b"])) == 1
    assert client.calls == [7, ("a", "b")]
    assert threading.current_thread().name not in client.threads
    assert len(made) == 1


def test_who_does_not_lead_hides_and_deletes_nothing() -> None:
    client = Client()
    queue = events(lambda: client, leads=lambda: False)
    for call in (queue.receive(20), queue.delete(["a"])):
        with pytest.raises(Unavailable):
            run(call)
    assert client.calls == []


def test_a_client_that_cannot_be_made_is_told_of_and_tried_again() -> None:
    client = Client()
    faults: list[Exception] = [ValueError("no such profile"), Unavailable("no credentials yet")]

    def make() -> Client:
        if faults:
            raise faults.pop(0)
        return client

    queue = events(make)
    with pytest.raises(Rejected, match="no such profile"):
        run(queue.receive(20))
    with pytest.raises(Unavailable):
        run(queue.receive(20))
    run(queue.receive(20))
    assert client.calls == [20]
