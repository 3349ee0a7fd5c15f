"""The reaper on the fakes: what it asks, what it stops, and how failures are borne."""

import asyncio

import pytest
from tests.unit.shell.ecs_world import MAIN, OTHER, REGION
from tests.unit.shell.process import INSTALL, KEY, Process, World, running, until
from tests.unit.shell.wire import run

from fractal_models.errors import AccessDenied, Gone, Unavailable
from fractal_models.kube import ObjectKey
from fractal_models.observed import TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.orphans import MIN_AGE, Reaping
from fractal_operator.metrics import ORPHANED
from fractal_operator.shell.reap import PERIOD_SECONDS, Reaper

SPEC = {"taskDefinition": "web"}
GONE = "4a1f0c7e-0000-4000-8000-00000000gone"


@pytest.fixture
def world() -> World:
    made = World()
    made.kube.create(KEY, SPEC)
    return made


@pytest.fixture
def process(world: World) -> Process:
    made = Process(world)
    run(made.start())
    until(made, running)
    made.wire.calls.clear()
    return made


def orphan(world: World, name: str = "orphan", cluster: str = MAIN, **tags: str) -> TaskArn:
    """A task of an object that is gone, an hour old."""
    started_by = tokens.started_by(INSTALL, f"{GONE}-{name}", 1)
    arn = world.ecs.put(name, started_by, cluster)
    own = tokens.owner_tags(INSTALL, "default", name, f"{GONE}-{name}")
    world.ecs.tags[arn] = own | {f"fractal.co/{key}": value for key, value in tags.items()}
    return arn


def sweep(process: Process) -> None:
    for cluster in process.clusters.all():
        assert run(process.observer.sweep(cluster))


def rounds(process: Process, count: int = 2, reaper: Reaper | None = None) -> None:
    """So many rounds of the reaper, as far apart as its loop makes them."""
    for _ in range(count):
        process.clock.advance(PERIOD_SECONDS)
        sweep(process)
        run((reaper or process.shell.reaper).round())


def stops(process: Process) -> list[TaskArn]:
    return [arn for arn, _ in process.wire.of("stop_task")]


def orphans(process: Process, kind: str = "task") -> float | None:
    return process.value("fractal_orphans", kind=kind)


def held(process: Process) -> bool:
    return process.value("fractal_reaper_held") == 1


def test_a_world_without_orphans_costs_one_list(process: Process) -> None:
    sweep(process)
    process.wire.calls.clear()
    run(process.shell.reaper.round())
    assert [call.method for call in process.wire.calls] == ["list"]


def test_the_task_of_an_object_deleted_by_force_is_stopped(world: World, process: Process) -> None:
    world.kube.create(ObjectKey("default", "two"), SPEC)
    until(process, lambda world: running(world, ObjectKey("default", "two")))
    (left,) = world.ecs.live(world.kube.objects[KEY]["metadata"]["uid"])
    world.kube.force_delete(KEY)
    run(process.settle())
    rounds(process, 1)
    assert orphans(process) == 1
    assert stops(process) == []
    rounds(process, 1)
    assert process.wire.of("stop_task") == [(left, f"its FractalContainer {KEY} is gone")]
    assert process.value("fractal_stops_total", reason=ORPHANED) == 1
    assert orphans(process) == 1, "until it has stopped"
    world.ecs.settle()
    rounds(process)
    assert orphans(process) == 0
    assert len(stops(process)) == 1
    assert len(world.ecs.live()) == 1, "the other one runs on"


def test_an_orphan_is_young_for_ten_minutes(world: World, process: Process) -> None:
    arn = orphan(world)
    world.ecs.change(arn, created_at=process.clock.now())
    rounds(process, 10)
    assert stops(process) == [arn]
    (told,) = [call for call in process.wire.calls if call.method == "stop_task"]
    listed = [call.method for call in process.wire.calls[: process.wire.calls.index(told)]]
    assert listed.count("list") * PERIOD_SECONDS >= MIN_AGE.total_seconds()


