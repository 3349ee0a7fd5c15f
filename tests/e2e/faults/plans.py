"""One run of a workload under one fault, and the verdict on it."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tests.e2e.faults import state
from tests.e2e.faults.parts import Parts, Stage, stage, until
from tests.e2e.faults.wire import Kind, Strike
from tests.e2e.faults.workloads import WORKLOADS, Play
from tests.e2e.lives import most_at_once, served_without_a_gap
from tests.e2e.stack import assert_one_at_a_time

STRUCK: tuple[Kind, ...] = ("kill-before", "kill-after", "answer-lost")
"""What each call that changes anything goes through."""
SILENT = ("run-task-1", "stop-task-1", "patch-status-1")
"""Calls that are, in one more plan each, done and never answered: the operator has to give up."""
NOT_MADE = "the operator never made the call"
STILL = 3.0
"""Seconds that the end has to last: what was not called by then will not be."""
LOOKS = 6
"""So many looks one after the other, a quarter of a second apart, find that nothing was written."""
SETTLED = 240.0
"""Seconds until the end of a run is as that of its reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An undisturbed run: the calls that changed anything, in order, and the state at its end."""

    calls: tuple[str, ...]
    end: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """``workload/call:kind``, as in ``update/patch-status-3:answer-lost``."""

    workload: str
    strike: Strike

    @property
    def name(self) -> str:
        return f"{self.workload}/{self.strike.call}:{self.strike.kind}"


@dataclass(frozen=True, slots=True)
class Result:
    """``wrong`` is empty if all is as in the reference."""

    name: str
    wrong: str
    seconds: float
    launches: int = 0
    stops: int = 0


@dataclass
class Run:
    """A run's results, as far as it has come."""

    launches: int = 0
    stops: int = 0
    end: dict[str, Any] = field(default_factory=dict)


def reference(given: Parts, workload: str) -> Reference:
    """Run a workload without any fault."""
    with _folder() as folder, stage(given, folder) as world:
        play = Play(world)
        world.start()
        WORKLOADS[workload].prepare(play)
        quiet(world)
        assert world.wire is not None
        world.wire.open()
        WORKLOADS[workload].act(play)
        quiet(world)
        end = state.snapshot(world, play.uids)
        assert state.live(end) == WORKLOADS[workload].tasks, end
        _no_duplicates(world, play)
        for uid in play.surges:
            assert most_at_once(world.tasks(uid)) == 2, "a surge without two tasks"
        return Reference(tuple(world.wire.calls), end)


def plans_of(workload: str, calls: tuple[str, ...]) -> list[Plan]:
    """A plan for each call and kind of fault."""
    struck = [Strike(call, kind) for call in calls for kind in STRUCK]
    struck += [Strike(call, "never-answered") for call in calls if call in SILENT]
    return [Plan(workload, each) for each in struck]


def run(given: Parts, plan: Plan, expected: Reference) -> Result:
    """Run one plan."""

    def play(folder: Path, done: Run) -> None:
        _run(given, plan, expected, folder, done)

    result = judged(plan.name, play)
    kind, _, number = plan.strike.call.rpartition("-")
    if NOT_MADE not in result.wrong or number == "1":
        return result
    # Rows are batched and sights merged by time: the last call may have become one with another.
    before = replace(plan, strike=replace(plan.strike, call=f"{kind}-{int(number) - 1}"))
    return replace(run(given, before, expected), name=plan.name)


def judged(name: str, play: Callable[[Path, Run], None]) -> Result:
    """The result of a run: whatever it raises is what is wrong, told with the operators' logs."""
    began, done = time.monotonic(), Run()
    with _folder() as folder:
        try:
            play(folder, done)
        except Exception as error:
            logs = [_tail(each) for each in sorted(folder.glob("*.log"))]
            shown = "\n".join(["".join(traceback.format_exception_only(error)), *logs])
            return Result(name, shown, time.monotonic() - began)
    return Result(name, "", time.monotonic() - began, done.launches, done.stops)


