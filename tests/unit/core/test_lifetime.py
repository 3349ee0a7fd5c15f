"""timeouts.lifetimeSeconds and ttlSecondsAfterFinished: a clock that runs while the object runs."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World

from fractal_models.container import Phase, Role, Status
from fractal_operator.core import tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import ADOPT, PAUSED, RESTART_REQUESTED
from fractal_operator.core.decide import decide
from fractal_operator.core.events import Transition, retold, transitions
from fractal_operator.core.plan import DeleteObject, Plan

HOUR = 3600
START = 15
"""Seconds from a RunTask to RUNNING in this world (three steps of ``every``)."""


def up(seconds: float = HOUR, **spec: Any) -> World:
    """A world whose container has just become Ready."""
    it = World({**world.SPEC, "timeouts": {"lifetimeSeconds": seconds}, **spec})
    it.run(120, until=lambda: it.phase() is Phase.RUNNING)
    assert it.phase() is Phase.RUNNING
    return it


def status(it: World) -> Status:
    return Status.from_json(it.status)


def ready(it: World) -> tuple[str, str, str]:
    (found,) = [each for each in status(it).conditions if each.type == "Ready"]
    return str(found.status), found.reason, found.message


def used(it: World) -> int:
    attempt = status(it).attempt
    assert attempt is not None
    return attempt.used_seconds


def started(it: World) -> datetime:
    (task,) = it.alive
    assert task.started_at is not None
    return task.started_at


def ran(it: World) -> float:
    """How long all tasks of the object have run, by ECS's times."""
    return sum(
        ((task.stopped_at or it.now) - task.started_at).total_seconds()
        for task in it.tasks.values()
        if task.started_at is not None
    )


def test_a_lifetime_ends_once_and_for_all() -> None:
    it = up()
    it.run(2 * HOUR, every=10)
    assert (it.phase(), it.launched, it.alive) == (Phase.SUCCEEDED, 1, [])
    assert HOUR <= ran(it) <= HOUR + 90
    (end,) = status(it).last_terminations
    assert end.stop_code == "Expired"
    attempt = status(it).attempt
    assert attempt is not None
    assert attempt.failures == 0
    assert (status(it).will_stop_at, status(it).message) == (
        None,
        "The task reached spec.timeouts.lifetimeSeconds.",
    )
    writes = len(it.writes)
    it.crash()
    it.run(24 * HOUR, every=600)
    assert (it.launched, len(it.writes)) == (1, writes)


def test_what_it_costs_is_one_write() -> None:
    """Against the same life without a lifetime: the warning, and nothing else."""
    it = up()
    plain = World(world.SPEC)
    plain.run(120, until=lambda: plain.phase() is Phase.RUNNING)
    assert it.writes == plain.writes
    before = len(it.writes)
    it.run(HOUR - 20, every=10)
    assert it.writes[before:] == ["Running"]


def test_the_warning() -> None:
    it = up()
    end = started(it) + timedelta(seconds=HOUR)
    assert status(it).will_stop_at == end
    assert it.rest() == Plan(again_at=end - timedelta(minutes=5))

    it.now = end - timedelta(minutes=5, seconds=1)
    it.sweep()
    assert it.rest().actions == ()
    assert ready(it)[:2] == ("True", "TaskRunning")

    before = status(it)
    it.now = end - timedelta(minutes=5)
    plan = it.rest()
    after = status(it)
    assert ready(it) == (
        "True",
        "Expiring",
        f"The ECS task is running; spec.timeouts.lifetimeSeconds ends it at {end:%FT%TZ}.",
    )
    assert (after.phase, after.endpoint, after.ready_at) == (
        Phase.RUNNING,
        before.endpoint,
        before.ready_at,
    )
    (told,) = transitions(world.UID, before, after)
    assert (told.type, told.reason) == ("Warning", "Expiring")
    assert f"{end:%FT%TZ}" in told.message
    assert plan == Plan(again_at=end)
    writes = len(it.writes)
    it.run(280, every=10)
    assert len(it.writes) == writes


@pytest.mark.parametrize(("lifetime", "ahead"), [(60, 6), (3000, 300), (86400, 300), (120, 12)])
def test_how_long_ahead_it_warns(lifetime: int, ahead: int) -> None:
    it = up(lifetime)
    end = started(it) + timedelta(seconds=lifetime)
    assert it.rest().again_at == end - timedelta(seconds=ahead)


