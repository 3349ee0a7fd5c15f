"""Rule 12: deleting, suspending, stopping; and what is said when ECS does not confirm."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    CLUSTER,
    NOW,
    POLICY,
    REGION,
    SPEC,
    UID,
    ago,
    arn,
    attempt,
    cluster,
    entry,
    observation,
    retiring,
    running,
    settled,
    started_by,
    stopped,
    task,
    written,
)

from fractal_models.container import ConditionStatus, Status
from fractal_models.observed import ClusterInfo
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.decide import decide
from fractal_operator.core.draining import DRAIN
from fractal_operator.core.plan import (
    Find,
    Launch,
    Lookup,
    Observation,
    Plan,
    Problem,
    RemoveFinalizer,
    Stop,
    StopTask,
    WriteStatus,
)

GONE = Plan((RemoveFinalizer(),))
SUSPENDED = {**SPEC, "operatingMode": "Suspended"}


def stop(number: int = 1, why: str = "FractalContainer deleted") -> StopTask:
    return StopTask(REGION, CLUSTER, arn(str(number)), why)


def deleting(**changes: Any) -> Observation:
    return running(**{"deleting_since": NOW} | changes)


# --- deletion ---


def test_a_task_is_called_retiring_before_it_is_stopped() -> None:
    plan = decide(deleting(), POLICY)
    status = written(plan)
    assert str(status.phase) == "Deleting"
    assert [(str(each.role), each.reason) for each in status.tasks] == [("Retiring", "Deleted")]
    assert status.endpoint is None
    plan = decide(deleting(status=status), POLICY)
    assert plan.actions == (stop(),)
    assert plan.again_at == NOW + timedelta(seconds=30)


def test_the_finalizer_goes_when_the_task_is_seen_stopped_and_without_a_last_write() -> None:
    seen, _ = settled(deleting())
    assert decide(replace(seen, tasks=(stopped(),)), POLICY) == GONE


def test_a_task_that_was_not_seen_is_not_forgotten() -> None:
    seen, plan = settled(deleting(tasks=()))
    assert plan.actions == ()
    assert len(seen.status.tasks) == 1


@pytest.mark.parametrize(
    ("last", "desired", "stops"),
    [
        (None, "RUNNING", True),
        (None, "STOPPED", False),
        (Stop(ago(29)), "RUNNING", False),
        (Stop(ago(30)), "RUNNING", True),
        (Stop(ago(30)), "STOPPED", False),
    ],
)
def test_stopping_is_asked_for_until_ecs_means_it(last: Any, desired: str, stops: bool) -> None:
    moving = task(desired_status=desired)
    _, plan = settled(deleting(tasks=(moving,), stops={arn(): last} if last else {}))
    assert plan.actions == ((stop(),) if stops else ())


def test_nothing_launched_nothing_waited_for() -> None:
    assert decide(observation(deleting_since=NOW), POLICY) == GONE


@pytest.mark.parametrize(
    ("target", "goes"),
    [
        (cluster(swept_since=ago(81)), False),
        (cluster(swept_since=None), False),
        (cluster(swept_since=ago(80)), True),
        (cluster(info=None), True),
        (None, True),
    ],
)
def test_a_bare_object_is_swept_for_before_it_goes(target: Any, goes: bool) -> None:
    _, plan = settled(observation(deleting_since=NOW, bare_since=ago(500), target=target))
    assert (plan == GONE) is goes
    assert plan.wants_sweep is not goes


def test_a_bare_object_that_goes_is_looked_for_at_once_and_when_ecs_shows_all() -> None:
    unlooked = cluster(swept_since=ago(11))
    _, plan = settled(observation(deleting_since=NOW, bare_since=ago(10), target=unlooked))
    assert plan.wants_sweep
    seen, plan = settled(observation(deleting_since=NOW, bare_since=ago(10), target=cluster()))
    looked = replace(seen, target=cluster(swept_since=ago(10)))
    plan = decide(looked, POLICY)
    assert (plan.actions, plan.again_at) == ((), ago(10) + DRAIN)
    assert "until 12:06:50 UTC" in looked.status.message


def test_a_bare_object_is_not_stuck_before_its_wait_is_over() -> None:
    seen = observation(deleting_since=ago(425), bare_since=ago(425), target=cluster())
    _, plan = settled(seen)
    assert plan.again_at == ago(425) + DRAIN + timedelta(seconds=60)
    late = replace(seen, now=NOW + timedelta(seconds=60))
    late, _ = settled(late)
    assert ("Stalled", "True") in [(each.type, str(each.status)) for each in late.status.conditions]


@pytest.mark.parametrize(
    ("status", "highest", "goes"),
    [
        (Status(never_launched=True), 0, True),
        (Status(never_launched=True), 1, False),  # somebody took the attempt out of the status
        (Status(), 0, False),
        (Status(message="Suspended"), 0, False),
    ],
)
def test_what_was_never_launched_goes_after_one_sweep(
    status: Status, highest: int, goes: bool
) -> None:
    """So stands after each start of the operator whatever is suspended, or refused."""
    swept = cluster(swept_since=ago(5))
    facts: dict[str, Any] = {"deleting_since": NOW, "bare_since": ago(10)}
    facts |= {"status": status, "highest": highest}
    _, plan = settled(observation(**facts, target=swept))
    assert (plan == GONE) is goes
    _, plan = settled(observation(**facts, target=cluster(swept_since=ago(11))))
    assert plan.wants_sweep


def test_a_status_says_that_nothing_was_launched_only_if_it_is_certain() -> None:
    def said(**facts: Any) -> bool | None:
        return settled(observation(SUSPENDED, **facts))[0].status.never_launched

    assert said()
    assert said(bare_since=ago(500), target=cluster(swept_since=ago(60)))
    assert said(bare_since=ago(10), status=Status(never_launched=True))
    assert said(bare_since=ago(10)) is None
    assert said(bare_since=ago(500), target=None) is None
    assert said(highest=1) is None
    assert said(tasks=(stopped(),)) is None


def test_a_bare_object_whose_last_task_was_seen_to_end_may_hide_another() -> None:
    seen = observation(deleting_since=NOW, bare_since=NOW, tasks=(stopped(),))
    seen, plan = settled(seen)
    assert (plan.actions, seen.status.attempt) == ((), None)


def test_a_found_task_of_a_bare_object_is_stopped() -> None:
    _, plan = settled(observation(deleting_since=NOW, bare_since=NOW, tasks=(task(),)))
    assert plan.actions == (stop(),)


@pytest.mark.parametrize(
    ("launch", "lookup", "seconds", "goes"),
    [
        (Launch(1, certain=True), None, 0, True),
        (None, Lookup(1, NOW), 0, False),
        (Launch(1, certain=False), Lookup(1, NOW), 0, False),
        (None, Lookup(1, NOW + timedelta(seconds=419)), 419, False),
        (None, Lookup(1, NOW + timedelta(seconds=420)), 420, True),
        (None, Lookup(1, NOW + timedelta(seconds=420), (arn(),)), 420, False),
    ],
)
def test_only_an_unresolved_attempt_is_drained(
    launch: Any, lookup: Any, seconds: int, goes: bool
) -> None:
    seen = observation(
        status=Status(attempt=attempt()),
        deleting_since=NOW,
        now=NOW + timedelta(seconds=seconds),
        launch=launch,
        lookup=lookup,
    )
    assert (settled(seen)[1] == GONE) is goes


def test_draining_looks_at_once() -> None:
    seen = observation(status=Status(attempt=attempt()), deleting_since=NOW)
    assert decide(seen, POLICY).actions == (Find(REGION, CLUSTER, 1, started_by(1)),)


def test_an_attempt_in_a_cluster_that_is_gone_needs_no_drain() -> None:
    seen = observation(
        status=Status(attempt=attempt()),
        deleting_since=NOW,
        home=cluster(reference=CLUSTER, info=ClusterInfo(CLUSTER, "main", "INACTIVE")),
    )
    assert decide(seen, POLICY) == GONE


def test_a_drain_does_not_keep_a_known_task_from_being_stopped() -> None:
    status = Status(attempt=attempt(2), tasks=(retiring(1, "Deleted"),))
    seen = observation(status=status, tasks=(task(1),), deleting_since=NOW, lookup=Lookup(2, NOW))
    _, plan = settled(seen)
    assert plan.actions == (stop(),)


@pytest.mark.parametrize(("value", "goes"), [(UID, True), ("another", False), ("", False)])
def test_an_object_is_abandoned_by_its_uid_only(value: str, goes: bool) -> None:
    assert (decide(deleting(annotations={ABANDON: value}), POLICY) == GONE) is goes


# --- stuck ---


def stuck(seconds: int = 300, **changes: Any) -> Observation:
    seen, _ = settled(deleting(**changes))
    now = NOW + timedelta(seconds=seconds)
    return settled(replace(seen, now=now))[0]


def stalled(seen: Observation) -> bool:
    return any(
        each.reason == "DeletionStuck" and each.status is ConditionStatus.TRUE
        for each in seen.status.conditions
    )


@pytest.mark.parametrize(("seconds", "said"), [(299, False), (300, True)])
def test_after_five_minutes_it_is_said(seconds: int, said: bool) -> None:
    seen = stuck(seconds)
    assert stalled(seen) is said
    plan = decide(seen, POLICY)
    assert plan.again_at is not None
    assert said or plan.again_at <= NOW + timedelta(seconds=300)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "ECS does not confirm that the task has stopped."),
        ({"stops": {arn(): Stop(NOW, Problem("AccessDenied", "No right.", NOW))}}, "No right."),
        ({"home": cluster(problem=Problem("Unavailable", "Down.", NOW))}, "Down."),
        ({"target": None, "lookup": Lookup(1, NOW, problem=Problem("X", "Odd", NOW))}, "Odd."),
    ],
)
def test_why_and_what_to_do_is_said_and_stays(changes: dict[str, Any], why: str) -> None:
    seen = stuck(**changes)
    assert seen.status.message.startswith(why)
    assert (
        f"kubectl annotate fractalcontainer box -n default {ABANDON}={UID}" in seen.status.message
    )
    later = replace(seen, now=NOW + timedelta(hours=1))
    assert not any(isinstance(each, WriteStatus) for each in settled(later)[1].actions)
    assert settled(later)[0].status == seen.status


def test_draining_is_not_called_stuck_before_it_should_be_over() -> None:
    seen = observation(status=Status(attempt=attempt()), deleting_since=NOW)
    for seconds, said in ((479, False), (480, True)):
        now = NOW + timedelta(seconds=seconds)
        lookup = Lookup(1, now, problem=Problem("Unavailable", "Down", now))
        assert stalled(settled(replace(seen, now=now, lookup=lookup))[0]) is said


# --- suspension ---


def test_suspending_stops_and_stays_stopped() -> None:
    seen, plan = settled(running(SUSPENDED))
    assert plan.actions == (stop(why="FractalContainer suspended"),)
    assert str(seen.status.phase) == "Stopping"
    seen, plan = settled(replace(seen, tasks=(stopped(),)))
    assert plan == Plan()
    assert str(seen.status.phase) == "Suspended"
    assert [each.stop_code for each in seen.status.last_terminations] == ["Suspended"]
    shown = {each.type: str(each.status) for each in seen.status.conditions}
    assert shown == {"Reconciling": "False", "Stalled": "False", "Synced": "True"}


def test_a_new_object_may_be_suspended() -> None:
    seen, plan = settled(observation(SUSPENDED))
    assert (plan, str(seen.status.phase)) == (Plan(), "Suspended")


def test_suspending_resolves_an_attempt_that_was_never_sent() -> None:
    seen = observation(SUSPENDED, status=Status(attempt=attempt()), launch=Launch(1, certain=True))
    seen, plan = settled(seen)
    assert plan == Plan()
    assert [each.stop_code for each in seen.status.last_terminations] == ["Suspended"]


def test_suspending_drains_an_attempt_of_unknown_outcome() -> None:
    seen = observation(SUSPENDED, status=Status(attempt=attempt()))
    assert isinstance(decide(seen, POLICY).actions[0], Find)


def test_resuming_before_the_task_has_stopped_waits_for_it() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Suspended"),))
    seen, plan = settled(observation(status=status, tasks=(task(),)))
    assert plan.actions == (stop(why="FractalContainer suspended"),)
    assert str(seen.status.phase) == "Updating"


def test_resuming_is_one_write_for_the_end_and_the_next_intent() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Suspended"),))
    after = written(decide(observation(status=status, tasks=(stopped(),)), POLICY))
    assert after.attempt is not None
    assert after.attempt.number == 2
    assert [each.stop_code for each in after.last_terminations] == ["Suspended"]


def test_the_entry_keeps_the_first_reason() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Replaced"),))
    seen, _ = settled(observation(SUSPENDED, status=status, tasks=(task(),)))
    assert seen.status.tasks[0].reason == "Replaced"


def test_an_unknown_reason_is_passed_on() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Whim"), entry(2)))
    seen = observation(status=status, tasks=(task(1), task(2)), deleting_since=NOW)
    _, plan = settled(seen)
    assert {each.reason for each in plan.actions if isinstance(each, StopTask)} == {
        "Whim",
        "FractalContainer deleted",
    }


def test_a_doubt_ends_by_itself_though_nothing_waits_for_it() -> None:
    seen = observation(SUSPENDED, bare_since=ago(10), tasks=(stopped(),))
    seen, plan = settled(seen)
    assert (seen.status.attempt, plan.again_at) == (None, ago(10) + DRAIN)
    late = replace(seen, now=NOW + DRAIN)
    assert decide(late, POLICY).wants_sweep
    late, plan = settled(replace(late, target=cluster(swept_since=NOW + DRAIN)))
    assert late.status.attempt is not None
    assert plan == Plan()
