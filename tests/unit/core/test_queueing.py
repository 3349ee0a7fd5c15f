"""Waiting for a permit of the rate limit: no plan needs one then, and a long wait is told once."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.world import (
    NOW,
    POLICY,
    REGION,
    SPEC,
    ago,
    arn,
    attempt,
    entry,
    observation,
    retiring,
    running,
    task,
    written,
)

from fractal_models.container import Phase, Status
from fractal_models.observed import Address
from fractal_operator.core import queueing
from fractal_operator.core.decide import decide
from fractal_operator.core.ending import STUCK_AFTER
from fractal_operator.core.plan import (
    Launch,
    Observation,
    Permit,
    Plan,
    Queued,
    RunTask,
    Stop,
    StopTask,
)

RUN: Permit = "RunTask"
STOP: Permit = "StopTask"
LAUNCHES, STOPS = (((REGION, each),) for each in (RUN, STOP))
SURGE = {**SPEC, "updateStrategy": "Surge"}


def queued(permit: Permit, seconds: float, region: str = REGION) -> tuple[Queued, ...]:
    return (Queued(region, permit, ago(seconds)),)


def message(status: Status, kind: str) -> tuple[str, str]:
    return next((each.reason, each.message) for each in status.conditions if each.type == kind)


def settled(seen: Observation) -> Observation:
    """The observation after all that is to be written is; by writes of the status alone."""
    return world.settled(seen)[0]


def rest(seen: Observation) -> Plan:
    """What is decided then, which is to wait."""
    plan = decide(settled(seen), POLICY)
    assert not plan.actions
    return plan


# --- launches ---


def test_without_a_wait_the_intent_is_written() -> None:
    assert written(decide(observation(), POLICY)).attempt is not None


def test_a_short_wait_for_a_launch_is_told_to_nobody() -> None:
    plan = decide(observation(queued=queued(RUN, 4)), POLICY)
    assert plan == Plan(again_at=NOW + timedelta(seconds=1), waits=LAUNCHES)


def test_a_long_one_is_told_once_with_why_and_what_to_do() -> None:
    seen = observation(queued=queued(RUN, 5))
    status = written(decide(seen, POLICY))
    assert (status.phase, status.attempt) == (Phase.PENDING, None)
    for kind in ("Ready", "Reconciling"):
        assert message(status, kind) == ("RateLimited", queueing.LAUNCH)
    assert "docs/quotas.md" in status.message
    for later in (6, 60, 6000):
        seen = observation(status=status, queued=queued(RUN, later))
        assert decide(seen, POLICY) == Plan(waits=LAUNCHES)


def test_a_wait_in_another_regions_line_is_none_here() -> None:
    plan = decide(observation(queued=queued(RUN, 60, "eu-north-1")), POLICY)
    assert written(plan).attempt is not None


def test_an_attempt_that_is_to_be_sent_again_waits_as_well() -> None:
    known = Launch(1, certain=True, calls=1, at=ago(60))
    seen = observation(status=Status(attempt=attempt(issued_by="")), launch=known)
    status = settled(seen).status
    assert isinstance(decide(replace(seen, status=status), POLICY).actions[0], RunTask)
    seen = replace(seen, status=status, queued=queued(RUN, 1))
    assert decide(seen, POLICY) == Plan(again_at=NOW + timedelta(seconds=4), waits=LAUNCHES)
    assert rest(replace(seen, queued=queued(RUN, 9))).waits == LAUNCHES


def test_a_surge_that_waits_leaves_the_current_task_and_its_deadlines_alone() -> None:
    spec = {**SURGE, "dpi": 200, "timeouts": {"lifetimeSeconds": 3600}}
    new = observation(spec)
    seen = replace(running(SURGE), spec=new.spec, spec_json=spec, queued=queued(RUN, 9))
    plan = rest(seen)
    assert plan.waits == LAUNCHES
    assert plan.again_at is not None
    assert plan.again_at <= NOW + timedelta(hours=1)
    status = written(decide(seen, POLICY))
    assert message(status, "Ready")[0] == "TaskRunning"
    assert message(status, "Reconciling")[0] == "RateLimited"


# --- stops ---


def stopping(seconds: float | None, **changes: Any) -> Observation:
    """A deleted object whose task is to be stopped, and which has waited so long for that."""
    fields: dict[str, Any] = {
        "deleting_since": ago(seconds or 0),
        "queued": queued(STOP, seconds) if seconds is not None else (),
    }
    return running(**fields | changes)


def test_without_a_wait_the_task_is_stopped() -> None:
    seen = settled(stopping(None))
    assert isinstance(decide(seen, POLICY).actions[0], StopTask)


def test_a_short_wait_for_a_stop_is_not_told_and_none_is_asked_for() -> None:
    seen = settled(stopping(None))
    plan = decide(replace(seen, queued=queued(STOP, 2)), POLICY)
    assert plan == Plan(again_at=NOW + timedelta(seconds=3), waits=STOPS)


@pytest.mark.parametrize("seconds", [5, 300, 3000])
def test_a_long_one_is_told_and_is_nothing_stuck(seconds: float) -> None:
    seen = stopping(seconds)
    assert rest(seen) == Plan(waits=STOPS), "and it is not looked at again and again"
    status = settled(seen).status
    assert status.phase is Phase.DELETING
    reason, text = message(status, "Reconciling")
    assert reason == "RateLimited"
    assert text.endswith(queueing.STOP)
    assert message(status, "Stalled")[0] == "NotStalled"


def asked(turn: datetime | None) -> Observation:
    """It was told to stop a moment ago, long after the deletion."""
    stop = Stop(ago(1), turn=turn)
    return stopping(None, deleting_since=ago(3000), stops={task().arn: stop})


def test_what_waited_for_its_turn_is_stuck_five_minutes_after_that() -> None:
    assert message(settled(asked(None)).status, "Stalled")[0] == "DeletionStuck"
    assert message(settled(asked(ago(10))).status, "Stalled")[0] == "NotStalled"
    late = asked(NOW - STUCK_AFTER)
    assert message(settled(late).status, "Stalled")[0] == "DeletionStuck"


def test_nor_is_it_stuck_when_a_process_before_this_one_said_that_it_waits() -> None:
    told = settled(stopping(3000)).status
    seen = settled(stopping(None, deleting_since=ago(3000), status=told))
    assert seen.status == told, "nothing is written before it has asked"
    assert isinstance(decide(seen, POLICY).actions[0], StopTask)
    once = replace(seen, stops={task().arn: Stop(NOW, turn=NOW)})
    assert message(settled(once).status, "Reconciling")[0] == "Progressing"


def test_a_task_that_serves_on_says_nothing_of_another_that_waits_to_be_stopped() -> None:
    here = {arn("2"): Address("203.0.113.7", "10.0.0.7")}
    one = running(tasks=(task(2),), status=Status(attempt=attempt(2)), addresses=here)
    status = settled(one).status
    both = status.model_copy(update={"tasks": (entry(2), retiring(1))})
    seen = replace(one, status=both, tasks=(task(1), task(2)), queued=queued(STOP, 60))
    plan = rest(seen)
    assert plan.waits == STOPS
    assert message(settled(seen).status, "Ready")[0] == "TaskRunning"


def test_what_has_stopped_meanwhile_waits_no_longer() -> None:
    seen = stopping(60)
    told = settled(seen)
    gone = replace(told, tasks=(task(desired_status="STOPPED"),))
    assert decide(gone, POLICY).waits == ()
