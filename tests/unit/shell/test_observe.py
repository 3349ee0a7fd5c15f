"""Sweeps and the ring: what is asked of ECS, what is concluded, and how failures are borne."""

from collections.abc import Coroutine, Iterator
from itertools import islice
from typing import Any

import pytest
from tests.unit.shell.ecs_world import ACCOUNT, MAIN, OTHER, REGION, task_arn
from tests.unit.shell.process import INSTALL, Process, World
from tests.unit.shell.wire import run

from fractal_models.errors import AccessDenied, Throttled, Unavailable
from fractal_models.observed import Address, ClusterArn, ClusterInfo, TaskArn
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.core.tokens import started_by
from fractal_operator.shell.touches import SLICE_SECONDS, SLICES


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def process(world: World) -> Process:
    return Process(world)


def ours(world: World, number: int = 1, **facts: Any) -> TaskArn:
    """A task of ours: the first attempt of the object ``uid-<number>``."""
    return world.ecs.put(f"our-{number}", started_by(INSTALL, f"uid-{number}", 1), **facts)


def sweep(process: Process) -> bool:
    return run(process.observer.sweep(process.main()))


def methods(process: Process) -> list[str]:
    return [call.method for call in process.wire.calls]


def described(process: Process) -> list[list[TaskArn]]:
    return [list(arns) for _, arns in process.wire.of("describe_tasks")]


# --- the sweep ---


def test_the_first_sweep_also_lists_what_has_stopped(world: World, process: Process) -> None:
    ended = ours(world, last_status="STOPPED", desired_status="STOPPED")
    assert sweep(process)
    assert methods(process) == [
        "account",
        "describe_cluster",
        "list_tasks",
        "list_tasks",
        "describe_tasks",
    ]
    assert [task.arn for task in process.tasks.of("uid-1")] == [ended]
    process.wire.calls.clear()
    assert sweep(process)
    assert methods(process) == ["list_tasks"], "nobody to describe"
    assert process.wire.of("list_tasks") == [(MAIN, "", False)]


def test_a_first_sweep_that_fails_halfway_is_begun_again(world: World, process: Process) -> None:
    ours(world, last_status="STOPPED", desired_status="STOPPED")
    process.wire.fail("describe_tasks", Unavailable("down"))
    assert not sweep(process)
    assert process.main().swept_since is None
    assert sweep(process)
    assert len(process.tasks.of("uid-1")) == 1


def flush_all(process: Process) -> None:
    """Write all touches, which go a slice a minute."""
    for _ in range(SLICES):
        run(process.recorder.flush())
        process.clock.advance(SLICE_SECONDS)


def test_listed_and_known_tasks_are_described_together(world: World, process: Process) -> None:
    listed, claimed = ours(world), task_arn("claimed")
    process.tasks.claim("uid-2", [claimed])
    sweep(process)
    assert described(process) == [sorted([listed, claimed])]
    assert process.tasks.missing_of("uid-2")[claimed].count == 1


def test_a_thousand_tasks_cost_two_calls_of_the_port(world: World, process: Process) -> None:
    for number in range(1000):
        ours(world, number)
    sweep(process)
    process.wire.calls.clear()
    process.clock.advance(30)
    assert sweep(process)
    assert methods(process) == ["list_tasks", "describe_tasks"]
    assert len(described(process)[0]) == 1000
    assert process.recorder.depth() == 0
    seen = process.clock.now()
    flush_all(process)
    assert len(world.ledger.touched) == 1000
    assert set(world.ledger.touched.values()) == {seen}


def test_foreign_tasks_are_described_once(world: World, process: Process) -> None:
    world.ecs.put("theirs", "a-service")
    world.ecs.put("other-install", started_by("other", "uid-1", 1))
    mine = ours(world)
    sweep(process)
    sweep(process)
    assert described(process)[1] == [mine]
    assert mine in [task.arn for task in process.tasks.of("uid-1")]
    late = world.ecs.put("late", "a-service")
    sweep(process)
    assert described(process)[2] == sorted([late, mine])
    world.ecs.end(late)
    sweep(process)
    assert late not in process.main().foreign, "nothing is kept of what is gone"
    flush_all(process)
    assert list(world.ledger.touched) == [mine]


