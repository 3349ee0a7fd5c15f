"""Whole lives of one object through the Reconciler: alone, crashing at every call, and raced."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.unit.shell.ecs_world import MAIN
from tests.unit.shell.process import KEY, Process, World, running, until
from tests.unit.shell.wire import Crash, Wire, run, run_to_call

from fractal_models.container import Phase
from fractal_models.errors import OutcomeUnknown, Throttled, Unavailable
from fractal_operator.core.plan import FINALIZER
from fractal_operator.shell.audit import Auditor
from fractal_operator.shell.objects import Known

SPEC = {"taskDefinition": "web"}


def uid_of_one(world: World) -> str:
    return str(world.kube.objects[KEY]["metadata"]["uid"])


def gone(world: World) -> bool:
    return not world.kube.objects


def suspended(world: World) -> bool:
    return world.status().phase is Phase.SUSPENDED


def attempts(world: World) -> int:
    attempt = world.status().attempt
    return attempt.number if attempt else 0


def spent(
    process: Process, act: Callable[[], object], done: Callable[[World], bool]
) -> Counter[str]:
    """The calls that it takes from ``act`` until ``done``."""
    before = process.wire.counts()
    act()
    until(process, done)
    return process.wire.counts() - before


def writes(calls: Counter[str]) -> dict[str, int]:
    names = ("set_finalizers", "write_status", "run_task", "stop_task")
    return {name: calls[name] for name in names if calls[name]}


def test_a_whole_life_counted() -> None:
    world = World()
    process = Process(world)
    run(process.start())
    create = spent(process, lambda: world.kube.create(KEY, SPEC), running)
    assert writes(create) == {"set_finalizers": 1, "write_status": 3, "run_task": 1}
    assert create["resolve_definition"] == create["addresses"] == 1

    edit = spent(process, lambda: world.kube.edit(KEY, dpi=96), running)
    assert writes(edit) == {"write_status": 4, "stop_task": 1, "run_task": 1}
    assert attempts(world) == 2

    in_place = spent(process, lambda: world.kube.edit(KEY, restartPolicy="Never"), running)
    assert writes(in_place) == {"write_status": 1}

    suspend = spent(
        process,
        lambda: world.kube.edit(KEY, operatingMode="Suspended"),
        suspended,
    )
    assert writes(suspend) == {"write_status": 2, "stop_task": 1}
    assert world.ecs.live() == []

    delete = spent(process, lambda: world.kube.delete(KEY), gone)
    assert writes(delete)["set_finalizers"] == 1
    assert not delete["run_task"]
    assert process.duplicates == []
    assert len(world.ecs.launches) == 2


def test_a_converged_object_costs_no_writes() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    before = process.wire.counts()
    now = process.clock.monotonic()
    until(process, lambda world: world.clock.monotonic() > now + 3600, within=4000)
    calls = process.wire.counts() - before
    assert set(calls) == {"list_tasks", "describe_tasks"}
    assert calls["list_tasks"] == calls["describe_tasks"] <= 121


def test_a_restart_writes_nothing_for_a_converged_object() -> None:
    world = World()
    first = Process(world)
    world.kube.create(KEY, SPEC)
    run(first.start())
    until(first, running)
    second = Process(world)
    run(second.start())
    run(second.settle())
    assert running(world)
    assert set(second.wire.counts()) == {
        "list",
        "account",
        "describe_cluster",
        "list_tasks",
        "describe_tasks",
    }


def test_a_deleted_object_leaves_its_last_rows() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    uid = uid_of_one(world)
    world.kube.delete(KEY)
    until(process, gone)
    run(process.recorder.flush())
    assert world.ledger.apps[uid].deleted
    assert [row.state for row in world.ledger.containers.values()] == ["STOPPED"]
    assert world.ledger.history[f"{uid}-end"].at == max(r.at for r in world.ledger.history.values())


def test_the_last_rows_wait_to_be_written_as_soon_as_the_finalizer_is_gone() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    uid = uid_of_one(world)
    world.kube.delete(KEY)
    run(process.settle())
    world.ecs.settle()
    world.clock.advance(1)  # rings share a quota
    run(process.observer.ring(process.main()))
    run(process.reconciler.reconcile(KEY))
    assert gone(world)
    run(process.recorder.flush())  # before the watch tells of the end
    assert world.ledger.apps[uid].deleted


@dataclass(frozen=True)
class Change:
    """Something that a user does, and how one sees that it is done."""

    name: str
    act: Callable[[World], object]
    done: Callable[[World], bool]
    attempts: int


CHANGES = (
    Change("create", lambda world: world.kube.create(KEY, SPEC), running, 1),
    Change("edit", lambda world: world.kube.edit(KEY, dpi=96), running, 2),
    Change("delete", lambda world: world.kube.delete(KEY), gone, 1),
    Change(
        "suspend",
        lambda world: world.kube.edit(KEY, operatingMode="Suspended"),
        suspended,
        1,
    ),
)


def at_the_change(change: Change, lag: float) -> tuple[World, Process, str]:
    """A world in which the change has just been made, and the process that is to see it."""
    world = World()
    process = Process(world)
    if change.name != "create":
        world.kube.create(KEY, SPEC)
    run(process.start())
    if change.name != "create":
        until(process, running)
        run(process.recorder.flush())
    world.ecs.lag = lag
    change.act(world)
    return world, process, uid_of_one(world)


def check(world: World, uid: str, change: Change) -> None:
    """One launch an attempt, never two live tasks."""
    mine = [owner for owner in world.ecs.launches if uid in owner]
    assert mine == [f"fc/ins/{uid}/{number + 1}" for number in range(len(mine))]
    assert set(world.ecs.most_live.values()) == {1}
    if change.name == "delete":
        assert world.ecs.live() == []
    else:
        assert attempts(world) == len(mine)


@pytest.mark.parametrize("lag", [0.0, 30.0])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_crash_at_any_call_ends_the_same(change: Change, after: bool, lag: float) -> None:
    crashes = 0
    while True:
        world, process, uid = at_the_change(change, lag)
        process.wire.crash_after = after
        process.wire.crash_at = len(process.wire.calls) + crashes + 1
        try:
            until(process, change.done)
        except Crash:
            crashes += 1
        else:
            break
        fresh = Process(world)
        run(fresh.start())
        until(fresh, change.done)
        check(world, uid, change)
        assert len(world.ecs.launches) == change.attempts
        assert fresh.duplicates == []
        audited(fresh, uid)
    assert crashes >= 5


def audited(process: Process, uid: str) -> None:
    """Postgres says as Kubernetes does, if need be after an audit."""
    run(process.recorder.flush())

    told = map(Known.of, process.world.kube.objects.values())
    there = {each.uid: each for each in told}
    clock, lives = process.clock, process.observer.tasks.lives
    ledger, clusters = process.world.ledger, process.clusters
    known = there.get
    run(Auditor(process.kube, ledger, process.recorder, clock, lives, known, clusters).audit())
    if uid in ledger.apps:
        assert (ledger.apps[uid].deleted or uid in ledger.closed) == (uid not in there)
    assert uid in ledger.apps or uid not in there


@pytest.mark.parametrize("lag", [0.0, 20.0])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_two_operators_at_once_never_make_two_tasks(change: Change, lag: float) -> None:
    """One stands still at one of its calls while the other does everything; then it goes on."""
    number = 0
    while True:
        number += 1
        world, first, uid = at_the_change(change, lag)
        first.wire.suspends = True
        work = work_through(first)
        if not run_to_call(work, number):
            break
        second = Process(world, Wire())
        run(second.start())
        until(second, change.done, within=600)
        run(work)
        for process in (first, second, first):
            until(process, change.done, within=600)
        check(world, uid, change)
        assert (first.duplicates, second.duplicates) == ([], [])
    assert number > 5


async def work_through(process: Process) -> None:
    """Twenty rounds of work and time, the first operator's part of the race."""
    for _ in range(20):
        await process.settle()
        process.world.ecs.settle()
        process.clock.advance(process.pause())


