"""deletionPolicy Retain: the object goes, its task lives on; and ttlSecondsAfterFinished."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    NOW,
    POLICY,
    REGION,
    ago,
    arn,
    attempt,
    entry,
    observation,
    retiring,
    running,
    settled,
    stopped,
    task,
)

from fractal_models.container import Status
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    DeleteObject,
    Find,
    Lookup,
    Observation,
    Problem,
    RemoveFinalizer,
    Stop,
    StopTask,
    TagTask,
)

RETAIN: dict[str, Any] = {"taskDefinition": "web", "deletionPolicy": "Retain"}
TAGGED = Stop(ago(1))
REFUSED = Stop(ago(1), Problem("AccessDenied", "TagResource: no", ago(1)))


def deleted(**changes: Any) -> Observation:
    return running(RETAIN, deleting_since=ago(10), **changes)


def test_the_task_is_marked_before_the_object_goes() -> None:
    seen, plan = settled(deleted())
    assert plan.actions == (TagTask(REGION, arn(), {"fractal.co/retained": "true"}),)
    assert decide(replace(seen, retained={arn(): TAGGED}), POLICY).actions == (RemoveFinalizer(),)


def test_it_is_never_stopped_and_a_refusal_is_tried_again_later() -> None:
    seen, plan = settled(deleted(retained={arn(): REFUSED}))
    assert plan.actions == ()
    assert plan.again_at is not None
    later = replace(seen, now=REFUSED.at + timedelta(seconds=30))
    (again,) = settled(later)[1].actions
    assert isinstance(again, TagTask)


@pytest.mark.parametrize("answer", [TAGGED, REFUSED])
def test_that_it_was_let_go_of_before_marks_it_not(answer: Stop) -> None:
    _, plan = settled(deleted(retained={arn(): replace(answer, released=True)}))
    assert plan.actions == (TagTask(REGION, arn(), {"fractal.co/retained": "true"}),)


def test_after_five_minutes_of_refusals_it_says_so() -> None:
    seen, _ = settled(deleted(retained={arn(): REFUSED}))
    seen, _ = settled(replace(seen, now=NOW + timedelta(minutes=6)))
    assert "TagResource: no" in seen.status.message
    assert "fractal.co/abandon" in seen.status.message


def test_a_task_that_ended_needs_no_mark() -> None:
    _, plan = settled(deleted(tasks=(stopped(),)))
    assert plan.actions == (RemoveFinalizer(),)


def test_a_task_that_is_being_replaced_is_stopped_all_the_same() -> None:
    status = Status(attempt=attempt(2), tasks=(entry(2), retiring(1)))
    tasks = (task(1), task(2))
    seen = observation(RETAIN, status=status, tasks=tasks, deleting_since=ago(10))
    _, plan = settled(seen)
    (stop,) = plan.actions
    assert isinstance(stop, StopTask)
    assert stop.arn == arn("1")


def test_an_unknown_launch_is_resolved_first() -> None:
    status = Status(attempt=attempt())
    seen = observation(RETAIN, status=status, deleting_since=ago(10))
    _, plan = settled(seen)
    (look,) = plan.actions
    assert isinstance(look, Find)
    found = replace(seen, tasks=(task(),), lookup=Lookup(1, NOW, (arn(),)))
    (tag,) = settled(found)[1].actions
    assert isinstance(tag, TagTask)


def test_a_claimed_task_that_ecs_has_not_shown_yet_is_waited_for() -> None:
    _, plan = settled(deleted(tasks=()))
    assert plan.actions == ()
    assert plan.again_at is not None


def test_it_holds_for_a_spec_that_cannot_be_read_any_more() -> None:
    broken = {**RETAIN, "dpi": "many"}
    seen = replace(deleted(), spec=None, spec_errors=("spec.dpi: no",), spec_json=broken)
    (tag,) = settled(seen)[1].actions
    assert isinstance(tag, TagTask)


@pytest.mark.parametrize(("seconds", "goes"), [(59, False), (60, True)])
def test_a_finished_object_goes_after_its_time(seconds: int, goes: bool) -> None:
    spec = {
        "taskDefinition": "web",
        "restartPolicy": "Never",
        "timeouts": {"ttlSecondsAfterFinished": 60},
    }
    done = stopped(exit_code=0, stopped_at=ago(seconds))
    seen, plan = settled(running(spec, tasks=(done,)))
    assert seen.status.phase == "Succeeded"
    assert plan.actions == ((DeleteObject(),) if goes else ())
    assert goes or plan.again_at == NOW + timedelta(seconds=1)


def test_a_failure_that_is_still_tried_again_does_not_count_as_finished() -> None:
    spec = {"taskDefinition": "web", "timeouts": {"ttlSecondsAfterFinished": 0}}
    _, plan = settled(running(spec, tasks=(stopped(exit_code=1),)))
    assert DeleteObject() not in plan.actions