def test_a_claimed_task_is_described_though_it_is_foreign(world: World, process: Process) -> None:
    theirs = world.ecs.put("theirs", "a-service")
    sweep(process)
    process.tasks.claim("uid-1", [theirs])
    sweep(process)
    assert described(process)[1] == [theirs]
    assert [task.arn for task in process.tasks.of("uid-1")] == [theirs]


def test_who_waits_for_a_sweep_is_woken_even_if_it_failed(process: Process) -> None:
    process.observer.request_sweep(process.main(), "uid-1")
    process.wire.fail("list_tasks", Unavailable("down"))
    assert not sweep(process)
    assert process.woken == ["uid-1"]
    process.woken.clear()
    assert sweep(process)
    assert process.woken == []


def paused_before(process: Process, method: str) -> Coroutine[Any, Any, bool]:
    """A sweep that stands right before its first call of a method."""
    process.wire.suspends = True
    sweeping = process.observer.sweep(process.main())
    while process.wire.next != method:
        sweeping.send(None)
    return sweeping


def test_a_sweep_shows_how_things_stood_when_it_began(process: Process) -> None:
    began = process.clock.now()
    sweeping = paused_before(process, "list_tasks")
    process.clock.advance(10)
    run(sweeping)
    assert process.main().view().swept_since == began


def test_who_asks_during_a_sweep_gets_one_that_began_afterwards(process: Process) -> None:
    process.wire.suspends = True
    sweeping = process.observer.sweep(process.main())
    sweeping.send(None)
    process.observer.request_sweep(process.main(), "uid-1")
    run(sweeping)
    process.clock.advance(1)
    assert process.observer.due(process.main())


# --- when a sweep is due ---


def due_after(process: Process, seconds: float) -> bool:
    process.clock.advance(seconds)
    return process.observer.due(process.main())


def test_sweeps_come_at_their_period_or_a_second_after_a_request(process: Process) -> None:
    assert process.observer.due(process.main())
    sweep(process)
    assert not due_after(process, 29.5)
    assert due_after(process, 0.5)
    sweep(process)
    process.observer.request_sweep(process.main(), "uid-1")
    assert not process.observer.due(process.main())
    assert due_after(process, 1.0)


def pauses(process: Process) -> Iterator[float]:
    """For how long each failed sweep puts off the next, though one is wanted."""
    while True:
        assert not sweep(process)
        process.observer.request_sweep(process.main(), "uid-1")
        began = process.clock.monotonic()
        while not process.observer.due(process.main()):
            process.clock.advance(0.25)
        yield process.clock.monotonic() - began


def test_failing_sweeps_back_off_and_keep_what_is_known(process: Process) -> None:
    sweep(process)
    since = process.main().swept_since
    process.wire.fail("list_tasks", Throttled("Rate exceeded"), times=9)
    grown = list(islice(pauses(process), 9))
    assert grown[0] <= 2.25
    assert 30 <= grown[-1] <= 60.25
    assert grown[:6] == sorted(grown[:6])
    view = process.main().view()
    assert view.swept_since == since
    assert view.problem is not None
    assert view.problem.kind == "Throttled"
    assert sweep(process)
    assert process.main().view().problem is None
    assert process.main().failures == 0
    assert process.main().swept_since == process.clock.now()


# --- which cluster ---


def test_an_unknown_cluster_is_asked_for_again_and_again_less_often(process: Process) -> None:
    cluster = process.clusters.of(REGION, "nowhere")
    for _ in range(3):
        assert not run(process.observer.sweep(cluster))
    assert (cluster.known, cluster.info, cluster.problem) == (True, None, None)
    assert cluster.view().gone
    assert set(process.wire.counts()) == {"account", "describe_cluster"}
    process.observer.request_sweep(cluster, "uid-1")
    assert not process.observer.due(cluster)
    process.clock.advance(60)
    assert process.observer.due(cluster)


def test_a_cluster_that_appears_is_found(world: World, process: Process) -> None:
    cluster = process.clusters.of(REGION, "late")
    run(process.observer.sweep(cluster))
    arn = ClusterArn(MAIN.replace("main", "late"))
    world.ecs.clusters[arn] = ClusterInfo(arn, "late", "ACTIVE")
    assert run(process.observer.sweep(cluster))
    assert cluster.view().info == world.ecs.clusters[arn]


