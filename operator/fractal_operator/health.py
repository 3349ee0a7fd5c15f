"""What the process knows of its own state: what it waits for, and what stands still.

Other parts tell it, the probes and the watchdogs read it. The database is part of neither: with it
down everything else goes on.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

FIRST_LIST = "the first list of FractalContainers"
ELECTION = "the leader election"
FIRST_SWEEP = "the first sweep of ECS tasks"
STEPS = (FIRST_LIST, ELECTION, FIRST_SWEEP)
"""What has to be done before a process is ready."""

BEAT_SECONDS = 60.0
"""For how long a loop that comes round every few seconds may not have."""

Look = Callable[[], tuple[float, str]]
"""For how many seconds something has stood still, 0 when it moves; and what, as a sentence."""


class Standing(NamedTuple):
    """One watchdog's finding; ``seconds`` above ``limit`` are a fault."""

    name: str
    seconds: float
    limit: float
    what: str


class Health:
    """Readiness is a set of named steps, all of which must be done. Liveness is a set of named
    watchdogs, none of which may find that what it watches has stood still beyond its limit.
    ``monotonic`` tells the time in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], *, steps: Iterable[str]) -> None:
        self._monotonic = monotonic
        self._steps = dict.fromkeys(steps, False)
        self._beats: dict[str, float] = {}
        self._watchdogs: dict[str, tuple[float, Look]] = {}

    def set(self, step: str, done: bool = True) -> None:
        """Mark a step of readiness as done, or as to be done again; KeyError for an unknown one."""
        if step not in self._steps:
            raise KeyError(step)
        self._steps[step] = done

    def watch(self, name: str, limit: float, look: Look) -> None:
        """Have ``look`` asked at each probe, and what it finds be a fault from ``limit`` s on."""
        self._watchdogs[name] = (limit, look)

    def beat(self, name: str, limit: float) -> None:
        """Say that the loop ``name`` has come round, and will again within ``limit`` seconds."""
        self._beats[name] = self._monotonic()
        self.watch(name, limit, partial(self._missed, name))

    def _missed(self, name: str) -> tuple[float, str]:
        return self._monotonic() - self._beats[name], f"the loop of the {name} has not come round"

    def not_ready(self) -> list[str]:
        """Return the steps that are not done, in order; empty: ready."""
        return [step for step, done in self._steps.items() if not done]

    def standing(self) -> list[Standing]:
        """Return what every watchdog finds."""
        found = ((name, limit, look()) for name, (limit, look) in self._watchdogs.items())
        return [Standing(name, seconds, limit, what) for name, limit, (seconds, what) in found]

    def not_alive(self) -> list[str]:
        """Return a line for each watchdog that finds a fault; empty: alive."""
        return [
            f"{each.what} for {each.seconds:.0f} s; the limit is {each.limit:.0f} s"
            for each in self.standing()
            if each.seconds > each.limit
        ]