def keys(told: tuple[Transition, ...], reason: str) -> list[str]:
    return [each.key for each in told if each.reason == reason]


def test_told_again_ready_and_expiring_have_the_keys_of_the_first_time() -> None:
    it = up()
    first = status(it)
    (ready_key,) = keys(transitions(world.UID, Status(attempt=first.attempt), first), "Ready")
    it.now = started(it) + timedelta(seconds=HOUR - 100)
    it.sweep()
    it.rest()
    (warning,) = keys(transitions(world.UID, first, status(it)), "Expiring")
    again = retold(world.UID, status(it))
    assert keys(again, "Ready") == [ready_key]
    assert keys(again, "Expiring") == [warning]


def test_more_lifetime_takes_the_warning_back_and_the_next_one_is_another() -> None:
    it = up()
    end = started(it) + timedelta(seconds=HOUR)
    before = status(it)
    it.now = end - timedelta(seconds=60)
    it.sweep()
    it.rest()
    warned = status(it)
    it.edit(timeouts={"lifetimeSeconds": 2 * HOUR})
    it.rest()
    assert ready(it)[:2] == ("True", "TaskRunning")
    assert status(it).will_stop_at == end + timedelta(hours=1)
    assert transitions(world.UID, warned, status(it)) == ()
    later = status(it)
    it.now = end + timedelta(seconds=HOUR - 60)
    it.sweep()
    it.rest()
    first = keys(transitions(world.UID, before, warned), "Expiring")
    second = keys(transitions(world.UID, later, status(it)), "Expiring")
    assert len(first) == len(second) == 1
    assert first != second
    assert it.launched == 1


def test_no_lifetime_any_more_no_end() -> None:
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR - 60)
    it.sweep()
    it.rest()
    it.edit(timeouts=None)
    it.rest()
    assert (ready(it)[1], status(it).will_stop_at) == ("TaskRunning", None)
    it.run(2 * HOUR, every=60)
    assert it.launched == len(it.alive) == 1


def test_when_it_will_stop_is_told_from_the_first_sight_of_the_task() -> None:
    it = World({**world.SPEC, "timeouts": {"lifetimeSeconds": HOUR}})
    it.sweep()
    while it.phase() is not Phase.PENDING:
        it.step()
    assert status(it).will_stop_at is None
    it.rest()
    assert it.phase() is Phase.PROVISIONING
    (entry,) = status(it).tasks
    assert entry.since is not None
    assert status(it).will_stop_at == entry.since + timedelta(seconds=HOUR)
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert status(it).will_stop_at == started(it) + timedelta(seconds=HOUR)


def test_the_clock_goes_by_the_tasks_start_not_by_when_it_was_seen() -> None:
    """Nobody looked for the first ten minutes."""
    spec = {**world.SPEC, "timeouts": {"lifetimeSeconds": HOUR}}
    begun = world.ago(610)
    known = Status(attempt=world.attempt(first_issued_at=begun), tasks=(world.entry(1, "PENDING"),))
    shown = world.task(started_at=begun)
    seen, _ = world.settled(world.observation(spec, status=known, tasks=(shown,)))
    (entry,) = seen.status.tasks
    assert entry.since == world.NOW
    assert seen.status.will_stop_at == begun + timedelta(seconds=HOUR)


def test_a_relaunch_goes_on_with_what_is_left() -> None:
    it = up()
    first = started(it)
    it.now = first + timedelta(seconds=2000)
    it.exits(1)
    it.run(600, until=lambda: it.launched == 2 and it.phase() is Phase.RUNNING)
    assert used(it) == 2000
    assert status(it).will_stop_at == started(it) + timedelta(seconds=HOUR - 2000)
    it.run(2 * HOUR, every=10)
    assert (it.phase(), it.launched) == (Phase.SUCCEEDED, 2)
    assert HOUR <= ran(it) <= HOUR + 90