@pytest.mark.parametrize("inactive", [True, False], ids=["inactive", "unknown"])
def test_a_cluster_deleted_since_is_noticed(world: World, process: Process, inactive: bool) -> None:
    sweep(process)
    if inactive:
        world.ecs.clusters[MAIN] = ClusterInfo(MAIN, "main", "INACTIVE")
    else:
        del world.ecs.clusters[MAIN]
    for _ in range(3):
        sweep(process)
        process.clock.advance(60)
    assert process.main().view().known
    assert process.main().view().gone


def test_a_cluster_that_is_not_active_is_swept_ever_more_rarely(
    world: World, process: Process
) -> None:
    world.ecs.clusters[MAIN] = ClusterInfo(MAIN, "main", "PROVISIONING")
    for _ in range(600):
        process.observer.request_sweep(process.main(), "uid-1")
        if process.observer.due(process.main()):
            assert sweep(process)
        process.clock.advance(1)
    assert process.wire.counts()["describe_cluster"] < 25
    world.ecs.clusters[MAIN] = ClusterInfo(MAIN, "main", "ACTIVE")
    process.clock.advance(60)
    assert process.observer.due(process.main())
    assert sweep(process)
    assert process.main().failures == 0


def test_another_accounts_credentials_do_not_make_a_cluster_gone(process: Process) -> None:
    stranger = MAIN.replace(ACCOUNT, "999999999999")
    cluster = process.clusters.of(REGION, stranger)
    run(process.observer.sweep(cluster))
    assert cluster.known
    assert not cluster.view().gone


def test_without_an_account_no_cluster_is_gone(process: Process) -> None:
    cluster = process.clusters.of(REGION, "nowhere")
    process.wire.fail("account", AccessDenied("no"))
    run(process.observer.sweep(cluster))
    assert not cluster.view().gone
    run(process.observer.sweep(cluster))
    assert cluster.view().gone


def test_a_cluster_named_in_two_ways_is_swept_once(process: Process) -> None:
    by_name, by_arn = process.main(), process.clusters.of(REGION, MAIN)
    process.observer.request_sweep(by_name, "uid-1")
    assert run(process.observer.sweep(by_arn))
    assert run(process.observer.sweep(by_name))
    assert process.main() is process.clusters.of(REGION, MAIN)
    assert list(process.clusters.all()) == [process.main()]
    assert process.main().swept_since == process.clock.now()
    assert process.woken == ["uid-1"]
    assert process.main().account == ACCOUNT


def test_an_account_that_one_name_was_told_serves_the_other(process: Process) -> None:
    process.wire.fail("account", Unavailable("down"))
    run(process.observer.sweep(process.clusters.of(REGION, MAIN)))
    assert process.clusters.of(REGION, MAIN).account == ""
    run(process.observer.sweep(process.main()))
    assert process.clusters.of(REGION, MAIN).account == ACCOUNT


def test_clusters_that_nobody_names_are_dropped(process: Process) -> None:
    main, other = process.main(), process.clusters.of(REGION, "other")
    process.clusters.of(REGION, "third")
    process.clusters.keep([(REGION, "other"), (REGION, "never-seen")])
    assert list(process.clusters.all()) == [main, other], "the operator's own is kept in any case"


def test_clusters_where_tasks_of_ours_may_be_are_not_dropped(process: Process) -> None:
    other = process.clusters.of(REGION, "other")
    sweep(process)
    run(process.observer.sweep(other))
    process.clusters.keep([(REGION, "never-seen")])
    assert list(process.clusters.all()) == [process.main()], "an orphan may be there"


def test_one_clusters_failure_does_not_touch_another(world: World, process: Process) -> None:
    world.ecs.put("elsewhere", started_by(INSTALL, "uid-2", 1), OTHER)
    mine = ours(world)
    other = process.clusters.of(REGION, "other")
    sweep(process)
    run(process.observer.sweep(other))
    process.wire.fail("list_tasks", AccessDenied("no", code="AccessDeniedException"))
    assert not run(process.observer.sweep(other))
    assert sweep(process)
    assert described(process)[-1] == [mine]
    assert other.view().problem is not None
    assert process.main().view().problem is None
    assert process.tasks.missing_of("uid-2") == {}, "not described is not missing"


