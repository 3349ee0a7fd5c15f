"""A queue of task events for the fakes: what the port Events promises, and no more.

What was received is hidden until it is deleted or ``reappear`` is called, as a visibility timeout
that runs out. Messages come in any order that a test puts them in.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from tests.unit.shell.ecs_world import ACCOUNT, REGION
from tests.unit.shell.wire import Wire

from fractal_models.errors import FractalError
from fractal_models.observed import ObservedTask
from fractal_models.task_events import Message, TaskEvent, Unreadable


def event_of(task: ObservedTask, **envelope: str) -> TaskEvent:
    """What EventBridge says of a task: all that DescribeTasks does, but for its tags."""
    where = {"region": REGION, "account": ACCOUNT} | envelope
    return TaskEvent(replace(task, tags=None), **where)


class EventQueue:
    """The queue itself. ``down`` is raised instead of every answer."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.hidden: dict[str, Message] = {}
        self.deleted: list[str] = []
        self.down: FractalError | None = None
        self._receipts = count(1)

    def send(self, content: TaskEvent | Unreadable | None, **facts: Any) -> str:
        """Put a message into the queue; its receipt."""
        message = Message(f"receipt-{next(self._receipts)}", content, **facts)
        self.waiting.append(message)
        return message.receipt

    def reappear(self) -> None:
        """The visibility timeout of all that was received has run out."""
        self.waiting += (replace(message, again=True) for message in self.hidden.values())
        self.hidden.clear()

    def receive(self) -> Sequence[Message]:
        if self.down is not None:
            raise self.down
        batch, self.waiting = self.waiting[:10], self.waiting[10:]
        self.hidden |= {message.receipt: message for message in batch}
        return batch

    def delete(self, receipts: Sequence[str]) -> int:
        if self.down is not None:
            raise self.down
        known = [receipt for receipt in receipts if self.hidden.pop(receipt, None) is not None]
        self.deleted += known
        return len(receipts) - len(known)


class FakeEvents:
    """The port Events of one process."""

    name = "events"

    def __init__(self, queue: EventQueue, wire: Wire) -> None:
        self._queue, self._wire = queue, wire

    async def receive(self, seconds: int) -> Sequence[Message]:
        return await self._wire.call("receive", self._queue.receive, seconds)

    async def delete(self, receipts: Sequence[str]) -> int:
        return await self._wire.call(
            "delete_messages", lambda: self._queue.delete(receipts), receipts
        )
