"""Calls held or cut on the wire, for tests that kill a client at the worst moment."""

import select
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

HoldPhase = Literal["before", "after", "drop"]
_GONE_CHECK = 0.05


@dataclass(slots=True)
class Hold:
    """Stops the next ``times`` calls of an operation: ``before`` they are executed, or ``after``,
    before the reply is sent; ``drop`` cuts the connection after the execution instead.

    A call held ``before`` whose client goes away is not executed, unless ``late``: then it stays
    and is executed on release, like a request that was still on its way in AWS.
    """

    operation: str
    phase: HoldPhase
    match: str = ""
    times: int = 1
    late: bool = False


@dataclass(slots=True, eq=False)
class HeldCall:
    """A call that waits for release."""

    operation: str
    phase: HoldPhase
    subject: str
    released: threading.Event = field(default_factory=threading.Event)


class Holds:
    """Armed holds and the calls that wait in them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Hold] = []
        self._held: list[HeldCall] = []

    def arm(self, hold: Hold) -> None:
        """Arm a hold."""
        with self._lock:
            self._armed.append(hold)

    def take(self, operation: str, subject: str, phases: Sequence[HoldPhase]) -> Hold | None:
        """Return the hold that catches this call in one of these phases, using up one turn."""
        with self._lock:
            for hold in self._armed:
                fits = hold.operation == operation and hold.phase in phases
                if fits and hold.match in subject:
                    hold.times -= 1
                    if hold.times <= 0:
                        self._armed.remove(hold)
                    return hold
        return None

    def wait(self, hold: Hold, subject: str, client: socket.socket) -> bool:
        """Wait until the call is released. Returns False as soon as its client has gone away."""
        call = HeldCall(hold.operation, hold.phase, subject)
        with self._lock:
            self._held.append(call)
        try:
            while not call.released.wait(_GONE_CHECK):
                if not hold.late and _gone(client):
                    return False
            return hold.late or not _gone(client)
        finally:
            with self._lock:
                self._held.remove(call)

    def release(self) -> int:
        """Let every held call go on and disarm the rest. Returns how many were waiting."""
        with self._lock:
            self._armed.clear()
            for call in self._held:
                call.released.set()
            return len(self._held)

    def waiting(self) -> list[dict[str, str]]:
        """Return the calls that wait now."""
        with self._lock:
            return [
                {"operation": each.operation, "phase": each.phase, "startedBy": each.subject}
                for each in self._held
            ]


def _gone(client: socket.socket) -> bool:
    try:
        poll = select.poll()
        poll.register(client, select.POLLIN)
        return bool(poll.poll(0)) and client.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True
