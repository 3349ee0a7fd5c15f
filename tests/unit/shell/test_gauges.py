"""The gauges: what a scrape shows of objects, clusters and the event loop."""

import asyncio
from typing import Any

import pytest
from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.process import INSTALL, KEY, Process, World, running, until
from tests.unit.shell.wire import run

from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.shell.gauges import LAG_SECONDS, Gauges


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def process(world: World) -> Process:
    return Process(world)


@pytest.fixture
def gauges(process: Process) -> Gauges:
    return Gauges(
        clock=process.clock,
        metrics=process.metrics,
        objects=process.objects,
        clusters=process.clusters,
        permits=process.permits,
        recorder=process.recorder,
        install=INSTALL,
    )


SPEC = {"taskDefinition": "web"}


def put(process: Process, name: str, *, deleted: str | None = None, **status: Any) -> None:
    """An object as the API would show it."""
    body = process.world.kube.create(ObjectKey("default", name), SPEC)
    meta = body["metadata"] | ({"deletionTimestamp": deleted} if deleted else {})
    process.objects.read({**body, "metadata": meta, "status": status})


def condition(kind: str, status: str, reason: str = "Because") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason}


def test_objects_are_counted_by_phase_and_by_condition(process: Process, gauges: Gauges) -> None:
    put(process, "new")
    put(process, "good", phase="Running", conditions=[condition("Ready", "True")])
    bad = [condition("Ready", "False"), condition("Stalled", "True")]
    put(process, "bad", phase="Running", conditions=bad)
    gauges.look()
    assert process.value("fractal_containers", phase="Running") == 2
    assert process.value("fractal_containers", phase="Failed") == 0
    counted = {
        (kind, status): process.value("fractal_container_conditions", type=kind, status=status)
        for kind, status in [("Ready", "True"), ("Ready", "False"), ("Stalled", "True")]
    }
    assert counted == {("Ready", "True"): 1, ("Ready", "False"): 1, ("Stalled", "True"): 1}


def test_the_oldest_deletion_is_dated_and_stuck_ones_are_counted(
    process: Process, gauges: Gauges
) -> None:
    gauges.look()
    assert process.value("fractal_oldest_deletion_seconds") == 0
    began = process.clock.now().isoformat()
    put(process, "going", deleted=began)
    process.clock.advance(100)
    stuck = [condition("Stalled", "True", "DeletionStuck"), condition("Ready", "False")]
    put(process, "stuck", deleted=process.clock.now().isoformat(), conditions=stuck)
    process.clock.advance(20)
    gauges.look()
    assert process.value("fractal_oldest_deletion_seconds") == 120
    assert process.value("fractal_stuck_deletions") == 1


def test_the_age_of_a_sweep_is_that_of_the_cluster_that_waits_longest(
    process: Process, gauges: Gauges
) -> None:
    def age() -> float | None:
        gauges.look()
        return process.value("fractal_sweep_age_seconds")

    assert age() == 0
    process.clock.advance(30)
    assert age() == 30  # never swept: since it is known
    assert run(process.observer.sweep(process.main()))
    process.clock.advance(10)
    assert age() == 10
    process.wire.fail("list_tasks", Unavailable("down"))
    assert not run(process.observer.sweep(process.main()))
    assert age() == 10  # a sweep that failed is none
    other = process.clusters.of("eu-central-1", "nowhere", held=True)
    process.clock.advance(5)
    assert age() == 15
    other.known = True  # and ECS says that there is no such cluster: its objects are told
    process.clock.advance(1)
    assert age() == 16
    process.main().info = None  # and so it is with the operator's own by now
    assert age() == 0


def test_a_region_that_was_mistyped_alarms_nobody_unless_a_task_may_be_there(
    process: Process, gauges: Gauges
) -> None:
    def age() -> float | None:
        gauges.look()
        return process.value("fractal_sweep_age_seconds")

    assert run(process.observer.sweep(process.main()))
    mistyped = process.clusters.of("us-eats-1", "apps")
    gauges.look()
    process.wire.fail("describe_cluster", Unavailable("no such host"))
    assert not run(process.observer.sweep(mistyped))
    process.clock.advance(700)
    assert run(process.observer.sweep(process.main()))
    assert age() == 0
    process.clusters.of("us-eats-1", "apps", held=True)  # an attempt names it
    assert age() == 700


def test_paused_clusters_and_waiting_launches_are_counted(process: Process, gauges: Gauges) -> None:
    process.world.kube.create(KEY, SPEC)
    process.world.ecs.permits["RunTask"] = 0
    run(process.start())
    run(process.settle())
    process.main().paused = "too many tasks vanished"
    gauges.look()
    line = {"region": REGION, "operation": "RunTask"}
    assert process.value("fractal_permits_waiting", **line) == 1
    assert process.value("fractal_launches_paused") == 1
    process.main().paused = ""
    process.world.ecs.permits.clear()
    until(process, running)
    gauges.look()
    assert process.value("fractal_permits_waiting", **line) is None
    assert process.value("fractal_launches_paused") == 0


def test_the_loops_lag_is_by_how_much_a_sleep_ends_late(process: Process, gauges: Gauges) -> None:
    async def measured() -> None:
        loop = asyncio.create_task(gauges.loop_lag())
        for late in (0.0, 2.0):
            await asyncio.sleep(0)
            process.clock.advance(LAG_SECONDS + late)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.cancel()

    asyncio.run(measured())
    assert process.value("fractal_event_loop_lag_seconds_count") == 2
    assert process.value("fractal_event_loop_lag_seconds_sum") == pytest.approx(2.0)
