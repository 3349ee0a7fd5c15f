"""One run from a seed: chaos, then calm, then silence."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from tests.simulation import fresh
from tests.simulation.faults import (
    BROKEN,
    CALL_FAULTS,
    CALM,
    LATEST_BEYOND,
    Chaos,
    swarm,
    with_events,
)
from tests.simulation.invariants import Violation, require
from tests.simulation.liveness import unsettled
from tests.simulation.users import Users
from tests.simulation.world import World

SURGING = 0.4  # the share of runs in which users choose updateStrategy
SURGES_IN_VAIN = 0.5  # of them, those in which most tasks fail to start; else few surges fail
BEYOND = 0.08  # in which launches may land outside the bounds of docs/safety.md
TOLD = 0.5  # the share of runs in which task events come by a queue
POISONED = 0.1  # the share of runs with objects that always make trouble
CHAOS_SECONDS = 720.0
CALM_SECONDS = 3600.0
SILENT_SECONDS = 700.0
LOOK_SECONDS = 20.0
LAST_WORDS_SECONDS = 650.0  # longer than the pause between two resyncs


@dataclass
class Result:
    """How a run went. ``failure`` is "" for a good one."""

    seed: int
    chaos: Chaos
    failure: str = ""
    tail: list[str] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0
    sometimes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    launches: int = 0


class Panics(logging.Handler):
    """S8: an unexpected exception is logged and survived by the product; here it ends the run."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            if BROKEN in record.getMessage():
                return
            told = "".join(traceback.format_exception(record.exc_info[1])[-3:])
            raise Violation(f"S8: {record.getMessage()}: {told}")


@contextmanager
def quiet() -> Iterator[None]:
    """The product's log lines of simulated faults tell nobody anything, and cost time."""
    log = logging.getLogger("fractal_operator")
    before = log.level, log.propagate, log.handlers
    log.level, log.propagate, log.handlers = logging.ERROR, False, [Panics()]
    log.manager._clear_cache()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        log.level, log.propagate, log.handlers = before
        log.manager._clear_cache()  # type: ignore[attr-defined]


def run_seed(seed: int, *, keep: int = 30) -> Result:
    """The run that ``seed`` stands for, today and ever, with these sources."""
    rng = Random(seed)
    # Drawn apart: the other seeds stay the runs that they were.
    surging = Random(f"surge {seed}")
    surge = surging.random() < SURGING
    poison = Random(f"poison {seed}").random() < POISONED
    crowd = Random(f"crowd {seed}").choice((0.0, 0.0, 0.0, 0.97, 0.985))
    beyond = 0.7 if Random(f"beyond {seed}").random() < BEYOND else 0.0
    chaos = replace(swarm(rng), surge=surge, poison=poison, crowd=crowd, beyond=beyond)
    events = Random(f"events {seed}")
    if events.random() < TOLD:
        chaos = with_events(chaos, events)
    if surge and surging.random() < SURGES_IN_VAIN:
        chaos = replace(chaos, dies_starting=0.8)
    if beyond:
        chaos = replace(chaos, rates={**chaos.rates, "late": CALL_FAULTS["late"] * 3})
    return run_chaos(seed, rng, chaos, keep=keep)


def run_chaos(seed: int, rng: Random, chaos: Chaos, *, keep: int = 30) -> Result:
    """A run under given faults; ``seed`` is its name, ``rng`` all its chance."""
    world = World(rng, chaos, keep=keep)
    result = Result(seed, chaos)
    try:
        with quiet():
            _run(world)
    except Violation as violation:
        result.failure = str(violation)
    except Exception as error:
        result.failure = f"the simulation broke: {error!r}"
        if keep != 30:
            raise
    result.tail = [told(*each) for each in world.trace]
    result.calls, result.seconds = world.calls, world.timeline.now
    result.sometimes, result.faults = dict(world.notes.sometimes), dict(world.faults)
    result.launches = len(world.ecs.launches)
    return result


def _run(world: World) -> None:
    users = Users(world)
    for name in world.chaos.outages:
        _schedule_outage(world, name)
    for _ in range(world.chaos.restores):
        when, age = world.rng.uniform(120, CHAOS_SECONDS - 60), world.rng.uniform(5, 300)
        world.timeline.at(when, partial(world.restore, age, bumped=world.rng.random() < 0.5))
    if world.chaos.poisoned_queue and world.queue is not None:
        world.timeline.at(world.rng.uniform(0, CHAOS_SECONDS), world.queue.poison)
    world.boot()
    users.begin()
    world.timeline.run(CHAOS_SECONDS)
    calm(world, users)


