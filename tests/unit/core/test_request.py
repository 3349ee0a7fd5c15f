"""What is sent to ECS: the same for the same spec, and every field of the spec in it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.spec_cases import GOOD
from tests.unit.core.world import CLUSTER, DEFINITION, POLICY, TEMPLATE, UID

from fractal_models.container import parse_spec
from fractal_models.observed import DefinitionContainer, TaskDefinition
from fractal_operator.core import request

ROLE = "arn:aws:iam::123456789012:role/reader"
FULL: dict[str, Any] = {
    **TEMPLATE,
    "ports": [{"name": "web", "containerPort": 80}],
    "environment": [{"name": "A", "value": "1"}],
    "secrets": [{"name": "S", "valueFrom": "param"}],
    "command": ["serve"],
    "healthCheck": {"command": ["CMD", "true"], "startPeriodSeconds": 0},
    "executionRoleArn": ROLE,
    "taskRoleArn": ROLE,
    "networkMode": "bridge",
    "requiresCompatibilities": ["EC2"],
    "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
    "ephemeralStorageGiB": 30,
    "stopTimeoutSeconds": 60,
    "logs": {"group": "g"},
}


def registered(template: dict[str, Any], region: str = "us-east-1", **spec: Any) -> dict[str, Any]:
    parsed = parse_spec({"template": template, **spec})
    assert parsed.template is not None
    return request.registration(parsed, parsed.template, region)


def test_the_smallest_registration() -> None:
    body = registered(dict(TEMPLATE))
    assert body.pop("family").startswith("fc-")
    assert body == {
        "containerDefinitions": [{"name": "main", "image": "nginx:1", "essential": True}],
        "cpu": "256",
        "memory": "512",
    }


def test_the_fullest_registration() -> None:
    body = registered(FULL)
    (container,) = body.pop("containerDefinitions")
    assert container == {
        "name": "main",
        "image": "nginx:1",
        "essential": True,
        "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
        "environment": [{"name": "A", "value": "1"}],
        "secrets": [{"name": "S", "valueFrom": "param"}],
        "command": ["serve"],
        "healthCheck": {"command": ["CMD", "true"], "startPeriod": 0},
        "stopTimeout": 60,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "g",
                "awslogs-region": "us-east-1",
                "awslogs-stream-prefix": "fractal",
            },
        },
    }
    body.pop("family")
    assert body == {
        "cpu": "256",
        "memory": "512",
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "executionRoleArn": ROLE,
        "taskRoleArn": ROLE,
        "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        "ephemeralStorage": {"sizeInGiB": 30},
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"template": {**TEMPLATE, "requiresCompatibilities": ["FARGATE"]}},
        {"template": TEMPLATE, "placement": [{"launchType": "FARGATE"}]},
        {"template": TEMPLATE, "placement": [{"capacityProvider": "FARGATE_SPOT"}]},
    ],
)
def test_fargate_is_registered_as_such(spec: dict[str, Any]) -> None:
    body = registered(**spec)
    assert body["networkMode"] == "awsvpc"
    assert body["requiresCompatibilities"] == ["FARGATE"]


def test_definitions_are_shared_by_content() -> None:
    one, two = registered(dict(TEMPLATE)), registered(dict(TEMPLATE), dpi=96, user="x")
    assert one == two
    changed = [
        registered({**TEMPLATE, "image": "nginx:2"}),
        registered({**TEMPLATE, "memoryMiB": 1024}),
        registered({**FULL, "stopTimeoutSeconds": 61}),
        registered(FULL),
        registered(FULL, region="eu-west-1"),
    ]
    assert len({each["family"] for each in [one, *changed]}) == 6


def test_nothing_sent_is_null_or_an_empty_list() -> None:
    def empties(value: Any) -> bool:
        match value:
            case dict():
                return any(empties(each) for each in value.values())
            case list():
                return not value or any(empties(each) for each in value)
            case _:
                return value is None

    for spec in GOOD.values():
        parsed = parse_spec(spec)
        if parsed.template is not None:
            assert not empties(request.registration(parsed, parsed.template, "r"))
        assert not empties(run(spec))


def run(spec: dict[str, Any], policy: Any = POLICY, mode: str = "bridge", **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "spec": parse_spec(spec),
        "policy": policy,
        "namespace": "default",
        "name": "box",
        "uid": UID,
        "attempt": 2,
        "rung": 0,
        "cluster_arn": CLUSTER,
        "definition": TaskDefinition(DEFINITION, "ACTIVE", mode, ()),
        "container": "app",
        "spec_hash": "v1:x",
    }
    return request.run_task(**fields | changes)


def test_the_smallest_run() -> None:
    body = run({"taskDefinition": "web"})
    token = body.pop("clientToken")
    assert len(token) == 52
    assert body == {
        "cluster": CLUSTER,
        "taskDefinition": DEFINITION,
        "count": 1,
        "startedBy": f"fc/ins/{UID}/2",
        "overrides": {
            "containerOverrides": [
                {"name": "app", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:x"}]}
            ]
        },
        "tags": [
            {"key": "fractal.co/install", "value": "ins"},
            {"key": "fractal.co/name", "value": "box"},
            {"key": "fractal.co/namespace", "value": "default"},
            {"key": "fractal.co/uid", "value": UID},
        ],
        "enableExecuteCommand": False,
    }


def test_what_belongs_to_the_object_goes_into_overrides_and_tags() -> None:
    body = run(
        {
            "taskDefinition": "web",
            "environment": [{"name": "B", "value": "2"}, {"name": "A"}],
            "command": ["serve"],
            "dpi": 96,
            "webserverUrl": "https://example.com",
            "tags": {"team": "x"},
            "enableExecuteCommand": True,
        }
    )
    (override,) = body["overrides"]["containerOverrides"]
    assert override["command"] == ["serve"]
    assert {each["name"]: each["value"] for each in override["environment"]} == {
        "A": "",
        "B": "2",
        "FRACTAL_DPI": "96",
        "FRACTAL_SPEC_HASH": "v1:x",
        "WEBSERVER_URL": "https://example.com",
    }
    assert {"key": "team", "value": "x"} in body["tags"]
    assert body["enableExecuteCommand"] is True


def test_the_order_of_variables_and_networks_does_not_change_the_body() -> None:
    variables = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    one = {
        "taskDefinition": "web",
        "environment": variables,
        "network": {"subnets": ["subnet-1", "subnet-2"]},
    }
    two = {
        "taskDefinition": "web",
        "environment": variables[::-1],
        "network": {"subnets": ["subnet-2", "subnet-1"]},
    }
    assert run(one, mode="awsvpc") == run(two, mode="awsvpc")


LADDER = [{"capacityProvider": "SPOT"}, {"launchType": "EC2"}]


@pytest.mark.parametrize(
    ("spec", "rung", "placed"),
    [
        ({"taskDefinition": "web"}, 0, {}),
        ({"template": TEMPLATE}, 0, {}),
        (
            {"template": {**TEMPLATE, "requiresCompatibilities": ["FARGATE"]}},
            0,
            {"launchType": "FARGATE"},
        ),
        ({"template": {**TEMPLATE, "requiresCompatibilities": ["EC2"]}}, 0, {}),
        (
            {"taskDefinition": "web", "placement": LADDER},
            0,
            {"capacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1}]},
        ),
        ({"taskDefinition": "web", "placement": LADDER}, 1, {"launchType": "EC2"}),
        ({"taskDefinition": "web", "placement": LADDER}, 7, {"launchType": "EC2"}),
    ],
)
def test_placement(spec: dict[str, Any], rung: int, placed: dict[str, Any]) -> None:
    assert request.placement(parse_spec(spec), rung) == placed
    assert placed.items() <= run(spec, rung=rung).items()


SETTINGS = replace(
    POLICY, subnets=("subnet-9",), security_groups=("sg-9",), assign_public_ip="Enabled"
)


@pytest.mark.parametrize(
    ("network", "policy", "sent"),
    [
        (None, SETTINGS, (["subnet-9"], ["sg-9"], "ENABLED")),
        ({}, SETTINGS, (["subnet-9"], ["sg-9"], "ENABLED")),
        ({"subnets": ["subnet-1"]}, SETTINGS, (["subnet-1"], ["sg-9"], "ENABLED")),
        (
            {"securityGroups": ["sg-1"], "assignPublicIp": "Disabled"},
            SETTINGS,
            (["subnet-9"], ["sg-1"], "DISABLED"),
        ),
        (None, replace(POLICY, subnets=()), None),
    ],
)
def test_the_network_is_the_specs_then_the_settings(network: Any, policy: Any, sent: Any) -> None:
    spec = {"taskDefinition": "web", "network": network}
    found = run(spec, policy, "awsvpc").get("networkConfiguration")
    if sent is None:
        assert found is None
        return
    config = found["awsvpcConfiguration"]
    assert (config["subnets"], config["securityGroups"], config["assignPublicIp"]) == sent


@pytest.mark.parametrize(
    ("network", "sent"), [(None, False), ({}, False), ({"subnets": ["subnet-1"]}, True)]
)
def test_a_network_nobody_asked_for_is_not_sent_to_other_modes(network: Any, sent: bool) -> None:
    spec = {"taskDefinition": "web", "network": network}
    assert ("networkConfiguration" in run(spec, SETTINGS, "bridge")) is sent


def containers(*names: str, essential: str = "") -> TaskDefinition:
    made = tuple(DefinitionContainer(name, essential=name in essential) for name in names)
    return TaskDefinition(DEFINITION, "ACTIVE", "bridge", made)


@pytest.mark.parametrize(
    ("wanted", "definition", "found"),
    [
        ("", containers("a", essential="a"), "a"),
        ("", containers("a", "b", essential="b"), "b"),
        ("", containers("a", "b", essential="ab"), None),
        ("", containers("a"), None),
        ("", containers(), None),
        ("b", containers("a", "b", essential="ab"), "b"),
        ("c", containers("a", "b", essential="ab"), None),
    ],
)
def test_the_main_container(wanted: str, definition: TaskDefinition, found: str | None) -> None:
    spec = parse_spec({"taskDefinition": "web", "containerName": wanted})
    assert request.main_container(spec, definition) == found
