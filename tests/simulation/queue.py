"""The queue of task events in the simulation: what EventBridge and SQS do to events that hurts.

They come late, twice, in any order, or not at all; a message that was received and not deleted
comes again after the visibility timeout; the rule may be gone, which nobody tells, or the queue.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.timeline import SimClock, SimWire
from tests.unit.shell.ecs_world import ACCOUNT, REGION

from fractal_models.errors import Rejected
from fractal_models.observed import ObservedTask
from fractal_models.task_events import Message, TaskEvent, Unreadable

if TYPE_CHECKING:
    from tests.simulation.world import World

PREFIX = "fc/sim/"
HIDDEN_SECONDS = 60.0
STEP_SECONDS = 1.0
"""How often a long poll that found nothing looks again."""


class SimQueue:
    """Messages that wait, in no order, and those that a process has received."""

    def __init__(self, world: "World", rng: Random) -> None:
        self._world, self._rng = world, rng
        self._waiting: list[Message] = []
        self._hidden: dict[str, Message] = {}
        self._number = 0
        self._told: dict[str, int | None] = {}

    def changed(self, task: ObservedTask) -> None:
        """ECS has shown another version of a task: the rule, if there is one, takes it."""
        if self._told.get(task.arn, 0) == task.version or not task.started_by.startswith(PREFIX):
            return
        self._told[task.arn] = task.version
        chaos, rng, world = self._world.chaos, self._rng, self._world
        if "rule" in world.down or rng.random() < chaos.event_drop:
            return
        # Nobody tells of tags, nor of health.
        told = replace(task, observed_at=world.clock.now(), tags=None, health="")
        for _ in range(1 + (rng.random() < chaos.event_double)):
            self._number += 1
            event = TaskEvent(told, REGION, ACCOUNT)
            message = Message(f"m-{self._number}", event, world.clock.now())
            pause = 0.2 + rng.random() * chaos.event_delay
            world.timeline.after(pause, partial(self._arrive, message))

    def poison(self) -> None:
        """Somebody sends what is no event."""
        self._number += 1
        self._waiting.append(Message(f"m-{self._number}", Unreadable("it is none", "0")))

    def _arrive(self, message: Message) -> None:
        self._waiting.append(message)

    def ready(self) -> bool:
        return bool(self._waiting) or "queue" in self._world.down

    def receive(self) -> Sequence[Message]:
        self._check()
        self._rng.shuffle(self._waiting)
        batch, self._waiting = self._waiting[:10], self._waiting[10:]
        for message in batch:
            self._hidden[message.receipt] = message
            self._world.timeline.after(HIDDEN_SECONDS, partial(self._appear, message.receipt))
        return batch

    def delete(self, receipts: Sequence[str]) -> int:
        self._check()
        known = [receipt for receipt in receipts if self._hidden.pop(receipt, None) is not None]
        self._world.notes.sometimes["event taken in"] += len(known)
        return len(receipts) - len(known)

    def _check(self) -> None:
        if "queue" in self._world.down:
            raise Rejected("no such queue", code="QueueDoesNotExist")

    def _appear(self, receipt: str) -> None:
        message = self._hidden.pop(receipt, None)
        if message is not None:
            self._world.notes.sometimes["event received again"] += 1
            self._waiting.append(replace(message, again=True))


class SimEvents:
    """The port Events of one process; its clock is what an event's time is held against."""

    name = "events"

    def __init__(self, queue: SimQueue, wire: SimWire, clock: SimClock) -> None:
        self._queue, self._wire, self._clock = queue, wire, clock

    async def receive(self, seconds: int) -> Sequence[Message]:
        until = self._clock.monotonic() + seconds
        while not self._queue.ready() and self._clock.monotonic() < until:
            await self._clock.sleep(STEP_SECONDS)
        received = await self._wire.call("receive", self._queue.receive, seconds)
        return [self._as_read(message) for message in received]

    async def delete(self, receipts: Sequence[str]) -> int:
        return await self._wire.call(
            "delete_messages", partial(self._queue.delete, receipts), receipts
        )

    def _as_read(self, message: Message) -> Message:
        """As the client's decoder dates what it reads: never in the future of its own clock."""
        if not isinstance(message.content, TaskEvent):
            return message
        task = message.content.task
        seen = replace(task, observed_at=min(task.observed_at, self._clock.now()))
        return replace(message, content=replace(message.content, task=seen))