def test_the_clock_stands_still_while_suspended() -> None:
    it = up()
    it.run(1000, every=10)
    it.edit(operatingMode="Suspended")
    it.run(100, every=5)
    assert (it.phase(), status(it).will_stop_at) == (Phase.SUSPENDED, None)
    so_far = used(it)
    assert 1000 <= so_far == ran(it) <= 1100
    it.now += timedelta(days=10)
    it.crash()
    it.edit(operatingMode="Running")
    it.run(60, until=lambda: it.phase() is Phase.RUNNING)
    assert used(it) == so_far
    assert status(it).will_stop_at == started(it) + timedelta(seconds=HOUR - so_far)
    it.run(2 * HOUR, every=10)
    assert it.phase() is Phase.SUCCEEDED
    assert HOUR <= ran(it) <= HOUR + 90


def test_a_little_left_is_warned_of_at_once() -> None:
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR - 120)
    it.exits(1)
    it.sweep()
    it.rest()
    before = status(it)
    it.run(600, until=lambda: it.phase() is Phase.RUNNING)
    told = [each.reason for each in transitions(world.UID, before, status(it))]
    assert ready(it)[:2] == ("True", "Expiring")
    assert told[-2:] == ["Ready", "Expiring"]


@pytest.mark.parametrize("how", ["crash", "Spot"])
def test_with_nothing_left_nothing_is_launched(how: str) -> None:
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR + 5)
    (task,) = it.alive
    if how == "crash":
        it.exits(1)
    else:
        it.change(task.arn, last_status="STOPPED", stop_code="SpotInterruption")
    it.run(HOUR, every=10)
    assert (it.phase(), it.launched) == (Phase.SUCCEEDED, 1)
    assert status(it).message == "The task reached spec.timeouts.lifetimeSeconds."


@pytest.mark.parametrize(("exit_code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_how_the_container_itself_ended_comes_before_the_clock(exit_code: int, phase: str) -> None:
    it = up(restartPolicy="Never")
    it.now = started(it) + timedelta(seconds=HOUR + 5)
    it.exits(exit_code)
    it.run(60)
    assert str(it.phase()) == phase
    assert "lifetimeSeconds" not in status(it).message


def test_a_shorter_lifetime_while_suspended_leaves_nothing_to_resume() -> None:
    it = up()
    it.run(1000, every=10)
    it.edit(operatingMode="Suspended")
    it.run(100)
    it.edit(operatingMode="Running", timeouts={"lifetimeSeconds": 900})
    it.run(600)
    assert (it.phase(), it.launched) == (Phase.SUCCEEDED, 1)


def test_an_edit_that_replaces_the_task_starts_a_new_clock() -> None:
    it = up()
    it.run(2000, every=10)
    it.edit(dpi=96)
    it.run(200, until=lambda: it.launched == 2 and it.phase() is Phase.RUNNING)
    assert used(it) == 0
    assert status(it).will_stop_at == started(it) + timedelta(seconds=HOUR)


def test_a_requested_restart_starts_a_new_clock() -> None:
    it = up()
    it.run(2000, every=10)
    it.annotations = {RESTART_REQUESTED: "now"}
    it.run(200, until=lambda: it.launched == 2 and it.phase() is Phase.RUNNING)
    assert used(it) == 0
    assert status(it).will_stop_at == started(it) + timedelta(seconds=HOUR)


@pytest.mark.parametrize("how", ["edit", "restart"])
def test_so_do_they_after_the_end(how: str) -> None:
    it = up()
    it.run(HOUR + 200, every=10)
    assert it.phase() is Phase.SUCCEEDED
    if how == "edit":
        it.edit(dpi=96)
    else:
        it.annotations = {RESTART_REQUESTED: "again"}
    it.run(100)
    assert (it.phase(), it.launched, used(it)) == (Phase.RUNNING, 2, 0)


def test_an_edit_in_place_starts_no_new_clock() -> None:
    it = up()
    it.run(1000, every=10)
    it.edit(user="eve", tags={"a": "b"})
    it.exits(1)
    it.run(600, until=lambda: it.launched == 2 and it.phase() is Phase.RUNNING)
    assert 1000 <= used(it) <= 1010


def test_a_higher_limit_goes_on_with_what_was_added() -> None:
    it = up()
    it.run(HOUR + 200, every=10)
    assert it.phase() is Phase.SUCCEEDED
    so_far = used(it)
    it.edit(timeouts={"lifetimeSeconds": 2 * HOUR})
    it.run(100)
    assert (it.phase(), it.launched) == (Phase.RUNNING, 2)
    assert status(it).will_stop_at == started(it) + timedelta(seconds=2 * HOUR - so_far)


def test_clocks_that_differ_bring_no_expired_task_back() -> None:
    """ECS's times say that the task was ended 40 s short of its lifetime."""
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR)
    (task,) = it.alive
    it.sweep()
    it.rest()
    it.tasks[task.arn] = replace(
        it.tasks[task.arn], stopped_at=it.now - timedelta(seconds=40), last_status="STOPPED"
    )
    it.run(HOUR, every=60)
    assert (it.phase(), it.launched, used(it)) == (Phase.SUCCEEDED, 1, HOUR)


def test_the_end_does_not_wait_for_the_next_sweep() -> None:
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR)
    it.rest()
    assert it.phase() is Phase.STOPPING
    assert [task.desired_status for task in it.alive] == ["STOPPED"]


