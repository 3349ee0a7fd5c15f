"""ECS's JSON, complete, partial and odd, as frozen values."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.aws_wire import CLUSTER, task_arn

from fractal_helpers.aws import decode
from fractal_models.observed import (
    DefinitionContainer,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    PortBinding,
)

SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FULL: dict[str, Any] = {
    "taskArn": task_arn(1),
    "clusterArn": CLUSTER,
    "taskDefinitionArn": "arn:aws:ecs:eu-central-1:111122223333:task-definition/fc-1:1",
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "startedBy": "fc/i/u/1",
    "version": 3,
    "healthStatus": "HEALTHY",
    "launchType": "FARGATE",
    "capacityProviderName": "FARGATE_SPOT",
    "createdAt": datetime(2026, 1, 2, 4, 0, tzinfo=timezone(timedelta(hours=1))),
    "startedAt": datetime(2026, 1, 2, 3, 1, tzinfo=UTC),
    "overrides": {
        "containerOverrides": [
            {"name": "proxy"},
            {"name": "app", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:abc"}]},
        ]
    },
    "attachments": [
        {"type": "ServiceConnect", "details": [{"name": "networkInterfaceId", "value": "no"}]},
        {
            "type": "ElasticNetworkInterface",
            "status": "ATTACHED",
            "details": [
                {"name": "subnetId", "value": "subnet-1"},
                {"name": "networkInterfaceId", "value": "eni-1"},
                {"name": "privateIPv4Address", "value": "10.0.0.139"},
            ],
        },
    ],
    "containers": [
        {
            "name": "app",
            "lastStatus": "RUNNING",
            "healthStatus": "HEALTHY",
            "networkBindings": [
                {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"},
                {"bindIP": "::", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"},
                {"bindIP": "0.0.0.0", "containerPort": 53, "hostPort": 32769, "protocol": "udp"},
                {"bindIP": "0.0.0.0", "containerPortRange": "90-99", "hostPortRange": "90-99"},
            ],
        }
    ],
}
DECODED = ObservedTask(
    arn=FULL["taskArn"],
    cluster_arn=FULL["clusterArn"],
    observed_at=SEEN,
    last_status="RUNNING",
    definition_arn=FULL["taskDefinitionArn"],
    started_by="fc/i/u/1",
    spec_hash="v1:abc",
    version=3,
    health="HEALTHY",
    launch_type="FARGATE",
    capacity_provider="FARGATE_SPOT",
    created_at=datetime(2026, 1, 2, 3, 0, tzinfo=UTC),
    started_at=datetime(2026, 1, 2, 3, 1, tzinfo=UTC),
    containers=(
        ObservedContainer(
            name="app",
            last_status="RUNNING",
            health="HEALTHY",
            bindings=(PortBinding(80, 32768), PortBinding(53, 32769, "udp")),
        ),
    ),
    eni_id="eni-1",
    private_ip="10.0.0.139",
)


def test_a_whole_task() -> None:
    assert decode.task(FULL, SEEN) == DECODED


def test_the_detail_of_a_task_event_is_the_same_task_in_other_spellings() -> None:
    attachment = {**FULL["attachments"][1], "type": "eni"}
    detail = FULL | {
        "attachments": [attachment],
        "createdAt": "2026-01-02T03:00:00Z",
        "startedAt": "2026-01-02T03:01:00.000+00:00",
        "updatedAt": "2026-01-02T03:02:00Z",
        "somethingNew": {"of": ["tomorrow"]},
    }
    assert decode.task(detail, SEEN) == DECODED


def test_the_private_address_is_also_found_at_the_containers() -> None:
    detail = FULL | {
        "attachments": [],
        "containers": [
            {"name": "app", "networkInterfaces": [{"privateIpv4Address": "10.0.0.7"}]},
        ],
    }
    found = decode.task(detail, SEEN)
    assert (found.eni_id, found.private_ip) == ("", "10.0.0.7")


def test_a_task_that_never_started_has_no_containers_and_a_stop_code_we_may_not_know() -> None:
    found = decode.task(
        {
            "taskArn": task_arn(1),
            "clusterArn": CLUSTER,
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            "stopCode": "SomethingOfTomorrow",
            "stoppedReason": "no instance came",
            "stoppingAt": 1767322920,
            "stoppedAt": 1767322980.5,
            "containers": [],
        },
        SEEN,
    )
    assert found.stopped
    assert (found.stop_code, found.stopped_reason) == ("SomethingOfTomorrow", "no instance came")
    assert found.stopping_at == datetime(2026, 1, 2, 3, 2, tzinfo=UTC)
    assert found.stopped_at == datetime(2026, 1, 2, 3, 3, 0, 500_000, tzinfo=UTC)
    assert found.containers == ()


@pytest.mark.parametrize(
    ("task_status", "container_status", "exit_code"),
    [
        ("RUNNING", "PENDING", None),  # moto: 0 from birth
        ("RUNNING", "STOPPED", 0),
        ("DEPROVISIONING", "STOPPED", 0),
        ("STOPPED", "PENDING", 0),
        ("STOPPED", "STOPPED", 0),
    ],
)
def test_an_exit_code_counts_once_the_container_has_ended(
    task_status: str, container_status: str, exit_code: int | None
) -> None:
    containers = [{"name": "app", "lastStatus": container_status, "exitCode": 0}]
    payload = FULL | {"lastStatus": task_status, "containers": containers}
    assert decode.task(payload, SEEN).containers[0].exit_code == exit_code


def test_plain_moto_tells_no_version() -> None:
    payload = {key: value for key, value in FULL.items() if key != "version"}
    assert decode.task(payload, SEEN).version is None


def test_a_task_without_arn_cannot_be_read() -> None:
    for payload in ({}, {"taskArn": ""}, {"taskArn": 5}):
        with pytest.raises(ValueError, match="taskArn"):
            decode.task(payload, SEEN)


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé\0", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "value", "details", "type"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JUNK))
def test_no_field_of_another_type_breaks_a_task(junk: dict[str, Any]) -> None:
    found = decode.task(FULL | junk | {"taskArn": task_arn(1)}, SEEN)
    assert found.arn == task_arn(1)
    assert isinstance(found.last_status, str)
    assert isinstance(found.containers, tuple)


@pytest.mark.parametrize("value", [None, "", "yesterday", {}, [], True, 1e300, float("nan")])
def test_what_is_no_time_is_none(value: object) -> None:
    assert decode.instant(value) is None


def test_a_time_without_zone_is_utc() -> None:
    assert decode.instant("2026-01-02T03:04:05") == SEEN
    assert decode.instant(datetime(2026, 1, 2, 3, 4, 5)) == SEEN  # noqa: DTZ001


def test_a_launch_failure() -> None:
    payload = {"arn": "arn:i", "reason": "RESOURCE:CPU", "detail": "no room"}
    assert decode.launch_failure(payload) == LaunchFailure("RESOURCE:CPU", "no room", "arn:i")
    assert decode.launch_failure({}) == LaunchFailure("")


def test_a_task_definition_with_the_defaults_of_ecs() -> None:
    found = decode.definition(
        {
            "taskDefinitionArn": "arn:d:1",
            "status": "INACTIVE",
            "containerDefinitions": [
                {"name": "app", "healthCheck": {"command": ["CMD", "true"]}},
                {"name": "logs", "essential": False},
            ],
            "requiresCompatibilities": ["EC2"],
        }
    )
    assert (found.status, found.network_mode) == ("INACTIVE", "bridge")
    assert found.requires_compatibilities == ("EC2",)
    assert found.containers == (
        DefinitionContainer("app", essential=True, has_health_check=True),
        DefinitionContainer("logs", essential=False),
    )


def test_the_roles_and_every_image_of_a_task_definition_are_read_as_registered() -> None:
    found = decode.definition(
        {
            "taskDefinitionArn": "arn:d:1",
            "taskRoleArn": "app",
            "executionRoleArn": "arn:aws:iam::111122223333:role/pull",
            "containerDefinitions": [
                {"name": "app", "image": "registry.example.com/App:1"},
                {"name": "log", "image": "log@sha256:0", "essential": False},
                {"name": "odd", "image": 7},
            ],
        }
    )
    assert (found.task_role, found.execution_role) == ("app", "arn:aws:iam::111122223333:role/pull")
    images = ["registry.example.com/App:1", "log@sha256:0", ""]
    assert [each.image for each in found.containers] == images


def test_an_arn_is_needed_of_definitions_and_clusters_too() -> None:
    with pytest.raises(ValueError, match="taskDefinitionArn"):
        decode.definition({})
    with pytest.raises(ValueError, match="clusterArn"):
        decode.cluster({})
    assert decode.cluster({"clusterArn": CLUSTER, "status": "ACTIVE"}).name == "main"


@pytest.mark.parametrize(
    ("told", "tags"),
    [
        ({}, None),
        ({"tags": []}, ()),
        ({"tags": None}, ()),
        (
            {
                "tags": [
                    {"key": "fractal.co/uid", "value": "a"},
                    {"key": "team", "value": "blue"},
                    {"key": "fractal.co/name", "value": "one"},
                    {"key": 7},
                    "odd",
                ]
            },
            (("fractal.co/name", "one"), ("fractal.co/uid", "a")),
        ),
    ],
)
def test_our_tags_and_whether_tags_were_told_at_all(told: dict[str, Any], tags: Any) -> None:
    task = decode.task({"taskArn": "arn", **told}, SEEN)
    assert task.tags == tags
    assert task.tag("fractal.co/uid") == ("a" if tags else "")
    assert task.tag("team") == ""
