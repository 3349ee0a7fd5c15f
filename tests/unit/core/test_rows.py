"""What Postgres is told: rows from a status and its observed tasks."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    DEFINITION,
    NOW,
    POLICY,
    UID,
    ago,
    arn,
    attempt,
    entry,
    observation,
    retiring,
    running,
    stopped,
    task,
)

from fractal_models.container import (
    Condition,
    Endpoint,
    EndpointPort,
    Phase,
    Status,
    Termination,
)
from fractal_models.observed import ObservedContainer
from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord
from fractal_operator.core import rows
from fractal_operator.core.events import Transition

BODY: dict[str, Any] = {
    "metadata": {
        "uid": UID,
        "namespace": "default",
        "name": "box",
        "generation": 4,
        "resourceVersion": "77",
    },
    "spec": {"user": "a@example.com", "dpi": 96},
}
READY = (Condition(type="Ready", status="True"),)
SEED_PORTS = tuple(
    EndpointPort(container_port=port, host_port=port + 1) for port in (32262, 32263, 32273)
)
ENDPOINT = Endpoint(ip="203.0.113.7", private_ip="10.0.0.7", ports=SEED_PORTS)


# --- hardware.user_app_state ---


@pytest.mark.parametrize(
    ("phase", "ready", "mode", "state"),
    [
        (None, False, "", "PENDING"),
        (Phase.PENDING, False, "", "PENDING"),
        (Phase.PROVISIONING, False, "", "SPINNING_UP_NEW"),
        (Phase.UPDATING, False, "", "SPINNING_UP_NEW"),
        (Phase.STOPPING, False, "", "SPINNING_UP_NEW"),
        (Phase.STOPPING, False, "Suspended", "CANCELLED"),
        (Phase.RUNNING, False, "", "WAITING_FOR_CLIENT_APP"),
        (Phase.RUNNING, True, "", "READY"),
        (Phase.FAILED, False, "", "FAILURE"),
        (Phase.SUSPENDED, False, "Suspended", "CANCELLED"),
        (Phase.SUCCEEDED, False, "", "CANCELLED"),
        (Phase.DELETING, False, "", "CANCELLED"),
    ],
)
def test_the_state_of_an_object(phase: Any, ready: bool, mode: str, state: str) -> None:
    body = {**BODY, "spec": {"operatingMode": mode}}
    status = Status(phase=phase, conditions=READY if ready else ())
    row = rows.app_state(body, status, "ins", NOW, gone=False)
    assert (row.state, row.deleted, row.user_id) == (state, False, None)
    last = rows.app_state(body, status, "ins", NOW, gone=True)
    assert (last.state, last.deleted) == ("CANCELLED", True)


def test_the_row_of_an_object() -> None:
    status = Status(phase=Phase.RUNNING, conditions=READY, endpoint=ENDPOINT)
    assert rows.app_state(BODY, status, "ins", NOW, gone=False) == AppStateRecord(
        task_id=UID,
        install="ins",
        namespace="default",
        name="box",
        user_id="a@example.com",
        state="READY",
        ip="203.0.113.7",
        port=32263,
        generation=4,
        resource_version="77",
        observed_at=NOW,
        deleted=False,
    )


def test_an_object_without_a_spec_or_an_endpoint_has_a_row() -> None:
    body = {"metadata": {"uid": UID, "namespace": "default", "name": "box"}}
    row = rows.app_state(body, Status(), "ins", NOW, gone=False)
    assert (row.ip, row.port, row.generation, row.resource_version) == ("", -1, 0, "")


# --- hardware.user_containers ---


def test_the_row_of_a_task() -> None:
    status = Status(attempt=attempt(), tasks=(entry(),), conditions=READY, endpoint=ENDPOINT)
    assert rows.container(BODY, status, task(version=5), 1) == ContainerRecord(
        container_id=arn(),
        uid=UID,
        namespace="default",
        name="box",
        attempt=1,
        user_id="a@example.com",
        cluster="main",
        location="us-east-1",
        ip="203.0.113.7",
        state="RUNNING_AVAILABLE",
        port_32262=32263,
        port_32263=32264,
        port_32273=32274,
        dpi=96,
        task_definition="web",
        task_version=1,
        version=5,
        generation=4,
        observed_at=NOW,
        created_at=ago(100),
        started_at=ago(60),
        stopped_at=None,
        stop_code="",
        stopped_reason="",
        exit_code=None,
    )


def test_an_end_has_a_time_though_ecs_tells_none() -> None:
    told = stopped(stopped_at=ago(5))
    assert rows.container(BODY, Status(), told, 1).stopped_at == ago(5)
    bare = stopped(stopped_at=None)
    assert rows.container(BODY, Status(), bare, 1).stopped_at == bare.observed_at


@pytest.mark.parametrize(
    ("status", "shown", "state"),
    [
        (Status(), task(1, "PROVISIONING"), "CREATING"),
        (Status(), task(1, "ACTIVATING"), "CREATING"),
        (Status(), task(), "RUNNING_UNAVAILABLE"),
        (Status(tasks=(entry(),), conditions=READY), task(), "RUNNING_AVAILABLE"),
        (Status(tasks=(retiring(),)), task(), "DELETING"),
        (Status(tasks=(entry(),)), task(desired_status="STOPPED"), "DELETING"),
        (Status(), task(1, "DEPROVISIONING"), "DELETING"),
        (Status(), stopped(exit_code=0), "STOPPED"),
        (Status(), stopped(exit_code=1), "FAILED"),
        (Status(), stopped(exit_code=None, started_at=None), "FAILED"),
        (Status(), stopped(exit_code=137, stop_code="UserInitiated"), "STOPPED"),
        (Status(tasks=(retiring(reason="Deleted"),)), stopped(exit_code=137), "STOPPED"),
        (
            Status(last_terminations=(Termination(attempt=1, stop_code="Replaced"),)),
            stopped(exit_code=137),
            "STOPPED",
        ),
        (
            Status(last_terminations=(Termination(attempt=1, stop_code="StartTimeout"),)),
            stopped(exit_code=None, started_at=None),
            "FAILED",
        ),
    ],
)
def test_the_state_of_a_task(status: Status, shown: Any, state: str) -> None:
    assert rows.container(BODY, status, shown, 1).state == state


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status(), "EssentialContainerExited"),
        (Status(tasks=(entry(),)), "EssentialContainerExited"),
        (Status(tasks=(retiring(reason="Deleted"),)), "Deleted"),
        (Status(last_terminations=(Termination(attempt=1, stop_code="Replaced"),)), "Replaced"),
        (
            Status(last_terminations=(Termination(attempt=2, stop_code="Replaced"),)),
            "EssentialContainerExited",
        ),
    ],
)
def test_why_a_task_stopped(status: Status, code: str) -> None:
    row = rows.container(BODY, status, stopped(exit_code=3), 1)
    assert (row.stop_code, row.exit_code) == (code, 3)
    assert row.stopped_reason == "Essential container in task exited"


def test_only_the_current_task_has_the_endpoint() -> None:
    status = Status(tasks=(retiring(1), entry(2)), endpoint=ENDPOINT)
    old = rows.container(BODY, status, task(1, private_ip="10.0.0.9"), 1)
    assert (old.ip, old.port_32262) == ("10.0.0.9", -1)
    new = rows.container(BODY, status, task(2), 2)
    assert (new.ip, new.port_32262) == ("203.0.113.7", 32263)
    early = rows.container(BODY, Status(tasks=(entry(2),)), task(2, private_ip="10.0.0.8"), 2)
    assert (early.ip, early.port_32262) == ("10.0.0.8", -1)


@pytest.mark.parametrize(
    ("definition", "family", "revision"),
    [(DEFINITION, "web", 1), ("web", "web", None), ("", "", None), ("a/web:x", "web", None)],
)
def test_the_definition_of_a_task(definition: str, family: str, revision: Any) -> None:
    row = rows.container(BODY, Status(), task(definition_arn=definition), 1)
    assert (row.task_definition, row.task_version) == (family, revision)


def test_a_short_arn_has_no_location() -> None:
    assert rows.container(BODY, Status(), task(arn="task/1"), 1).location == ""


def test_the_exit_code_is_the_main_containers() -> None:
    both = (ObservedContainer("log", exit_code=1), ObservedContainer("app", exit_code=0))
    row = rows.container(BODY, Status(attempt=attempt()), stopped(containers=both), 1)
    assert row.exit_code == 0


# --- all rows of an object ---


def test_an_object_has_a_row_for_itself_and_for_each_task_of_ours() -> None:
    seen = observation(tasks=(task(1), task(2), task(3, started_by="somebody")))
    found = rows.current(BODY, seen, POLICY, gone=False)
    assert [type(each) for each in found] == [AppStateRecord, ContainerRecord, ContainerRecord]
    assert [each.container_id for each in found if isinstance(each, ContainerRecord)] == [
        arn("1"),
        arn("2"),
    ]


def test_the_last_rows_end_the_history() -> None:
    seen = running(deleting_since=NOW)
    found = rows.current(BODY, seen, POLICY, gone=True)
    assert isinstance(found[0], AppStateRecord)
    assert found[0].deleted
    last = found[-1]
    assert isinstance(last, HistoryRecord)
    assert (last.reason, last.phase_to, last.key) == ("Deleted", "Deleted", f"{UID}-end")


# --- logs.container_history ---


def test_a_transition_is_a_row_and_their_order_is_kept() -> None:
    told = [
        Transition("Normal", "A", "a", 1, arn(), "k1"),
        Transition("Warning", "B", "b", 2, "", "k2", ago(5)),
    ]
    first, second = rows.history(BODY, Status(), Status(phase=Phase.RUNNING), told, NOW)
    assert first == HistoryRecord(
        key="k1",
        at=NOW,
        uid=UID,
        namespace="default",
        name="box",
        attempt=1,
        container_id=arn(),
        phase_from="",
        phase_to="Running",
        reason="A",
        message="a",
    )
    assert (second.key, second.reason) == ("k2", "B")
    assert first.at < second.at < NOW + timedelta(seconds=1)


def test_what_a_status_still_tells_is_recorded_with_its_own_times() -> None:
    status = Status(
        attempt=attempt(request_hash="x", first_issued_at=ago(9)),
        tasks=(retiring(reason="StartTimeout"),),
    )
    found = rows.retold(BODY, status, NOW)
    times = {each.reason: each.at for each in found}
    assert times["Launching"] == ago(9)
    assert times["TaskLaunched"] == ago(60)
    assert NOW <= times["StoppingTask"] < NOW + timedelta(seconds=1)
