"""Simulated time: what happens when, and coroutines that are driven by hand.

A coroutine of the product awaits nothing but ports and the clock. Here an awaited port is a
``Pending`` call and an awaited sleep a ``Pause``: whoever drives the coroutine gets it, and sends
or throws the answer in when its time has come. Nothing waits, and no thread or event loop is used.
"""

import heapq
from collections.abc import Callable, Coroutine, Generator
from datetime import datetime, timedelta
from typing import Any

from tests.unit.shell.wire import START, Answer, FakeClock, Wire


class Timeline:
    """A heap of things to do; what is due at the same moment is done in the order of its entry."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.now + seconds, do)

    def run(self, until: float) -> None:
        """Do all that is due up to ``until``, and let the time be that."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, do = heapq.heappop(self._heap)
            self.steps += 1
            do()
        self.now = until


class Pending:
    """A call that a coroutine awaits: ``do`` is its effect on the world, and its answer."""

    __slots__ = ("arguments", "do", "method")

    def __init__(self, method: str, do: Callable[[], Any], arguments: tuple[Any, ...]) -> None:
        self.method, self.do, self.arguments = method, do, arguments

    def __await__(self) -> Generator["Pending", Any, Any]:
        return (yield self)


class Pause:
    """A sleep that a coroutine awaits."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator["Pause", Any, Any]:
        return (yield self)


class SimWire(Wire):
    """A process's way to the fakes: hands each call to whoever drives the coroutine."""

    async def call(self, method: str, do: Callable[[], Answer], *arguments: Any) -> Answer:
        answer: Answer = await Pending(method, do, arguments)
        return answer


class SimClock(FakeClock):
    """One machine's clock: ``skew`` seconds beside the true time."""

    def __init__(self, timeline: Timeline, skew: float = 0.0) -> None:
        super().__init__()
        self._timeline = timeline
        self._skew = skew

    def now(self) -> datetime:
        return START + timedelta(seconds=self._timeline.now + self._skew)

    def monotonic(self) -> float:
        return 1000.0 + self._timeline.now

    async def sleep(self, seconds: float) -> None:
        await Pause(seconds)


class Job:
    """A coroutine under way. ``ended`` hears what it raised (None: it returned)."""

    __slots__ = ("_coro", "_ended", "_runs", "_serve")

    def __init__(
        self,
        coro: Coroutine[Any, Any, object],
        serve: "Callable[[Job, Pending | Pause], None]",
        ended: "Callable[[Job, Exception | None], None]",
    ) -> None:
        self._coro, self._serve, self._ended = coro, serve, ended
        self._runs = False

    def send(self, value: Any = None) -> None:
        self._step(self._coro.send, value)

    def throw(self, error: Exception) -> None:
        self._step(self._coro.throw, error)

    def drop(self) -> None:
        """The process that it ran in is dead; killed by its own doing, it ends at its next call."""
        if not self._runs:
            self._coro.close()

    def _step(self, go: Callable[[Any], Any], what: Any) -> None:
        self._runs = True
        try:
            asked = go(what)
        except StopIteration:
            self._ended(self, None)
        except Exception as error:
            self._ended(self, error)
        else:
            self._runs = False
            self._serve(self, asked)
