"""restartPolicy x how an attempt ended x the main container's exit code: what follows, and why.

The table is written from the words of the API, not from the code:

    Always     any end is followed by another attempt
    OnFailure  so is a non-zero exit, and a task that never started
    Never      only launch failures are retried
    The exit code is the main container's. Spot, termination notice, infrastructure and capacity
    ends never count against backoffLimit; the count resets after 10 minutes Running.

What those leave open, and how it is closed: an exit code 0 is a success only if the container came
to its end by itself in a task that had started. Where AWS took the capacity away, where the task
never got to run, and where nobody saw the end, it is none. What the operator ends on purpose is
followed by another attempt whatever the policy, but for Expired, which nothing follows.
"""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World

from fractal_models.container import Phase, Status
from fractal_models.observed import ObservedContainer
from fractal_operator.core.events import transitions

EXITS = (0, 1, 137, None)
"""None: the container never ran, or ECS does not tell."""

AGAIN, SUCCEEDED, FAILED = "another attempt", "Succeeded", "Failed"

RAN = ("EssentialContainerExited", "UserInitiated", "ServiceSchedulerInitiated", "", "BrandNewCode")
"""Stop codes of a task that ran, those that ECS may invent tomorrow and none at all included."""
TAKEN = ("SpotInterruption", "TerminationNotice", "InfrastructureHealth")
UNSTARTED = ("TaskFailedToStart",)
ECS_CODES = (*RAN, *TAKEN, *UNSTARTED)

Row = tuple[str, str, str, str, bool]

TABLE: tuple[tuple[tuple[str, ...], tuple[int | None, ...], str, str, str, bool], ...] = (
    # stop codes, exit codes          Always  OnFailure  Never      counts
    (RAN, (0,), AGAIN, SUCCEEDED, SUCCEEDED, True),
    (RAN, (1, 137, None), AGAIN, AGAIN, FAILED, True),
    (TAKEN, EXITS, AGAIN, AGAIN, FAILED, False),
    (UNSTARTED, EXITS, AGAIN, AGAIN, FAILED, True),
)
"""The whole behaviour after an end that ECS reports."""

CASES = [
    (policy, code, exit_code, what, counts)
    for codes, exits, always, on_failure, never, counts in TABLE
    for policy, what in (("Always", always), ("OnFailure", on_failure), ("Never", never))
    for code in codes
    for exit_code in exits
]


def test_the_table_has_a_row_for_every_case_and_no_two_for_one() -> None:
    cases = [case[:3] for case in CASES]
    assert len(cases) == len(set(cases)) == 3 * len(ECS_CODES) * len(EXITS)


def up(**spec: Any) -> World:
    it = World({**world.SPEC, **spec})
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert it.phase() is Phase.RUNNING
    return it


def ends(it: World, code: str, exit_code: int | None, reason: str = "so it is") -> None:
    """ECS ends the task that lives."""
    (task,) = it.alive
    it.change(
        task.arn,
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code=code,
        stopped_reason=reason,
        containers=(ObservedContainer("app", "STOPPED", exit_code),),
    )
    it.sweep()
    it.rest()


def outcome(it: World) -> str:
    """What becomes of the object in the next hour: at most one more task, which then runs on."""
    launched = it.launched
    it.run(3600, every=20, until=lambda: it.launched > launched)
    if it.launched > launched:
        return AGAIN
    return str(it.phase())


def conditions(it: World) -> dict[str, tuple[str, str]]:
    listed = Status.from_json(it.status).conditions
    return {each.type: (str(each.status), each.reason) for each in listed}


def failures(it: World) -> int:
    attempt = Status.from_json(it.status).attempt
    assert attempt is not None
    return attempt.failures


