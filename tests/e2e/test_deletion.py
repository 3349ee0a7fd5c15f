"""Deletions that ECS cannot or will not confirm: said where people look, and never forgotten.

What takes five minutes to be said is in tests/unit/shell/test_deletion.py, on a clock of its own.
"""

import json
from typing import Any

import pytest
from tests.e2e.api import PATIENCE
from tests.e2e.stack import World, container, until

FOREVER = 100_000
DENIED = "User: arn:aws:iam::123456789012:role/op is not authorized to perform: ecs:"


def deny(world: World, *operations: str) -> None:
    """As if the operator's rights had been taken away."""
    for operation in operations:
        world.ecs.fail_next(
            operation,
            code="AccessDeniedException",
            message=DENIED + operation,
            status=400,
            times=FOREVER,
        )


def warnings(world: World, name: str) -> list[str]:
    fields = f"--field-selector=involvedObject.name={name},type=Warning"
    return world.kubectl("get", "events", fields, "-o=jsonpath={.items[*].reason}").split()


def runs(world: World, name: str, **changes: Any) -> str:
    """An object with its task; its uid."""
    world.create(name, container(**changes))
    world.wait_ready(name)
    return world.uid(name)


def abandon(world: World, name: str, uid: str) -> None:
    world.kubectl("annotate", "fc", name, f"fractal.co/abandon={uid}", "--overwrite")


def test_a_stop_that_is_denied_is_told_and_goes_on_once_it_is_allowed(world: World) -> None:
    """Also by a process that was started meanwhile, which has asked for nothing yet."""
    operator = world.start()
    uid = runs(world, "ada")
    deny(world, "StopTask")
    world.kubectl("delete", "fc", "ada", "--wait=false")
    told = world.until_condition("ada", "Stalled", "True", "AccessDenied")
    assert "ecs:StopTask" in told["message"]
    until(lambda: warnings(world, "ada") == ["AccessDenied"], "one warning")
    operator.kill()
    operator.start().wait_ready()
    world.sweeps(2)
    world.until_condition("ada", "Stalled", "True", "AccessDenied")
    assert warnings(world, "ada") == ["AccessDenied"]
    assert len(world.tasks(uid, live=True)) == 1
    world.ecs.reset()
    world.ask_again("ada")
    world.until_gone("ada")
    assert world.tasks(uid, live=True) == []


def test_all_rights_revoked_forget_no_task_and_stop_nothing_else(world: World) -> None:
    world.start()
    uid = runs(world, "ada")
    reads = ("ListTasks", "DescribeTasks", "DescribeClusters")
    deny(world, "StopTask", "RunTask", *reads)
    world.kubectl("delete", "fc", "ada", "--wait=false")
    world.until_condition("ada", "Stalled", "True", "AccessDenied")
    world.create("eve", container())
    world.until_condition("eve", "Stalled", "True", "AccessDenied")
    assert len(world.tasks(uid, live=True)) == len(world.tasks()) == 1
    assert world.get("ada") is not None
    world.ecs.reset()
    world.until_gone("ada")
    assert world.tasks(uid, live=True) == []


def test_abandoned_the_object_goes_at_once_and_its_task_is_left_alone(world: World) -> None:
    world.start()
    uid = runs(world, "ada")
    deny(world, "StopTask")
    world.kubectl("delete", "fc", "ada", "--wait=false")
    world.until_condition("ada", "Stalled", "True", "AccessDenied")
    abandon(world, "ada", "somebody-elses-uid")
    world.sweeps(1)
    assert world.get("ada") is not None
    abandon(world, "ada", uid)
    world.until_gone("ada")
    until(lambda: world.app_state(uid).get("deleted"), "the last row of the object")
    (task,) = world.tasks(uid)
    assert task["live"]
    world.ecs.stop_task(task["taskArn"])  # its new owner's doing


def test_an_object_whose_cluster_is_gone_is_let_go(world: World) -> None:
    operator = world.start()
    runs(world, "ada")
    (task,) = world.tasks()
    operator.kill()
    world.ecs.vanish_task(task["taskArn"])
    world.aws_ecs.delete_cluster(cluster=world.name)
    world.kubectl("delete", "fc", "ada", "--wait=false")
    operator.start()
    world.until_gone("ada")


def until_looked_at(world: World, name: str) -> None:
    until(lambda: world.status(name).get("conditions"), f"{name} is looked at")


MADE_UP = {
    "cluster": {"cluster": "made-up"},
    "region": {"region": "eu-nowhere-7", "cluster": "made-up"},
}


@pytest.mark.parametrize("place", MADE_UP.values(), ids=MADE_UP.keys())
def test_an_object_of_a_place_that_was_made_up_can_be_deleted(
    world: World, place: dict[str, str]
) -> None:
    world.start()
    world.create("lost", container(**place))
    until_looked_at(world, "lost")
    world.kubectl("delete", "fc", "lost", PATIENCE)
    assert world.tasks() == []


def test_where_nobody_can_tell_whether_there_is_a_task_it_takes_a_person(world: World) -> None:
    """A new process cannot know that nothing was launched where it reaches nobody."""
    operator = world.start()
    for name, place in MADE_UP.items():
        world.create(name, container(**place))
        until_looked_at(world, name)
    operator.kill()
    operator.start().wait_ready()
    world.kubectl("delete", "fc", *MADE_UP, "--wait=false")
    world.until_gone("cluster")  # of which ECS knows that there is none
    status = world.until_phase("region", "Deleting")
    assert "ooking at the cluster's tasks" in status["message"]
    abandon(world, "region", world.uid("region"))
    world.until_gone("region")
    assert world.tasks() == []


def test_what_is_deleted_with_a_broken_status_leaves_no_task(world: World) -> None:
    """The status claims an attempt elsewhere; the task is stopped where it is."""
    operator = world.start()
    uid = runs(world, "ada")
    operator.kill()
    arn = f"arn:aws:ecs:us-east-1:123456789012:cluster/{world.name}-elsewhere"
    forged = json.dumps({"status": {"attempt": {"clusterArn": arn}, "tasks": None}})
    world.kubectl("patch", "fc", "ada", "--subresource=status", "--type=merge", "-p", forged)
    world.kubectl("delete", "fc", "ada", "--wait=false")
    operator.start()
    world.until_gone("ada")
    assert world.tasks(uid, live=True) == []