def test_what_a_list_leaves_out_is_not_stopped_where_it_may_not_be_read(
    world: World, process: Process
) -> None:
    unlisted = ObjectKey("shut", "two")
    world.kube.create(unlisted, SPEC)
    until(process, lambda world: running(world, unlisted))
    world.kube.refused = {"shut"}
    other = orphan(world)
    rounds(process, 3)
    assert stops(process) == [other]
    assert len(world.ecs.live(world.kube.objects[unlisted]["metadata"]["uid"])) == 1


def test_an_object_of_a_stale_list_is_read_before_its_task_is_stopped(
    world: World, process: Process
) -> None:
    world.kube.create(ObjectKey("default", "two"), SPEC)
    until(process, lambda world: running(world, ObjectKey("default", "two")))
    process.clock.advance(MIN_AGE.total_seconds())
    others = [world.kube.objects[ObjectKey("default", "two")]]
    for _ in range(3):
        world.kube.stale_list = others
        rounds(process, 1)
    assert orphans(process) == 1
    assert process.wire.of("get") == [(KEY,), (KEY,)]
    assert stops(process) == []


def test_a_namesake_does_not_stand_for_the_task(world: World, process: Process) -> None:
    left = orphan(world, KEY.name)
    rounds(process)
    assert process.wire.of("get") == [(KEY,)]
    assert stops(process) == [left]


def test_a_task_that_has_stopped_since_the_sweep_is_none(world: World, process: Process) -> None:
    arn = orphan(world)
    sweep(process)
    world.ecs.end(arn)
    run(process.shell.reaper.round())
    assert orphans(process) == 0
    assert not process.tasks.lives(arn)


def test_a_task_that_ecs_has_forgotten_is_none(world: World, process: Process) -> None:
    arn = orphan(world)
    sweep(process)
    del world.ecs.tasks[arn]
    run(process.shell.reaper.round())
    assert orphans(process) == 0
    assert process.tasks.ours() != []
    assert arn not in [task.arn for task in process.tasks.ours()]


@pytest.mark.parametrize(
    ("kind", "tags"),
    [
        ("retained", {"retained": "true"}),
        ("unproven", {"install": "other"}),
        ("unproven", {"namespace": ""}),
    ],
)
def test_what_is_not_proven_is_told_and_left(
    world: World, process: Process, kind: str, tags: dict[str, str]
) -> None:
    orphan(world, **tags)
    rounds(process, 5)
    assert (orphans(process, kind), orphans(process)) == (1, 0)
    assert stops(process) == []


def test_an_adopted_task_is_told_and_left(world: World, process: Process) -> None:
    arn = orphan(world)
    world.ecs.change(arn, started_by="deploy-tool")
    rounds(process, 5)
    assert orphans(process, "unproven") == 1
    assert stops(process) == []


def test_other_installations_and_strangers_are_not_even_told(
    world: World, process: Process
) -> None:
    world.ecs.put("theirs", tokens.started_by("other", GONE, 1))
    world.ecs.put("nobodys", "deploy-tool")
    rounds(process, 5)
    assert sum(orphans(process, kind) or 0 for kind in ("task", "unproven", "retained")) == 0
    assert stops(process) == []


def made(
    process: Process, *, stops: bool = True, leads: bool = True, namespaces: tuple[str, ...] = ()
) -> Reaper:
    """Another reaper than that of the process."""
    return Reaper(
        kube=process.kube,
        ecs=process.ecs,
        clock=process.clock,
        tasks=process.tasks,
        clusters=process.clusters,
        reaping=Reaping(INSTALL, namespaces),
        permits=process.permits,
        metrics=process.metrics,
        leads=lambda: leads,
        stops=stops,
    )


def test_tasks_of_namespaces_that_are_not_watched_are_left(world: World, process: Process) -> None:
    orphan(world)
    rounds(process, 5, made(process, namespaces=("team-a",)))
    assert orphans(process, "unwatched") == 1
    assert stops(process) == []