@pytest.mark.parametrize(("policy", "code", "exit_code", "expected", "counts"), CASES)
def test_what_follows_an_end_that_ecs_reports(
    policy: str, code: str, exit_code: int | None, expected: str, counts: bool
) -> None:
    it = up(restartPolicy=policy)
    ends(it, code, exit_code)
    assert failures(it) == counts
    assert outcome(it) == expected
    stalled = conditions(it)["Stalled"][0]
    assert stalled == ("True" if expected == FAILED else "False")


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
@pytest.mark.parametrize(
    ("code", "counts", "never"),
    [
        # code of an attempt without a task that ran, whether it counts, what follows under Never
        ("StartTimeout", True, FAILED),
        ("Lost", True, FAILED),
        ("ProvisioningTimeout", False, AGAIN),
        ("RungTimeout", False, AGAIN),
        ("CapacityUnavailable", False, AGAIN),
        ("LaunchFailed", False, AGAIN),
        ("LaunchRejected", False, AGAIN),
        ("Unresolved", False, AGAIN),
        ("Replaced", False, AGAIN),
        ("Restarted", False, AGAIN),
        ("Suspended", False, AGAIN),
        ("Superseded", False, AGAIN),
        ("Finished", False, AGAIN),
        ("Deleted", False, AGAIN),
        ("Expired", False, SUCCEEDED),
    ],
)
def test_what_follows_an_end_that_the_operator_names(
    policy: str, code: str, counts: bool, never: str
) -> None:
    """With any exit code: the operator, not the container, brought the end about."""
    for exit_code in (None,) if code == "Lost" else EXITS:
        it = World({**world.SPEC, "restartPolicy": policy, "timeouts": {"lifetimeSeconds": 60}})
        it.run(15)
        attempt = Status.from_json(it.status).attempt
        assert attempt is not None
        end = {"attempt": 1, "stopCode": code, "finishedAt": "2026-05-04T12:00:20Z"}
        if exit_code is not None:
            end["exitCode"] = exit_code
        it.tasks.clear()
        it.crash()
        it.status = {**it.status, "tasks": [], "lastTerminations": [end]}
        it.status["attempt"]["usedSeconds"] = 60 if code == "Expired" else 0
        expected = never if policy == "Never" or code == "Expired" else AGAIN
        assert outcome(it) == expected, exit_code
    record = world.retiring(reason=code)
    status = Status(attempt=world.attempt(), tasks=(record,))
    gone = world.stopped(exit_code=0, stop_code="UserInitiated")
    seen = world.observation({**world.SPEC, "backoffLimit": 0}, status=status, tasks=(gone,))
    seen, _ = world.settled(seen)
    (told,) = seen.status.last_terminations
    assert told.stop_code == code
    newest = seen.status.attempt
    assert newest is not None
    assert newest.failures == (counts if newest.number == 1 else 0)


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
@pytest.mark.parametrize("limit", [0, 1, 6])
def test_more_failures_than_backoff_limit_stall_the_object(policy: str, limit: int) -> None:
    it = up(restartPolicy=policy, backoffLimit=limit)
    for number in range(1, limit + 2):
        assert (it.phase(), it.launched) == (Phase.RUNNING, number)
        ends(it, "EssentialContainerExited", 1, "Boom")
        it.run(600, every=10, until=lambda: it.phase() is Phase.RUNNING)
    assert (it.phase(), it.launched) == (Phase.FAILED, limit + 1)
    told = conditions(it)
    assert told["Ready"] == ("False", "EssentialContainerExited")
    assert told["Stalled"] == ("True", "EssentialContainerExited")
    assert told["Reconciling"][0] == "False"
    assert "Boom (exit code 1)" in it.status["message"]
    assert f"more than spec.backoffLimit {limit}" in it.status["message"]
    writes = len(it.writes)
    it.run(3600, every=60)
    assert len(it.writes) == writes


def test_a_higher_backoff_limit_lets_it_go_on() -> None:
    it = up(backoffLimit=0)
    ends(it, "EssentialContainerExited", 1)
    it.run(600, every=10)
    assert it.phase() is Phase.FAILED
    it.edit(backoffLimit=1)
    it.run(60)
    assert it.phase() is Phase.RUNNING
    assert failures(it) == 1


@pytest.mark.parametrize(("seconds", "count"), [(595, 4), (605, 1)])
def test_ten_minutes_running_clear_the_count(seconds: int, count: int) -> None:
    it = up(backoffLimit=100)
    for _ in range(3):
        ends(it, "EssentialContainerExited", 1)
        it.run(600, until=lambda: it.phase() is Phase.RUNNING)
    (task,) = it.alive
    assert task.started_at is not None
    it.now = task.started_at + timedelta(seconds=seconds)
    ends(it, "EssentialContainerExited", 1)
    assert failures(it) == count


