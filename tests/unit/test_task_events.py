"""Task events: whatever a queue holds is read, and says the same of a task as DescribeTasks."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.aws_wire import CLUSTER, task_arn

from fractal_helpers.aws import decode, task_events
from fractal_models.task_events import TaskEvent, Unreadable

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LIFE = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEPROVISIONING", "STOPPED")


def detail(**changes: Any) -> dict[str, Any]:
    """The detail of the developer guide's example, shortened."""
    task = {
        "taskArn": task_arn(1),
        "clusterArn": CLUSTER,
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "startedBy": "fc/ins/uid/1",
        "version": 3,
        "createdAt": "2026-05-04T11:58:00.123Z",
        "startedAt": "2026-05-04T11:59:00Z",
        "updatedAt": "2026-05-04T11:59:01.5Z",
        "attachments": [
            {
                "id": "a",
                "type": "eni",
                "status": "ATTACHED",
                "details": [
                    {"name": "networkInterfaceId", "value": "eni-1"},
                    {"name": "privateIPv4Address", "value": "10.0.0.139"},
                ],
            }
        ],
        "containers": [
            {"name": "main", "lastStatus": "RUNNING", "networkInterfaces": [{"attachmentId": "a"}]}
        ],
        "overrides": {
            "containerOverrides": [
                {"name": "main", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:x"}]}
            ]
        },
        "ephemeralStorage": {"sizeInGiB": 20},
    }
    return {**task, **changes}


def event(of: dict[str, Any] | None = None, **envelope: Any) -> str:
    whole = {
        "version": "0",
        "id": "0000",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "111122223333",
        "time": "2026-05-04T11:59:02Z",
        "region": "eu-central-1",
        "resources": [task_arn(1)],
        "detail": detail() if of is None else of,
    }
    return json.dumps({**whole, **envelope})


def read(body: object) -> TaskEvent:
    found = task_events.read(body, NOW)
    assert isinstance(found, TaskEvent), found
    return found


def test_an_event_says_what_describe_tasks_says_but_for_tags() -> None:
    found = read(event())
    assert (found.region, found.account) == ("eu-central-1", "111122223333")
    task = found.task
    at = datetime(2026, 5, 4, 11, 58, 0, 123000, tzinfo=UTC)
    described = detail(createdAt=at, attachments=[detail()["attachments"][0]])
    described["attachments"][0] |= {"type": "ElasticNetworkInterface"}
    (container,) = decode.task(described, task.observed_at).containers
    assert task == replace(
        decode.task(described, task.observed_at),
        health="",
        containers=(replace(container, health=""),),
    )
    assert (task.eni_id, task.private_ip, task.spec_hash) == ("eni-1", "10.0.0.139", "v1:x")
    assert task.tags is None
    assert task.observed_at == datetime(2026, 5, 4, 11, 59, 1, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (event(detail(updatedAt="2027-01-01T00:00:00Z")), NOW),
        (event(detail(updatedAt="soon")), datetime(2026, 5, 4, 11, 59, 2, tzinfo=UTC)),
        (event(detail(updatedAt=None), time=7), datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)),
        (event(detail(updatedAt=None), time=None), NOW),
    ],
)
def test_a_task_was_seen_when_ecs_changed_it_and_never_in_the_future(
    body: str, at: datetime
) -> None:
    assert read(body).task.observed_at == at


@pytest.mark.parametrize(
    "envelope",
    [
        {"detail-type": "ECS Container Instance State Change"},
        {"detail-type": "ECS Service Action", "detail": None},
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"},
    ],
)
def test_an_event_of_another_kind_is_none(envelope: dict[str, Any]) -> None:
    assert task_events.read(event(**envelope), NOW) is None


SECRET = "do-not-quote-me"


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        SECRET,
        f'{{"{SECRET}": ',
        f'["{SECRET}"]',
        "[" * 100_000,
        '{"source": "aws.ecs", "detail-type": "\\ud800"}',
        json.dumps({"Type": "Notification", "Message": event()}),  # by way of SNS
        event(detail="RUNNING"),
        event(detail={}),
        event(detail(taskArn="")),
        event(detail(lastStatus=None)),
        event(account=None),
        event(region=7),
    ],
)
def test_what_is_no_event_is_told_apart_and_not_quoted(body: object) -> None:
    found = task_events.read(body, NOW)
    assert isinstance(found, Unreadable)
    assert SECRET not in found.why
    assert found.why.startswith("it")
    assert len(found.digest) == 12


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def mutated(draw: Callable[..., Any], value: Any) -> Any:
    """A value like this one: parts of it replaced, taken away, or joined by others."""
    match draw(st.integers(0, 9)):
        case 0:
            return draw(JSON)
        case _ if isinstance(value, dict):
            kept = {
                key: mutated(draw, each) for key, each in value.items() if draw(st.integers(0, 9))
            }
            return {**kept, **draw(st.dictionaries(st.text(max_size=4), JSON, max_size=1))}
        case _ if isinstance(value, list):
            return [mutated(draw, each) for each in value]
        case _:
            return value


@given(st.data())
def test_whatever_is_in_a_queue_is_read_without_an_error(data: st.DataObject) -> None:
    body = json.dumps(mutated(data.draw, json.loads(event())))
    found = task_events.read(body, NOW)
    if isinstance(found, TaskEvent):
        assert found.task.arn
        assert found.task.last_status
        assert found.task.observed_at <= NOW
        assert found.task.tags is None or isinstance(found.task.tags, tuple)
    else:
        assert found is None or isinstance(found, Unreadable)


@given(st.text())
def test_whatever_text_is_in_a_queue_is_read_without_an_error(text: str) -> None:
    assert not isinstance(task_events.read(text, NOW), TaskEvent)


def test_health_is_told_only_where_it_stands() -> None:
    task = read(event(detail(healthStatus="UNKNOWN"))).task
    assert (task.health, task.containers[0].health) == ("UNKNOWN", "UNKNOWN")
    told = detail(containers=[{"name": "main", "healthStatus": "HEALTHY"}, {"name": "side"}])
    task = read(event(told)).task
    assert [each.health for each in task.containers] == ["HEALTHY", ""]
    assert task.health == ""


MOMENTS = st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    status=st.sampled_from(LIFE),
    version=st.integers(1, 10**9),
    created=MOMENTS,
    code=st.none() | st.integers(0, 255),
    extra=st.dictionaries(st.text(max_size=6).map("x".__add__), JSON, max_size=3),
)
def test_what_ecs_tells_survives_and_what_is_new_to_us_does_not_matter(
    status: str, version: int, created: datetime, code: int | None, extra: dict[str, Any]
) -> None:
    told = {"lastStatus": status, "version": version, "createdAt": created.isoformat()}
    containers = [{"name": "main", "lastStatus": status, "exitCode": code}]
    found = read(event(detail(**extra, **told, containers=containers))).task
    assert (found.last_status, found.version) == (status, version)
    assert found.created_at is not None
    assert found.created_at == created
    assert found.containers[0].exit_code == (code if status == "STOPPED" else None)