def test_a_look_that_shows_nothing_is_not_repeated() -> None:
    """The task has just ended by itself: the next sweep tells how."""
    it = up(restartPolicy="Never")
    it.now = started(it) + timedelta(seconds=HOUR)
    it.exits(1)
    it.rest()
    assert it.memory.lookup is not None
    assert it.memory.lookup.found == ()
    assert it.phase() is Phase.RUNNING
    assert it.rest() == Plan(again_at=it.now + timedelta(seconds=10))
    it.sweep()
    it.rest()
    assert (it.phase(), status(it).last_terminations[0].exit_code) == (Phase.FAILED, 1)


def test_a_limit_that_goes_while_the_task_is_being_stopped_for_it_is_no_limit() -> None:
    it = up()
    it.now = started(it) + timedelta(seconds=HOUR)
    it.sweep()
    it.rest()
    assert it.phase() is Phase.STOPPING
    it.edit(timeouts=None)
    it.run(120)
    assert (it.phase(), it.launched) == (Phase.RUNNING, 2)


def test_an_attempt_that_an_edit_reaches_before_its_call_begins_anew() -> None:
    """Neither the failures nor the time used of what was there before the edit are its own."""
    it = up()
    it.run(2000, every=10)
    it.exits(1)
    it.run(600, until=lambda: it.calls == 1 and len(status(it).last_terminations) == 1)
    it.fates = ["throttled"] * 3
    it.run(600, every=1, until=lambda: it.calls == 2)
    attempt = status(it).attempt
    assert attempt is not None
    assert (attempt.number, attempt.failures) == (2, 1)
    assert attempt.used_seconds >= 2000
    it.edit(dpi=96)
    it.run(120, until=lambda: it.phase() is Phase.RUNNING)
    attempt = status(it).attempt
    assert attempt is not None
    assert (attempt.number, attempt.failures, attempt.used_seconds) == (2, 0, 0)


def test_a_stopped_task_that_ecs_tells_little_of_has_run_since_the_status_saw_it_start() -> None:
    it = up()
    began = started(it)
    it.now = began + timedelta(seconds=700)
    it.exits(1)
    it.crash()
    (arn,) = it.tasks
    it.tasks[arn] = replace(it.tasks[arn], started_at=None, stopped_at=None)
    it.sweep()
    it.rest()
    attempt = status(it).attempt
    assert attempt is not None
    assert (attempt.used_seconds, attempt.failures) == (700, 1)


def test_what_an_adopted_task_ran_before_is_not_counted() -> None:
    """A task that is older than the object's whole lifetime is not ended for being adopted."""
    owner = tokens.owner_tags("ins", "default", "box", world.UID)
    rule = Rule(namespaces=("*",), adoptable=("*",))
    long_ago = world.ago(100 * HOUR)
    it = World(
        {**world.SPEC, "timeouts": {"lifetimeSeconds": HOUR}},
        policy=replace(world.POLICY, allow=Allow((rule,))),
        annotations={ADOPT: world.arn("theirs")},
    )
    it.tasks[world.arn("theirs")] = world.task(
        arn=world.arn("theirs"),
        started_by="deploy-tool",
        spec_hash="",
        created_at=long_ago,
        started_at=long_ago,
        tags=tuple(sorted(owner.items())),
    )
    it.run(60)
    begun = status(it).will_stop_at
    assert it.phase() is Phase.RUNNING
    assert begun is not None
    assert timedelta(0) <= begun - timedelta(seconds=HOUR) - world.NOW <= timedelta(seconds=60)
    it.exits(1)
    it.run(120, until=lambda: it.launched == 2 and it.phase() is Phase.RUNNING)
    assert 30 <= used(it) <= 90


