"""updateStrategy Surge: the old task runs until the new one is Ready, and stays if that fails.

Written from the promise (docs/lifecycle.md). ``least`` and ``most`` are how few tasks RUNNING, and
how many alive, the tiny ECS of loop.py ever had.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World
from tests.unit.core.world import (
    NOW,
    POLICY,
    SPEC,
    ago,
    arn,
    attempt,
    entry,
    observation,
    retiring,
    settled,
    task,
)

from fractal_models.container import Phase, Role, Status
from fractal_models.observed import (
    Address,
    ClusterInfo,
    ObservedContainer,
    ObservedTask,
    TaskArn,
)
from fractal_operator.core import events, rows, tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import (
    ADOPT,
    PAUSED,
    RECONCILE_REQUESTED,
    RESTART_REQUESTED,
)
from fractal_operator.core.plan import (
    Find,
    Lookup,
    Missing,
    Observation,
    Problem,
    RunTask,
    Stop,
    StopTask,
    WriteStatus,
)

SURGE = {**SPEC, "updateStrategy": "Surge"}
EDIT = {"environment": [{"name": "A", "value": "1"}]}
OTHER = {"environment": [{"name": "A", "value": "2"}]}
BACK = {"environment": None}


def up(spec: Any = SURGE, **changes: Any) -> World:
    """A world whose container runs and is ready."""
    it = World(spec, **changes)
    it.run(60)
    assert it.phase() is Phase.RUNNING
    return it


def status(it: World) -> Status:
    return Status.from_json(it.status)


def roles(it: World) -> dict[int, str]:
    return {each.attempt: str(each.role) for each in status(it).tasks}


def said(it: World) -> dict[str, tuple[str, str]]:
    return {each.type: (str(each.status), each.reason) for each in status(it).conditions}


def ready(it: World) -> bool:
    return said(it)["Ready"][0] == "True"


def numbered(it: World, number: int) -> ObservedTask:
    (found,) = [each for each in it.tasks.values() if each.started_by.endswith(f"/{number}")]
    return found


def alive(it: World) -> list[int]:
    return sorted(int(each.started_by.rpartition("/")[2]) for each in it.alive)


def watched(it: World, seconds: float, *, every: float = 5) -> int:
    """Let time pass; how few tasks were RUNNING and not asked to stop meanwhile."""
    least = 9
    for _ in range(int(seconds / every)):
        it.run(every, every=every)
        serving = [
            each
            for each in it.tasks.values()
            if each.last_status == "RUNNING" and each.desired_status == "RUNNING"
        ]
        least = min(least, len(serving))
    return least


def surging(until: str = "Next", spec: Any = SURGE, **changes: Any) -> World:
    """A world in the middle of a surge, at one of its moments; attempt 1 runs."""
    it = up(spec, **changes)
    it.edit(**EDIT)
    match until:
        case "asked":
            it.sweep()
        case "intent":
            it.sweep()
            while status(it).attempt.number == 1:  # type: ignore[union-attr]
                it.step()
        case "lost":
            it.fates, it.hidden = ["lost"], True
            it.run(60, until=lambda: it.calls == 2)
        case "refused":
            it.fates = ["full"] * 99
            it.run(60, until=lambda: it.calls == 2)
        case "Next":
            it.run(60, until=lambda: it.launched == 2)
            it.stuck.add(numbered(it, 2).arn)
            it.run(20)
            assert roles(it) == {1: "Current", 2: "Next"}
        case "done":
            it.run(60, until=lambda: roles(it) == {1: "Retiring", 2: "Current"})
        case _:
            raise AssertionError(until)
    return it


MOMENTS = ["asked", "intent", "lost", "refused", "Next", "done"]


# --- the promise ---


@pytest.mark.parametrize("why", ["edit", "restart"])
def test_the_old_task_runs_until_the_new_one_is_ready(why: str) -> None:
    it = up()
    if why == "edit":
        it.edit(**EDIT)
    else:
        it.annotations = {RESTART_REQUESTED: "now"}
    assert watched(it, 120) == 1
    assert (it.launched, alive(it), it.most_alive) == (2, [2], 2)
    assert (it.phase(), ready(it)) == (Phase.RUNNING, True)
    assert status(it).last_terminations[0].stop_code == (
        "Replaced" if why == "edit" else "Restarted"
    )
    # Wanted; provisioning beside; ready, the old one retires; stopping; ended.
    assert it.writes[4:] == ["Updating", "Updating", "Running", "Running", "Running"]
    writes = len(it.writes)
    it.run(3600, every=60)
    assert len(it.writes) == writes


def test_recreate_is_the_default_and_as_it_was() -> None:
    it = up(SPEC)
    it.edit(**EDIT)
    assert watched(it, 120) == 0
    assert it.most_alive == 1


def test_an_edit_in_place_starts_no_surge() -> None:
    it = up()
    it.edit(user="somebody")
    it.run(120)
    assert it.launched == 1


def test_meanwhile_the_status_is_about_the_task_that_serves() -> None:
    it = surging("Next")
    now = status(it)
    assert said(it) == {
        "Ready": ("True", "TaskRunning"),
        "Reconciling": ("True", "Progressing"),
        "Stalled": ("False", "NotStalled"),
        "Synced": ("True", "ReconcileSuccess"),
    }
    assert now.phase is Phase.UPDATING
    assert now.endpoint is not None
    assert now.message == (
        "The ECS task is running. It is to be replaced once another is ready: "
        "The ECS task of attempt 2 is starting."
    )
    assert [each.reason for each in now.tasks] == ["Replaced", ""]


def test_the_endpoint_and_the_placement_change_with_the_roles() -> None:
    first, second = arn("1"), arn("2")
    tasks = (
        task(1, capacity_provider="FARGATE"),
        task(2, capacity_provider="FARGATE_SPOT"),
    )
    addresses = {first: Address("1.1.1.1", "10.0.0.1"), second: Address("2.2.2.2", "10.0.0.2")}
    seen = beside(tasks=(tasks[0], task(2, "PENDING")), addresses=addresses)
    seen, plan = settled(seen)
    assert (seen.status.endpoint.ip, plan.actions) == ("1.1.1.1", ())  # type: ignore[union-attr]
    assert seen.status.placement.capacity_provider == "FARGATE"  # type: ignore[union-attr]
    seen, plan = settled(replace(seen, tasks=tasks))
    assert seen.status.endpoint.ip == "2.2.2.2"  # type: ignore[union-attr]
    assert seen.status.placement.capacity_provider == "FARGATE_SPOT"  # type: ignore[union-attr]
    assert [each.arn for each in plan.actions if isinstance(each, StopTask)] == [first]


def beside(spec: Any = SURGE, **changes: Any) -> Observation:
    """An object whose attempt 1 serves, and 2, of the present spec, is to take its place."""
    hash_ = tokens.spec_hash(spec)
    fields: dict[str, Any] = {
        "status": Status(
            attempt=attempt(2, spec_hash=hash_),
            tasks=(
                entry(1, reason="Replaced"),
                entry(2, "PROVISIONING", role=Role.NEXT, since=ago(10)),
            ),
        ),
        "tasks": (task(1, spec_hash="v1:old"), task(2, "PENDING", spec_hash=hash_)),
        "addresses": {arn("1"): Address("1.1.1.1")},
    }
    return observation(spec, **fields | changes)


# --- what Ready means for the new one ---


def test_running_is_not_ready_while_the_address_is_unknown() -> None:
    seen, plan = settled(beside(tasks=(task(1, spec_hash="v1:old"), task(2))))
    assert [str(each.role) for each in seen.status.tasks] == ["Current", "Next"]
    assert not [each for each in plan.actions if isinstance(each, StopTask)]


@pytest.mark.parametrize(
    ("health", "roles_then"),
    [("UNKNOWN", ["Current", "Next"]), ("HEALTHY", ["Current", "Retiring"])],
)
def test_with_a_health_check_the_new_task_has_to_be_healthy(
    health: str, roles_then: list[str]
) -> None:
    checked = {**world.TEMPLATE, "healthCheck": {"command": ["CMD", "x"]}}
    spec = {"template": checked, "updateStrategy": "Surge"}
    hash_ = tokens.spec_hash(spec)
    seen = beside(
        spec,
        tasks=(task(1, spec_hash="v1:old"), task(2, spec_hash=hash_, health=health)),
        addresses={arn("1"): Address("1.1.1.1"), arn("2"): Address("2.2.2.2")},
    )
    seen, _ = settled(seen)
    assert sorted(str(each.role) for each in seen.status.tasks) == roles_then


@pytest.mark.parametrize("health", ["UNKNOWN", "UNHEALTHY"])
def test_a_new_task_that_never_becomes_healthy_is_stopped_in_time(health: str) -> None:
    checked = {**world.TEMPLATE, "healthCheck": {"command": ["CMD", "x"]}}
    it = World({"template": checked, "updateStrategy": "Surge"})
    it.run(30)
    it.change(it.alive[0].arn, health="HEALTHY")
    it.run(30)
    assert ready(it)
    it.edit(**EDIT, timeouts={"startSeconds": 100})
    it.run(40)
    it.change(numbered(it, 2).arn, health=health)
    it.run(50)
    assert (alive(it), roles(it)) == ([1, 2], {1: "Current", 2: "Next"})
    it.run(60)
    assert status(it).last_terminations[0].stop_code == "StartTimeout"
    assert (1 in alive(it), ready(it), it.most_alive) == (True, True, 2)
    assert status(it).attempt.failures == 1  # type: ignore[union-attr]


# --- if the new one fails, the old one stays ---


def test_a_new_task_that_dies_before_it_is_ready_leaves_the_old_one() -> None:
    it = surging("Next")
    it.change(
        numbered(it, 2).arn,
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code="TaskFailedToStart",
        stopped_reason="CannotPullContainerError: not found",
    )
    it.sweep()
    it.rest()
    assert (it.phase(), ready(it)) == (Phase.UPDATING, True)
    assert said(it)["Reconciling"] == ("True", "Retrying")
    assert (
        "The ECS task is running. It is to be replaced once another is ready: "
        in it.status["message"]
    )
    assert watched(it, 120) == 1
    assert (it.launched, alive(it), it.most_alive) == (3, [3], 2)


def fails(it: World, number: int) -> datetime:
    """Attempt ``number`` is launched, and does not start; when it was launched."""
    it.run(400, until=lambda: it.launched == number, every=1)
    launched = it.now
    it.change(
        numbered(it, number).arn,
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code="TaskFailedToStart",
    )
    return launched


def test_failures_are_retried_with_pauses_that_grow_and_end_at_the_backoff_limit() -> None:
    it = up({**SURGE, "backoffLimit": 2})
    it.edit(**EDIT)
    launched = []
    for number in (2, 3, 4):
        launched.append(fails(it, number))
    first, second = launched[1] - launched[0], launched[2] - launched[1]
    assert first < second
    it.run(3600, every=20)
    assert (it.launched, alive(it), ready(it)) == (4, [1], True)
    assert said(it)["Stalled"][0] == "True"
    assert "more than spec.backoffLimit 2" in it.status["message"]
    assert (it.phase(), it.status["endpoint"]["ip"]) == (Phase.UPDATING, "203.0.113.7")
    it.edit(**OTHER)  # a new spec is a new start
    it.run(200)
    assert (alive(it), it.phase(), it.most_alive) == ([5], Phase.RUNNING, 2)


def test_a_finished_surge_never_deletes_its_object() -> None:
    it = up({**SURGE, "restartPolicy": "Never", "timeouts": {"ttlSecondsAfterFinished": 60}})
    it.edit(**EDIT)
    fails(it, 2)
    it.run(1200, every=20)
    assert (it.gone, alive(it), ready(it)) == (False, [1], True)
    assert said(it)["Stalled"][0] == "True"


def test_a_new_task_that_has_done_its_work_ends_the_object() -> None:
    it = up({**SURGE, "restartPolicy": "OnFailure"})
    it.edit(**EDIT)
    it.run(60, until=lambda: it.launched == 2)
    container = ObservedContainer("app", "STOPPED", 0)
    it.change(
        numbered(it, 2).arn,
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code="EssentialContainerExited",
        started_at=it.now,
        containers=(container,),
    )
    it.run(120)
    assert (it.launched, alive(it), it.phase()) == (2, [], Phase.SUCCEEDED)


def test_the_ladder_is_climbed_beside_the_old_task() -> None:
    ladder = [{"launchType": "FARGATE"}, {"launchType": "EC2"}]
    it = up({**SURGE, "placement": ladder})
    it.edit(**EDIT)
    it.fates = ["full", "full"]
    assert watched(it, 10) == 1
    assert [str(each.stop_code) for each in status(it).last_terminations] == [
        "CapacityUnavailable",
        "CapacityUnavailable",
    ]
    assert (status(it).placement.rung, ready(it)) == (0, True)  # type: ignore[union-attr]
    assert watched(it, 200) == 1
    assert (alive(it), it.phase()) == ([4], Phase.RUNNING)
    assert numbered(it, 4).launch_type == "FARGATE"


def test_the_time_on_a_rung_is_the_new_tasks() -> None:
    spec = {**SURGE, "placement": [{"launchType": "EC2", "waitSeconds": 60}]}
    hash_ = tokens.spec_hash(spec)
    held = beside(spec).status
    late = attempt(2, spec_hash=hash_, first_issued_at=ago(90))
    seen = beside(
        spec,
        status=held.model_copy(update={"attempt": late}),
        tasks=(task(1, spec_hash="v1:old"), task(2, "PROVISIONING", spec_hash=hash_)),
    )
    seen, _ = settled(seen)
    assert [(str(each.role), each.reason) for each in seen.status.tasks] == [
        ("Current", "Replaced"),
        ("Retiring", "RungTimeout"),
    ]
    alone = Status(attempt=late, tasks=(entry(1, "PROVISIONING", since=ago(10)),))
    seen, _ = settled(beside(spec, status=alone, tasks=(task(1, "PROVISIONING", spec_hash=hash_),)))
    assert [str(each.role) for each in seen.status.tasks] == ["Current"]


def test_a_spec_that_cannot_be_launched_leaves_the_old_task() -> None:
    it = up()
    it.edit(containerName="none")
    it.run(300)
    assert (alive(it), it.launched, ready(it)) == ([1], 1, True)
    assert said(it)["Stalled"] == ("True", "InvalidSpec")
    it.edit(containerName=None)
    it.run(60)
    assert (alive(it), it.launched, it.phase()) == ([1], 1, Phase.RUNNING)


def test_what_the_allow_list_forbids_leaves_the_old_task() -> None:
    it = up()
    it.policy = replace(POLICY, allow=Allow((Rule(namespaces=("other",)),)))
    it.edit(**EDIT)
    it.run(300)
    assert (alive(it), it.launched, ready(it)) == ([1], 1, True)
    assert said(it)["Stalled"] == ("True", "NotAllowed")


# --- another edit in between, at every moment ---


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_edit_back_keeps_the_old_task_unless_it_has_gone(moment: str) -> None:
    it = surging(moment)
    it.edit(**BACK)
    it.hidden, it.fates = False, []
    least = watched(it, 900)
    assert (least, it.most_alive <= 2, it.phase()) == (1, True, Phase.RUNNING)
    assert alive(it) == ([3] if moment == "done" else [1])
    assert said(it)["Reconciling"] == ("False", "Settled")
    writes = len(it.writes)
    it.run(1800, every=60)
    assert len(it.writes) == writes


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_third_spec_replaces_the_new_task_and_never_makes_three(moment: str) -> None:
    it = surging(moment)
    it.edit(**OTHER)
    it.hidden, it.fates = False, []
    assert watched(it, 900) == 1
    assert it.most_alive <= 2
    (only,) = it.alive
    assert only.spec_hash == tokens.spec_hash(it.spec)
    assert it.phase() is Phase.RUNNING


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_restart_in_between_ends_in_one_task_that_heeds_it(moment: str) -> None:
    it = surging(moment)
    it.annotations = {RESTART_REQUESTED: "now"}
    it.hidden, it.fates = False, []
    assert watched(it, 900) == 1
    assert (it.most_alive <= 2, len(it.alive), it.phase()) == (True, 1, Phase.RUNNING)
    assert status(it).attempt.restart_requested_at == "now"  # type: ignore[union-attr]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ["suspend", "delete"])
def test_suspending_and_deleting_stop_both(moment: str, end: str) -> None:
    it = surging(moment)
    it.hidden, it.fates = False, []
    if end == "suspend":
        it.edit(operatingMode="Suspended")
    else:
        it.delete()
    it.run(900)
    assert (it.alive, it.gone) == ([], end == "delete")
    assert end == "delete" or it.phase() is Phase.SUSPENDED


@pytest.mark.parametrize("moment", MOMENTS)
def test_retain_keeps_the_task_that_serves_and_no_other(moment: str) -> None:
    it = surging(moment, {**SURGE, "deletionPolicy": "Retain"})
    it.hidden, it.fates = False, []
    it.delete()
    it.run(900)
    assert (it.gone, alive(it)) == (True, [2] if moment == "done" else [1])
    assert it.alive[0].tag(tokens.TAG_RETAINED) == "true"


@pytest.mark.parametrize("moment", MOMENTS)
def test_recreate_in_between_ends_the_waiting(moment: str) -> None:
    it = surging(moment)
    it.edit(updateStrategy="Recreate")
    it.hidden, it.fates = False, []
    it.stuck.clear()
    before = it.most_alive
    it.run(900)
    assert (len(it.alive), it.phase()) == (1, Phase.RUNNING)
    assert it.alive[0].spec_hash == tokens.spec_hash(it.spec)
    if moment in ("asked", "intent", "refused"):
        assert (before, it.most_alive) == (1, 1)


def test_recreate_and_back_in_between_keeps_the_old_task() -> None:
    it = surging("Next")
    it.edit(updateStrategy="Recreate", **BACK)
    it.run(120)
    assert (alive(it), it.launched, it.phase()) == ([1], 2, Phase.RUNNING)


def test_surge_asked_for_too_late_changes_nothing() -> None:
    it = up(SPEC)
    it.edit(**EDIT)
    it.sweep()
    it.rest()
    it.edit(updateStrategy="Surge")
    it.run(120)
    assert (it.launched, it.most_alive, len(it.alive)) == (2, 1, 1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_crash_at_any_moment_changes_nothing(moment: str) -> None:
    it = surging(moment)
    it.stuck.clear()
    it.crash()
    it.hidden, it.fates = False, []
    assert watched(it, 900) == 1
    assert (it.most_alive <= 2, len(it.alive), it.phase()) == (True, 1, Phase.RUNNING)
    assert it.alive[0].spec_hash == tokens.spec_hash(it.spec)


@pytest.mark.parametrize("moment", ["intent", "lost", "refused", "Next", "done"])
def test_a_wiped_status_costs_no_third_task(moment: str) -> None:
    it = surging(moment)
    it.stuck.clear()
    it.crash()
    it.hidden, it.fates, it.status = False, [], {}
    it.run(1800)
    assert (it.most_alive <= 2, len(it.alive), it.phase()) == (True, 1, Phase.RUNNING)
    assert it.alive[0].spec_hash == tokens.spec_hash(it.spec)


def test_both_found_with_a_wiped_status_the_old_one_still_waits() -> None:
    it = surging("Next")
    it.crash()
    it.status = {}
    assert watched(it, 60) == 1
    assert roles(it) == {1: "Current", 2: "Next"}
    it.stuck.clear()
    it.run(60)
    assert (alive(it), it.launched) == ([2], 2)


# --- the old one ends by itself ---


@pytest.mark.parametrize("moment", ["intent", "lost", "refused", "Next"])
def test_if_the_old_task_dies_the_new_one_is_simply_the_only_one(moment: str) -> None:
    it = surging(moment)
    it.stuck.clear()
    old = numbered(it, 1)
    it.change(
        old.arn, last_status="STOPPED", desired_status="STOPPED", stop_code="SpotInterruption"
    )
    it.hidden, it.fates = False, []
    it.run(900)
    assert (len(it.alive), it.phase()) == (1, Phase.RUNNING)
    assert it.launched == 2
    ends = {end.attempt: end.stop_code for end in status(it).last_terminations}
    assert ends[1] == "SpotInterruption"


def test_an_old_task_that_is_being_stopped_by_aws_is_not_waited_for() -> None:
    it = surging("Next")
    old = numbered(it, 1)
    it.change(old.arn, desired_status="STOPPED", stop_code="SpotInterruption")
    it.sweep()
    it.rest()
    assert roles(it) == {1: "Retiring", 2: "Current"}
    assert not ready(it)
    it.stuck.clear()
    it.run(60)
    assert (alive(it), it.launched, it.phase()) == ([2], 2, Phase.RUNNING)


def test_a_lost_old_task_makes_the_new_one_current() -> None:
    seen = beside(
        tasks=(task(2, "PENDING"),),
        home=world.cluster(swept_since=NOW),
        missing={arn("1"): Missing(ago(400), ago(10), 3)},
    )
    _, plan = settled(seen)
    assert [each.attempt for each in plan.actions if isinstance(each, Find)] == [1]
    seen = replace(seen, lookup=Lookup(1, NOW))
    seen, _ = settled(seen)
    assert [(each.attempt, str(each.role)) for each in seen.status.tasks] == [(2, "Current")]
    assert seen.status.last_terminations[0].stop_code == "Lost"


def test_the_lifetime_of_the_old_task_goes_on_in_a_surge() -> None:
    it = up({**SURGE, "timeouts": {"lifetimeSeconds": 200}})
    it.run(60)
    it.edit(**EDIT)
    it.run(60, until=lambda: it.launched == 2)
    it.stuck.add(numbered(it, 2).arn)
    it.run(120)
    assert (alive(it), roles(it)) == ([2], {2: "Current"})
    it.stuck.clear()
    it.run(100)
    assert it.phase() is Phase.RUNNING  # with a clock of its own
    it.run(200)
    assert (it.alive, it.phase(), it.launched) == ([], Phase.SUCCEEDED, 2)


def test_the_old_task_expires_though_its_successors_fail() -> None:
    it = up({**SURGE, "timeouts": {"lifetimeSeconds": 300}})
    it.edit(**EDIT)
    it.fates = ["full"] * 99
    it.run(400)
    assert it.alive == []
    it.fates = []
    it.run(250)
    assert (len(it.alive), it.phase()) == (1, Phase.RUNNING)


# --- after a surge that was called off, all is as before it ---


def called_off(spec: Any = SURGE) -> World:
    it = surging("Next", spec)
    it.edit(**BACK)
    it.run(120)
    it.stuck.clear()
    assert (alive(it), it.phase(), it.launched) == ([1], Phase.RUNNING, 2)
    assert status(it).attempt.yields_to == 1  # type: ignore[union-attr]
    return it


@pytest.mark.parametrize("policy", ["OnFailure", "Never"])
def test_the_end_of_a_task_that_stayed_is_judged_as_any(policy: str) -> None:
    it = called_off({**SURGE, "restartPolicy": policy})
    it.exits(0)
    it.run(300)
    assert (it.launched, it.phase()) == (2, Phase.SUCCEEDED)


def test_its_crash_counts() -> None:
    it = called_off()
    it.exits(1)
    it.run(60, until=lambda: it.launched == 3)
    assert status(it).attempt.failures == 1  # type: ignore[union-attr]


def test_its_lifetime_ends_it() -> None:
    it = called_off({**SURGE, "timeouts": {"lifetimeSeconds": 400}})
    it.run(600)
    assert (it.alive, it.launched, it.phase()) == ([], 2, Phase.SUCCEEDED)


def test_a_restart_is_heeded() -> None:
    it = called_off()
    it.annotations = {RESTART_REQUESTED: "now"}
    assert watched(it, 120) == 1
    assert (alive(it), it.launched, it.phase()) == ([3], 3, Phase.RUNNING)


def test_a_restart_that_failed_is_still_owed_after_an_edit_and_back() -> None:
    it = up()
    it.annotations = {RESTART_REQUESTED: "now"}
    it.fates = ["full"]
    it.run(10)
    it.edit(**EDIT)
    it.edit(**BACK)
    assert watched(it, 200) == 1
    assert (len(it.alive), alive(it) != [1], it.phase()) == (1, True, Phase.RUNNING)


# --- where there is nothing to wait for ---


def test_a_task_that_does_not_run_yet_is_replaced_at_once() -> None:
    it = World(SURGE)
    it.run(60, until=lambda: it.launched == 1)
    it.edit(**EDIT)
    it.run(120)
    assert (it.most_alive, alive(it), it.phase()) == (1, [2], Phase.RUNNING)


def test_a_move_to_another_cluster_stops_the_old_task_first() -> None:
    it = up()
    seen = it.observe()
    moved = {**SURGE, "cluster": "other"}
    info = ClusterInfo(world.ELSEWHERE, "other", "ACTIVE")
    seen = replace(
        seen,
        spec=observation(moved).spec,
        spec_json=moved,
        target=world.cluster(info=info, reference="other"),
    )
    seen, plan = settled(seen)
    assert [type(each) for each in plan.actions] == [StopTask]


def test_a_paused_surge_stands_still() -> None:
    it = surging("Next")
    it.annotations = {PAUSED: "true"}
    it.stuck.clear()
    it.run(300)
    assert (alive(it), roles(it)) == ([1, 2], {1: "Current", 2: "Next"})
    assert (ready(it), said(it)["Reconciling"]) == (True, ("True", "Paused"))
    it.annotations = {}
    it.run(60)
    assert alive(it) == [2]


def test_an_unreadable_spec_stops_neither() -> None:
    it = surging("Next")
    it.edit(taskDefinition=7)
    it.run(300)
    assert (alive(it), ready(it)) == ([1, 2], True)


def test_an_adopted_task_serves_until_its_successor_is_ready() -> None:
    foreign = arn("foreign")
    every = ("*",)
    rule = Rule(namespaces=every, clusters=every, images=every, adoptable=(foreign,))
    it = World(SURGE, policy=replace(POLICY, allow=Allow((rule,))), annotations={ADOPT: foreign})
    it.tasks[foreign] = task(1, arn=foreign, started_by="deploy-tool", spec_hash="", tags=())
    it.memory.tasks[TaskArn(foreign)] = it.tasks[foreign]
    it.run(60)
    assert it.phase() is Phase.RUNNING
    it.edit(**EDIT)
    assert watched(it, 120) == 1
    assert (len(it.alive), it.most_alive, it.phase()) == (1, 2, Phase.RUNNING)
    assert it.alive[0].arn != foreign


@pytest.mark.parametrize("stale", ["PENDING", "RUNNING"])
def test_an_old_sight_of_the_old_task_does_not_end_it(stale: str) -> None:
    """A process that has just begun may be shown a task as it was before it ran."""
    ran = entry(1, started_at=ago(60), reason="Replaced")
    held = Status(attempt=attempt(2, spec_hash=tokens.spec_hash(SURGE)), tasks=(ran,))
    seen, plan = settled(beside(status=held, tasks=(task(1, stale, spec_hash="v1:old"),)))
    assert [(str(each.role), each.last_status) for each in seen.status.tasks] == [
        ("Current", "RUNNING")
    ]
    assert not [each for each in plan.actions if isinstance(each, StopTask)]


# --- what is told ---


def test_the_rows_tell_the_two_tasks_apart() -> None:
    it = surging("Next")
    it.stuck.clear()
    it.change(numbered(it, 2).arn, last_status="RUNNING")
    seen = it.observe()
    body = {"metadata": {"uid": "u", "namespace": "n", "name": "o"}, "spec": it.spec}
    now = status(it)
    made = {number: rows.container(body, now, numbered(it, number), number) for number in (1, 2)}
    assert {number: row.state for number, row in made.items()} == {
        1: "RUNNING_AVAILABLE",
        2: "RUNNING_UNAVAILABLE",
    }
    assert rows.app_state(body, now, "ins", seen.now, gone=False).state == "READY"


def test_the_events_of_a_surge() -> None:
    it = up()
    told: list[str] = []
    before = status(it)
    it.edit(**EDIT)
    for _ in range(60):
        it.sweep()
        it.step()
        now = status(it)
        told += [each.reason for each in events.transitions(world.UID, before, now)]
        before = now
        it.progress()
    assert told == ["Launching", "TaskLaunched", "StoppingTask", "Ready", "TaskStopped"]


def test_a_request_to_reconcile_ends_the_pause_of_a_surge() -> None:
    it = surging("refused")
    it.fates = []
    it.rest()
    it.annotations = {RECONCILE_REQUESTED: "now"}
    it.run(1, every=1)
    assert it.launched == 2


def test_two_tasks_of_which_one_retires_bar_the_next_launch() -> None:
    tasks = (task(1, spec_hash="v1:old"), task(2, spec_hash="v1:older"))
    held = Status(attempt=attempt(2), tasks=(entry(1, reason="Replaced"), retiring(2)))
    seen, plan = settled(beside(status=held, tasks=tasks))
    assert [type(each) for each in plan.actions] == [StopTask]
    assert "Another task is being stopped first." in seen.status.message
    refused = Stop(NOW, Problem("AccessDenied", "no ecs:StopTask", NOW, "AccessDeniedException"))
    seen, _ = settled(beside(status=held, tasks=tasks, stops={arn("2"): refused}))
    states = {each.type: str(each.status) for each in seen.status.conditions}
    assert (states["Ready"], states["Reconciling"], states["Stalled"]) == ("True", "False", "True")
    pending = Status(attempt=attempt(3), tasks=held.tasks)
    seen, plan = settled(beside(status=pending, tasks=tasks))
    assert not [each for each in plan.actions if isinstance(each, RunTask | WriteStatus)]
