"""The reaper at work: on a real process, with seconds for its minutes (hasty.py)."""

import sys
from pathlib import Path

import pytest
from tests.e2e.stack import Operator, World, until, until_is

from fractal_operator.core import tokens

HASTY = (sys.executable, str(Path(__file__).parent / "hasty.py"), "run")
GONE = "00000000-0000-4000-8000-{:012}"
REASON = "its FractalContainer {}/{} is gone"


def start(world: World, *, reaper: str = "stop") -> Operator:
    return world.start(command=HASTY, reaper=reaper)


def put(world: World, number: int, **others: str) -> str:
    """A task of an object that is gone; its ARN. ``others`` replace installation and tags."""
    uid, install = GONE.format(number), others.pop("install", world.name)
    name = f"gone-{number}"
    tags = tokens.owner_tags(install, world.namespace, name, uid) | {
        f"fractal.co/{key}": value for key, value in others.items()
    }
    answer = world.aws_ecs.run_task(
        cluster=world.name,
        taskDefinition=f"gone-{world.name}",
        launchType="FARGATE",
        startedBy=tokens.started_by(install, uid, 1),
        networkConfiguration={"awsvpcConfiguration": {"subnets": world.subnets[:1]}},
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )
    return str(answer["tasks"][0]["taskArn"])


@pytest.fixture
def inhabited(world: World) -> World:
    """A world with one object whose task runs, and an operator that is gone."""
    world.register(f"gone-{world.name}")
    operator = world.start()
    world.create("stays")
    world.until_condition("stays", "Ready", "True")
    operator.kill()
    return world


def force_delete(world: World, name: str) -> None:
    """What people do when a deletion hangs."""
    world.kubectl("delete", "fc", name, "--wait=false")
    world.patch(name, metadata={"finalizers": []})
    world.until_gone(name)


def live(world: World, arn: str) -> bool:
    return bool(world.task(arn)["live"])


def metric(operator: Operator, name: str) -> float:
    lines = operator.get("/metrics")[1].splitlines()
    return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(name)), -1.0)


def orphans(operator: Operator, kind: str = "task") -> float:
    return metric(operator, f'fractal_orphans{{kind="{kind}"}}')


def rounds(world: World, count: int) -> None:
    """Wait until the operator has listed the objects so many more times, and acted on it."""
    path = f"/namespaces/{world.namespace}/fractalcontainers?"

    def lists() -> int:
        listed = (each for each in world.proxy.requests if path in each.path)
        return sum(each.method == "GET" and "watch=" not in each.path for each in listed)

    wanted = lists() + count + 1  # what the last list leads to is done when the next one begins
    until(lambda: lists() >= wanted, f"{count} rounds")


def test_the_task_of_an_object_deleted_by_force_is_stopped(inhabited: World) -> None:
    world = inhabited
    operator = world.start()
    world.create("forced")
    world.until_condition("forced", "Ready", "True")
    uid = world.uid("forced")
    operator.kill()
    force_delete(world, "forced")
    operator = start(world)
    (task,) = world.tasks(uid)
    until(lambda: not live(world, task["taskArn"]), "the orphan is stopped")
    assert world.task(task["taskArn"])["stoppedReason"] == REASON.format(world.namespace, "forced")
    until(lambda: orphans(operator) == 0, "nothing is left")
    until_is(lambda: metric(operator, 'fractal_stops_total{reason="Orphaned"}'), 1.0)
    assert len(world.tasks(world.uid("stays"), live=True)) == 1
    until(lambda: world.app_state(uid).get("state") == "CANCELLED", "its row is closed")


def test_what_is_not_proven_ours_and_left_behind_is_never_stopped(inhabited: World) -> None:
    world = inhabited
    spared = {
        "retained": put(world, 1, retained="true"),
        "theirs": put(world, 2, install="other"),
        "untagged": put(world, 3, install=world.name, namespace=""),
        "unwatched": put(world, 4, namespace="elsewhere"),
        "nobodys": world.run_foreign_task(),
    }
    operator = start(world)
    until(lambda: orphans(operator, "retained") == 1, "the reaper has looked")
    rounds(world, 4)
    doomed = put(world, 5)  # younger than all of these, and yet
    until(lambda: not live(world, doomed), "an orphan is stopped")
    assert {name for name, arn in spared.items() if not live(world, arn)} == set()
    kinds = ("retained", "unproven", "unwatched")
    until_is(lambda: {kind: orphans(operator, kind) for kind in kinds}, dict.fromkeys(kinds, 1.0))
    assert metric(operator, "fractal_reaper_held") == 0


def test_an_adopted_task_is_not_stopped(inhabited: World) -> None:
    """Its startedBy is somebody else's; its tags are ours, as after an adoption."""
    world = inhabited
    adopted, doomed = world.run_foreign_task("deploy-tool"), put(world, 1)
    tags = tokens.owner_tags(world.name, world.namespace, "gone", GONE.format(9))
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    world.aws_ecs.tag_resource(resourceArn=adopted, tags=pairs)
    operator = start(world)
    until(lambda: not live(world, doomed), "an orphan is stopped")
    rounds(world, 3)
    until_is(lambda: orphans(operator, "unproven"), 1.0)
    assert live(world, adopted)


def test_more_than_ten_at_once_are_not_stopped(inhabited: World) -> None:
    world = inhabited
    every = [put(world, number) for number in range(11)]
    operator = start(world)
    until(lambda: metric(operator, "fractal_reaper_held") == 1, "it holds")
    rounds(world, 6)
    assert all(live(world, arn) for arn in every)
    told = "11 tasks of this installation have no FractalContainer"
    until(lambda: told in operator.log(), "it says so")
    world.aws_ecs.stop_task(cluster=world.name, task=every[0])
    until(lambda: not any(live(world, arn) for arn in every), "ten are few enough")
    until(lambda: metric(operator, "fractal_reaper_held") == 0, "it does not hold any more")


def test_without_any_object_nothing_is_stopped(inhabited: World) -> None:
    world = inhabited
    force_delete(world, "stays")
    operator = start(world)
    until(lambda: metric(operator, "fractal_reaper_held") == 1, "it holds")
    rounds(world, 6)
    assert len(world.tasks(live=True)) == 1


def test_told_to_report_it_stops_nothing(inhabited: World) -> None:
    world = inhabited
    arn = put(world, 1)
    operator = start(world, reaper="report")
    until(lambda: orphans(operator) == 1, "it is reported")
    rounds(world, 6)
    assert live(world, arn)
    assert metric(operator, "fractal_reaper_held") == 0


def test_a_list_that_fails_is_not_an_empty_one(inhabited: World) -> None:
    world = inhabited
    arns = {task["taskArn"] for task in world.tasks(live=True)}
    operator = start(world)
    rounds(world, 1)
    world.proxy.broken = f"/namespaces/{world.namespace}/fractalcontainers"
    try:
        until(lambda: "looking for orphaned tasks failed" in operator.log(), "a round failed")
        count = operator.log().count("looking for orphaned tasks failed")
        until(
            lambda: operator.log().count("looking for orphaned tasks failed") >= count + 4,
            "more rounds failed",
        )
        assert {task["taskArn"] for task in world.tasks(live=True)} == arns
    finally:
        world.proxy.broken = ""
