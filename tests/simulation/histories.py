"""Short histories: what a user does, and which calls are struck, as a value that can be pasted.

A history is chosen by a Chooser: by chance for volume, by Hypothesis for counter-examples, which it
then makes as small as it can. The run of a history is a run of the same World as any seed's.

    python -m tests.simulation.histories [--examples N]     the smallest history that fails, if any
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, Protocol, TypeVar

from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from tests.simulation.faults import CALL_FAULTS, CALM
from tests.simulation.invariants import Violation, require
from tests.simulation.runs import calm, quiet, told
from tests.simulation.users import Users
from tests.simulation.world import World

T = TypeVar("T")

ACTS = (
    "delete",
    "replace",
    "crash",
    "suspend",
    "resume",
    "restart",
    "surge",
    "recreate",
    "move",
    "retain",
    "force",
)
"""What may happen to an object; ``crash``: its running task dies."""
STRUCK = ("write_status", "run_task", "set_finalizers", "stop_task", "get", "list", "write")
"""The calls that a history strikes: those that change the world, and the reads they hang on."""
MOST_ACTS, MOST_STRIKES, MOST_NTH, MOST_PAUSE = 4, 3, 8, 200


@dataclass(frozen=True)
class History:
    """``acts``: (seconds after the one before, what); the object is created at the beginning.
    ``strikes``: (call, which of its kind from 1, kind of fault). The rest as in faults.Chaos."""

    acts: tuple[tuple[int, str], ...] = ()
    strikes: tuple[tuple[str, int, str], ...] = ()
    operators: int = 1
    visible_after: float = 0.0
    watch_delay: float = 0.05
    events: bool = False


class Chooser(Protocol):
    """Whoever decides what a history is made of; the plainest choice comes first."""

    def number(self, least: int, most: int) -> int: ...
    def one_of(self, options: Sequence[T]) -> T: ...


class Chance:
    """Choices from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def number(self, least: int, most: int) -> int:
        return self._rng.randint(least, most)

    def one_of(self, options: Sequence[T]) -> T:
        return self._rng.choice(options)


class Drawn:
    """Hypothesis' choices: it shrinks to the least number and the first option."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def number(self, least: int, most: int) -> int:
        return int(self._draw(st.integers(least, most)))

    def one_of(self, options: Sequence[T]) -> T:
        chosen: T = self._draw(st.sampled_from(options))
        return chosen


def chosen(by: Chooser) -> History:
    """One history."""
    acts = [(by.number(0, MOST_PAUSE), by.one_of(ACTS)) for _ in range(by.number(0, MOST_ACTS))]
    kinds = tuple(CALL_FAULTS)
    strikes = [
        (by.one_of(STRUCK), by.number(1, MOST_NTH), by.one_of(kinds))
        for _ in range(by.number(0, MOST_STRIKES))
    ]
    return History(
        tuple(acts),
        tuple(strikes),
        operators=by.number(1, 2),
        visible_after=by.one_of((0.0, 30.0, 300.0)),
        watch_delay=by.one_of((0.05, 2.0)),
    )


@st.composite
def histories(draw: Callable[[st.SearchStrategy[Any]], Any]) -> History:
    """Histories for Hypothesis."""
    return chosen(Drawn(draw))


@dataclass(frozen=True)
class Outcome:
    """What a run came to; ``failure`` is "" for a good one."""

    failure: str
    launches: int
    called: tuple[str, ...]
    tail: tuple[str, ...]
    sometimes: frozenset[str]


def run(
    history: History,
    strikes: Mapping[int | tuple[str, int], str] | None = None,
    *,
    launches: int | None = None,
    chance: int = 0,
    keep: int = 30,
) -> Outcome:
    """Play a history. ``strikes`` are further ones, by number of call; ``launches`` is how many it
    has to come to, and ``chance`` the seed of what neither names (pauses of the servers)."""
    chaos = replace(
        CALM,
        stop_seconds=5.0,
        operators=history.operators,
        election=history.operators > 1,
        visible_after=history.visible_after,
        watch_delay=history.watch_delay,
        events=history.events,
    )
    plan: dict[int | tuple[str, int], str] = dict(strikes or {})
    plan.update({(name, nth): kind for name, nth, kind in history.strikes})
    world = World(Random(chance), chaos, plan, keep=keep)
    users = Users(world)
    world.boot()
    when = 5.0
    for pause, act in ((0, "create"), *history.acts):
        when += pause
        world.timeline.at(when, partial(_do, world, users, act))
    failure = ""
    called: tuple[str, ...] | None = None
    try:
        with quiet():
            world.timeline.run(when + 120)
            called = tuple(world.called)
            calm(world, users, last_words=100, silent=200)
        made = len(world.ecs.launches)
        require(launches in (None, made), f"L6: {made} launches instead of {launches}")
    except Violation as violation:
        failure = str(violation)
    if called is None:
        called = tuple(world.called)
    tail = tuple(told(*each) for each in world.trace)
    sometimes = frozenset(world.notes.sometimes)
    return Outcome(failure, len(world.ecs.launches), called, tail, sometimes)


def _do(world: World, users: Users, act: str) -> None:
    key = users.keys[0]
    if act == "crash":
        for arn, task in world.ecs.tasks.items():
            if task.live and task.desired_status == "RUNNING":
                world.ecs.die(arn, 1)
    elif act == "create" and key not in world.kube.objects:
        users.act(key)
    elif key in world.kube.objects and act != "create":
        users.do(act, key)


def smallest(examples: int) -> History | None:
    """The smallest history found that fails; None if none of so many ``examples`` does."""
    how = settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    try:
        return find(histories(), lambda history: bool(run(history).failure), settings=how)
    except NoSuchExample:
        return None


def regression(history: History) -> str:
    """A test to be pasted into test_found.py."""
    return (
        "def test_what_this_history_shows() -> None:\n"
        f"    outcome = run({history!r})\n"
        "    assert not outcome.failure, outcome\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="the smallest history that fails")
    parser.add_argument("--examples", type=int, default=300)
    history = smallest(parser.parse_args().examples)
    if history is None:
        print("no history fails")
        return 0
    outcome = run(history)
    print(f"{outcome.failure}\n\n{regression(history)}")
    for line in outcome.tail:
        print("# " + line)
    return 1


if __name__ == "__main__":
    sys.exit(main())