def _tail(log: Path) -> str:
    return "\n".join([f"--- {log.name}", *log.read_text().splitlines()[-40:]])


def _run(given: Parts, plan: Plan, expected: Reference, folder: Path, done: Run) -> None:
    with stage(given, folder) as world:
        wire, play = world.wire, Play(world)
        assert wire is not None
        world.start()
        WORKLOADS[plan.workload].prepare(play)
        quiet(world)
        wire.open(plan.strike)
        WORKLOADS[plan.workload].act(play)
        rests = _rest(world, play, expected, done)
        _wait(lambda: wire.struck.is_set() or rests() > STILL, expected, done)
        assert wire.struck.is_set(), f"{NOT_MADE} {plan.strike.call}: {wire.calls}"
        settle(world, play, expected, done)


def settle(world: Stage, play: Play, expected: Reference, done: Run) -> None:
    """Wait until the end is as that of the reference and stays so; nothing may be too much."""
    rests = _rest(world, play, expected, done)
    _wait(lambda: rests() > STILL, expected, done)
    done.launches = state.summed(done.end, "launches")
    done.stops = state.summed(done.end, "stops")
    _no_duplicates(world, play)
    check(world)


def _wait(look: Callable[[], bool], expected: Reference, done: Run) -> None:
    try:
        until(look, "", SETTLED)
    except AssertionError:
        told = state.difference(expected.end, done.end) or "it never rests"
        raise AssertionError(told) from None


def _rest(world: Stage, play: Play, expected: Reference, done: Run) -> Callable[[], float]:
    """For how many seconds all has been as in the reference's end, and nothing was written."""
    wire = world.wire
    assert wire is not None
    seen, since = -1, 0.0

    def rests() -> float:
        nonlocal seen, since
        done.end = state.snapshot(world, play.uids)
        if wire.changes != seen or state.difference(expected.end, done.end):
            seen, since = wire.changes, time.monotonic()
        return time.monotonic() - since

    return rests


def quiet(world: Stage) -> None:
    """Wait until nothing has been written to any of the servers for a while, nor waits to be.

    The while is counted in looks, for each of which everybody has to answer: whoever stands still
    instead may have something to write yet.
    """
    wire = world.wire
    assert wire is not None
    seen, same = -1, 0

    def still() -> bool:
        nonlocal seen, same
        told = [each.get("/metrics")[1] for each in world.operators]
        state.snapshot(world, {})
        with world.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        written = all("\nfractal_db_outbox_depth 0.0\n" in each for each in told)
        same = same + 1 if written and wire.changes == seen else 0
        seen = wire.changes
        return same == LOOKS

    until(still, "all is written")


def check(world: Stage) -> None:
    """What an operator must not do, whatever befalls it."""
    assert world.proxy.strangers == []
    for operator in world.operators:
        log = operator.logfile.read_text()
        for bad in ("Traceback", "failed unexpectedly", "did not come to rest"):
            assert bad not in log, log[max(log.index(bad) - 500, 0) : log.index(bad) + 3000]


def _no_duplicates(world: Stage, play: Play) -> None:
    """No object ever had two live tasks, but where two were asked for; and no attempt ever two."""
    tasks = world.tasks()
    launched = [each["startedBy"] for each in tasks]
    assert len(set(launched)) == len(launched), launched
    assert_one_at_a_time(x for x in tasks if x["startedBy"].split("/")[2] not in play.surges)
    for uid, asked in play.surges.items():
        ones = world.tasks(uid)
        before = [each for each in ones if float(each["createdAt"]) < asked]
        assert most_at_once(before) == 1, before
        assert most_at_once(ones) <= 2, ones
        assert served_without_a_gap(ones), ones


class _folder:
    """A directory for a run, gone with it."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="fractal-fault-"))
        return self._path

    def __exit__(self, *_: object) -> Literal[False]:
        shutil.rmtree(self._path, ignore_errors=True)
        return False
