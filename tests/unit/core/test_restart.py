"""restartPolicy, backoffLimit and the pauses between attempts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    NOW,
    POLICY,
    SPEC,
    ago,
    attempt,
    definition,
    entry,
    observation,
    settled,
    stopped,
    written,
)

from fractal_models.container import Status, Termination
from fractal_operator.core.annotations import RECONCILE_REQUESTED
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import Plan


def after(end: Termination, failures: int = 1, **spec: Any) -> Any:
    status = Status(attempt=attempt(failures=failures), last_terminations=(end,))
    return settled(observation({**SPEC, **spec}, status=status))


def end(stop_code: str = "EssentialContainerExited", **changes: Any) -> Termination:
    fields: dict[str, Any] = {"attempt": 1, "stop_code": stop_code, "finished_at": NOW}
    return Termination(**fields | changes)


@pytest.mark.parametrize(
    ("policy", "stop_code", "exit_code", "phase"),
    [
        ("Always", "EssentialContainerExited", 0, "Pending"),
        ("Always", "EssentialContainerExited", 1, "Pending"),
        ("Always", "UserInitiated", None, "Pending"),
        ("OnFailure", "EssentialContainerExited", 0, "Succeeded"),
        ("OnFailure", "EssentialContainerExited", 1, "Pending"),
        ("OnFailure", "TaskFailedToStart", None, "Pending"),
        ("OnFailure", "StartTimeout", None, "Pending"),
        ("Never", "EssentialContainerExited", 0, "Succeeded"),
        ("Never", "EssentialContainerExited", 1, "Failed"),
        ("Never", "Lost", None, "Failed"),
        ("Never", "CapacityUnavailable", None, "Pending"),
        ("Never", "LaunchFailed", None, "Pending"),
        ("Never", "LaunchRejected", None, "Failed"),
        ("Never", "Unresolved", None, "Pending"),
    ],
)
def test_what_follows_an_end(
    policy: str, stop_code: str, exit_code: int | None, phase: str
) -> None:
    seen, plan = after(end(stop_code, exit_code=exit_code), restartPolicy=policy)
    assert str(seen.status.phase) == phase
    final = phase != "Pending" and stop_code != "LaunchRejected"
    assert (plan == Plan()) is final
    if not final:
        assert plan.again_at > NOW


@pytest.mark.parametrize(
    "stop_code", ["Replaced", "Suspended", "Superseded", "Finished", "Deleted"]
)
@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_after_our_own_stops_the_next_attempt_begins_at_once(stop_code: str, policy: str) -> None:
    status = Status(attempt=attempt(), last_terminations=(end(stop_code, exit_code=1),))
    seen = observation({**SPEC, "restartPolicy": policy}, status=status)
    begun = written(decide(seen, POLICY)).attempt
    assert begun is not None
    assert begun.number == 2


def test_an_edit_begins_anew_whatever_ended() -> None:
    status = Status(attempt=attempt(failures=99), last_terminations=(end("Expired"),))
    begun = written(decide(observation({**SPEC, "dpi": 96}, status=status), POLICY)).attempt
    assert begun is not None
    assert (begun.number, begun.failures) == (2, 0)


@pytest.mark.parametrize(
    ("limit", "failures", "failed"),
    [(0, 0, False), (0, 1, True), (6, 6, False), (6, 7, True)],
)
def test_the_backoff_limit(limit: int, failures: int, failed: bool) -> None:
    seen, plan = after(end(exit_code=3, reason="Boom."), failures, backoffLimit=limit)
    assert (str(seen.status.phase) == "Failed") is failed
    assert (plan == Plan()) is failed
    assert (
        "Boom (exit code 3)" in seen.status.message or "Boom. (exit code 3)" in seen.status.message
    )
    if failed:
        assert f"more than spec.backoffLimit {limit}" in seen.status.message


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 5, 10), (1, 5, 10), (2, 10, 20), (3, 20, 40), (6, 150, 300), (900, 150, 300)],
)
def test_the_pause_grows_with_the_failures(failures: int, least: int, most: int) -> None:
    _, plan = after(end(), failures, backoffLimit=1000)
    assert least <= (plan.again_at - NOW).total_seconds() <= most
    assert after(end(), failures, backoffLimit=1000)[1] == plan  # no chance in it


@pytest.mark.parametrize("finished", [None, NOW + timedelta(days=1), NOW])
def test_an_end_in_the_future_is_now(finished: Any) -> None:
    _, plan = after(end(finished_at=finished))
    assert NOW < plan.again_at <= NOW + timedelta(seconds=10)


def test_waiting_for_the_next_attempt_says_the_same_all_the_time() -> None:
    seen, plan = after(end(reason="Bad"), failures=6)
    for part in (0.2, 0.5, 0.9):
        now = NOW + (plan.again_at - NOW) * part
        assert decide(replace(seen, now=now), POLICY).actions == ()


def test_a_request_ends_the_pause_but_not_a_final_end() -> None:
    asked = {RECONCILE_REQUESTED: "now"}
    status = Status(attempt=attempt(failures=5), last_terminations=(end(),))
    view = replace(definition(), request="now")
    seen = observation(status=status, annotations=asked, definition=view)
    begun = written(decide(seen, POLICY)).attempt
    assert begun is not None
    assert begun.number == 2
    never = {**SPEC, "restartPolicy": "Never"}
    seen, plan = settled(observation(never, status=status, annotations=asked))
    assert plan == Plan()
    assert seen.status.attempt is not None
    assert seen.status.attempt.number == 1


@pytest.mark.parametrize(
    ("refusals", "least", "most"), [(1, 30, 60), (2, 60, 120), (3, 120, 240), (5, 300, 600)]
)
def test_a_want_of_rights_is_tried_again_soon_then_ever_more_rarely(
    refusals: int, least: int, most: int
) -> None:
    """It is repaired in IAM, where nobody thinks of asking for another try here."""
    denied = "RunTask: AccessDeniedException: not authorized to perform: ecs:RunTask"
    ends = tuple(end("LaunchRejected", attempt=n, reason=denied) for n in range(refusals, 0, -1))
    status = Status(attempt=attempt(refusals), last_terminations=ends)
    _, plan = settled(observation(SPEC, status=status))
    assert plan.again_at is not None
    pause = plan.again_at - NOW
    assert timedelta(seconds=least) <= pause <= timedelta(seconds=most)


def test_the_pause_counts_from_the_end() -> None:
    seen, plan = after(end(finished_at=ago(11)))
    assert seen.status.attempt is not None
    assert seen.status.attempt.number == 2
    assert plan.actions


def test_an_end_in_the_future_does_not_break_the_time_to_live() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    limits = {"ttlSecondsAfterFinished": 60}
    _, plan = after(end(finished_at=far), restartPolicy="Never", timeouts=limits)
    assert plan == Plan(again_at=NOW + timedelta(seconds=60))


def test_a_rung_that_had_no_room_is_said() -> None:
    seen, plan = after(end("RungTimeout"))
    assert seen.status.conditions[0].reason == "CapacityUnavailable"
    assert "waitSeconds" in seen.status.message
    assert plan.again_at > NOW


def test_how_a_task_ended_is_said() -> None:
    status = Status(attempt=attempt(), tasks=(entry(),))
    gone = stopped(1, exit_code=137, stopped_reason="OutOfMemoryError: killed")
    seen, _ = settled(observation(status=status, tasks=(gone,)))
    assert seen.status.conditions[0].reason == "OutOfMemory"
    assert "exit code 137" in seen.status.message
    assert "Raise template.memoryMiB" in seen.status.message
