"""paused, read-only and restart-requested-at: what they hold up, and what they bring about."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World
from tests.unit.core.test_loop import up
from tests.unit.core.world import NOW, POLICY, SPEC, UID, cluster, entry, running, settled, stopped

from fractal_models.container import Phase, Status
from fractal_operator.core import events
from fractal_operator.core.annotations import (
    ABANDON,
    MEANING,
    PAUSED,
    READ_ONLY,
    RESTART_REQUESTED,
    holds,
)
from fractal_operator.core.decide import decide
from fractal_operator.core.merge import merge
from fractal_operator.core.plan import (
    Find,
    Lookup,
    Missing,
    Plan,
    RemoveFinalizer,
    RunTask,
    StopTask,
)

HELD = pytest.mark.parametrize("name", [PAUSED, READ_ONLY])


def reasons(it: World) -> dict[str, tuple[str, str]]:
    conditions = Status.from_json(it.status).conditions
    return {each.type: (str(each.status), each.reason) for each in conditions}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, ""),
        ({PAUSED: "false"}, ""),
        ({PAUSED: "False"}, ""),
        ({PAUSED: "true"}, "Paused"),
        ({PAUSED: ""}, "Paused"),
        ({PAUSED: "2026-05-04"}, "Paused"),
        ({READ_ONLY: "true"}, "ReadOnly"),
        ({READ_ONLY: "false", PAUSED: "yes"}, "Paused"),
        ({READ_ONLY: "yes", PAUSED: "yes"}, "ReadOnly"),
    ],
)
def test_any_value_but_false_holds(given: dict[str, str], reason: str) -> None:
    assert holds(given) == reason


def test_every_annotation_is_explained() -> None:
    assert PAUSED in MEANING
    assert ABANDON in MEANING


@HELD
def test_nothing_is_launched_until_it_is_gone(name: str) -> None:
    it = World(SPEC, annotations={name: "true"})
    it.run(600)
    assert (it.launched, it.phase(), it.writes) == (0, Phase.PENDING, ["finalizer", "Pending"])
    assert reasons(it)["Reconciling"] == ("True", holds(it.annotations))
    assert name in Status.from_json(it.status).message
    it.annotations = {}
    it.run(60)
    assert (it.launched, it.phase()) == (1, Phase.RUNNING)


@HELD
def test_a_running_task_stays_ready_and_costs_one_write(name: str) -> None:
    it = up()
    before = len(it.writes)
    it.annotations = {name: "true"}
    it.run(3600, every=60)
    assert (len(it.alive), len(it.writes) - before) == (1, 1)
    assert reasons(it)["Ready"] == ("True", "TaskRunning")
    assert reasons(it)["Reconciling"] == ("False", "Settled")
    assert name in Status.from_json(it.status).message


@HELD
@pytest.mark.parametrize(
    "edit",
    [{"environment": [{"name": "A", "value": "1"}]}, {"operatingMode": "Suspended"}],
    ids=["replaced", "suspended"],
)
def test_an_edit_waits_and_the_task_runs_on(name: str, edit: dict[str, object]) -> None:
    it = up()
    it.annotations = {name: "true"}
    it.edit(**edit)
    it.run(600)
    assert (it.launched, len(it.alive), it.phase()) == (1, 1, Phase.RUNNING)
    assert reasons(it)["Ready"] == ("True", "TaskRunning")
    assert reasons(it)["Reconciling"] == ("True", holds(it.annotations))
    it.annotations = {}
    it.run(120)
    assert it.most_alive == 1
    assert it.launched == (1 if "operatingMode" in edit else 2)
    assert len(it.alive) == it.launched - 1


@HELD
def test_an_end_is_told_but_nothing_follows(name: str) -> None:
    it = up()
    it.annotations = {name: "true"}
    it.exits(3)
    it.run(900)
    status = Status.from_json(it.status)
    assert (it.launched, it.alive, it.phase()) == (1, [], Phase.PENDING)
    assert [(each.attempt, each.exit_code) for each in status.last_terminations] == [(1, 3)]
    it.annotations = {}
    it.run(120)
    assert (it.launched, it.phase()) == (2, Phase.RUNNING)


@HELD
def test_what_has_nothing_left_to_do_is_shown_as_it_is(name: str) -> None:
    suspended = World({**SPEC, "operatingMode": "Suspended"}, annotations={name: "true"})
    suspended.run(60)
    assert suspended.phase() is Phase.SUSPENDED
    done = up(annotations={})
    done.edit(restartPolicy="Never")
    done.exits(0)
    done.run(60)
    assert done.phase() is Phase.SUCCEEDED
    done.annotations = {name: "true", RESTART_REQUESTED: "now"}
    done.run(60)
    assert (done.launched, done.phase()) == (1, Phase.PENDING)
    del done.annotations[RESTART_REQUESTED]
    done.run(60)
    assert done.phase() is Phase.SUCCEEDED


@HELD
def test_a_launch_that_was_meant_is_not_called_and_is_found_if_it_was(name: str) -> None:
    it = World(SPEC, fates=["lost"])
    it.run(60, until=lambda: it.calls == 1)
    it.annotations = {name: "true"}
    it.hidden = True
    it.run(60)
    assert (it.calls, it.phase()) == (1, Phase.PENDING)
    it.hidden = False
    it.run(60)
    assert (it.calls, it.phase(), len(it.alive)) == (1, Phase.RUNNING, 1)


@HELD
def test_a_task_on_its_way_out_is_shown_so_and_not_stopped_again(name: str) -> None:
    it = up()
    it.edit(dpi=96)
    it.step()
    it.annotations = {name: "true"}
    plan = it.rest()
    assert not any(isinstance(each, StopTask | RunTask) for each in plan.actions)
    assert it.phase() is Phase.STOPPING
    assert len(it.alive) == 1


def test_a_lost_task_is_looked_up_while_paused() -> None:
    missing = {world.arn(): Missing(NOW - timedelta(minutes=6), NOW, 3)}
    seen = replace(running(), annotations={PAUSED: "true"}, tasks=(), missing=missing)
    seen, plan = settled(replace(seen, home=cluster(swept_since=NOW)))
    assert [type(each) for each in plan.actions] == [Find]


# --- deletion ---


def test_paused_does_not_hold_up_a_deletion() -> None:
    it = up(annotations={})
    it.annotations = {PAUSED: "true"}
    it.delete()
    it.run(120)
    assert (it.gone, it.alive) == (True, [])


def test_read_only_holds_up_a_deletion_and_says_so() -> None:
    it = up()
    it.annotations = {READ_ONLY: "true"}
    it.delete()
    it.run(1200, every=30)
    assert (it.gone, len(it.alive), it.phase()) == (False, 1, Phase.DELETING)
    assert reasons(it)["Stalled"] == ("True", "ReadOnly")
    assert READ_ONLY in Status.from_json(it.status).message
    it.annotations = {}
    it.run(120)
    assert (it.gone, it.alive) == (True, [])


def test_a_read_only_object_can_be_given_up() -> None:
    seen = running(annotations={READ_ONLY: "true", ABANDON: UID}, deleting_since=NOW)
    assert decide(seen, POLICY) == Plan((RemoveFinalizer(),))


# --- restart ---


def test_a_restart_replaces_the_task_once() -> None:
    it = up()
    it.annotations = {RESTART_REQUESTED: "2026-05-04T12:00:00Z"}
    it.run(600)
    status = Status.from_json(it.status)
    assert (it.launched, len(it.alive), it.most_alive) == (2, 1, 1)
    assert [each.stop_code for each in status.last_terminations] == ["Restarted"]
    assert status.attempt is not None
    assert status.attempt.restart_requested_at == "2026-05-04T12:00:00Z"
    it.annotations = {}
    it.run(600)
    assert it.launched == 2
    it.annotations = {RESTART_REQUESTED: "again"}
    it.run(600)
    assert it.launched == 3


def test_an_object_made_with_the_annotation_starts_once() -> None:
    it = up(annotations={RESTART_REQUESTED: "now"})
    it.run(600)
    assert it.launched == 1


def test_a_restart_survives_a_crash_at_every_step() -> None:
    for steps in range(8):
        it = up()
        it.annotations = {RESTART_REQUESTED: "now"}
        for _ in range(steps):
            it.step()
        it.crash()
        it.run(1200)
        assert (it.launched, len(it.alive), it.most_alive) == (2, 1, 1)


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, Phase.SUCCEEDED), ("Never", 1, Phase.FAILED)]
)
def test_a_restart_revives_what_had_ended(policy: str, code: int, phase: Phase) -> None:
    it = up()
    it.edit(restartPolicy=policy)
    it.exits(code)
    it.run(60)
    assert it.phase() is phase
    it.annotations = {RESTART_REQUESTED: "now"}
    it.run(120)
    assert (it.launched, it.phase()) == (2, Phase.RUNNING)


def test_a_restart_begins_a_new_count_of_failures() -> None:
    it = up()
    it.edit(backoffLimit=0)
    it.exits(1)
    it.run(60)
    assert it.phase() is Phase.FAILED
    it.annotations = {RESTART_REQUESTED: "now"}
    it.run(120)
    attempt = Status.from_json(it.status).attempt
    assert attempt is not None
    assert (it.phase(), attempt.failures) == (Phase.RUNNING, 0)


def test_a_suspended_object_does_not_start() -> None:
    it = up()
    it.edit(operatingMode="Suspended")
    it.annotations = {RESTART_REQUESTED: "now"}
    it.run(600)
    assert (it.launched, it.alive, it.phase()) == (1, [], Phase.SUSPENDED)


def test_a_wiped_status_restarts_nothing() -> None:
    it = up(annotations={RESTART_REQUESTED: "now"})
    it.status = {}
    it.run(600)
    assert (it.launched, len(it.alive), it.phase()) == (1, 1, Phase.RUNNING)


def test_an_older_task_that_lives_on_is_not_restarted_for_a_newer_attempt() -> None:
    status = Status(attempt=world.attempt(2), tasks=(entry(1),))
    seen = world.observation(
        status=status,
        tasks=(world.task(1), stopped(2)),
        annotations={RESTART_REQUESTED: "now"},
    )
    seen, plan = settled(seen)
    assert not any(isinstance(each, StopTask) for each in plan.actions)


# --- what a review found ---


def test_a_paused_object_whose_lifetime_is_over_says_that_its_end_waits() -> None:
    it = World({**SPEC, "timeouts": {"lifetimeSeconds": 600}})
    it.run(120)
    it.annotations = {PAUSED: "true"}
    it.run(300)
    assert reasons(it)["Reconciling"] == ("False", "Settled")
    writes = len(it.writes)
    it.run(600)
    assert (len(it.alive), reasons(it)["Reconciling"]) == (1, ("True", "Paused"))
    assert len(it.writes) - writes <= 2  # the warning, and that the end waits
    it.annotations = {}
    it.run(120)
    assert (it.alive, it.phase()) == ([], Phase.SUCCEEDED)


def test_a_restart_asked_for_before_anything_was_sent_is_heeded_by_that_attempt() -> None:
    it = World(SPEC, fates=["throttled"] * 3)
    it.run(60, until=lambda: it.calls == 1)
    it.annotations = {RESTART_REQUESTED: "now"}
    it.run(300)
    assert (it.launched, len(it.alive), it.phase()) == (1, 1, Phase.RUNNING)


def test_each_success_is_told() -> None:
    it = up()
    it.edit(restartPolicy="OnFailure")
    keys = set()
    for wish in ("", "again"):
        it.annotations = {RESTART_REQUESTED: wish} if wish else {}
        it.run(120)
        before = Status.from_json(it.status)
        it.exits(0)
        it.run(60)
        after = Status.from_json(it.status)
        told = events.transitions(UID, before, after)
        keys |= {each.key for each in told if each.reason == "Succeeded"}
    assert len(keys) == 2


def test_an_upgrade_does_not_start_again_what_had_expired() -> None:
    it = World({**SPEC, "timeouts": {"lifetimeSeconds": 600}})
    it.run(1200)
    assert (it.phase(), it.launched) == (Phase.SUCCEEDED, 1)
    del it.status["attempt"]["usedSeconds"]  # as it was written before the time was counted
    it.run(1200)
    assert (it.phase(), it.launched) == (Phase.SUCCEEDED, 1)


def test_the_time_that_nobody_looked_is_no_lifetime_of_a_lost_task() -> None:
    issued: Any = {"first_issued_at": world.ago(700), "last_issued_at": world.ago(700)}
    claimed = entry(1, started_at=world.ago(660))
    seen = world.observation(
        status=Status(attempt=world.attempt(**issued), tasks=(claimed,)),
        home=cluster(reference=world.CLUSTER, swept_since=NOW),
        missing={world.arn(): Missing(world.ago(600), NOW, 9)},
        lookup=Lookup(1, NOW),
    )
    state = merge(seen, POLICY)
    assert [each.stop_code for each in state.terminations] == ["Lost"]
    assert state.attempt is not None
    assert state.attempt.used_seconds == 60
