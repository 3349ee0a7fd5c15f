"""Transitions: each told once, under a key that a second telling shares."""

from itertools import pairwise
from typing import Any

import pytest
from tests.unit.core.world import NOW, UID, ago, attempt, entry, retiring, stored

from fractal_models.container import Condition, Endpoint, Phase, Status, Termination
from fractal_operator.core.events import Transition, retold, transitions


def told(old: Status, new: Status) -> list[Transition]:
    found = list(transitions(UID, old, new))
    # Told again from what was stored, or from a copy: the same keys. Told after it was: nothing.
    assert [each.key for each in transitions(UID, stored(old), stored(new))] == [
        each.key for each in found
    ]
    assert transitions(UID, new, new) == ()
    assert len({each.key for each in found}) == len(found)
    return found


def one(old: Status, new: Status) -> Transition:
    (found,) = told(old, new)
    return found


def condition(kind: str, status: str, reason: str = "R", at: Any = NOW) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message="m", last_transition_time=at)


def test_a_launch() -> None:
    found = one(Status(), Status(attempt=attempt(3)))
    assert (found.type, found.reason, found.attempt) == ("Normal", "Launching", 3)
    assert found.message == "Launching attempt 3 of web:1 in main"
    assert found.at == NOW


def test_arming_the_same_attempt_again_is_not_told() -> None:
    old, new = Status(attempt=attempt(3)), Status(attempt=attempt(3, last_issued_at=ago(-9)))
    assert told(old, new) == []


@pytest.mark.parametrize(
    ("before", "reason"), [(attempt(1), "TaskLaunched"), (None, "TaskAdopted")]
)
def test_a_task_appears(before: Any, reason: str) -> None:
    found = one(Status(attempt=before), Status(attempt=attempt(1), tasks=(entry(1),)))
    assert (found.type, found.reason, found.attempt) == ("Normal", reason, 1)
    assert found.task_arn == entry(1).arn


@pytest.mark.parametrize(
    ("reason", "kind"), [("Replaced", "Normal"), ("Deleted", "Normal"), ("StartTimeout", "Warning")]
)
def test_a_task_retires(reason: str, kind: str) -> None:
    old = Status(attempt=attempt(), tasks=(entry(),))
    found = one(old, Status(attempt=attempt(), tasks=(retiring(reason=reason),)))
    assert (found.type, found.reason) == (kind, "StoppingTask")
    assert found.message == f"Stopping task 1 of attempt 1: {reason}"


def test_a_task_that_is_found_and_retired_at_once_is_told_twice() -> None:
    reasons = [each.reason for each in told(Status(), Status(tasks=(retiring(),)))]
    assert reasons == ["TaskAdopted", "StoppingTask"]


@pytest.mark.parametrize(
    ("end", "had_task", "kind", "reason", "says"),
    [
        (
            {"stop_code": "Replaced"},
            True,
            "Normal",
            "TaskStopped",
            "Attempt 1 ended (Replaced). The spec was edited",
        ),
        (
            {"stop_code": "EssentialContainerExited", "exit_code": 0, "reason": "Done."},
            True,
            "Normal",
            "EssentialContainerExited",
            "(EssentialContainerExited, exit code 0). The container ended by itself, with "
            "success: Done",
        ),
        (
            {"stop_code": "EssentialContainerExited", "exit_code": 1},
            True,
            "Warning",
            "EssentialContainerExited",
            "exit code 1",
        ),
        ({"stop_code": "Lost"}, True, "Warning", "TaskLost", "not seen"),
        (
            {"stop_code": "LaunchRejected", "reason": "no"},
            False,
            "Warning",
            "LaunchRejected",
            "Attempt 1 ended (LaunchRejected). ECS refused to launch the task: no. Correct",
        ),
        (
            {"stop_code": "CapacityUnavailable", "reason": "RESOURCE:CPU"},
            False,
            "Warning",
            "CapacityUnavailable",
            "AWS has no room for the task now: RESOURCE:CPU. It is tried again; add capacity",
        ),
        (
            {"stop_code": "CapacityUnavailable", "reason": "full"},
            True,
            "Warning",
            "CapacityUnavailable",
            "full",
        ),
    ],
)
def test_an_end(end: dict[str, Any], had_task: bool, kind: str, reason: str, says: str) -> None:
    tasks = (entry(),) if had_task else ()
    old = Status(attempt=attempt(), tasks=tasks)
    ended = Termination(attempt=1, finished_at=ago(3), **end)
    found = one(old, Status(attempt=attempt(), last_terminations=(ended,)))
    assert (found.type, found.reason, found.attempt, found.at) == (kind, reason, 1, ago(3))
    assert says in found.message
    assert found.task_arn == (entry().arn if had_task else "")


