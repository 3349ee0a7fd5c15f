"""A deletion that another process has begun: what it was refused stays said until ECS answers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    NOW,
    arn,
    attempt,
    cluster,
    observation,
    retiring,
    settled,
    task,
)

from fractal_models.container import Condition, ConditionStatus, Phase, Status
from fractal_operator.core import broken
from fractal_operator.core.plan import Observation, Problem, Stop

DENIED = Problem("AccessDenied", "not authorized", NOW, "AccessDeniedException")


def begun(reason: str, phase: Phase = Phase.DELETING, **changes: Any) -> Observation:
    """What a new process sees: the other one's words, and nothing of its calls."""
    stalled = Condition(
        type="Stalled", status=ConditionStatus.TRUE, reason=reason, message="as it was told"
    )
    status = Status(phase=phase, conditions=(stalled,), tasks=(retiring(1, "Deleted"),))
    given: dict[str, Any] = {"status": status, "tasks": (task(1),), "deleting_since": NOW}
    return observation(**given | changes)


def said(seen: Observation) -> tuple[str, str]:
    for each in settled(seen)[0].status.conditions:
        if each.type == "Stalled":
            return each.reason, each.message
    return "", ""


@pytest.mark.parametrize("tasks", [(task(1),), ()], ids=["seen", "not seen yet"])
def test_no_answer_yet_is_no_news(tasks: Any) -> None:
    assert said(begun("AccessDenied", tasks=tasks)) == ("AccessDenied", "as it was told")


def test_nor_is_the_first_sweep_of_a_process() -> None:
    seen = begun("AccessDenied", home=cluster(swept_since=None))
    seen = replace(seen, status=seen.status.model_copy(update={"attempt": attempt()}))
    assert said(seen) == ("AccessDenied", "as it was told")


def test_an_answer_is() -> None:
    stopping = task(1, desired_status="STOPPED")
    assert said(begun("AccessDenied", tasks=(stopping,)))[0] == "NotStalled"
    stops = {arn("1"): Stop(NOW)}
    assert said(begun("AccessDenied", stops=stops))[0] == "NotStalled"
    refused = begun("Other", stops={arn("1"): Stop(NOW, DENIED)})
    assert said(refused)[0] == "AccessDenied"


@pytest.mark.parametrize(
    ("reason", "phase"),
    [("InvalidSpec", Phase.RUNNING), (broken.REASON, Phase.DELETING)],
    ids=["of another time", "of a fault of ours"],
)
def test_what_was_said_of_something_else_is_taken_back(reason: str, phase: Phase) -> None:
    assert said(begun(reason, phase))[0] == "NotStalled"


def test_nothing_said_is_nothing_to_repeat() -> None:
    status = Status(phase=Phase.DELETING, tasks=(retiring(1, "Deleted"),))
    assert said(begun("", status=status))[0] == "NotStalled"


def test_the_cause_that_only_the_other_process_knew_stays_said() -> None:
    late = replace(begun("DeletionStuck"), now=NOW + timedelta(minutes=20))
    assert said(late) == ("DeletionStuck", "as it was told")
    knows = replace(late, stops={arn("1"): Stop(late.now, DENIED)})
    reason, message = said(knows)
    assert (reason, "not authorized" in message) == ("DeletionStuck", True)
