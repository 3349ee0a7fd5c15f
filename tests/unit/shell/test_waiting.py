"""Objects that wait for their turn, on the fakes: what is written, when, and who is not delayed."""

import pytest
from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.process import KEY, Process, World, running, until
from tests.unit.shell.test_reap import orphan, rounds, stops
from tests.unit.shell.wire import run

from fractal_models.container import Phase
from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey

SPEC = {"taskDefinition": "web"}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def process(world: World) -> Process:
    made = Process(world)
    run(made.start())
    return made


def spend(process: Process, seconds: float, *, step: float = 1.0) -> None:
    end = process.clock.monotonic() + seconds
    while process.clock.monotonic() < end:
        run(process.settle())
        process.clock.advance(step)
        process.world.ecs.settle()
    run(process.settle())


def test_who_has_a_permit_is_looked_at_before_thousands_of_its_namespace(
    world: World, process: Process
) -> None:
    world.ecs.permits["RunTask"] = 0
    world.kube.create(KEY, SPEC)
    spend(process, 10)
    assert waiting(process, "RunTask") == 1
    for number in range(1000):
        key = ObjectKey(KEY.namespace, f"other-{number}")
        process.objects.read(world.kube.create(key, SPEC))
        process.agenda.look(key)
    world.ecs.permits["RunTask"] = 1
    process.permits.grant()
    assert process.queue.take() == KEY


def waiting(process: Process, operation: str) -> int:
    return sum(line.depth for line in process.permits.standings() if line.permit == operation)


def reason(world: World) -> str:
    return next(each.reason for each in world.status().conditions if each.type == "Reconciling")


def test_a_short_wait_for_a_launch_costs_no_write(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 0
    spend(process, 4)
    assert waiting(process, "RunTask") == 1
    assert process.wire.counts()["write_status"] == 0
    world.ecs.permits.clear()
    until(process, running)
    assert process.wire.counts()["write_status"] <= 3


def test_a_long_one_is_written_once_and_goes_with_the_launch(
    world: World, process: Process
) -> None:
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 0
    spend(process, 6)
    assert reason(world) == "RateLimited"
    assert process.wire.counts()["write_status"] == 1
    spend(process, 600, step=10)
    assert process.wire.counts()["write_status"] == 1
    world.ecs.permits.clear()
    until(process, running)
    assert world.status().phase is Phase.RUNNING
    assert waiting(process, "RunTask") == 0


def test_a_deletion_waits_for_its_turn_and_is_not_stuck(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    until(process, running)
    world.ecs.permits["StopTask"] = 0
    world.kube.delete(KEY)
    spend(process, 900, step=10)
    assert reason(world) == "RateLimited"
    assert process.wire.counts()["stop_task"] == 0
    assert waiting(process, "StopTask") == 1
    stalled = next(each for each in world.status().conditions if each.type == "Stalled")
    assert stalled.reason == "NotStalled"
    world.ecs.permits.clear()
    until(process, lambda world: KEY not in world.kube.objects)
    assert process.wire.counts()["stop_task"] == 1
    assert waiting(process, "StopTask") == 0


def test_who_is_deleted_while_it_waits_leaves_the_line(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 0
    spend(process, 10)
    world.kube.delete(KEY)
    until(process, lambda world: KEY not in world.kube.objects)
    assert waiting(process, "RunTask") == 0
    assert world.ecs.launches == []


def test_who_is_suspended_while_it_waits_leaves_the_line(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 0
    spend(process, 10)
    world.kube.edit(KEY, operatingMode="Suspended")
    until(process, lambda world: world.status().phase is Phase.SUSPENDED)
    assert waiting(process, "RunTask") == 0


def test_one_teams_hundred_do_not_delay_anothers_one(world: World, process: Process) -> None:
    world.ecs.permits["RunTask"] = 0
    for number in range(100):
        world.kube.create(ObjectKey("team-a", f"o{number}"), SPEC)
    spend(process, 3)
    lone = ObjectKey("team-b", "lone")
    world.kube.create(lone, SPEC)
    spend(process, 3)
    assert waiting(process, "RunTask") == 101
    world.ecs.permits["RunTask"] = 2
    until(process, lambda world: running(world, lone))
    assert len(world.ecs.launches) == 2


def test_a_permit_is_not_lost_with_a_write_that_fails(world: World, process: Process) -> None:
    """And none is taken for the second try, as long as the first one is good."""
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 1
    process.wire.fail("write_status", Unavailable("down"), times=2)
    until(process, running, within=60)


def test_an_orphan_is_stopped_when_it_is_its_turn(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    until(process, running)
    arn = orphan(world)
    world.ecs.permits["StopTask"] = 1
    rounds(process, 2)
    assert stops(process) == [arn]
    assert world.ecs.permits["StopTask"] == 0
    assert list(process.permits.standings()) == []


def test_an_orphan_that_waits_is_stopped_later(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    until(process, running)
    arn = orphan(world)
    world.ecs.permits["StopTask"] = 0
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        process.clock.advance(seconds)
        if len(slept) == 5:
            world.ecs.permits.clear()
        process.permits.grant()

    process.clock.sleep = sleep  # type: ignore[method-assign]
    rounds(process, 2)
    assert stops(process) == [arn]
    assert len(slept) == 5
    assert process.value("fractal_permit_wait_duration_seconds_count", operation="StopTask") == 1


def test_the_lines_are_told_by_region_and_kind(world: World, process: Process) -> None:
    world.kube.create(KEY, SPEC)
    world.ecs.permits["RunTask"] = 0
    spend(process, 30)
    process.metrics.lines(process.permits.standings())
    line = {"region": REGION, "operation": "RunTask"}
    assert process.value("fractal_permits_waiting", **line) == 1
    assert process.value("fractal_permits_oldest_wait_seconds", **line) == pytest.approx(30, abs=1)
