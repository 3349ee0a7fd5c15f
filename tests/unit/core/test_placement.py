"""The placement ladder: the next rung after a want of capacity, the first after anything else."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.core.loop import World
from tests.unit.core.world import (
    NOW,
    POLICY,
    ago,
    attempt,
    definition,
    entry,
    observation,
    settled,
    stopped,
    task,
    written,
)

from fractal_models.container import Phase, Role, Status
from fractal_models.observed import LaunchFailure
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import Launch, Lookup, Observation, RunTask

LADDER: dict[str, Any] = {
    "taskDefinition": "web",
    "placement": [
        {"capacityProvider": "FARGATE_SPOT", "waitSeconds": 120},
        {"capacityProvider": "FARGATE"},
    ],
}
NO_ROOM = (LaunchFailure("Capacity is unavailable at this time."),)


def without_room(rung: int, **changes: Any) -> Observation:
    """An attempt that RunTask answered with a capacity failure, looked up in vain."""
    status = Status(attempt=attempt(rung=rung, request_hash="old", **changes))
    known = Launch(1, certain=True, calls=1, at=ago(1), failures=NO_ROOM)
    return observation(LADDER, status=status, launch=known, lookup=Lookup(1, NOW))


def test_no_capacity_moves_to_the_next_rung_at_once() -> None:
    seen, plan = settled(without_room(0))
    (call,) = plan.actions
    assert isinstance(call, RunTask)
    assert call.request["capacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE", "weight": 1}
    ]
    assert seen.status.attempt is not None
    assert (seen.status.attempt.number, seen.status.attempt.rung) == (2, 1)


def test_after_the_last_rung_it_waits_and_starts_at_the_first() -> None:
    seen, plan = settled(without_room(1))
    assert plan.actions == ()
    assert plan.again_at is not None
    later = replace(seen, now=plan.again_at, definition=definition(at=plan.again_at))
    again = written(decide(later, POLICY)).attempt
    assert again is not None
    assert (again.number, again.rung) == (2, 0)


def provisioning(seconds: float, rung: int = 0) -> Observation:
    first = ago(seconds)
    status = Status(
        attempt=attempt(rung=rung, first_issued_at=first, last_issued_at=first),
        tasks=(entry(last_status="PROVISIONING", since=first),),
    )
    shown = task(last_status="PROVISIONING", created_at=None)
    return observation(LADDER, status=status, tasks=(shown,))


def test_a_task_that_gets_no_capacity_on_its_rung_is_stopped_after_wait_seconds() -> None:
    seen, plan = settled(provisioning(119))
    assert plan.actions == ()
    (kept,) = seen.status.tasks
    assert kept.role is Role.CURRENT

    (retiring,) = written(decide(provisioning(120), POLICY)).tasks
    assert (retiring.role, retiring.reason) == (Role.RETIRING, "RungTimeout")


def test_then_the_next_rung_follows_and_the_status_says_why() -> None:
    seen, _ = settled(provisioning(120))
    ended = stopped(exit_code=None, stop_code="UserInitiated", started_at=None, containers=())
    seen, plan = settled(replace(seen, tasks=(ended,)))
    (call,) = plan.actions
    assert isinstance(call, RunTask)
    assert seen.status.attempt is not None
    assert (seen.status.attempt.rung, seen.status.attempt.failures) == (1, 0)

    launched = task(2, "PROVISIONING", created_at=None)
    seen, _ = settled(replace(seen, tasks=(ended, launched)))
    assert seen.status.placement is not None
    assert seen.status.placement.rung == 1
    assert seen.status.placement.reason.startswith("attempt 1: ")


def test_a_rung_without_wait_seconds_has_the_time_that_provisioning_has() -> None:
    _, plan = settled(provisioning(1799, rung=1))
    assert plan.actions == ()
    (retiring,) = written(decide(provisioning(1800, rung=1), POLICY)).tasks
    assert retiring.reason == "ProvisioningTimeout"


def test_a_fargate_task_that_stopped_for_want_of_capacity_counts_as_such() -> None:
    ended = stopped(
        exit_code=None,
        stop_code="TaskFailedToStart",
        stopped_reason="Capacity is unavailable at this time. Please try again later.",
        started_at=None,
        containers=(),
    )
    status = Status(attempt=attempt(), tasks=(entry(last_status="PROVISIONING"),))
    seen, _ = settled(observation(LADDER, status=status, tasks=(ended,)))
    (end,) = seen.status.last_terminations
    assert end.stop_code == "CapacityUnavailable"
    assert seen.status.attempt is not None
    assert seen.status.attempt.rung == 1


@pytest.mark.parametrize("code", ["EssentialContainerExited", "SpotInterruption"])
def test_an_attempt_after_any_other_end_starts_at_the_first_rung(code: str) -> None:
    status = Status(attempt=attempt(rung=1), tasks=(entry(),))
    ended = stopped(stop_code=code)
    seen, plan = settled(observation(LADDER, status=status, tasks=(ended,)))
    assert plan.again_at is not None
    later = replace(seen, now=plan.again_at, definition=definition(at=plan.again_at))
    again = written(decide(later, POLICY)).attempt
    assert again is not None
    assert again.rung == 0


def test_a_ladder_that_got_shorter_ends_where_it_ends_now() -> None:
    seen = provisioning(300, rung=7)
    _, plan = settled(seen)
    assert plan.actions == ()


# --- in the closed loop ---

RUNGS: dict[str, Any] = {
    "taskDefinition": "web",
    "placement": [
        {"capacityProvider": "FARGATE_SPOT", "waitSeconds": 120},
        {"capacityProvider": "big", "waitSeconds": 60},
        {"launchType": "EC2"},
    ],
    "timeouts": {"provisioningSeconds": 300},
}


def tried(it: World) -> list[str]:
    """On what each task was placed, oldest first."""
    return [task.capacity_provider or task.launch_type for task in it.tasks.values()]


def climb(it: World, launches: int) -> None:
    """Let time pass until so many tasks were launched, none of which leaves PROVISIONING."""
    while it.launched < launches:
        it.sweep()
        it.rest()
        it.stuck.update(it.tasks)
        it.now += timedelta(seconds=1)
        it.progress()
        assert it.now < NOW + timedelta(hours=2)


def span(before: datetime | None, after: datetime | None) -> float:
    assert before is not None
    assert after is not None
    return (after - before).total_seconds()


def test_every_rung_has_its_time_then_it_backs_off_and_starts_at_the_first() -> None:
    it = World(RUNGS)
    climb(it, 4)
    assert tried(it) == ["FARGATE_SPOT", "big", "EC2", "FARGATE_SPOT"]
    assert it.most_alive == 1
    tasks = list(it.tasks.values())
    for each, limit in zip(tasks, (120, 60, 300), strict=False):
        assert limit <= span(each.created_at, each.stopped_at) <= limit + 15
    for one, two in pairwise(tasks[:3]):
        assert span(one.stopped_at, two.created_at) <= 2, "between rungs it does not wait"
    assert span(tasks[2].stopped_at, tasks[3].created_at) >= 15, "after the last one it does"
    status = Status.from_json(it.status)
    assert [end.stop_code for end in status.last_terminations] == [
        "ProvisioningTimeout",
        "RungTimeout",
        "RungTimeout",
    ]
    assert status.attempt is not None
    assert (status.attempt.number, status.attempt.rung, status.attempt.failures) == (4, 0, 0)


def test_the_status_says_which_rung_and_why_and_running_ends_the_climb() -> None:
    it = World(RUNGS)
    climb(it, 2)
    it.rest()
    placement = Status.from_json(it.status).placement
    assert placement is not None
    assert (placement.rung, placement.capacity_provider) == (1, "big")
    assert placement.reason.startswith("attempt 1: ")

    it.stuck.clear()
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    placement = Status.from_json(it.status).placement
    assert placement is not None
    assert (placement.rung, placement.reason.partition(":")[0]) == (1, "attempt 1")

    it.exits(1)
    it.run(120, until=lambda: it.launched == 3 and it.phase() is Phase.RUNNING)
    placement = Status.from_json(it.status).placement
    assert placement is not None
    assert (placement.rung, placement.capacity_provider, placement.reason) == (
        0,
        "FARGATE_SPOT",
        "",
    )


def test_a_refusal_for_want_of_capacity_needs_no_time_on_the_rung() -> None:
    it = World(RUNGS, fates=["full", "full"])
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert tried(it) == ["EC2"]
    placement = Status.from_json(it.status).placement
    assert placement is not None
    assert placement.rung == 2
    assert "RESOURCE:MEMORY" in placement.reason


def test_a_rung_may_take_longer_than_provisioning_does_elsewhere() -> None:
    """waitSeconds stands for timeouts.provisioningSeconds on its rung, be it more or less."""
    patient = {**LADDER, "placement": [{"capacityProvider": "a", "waitSeconds": 7200}]}
    seen = replace(provisioning(7199), spec_json=patient, spec=observation(patient).spec)
    assert settled(seen)[1].actions == ()
    seen = replace(provisioning(7200), spec_json=patient, spec=observation(patient).spec)
    (retiring,) = written(decide(seen, POLICY)).tasks
    assert retiring.reason == "RungTimeout"


def test_without_a_ladder_a_want_of_capacity_does_not_count_either() -> None:
    it = World(
        {"taskDefinition": "web", "backoffLimit": 0, "timeouts": {"provisioningSeconds": 60}}
    )
    climb(it, 4)
    status = Status.from_json(it.status)
    assert {end.stop_code for end in status.last_terminations} == {"ProvisioningTimeout"}
    assert status.attempt is not None
    assert status.attempt.failures == 0
    it.stuck.clear()
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert it.phase() is Phase.RUNNING
