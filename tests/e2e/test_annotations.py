"""The annotations that people put on objects, by kubectl, counted at ECS."""

import json

from tests.e2e.api import PATIENCE
from tests.e2e.stack import World, container, until

ALLOW = json.dumps([{"namespaces": ["*"], "images": ["*"], "adoptable": ["*"]}])


def annotate(world: World, name: str, *pairs: str) -> None:
    world.kubectl("annotate", "--overwrite", "fc", name, *pairs)


def live(world: World, uid: str) -> list[str]:
    return [str(task["taskArn"]) for task in world.tasks(uid, live=True)]


def test_a_paused_object_is_left_alone_but_shown(world: World) -> None:
    world.start()
    world.apply("ada")
    world.wait_ready("ada")
    uid = world.uid("ada")
    before = live(world, uid)
    annotate(world, "ada", "fractal.co/paused=true")
    world.patch("ada", spec={"dpi": 120})
    world.until_condition("ada", "Reconciling", "True", "Paused")
    assert world.condition("ada", "Ready")["status"] == "True"
    world.sweeps(2)
    assert live(world, uid) == before
    annotate(world, "ada", "fractal.co/paused-")
    world.kubectl("wait", "--for=jsonpath={.status.attempt.number}=2", "fc/ada", PATIENCE)
    world.wait_ready("ada")
    assert len(world.tasks(uid)) == 2
    annotate(world, "ada", "fractal.co/paused=true")
    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert live(world, uid) == []


def test_a_read_only_object_outlives_its_deletion(world: World) -> None:
    world.start()
    world.apply("ada")
    world.wait_ready("ada")
    uid = world.uid("ada")
    annotate(world, "ada", "fractal.co/read-only=true")
    world.kubectl("delete", "fc", "ada", "--wait=false")
    world.until_condition("ada", "Stalled", "True", "ReadOnly")
    world.sweeps(2)
    assert len(live(world, uid)) == 1
    annotate(world, "ada", "fractal.co/read-only-")
    world.until_gone("ada")
    assert live(world, uid) == []


def test_a_restart_that_is_asked_for(world: World) -> None:
    world.start()
    world.apply("ada")
    world.wait_ready("ada")
    uid = world.uid("ada")
    (first,) = live(world, uid)
    annotate(world, "ada", "fractal.co/restart-requested-at=2026-11-23T02:00:00Z")
    world.kubectl("wait", "--for=jsonpath={.status.attempt.number}=2", "fc/ada", PATIENCE)
    world.wait_ready("ada")
    (second,) = live(world, uid)
    assert second != first
    assert len(world.tasks(uid)) == 2
    told = world.status("ada")["attempt"]["restartRequestedAt"]
    assert told == "2026-11-23T02:00:00Z"
    world.sweeps(2)
    assert live(world, uid) == [second]


def adopting(world: World, name: str, arn: str) -> None:
    body = {
        "apiVersion": "fractal.co/v1alpha1",
        "kind": "FractalContainer",
        "metadata": {"name": name, "annotations": {"fractal.co/adopt": arn}},
        "spec": container(),
    }
    world.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def test_a_running_task_is_adopted_and_not_restarted(world: World) -> None:
    arn = world.run_foreign_task()
    until(lambda: world.task(arn)["lastStatus"] == "RUNNING", "the task runs")
    world.start(allow=ALLOW)
    adopting(world, "ada", arn)
    world.wait_ready("ada")
    assert world.status("ada")["tasks"][0]["arn"] == arn
    assert world.tasks(world.uid("ada")) == []  # nothing was launched
    tags = {tag["key"]: tag["value"] for tag in world.task(arn)["tags"]}
    assert tags["fractal.co/uid"] == world.uid("ada")
    until(lambda: len(world.containers(world.uid("ada"))) == 1, "the row of the task")

    adopting(world, "eve", arn)  # it is ada's now
    said = world.until_condition("eve", "Stalled", "True", "AdoptionRefused")
    assert f"{world.namespace}/ada" in said["message"]

    world.kubectl("delete", "fc", "eve", PATIENCE)
    assert world.task(arn)["lastStatus"] == "RUNNING"
    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert world.task(arn)["lastStatus"] == "STOPPED"


def test_a_task_that_the_allow_list_does_not_have_is_not_adopted(world: World) -> None:
    arn = world.run_foreign_task()
    world.start()
    adopting(world, "ada", arn)
    said = world.until_condition("ada", "Stalled", "True", "AdoptionRefused")
    assert "FRACTAL_ALLOW" in said["message"]
    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert world.task(arn)["desiredStatus"] == "RUNNING"
    assert world.task(arn)["tags"] == []


def test_a_task_that_is_not_there_is_told(world: World) -> None:
    world.start(allow=ALLOW)
    arn = f"{world.cluster_arn.replace(':cluster/', ':task/')}/{'0' * 32}"
    adopting(world, "ada", arn)
    said = world.until_condition("ada", "Stalled", "True", "AdoptionRefused")
    assert "does not know" in said["message"]
    annotate(world, "ada", "fractal.co/adopt-")
    world.wait_ready("ada")
    assert len(world.tasks(world.uid("ada"))) == 1
