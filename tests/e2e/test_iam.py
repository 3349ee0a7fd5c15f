"""The IAM policy of docs/install.md: all that the operator asks of AWS, and nothing more."""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.e2e.api import PATIENCE
from tests.e2e.stack import REGION, World

ROOT = Path(__file__).parents[2]
FREE = {"sts:GetCallerIdentity"}
"""Needs no permission (STS API reference)."""
AUTHORIZATION: Mapping[str, tuple[str, set[str]]] = {
    "ecs:RunTask": ("task-definition", {"ecs:cluster"}),
    "ecs:StopTask": ("task", {"ecs:cluster"}),
    "ecs:DescribeTasks": ("task", {"ecs:cluster"}),
    "ecs:TagResource": ("task", set()),
    "ecs:ListTasks": ("container-instance", {"ecs:cluster"}),
    "ecs:DescribeContainerInstances": ("container-instance", {"ecs:cluster"}),
    "ecs:DescribeClusters": ("cluster", set()),
    "ecs:RegisterTaskDefinition": ("", set()),
    "ecs:DescribeTaskDefinition": ("", set()),
    "ec2:DescribeNetworkInterfaces": ("", set()),
    "ec2:DescribeInstances": ("", set()),
    "iam:PassRole": ("role", {"iam:PassedToService"}),
    "sqs:ReceiveMessage": ("queue", set()),
    "sqs:DeleteMessage": ("queue", set()),
}
"""The resource type that an action is allowed on ("": it cannot be limited), and the condition keys
of use here that its requests carry (AWS's Service Authorization Reference). An Allow with another
key never applies."""

CALLS = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}
"""Operations that an action of another name allows (same source)."""

Statement = dict[str, Any]


