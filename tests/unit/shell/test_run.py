"""The loops together, on an event loop and the fakes; time passes only when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.shell.ecs_world import MAIN
from tests.unit.shell.ecs_world import OTHER as ELSEWHERE
from tests.unit.shell.event_queue import EventQueue, event_of
from tests.unit.shell.process import KEY, Process, World, running

from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.health import ELECTION, FIRST_LIST, FIRST_SWEEP
from fractal_operator.shell.news import RESYNC_SECONDS
from fractal_operator.shell.objects import Known
from fractal_operator.shell.observe import Pace
from fractal_operator.shell.reconcile import Reconciler, Rest
from fractal_operator.shell.recording import AUDIT_SECONDS

SPEC = {"taskDefinition": "web"}
OTHER = ObjectKey("default", "two")


class Live(Process):
    """A process whose loops are the real ones; the watch is played by ``tell`` and ``hear``."""

    watching = True

    def begin(self) -> None:
        self._told = len(self.world.kube.changes)  # what is there already, the first list tells

    def hear(self) -> None:
        """What the watch tells of all that happened since."""
        changes = self.world.kube.changes
        for kind, body in changes[self._told :]:
            self.news.watched(kind, body)
        self._told = len(changes)

    async def until(self, done: Callable[[], bool], *, passing: float = 0.25) -> None:
        """Let time pass in small steps, and ECS move on, until ``done``."""
        for _ in range(2000):
            if done():
                return
            if self.watching:
                self.hear()
            self.world.ecs.settle()
            self.clock.advance(passing)
            self.agenda.news.set()  # the queue is looked at, as real time would have it
            await asyncio.sleep(0.001)
            for _ in range(20):  # on a busy machine that millisecond may be over at once
                await asyncio.sleep(0)
        raise AssertionError(f"not done: {self.world.kube.objects}")

    async def quiet(self) -> None:
        """Let everything that can be done now be done: no call for twenty turns of the loop."""
        still = 0
        while still < 20:
            before = len(self.wire.calls), self.queue.depth()
            await asyncio.sleep(0)
            still = still + 1 if (len(self.wire.calls), self.queue.depth()) == before else 0

    def ready(self) -> bool:
        return not self.health.not_ready()


@asynccontextmanager
async def started(process: Live) -> AsyncIterator["asyncio.Task[None]"]:
    """The runner, past its first list and sweep, stopped in the end."""
    task = asyncio.create_task(process.runner.run())
    try:
        await process.until(lambda: process.ready() or task.done())
        yield task
    finally:
        process.runner.stop.set()
        await asyncio.gather(task, return_exceptions=True)


def run(coro: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coro, 120))


@pytest.fixture
def world() -> World:
    return World()


# --- a life ---


def test_an_object_lives_and_goes_by_the_loops_alone(world: World) -> None:
    async def life() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            world.kube.edit(KEY, dpi=96)
            await process.until(lambda: running(world))
            world.kube.delete(KEY)
            await process.until(lambda: not world.kube.objects)
        assert len(world.ecs.launches) == 2
        assert world.ecs.live() == []
        assert [row.deleted for row in world.ledger.apps.values()] == [True]
        assert list(world.ledger.history.values())[-1].reason == "Deleted"

    run(life())


def test_without_a_database_nothing_is_recorded_audited_or_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def unrecorded() -> None:
        process = Live(world, recorded=False)
        world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            later = process.clock.monotonic() + 2 * AUDIT_SECONDS
            await process.until(lambda: process.clock.monotonic() > later, passing=30)
        assert process.recorder.depth() == 0
        assert process.recorder.lag() == 0.0
        assert process.recorder.written() == {}
        assert process.value("fractal_orphans", kind="row") == 0
        assert process.value("fractal_db_write_duration_seconds_count") == 0

    run(unrecorded())
    assert "database" not in caplog.text
    assert world.ledger.apps == {}


def test_an_end_that_an_event_tells_of_is_in_the_status_within_two_seconds(world: World) -> None:
    async def ended() -> None:
        queue = EventQueue()
        process = Live(world, events=queue, pace=Pace(600.0))
        world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            (first,) = world.ecs.live()
            world.ecs.end(first)
            queue.send(event_of(world.ecs.tasks[first]))
            limit = process.clock.monotonic() + 2
            await process.until(lambda: bool(world.status().last_terminations))
            assert process.clock.monotonic() < limit

    run(ended())


def test_news_that_overtakes_the_answer_to_a_write_harms_nothing(world: World) -> None:
    async def overtaken() -> None:
        process = Live(world)
        process.wire.overtaken = process.hear
        async with started(process):
            world.kube.create(KEY, SPEC)
            await process.until(lambda: running(world))
            await process.quiet()
            assert process.queue.depth() == 0
            world.kube.delete(KEY)
            await process.until(lambda: not world.kube.objects)
            await process.quiet()
            assert len(process.objects) == 0, "the end was told before the answer"
        assert [row.deleted for row in world.ledger.apps.values()] == [True]
        assert len(world.ecs.launches) == 1

    run(overtaken())


def test_ready_is_said_after_the_first_list_and_the_first_sweep(world: World) -> None:
    async def start() -> None:
        process = Live(world)
        process.wire.fail("list", Unavailable("down"))
        process.wire.suspends = False
        assert process.health.not_ready() == [FIRST_LIST, ELECTION, FIRST_SWEEP]
        task = asyncio.create_task(process.runner.run())
        await process.quiet()
        assert process.health.not_ready() == [FIRST_LIST, FIRST_SWEEP]
        await process.until(process.ready)
        assert process.wire.counts()["list"] >= 2  # the first had failed
        process.runner.stop.set()
        await task

    run(start())


# --- the watch ---


def test_echoes_of_our_own_writes_queue_nothing(world: World) -> None:
    async def echoes() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            await process.quiet()
            process.hear()
            depth = process.queue.depth()
            for _, body in list(world.kube.changes):
                process.news.event("MODIFIED", body)
            assert process.queue.depth() == depth == 0
            world.kube.annotate(KEY, note="something")
            process.hear()
            assert process.queue.depth() == 1

    run(echoes())


def test_the_end_of_an_object_is_recorded_once(world: World) -> None:
    async def end() -> None:
        process = Live(world)
        body = world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            world.kube.force_delete(KEY)
            process.hear()
            process.hear()
            assert process.objects.get(KEY) is None
            await process.until(lambda: process.recorder.depth() == 0)
        assert world.ledger.apps[body["metadata"]["uid"]].deleted
        assert len(world.ecs.live()) == 1, "its task is an orphan, for the reaper"

    run(end())


@pytest.mark.parametrize("told", [True, False], ids=["deleted-told", "deleted-missed"])
def test_a_namesake_replaces_its_predecessor(world: World, told: bool) -> None:
    async def replaced() -> None:
        process = Live(world)
        first = world.kube.create(KEY, SPEC)["metadata"]["uid"]
        async with started(process):
            await process.until(lambda: running(world))
            world.kube.force_delete(KEY)
            if not told:
                world.kube.changes.pop()
            second = world.kube.create(KEY, SPEC)["metadata"]["uid"]
            await process.until(lambda: running(world))
            # The end of the first, told late, does not take the second with it.
            process.news.event("DELETED", {"metadata": world_meta(first)})
            assert process.objects.key(second) == KEY
        assert len(world.ecs.launches) == 2
        assert world.ledger.apps[first].deleted
        assert not world.ledger.apps[second].deleted

    run(replaced())


def world_meta(uid: str) -> dict[str, str]:
    return {"namespace": KEY.namespace, "name": KEY.name, "uid": uid, "resourceVersion": "999999"}


def test_late_news_of_a_predecessor_changes_nothing(world: World) -> None:
    async def late() -> None:
        process = Live(world)
        first = world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            process.watching = False
            old = world.kube.edit(KEY, dpi=96)
            world.kube.force_delete(KEY)
            second = world.kube.create(KEY, SPEC)
            process.objects.read(second)  # read before the watch has caught up
            await process.until(lambda: process.recorder.depth() == 0)
            process.news.event("MODIFIED", old)
            process.news.event("DELETED", old)
            assert process.objects.get(KEY) == second
            assert process.recorder.depth() == 0, "nothing is told of the second's end"
        assert first["metadata"]["uid"] != second["metadata"]["uid"]

    run(late())


# --- lists ---


def test_a_resync_finds_what_the_watch_missed(world: World) -> None:
    async def missed() -> None:
        process = Live(world)
        ghost = world.kube.create(OTHER, SPEC)["metadata"]["uid"]
        async with started(process):
            await process.until(lambda: running(world, OTHER))
            process.watching = False
            world.kube.force_delete(OTHER)
            world.kube.create(KEY, SPEC)
            await process.quiet()
            assert process.objects.get(OTHER) is not None
            process.clock.advance(RESYNC_SECONDS)
            await process.until(lambda: running(world))
            assert process.objects.get(OTHER) is None
        assert world.ledger.apps[ghost].deleted

    run(missed())


def test_a_list_that_is_older_than_an_object_does_not_remove_it(world: World) -> None:
    async def raced() -> None:
        process = Live(world)
        uid = world.kube.create(KEY, SPEC)["metadata"]["uid"]
        async with started(process):
            await process.until(lambda: running(world))
            before = process.wire.counts()
            world.kube.stale_list = []
            process.clock.advance(RESYNC_SECONDS)
            await process.until(lambda: process.wire.counts()["list"] > before["list"])
            await process.quiet()
            assert process.objects.key(uid) == KEY
            assert process.wire.counts()["get"] == before["get"] + 1
        assert not world.ledger.apps[uid].deleted

    run(raced())


def test_what_a_list_leaves_out_stays_as_it_is_known_where_it_may_not_be_read(
    world: World,
) -> None:
    shut = [ObjectKey("shut", name) for name in ("one", "two", "three")]

    async def left_out() -> None:
        process = Live(world)
        for key in (*shut, OTHER):
            world.kube.create(key, SPEC)
        async with started(process):
            await process.until(lambda: all(running(world, key) for key in (*shut, OTHER)))
            process.watching = False
            world.kube.refused = {"shut"}
            world.kube.force_delete(OTHER)
            world.kube.create(KEY, SPEC)
            await process.quiet()
            before = len(process.wire.of("get"))
            process.clock.advance(RESYNC_SECONDS)
            await process.until(lambda: running(world) and process.objects.get(OTHER) is None)
            assert all(process.objects.get(key) is not None for key in shut)
            asked = [key for (key,) in process.wire.of("get")[before:]]
            assert sum(key.namespace == "shut" for key in asked) == 1, "one refusal says enough"
        assert all(len(world.ecs.live(uid_at(world, key))) == 1 for key in shut)
        assert not any(world.ledger.apps[uid_at(world, key)].deleted for key in shut)

    run(left_out())


def uid_at(world: World, key: ObjectKey) -> str:
    return str(world.kube.objects[key]["metadata"]["uid"])


def test_the_database_is_audited_against_a_fresh_list(world: World) -> None:
    async def audited() -> None:
        before = Live(world)
        uid = world.kube.create(KEY, SPEC)["metadata"]["uid"]
        async with started(before):
            await before.until(lambda: running(world))
            await before.until(lambda: before.recorder.depth() == 0)
        world.kube.force_delete(KEY)  # while no operator runs
        after = Live(world)
        async with started(after):
            await after.until(lambda: bool(world.ledger.closed), passing=60)
            await after.until(lambda: after.value("fractal_orphans", kind="row") == 1)
        assert world.ledger.closed == [uid]

    run(audited())


def test_an_outage_of_the_database_ends_neither_the_loops_nor_the_audits(world: World) -> None:
    async def outage() -> None:
        world.ledger.down = True
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))
            audits = world.ledger_wire.counts()["live"]
            process.clock.advance(RESYNC_SECONDS)
            await process.until(lambda: world.ledger_wire.counts()["live"] > audits)
            assert not task.done()
            assert process.value("fractal_db_errors_total")
            world.ledger.down = False
            await process.until(lambda: process.recorder.depth() == 0)
        assert [row.state for row in world.ledger.apps.values()] == ["READY"]

    run(outage())


# --- failures ---


class Failing:
    """A reconciler that fails for one key as long as it is told to."""

    def __init__(self, inner: Reconciler, error: Exception) -> None:
        self._inner = inner
        self.error: Exception | None = error
        self.failed = 0

    async def reconcile(self, key: ObjectKey) -> Rest:
        if key == OTHER and self.error is not None:
            self.failed += 1
            raise self.error
        return await self._inner.reconcile(key)

    def clusters(self, known: Known) -> list[tuple[str, str]]:
        return self._inner.clusters(known)


@pytest.mark.parametrize("error", [Unavailable("down"), KeyError("a bug")])
def test_a_reconcile_that_fails_is_tried_again_and_stops_no_other(
    world: World, error: Exception
) -> None:
    async def fails() -> None:
        process = Live(world, workers=1)
        failing = Failing(process.reconciler, error)
        process.shell.workers._reconciler = failing  # type: ignore[assignment]
        world.kube.create(OTHER, SPEC)
        world.kube.create(KEY, SPEC)
        async with started(process):
            await process.until(lambda: running(world))
            await process.until(lambda: failing.failed >= 3, passing=5)
            assert process.queue.failures(OTHER) >= 3
            failing.error = None
            await process.until(lambda: running(world, OTHER), passing=5)
            assert process.queue.failures(OTHER) == 0
        unforeseen = float(failing.failed if isinstance(error, KeyError) else 0)
        label = {"controller": "fractalcontainer"}
        assert process.value("controller_runtime_reconcile_panics_total", **label) == unforeseen
        errors = process.value("controller_runtime_reconcile_errors_total", **label)
        assert errors == failing.failed

    run(fails())


def test_what_is_to_be_looked_at_later_is(world: World) -> None:
    async def later() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        world.kube.create(OTHER, {**SPEC, "operatingMode": "Suspended"})
        async with started(process):
            await process.until(lambda: running(world))
            world.ecs.end(world.ecs.live()[0], code=1)
            await process.observer.sweep(process.main())  # seen at once: the pause comes first
            assert len(world.ecs.launches) == 1

            def again() -> bool:
                # News of another object has the queue looked at, as real time would.
                world.kube.annotate(OTHER, note=str(process.clock.monotonic()))
                return len(world.ecs.launches) == 2

            await process.until(again)
            assert process.wire.counts()["list"] < 4, "no resync helped"

    run(later())


def test_a_cluster_that_does_not_answer_keeps_no_other_waiting(world: World) -> None:
    async def works() -> None:
        process = Live(world)
        world.kube.create(OTHER, {**SPEC, "cluster": "other"})
        async with started(process):
            await process.until(lambda: len(world.ecs.launches) == 1)
            process.wire.silent = ELSEWHERE
            asked = len(process.wire.of("describe_tasks"))
            await process.until(lambda: len(process.wire.of("describe_tasks")) > asked)
            world.kube.create(KEY, SPEC)
            await process.until(lambda: running(world))
            sweeps = process.wire.of("list_tasks").count((MAIN, "", False))
            assert sweeps == 1, "the one before the launch: the rest was seen by the ring"
            assert not running(world, OTHER)
            process.wire.silent = ""
            process.runner.stop.set()

    run(works())


def test_a_loop_that_dies_ends_the_run_with_its_error(world: World) -> None:
    async def dies() -> None:
        process = Live(world)
        process.wire.fail("list", ValueError("a bug"))  # type: ignore[arg-type]
        task = asyncio.create_task(process.runner.run())
        await process.until(task.done)
        with pytest.raises(ValueError, match="a bug"):
            await task

    run(dies())


def test_loops_that_are_cancelled_from_outside_leave_the_cause_to_be_told(world: World) -> None:
    """kopf cancels every task when it gives up; what it gave up for is told by who ran both."""

    async def cancelled() -> None:
        process = Live(world)
        async with started(process) as task:
            await process.until(lambda: process.wire.counts()["list"] > 0)
            loops = [each for each in asyncio.all_tasks() if each.get_name() == "resync"]
            assert len(loops) == 1
            loops[0].cancel()
            await process.until(task.done)
            assert task.exception() is None

    run(cancelled())


# --- the end ---


def test_a_stop_writes_what_waits_for_the_database(world: World) -> None:
    async def stops() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: running(world))
            world.kube.force_delete(KEY)
            process.hear()
            assert process.recorder.depth() > 0
            process.runner.stop.set()
            await task
        assert process.recorder.depth() == 0
        assert [row.deleted for row in world.ledger.apps.values()] == [True]

    run(stops())


def test_a_stop_waits_neither_for_a_call_that_hangs_nor_for_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_operator.shell.workers.DRAIN_SECONDS", 0.05)

    async def stops() -> None:
        process = Live(world)
        process.shell.workers._reconciler = Hanging(process.reconciler)  # type: ignore[assignment]
        world.kube.create(KEY, SPEC)
        async with started(process) as task:
            await process.until(lambda: not process.queue.depth())
            process.actor.vanished(world.kube.objects[KEY])
            process.runner.stop.set()
            world.ledger_wire.hang = True
            await task
        assert process.recorder.depth() == 1

    run(stops())


class Hanging(Failing):
    """A reconciler whose calls are never answered."""

    def __init__(self, inner: Reconciler) -> None:
        super().__init__(inner, Unavailable("never"))

    async def reconcile(self, key: ObjectKey) -> Rest:
        await asyncio.get_running_loop().create_future()
        raise AssertionError
