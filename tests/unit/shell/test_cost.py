"""What objects cost: writes, calls of AWS and steps of Python are counted, never timed.

Whatever looks at all objects takes steps in proportion to their number, and what comes round every
few seconds takes as many whatever their number: nothing grows faster.
"""

import sys
from collections import Counter
from collections.abc import Callable

import pytest
from tests.unit.shell.process import INSTALL, Process, World, running, until
from tests.unit.shell.test_record import APP
from tests.unit.shell.wire import run

from fractal_helpers import bodies
from fractal_models.kube import ObjectKey
from fractal_operator.shell import objects
from fractal_operator.shell.agenda import SLICE, SLICE_SECONDS
from fractal_operator.shell.gauges import Gauges

FEW, MANY = 20, 40
SPEC = {"taskDefinition": "web"}
LINEAR = 2.3
"""How much more steps twice the objects may take; 4 would be the square."""


def keys(count: int) -> list[ObjectKey]:
    return [ObjectKey("default", f"many-{number}") for number in range(count)]


def converged(count: int) -> tuple[World, Process]:
    """So many objects, each with a task that runs, and the process that made them so."""
    world = World()
    process = Process(world)
    for key in keys(count):
        world.kube.create(key, SPEC)
    until(process, lambda it: all(running(it, key) for key in keys(count)))
    run(process.settle())
    run(process.recorder.flush())
    return world, process


def restarted(world: World) -> Process:
    """A new process that has seen all there is, and has nothing left to do."""
    process = Process(world)
    run(process.news._list())
    run(process.settle())
    run(process.recorder.flush())
    process.wire.calls.clear()
    return process


def steps(round_: Callable[[], object]) -> int:
    """How many calls of Python functions a round makes."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        round_()
    finally:
        sys.setprofile(None)
    return counted


def aws(process: Process) -> Counter[str]:
    ports = {"get", "list", "set_finalizers", "write_status", "post_event"}
    return Counter({k: n for k, n in process.wire.counts().items() if k not in ports})


def test_a_life_takes_four_writes_and_one_call_of_aws_of_its_own() -> None:
    found = {}
    for count in (FEW, MANY):
        world, process = converged(count)
        assert world.kube.writes == 4 * count
        found[count] = aws(process)
    more = found[MANY] - found[FEW]
    assert more["run_task"] == MANY - FEW
    assert set(more) <= {"run_task", "resolve_definition", "ensure_definition"}


def test_a_start_with_converged_objects_writes_nothing_and_asks_aws_for_none_of_them() -> None:
    found = {}
    for count in (FEW, MANY):
        world, _ = converged(count)
        writes = world.kube.writes
        process = Process(world)
        run(process.news._list())
        run(process.settle())
        assert world.kube.writes == writes
        found[count] = aws(process)
    assert found[FEW] == found[MANY]


def of_all(process: Process) -> dict[str, Callable[[], object]]:
    """The rounds that look at every object or every task."""

    def listed() -> None:
        run(process.news._list())

    recording = process.shell.recording
    assert recording is not None

    def looked_at() -> None:
        while (key := process.queue.take()) is not None:
            run(process.reconciler.reconcile(key))
            process.queue.done(key)

    return {
        "list": listed,
        "reconcile all": looked_at,
        "sweep": lambda: run(process.observer.sweep(process.main())),
        "hearing": process.shell.hearing.look,
        "reaper": lambda: run(process.shell.reaper.round()),
        "audit": lambda: run(recording._auditor.audit()),
    }


def test_twice_the_objects_take_twice_the_steps() -> None:
    counts: dict[int, dict[str, int]] = {}
    for count in (FEW, MANY):
        process = restarted(converged(count)[0])
        counts[count] = {}
        for name, round_ in of_all(process).items():
            process.wire.calls.clear()
            process.clock.advance(31)
            counts[count][name] = steps(round_)
    grown = {name: counts[MANY][name] / counts[FEW][name] for name in counts[FEW]}
    assert {name: ratio for name, ratio in grown.items() if ratio > LINEAR} == {}


def ring(process: Process) -> Callable[[], object]:
    return lambda: run(process.observer.ring(process.main()))


def test_what_comes_round_every_few_seconds_takes_no_more_steps_for_more_objects() -> None:
    counts: dict[int, dict[str, int]] = {}
    for count in (FEW, MANY):
        process = restarted(converged(count)[0])
        gauges = Gauges(
            clock=process.clock,
            metrics=process.metrics,
            objects=process.objects,
            clusters=process.clusters,
            permits=process.permits,
            recorder=process.recorder,
            install=INSTALL,
        )
        ring(process)()
        counts[count] = {"gauges": steps(gauges.look), "ring": steps(ring(process))}
    assert counts[FEW] == counts[MANY]


def listed_again(process: Process) -> None:
    run(process.news._list())


def database_back(process: Process) -> None:
    process.recorder.offer([APP])
    process.world.ledger.down = True
    assert not run(process.recorder.flush())
    process.world.ledger.down = False
    process.clock.advance(60)
    assert run(process.recorder.flush())


def depths(process: Process) -> list[int]:
    """How many objects are to be looked at at once, until there are none."""
    found: list[int] = []
    while process.queue.next_deadline() is not None:
        found.append(process.queue.depth())
        while (key := process.queue.take()) is not None:
            process.queue.done(key)
        process.clock.advance(SLICE_SECONDS)
    return found


@pytest.mark.parametrize("all_again", [listed_again, database_back])
def test_looks_at_all_objects_again_are_few_at_a_time(
    all_again: Callable[[Process], None],
) -> None:
    """What happens meanwhile waits for those, and not for a look at every object."""
    world, count = World(), 2 * SLICE + 1
    for key in keys(count):
        world.kube.create(key, SPEC)
    process = restarted(world)
    depths(process)
    all_again(process)
    assert depths(process) == [SLICE, SLICE, 1]


def test_what_looks_at_all_objects_decodes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    process = restarted(converged(FEW)[0])
    decoded: list[bytes] = []

    def counted(text: bytes) -> objects.Body:
        decoded.append(text)
        return bodies.unpack(text)

    for body in run(process.kube.list()):
        process.shell.hearing.heard("", body)
    monkeypatch.setattr(objects, "unpack", counted)
    process.shell.hearing.look()
    process.agenda.lead()
    run(process.news._list())
    assert decoded == []
    run(process.reconciler.reconcile(keys(1)[0]))
    assert len(decoded) == 1