def test_a_launch_by_another_process_outlives_the_certainty_of_the_first() -> None:
    """One is throttled and certain of no task; another launches and dies before it can say so."""
    world, first, uid = at_the_change(CHANGES[0], 0.0)
    first.wire.fail("run_task", Throttled("Rate exceeded"), times=1000)
    run(first.settle())
    assert world.ecs.launches == []
    second = Process(world)
    run(second.start())
    second.wire.suspends = True
    work = work_through(second)
    while not world.ecs.launches:
        work.send(None)
    work.close()
    world.kube.delete(KEY)
    until(first, lambda world: KEY not in world.kube.objects, within=600)
    assert world.ecs.live(uid) == []


@pytest.mark.parametrize("lag", [0.0, 300.0])
def test_a_call_that_lands_during_a_deletion_by_another_leaves_no_task(lag: float) -> None:
    world, first, _ = at_the_change(CHANGES[0], lag)
    first.wire.suspends = True
    work = work_through(first)
    while first.wire.next != "run_task":
        work.send(None)
    assert attempts(world) == 1
    world.kube.delete(KEY)
    second = Process(world)
    run(second.start())
    late = world.clock.monotonic() + 40
    until(second, lambda world: world.clock.monotonic() >= late)
    assert KEY in world.kube.objects, "the attempt is being drained"
    assert world.ecs.launches == []
    work.send(None)
    assert len(world.ecs.launches) == 1, "the call has landed"
    work.close()
    until(second, gone)
    assert world.ecs.live() == []


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("after", [False, True], ids=["not-sent", "answer-lost"])
def test_a_launch_whose_answer_is_lost_is_asked_for_again(after: bool, times: int) -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    process.wire.fail("run_task", OutcomeUnknown("no answer"), times=times, after=after)
    until(process, running, within=120)
    assert len(world.ecs.launches) == attempts(world) == 1
    requests = [arguments[0] for arguments in process.wire.of("run_task")]
    assert 2 <= len(requests) <= times + 1
    assert all(request == requests[0] for request in requests)


