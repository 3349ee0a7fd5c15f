"""The life of a process: follow, lead, and hand the lead over in the end.

A loop that dies takes the process with it (crash-only): a restart is cheap and always right.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from fractal_operator.health import ELECTION, FIRST_SWEEP, Health
from fractal_operator.shell.agenda import Agenda
from fractal_operator.shell.leader import Leader
from fractal_operator.shell.record import Recorder

Loop = Callable[[], Coroutine[Any, Any, None]]

FLUSH_SECONDS = 5.0
"""How long the last write to the database may take."""


class Runner:
    """All loops of one operator. ``run`` ends when ``stop`` is set, or raises what ended a loop.

    The loops ``following`` run from the start, those ``leading`` as long as this process leads:
    until then nothing is swept, reconciled, written or recorded, and it is ready to. Without a
    ``leader`` it leads from the start.
    """

    def __init__(
        self,
        *,
        agenda: Agenda,
        recorder: Recorder,
        health: Health,
        leader: Leader | None,
        following: Sequence[Loop],
        leading: Sequence[Loop],
    ) -> None:
        self.stop = asyncio.Event()
        self._agenda = agenda
        self._recorder = recorder
        self._health = health
        self._leader = leader
        self._following = following
        self._leading = leading

    def lead(self) -> None:
        """This process leads from now on: sweep, and look at every object."""
        self._health.set(ELECTION)
        self._health.set(FIRST_SWEEP, False)
        self._agenda.lead()

    def follow(self) -> None:
        """Another process leads, so this one is all that it can be: it could take over."""
        self._health.set(ELECTION)
        self._health.set(FIRST_SWEEP)

    async def run(self) -> None:
        """Run until ``stop`` is set."""
        campaign = self._campaign()
        loops = [*campaign, *_started(self._following)]
        stopping = asyncio.create_task(self.stop.wait(), name="stop")
        led = asyncio.create_task(self._agenda.led.wait(), name="led")
        others: list[asyncio.Task[Any]] = [stopping, led]
        await asyncio.wait([*loops, *others], return_when=asyncio.FIRST_COMPLETED)
        if led.done():
            loops += _started(self._leading)
            others += _started([self._leader.announce]) if self._leader is not None else []
        done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        # It goes on leading while its loops end: what is under way may end well.
        await _cancelled(each for each in loops if each not in campaign)
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._recorder.flush()
        await _cancelled([*campaign, *others])
        if self._leader is not None:
            await self._leader.release()
        for each in loops:
            if each in done and not each.cancelled():  # kopf's end cancels all that runs
                each.result()

    def _campaign(self) -> list[asyncio.Task[None]]:
        if self._leader is None:
            self.lead()
            return []
        campaign = self._leader.campaign(self.lead, self.follow)
        return [asyncio.create_task(campaign, name="campaign")]


def _started(loops: Iterable[Loop]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(loop(), name=loop.__name__) for loop in loops]


async def _cancelled(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel tasks, and wait until they have ended."""
    ended = tuple(tasks)
    for each in ended:
        each.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