# --- missing tasks ---


def test_missing_counts_from_the_first_time_and_a_list_resets_it(
    world: World, process: Process
) -> None:
    arn = task_arn("claimed")
    process.tasks.claim("uid-1", [arn])
    first = process.clock.now()
    sweep(process)
    process.clock.advance(30)
    sweep(process)
    absent = process.tasks.missing_of("uid-1")[arn]
    assert (absent.first, absent.last, absent.count) == (first, process.clock.now(), 2)
    world.ecs.put("claimed", "whoever")
    sweep(process)
    assert process.tasks.missing_of("uid-1") == {}


def test_a_task_that_a_list_shows_is_not_missing_though_it_cannot_be_described(
    world: World, process: Process
) -> None:
    arn = ours(world)
    process.tasks.claim("uid-1", [arn])
    sweeping = paused_before(process, "describe_tasks")
    del world.ecs.tasks[arn]
    run(sweeping)
    assert process.wire.counts()["describe_tasks"] == 1
    assert process.tasks.missing_of("uid-1") == {}


def test_the_object_is_woken_once_missing_may_mean_lost(process: Process) -> None:
    process.tasks.claim("uid-1", [task_arn("claimed")])
    sweep(process)
    process.clock.advance(LOST_AFTER.total_seconds() - 1)
    sweep(process)
    assert process.woken == []
    process.clock.advance(1)
    sweep(process)
    assert process.woken == ["uid-1"]


def lose(world: World, process: Process, total: int, lost: int) -> None:
    """``total`` claimed tasks were seen; of these, ``lost`` are no more."""
    arns = [ours(world, number) for number in range(total)]
    for number, arn in enumerate(arns):
        process.tasks.claim(f"uid-{number}", [arn])
    sweep(process)
    for arn in arns[:lost]:
        del world.ecs.tasks[arn]


@pytest.mark.parametrize(
    ("total", "lost", "paused"),
    [(15, 10, False), (15, 11, True), (200, 20, False), (200, 21, True)],
)
def test_suspiciously_many_lost_tasks_pause_launches(
    world: World, process: Process, total: int, lost: int, paused: bool
) -> None:
    lose(world, process, total, lost)
    assert process.main().paused == ""
    sweep(process)
    assert bool(process.main().view().paused) is paused
    assert ("FRACTAL_CONFIRM_MASS_LOSS" in process.main().paused) is paused


def test_the_pause_ends_when_the_tasks_are_back(world: World, process: Process) -> None:
    lose(world, process, 15, 15)
    sweep(process)
    assert process.main().paused
    ours(world, 1), ours(world, 2)
    process.clock.advance(30)
    process.wire.fail("list_tasks", Unavailable("down"))
    sweep(process)
    assert process.main().paused, "a failed sweep proves nothing"
    for number in range(5):
        ours(world, number)
    sweep(process)
    assert not process.main().paused


@pytest.mark.parametrize("name", ["main", MAIN, "other"])
def test_the_operator_can_be_told_that_the_loss_is_real(world: World, name: str) -> None:
    process = Process(world, confirmed_losses=frozenset({name}))
    lose(world, process, 15, 15)
    sweep(process)
    assert bool(process.main().paused) is (name == "other")


# --- the ring ---


def ring(process: Process) -> None:
    run(process.observer.ring(process.main()))


def test_the_ring_describes_only_what_moves(world: World, process: Process) -> None:
    ours(world, 1)
    starting = ours(world, 2, last_status="PENDING")
    ending = ours(world, 3, desired_status="STOPPED")
    ours(world, 4, last_status="STOPPED", desired_status="STOPPED")
    never_seen = task_arn("never-seen")
    process.tasks.claim("uid-5", [never_seen])
    ring(process)
    assert methods(process) == [], "the cluster is not known yet"
    sweep(process)
    process.wire.calls.clear()
    ring(process)
    assert methods(process) == ["describe_tasks"]
    assert sorted(described(process)[0]) == sorted([starting, ending, never_seen])


