"""One FractalContainer from apply to delete: what its user sees, what runs, what it costs."""

import json
import time
import urllib.request
from itertools import groupby
from typing import Any

import pytest
from tests.e2e.api import GIVEN, PATIENCE
from tests.e2e.stack import World, container, until, until_is


def events(world: World, name: str) -> list[str]:
    """The reasons of the object's Events, sorted: their times are whole seconds."""
    of_it = f"--field-selector=involvedObject.name={name}"
    told = world.kubectl("get", "events", of_it, "-o", "jsonpath={.items[*].reason}")
    return sorted(told.split())


def states(world: World, uid: str) -> list[str]:
    return [str(row["state"]) for row in world.containers(uid)]


def test_a_life(world: World) -> None:
    """Apply, wait, edit, suspend, resume, delete: seen by kubectl, at ECS and in PostgreSQL."""
    world.start()

    world.apply("ada")
    world.wait_ready("ada")
    status, uid = world.status("ada"), world.uid("ada")
    (task,) = world.tasks(uid)
    address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
    assert task["lastStatus"] == "RUNNING"
    assert [each["arn"] for each in status["tasks"]] == [task["taskArn"]]
    assert status["endpoint"] == {
        "ip": address,
        "privateIp": address,
        "ports": [{"name": "http", "containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
    }
    head, row = world.kubectl("get", "fc").splitlines()
    assert head.split() == ["NAME", "READY", "PHASE", "USER", "ENDPOINT", "AGE"]
    assert row.split()[:5] == ["ada", "True", "Running", "ada@example.org", address]
    _, row = world.kubectl("get", "fc", "-o", "wide").splitlines()
    assert row.split()[-3:] == [task["taskArn"], "FARGATE", "TaskRunning"]
    until(lambda: states(world, uid) == ["RUNNING_AVAILABLE"], "the row of the task")
    (kept,) = world.containers(uid)
    told = {name: kept[name] for name in ("container_id", "ip", "user_id", "namespace", "name")}
    assert told == {
        "container_id": task["taskArn"],
        "ip": address,
        "user_id": "ada@example.org",
        "namespace": world.namespace,
        "name": "ada",
    }
    until(lambda: world.app_state(uid).get("state") == "READY", "the row of the object")
    assert world.app_state(uid)["ip"] == address

    world.kubectl("patch", "fc", "ada", "--type=merge", "-p", '{"spec":{"dpi":120}}')
    world.kubectl("wait", "--for=jsonpath={.status.attempt.number}=2", "fc/ada", PATIENCE)
    world.wait_ready("ada")
    first, second = world.tasks(uid)
    assert (first["lastStatus"], second["lastStatus"]) == ("STOPPED", "RUNNING")
    overrides = second["overrides"]["containerOverrides"][0]["environment"]
    assert {"name": "FRACTAL_DPI", "value": "120"} in overrides
    until(lambda: states(world, uid) == ["STOPPED", "RUNNING_AVAILABLE"], "both tasks' rows")

    world.kubectl(
        "patch", "fc", "ada", "--type=merge", "-p", '{"spec":{"operatingMode":"Suspended"}}'
    )
    world.until_phase("ada", "Suspended")
    assert world.tasks(uid, live=True) == []
    shown = {each["type"]: each["reason"] for each in world.status("ada")["conditions"]}
    assert shown["Reconciling"] == "Suspended"
    assert "Ready" not in shown  # kstatus would wait for it for ever
    assert "endpoint" not in world.status("ada")
    until(lambda: world.app_state(uid).get("state") == "CANCELLED", "the row of the object")
    until(lambda: states(world, uid) == ["STOPPED", "STOPPED"], "both tasks' rows")

    world.kubectl(
        "patch", "fc", "ada", "--type=merge", "-p", '{"spec":{"operatingMode":"Running"}}'
    )
    world.wait_ready("ada")
    (task,) = world.tasks(uid, live=True)
    assert len(world.tasks(uid)) == 3
    until(lambda: world.app_state(uid).get("state") == "READY", "the row of the object")

    launch, end = ["Launching", "TaskLaunched", "Ready"], ["StoppingTask", "TaskStopped"]
    story = [*launch, *end, *launch, *end, "Suspended", *launch]
    until_is(lambda: events(world, "ada"), sorted(story))
    described = world.kubectl("describe", "fc", "ada")
    assert f"ECS accepted attempt 3 as task {task['taskArn'].rpartition('/')[2]}" in described

    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert world.tasks(uid, live=True) == []  # kubectl returns when the object is gone
    until(lambda: world.app_state(uid).get("deleted"), "the last row of the object")
    assert world.app_state(uid)["state"] == "CANCELLED"
    until(lambda: states(world, uid) == ["STOPPED"] * 3, "the tasks' last rows")
    assert [row["stop_code"] for row in world.containers(uid)] == [
        "Replaced",
        "Suspended",
        "Deleted",
    ]
    until_is(lambda: world.history(uid), [*story, "StoppingTask", "Deleted"])


def test_the_task_has_stopped_before_the_object_is_gone(world: World) -> None:
    world.start()
    world.apply("slow")
    world.wait_ready("slow")
    uid = world.uid("slow")
    world.ecs.hold("StopTask", "before")
    world.kubectl("delete", "fc", "slow", "--wait=false")
    until(world.ecs.held, "StopTask is called")
    (task,) = world.tasks(uid)
    assert task["live"]
    world.until_phase("slow", "Deleting")
    world.ecs.release()

    def gone() -> bool:
        there, live = world.get("slow"), world.tasks(uid, live=True)  # in this order
        assert there or not live
        return there is None

    until(gone, "the object is gone")


def test_an_edit_that_needs_no_new_task_restarts_nothing(world: World) -> None:
    world.start()
    world.apply("calm", container(restartPolicy="Always"))
    world.wait_ready("calm")
    before = world.tasks()
    changes: dict[str, Any] = {
        "user": "eve@example.org",
        "tags": {"team": "blue"},
        "enableExecuteCommand": True,
        "placement": [{"capacityProvider": "FARGATE_SPOT"}],
        "restartPolicy": "OnFailure",
        "backoffLimit": 2,
        "timeouts": {"startSeconds": 60},
    }
    generation = world.patch("calm", spec=changes)["metadata"]["generation"]
    until(lambda: world.status("calm").get("observedGeneration") == generation, "the edit is seen")
    world.sweeps(2)
    assert [each["taskArn"] for each in world.tasks()] == [each["taskArn"] for each in before]
    assert world.tasks()[0]["live"]
    assert world.condition("calm", "Ready")["status"] == "True"
    uid = world.uid("calm")
    until(lambda: world.app_state(uid).get("user_id") == "eve@example.org", "PostgreSQL knows")


def test_what_one_life_costs_in_writes(world: World) -> None:
    """Create to Running: at most 4 writes; to deleted: at most 7; Events apart."""
    if not GIVEN:
        standin_requests(world, clear=True)  # of a worker's whole life it would keep no more
    # Slow, as tasks are: of one that runs at once, the write that it was accepted may come late.
    world.ecs.set_plan(match=f"fc/{world.name}/", start_seconds=6)
    world.start()
    world.apply("cheap")
    world.wait_ready("cheap")
    to_running = world.writes()
    assert len(to_running) <= 4, to_running
    until(lambda: len(world.writes(events=True)) >= 3, "three Events")
    world.kubectl("delete", "fc", "cheap", PATIENCE)
    if not GIVEN:  # the stand-in counts for itself: the proxy has let nothing pass unseen
        until_is(lambda: len(world.writes()), standin_changes(world))
    whole = world.writes()
    assert len(whole) <= 7, whole
    assert len(world.writes(events=True)) <= 6


def standin_changes(world: World) -> int:
    """What the stand-in changed on an operator's behalf in this namespace."""
    return sum(
        each["changed"]
        and each["namespace"] == world.namespace
        and each["resource"] == "fractalcontainers"
        and each["verb"] == "patch"
        for each in standin_requests(world)
    )


def standin_requests(world: World, *, clear: bool = False) -> list[dict[str, Any]]:
    """What the stand-in was asked for; ``clear``: it forgets that then."""
    server = world.objects.api_client.configuration.host
    with urllib.request.urlopen(f"{server}/_standin/requests?clear={int(clear)}") as answer:
        told: list[dict[str, Any]] = json.load(answer)
    return told


def test_converged_objects_cost_no_writes_over_ten_sweeps(world: World) -> None:
    began = int(time.time())
    world.start()
    names = [f"still-{number}" for number in range(5)]
    for name in names:
        world.create(name)
    world.wait_ready(*names)
    until(lambda: len(world.writes(events=True)) >= 3 * len(names), "three Events of each")
    world.sweeps(1)
    mark, before = world.mark(), world.tasks()
    world.sweeps(10)
    assert world.writes(since=mark) == []
    assert world.writes(since=mark, events=True) == []
    assert world.tasks() == before
    # That it moves on within five minutes is proven on a clock of its own: unit/shell/test_record.
    pinged = {
        row["container_id"]: row["last_pinged"]
        for row in world.rows("SELECT * FROM hardware.user_containers")
    }
    assert pinged.keys() == {task["taskArn"] for task in before}
    assert began <= min(pinged.values()) <= max(pinged.values()) <= time.time()


def test_what_postgres_holds_is_enough_to_tell_the_story(world: World) -> None:
    """Each transition once and in order, with the task that it was about."""
    world.start()
    world.apply("story")
    world.wait_ready("story")
    uid = world.uid("story")
    (task,) = world.tasks(uid)
    until(lambda: len(world.history(uid)) == 3, "three transitions")
    rows = world.rows("SELECT * FROM logs.container_history ORDER BY at")
    assert [(row["reason"], row["phase_to"], row["attempt"]) for row in rows] == [
        ("Launching", "Pending", 1),
        ("TaskLaunched", "Provisioning", 1),
        ("Ready", "Running", 1),
    ]
    arns = [key for key, _ in groupby(row["container_id"] for row in rows)]
    assert arns == ["", task["taskArn"]]


@pytest.mark.parametrize("mode", ["bridge", "host"])
def test_the_endpoint_of_a_task_on_an_instance_is_the_instances(world: World, mode: str) -> None:
    world.ecs.ensure_cluster(world.name, "us-east-1", instances=1)
    world.start()
    template = {
        "image": "app:1",
        "cpuUnits": 128,
        "memoryMiB": 128,
        "networkMode": mode,
        "requiresCompatibilities": ["EC2"],
        "ports": [{"name": "control", "containerPort": 32262}],
    }
    world.apply("on-host", {"template": template, "placement": [{"launchType": "EC2"}]})
    world.wait_ready("on-host")
    (instance,) = (
        each
        for reservation in world.boto("ec2").describe_instances()["Reservations"]
        for each in reservation["Instances"]
        if each["InstanceId"] in instances_of(world)
    )
    endpoint = world.status("on-host")["endpoint"]
    assert endpoint["privateIp"] == instance["PrivateIpAddress"]
    assert endpoint["ip"] == instance.get("PublicIpAddress", instance["PrivateIpAddress"])
    (task,) = world.tasks()
    (binding,) = task["containers"][0]["networkBindings"]
    (port,) = endpoint["ports"]
    assert (port["name"], port["containerPort"]) == ("control", 32262)
    assert port["hostPort"] == binding["hostPort"]
    uid = world.uid("on-host")
    until(lambda: states(world, uid) == ["RUNNING_AVAILABLE"], "the row of the task")
    assert world.containers(uid)[0]["port_32262"] == binding["hostPort"]
    until_is(lambda: world.app_state(uid).get("port"), binding["hostPort"])


def instances_of(world: World) -> list[str]:
    """The EC2 ids of the cluster's container instances."""
    arns = world.aws_ecs.list_container_instances(cluster=world.name)["containerInstanceArns"]
    described = world.aws_ecs.describe_container_instances(
        cluster=world.name, containerInstances=arns
    )
    return [each["ec2InstanceId"] for each in described["containerInstances"]]
