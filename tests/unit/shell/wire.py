"""How a process reaches the fakes, and the time in which it does.

What a fake knows is the state of the world, shared by any number of processes. Each process has a
wire of its own, which notes every call and may fail it, lose its answer, end the process there, or
give control away. Coroutines over a wire need no event loop.
"""

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fractal_models.errors import FractalError

Answer = TypeVar("Answer")
START = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


class Crash(BaseException):
    """The process ends here; whatever it called has happened, or not."""


class _Suspension:
    def __await__(self) -> Generator[None, None, None]:
        yield


def run(coro: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of a coroutine that awaits nothing but fakes: no event loop is needed."""
    try:
        while True:
            coro.send(None)
    except StopIteration as end:
        result: Answer = end.value
        return result


def run_to_call(coro: Coroutine[Any, Any, object], number: int) -> bool:
    """Run a coroutine over a wire that suspends until its call ``number`` (from 1) is next.

    False if it ended before.
    """
    try:
        for _ in range(number):
            coro.send(None)
    except StopIteration:
        return False
    return True


@dataclass(frozen=True)
class Call:
    """One call of a port's method, as it was sent."""

    method: str
    arguments: tuple[Any, ...]


@dataclass
class Wire:
    """How one process reaches the world: every call is noted, and may go wrong as scripted.

    With ``suspends``, control is given away before each call; ``next`` is the one that follows.
    ``crash_at`` numbers calls from 1. With ``hang``, no call is answered any more, with ``silent``
    none whose arguments contain that text (both need an event loop). ``overtaken`` is called
    between a call's effect and its answer.
    """

    suspends: bool = False
    next: str = ""
    hang: bool = False
    silent: str = ""
    overtaken: Callable[[], None] | None = None
    crash_at: int | None = None
    crash_after: bool = False
    calls: list[Call] = field(default_factory=list)
    _faults: list[tuple[str, FractalError, bool]] = field(default_factory=list)

    def fail(
        self, method: str, error: FractalError, *, nth: int = 1, times: int = 1, after: bool = False
    ) -> None:
        """Fail the ``nth`` call of ``method`` from now (and those next to it): ``times`` calls.

        ``after``: it takes effect all the same; only the answer is lost.
        """
        seen = sum(call.method == method for call in self.calls)
        for number in range(seen + nth, seen + nth + times):
            self._faults.append((f"{method} {number}", error, after))

    def counts(self) -> Counter[str]:
        """How often each method was called."""
        return Counter(call.method for call in self.calls)

    def of(self, method: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of one method."""
        return [call.arguments for call in self.calls if call.method == method]

    async def call(self, method: str, do: Callable[[], Answer], *arguments: Any) -> Answer:
        if self.suspends:
            self.next = method
            await _Suspension()
        self.calls.append(Call(method, copy.deepcopy(arguments)))
        if self.hang or (self.silent and self.silent in str(arguments)):
            await asyncio.get_running_loop().create_future()
        if self.crash_at == len(self.calls) and not self.crash_after:
            raise Crash
        fault = self._next_fault(method)
        if fault is not None and not fault[2]:
            raise fault[1]
        result = do()
        if self.overtaken is not None:
            self.overtaken()
        if self.crash_at == len(self.calls):
            raise Crash
        if fault is not None:
            raise fault[1]
        return copy.deepcopy(result)

    def _next_fault(self, method: str) -> tuple[str, FractalError, bool] | None:
        name = f"{method} {self.counts()[method]}"
        return next((fault for fault in self._faults if fault[0] == name), None)


class FakeClock:
    """Time that passes only when the test says so. ``sleep`` needs an event loop."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return 1000.0 + self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        due = [each for each in self._sleepers if each[0] <= self._seconds]
        self._sleepers = [each for each in self._sleepers if each[0] > self._seconds]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        await future