@pytest.mark.parametrize("code", TAKEN)
def test_what_the_infrastructure_takes_never_exhausts_the_limit(code: str) -> None:
    it = up(backoffLimit=0)
    for _ in range(20):
        ends(it, code, 137)
        it.run(600, every=10, until=lambda: it.phase() is Phase.RUNNING)
        assert it.phase() is Phase.RUNNING
    assert it.launched == 21


def test_a_want_of_capacity_never_exhausts_the_limit_either() -> None:
    it = World({**world.SPEC, "backoffLimit": 0}, fates=["full"] * 12)
    it.run(3600, every=20, until=lambda: it.phase() is Phase.RUNNING)
    assert (it.phase(), it.launched, it.calls) == (Phase.RUNNING, 1, 13)


def test_the_last_five_ends_are_kept_the_newest_first() -> None:
    it = up(backoffLimit=100)
    for number in range(1, 8):
        ends(it, "EssentialContainerExited", number)
        it.run(900, every=10, until=lambda: it.phase() is Phase.RUNNING)
    kept = Status.from_json(it.status).last_terminations
    assert [(end.attempt, end.exit_code) for end in kept] == [(n, n) for n in (7, 6, 5, 4, 3)]
    assert all(end.finished_at is not None for end in kept)
    assert [end.reason for end in kept] == ["so it is"] * 5


NOTICES = [
    ("SpotInterruption", "Your Spot Task was interrupted."),
    ("TerminationNotice", "The underlying infrastructure of the task is retired."),
    ("InfrastructureHealth", "The network interface is impaired: OutOfMemoryError"),
]


@pytest.mark.parametrize(("code", "text"), NOTICES)
@pytest.mark.parametrize("exit_code", EXITS)
def test_an_interruption_is_named_as_such(code: str, text: str, exit_code: int | None) -> None:
    """Whatever else the words of ECS may look like, and however the container took it."""
    it = up()
    before = Status.from_json(it.status)
    ends(it, code, exit_code, text)
    after = Status.from_json(it.status)
    assert after.last_terminations[0].stop_code == code
    assert conditions(it)["Ready"] == ("False", code)
    assert text.rstrip(".") in after.message
    (told,) = [each for each in transitions(world.UID, before, after) if each.reason == code]
    assert told.type == "Warning"
    assert text.rstrip(".") in told.message


@pytest.mark.parametrize(("code", "text"), NOTICES)
def test_the_notice_two_minutes_ahead_is_named_too(code: str, text: str) -> None:
    it = up()
    (task,) = it.alive
    writes = len(it.writes)
    it.change(task.arn, desired_status="STOPPED", stop_code=code, stopped_reason=text)
    it.sweep()
    it.rest()
    assert it.phase() is Phase.STOPPING
    assert conditions(it)["Ready"] == ("False", code)
    assert text.rstrip(".") in it.status["message"]
    assert len(it.writes) == writes + 1
    it.sweep()
    it.rest()
    assert len(it.writes) == writes + 1


def test_a_task_that_failed_to_start_is_no_success_whatever_its_exit_code() -> None:
    """An application may end with 0 when it is stopped because a sidecar cannot be pulled."""
    it = up(restartPolicy="OnFailure")
    ends(it, "TaskFailedToStart", 0, "CannotPullContainerError: sidecar")
    assert outcome(it) == AGAIN
    it = up(restartPolicy="Never")
    ends(it, "TaskFailedToStart", 0, "CannotPullContainerError: sidecar")
    assert outcome(it) == FAILED
    assert conditions(it)["Ready"] == ("False", "ImagePullFailed")


@pytest.mark.parametrize(("policy", "expected"), [("Always", 2), ("OnFailure", 2), ("Never", 1)])
def test_a_task_that_is_stopped_for_starting_too_slowly(policy: str, expected: int) -> None:
    it = World({**world.SPEC, "restartPolicy": policy, "timeouts": {"startSeconds": 30}})
    it.run(900, until=lambda: bool(it.alive))
    (task,) = it.alive
    it.change(task.arn, last_status="PENDING")
    it.stuck.add(task.arn)
    it.run(900, every=5, until=lambda: it.launched == 2)
    assert it.launched == expected
    assert Status.from_json(it.status).last_terminations[0].stop_code == "StartTimeout"
    assert (it.phase() is Phase.FAILED) is (policy == "Never")
