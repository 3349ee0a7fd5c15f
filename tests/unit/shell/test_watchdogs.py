"""What stands still is told, and ends the process if it lasts; what is only slow does not."""

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.shell.process import KEY, World, running
from tests.unit.shell.test_run import OTHER, SPEC, Failing, Live, run, started
from tests.unit.shell.wire import FakeClock

from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.shell.hearing import SILENT_SECONDS
from fractal_operator.shell.reconcile import Reconciler, Rest
from fractal_operator.shell.watchdogs import (
    GRACE_SECONDS,
    QUEUE_SECONDS,
    SWEEP_SECONDS,
    WORKER_SECONDS,
    Standstill,
)


class Stuck(Failing):
    """A reconciler whose call for one object never returns."""

    def __init__(self, inner: Reconciler) -> None:
        super().__init__(inner, Unavailable("never"))

    async def reconcile(self, key: ObjectKey) -> Rest:
        if key == OTHER:
            await asyncio.get_running_loop().create_future()
        return await self._inner.reconcile(key)


class Asleep(FakeClock):
    """A clock whose sleeps never end."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.fixture
def world() -> World:
    return World()


async def ends(process: Live, task: "asyncio.Task[None]", limit: float, passing: float) -> str:
    """Let the process stand still until it ends; why it does."""
    began = process.clock.monotonic()
    told: list[str] = []
    at: list[float] = []

    def over() -> bool:
        faults = process.health.not_alive()
        if faults and not task.done():
            told.extend(faults)
            at.append(process.clock.monotonic() - began)
        return task.done()

    await process.until(over, passing=passing)
    assert limit - passing <= at[0] < limit + 5 * passing
    assert at[-1] - at[0] >= GRACE_SECONDS - passing, "there was time to tell it"
    with pytest.raises(Standstill) as raised:
        await task
    cause = str(raised.value)
    told_before = {each.partition(" for ")[0] for each in told}
    assert cause.partition(" for ")[0] in told_before, "what /healthz said is what it ends for"
    return cause


def gauge(process: Live, name: str, watchdog: str) -> float:
    found = process.value(f"fractal_watchdog_{name}", watchdog=watchdog)
    assert found is not None
    return found


def test_a_reconcile_that_never_ends_is_named_and_ends_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_operator.shell.workers.DRAIN_SECONDS", 0.05)

    async def stuck() -> None:
        process = Live(world, workers=2)
        process.shell.workers._reconciler = Stuck(process.reconciler)  # type: ignore[assignment]
        world.kube.create(OTHER, SPEC)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))  # the others go on meanwhile
            cause = await ends(process, task, WORKER_SECONDS, 10)
            assert cause.startswith("the reconcile of default/two has not ended for 6")
            assert cause.endswith(" s; the limit is 600 s")
            assert gauge(process, "seconds", "worker") > gauge(process, "limit_seconds", "worker")

    run(stuck())


def test_a_look_at_ecs_that_never_ends_is_named_and_ends_the_process(world: World) -> None:
    async def stuck() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))
            process.wire.silent = "main"
            cause = await ends(process, task, SWEEP_SECONDS, 10)
            assert cause.startswith("the look at ECS cluster main in us-east-1 has not ended for 9")

    run(stuck())


def test_a_key_that_nobody_takes_ends_the_process(world: World) -> None:
    async def stuck() -> None:
        process = Live(world)
        async with started(process) as task:
            process.queue.take = lambda: None  # type: ignore[method-assign]
            process.queue.add(KEY)
            cause = await ends(process, task, QUEUE_SECONDS, 2)
            assert cause.startswith("default/one is ready and a worker is free, but nobody has")

    run(stuck())


def test_a_loop_that_does_not_come_round_ends_the_process(world: World) -> None:
    async def stuck() -> None:
        process = Live(world)
        async with started(process) as task:
            process.shell.sweeps._clock = Asleep()
            cause = await ends(process, task, 60, 2)
            assert cause.startswith("the loop of the sweeps has not come round for 9")

    run(stuck())


def test_a_deaf_watch_ends_the_process(world: World) -> None:
    async def deaf() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))
            process.watching = False
            world.kube.create(OTHER, SPEC)
            process.clock.advance(600)  # the next list
            await process.until(lambda: running(world, OTHER))  # which repairs what was missed
            cause = await ends(process, task, SILENT_SECONDS, 5)
            assert cause.startswith("the watch has not told of version ")
            assert " of default/" in cause

    run(deaf())


@pytest.mark.parametrize("method", ["list_tasks", "describe_tasks", "run_task"])
def test_an_ecs_that_fails_for_hours_is_no_standstill(world: World, method: str) -> None:
    async def down() -> None:
        process = Live(world)
        process.wire.fail(method, Unavailable("no answer"), times=10_000)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await hours(process, task, lambda: process.wire.counts()[method] > 5)

    run(down())


def test_a_database_that_is_down_for_hours_is_no_standstill(world: World) -> None:
    async def down() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            world.ledger.down = True
            writes = world.ledger_wire.counts()["write"]
            await hours(process, task, lambda: world.ledger_wire.counts()["write"] > writes + 5)

    run(down())


def test_a_database_that_never_answers_is_no_standstill(world: World) -> None:
    async def hangs() -> None:
        process = Live(world)
        async with started(process) as task:
            world.ledger_wire.hang = True
            world.kube.create(KEY, SPEC)
            await hours(process, task, lambda: running(world))

    run(hangs())


def test_an_idle_operator_stands_still_and_nobody_minds(world: World) -> None:
    async def idle() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))
            await hours(process, task, lambda: True)

    run(idle())


async def hours(process: Live, task: "asyncio.Task[None]", done: Callable[[], bool]) -> None:
    """Two of them, in steps shorter than any limit, without a fault; ``done`` in the end."""
    end = process.clock.monotonic() + 7200

    def passed() -> bool:
        assert not task.done()
        assert process.health.not_alive() == []
        return process.clock.monotonic() > end

    await process.until(passed, passing=10)
    assert done()