def _schedule_outage(world: World, name: str) -> None:
    rng = world.rng
    begin = rng.uniform(0, CHAOS_SECONDS * 0.8)
    length = min(rng.uniform(5, 400), CHAOS_SECONDS - begin - 1)
    if name == "processes" and rng.random() < 0.2:
        length = 5000.0  # longer than ECS remembers a stopped task
    world.timeline.at(begin, partial(_fall, world, name))
    world.timeline.at(begin + length, partial(_rise, world, name))


def _fall(world: World, name: str) -> None:
    world.down.add(name)
    world.log("outage", f"of {name} begins")
    if name == "processes":
        for operator in world.operators:
            if operator is not None:
                world.crash(operator)


def _rise(world: World, name: str) -> None:
    world.down.discard(name)
    world.log("outage", f"of {name} ends")
    world.boot()


def calm(
    world: World,
    users: Users,
    *,
    last_words: float = LAST_WORDS_SECONDS,
    silent: float = SILENT_SECONDS,
) -> None:
    """No more faults: the world has to become what was asked for, and to stay so."""
    if "processes" in world.down:
        world.timeline.run(world.timeline.now + 5000)
    world.down.clear()
    world.plan = {}
    chaos = replace(
        CALM,
        operators=world.chaos.operators,
        election=world.chaos.election,
        skews=world.chaos.skews,
        stop_seconds=world.chaos.stop_seconds,
        visible_after=world.chaos.visible_after,
        events=world.chaos.events,
    )
    world.chaos = world.ecs.chaos = chaos
    world.quotas.crowd = 0.0
    users.rest()
    world.log("world", "faults cease")
    if not chaos.election:
        world.retire()  # of two that both lead only safety is asked
    world.boot()
    if world.began.beyond:  # what is under way has to land first
        world.timeline.run(world.timeline.now + LATEST_BEYOND)
    # After a restore or a wipe numbers come again whose tokens are bound: each may cost 45 minutes,
    # and nothing but the token tells that a number was used where its launch failed.
    again = world.began.restores or world.began.wipe
    deadline = world.timeline.now + CALM_SECONDS * (6 if again else 1)
    while unsettled(world):
        require(world.timeline.now < deadline, f"not settled in time: {unsettled(world)}")
        world.timeline.run(world.timeline.now + LOOK_SECONDS)
    world.log("world", "is settled")
    world.settled = True
    world.timeline.run(world.timeline.now + last_words)
    # A fault that was under way may have ended a process: what the next one learns, it says late.
    while None in world.operators or world.timeline.now < world.started + last_words:
        world.timeline.run(world.timeline.now + LOOK_SECONDS)
    writes = world.writes
    begun = world.timeline.now
    while world.timeline.now < begun + silent:
        world.timeline.run(world.timeline.now + 100)
        why = unsettled(world)
        require(not why, f"L5: it did not stay settled: {why}")
    require(world.writes == writes, f"L5: {world.writes - writes} writes though settled")
    other = fresh.unlike(world)
    require(not other, other)


def told(when: float, who: str, what: str, about: object) -> str:
    """One line of a timeline."""
    if hasattr(about, "arguments"):
        about = _short(about.arguments)
    return f"{when:9.2f}  {who:8} {what}  {about}"


def _short(arguments: tuple[object, ...]) -> str:
    shown = []
    for each in arguments:
        if isinstance(each, dict) and "metadata" in each:
            meta = each["metadata"]
            shown.append(f"{meta['name']}/{meta.get('uid', '')[-3:]}@{meta['resourceVersion']}")
        elif isinstance(each, dict) and "phase" in each:
            attempt, tasks = each.get("attempt") or {}, each.get("tasks") or ()
            of = [f"{t['arn'][-3:]}:{t.get('role')}:{t.get('lastStatus')}" for t in tasks]
            shown.append(f"{each['phase']} #{attempt.get('number')} {of} {each.get('message')}")
        elif isinstance(each, dict) and "startedBy" in each:
            shown.append(str(each["startedBy"]))
        elif isinstance(each, list | tuple) and len(str(each)) > 200:
            shown.append(f"{len(each)} items")
        else:
            shown.append(str(each)[:200])
    return " ".join(shown)
