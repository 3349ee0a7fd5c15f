"""What a watch of the objects tells, and when: the times that users see."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Seen:
    """One object as the watch has told it. Times are seconds since the epoch."""

    uid: str = ""
    created_at: float = 0.0
    phase: str = ""
    running_at: dict[int, float] = field(default_factory=dict)
    not_running_at: dict[int, float] = field(default_factory=dict)
    ended_at: dict[int, float] = field(default_factory=dict)
    attempt: int = 0
    deleted_at: float = 0.0


class Watching:
    """The objects by name. ``running_at``, ``not_running_at`` and ``ended_at`` of each are when
    the status first told that of an attempt."""

    def __init__(self) -> None:
        self.objects: dict[str, Seen] = {}
        self.running = 0
        self.gone = 0

    def tell(self, kind: str, body: dict[str, Any], now: float) -> None:
        """Take an event of the watch in."""
        seen = self.objects.setdefault(body["metadata"]["name"], Seen())
        seen.uid = body["metadata"]["uid"]
        if kind == "DELETED":
            seen.deleted_at = now
            self.gone += 1
        seen.created_at = seen.created_at or now
        self._status(seen, body.get("status") or {}, kind == "DELETED", now)

    def _status(self, seen: Seen, status: dict[str, Any], gone: bool, now: float) -> None:
        phase = "" if gone else status.get("phase", "")
        tasks = [each["attempt"] for each in status.get("tasks", ())]
        if phase == "Running" and tasks:
            seen.attempt = max(tasks)
            seen.running_at.setdefault(seen.attempt, now)
        if phase != "Running" and seen.attempt:
            seen.not_running_at.setdefault(seen.attempt, now)
        for each in status.get("lastTerminations", ()):
            seen.ended_at.setdefault(each["attempt"], now)
        # an operator that keeps no record of ends tells one by the next attempt
        for number in range(1, max(tasks, default=0)):
            seen.ended_at.setdefault(number, now)
            seen.not_running_at.setdefault(number, now)
        self.running += (phase == "Running") - (seen.phase == "Running")
        seen.phase = phase
