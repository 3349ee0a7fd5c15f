"""Permits of the rate limit for RunTask and StopTask, and the lines of objects that wait for one.

Theory of operation. A permit is one token of the call's quota (fractal_helpers.aws.limits), good
for one call in one region. Who asks for one has it at once, if there is one and nobody waits;
otherwise the object stands in line, and its reconcile ends: nothing waits in a thread or a worker.
As tokens come, ``serve`` gives them to the objects whose turn it is, the namespaces in turns
(turns.py), and has those looked at, first of their namespace: behind thousands of others a permit
would lapse. So a thousand launches of one namespace delay another's by a single one, and who waits
costs nothing.

    asks ──none left, or others wait──> in line ──its turn──> granted ──the call──> used
      └──────────────────────────── one is there ───────────────┘  └──30 s──> lapsed

A permit that is not used lapses, and few may be granted at a time: else those that gather while the
Kubernetes API is down would all be used at once when it is back. An object that needs none any more
leaves the line, and passes on what it was granted.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from fractal_operator.core.plan import Permit, Queued
from fractal_operator.ports import Clock, Ecs
from fractal_operator.shell.turns import Turns

GRANTED = 20
"""So many permits of a line may be granted and not used yet."""

LAPSE_SECONDS = 30.0
"""How long a permit is good for: as long as the write of an intent is (core/launch.py)."""

SHORTEST_PAUSE = 0.01


class NoPermit(Exception):
    """None is left now: the object stands in line, and will be looked at when it has one."""


class Waiter(NamedTuple):
    """An object that needs permits; ``uid`` is what it is woken by."""

    namespace: str
    uid: str


def _waiting() -> Turns[Waiter]:
    return Turns(lambda waiter: waiter.namespace)


@dataclass(slots=True)
class _Line:
    """``waiting`` since when, ``granted`` when and whether after a wait; monotonic seconds."""

    waiting: Turns[Waiter] = field(default_factory=_waiting)
    granted: OrderedDict[Waiter, tuple[float, bool]] = field(default_factory=OrderedDict)


class Standing(NamedTuple):
    """How long a line is: how many wait in it, and for how many seconds the longest has."""

    region: str
    permit: Permit
    depth: int
    oldest: float


class Permits:
    """The permits of all regions, for one thread. ``wake(uid)`` has an object looked at;
    ``waited(permit, seconds)`` is told of each that was granted to who stood in line."""

    def __init__(
        self,
        ecs: Ecs,
        clock: Clock,
        wake: Callable[[str], None],
        waited: Callable[[str, float], None],
    ) -> None:
        self._ecs = ecs
        self._clock = clock
        self._wake = wake
        self._waited = waited
        self._lines: dict[tuple[str, Permit], _Line] = {}
        self._news = asyncio.Event()

    def ask(self, region: str, permit: Permit, waiter: Waiter) -> bool:
        """Whether ``waiter`` has a permit; if not, it stands in line from now on. Never waits."""
        line = self._lines.setdefault((region, permit), _Line())
        self._lapse(line)
        if waiter in line.granted:
            return True
        if not line.waiting and not self._ecs.draw(region, permit):
            line.granted[waiter] = self._clock.monotonic(), False
            return True
        line.waiting.add(waiter, self._clock.monotonic())
        self._news.set()
        return False

    def use(self, region: str, permit: Permit, waiter: Waiter) -> bool:
        """Use up the permit of ``waiter`` for a call; whether it stood in line for it.

        Raises NoPermit where it has none.
        """
        if not self.ask(region, permit, waiter):
            raise NoPermit
        _, waited = self._lines[region, permit].granted.pop(waiter)
        self._news.set()
        return waited

    def keep(self, waiter: Waiter, wanted: Collection[tuple[str, Permit]] = ()) -> None:
        """Leave every line but those ``wanted``, and pass on what was granted there."""
        for place, line in list(self._lines.items()):
            if place in wanted:
                continue
            line.waiting.discard(waiter)
            if line.granted.pop(waiter, None) is not None:
                self._give(place[1], line)
            if not line.waiting and not line.granted:
                del self._lines[place]

    def queued(self, waiter: Waiter) -> tuple[Queued, ...]:
        """The lines that ``waiter`` stands in, and since when."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        found = []
        for (region, permit), line in self._lines.items():
            since = line.waiting.get(waiter)
            if since is not None:
                found.append(Queued(region, permit, now - timedelta(seconds=monotonic - since)))
        return tuple(found)

    def standings(self) -> Iterator[Standing]:
        """How long each line is in which anybody stands."""
        now = self._clock.monotonic()
        for (region, permit), line in self._lines.items():
            if line.waiting:
                first = min(since for _, since in line.waiting.heads())
                yield Standing(region, permit, len(line.waiting), now - first)

    async def serve(self) -> None:
        """Grant permits as tokens come: a loop."""
        while True:
            self._news.clear()
            pause = self.grant()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    def grant(self) -> float | None:
        """Grant what there is to those whose turn it is, and have them looked at.

        Returns in how many seconds there may be more to do, None while nobody waits.
        """
        pauses = [
            self._serve(region, permit, line)
            for (region, permit), line in list(self._lines.items())
            if line.waiting
        ]
        shortest = min((pause for pause in pauses if pause is not None), default=None)
        return None if shortest is None else max(shortest, SHORTEST_PAUSE)

    def _serve(self, region: str, permit: Permit, line: _Line) -> float | None:
        self._lapse(line)
        while line.waiting:
            if len(line.granted) >= GRANTED:
                first, _ = next(iter(line.granted.values()))
                return first + LAPSE_SECONDS - self._clock.monotonic()
            pause = self._ecs.draw(region, permit)
            if pause:
                return pause
            self._give(permit, line)
        return None

    def _give(self, permit: Permit, line: _Line) -> None:
        taken = line.waiting.take()
        if taken is not None:
            waiter, since = taken
            now = self._clock.monotonic()
            line.granted[waiter] = now, True
            self._waited(permit, now - since)
            self._wake(waiter.uid)

    def _lapse(self, line: _Line) -> None:
        late = self._clock.monotonic() - LAPSE_SECONDS
        while line.granted and next(iter(line.granted.values()))[0] <= late:
            line.granted.popitem(last=False)
