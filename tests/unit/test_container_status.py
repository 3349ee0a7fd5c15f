"""The status: a canonical form outwards, leniency inwards."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_models.container import (
    Attempt,
    Condition,
    ConditionStatus,
    Endpoint,
    EndpointPort,
    Phase,
    PlacementStatus,
    Role,
    Status,
    Task,
    Termination,
    clip,
)

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)

FULL = Status(
    observed_generation=3,
    phase=Phase.RUNNING,
    conditions=(
        Condition(
            type="Ready",
            status=ConditionStatus.TRUE,
            reason="TaskRunning",
            message="well",
            last_transition_time=NOON,
            observed_generation=3,
        ),
        Condition(type="Stalled", status=ConditionStatus.FALSE, reason="Progressing"),
    ),
    attempt=Attempt(
        number=2,
        cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/main",
        definition_arn="arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
        rung=0,
        spec_hash="v1:abc",
        request_hash="def",
        first_issued_at=NOON,
        last_issued_at=NOON,
        failures=0,
        container_name="main",
    ),
    tasks=(
        Task(attempt=1, role=Role.RETIRING, arn="t1", reason="SpecChanged", since=NOON),
        Task(attempt=2, arn="t2", last_status="RUNNING", started_at=NOON),
    ),
    placement=PlacementStatus(rung=0, capacity_provider="FARGATE"),
    endpoint=Endpoint(
        ip="203.0.113.7",
        private_ip="10.0.0.7",
        ports=(EndpointPort(name="a", container_port=1, host_port=0, protocol="udp"),),
    ),
    ready_at=NOON,
    will_stop_at=NOON + timedelta(hours=1),
    last_terminations=(Termination(attempt=1, exit_code=0, finished_at=NOON),),
    last_handled_reconcile_at="now",
    message="fine",
)


def test_json_holds_every_set_field_by_its_api_name() -> None:
    data = FULL.to_json()
    assert data["attempt"]["firstIssuedAt"] == "2026-05-04T12:00:00Z"
    assert data["attempt"]["failures"] == 0
    assert data["tasks"][0]["role"] == "Retiring"
    assert data["lastTerminations"] == [
        {"attempt": 1, "exitCode": 0, "finishedAt": "2026-05-04T12:00:00Z"}
    ]
    assert data["endpoint"]["ports"] == [
        {"name": "a", "containerPort": 1, "hostPort": 0, "protocol": "udp"}
    ]
    assert set(data) == {
        "observedGeneration", "phase", "conditions", "attempt", "tasks", "placement", "endpoint",
        "readyAt", "willStopAt", "lastTerminations", "lastHandledReconcileAt", "message",
    }  # fmt: skip


def test_what_was_written_reads_back_equal() -> None:
    data = json.loads(json.dumps(FULL.to_json()))
    assert Status.from_json(data) == FULL
    assert Status.from_json(data).to_json() == data


def test_an_empty_status_is_an_empty_object() -> None:
    assert Status().to_json() == {}
    assert Status(endpoint=Endpoint(), message="").to_json() == {}


def test_the_order_of_conditions_and_tasks_means_nothing() -> None:
    turned = FULL.model_copy(
        update={"conditions": FULL.conditions[::-1], "tasks": FULL.tasks[::-1]}
    )
    assert turned.to_json() == FULL.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-04T12:00:00Z",
        "2026-05-04T12:00:00+00:00",
        "2026-05-04T14:00:00.999999+02:00",
        "2026-05-04t12:00:00z",
    ],
)
def test_times_of_any_rfc3339_form_become_whole_seconds_of_utc(text: str) -> None:
    status = Status.from_json({"readyAt": text})
    assert status.ready_at == NOON
    assert status.to_json() == {"readyAt": "2026-05-04T12:00:00Z"}


def test_times_are_made_whole_when_built() -> None:
    there = datetime(2026, 5, 4, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert Status(ready_at=there).ready_at == NOON


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ({"phase": "Dreaming"}, {}),
        ({"message": 7}, {}),
        ({"readyAt": "2026-05-04T12:00:00"}, {}),
        ({"readyAt": "0001-01-01T00:00:00+14:00"}, {}),
        ({"observedGeneration": "3"}, {}),
        ({"attempt": {"number": 0}}, {}),
        ({"attempt": {"clusterArn": "a"}}, {}),
        ({"attempt": {"number": 1, "firstIssuedAt": "soon"}}, {}),
        ({"endpoint": {"ip": "1.2.3.4", "ports": [{}]}}, {}),
        ({"tasks": [{"attempt": "1"}, {"attempt": 2}]}, {"tasks": [{"attempt": 2}]}),
        ({"tasks": [{"attempt": 1}] * 2}, {}),
        ({"tasks": [{"attempt": n} for n in (1, 2, 3)]}, {}),
        ({"lastTerminations": [7, {"attempt": 1}]}, {"lastTerminations": [{"attempt": 1}]}),
        ({"conditions": {"type": "Ready"}}, {}),
        ({"unknown": 1, "message": "kept"}, {"message": "kept"}),
        ({"message": None, "tasks": None}, {}),
    ],
)
def test_a_part_that_does_not_parse_counts_as_absent(
    part: dict[str, Any], left: dict[str, Any]
) -> None:
    kept = {"message": "kept"}
    assert Status.from_json(kept | part) == Status.from_json(
        {key: value for key, value in kept.items() if key not in part} | left
    )


@pytest.mark.parametrize("junk", [None, 7, "x", [], [1]])
def test_a_status_that_is_no_object_counts_as_empty(junk: Any) -> None:
    assert Status.from_json(junk) == Status()


def test_texts_are_cut_when_built() -> None:
    task = Task(attempt=1, reason="r" * 5000, arn="a" * 5000)
    end = Termination(attempt=1, reason="x" * 10_000)
    status = Status(message="m" * 5000, tasks=(task,), last_terminations=(end,))
    assert len(status.message) == 1024
    assert status.message.endswith("…")
    assert len(status.tasks[0].arn) == 512
    assert len(status.last_terminations[0].reason) == 1024
    assert len(Status().model_copy(update={"message": "m" * 5000}).to_json()["message"]) == 1024


def test_clip_leaves_what_can_be_stored_everywhere() -> None:
    assert clip("short", 5) == "short"
    assert clip("longer", 5) == "long…"
    assert clip("a\0b\ud800c", 9) == "a\ufffdb\ufffdc"


@given(st.text(st.characters(), max_size=40), st.integers(1, 20))
def test_clip_is_bounded_encodable_and_stable(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert len(cut) <= limit
    assert "\0" not in cut
    assert cut.encode().decode() == cut
    assert clip(cut, limit) == cut


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["attempt", "type", "status", "number", "arn", "ports", "ip", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*FULL.to_json(), "x"]), json_values, max_size=6))
def test_reading_never_raises_and_what_it_gives_is_stable(data: dict[str, Any]) -> None:
    status = Status.from_json(data)
    assert Status.from_json(status.to_json()).to_json() == status.to_json()