def test_it_can_be_told_only_to_report(
    world: World, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    orphan(world)
    rounds(process, 5, made(process, stops=False))
    assert caplog.text.count("it is left alone: FRACTAL_REAPER is report") == 1
    assert orphans(process) == 1
    assert stops(process) == []


def test_too_many_at_once_are_held_and_fewer_are_not(world: World, process: Process) -> None:
    every = [orphan(world, f"orphan-{number}") for number in range(11)]
    rounds(process, 5)
    assert held(process)
    assert orphans(process) == 11
    assert stops(process) == []
    world.ecs.end(every[0])
    rounds(process, 1)
    assert not held(process)
    assert sorted(stops(process)) == sorted(every[1:])


def test_without_any_object_all_are_held(world: World, process: Process) -> None:
    world.kube.force_delete(KEY)
    run(process.settle())
    process.clock.advance(MIN_AGE.total_seconds())
    rounds(process, 5)
    assert held(process)
    assert len(world.ecs.live()) == 1
    assert stops(process) == []


@pytest.mark.parametrize("error", [Gone("no such resource"), Unavailable("down")])
def test_a_list_that_fails_is_not_an_empty_one(
    world: World, process: Process, error: Exception
) -> None:
    orphan(world)
    rounds(process, 1)
    process.wire.fail("list", error, times=3)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(type(error)):
            rounds(process, 1)
    assert stops(process) == []
    assert orphans(process) == 1, "what was known last"
    rounds(process, 1)
    assert len(stops(process)) == 1


def test_one_clusters_silence_holds_up_no_other(world: World, process: Process) -> None:
    process.clusters.of(REGION, "other")
    here, there = orphan(world), orphan(world, "elsewhere", OTHER)
    rounds(process, 1)
    process.clock.advance(PERIOD_SECONDS)
    sweep(process)
    process.wire.fail("describe_tasks", AccessDenied("no", code="AccessDeniedException"))
    run(process.shell.reaper.round())
    assert len(stops(process)) == 1
    rounds(process, 1)
    assert sorted(stops(process)) == sorted([here, there]), "its sighting was not forgotten"


@pytest.mark.parametrize("method", ["get", "stop_task"])
def test_a_stop_that_fails_is_tried_again_and_holds_up_no_other(
    world: World, process: Process, method: str
) -> None:
    first, second = orphan(world, "first"), orphan(world, "second")
    process.wire.fail(method, Unavailable("down"))
    rounds(process)
    assert world.ecs.tasks[first].desired_status == "RUNNING"
    assert world.ecs.tasks[second].desired_status == "STOPPED"
    assert process.value("fractal_stops_total", reason=ORPHANED) == 1
    rounds(process, 1)
    assert world.ecs.tasks[first].desired_status == "STOPPED"


def test_a_task_that_goes_before_it_is_stopped_is_no_trouble(
    world: World, process: Process
) -> None:
    arn = orphan(world)
    rounds(process, 1)
    process.clock.advance(PERIOD_SECONDS)
    seen = process.wire.counts()["get"]

    def vanishes() -> None:
        if process.wire.counts()["get"] > seen:
            world.ecs.tasks.pop(arn, None)

    process.wire.overtaken = vanishes
    run(process.shell.reaper.round())
    assert stops(process) == [arn]


def test_who_does_not_lead_stops_nothing(world: World, process: Process) -> None:
    orphan(world)
    rounds(process, 3, made(process, leads=False))
    assert stops(process) == []


def test_an_object_whose_task_vanished_is_counted(world: World, process: Process) -> None:
    (arn,) = world.ecs.live()
    del world.ecs.tasks[arn]
    rounds(process, 1)
    assert orphans(process, "object") == 1


async def _looks(process: Process, times: int) -> None:
    """Let the loop run until it has listed the objects so often."""
    loop = asyncio.create_task(process.shell.reaper.reap())
    for number in range(times):
        while process.wire.counts()["list"] <= number:
            process.clock.advance(PERIOD_SECONDS)
            await asyncio.sleep(0)
            assert not loop.done()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


def test_the_loop_survives_outages_and_its_own_bugs(
    world: World, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    orphan(world)
    sweep(process)
    process.wire.calls.clear()
    process.wire.fail("list", Unavailable("down"))
    process.wire.fail("list", ZeroDivisionError(), nth=2)  # type: ignore[arg-type]
    asyncio.run(_looks(process, 5))
    assert "tried again later: down" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert len(stops(process)) == 1