def test_a_paused_object_outlives_its_time_until_it_is_not_paused() -> None:
    it = up()
    it.annotations = {PAUSED: "true"}
    it.run(2 * HOUR, every=60)
    assert (it.phase(), it.launched, len(it.alive)) == (Phase.RUNNING, 1, 1)
    it.annotations = {}
    it.run(120)
    assert (it.phase(), it.launched, it.alive) == (Phase.SUCCEEDED, 1, [])


def test_times_that_cannot_be_count_for_nothing() -> None:
    """ECS's stoppedAt before its startedAt; and more seconds than a status holds."""
    end = world.stopped(started_at=world.NOW, stopped_at=world.ago(60))
    known = Status(attempt=world.attempt(used_seconds=7), tasks=(world.entry(),))
    seen, _ = world.settled(world.observation(status=known, tasks=(end,)))
    assert seen.status.attempt is not None
    assert seen.status.attempt.used_seconds == 7
    known = Status(attempt=world.attempt(used_seconds=2**31 - 1), tasks=(world.entry(),))
    seen, _ = world.settled(world.observation(status=known, tasks=(world.stopped(),)))
    assert seen.status.attempt is not None
    assert seen.status.attempt.used_seconds == 2**31 - 1


# --- the other limits ---


@pytest.mark.parametrize("stage", ["PROVISIONING", "PENDING", "ACTIVATING"])
def test_no_limit_runs_while_suspended(stage: str) -> None:
    """Not even if ECS takes for ever to stop: the task is stopped as suspended, once."""
    limits = {"provisioningSeconds": 60, "startSeconds": 60}
    it = World({**world.SPEC, "timeouts": limits})
    it.run(60, until=lambda: bool(it.alive))
    (task,) = it.alive
    it.change(task.arn, last_status=stage)
    it.stuck.add(task.arn)
    it.run(20)
    it.edit(operatingMode="Suspended")
    it.rest()
    (entry,) = status(it).tasks
    assert (entry.role, entry.reason) == (Role.RETIRING, "Suspended")
    it.now += timedelta(days=1)
    it.run(120)
    (end,) = status(it).last_terminations
    assert (it.phase(), end.stop_code) == (Phase.SUSPENDED, "Suspended")
    it.edit(operatingMode="Running")
    it.stuck.clear()
    it.run(50)
    assert it.phase() is Phase.RUNNING


def test_the_time_to_live_counts_from_the_end() -> None:
    limits = {"lifetimeSeconds": 600, "ttlSecondsAfterFinished": 1000}
    it = up(timeouts=limits)
    it.run(HOUR, every=10, until=lambda: it.phase() is Phase.SUCCEEDED)
    (end,) = status(it).last_terminations
    assert end.finished_at is not None
    it.now = end.finished_at + timedelta(seconds=999)
    assert it.rest() == Plan(again_at=end.finished_at + timedelta(seconds=1000))
    it.now += timedelta(seconds=1)
    it.run(30)
    assert it.gone


def test_no_object_is_deleted_while_suspended() -> None:
    it = up(timeouts={"lifetimeSeconds": 600, "ttlSecondsAfterFinished": 1000})
    it.run(HOUR, every=10, until=lambda: it.phase() is Phase.SUCCEEDED)
    it.edit(operatingMode="Suspended")
    it.run(24 * HOUR, every=600)
    assert (it.phase(), it.deleting_since) == (Phase.SUSPENDED, None)
    assert decide(it.observe(), it.policy) == Plan()
    it.edit(operatingMode="Running")
    it.run(30)
    assert it.gone


@pytest.mark.parametrize(("policy", "code"), [("Never", 1), ("OnFailure", 0)])
def test_failed_and_succeeded_objects_go_after_their_time_alike(policy: str, code: int) -> None:
    it = up(restartPolicy=policy, timeouts={"ttlSecondsAfterFinished": 0})
    it.exits(code)
    it.sweep()
    plans = [it.step() for _ in range(2)]
    assert [DeleteObject() in plan.actions for plan in plans] == [False, True]
    it.run(30)
    assert it.gone


def test_a_retried_end_is_no_finish() -> None:
    it = up(timeouts={"ttlSecondsAfterFinished": 0})
    it.exits(1)
    it.run(600, until=lambda: it.launched == 2)
    assert it.deleting_since is None
