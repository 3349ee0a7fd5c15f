"""updateStrategy Surge, seen by kubectl and counted at ECS: no gap, and never a third task."""

from pathlib import Path

import yaml
from tests.e2e.api import PATIENCE
from tests.e2e.lives import most_at_once, served_without_a_gap
from tests.e2e.stack import World, container, until, until_is
from tests.e2e.test_documents import BLOCK, DOCS, bash

SECTION = (DOCS / "lifecycle.md").read_text().partition("\n## Updates\n")[2].partition("\n## ")[0]
FULL = "RESOURCE:MEMORY"


def live(world: World, uid: str) -> list[str]:
    return [str(each["taskArn"]) for each in world.tasks(uid, live=True)]


def test_the_update_of_the_documentation(world: World, tmp_path: Path) -> None:
    world.start()
    world.register("web")
    manifest = yaml.safe_load(SECTION.partition("```yaml\n")[2].partition("```")[0])
    name = manifest["metadata"]["name"]
    world.apply(name, manifest["spec"])
    world.wait_ready(name)
    uid, first = world.uid(name), world.status(name)["endpoint"]["ip"]
    world.surging.add(uid)
    [(_, block)] = BLOCK.findall(SECTION)
    commands = [line[2:] for line in block.splitlines()]
    here = f"kubectl -n {world.namespace}"
    for command in commands:
        printed = bash(world, command.replace("kubectl", here, 1), tmp_path)
        assert world.condition(name, "Ready")["status"] == "True"
    assert "2 Current RUNNING" in printed
    until(lambda: len(live(world, uid)) == 1, "the old task has stopped")
    tasks = world.tasks(uid)
    assert (len(tasks), most_at_once(tasks), served_without_a_gap(tasks)) == (2, 2, True)
    assert world.status(name)["endpoint"]["ip"] != first
    until(lambda: len(world.status(name).get("tasks", ())) == 1, "the status says so")
    until_is(
        lambda: [str(row["state"]) for row in world.containers(uid)],
        ["STOPPED", "RUNNING_AVAILABLE"],
    )
    world.kubectl("delete", "fc", name, PATIENCE)
    assert live(world, uid) == []


def test_a_failed_update_leaves_the_old_task_and_edits_in_between_make_no_third(
    world: World,
) -> None:
    world.start()
    world.apply("ada", container(updateStrategy="Surge"))
    world.wait_ready("ada")
    uid = world.uid("ada")
    world.surging.add(uid)
    [old] = live(world, uid)

    world.ecs.fail_next_launch(FULL, match=f"fc/{world.name}/{uid}", times=50)
    world.patch("ada", spec={"dpi": 120})
    world.until_condition("ada", "Reconciling", "True", "Retrying")
    assert world.condition("ada", "Ready")["status"] == "True"
    assert world.status("ada")["phase"] == "Updating"
    until(lambda: world.app_state(uid).get("state") == "READY", "the row of the object")
    assert live(world, uid) == [old]

    world.patch("ada", spec={"dpi": None})  # back
    world.until_phase("ada", "Running")
    assert live(world, uid) == [old]

    world.ecs.reset()
    world.ecs.hold("StopTask", "before", times=100)  # both live until somebody has looked
    world.patch("ada", spec={"dpi": 130})
    until(lambda: len(live(world, uid)) == 2, "a surge")
    edited = world.patch("ada", spec={"dpi": 140})["metadata"]  # a third spec, while two live
    world.ecs.release()
    # Heard late, it is no part of this surge, and the second spec settles first.
    until(
        lambda: world.status("ada").get("observedGeneration") == edited["generation"],
        "the third spec is seen",
    )
    world.until_condition("ada", "Reconciling", "False", "Settled")
    world.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "fc/ada", PATIENCE)
    until(lambda: len(live(world, uid)) == 1, "one task is left")
    tasks = world.tasks(uid)
    variables = tasks[-1]["overrides"]["containerOverrides"][0]["environment"]
    assert {"name": "FRACTAL_DPI", "value": "140"} in variables
    assert (most_at_once(tasks), served_without_a_gap(tasks)) == (2, True)
    world.patch("ada", spec={"operatingMode": "Suspended"})
    world.until_phase("ada", "Suspended")
    assert live(world, uid) == []


def test_a_killed_operator_goes_on_with_the_surge(world: World) -> None:
    operator = world.start()
    world.apply("ada", container(updateStrategy="Surge"))
    world.wait_ready("ada")
    uid = world.uid("ada")
    world.surging.add(uid)
    world.ecs.hold("RunTask", "drop", match=f"fc/{world.name}/{uid}")  # launched, not answered
    world.ecs.hold("StopTask", "before", times=100)  # both live until somebody has looked
    world.patch("ada", spec={"dpi": 120})
    until(lambda: len(live(world, uid)) == 2, "a surge")
    operator.kill()
    world.ecs.release()
    world.start()
    world.kubectl("wait", "--for=jsonpath={.status.attempt.number}=2", "fc/ada", PATIENCE)
    world.until_condition("ada", "Reconciling", "False", "Settled")
    until(lambda: len(live(world, uid)) == 1, "one task is left")
    tasks = world.tasks(uid)
    assert (len(tasks), most_at_once(tasks), served_without_a_gap(tasks)) == (2, 2, True)
