"""What a queue of task events holds, as frozen values; no I/O here."""

from dataclasses import dataclass
from datetime import datetime

from fractal_models.observed import ObservedTask


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One "ECS Task State Change": a claim of whoever may write to the queue, unchecked.

    ``region`` and ``account`` are those of the envelope; the ARNs of ``task`` may say otherwise.
    """

    task: ObservedTask
    region: str
    account: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no event. ``why`` never quotes it; ``digest`` tells it from others."""

    why: str
    digest: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue. ``receipt`` deletes it.

    ``content`` is None for an event of another kind. ``sent_at`` is when it came into the queue, or
    when ECS told of the change if that was earlier; None if neither is known. ``again``: it was
    received before.
    """

    receipt: str
    content: TaskEvent | Unreadable | None
    sent_at: datetime | None = None
    again: bool = False
