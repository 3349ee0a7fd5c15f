"""Every call of a reference workload, struck by every kind of fault, one run each.

What chance finds rarely, this finds surely: a crash between two calls that are milliseconds apart.
Besides the invariants, each run has to launch as many tasks as the undisturbed one did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from tests.simulation.faults import CALL_FAULTS, CALM
from tests.simulation.invariants import Violation, require
from tests.simulation.runs import calm, quiet, told
from tests.simulation.users import Users
from tests.simulation.world import WEIGHT, World

ACTS = (
    (5, "create"),
    (120, "replace"),
    (240, "crash"),
    (360, "suspend"),
    (480, "resume"),
    (600, "recreate"),
    (720, "restart"),
    (840, "delete"),
)
"""The workload, by the second; ``crash``: the running task dies."""

END = 960.0


@dataclass(frozen=True)
class Plan:
    """Strike call ``number`` (``name``, from 1) with ``kind``."""

    number: int = 0
    name: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind} at call {self.number} ({self.name})" if self.kind else "no fault"


@dataclass(frozen=True)
class Outcome:
    """What a plan's run came to; ``failure`` is "" for a good one."""

    plan: Plan
    failure: str
    launches: int
    called: tuple[str, ...]
    tail: tuple[str, ...]
    sometimes: frozenset[str]


def run_plan(plan: Plan, launches: int | None = None, *, keep: int = 30) -> Outcome:
    """The workload under one plan; ``launches``: how many it has to come to."""
    chaos = replace(CALM, stop_seconds=5.0)
    faults = {plan.number: plan.kind} if plan.kind else {}
    world = World(Random(plan.number), chaos, faults, keep=keep)
    users = Users(world)
    world.boot()
    for when, act in ACTS:
        world.timeline.at(when, partial(_do, world, users, act))
    failure = ""
    try:
        with quiet():
            world.timeline.run(END)
            called = tuple(world.called)
            calm(world, users, last_words=100, silent=200)
        made = len(world.ecs.launches)
        require(launches in (None, made), f"L6: {made} launches instead of {launches}")
    except Violation as violation:
        called, failure = tuple(world.called), str(violation)
    tail = tuple(told(*each) for each in world.trace)
    return Outcome(
        plan, failure, len(world.ecs.launches), called, tail, frozenset(world.notes.sometimes)
    )


def _do(world: World, users: Users, act: str) -> None:
    key = users.keys[0]
    if act == "crash":
        for arn, task in world.ecs.tasks.items():
            if task.live and task.desired_status == "RUNNING":
                world.ecs.die(arn, 1)
    elif act == "create":
        users.act(key)
    elif key in world.kube.objects:
        users.do(act, key)


def plans(called: tuple[str, ...], *, every: int) -> Iterator[Plan]:
    """The calls of the protocol by every kind, and of the others every ``every``-th."""
    for number, name in enumerate(called, 1):
        if name in WEIGHT or number % every == 0:
            for kind in CALL_FAULTS:
                yield Plan(number, name, kind)
