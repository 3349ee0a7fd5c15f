"""Bad input: a clear answer each, at admission where the server can, and nobody else disturbed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from tests.conftest import crd_kept
from tests.e2e.api import PATIENCE
from tests.e2e.stack import Obj, Servers, World, container, new_world, until

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


@pytest.fixture(scope="module")
def village(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for all of this module, in which a good object lives."""
    with crd_kept(), new_world(servers, tmp_path_factory.mktemp("village")) as world:
        world.start()
        world.apply("neighbour")
        world.wait_ready("neighbour")
        yield world


@pytest.fixture
def shared(village: World) -> Iterator[World]:
    """The same; the good object must not be touched by the test, nor by an operator meanwhile."""
    before, (task,) = village.get("neighbour"), village.tasks(village.uid("neighbour"))
    yield village
    assert village.get("neighbour") == before
    assert village.task(task["taskArn"]) == task
    village.ecs.reset()


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_a_clear_answer(shared: World, case: Bad) -> None:
    at_admission = case.by == "server" or (case.by == "rule" and shared.api.cel)
    if at_admission:
        text = yaml.safe_dump(manifest("bad", case.spec))
        answer = shared.kubectl("create", "-f", "-", stdin=text, ok=False)
        assert re.search(case.says, answer, re.DOTALL), answer
        assert shared.get("bad") is None
    else:
        shared.create("bad", case.spec)
        condition = shared.until_condition("bad", "Stalled", "True", case.reason)
        assert re.search(case.says, condition["message"]), condition
        uid = shared.uid("bad")
        assert shared.tasks(uid) == []
        until(lambda: shared.app_state(uid).get("state") == "FAILURE", "PostgreSQL knows")
        shared.kubectl("delete", "fc", "bad", PATIENCE)


def manifest(name: str, spec: Any) -> Obj:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def test_a_role_that_ecs_may_not_assume(shared: World) -> None:
    """Only ECS can know; the stand-in is told to say what ECS says."""
    shared.ecs.fail_next(
        "RegisterTaskDefinition",
        code="ClientException",
        message="Role is not valid",
        status=400,
        times=10,
    )
    role = "arn:aws:iam::123456789012:role/nobody"
    shared.create("roleless", changed(taskRoleArn=role))
    condition = shared.until_condition("roleless", "Stalled", "True", "InvalidRole")
    assert "ecs-tasks.amazonaws.com may assume" in condition["message"]


def test_a_stored_spec_that_the_schema_would_refuse_today(shared: World) -> None:
    """An edit that breaks a running object's spec, where the server cannot refuse it: it is told,
    and its task goes on."""
    shared.apply("bent")
    shared.wait_ready("bent")
    uid = shared.uid("bent")
    broken = '{"spec":{"template":{"memoryMiB":4096}}}'
    done = shared.api.kubectl(
        "-n", shared.namespace, "patch", "fc", "bent", "--type=merge", "-p", broken
    )
    if shared.api.cel:
        assert "Fargate" in done.stderr
        assert shared.condition("bent", "Stalled")["status"] == "False"
    else:
        assert done.returncode == 0
        condition = shared.until_condition("bent", "Stalled", "True", "InvalidSpec")
        assert "Fargate" in condition["message"]
        assert shared.condition("bent", "Ready")["status"] == "True"
    assert [task["live"] for task in shared.tasks(uid)] == [True]


def test_arns_in_the_status_that_ecs_refuses(world: World) -> None:
    """Neither that of another form nor that of an impossible id is in anybody's way."""
    world.start()
    for name in ("ada", "bob"):
        world.apply(name)
    world.wait_ready("ada", "bob")
    world.ecs.calls(clear=True)

    def claim(name: str, task_id: str) -> str:
        (told,) = world.status(name)["tasks"]
        arn = f"{told['arn'].rpartition('/')[0]}/{task_id}"
        forged = {"attempt": 9, "role": "Retiring", "arn": arn, "reason": "Replaced"}
        patch = json.dumps({"status": {"tasks": [told, forged]}})
        world.kubectl("patch", "fc", name, "--subresource=status", "--type=merge", "-p", patch)
        return arn

    def claimed(name: str) -> list[str]:
        return [each["arn"] for each in world.status(name).get("tasks", ())]

    claim("ada", "no!task")
    until(lambda: len(claimed("ada")) == 1, "what is no ARN is dropped")
    assert world.ecs.errors() == {}
    arn, refusals = claim("bob", "short"), "DescribeTasks:InvalidParameterException"
    until(lambda: refusals in world.ecs.errors(), "ECS is asked of it")
    looks = world.ecs.calls()["DescribeTasks"]
    until(lambda: world.ecs.calls().get("DescribeTasks", 0) >= looks + 4, "ECS is asked on")
    assert arn in claimed("bob")
    # Refused are all three, one half, the one: for a sweep and a closer look at the same time.
    assert world.ecs.errors()[refusals] <= 2 * 3
    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert [each["live"] for each in world.tasks()] in ([True, False], [False, True])


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
    until(
        lambda: world.writes(events=True), "an Event"
    )  # the name of an Event has room for the object's