def test_a_lost_task_is_replaced_once_and_not_found_again() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    world.ecs.tasks.clear()  # without a trace, as after an account's clean-up
    until(process, running, within=900)
    assert [(end.attempt, end.stop_code) for end in world.status().last_terminations] == [
        (1, "Lost")
    ]
    after = world.clock.monotonic() + 1800
    until(process, lambda world: world.clock.monotonic() > after)
    assert running(world)
    assert attempts(world) == len(world.ecs.launches) == 2
    assert process.tasks.vanished(process.main().arn) == []


@pytest.mark.parametrize("inactive", [True, False], ids=["inactive", "unknown"])
def test_a_deletion_ends_when_the_cluster_is_gone(inactive: bool) -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    world.ecs.tasks.clear()
    there = world.ecs.clusters.pop(MAIN)
    if inactive:
        world.ecs.clusters[MAIN] = replace(there, status="INACTIVE")
    world.kube.delete(KEY)
    until(process, gone, within=900)


def test_a_namesake_gets_a_task_of_its_own() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    first = uid_of_one(world)
    world.kube.force_delete(KEY)
    world.kube.create(KEY, SPEC)
    until(process, running)
    assert uid_of_one(world) != first
    assert len(world.ecs.live(first)) == 1, "an orphan is the reaper's, not its namesake's"
    assert len(world.ecs.launches) == 2


@pytest.mark.parametrize("call", ["run_task", "stop_task"])
@pytest.mark.parametrize("replaced", [False, True])
def test_an_object_that_vanishes_during_a_call_is_not_known_again(
    call: str, replaced: bool
) -> None:
    world = World()
    process = Process(world)
    run(process.settle())
    world.kube.create(KEY, SPEC)
    uid = uid_of_one(world)
    if call == "stop_task":
        until(process, running)
        world.kube.delete(KEY)
    process._hear()
    key = process.queue.take()
    assert key == KEY
    process.wire.suspends = True
    looking = process.reconciler.reconcile(key)
    while process.wire.next != call:
        looking.send(None)
    world.kube.force_delete(KEY)
    if replaced:
        world.kube.create(KEY, SPEC)
    process._hear()
    process.wire.suspends = False
    run(looking)
    process.queue.done(key)
    (orphan,) = world.ecs.live(uid)
    del world.ecs.tasks[orphan]  # before anybody saw its end
    later = world.clock.monotonic() + 900
    until(process, lambda world: world.clock.monotonic() > later)
    assert process.tasks.vanished(MAIN) == [], "nobody waits for it"
    assert process.tasks.of(uid) == ()
    assert len(world.kube.objects) == replaced
    assert not replaced or running(world)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_wiped_status_finds_its_task_again(restarted: bool) -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    world.kube.write_status(world.kube.objects[KEY], {})
    if restarted:
        process = Process(world)
        run(process.start())
    until(process, running)
    assert len(world.ecs.launches) == 1


def test_an_object_from_a_backup_waits_for_a_sweep_of_its_own() -> None:
    world = World()
    process = Process(world)
    run(process.start())
    run(process.settle())
    swept = process.main().swept_since
    assert swept is not None
    world.clock.advance(10)
    began = world.clock.monotonic()
    world.kube.create(KEY, SPEC, finalizers=[FINALIZER])
    until(process, running, within=60)
    assert process.main().swept_since != swept
    assert world.clock.monotonic() - began < 20, "before the next sweep was due"


def test_a_database_that_is_down_delays_nothing() -> None:
    world = World()
    world.ledger.down = True
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    uid = uid_of_one(world)
    assert not run(process.recorder.flush())
    world.kube.delete(KEY)
    until(process, gone)
    world.ledger.down = False
    process.clock.advance(60)
    assert run(process.recorder.flush())
    assert world.ledger.apps[uid].deleted
    assert [row.reason for row in world.ledger.history.values()][-1] == "Deleted"


def test_what_stops_without_us_is_launched_again_after_a_pause() -> None:
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    (arn,) = world.ecs.live()
    world.ecs.end(arn, code=1)
    began = world.clock.monotonic()
    until(process, running)
    assert attempts(world) == len(world.ecs.launches) == 2
    assert world.clock.monotonic() - began < 60


def test_an_unreachable_api_server_is_waited_for() -> None:
    world = World()
    process = Process(world)
    run(process.start())
    process.wire.fail("set_finalizers", Unavailable("down"), times=3)
    process.wire.fail("write_status", OutcomeUnknown("no answer"), times=3, after=True)
    world.kube.create(KEY, SPEC)
    until(process, running, within=600)
    assert len(world.ecs.launches) == attempts(world) == 1
