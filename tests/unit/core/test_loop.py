"""The core in a closed loop with a tiny ECS: launches and writes, counted where they happen."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World

from fractal_models.container import Phase, Role, Status
from fractal_operator.core.plan import RunTask


def up(**changes: Any) -> World:
    """A world whose container runs and is ready."""
    it = World(world.SPEC, **changes)
    it.run(60)
    assert it.phase() is Phase.RUNNING
    return it


def test_create_takes_four_writes_and_then_rests() -> None:
    it = World(world.SPEC)
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert it.phase() is Phase.RUNNING
    assert it.writes == ["finalizer", "Pending", "Provisioning", "Running"]
    it.run(3600, every=60)
    assert (it.launched, it.calls, len(it.writes)) == (1, 1, 4)


def test_one_life_takes_seven_writes() -> None:
    it = up()
    it.delete()
    it.run(120)
    assert it.gone
    assert (it.launched, it.alive) == (1, [])
    assert len(it.writes) == 7


def test_an_edit_replaces_the_task_and_never_doubles_it() -> None:
    it = up()
    it.edit(environment=[{"name": "A", "value": "1"}])
    it.run(120)
    assert it.phase() is Phase.RUNNING
    assert (it.launched, len(it.alive), it.most_alive) == (2, 1, 1)
    # Retiring; stopping; ended and the next intent in one; provisioning; running.
    assert it.writes[4:] == ["Updating", "Updating", "Pending", "Provisioning", "Running"]
    assert Status.from_json(it.status).observed_generation == 2


def test_an_edit_that_replaces_nothing_costs_one_write() -> None:
    it = up()
    it.edit(user="somebody")
    it.run(120)
    assert (it.launched, len(it.writes)) == (1, 5)


def test_suspend_and_resume() -> None:
    it = up()
    it.edit(operatingMode="Suspended")
    it.run(600)
    assert it.phase() is Phase.SUSPENDED
    assert it.alive == []
    assert it.writes[4:] == ["Stopping", "Stopping", "Suspended"]
    it.edit(operatingMode="Running")
    it.run(60)
    assert it.phase() is Phase.RUNNING
    assert (it.launched, it.most_alive) == (2, 1)
    assert it.writes[7:] == ["Pending", "Provisioning", "Running"]


def test_an_exit_is_followed_by_another_task_after_a_pause() -> None:
    it = up()
    it.exits(1)
    before = it.now
    it.run(60, until=lambda: it.launched == 2)
    assert 5 <= (it.now - before).total_seconds() <= 20
    it.run(60)
    assert (it.phase(), it.most_alive) == (Phase.RUNNING, 1)


def test_the_backoff_limit_ends_in_failed_and_silence() -> None:
    it = World({**world.SPEC, "backoffLimit": 2})
    for _ in range(100):
        it.run(20, every=20)
        if it.alive and it.alive[0].last_status == "RUNNING":
            it.exits(1)
    assert (it.phase(), it.launched) == (Phase.FAILED, 3)
    writes = len(it.writes)
    it.run(3600, every=60)
    assert len(it.writes) == writes


@pytest.mark.parametrize("steps", range(9))
def test_a_crash_after_any_step_of_a_launch_leaves_one_task(steps: int) -> None:
    it = World(world.SPEC)
    it.sweep()
    for _ in range(steps):
        it.step()
    it.crash()
    it.run(120)
    assert it.phase() is Phase.RUNNING
    assert (it.launched, len(it.alive)) == (1, 1)


@pytest.mark.parametrize("steps", range(12))
def test_a_crash_after_any_step_of_a_deletion_leaves_none(steps: int) -> None:
    it = up()
    it.delete()
    for _ in range(steps):
        it.step()
        it.now = it.now.replace(second=(it.now.second + 5) % 60)
        it.progress()
        it.sweep()
    it.crash()
    it.run(300)
    assert it.gone
    assert (it.launched, it.alive) == (1, [])


@pytest.mark.parametrize("seen_at_once", [True, False])
def test_a_lost_reply_is_asked_for_again_with_the_same_token(seen_at_once: bool) -> None:
    it = World(world.SPEC, fates=["lost", "lost"], hidden=not seen_at_once)
    it.run(30)
    it.hidden = False
    it.run(60)
    assert it.phase() is Phase.RUNNING
    assert it.launched == 1


def test_a_call_that_never_arrived_is_repeated() -> None:
    it = World(world.SPEC, fates=["never sent"] * 3)
    it.run(120)
    assert (it.phase(), it.launched, it.calls) == (Phase.RUNNING, 1, 4)


def test_no_answer_for_an_hour_ends_in_one_task_under_the_next_number() -> None:
    it = World(world.SPEC, fates=["never sent"] * 1000)
    it.run(3600, every=60)
    status = Status.from_json(it.status)
    assert status.attempt is not None
    assert status.attempt.number == 2
    assert [end.stop_code for end in status.last_terminations] == ["Unresolved"]
    it.fates = []
    it.run(120)
    assert (it.phase(), it.launched) == (Phase.RUNNING, 1)


def test_throttled_launches_write_no_more_often_than_they_call() -> None:
    it = World(world.SPEC, fates=["throttled"] * 1000)
    it.run(600)
    assert it.launched == 0
    # One write an armed call, one that says why it waits, the finalizer.
    assert len(it.writes) <= it.calls + 3
    assert it.calls <= 600 / 15 + 6
    it.fates = []
    it.run(120)
    assert (it.phase(), it.launched) == (Phase.RUNNING, 1)


def test_a_token_bound_to_another_body_is_adopted() -> None:
    it = World(world.SPEC, fates=["lost"], hidden=True)
    it.rest()
    it.sweep()
    it.rest()
    assert it.launched == 1
    it.edit(dpi=96)  # another body under the same token
    it.run(20)
    it.hidden = False
    it.run(300)
    assert it.phase() is Phase.RUNNING
    assert (it.launched, len(it.alive), it.most_alive) == (2, 1, 1)
    assert it.alive[0].started_by == world.started_by(2)


def test_a_bound_token_without_a_task_to_see_stays_unresolved_until_it_dies() -> None:
    it = World(world.SPEC, fates=["lost"], hidden=True)
    it.sweep()
    it.rest()
    it.edit(dpi=96)
    it.run(40 * 60, every=20)
    assert it.launched == 1
    assert "bound to a launch not visible yet" in it.status["message"]
    writes = len(it.writes)
    it.run(120)
    assert len(it.writes) == writes


def test_no_capacity_takes_one_lookup_and_the_next_number() -> None:
    it = World(world.SPEC, fates=["full", "full"])
    it.run(240)
    status = Status.from_json(it.status)
    assert status.attempt is not None
    assert (it.phase(), it.launched, status.attempt.number) == (Phase.RUNNING, 1, 3)
    assert status.attempt.failures == 0


@pytest.mark.parametrize("process", ["same", "another"])
def test_a_wiped_status_does_not_double_the_task(process: str) -> None:
    it = up()
    it.status = {}
    if process == "another":
        it.crash()
    it.run(60)
    assert it.phase() is Phase.RUNNING
    assert (it.launched, len(it.alive)) == (1, 1)
    assert Status.from_json(it.status).attempt is not None


def test_a_status_wiped_during_a_launch_does_not_double_the_task() -> None:
    it = World(world.SPEC, fates=["lost"], hidden=True)
    it.sweep()
    it.rest()
    it.status = {}
    it.crash()
    it.rest()
    assert it.calls == 1  # no sweep yet
    it.run(30)
    it.hidden = False
    it.run(60)
    assert (it.phase(), it.launched) == (Phase.RUNNING, 1)


FOREIGN = world.arn("foreign")

FORGERIES: dict[str, dict[str, Any]] = {
    "a foreign task in its place": {"tasks": [{"attempt": 1, "arn": FOREIGN}]},
    "a task that is not": {"tasks": [{"attempt": 1, "arn": world.arn("none")}]},
    "a newer task that is not": {"tasks": [{"attempt": 9, "arn": world.arn("none")}]},
    "no task": {"tasks": []},
    "no attempt": {"attempt": None},
    "a higher number": {"attempt": {"number": 7, "clusterArn": world.CLUSTER}},
    "an absurd number": {"attempt": {"number": 2**31 - 1, "clusterArn": world.CLUSTER}},
    "another cluster": {"attempt": {"number": 1, "clusterArn": world.ELSEWHERE}},
    "no cluster": {"attempt": {"number": 1, "clusterArn": "arn"}},
    "a retiring task": {"conditions": [], "phase": "Failed", "message": "x" * 5000},
    "ends that were not": {
        "lastTerminations": [{"attempt": n, "stopCode": "Expired"} for n in range(1, 6)]
    },
    "junk": {"attempt": "x", "tasks": 7, "conditions": {"a": 1}, "lastTerminations": [None]},
}


@pytest.mark.parametrize("process", ["same", "another"])
@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_status_neither_doubles_nor_stops_the_task(
    forgery: dict[str, Any], process: str
) -> None:
    it = up()
    foreign = world.task(arn=FOREIGN, started_by="somebody")
    it.tasks[FOREIGN] = foreign
    (mine,) = (task for task in it.alive if task.arn != FOREIGN)
    it.status = {**it.status, **forgery}
    if process == "another":
        it.crash()
    it.run(1200, every=20)
    assert [task.arn for task in it.alive] == [mine.arn, FOREIGN]
    assert it.phase() is Phase.RUNNING
    assert it.calls == 1
    writes = len(it.writes)
    it.run(600, every=60)
    assert len(it.writes) == writes


def test_a_lower_number_is_repaired_from_the_task_that_exists() -> None:
    it = up()
    it.exits()
    it.run(60)
    it.status = {**it.status, "attempt": {"number": 1, "clusterArn": world.CLUSTER}}
    it.status = {**it.status, "tasks": [], "lastTerminations": []}
    it.crash()
    it.run(60)
    status = Status.from_json(it.status)
    assert status.attempt is not None
    assert (status.attempt.number, it.launched) == (2, 2)


def test_two_live_tasks_become_one_the_newer() -> None:
    it = up()
    old = replace(it.alive[0], arn=world.arn("old"), started_by=world.started_by(1))
    (arn,) = it.tasks
    it.tasks[arn] = replace(it.tasks[arn], started_by=world.started_by(2))
    it.tasks[old.arn] = old
    it.crash()
    it.status = {}
    it.run(120)
    assert [task.arn for task in it.alive] == [arn]
    (entry,) = Status.from_json(it.status).tasks
    assert (entry.attempt, entry.role) == (2, Role.CURRENT)


def test_a_deleted_object_with_an_unknown_launch_waits_for_the_drain() -> None:
    it = World(world.SPEC, fates=["lost"], hidden=True)
    it.sweep()
    it.rest()
    it.delete()
    it.crash()
    it.run(400)
    assert not it.gone
    assert it.launched == 1
    it.hidden = False
    it.run(60)
    assert it.gone
    assert it.alive == []


def test_deleting_before_any_launch_is_immediate() -> None:
    it = World(world.SPEC)
    it.step()
    it.delete()
    it.rest()
    assert it.gone
    assert it.calls == 0


def test_a_deleted_object_whose_status_was_wiped_is_swept_for_first() -> None:
    it = up()
    it.status = {}
    it.crash()
    it.delete()
    it.rest()
    assert not it.gone
    it.run(60)
    assert it.gone
    assert it.alive == []


def test_an_upgrade_launches_and_writes_nothing() -> None:
    it = up()
    it.status["attempt"]["specHash"] = "v9:whatever"
    for arn in it.tasks:
        it.tasks[arn] = replace(it.tasks[arn], spec_hash="v9:whatever")
    it.crash()
    writes = len(it.writes)
    it.rest()
    it.run(600)
    assert (it.launched, len(it.writes)) == (1, writes)


def test_an_armed_call_that_was_not_made_in_time_is_armed_again() -> None:
    it = World(world.SPEC)
    it.sweep()
    while "Pending" not in it.writes:
        it.step()
    it.now = it.now.replace(second=31)
    assert not [each for each in it.step().actions if isinstance(each, RunTask)]
    assert it.writes[-2:] == ["Pending", "Pending"]
    assert [type(each) for each in it.step().actions] == [RunTask]
