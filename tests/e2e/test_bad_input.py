"""Bad input: a clear answer each, at admission where the server can, and nobody else disturbed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from tests.e2e.stack import Obj, World, container, until

from fractal_models.kube import API_VERSION, KIND


@dataclass(frozen=True)
class Bad:
    """``by``: who answers (any server, servers with CEL rules, or the operator); ``says``: what."""

    spec: Any
    says: str
    by: Literal["server", "rule", "operator"]
    reason: str = "InvalidSpec"


def changed(**changes: Any) -> Obj:
    """The usual spec with changes in its template."""
    spec = container()
    spec["template"] |= changes
    return spec


BAD = {
    "unknown-field": Bad(container(tmeplate={}), r"unknown field .*tmeplate", "server"),
    "unknown-field-inside": Bad(changed(imgae="x"), r"unknown field .*imgae", "server"),
    "number-as-text": Bad(changed(cpuUnits="256"), r"cpuUnits", "server"),
    "text-as-number": Bad(container(user=7), r"user", "server"),
    "list-as-map": Bad(container(environment={"A": "1"}), r"environment", "server"),
    "no-enum": Bad(container(operatingMode="Paused"), r"operatingMode.*Paused", "server"),
    "neither": Bad({"user": "a"}, r"exactly one of|oneOf|valid under any", "server"),
    "both": Bad(container(taskDefinition="web"), r"exactly one of|oneOf|must validate", "server"),
    "10-kB-user": Bad(container(user="u" * 10_240), r"user.*(250|long)", "server"),
    "nul-in-user": Bad(container(user="a\0b"), r"user.*(control|match)", "server"),
    "nul-in-command": Bad(changed(command=["a\0b"]), r"command.*(NUL|match)", "server"),
    "nul-in-environment": Bad(
        container(environment=[{"name": "A", "value": "a\0b"}]), r"(NUL|match)", "server"
    ),
    "fargate-cpu-and-memory": Bad(changed(cpuUnits=256, memoryMiB=4096), r"Fargate", "rule"),
    "fargate-odd-cpu": Bad(changed(cpuUnits=300), r"Fargate", "rule"),
    "two-placements": Bad(
        container(placement=[{"launchType": "FARGATE", "capacityProvider": "FARGATE"}]),
        r"exactly one of capacityProvider and launchType|oneOf",
        "server",
    ),
    "too-large-as-overrides": Bad(
        container(environment=[{"name": f"E{n}", "value": "x" * 4000} for n in range(3)]),
        r"8192",
        "operator",
    ),
    "missing-cluster": Bad(container(cluster="nowhere"), r"nowhere", "operator", "ClusterNotFound"),
    "missing-definition": Bad(
        {"taskDefinition": "nothing:7"}, r"nothing:7", "operator", "TaskDefinitionNotFound"
    ),
    "wrong-role-name": Bad(changed(executionRoleArn="admin"), r"executionRoleArn", "server"),
}


@pytest.fixture
def neighbour(world: World) -> Iterator[str]:
    """A good object beside the bad one; at the end it must be as it was."""
    world.start()
    world.apply("neighbour")
    world.wait_ready("neighbour")
    before, (task,) = world.get("neighbour"), world.tasks()
    yield "neighbour"
    world.sweeps(1)
    assert world.get("neighbour") == before
    assert world.task(task["taskArn"]) == task


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_a_clear_answer(world: World, neighbour: str, case: Bad) -> None:
    at_admission = case.by in ("kubectl", "server") or (case.by == "rule" and world.api.cel)
    if at_admission:
        text = yaml.safe_dump(manifest("bad", case.spec))
        answer = world.kubectl("create", "-f", "-", stdin=text, ok=False)
        assert re.search(case.says, answer, re.DOTALL), answer
        assert world.get("bad") is None
    else:
        world.create("bad", case.spec)
        condition = world.until_condition("bad", "Stalled", "True", case.reason)
        assert re.search(case.says, condition["message"]), condition
        uid = world.uid("bad")
        assert world.tasks(uid) == []
        until(lambda: world.app_state(uid).get("state") == "FAILURE", "PostgreSQL knows")
        world.kubectl("delete", "fc", "bad", "--timeout=60s")


def manifest(name: str, spec: Any) -> Obj:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def test_a_role_that_ecs_may_not_assume(world: World, neighbour: str) -> None:
    """Only ECS can know; the stand-in is told to say what ECS says."""
    world.ecs.fail_next(
        "RegisterTaskDefinition",
        code="ClientException",
        message="Role is not valid",
        status=400,
        times=10,
    )
    role = "arn:aws:iam::123456789012:role/nobody"
    world.create("bad", changed(taskRoleArn=role))
    condition = world.until_condition("bad", "Stalled", "True", "InvalidRole")
    assert "ecs-tasks.amazonaws.com may assume" in condition["message"]


def test_a_stored_spec_that_the_schema_would_refuse_today(world: World, neighbour: str) -> None:
    """An edit that breaks a running object's spec, where the server cannot refuse it: it is told,
    and its task goes on."""
    world.apply("bent")
    world.wait_ready("bent")
    uid = world.uid("bent")
    broken = '{"spec":{"template":{"memoryMiB":4096}}}'
    done = world.api.kubectl(
        "-n", world.namespace, "patch", "fc", "bent", "--type=merge", "-p", broken
    )
    if world.api.cel:
        assert "Fargate" in done.stderr
        assert world.condition("bent", "Stalled")["status"] == "False"
    else:
        assert done.returncode == 0
        condition = world.until_condition("bent", "Stalled", "True", "InvalidSpec")
        assert "Fargate" in condition["message"]
        assert world.condition("bent", "Ready")["status"] == "True"
    assert [task["live"] for task in world.tasks(uid)] == [True]


def test_names_and_values_that_are_odd_but_allowed(world: World) -> None:
    world.start()
    name = "n" + "-0" * 126  # 253 characters
    spec = container(
        user="Ünal Işık <unal@例え.jp>'; DROP TABLE hardware.user_containers; --",
        tags={"t" * 128: "v" * 256},
        environment=[{"name": "discovery.type", "value": "two\nlines\tand a tab, 例え"}],
    )
    world.create(name, spec)
    world.until_condition(name, "Ready", "True")
    uid = world.uid(name)
    until(lambda: world.app_state(uid).get("state") == "READY", "PostgreSQL knows")
    assert world.app_state(uid)["user_id"] == spec["user"]
    assert world.app_state(uid)["name"] == name
    (task,) = world.tasks(uid)
    environment = task["overrides"]["containerOverrides"][0]["environment"]
    assert {"name": "discovery.type", "value": "two\nlines\tand a tab, 例え"} in environment
    assert world.writes(events=True)  # the name of an Event has room for the object's