def many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def policy(text: str = "") -> list[Statement]:
    """The statements of the one policy document of the page."""
    page = text or (ROOT / "docs" / "install.md").read_text()
    (found,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    statements: list[Statement] = json.loads(found)["Statement"]
    return statements


def actions(statements: Iterable[Statement]) -> list[str]:
    return [action for each in statements for action in many(each["Action"])]


def named_in(code: Iterable[Path]) -> set[str]:
    """The AWS operations that the modules' string literals name, as IAM actions."""
    words = {
        node.value
        for module in code
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    session: Any = boto3.Session(region_name=REGION)
    return {
        CALLS.get(f"{service}:{operation}", f"{service}:{operation}")
        for service in ("ecs", "ec2", "sts", "iam", "sqs")
        for operation in session.client(service).meta.service_model.operation_names
        if operation in words
    }


def kind_of(arn: str) -> str:
    """The resource type in an ARN; a queue's has none, but its name alone."""
    service, name = arn.split(":", 5)[2], arn.split(":", 5)[5]
    return "queue" if service == "sqs" else name.split("/")[0]


def test_each_action_stands_there_once_and_by_its_name() -> None:
    given = actions(policy())
    assert len(given) == len(set(given))
    assert not [each for each in given if "*" in each]
    assert {each["Effect"] for each in policy()} == {"Allow"}


@pytest.mark.parametrize("statement", policy(), ids=lambda each: str(each["Sid"]))
def test_a_statement_is_as_narrow_as_aws_can_check(statement: Statement) -> None:
    resources = many(statement["Resource"])
    keys = {key for test in statement.get("Condition", {}).values() for key in test}
    for action in many(statement["Action"]):
        kind, known = AUTHORIZATION[action]
        assert keys <= known, action
        if resources == ["*"]:
            assert not kind or keys == {"ecs:cluster"}, action
            continue
        for resource in resources:
            assert kind_of(resource) == kind, action
            assert kind != "queue" or "*" not in resource
            assert kind != "task-definition" or keys == {"ecs:cluster"}


def test_roles_are_passed_by_name_and_to_tasks_only() -> None:
    (statement,) = (each for each in policy() if "iam:PassRole" in many(each["Action"]))
    assert many(statement["Action"]) == ["iam:PassRole"]
    assert not [each for each in many(statement["Resource"]) if "*" in each or "?" in each]
    condition = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    assert statement["Condition"] == condition


def test_the_code_names_no_operation_that_the_policy_lacks() -> None:
    # limits.py names those that share a quota, too.
    code = set((ROOT / "helpers" / "fractal_helpers" / "aws").glob("*.py"))
    code = {each for each in code if each.name != "limits.py"}
    assert named_in(code) - FREE == set(actions(policy())) - {"iam:PassRole"}


def test_a_run_of_everything_asks_for_what_the_policy_allows(world: World) -> None:
    """Fargate and EC2, inline and by definition, edited, retained and deleted: counted at AWS."""
    world.ecs.ensure_cluster(world.name, REGION, instances=1)
    family = f"theirs-{world.name}"
    world.register(family)
    world.ecs.calls(clear=True)
    role = "arn:aws:iam::123456789012:role/apps-"
    fargate = {
        "image": "registry.example.com/app:1",
        "cpuUnits": 256,
        "memoryMiB": 512,
        "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": f"{role}execution",
        "taskRoleArn": f"{role}task",
    }
    host = {
        "image": "registry.example.com/app:1",
        "cpuUnits": 128,
        "memoryMiB": 128,
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    world.start(sqs_queue_url=world.events())
    world.apply("inline", {"template": fargate})
    world.apply("kept", {"template": fargate, "deletionPolicy": "Retain"})
    world.apply("on-host", {"template": host, "placement": [{"launchType": "EC2"}]})
    world.apply("theirs", {"taskDefinition": family})
    world.wait_ready("inline", "kept", "on-host", "theirs")
    world.patch("inline", spec={"dpi": 120})
    world.kubectl("wait", "--for=jsonpath={.status.attempt.number}=2", "fc/inline", PATIENCE)
    world.wait_ready("inline")
    world.kubectl("delete", "fc", "--all", PATIENCE)

    calls = {name for name, count in world.ecs.calls().items() if count}
    called = {CALLS.get(name, name if ":" in name else f"ecs:{name}") for name in calls}
    tasks, definitions = world.tasks(), world.ecs.definitions()
    if any(each["tags"] for each in tasks):  # at RunTask; afterwards it is a call of its own
        called.add("ecs:TagResource")
    used = {each["taskDefinitionArn"] for each in tasks}
    described = [
        world.aws_ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"]) for arn in used
    ]
    passed = {
        arn
        for each in described
        for key in ("executionRoleArn", "taskRoleArn")
        if (arn := each["taskDefinition"].get(key))
    }
    if passed:
        called.add("iam:PassRole")
    assert called - FREE == set(actions(policy()))

    # The same statements, for this account: do they match what was really named?
    account, page = world.cluster_arn.split(":")[4], (ROOT / "docs" / "install.md").read_text()
    page = page.replace("eu-central-1", REGION).replace("cluster/apps", f"cluster/{world.name}")
    page = page.replace("task/apps/", f"task/{world.name}/").replace(
        "ecs:" + REGION + ":123456789012", f"ecs:{REGION}:{account}"
    )
    named = {
        "ecs:RunTask": used,
        "ecs:StopTask": {each["taskArn"] for each in tasks},
        "ecs:TagResource": {each["taskArn"] for each in tasks},
        "ecs:DescribeClusters": {world.cluster_arn},
        "iam:PassRole": passed,
    }
    for action, arns in named.items():
        (allowed,) = (
            many(each["Resource"]) for each in policy(page) if action in many(each["Action"])
        )
        for arn in arns:
            assert any(fnmatchcase(arn, pattern) for pattern in allowed), (action, arn)
    assert not [each for each in described if each.get("tags")], "tags of definitions need a right"
    assert {each["arn"] for each in definitions} >= used
