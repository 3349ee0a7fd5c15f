"""A deletion that ECS does not confirm: told after five minutes, once, whoever runs meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.shell.ecs_world import MAIN, task_arn
from tests.unit.shell.process import INSTALL, KEY, Process, World, running, until
from tests.unit.shell.test_run import Live, started
from tests.unit.shell.wire import run

from fractal_models.errors import AccessDenied, Unavailable
from fractal_models.kube import KubeEvent
from fractal_operator.core.annotations import ABANDON
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.news import EMPTY_SECONDS

SPEC = {"taskDefinition": "web"}
FIVE_MINUTES = 300
DENIED = "User: op is not authorized to perform: ecs:"

Trouble = Callable[[Process], None]


def dead_agent(process: Process) -> None:
    """ECS takes the stop, and the task stays as it is: nobody is there to end it."""
    ecs = process.world.ecs
    ecs.settle = lambda: None  # type: ignore[method-assign]


def stop_denied(process: Process) -> None:
    error = AccessDenied(f"{DENIED}StopTask", code="AccessDeniedException")
    process.wire.fail("stop_task", error, times=10_000)


def all_denied(process: Process) -> None:
    """From the moment of the deletion on; a process that starts then knows nothing."""
    stop_denied(process)
    for method in ("list_tasks", "describe_tasks", "describe_cluster", "account"):
        error = AccessDenied(f"{DENIED}{method}", code="AccessDeniedException")
        process.wire.fail(method, error, times=10_000)


def unreachable(process: Process) -> None:
    for method in ("stop_task", "list_tasks", "describe_tasks", "describe_cluster"):
        process.wire.fail(method, Unavailable("cannot connect to ECS"), times=10_000)


TROUBLES: dict[str, tuple[Trouble, str]] = {
    "dead agent": (dead_agent, "ECS does not confirm that the task has stopped"),
    "stop denied": (stop_denied, "ecs:StopTask"),
    "all denied": (all_denied, "ecs:"),
    "unreachable": (unreachable, "cannot connect to ECS"),
}
MALFORMED = task_arn("no!task")
CASES = pytest.mark.parametrize(("trouble", "why"), TROUBLES.values(), ids=TROUBLES.keys())


def begun(trouble: Trouble) -> tuple[World, Process]:
    """An object whose task runs, being deleted now, in trouble."""
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    trouble(process)
    world.kube.delete(KEY)
    return world, process


def stalled(world: World) -> tuple[str, str]:
    for each in world.status().conditions:
        if each.type == "Stalled" and each.status == "True":
            return each.reason, each.message
    return "", ""


def told(world: World) -> list[KubeEvent]:
    return [event for _, event in world.kube.events.values() if event.reason == "DeletionStuck"]


def stuck(process: Process) -> float | None:
    Gauges(
        clock=process.clock,
        metrics=process.metrics,
        objects=process.objects,
        clusters=process.clusters,
        permits=process.permits,
        recorder=process.recorder,
        install=INSTALL,
    ).look()
    return process.value("fractal_stuck_deletions")


def passes(process: Process, seconds: float) -> None:
    limit = process.clock.monotonic() + seconds
    until(process, lambda _: process.clock.monotonic() >= limit)


@CASES
@pytest.mark.parametrize("restarts", [0, 9], ids=["one process", "restarts"])
def test_after_five_minutes_it_is_told_with_what_to_do(
    trouble: Trouble, why: str, restarts: int
) -> None:
    """The time counts from the deletion, however often the operator was restarted since."""
    world, process = begun(trouble)
    began = world.clock.monotonic()
    for _ in range(restarts):
        passes(process, 30)
        assert stalled(world)[0] != "DeletionStuck"
        process = Process(world)
        trouble(process)
        run(process.start())
    until(process, lambda _: stalled(world)[0] == "DeletionStuck")
    assert FIVE_MINUTES <= world.clock.monotonic() - began <= FIVE_MINUTES + 60
    message = stalled(world)[1]
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    assert why in message
    assert f"{ABANDON}={uid}" in message
    assert [event.message for event in told(world)] == [message]
    assert stuck(process) == 1

    before = world.kube.writes
    passes(process, 3600)
    again = Process(world)
    trouble(again)
    run(again.start())
    passes(again, 3600)
    assert KEY in world.kube.objects
    assert len(told(world)) == 1
    assert world.kube.writes - before <= 2  # a new process may word the cause anew
    assert len(world.ecs.live()) == 1


@CASES
def test_given_up_it_goes_at_once_and_nothing_is_stopped_for_it(trouble: Trouble, why: str) -> None:
    world, process = begun(trouble)
    until(process, lambda _: stalled(world)[0] == "DeletionStuck")
    live, uid = world.ecs.live(), world.kube.objects[KEY]["metadata"]["uid"]
    world.kube.annotate(KEY, abandon=uid)
    run(process.settle())
    assert KEY not in world.kube.objects
    assert world.ecs.live() == live
    assert stuck(process) == 0


def test_a_refused_stop_is_told_once_however_often_the_operator_starts() -> None:
    world, process = begun(stop_denied)
    until(process, lambda _: stalled(world)[0] == "AccessDenied")
    before = world.kube.writes
    for _ in range(5):
        process = Process(world)
        stop_denied(process)
        run(process.start())
        passes(process, 20)
        assert process.wire.counts()["stop_task"] >= 1
    warnings = [event for _, event in world.kube.events.values() if event.reason == "AccessDenied"]
    assert len(warnings) == 1
    assert world.kube.writes == before


def test_once_the_trouble_is_over_it_goes_by_itself() -> None:
    world, process = begun(all_denied)
    until(process, lambda _: stalled(world)[0] == "DeletionStuck")
    process = Process(world)
    run(process.start())
    until(process, lambda world: KEY not in world.kube.objects)
    assert world.ecs.live() == []


@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "new process"])
def test_a_cluster_that_is_gone_lets_go_by_itself(restarted: bool) -> None:
    world, process = begun(stop_denied)
    until(process, lambda _: stalled(world)[0] == "DeletionStuck")
    world.ecs.clusters[MAIN] = replace(world.ecs.clusters[MAIN], status="INACTIVE")
    world.ecs.tasks.clear()
    if restarted:
        process = Process(world)
        run(process.start())
    until(process, lambda world: KEY not in world.kube.objects)


def test_a_namespace_that_ends_may_refuse_events_for_all_that() -> None:
    """As the API server does; the last writes of the object are allowed."""
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    denied = AccessDenied("namespace is being terminated", code="Forbidden")
    process.wire.fail("post_event", denied, times=10_000)
    world.kube.delete(KEY)
    until(process, lambda world: KEY not in world.kube.objects)
    assert world.ecs.live() == []
    assert process.wire.counts()["post_event"] <= 6


def test_what_is_made_after_all_was_deleted_is_found_without_a_watch() -> None:
    """As after the CRD was deleted and installed again, if nothing tells of the new objects."""

    async def anew() -> None:
        process = Live(World())
        async with started(process):
            process.watching = False
            process.world.kube.create(KEY, SPEC)
            began = process.clock.monotonic()
            await process.until(lambda: process.objects.get(KEY) is not None)
            assert process.clock.monotonic() - began <= EMPTY_SECONDS + 1
            lists = process.wire.counts()["list"]
            process.clock.advance(10 * EMPTY_SECONDS)
            await process.quiet()
            assert process.wire.counts()["list"] == lists  # every ten minutes again

    asyncio.run(asyncio.wait_for(anew(), 120))


def test_a_malformed_arn_in_the_status_holds_up_nothing() -> None:
    """ECS refuses it, with all that it is asked for beside it."""
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    body = world.kube.objects[KEY]
    forged = {"attempt": 9, "role": "Retiring", "arn": MALFORMED, "reason": "Replaced"}
    status = {**body["status"], "tasks": [*body["status"]["tasks"], forged]}
    world.kube.write_status(body, status)
    until(process, running)  # the status holds one task again
    world.kube.delete(KEY)
    until(process, lambda it: not it.kube.objects, within=60)
    assert not world.ecs.live()
    asked = [each.arguments[1] for each in process.wire.calls if each.method == "describe_tasks"]
    assert asked
    assert not any(MALFORMED in arns for arns in asked)


def test_an_impossible_id_in_the_status_holds_a_deletion_up_for_minutes_only() -> None:
    """The client helper takes what ECS refuses for its id for missing, and that has to last."""
    world = World()
    process = Process(world)
    world.kube.create(KEY, SPEC)
    run(process.start())
    until(process, running)
    body = world.kube.objects[KEY]
    forged = {"attempt": 9, "role": "Retiring", "arn": task_arn("short"), "reason": "Replaced"}
    tasks = [*body["status"]["tasks"], forged]
    world.kube.write_status(body, {**body["status"], "tasks": tasks})
    passes(process, 60)
    assert task_arn("short") in [each.arn for each in world.status().tasks]
    world.kube.delete(KEY)
    until(process, lambda it: not it.kube.objects, within=FIVE_MINUTES + 60)
    assert not world.ecs.live()