def test_ends_are_told_in_the_order_in_which_they_came() -> None:
    ends = tuple(Termination(attempt=n, stop_code="Replaced") for n in (2, 1))
    found = told(Status(), Status(last_terminations=ends))
    assert [each.attempt for each in found] == [1, 2]


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint(ip="1.2.3.4"), "The container is ready at 1.2.3.4"),
        (None, "The container is ready"),
    ],
)
def test_ready(endpoint: Any, text: str) -> None:
    old = Status(conditions=(condition("Ready", "False"),))
    new = Status(conditions=(condition("Ready", "True"),), endpoint=endpoint)
    found = one(old, new)
    assert (found.type, found.reason, found.message) == ("Normal", "Ready", text)


def test_ready_again_is_another_transition() -> None:
    no = Status(conditions=(condition("Ready", "False"),))
    keys = {
        one(no, Status(conditions=(condition("Ready", "True", at=ago(s)),))).key for s in (1, 2)
    }
    assert len(keys) == 2


@pytest.mark.parametrize("before", ["TaskRunning", "EndpointPending"])
def test_unhealthy(before: str) -> None:
    old = Status(conditions=(condition("Ready", "True", before),))
    new = Status(conditions=(condition("Ready", "False", "Unhealthy"),))
    found = one(old, new)
    assert (found.type, found.reason, found.message) == ("Warning", "Unhealthy", "m")


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        (None, condition("Stalled", "True", "A"), 1),
        (condition("Stalled", "False", "A"), condition("Stalled", "True", "A"), 1),
        (condition("Stalled", "True", "A"), condition("Stalled", "True", "B"), 1),
        (condition("Stalled", "True", "A"), condition("Stalled", "True", "A"), 0),
        (condition("Stalled", "True", "A"), condition("Stalled", "False", "B"), 0),
        (None, condition("Reconciling", "True", "A"), 0),
        (condition("Ready", "True", "A"), condition("Ready", "True", "B"), 0),
        (None, condition("Ready", "False", "A"), 0),
    ],
)
def test_which_conditions_are_told(old: Any, new: Condition, count: int) -> None:
    before = Status(conditions=(old,) if old else ())
    assert len(told(before, Status(conditions=(new,)))) == count


@pytest.mark.parametrize(
    ("phase", "count"), [(Phase.SUSPENDED, 1), (Phase.SUCCEEDED, 1), (Phase.PENDING, 0)]
)
def test_which_phases_are_told(phase: Phase, count: int) -> None:
    old = Status(phase=Phase.RUNNING, observed_generation=1)
    new = Status(phase=phase, observed_generation=2, message="m")
    assert [each.reason for each in told(old, new)] == [str(phase)] * count


def test_no_attempt_no_launch() -> None:
    assert told(Status(attempt=attempt(1)), Status()) == []


def test_a_condition_without_a_time_is_told_too() -> None:
    assert one(Status(), Status(conditions=(condition("Stalled", "True", "A", None),))).at is None


def test_what_a_status_still_tells_has_the_keys_it_was_told_with() -> None:
    steps = [
        Status(),
        Status(attempt=attempt(request_hash="x"), conditions=(condition("Ready", "False"),)),
        Status(attempt=attempt(request_hash="x"), tasks=(entry(),)),
        Status(
            attempt=attempt(request_hash="x"),
            tasks=(entry(),),
            conditions=(condition("Ready", "True"),),
        ),
    ]
    at_the_time = {each.key for old, new in pairwise(steps) for each in told(old, new)}
    assert {each.key for each in retold(UID, steps[-1])} == at_the_time
    ended = Status(
        attempt=attempt(request_hash="x"),
        last_terminations=(Termination(attempt=1, stop_code="Lost"),),
    )
    (first, second) = retold(UID, ended)
    assert (first.reason, second.reason) == ("Launching", "TaskLost")
    assert second.key == one(steps[-1], replace_conditions(ended, steps[-1])).key
    assert retold(UID, Status()) == ()
    assert retold(UID, Status(attempt=attempt())) == ()


def replace_conditions(status: Status, like: Status) -> Status:
    return status.model_copy(update={"conditions": like.conditions})
