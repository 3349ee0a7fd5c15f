"""kill -9 at any moment of a launch: after the restart there is exactly one task.

The moments are random (the seed is printed; FRACTAL_TEST_SEED repeats a run) and, for the windows
that matter most, exact: the ECS stand-in holds the call or its answer while the operator dies.
"""

import os
import random
import time

import pytest
from tests.e2e.stack import Operator, World, container, until

SEED = int(os.environ.get("FRACTAL_TEST_SEED") or random.SystemRandom().randrange(2**32))
KILLS = 10
"""In each of five tests, which workers can share: 50 in all."""


def assert_one_task_each(world: World, names: list[str]) -> None:
    """As many tasks were ever launched as attempts are recorded, and one of them lives."""
    for name in names:
        found = world.get(name)
        assert found is not None
        uid, status = found["metadata"]["uid"], found["status"]
        tasks = world.tasks(uid)
        numbers = [task["startedBy"].rpartition("/")[2] for task in tasks]
        expected = [str(number + 1) for number in range(status["attempt"]["number"])]
        assert numbers == expected, (name, numbers)
        assert [task["taskArn"] for task in tasks if task["live"]] == [status["tasks"][0]["arn"]]


def seconds_of_a_launch(world: World, name: str) -> float:
    """How long a launch takes here and now, from create to Ready."""
    began = time.monotonic()
    world.create(name)
    world.until_condition(name, "Ready", "True")
    return time.monotonic() - began


@pytest.mark.parametrize("part", range(5))
def test_kill_9_at_random_moments_of_a_launch(world: World, part: int) -> None:
    print(f"FRACTAL_TEST_SEED={SEED}")
    moments = random.Random(f"{SEED}/{part}")
    operator = world.start()
    names = ["undisturbed"]
    span = seconds_of_a_launch(world, names[0])
    for number in range(KILLS):
        name = f"disturbed-{number}"
        # one in each tenth of a launch's time; half of all before the task is known to the status
        moment = span * (number + moments.random()) / KILLS * moments.choice((0.2, 1.0))
        world.create(name)
        names.append(name)
        die_at = time.monotonic() + moment
        until(lambda die_at=die_at: time.monotonic() >= die_at, "the moment")  # type: ignore[misc]
        operator.kill()
        print(f"{name}: killed after {moment:.3f} s, {len(world.tasks(world.uid(name)))} tasks")
        operator.start().wait_ready()
    for name in names:
        world.until_condition(name, "Ready", "True")
    world.sweeps(1)
    assert_one_task_each(world, names)


def crash_in(world: World, phase: str, **options: bool) -> Operator:
    """Kill the operator while ECS holds its RunTask before or after the execution."""
    operator = world.start()
    world.ecs.hold("RunTask", phase, match=f"fc/{world.name}/", **options)  # type: ignore[arg-type]
    world.create("victim")
    until(world.ecs.held, "RunTask is called")
    operator.kill()
    return operator


def test_kill_9_while_ecs_has_the_call_but_has_not_executed_it(world: World) -> None:
    operator = crash_in(world, "before")
    until(lambda: not world.ecs.held(), "the connection is cut")
    assert world.tasks() == []
    operator.start()
    world.until_condition("victim", "Ready", "True")
    assert_one_task_each(world, ["victim"])


def test_kill_9_while_the_call_is_still_on_its_way_and_lands_later(world: World) -> None:
    operator = crash_in(world, "before", late=True)
    operator.start()
    world.until_condition("victim", "Ready", "True")
    assert len(world.tasks()) == 1
    assert world.ecs.release() == 1
    until(lambda: not world.ecs.held(), "the late call is executed")
    world.sweeps(2)
    assert_one_task_each(world, ["victim"])


def test_kill_9_after_the_execution_and_before_the_answer(world: World) -> None:
    operator = crash_in(world, "after")
    (task,) = world.tasks()
    attempt = world.status("victim")["attempt"]
    assert "tasks" not in world.status("victim")  # the intent is all that was written
    operator.start()
    status = world.until_condition("victim", "Ready", "True") and world.status("victim")
    assert [each["arn"] for each in status["tasks"]] == [task["taskArn"]]
    assert status["attempt"]["number"] == attempt["number"] == 1
    assert_one_task_each(world, ["victim"])


def test_kill_9_before_the_answer_and_then_an_edit(world: World) -> None:
    """The task of the old spec is found, stopped, and only then replaced."""
    operator = crash_in(world, "after")
    (orphan,) = world.tasks()
    world.patch("victim", spec={"dpi": 200})
    operator.start()
    until(lambda: not world.task(orphan["taskArn"])["live"], "the old task is stopped")
    world.until_condition("victim", "Ready", "True")
    assert_one_task_each(world, ["victim"])
    (task,) = world.tasks(live=True)
    overrides = task["overrides"]["containerOverrides"][0]["environment"]
    assert {"name": "FRACTAL_DPI", "value": "200"} in overrides


def test_kill_9_before_the_answer_and_then_a_deletion(world: World) -> None:
    """The object is kept until the task that it does not know is found and has stopped."""
    operator = crash_in(world, "after")
    world.kubectl("delete", "fc", "victim", "--wait=false")
    operator.start()
    world.until_gone("victim")
    (task,) = world.tasks()
    assert task["lastStatus"] == "STOPPED"


def test_kill_9_while_a_task_is_being_replaced(world: World) -> None:
    operator = world.start()
    world.create("victim")
    world.until_condition("victim", "Ready", "True")
    world.ecs.hold("StopTask", "after")
    world.patch("victim", spec={"dpi": 200})
    until(world.ecs.held, "StopTask is called")
    operator.kill()
    operator.start()
    until(
        lambda: world.status("victim").get("attempt", {}).get("number") == 2, "the second attempt"
    )
    world.until_condition("victim", "Ready", "True")
    assert_one_task_each(world, ["victim"])


def test_kill_9_while_a_task_is_being_stopped_for_good(world: World) -> None:
    operator = world.start()
    world.create("victim")
    world.until_condition("victim", "Ready", "True")
    uid = world.uid("victim")
    world.ecs.hold("StopTask", "before")
    world.kubectl("delete", "fc", "victim", "--wait=false")
    until(world.ecs.held, "StopTask is called")
    operator.kill()
    until(lambda: not world.ecs.held(), "the connection is cut")
    assert world.tasks(live=True)
    operator.start()
    world.until_gone("victim")
    assert world.tasks(live=True) == []
    until(lambda: world.app_state(uid).get("deleted"), "PostgreSQL knows")


def test_two_operators_at_once_launch_one_task_each(world: World) -> None:
    """A rolling update done wrong: the fence on every write decides who goes on."""
    world.start()
    world.start()
    names = [f"contested-{number}" for number in range(10)]
    for name in names:
        world.create(name, container(user=name))
    for name in names:
        world.until_condition(name, "Ready", "True")
    world.sweeps(2)
    assert_one_task_each(world, names)