def test_the_ring_asks_nothing_while_nothing_moves(world: World, process: Process) -> None:
    ours(world)
    sweep(process)
    process.wire.calls.clear()
    ring(process)
    assert methods(process) == []


def test_the_ring_follows_a_task_whose_object_waits(world: World, process: Process) -> None:
    arn = ours(world)
    sweep(process)
    process.tasks.watch_closely("uid-1", True)
    ring(process)
    world.ecs.change(arn, health="HEALTHY")
    ring(process)
    assert process.tasks.of("uid-1")[0].health == "HEALTHY"
    process.tasks.watch_closely("uid-1", False)
    before = len(process.wire.calls)
    ring(process)
    assert len(process.wire.calls) == before


def test_a_ring_that_fails_changes_nothing(world: World, process: Process) -> None:
    ours(world, last_status="PENDING")
    sweep(process)
    before = process.tasks.of("uid-1")
    process.wire.fail("describe_tasks", Unavailable("down"))
    ring(process)
    assert process.tasks.of("uid-1") == before
    assert process.main().view().problem is None


# --- addresses ---


def test_the_address_is_known_before_a_running_task_is_shown(
    world: World, process: Process
) -> None:
    arn = ours(world, last_status="PENDING")
    sweep(process)
    process.tasks.watch_closely("uid-1", True)
    world.ecs.go(arn, "RUNNING")
    process.wire.suspends = True
    ringing = process.observer.ring(process.main())
    ringing.send(None)
    ringing.send(None)
    assert process.wire.next == "addresses"
    assert process.tasks.of("uid-1")[0].last_status == "PENDING"
    run(ringing)
    assert process.tasks.of("uid-1")[0].last_status == "RUNNING"
    assert process.observer.locator.known == {arn: world.ecs.addresses[arn]}
    run(process.observer.ring(process.main()))
    run(process.observer.sweep(process.main()))
    assert process.wire.counts()["addresses"] == 1, "once a task"


def test_nobody_asks_for_addresses_that_nobody_waits_for(world: World, process: Process) -> None:
    ours(world)
    sweep(process)
    assert process.wire.counts()["addresses"] == 0


@pytest.mark.parametrize("fails", [True, False], ids=["error", "not-yet"])
def test_an_address_that_is_not_known_yet_is_asked_for_again(
    world: World, process: Process, fails: bool
) -> None:
    arn = ours(world)
    process.tasks.watch_closely("uid-1", True)
    address = world.ecs.addresses.pop(arn)
    if fails:
        process.wire.fail("addresses", Unavailable("down"))
    assert sweep(process)
    assert process.tasks.of("uid-1")[0].last_status == "RUNNING", "shown all the same"
    world.ecs.addresses[arn] = address
    process.woken.clear()
    ring(process)
    assert process.observer.locator.known == {arn: address}
    assert process.woken == ["uid-1"]


def test_addresses_of_stopped_tasks_are_forgotten(world: World, process: Process) -> None:
    arn = ours(world)
    process.tasks.watch_closely("uid-1", True)
    sweep(process)
    assert isinstance(process.observer.locator.known[arn], Address)
    world.ecs.end(arn)
    sweep(process)
    assert process.observer.locator.known == {}


def test_rings_of_many_clusters_share_the_quota_of_their_region(
    world: World, process: Process
) -> None:
    """Each cluster kept its own pace: thirty with a starting task each took a region's quota."""
    clusters = []
    for number in range(30):
        arn = ClusterArn(f"{MAIN}-{number}")
        world.ecs.clusters[arn] = ClusterInfo(arn, f"main-{number}", "ACTIVE")
        clusters.append(process.clusters.of(REGION, arn))
        origin = started_by(INSTALL, f"uid-{number}", 1)
        world.ecs.put("starts", origin, arn, last_status="PENDING")
        run(process.observer.sweep(clusters[-1]))
    process.wire.calls.clear()
    for _ in range(60):
        process.clock.advance(1)
        for cluster in clusters:
            run(process.observer.ring(cluster))
    asked = [cluster for cluster, _ in process.wire.of("describe_tasks")]
    assert 250 <= len(asked) <= 330, "five calls a second"
    assert {*asked} == {each.arn for each in clusters}
