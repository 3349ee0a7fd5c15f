"""Defects that a review found in the core, each held down by a test of its own."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    CLUSTER,
    NOW,
    POLICY,
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

from fractal_models.container import Attempt, Role, Status, Termination
from fractal_models.observed import ClusterInfo, ObservedContainer
from fractal_operator.core import failures
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.decide import decide
from fractal_operator.core.monotonic import newer
from fractal_operator.core.plan import (
    Launch,
    Lookup,
    Observation,
    Problem,
    RemoveFinalizer,
    RunTask,
    Stop,
    StopTask,
    WriteStatus,
)


def condition(status: Status, kind: str) -> tuple[str, str]:
    (found,) = [each for each in status.conditions if each.type == kind]
    return str(found.status), found.reason


def theirs(**changes: Any) -> Observation:
    """An object whose task another installation launched."""
    other = task(arn=arn("x"), started_by=started_by(1, install="other"))
    status = Status(attempt=attempt(), tasks=(entry(arn=arn("x")),))
    return observation(tasks=(other,), status=status, **changes)


def test_another_installations_task_of_the_object_keeps_a_second_one_away() -> None:
    seen, plan = settled(theirs(lookup=Lookup(1, NOW)))
    assert plan.actions == ()
    assert condition(seen.status, "Stalled") == ("True", "OtherInstallation")
    assert "FRACTAL_INSTALL_ID" in seen.status.message
    assert "'other'" in seen.status.message


def test_nor_does_the_object_go_while_that_task_lives_unless_given_up() -> None:
    seen, plan = settled(theirs(deleting_since=ago(1)))
    assert plan.actions == ()
    assert condition(seen.status, "Stalled")[0] == "True"
    given_up = replace(seen, annotations={ABANDON: UID})
    assert settled(given_up)[1].actions == (RemoveFinalizer(),)


def test_a_running_object_is_not_disturbed_by_another_installation() -> None:
    other = task(7, arn=arn("x"), started_by=started_by(7, install="other"))
    seen, plan = settled(running(tasks=(task(), other)))
    assert (seen.status.phase, plan.actions) == ("Running", ())
    seen, plan = settled(running(tasks=(stopped(), other), deleting_since=ago(1)))
    assert plan.actions == (RemoveFinalizer(),)


def test_a_task_of_another_installation_that_has_stopped_bars_nothing() -> None:
    over = task(7, "STOPPED", arn=arn("x"), started_by=started_by(7, install="other"))
    _, plan = settled(observation(tasks=(over,)))
    assert isinstance(plan.actions[0], RunTask)


def refused(by: str) -> Observation:
    """An attempt whose every call this process knows to have been throttled."""
    status = Status(attempt=attempt(issued_by=by, request_hash="h"))
    throttled = Problem("Throttled", "Rate exceeded", ago(1))
    known = Launch(1, certain=True, calls=1, at=ago(1), problem=throttled)
    return observation(status=status, launch=known, deleting_since=ago(1))


def test_certainty_ends_where_another_process_took_the_attempt_over() -> None:
    assert RemoveFinalizer() in settled(refused(by=""))[1].actions
    assert RemoveFinalizer() not in settled(refused(by="another"))[1].actions


def test_a_process_renews_an_intent_of_another_before_it_calls() -> None:
    seen, plan = settled(observation())
    (call,) = plan.actions
    assert isinstance(call, RunTask)
    assert seen.status.attempt is not None
    assert seen.status.attempt.issued_by == POLICY.process
    successor = replace(POLICY, process="successor")
    renewed = written(decide(seen, successor)).attempt
    assert renewed is not None
    assert (renewed.number, renewed.issued_by) == (1, "successor")


def test_a_running_task_of_a_deleted_cluster_is_not_ready() -> None:
    gone = cluster(info=ClusterInfo(CLUSTER, "main", "INACTIVE"))
    seen, _ = settled(running(home=gone, target=gone))
    assert condition(seen.status, "Ready") == ("False", "ClusterNotFound")


def test_nothing_is_released_before_the_cluster_was_looked_at() -> None:
    ended = Termination(attempt=1, stop_code="Replaced", finished_at=ago(60))
    status = Status(attempt=attempt(), last_terminations=(ended,))
    unswept = cluster(swept_since=None)
    seen = observation(status=status, home=unswept, target=unswept, deleting_since=ago(1))
    _, plan = settled(seen)
    assert (plan.actions, plan.wants_sweep) == ((), True)
    swept = replace(seen, home=cluster(), target=cluster())
    assert settled(swept)[1].actions == (RemoveFinalizer(),)


@pytest.mark.parametrize(
    "changes",
    [{"spec": {**SPEC, "operatingMode": "Suspended"}}, {"spec": {**SPEC, "dpi": 300}}],
    ids=["suspend", "replace"],
)
def test_a_stop_that_is_refused_is_told(changes: dict[str, Any]) -> None:
    denied = Problem("AccessDenied", "StopTask: not authorized", ago(1), "AccessDeniedException")
    seen = observation(
        status=Status(attempt=attempt(), tasks=(entry(),)),
        tasks=(task(),),
        stops={arn(): Stop(ago(1), denied)},
        **changes,
    )
    seen, _ = settled(seen)
    assert condition(seen.status, "Stalled") == ("True", "AccessDenied")
    assert "not authorized" in seen.status.message


def test_the_sparse_replay_of_a_stopped_task_loses_nothing_of_the_attempt() -> None:
    sparse = task(
        1,
        "STOPPED",
        cluster_arn="",
        definition_arn="",
        spec_hash="",
        containers=(),
        created_at=None,
    )
    status = Status(attempt=attempt(failures=3))
    seen, _ = settled(observation(status=status, tasks=(sparse,)))
    assert isinstance(seen.status.attempt, Attempt)
    assert seen.status.attempt.cluster_arn == CLUSTER
    assert seen.status.attempt.failures == 4
    assert newer(task(), sparse).cluster_arn == CLUSTER


def ended(policy: str, code: str) -> Observation:
    spec = {**SPEC, "restartPolicy": policy}
    seen = running(spec, tasks=(stopped(exit_code=0, stop_code=code),))
    return settled(seen)[0]


@pytest.mark.parametrize("code", sorted(failures.INFRASTRUCTURE_STOPS))
def test_the_end_of_the_infrastructure_is_no_success_of_the_container(code: str) -> None:
    assert ended("OnFailure", code).status.phase == "Pending"
    assert ended("Never", code).status.phase == "Failed"
    assert "again" not in failures.termination(code, "").hint


def test_a_task_that_ecs_is_stopping_is_not_ready() -> None:
    seen, _ = settled(running(tasks=(task(desired_status="STOPPED"),)))
    assert condition(seen.status, "Ready")[0] == "False"
    assert seen.status.phase == "Stopping"


def test_only_the_main_containers_health_counts() -> None:
    both = (
        ObservedContainer("app", "RUNNING", health="HEALTHY"),
        ObservedContainer("sidecar", "RUNNING", health="UNHEALTHY"),
    )
    seen, _ = settled(running(tasks=(task(health="UNHEALTHY", containers=both),)))
    assert condition(seen.status, "Ready")[0] == "True"
    sick = (replace(both[0], health="UNHEALTHY"), both[1])
    seen, _ = settled(running(tasks=(task(health="UNHEALTHY", containers=sick),)))
    assert condition(seen.status, "Ready") == ("False", "Unhealthy")


def test_what_differs_from_call_to_call_is_left_out_of_messages() -> None:
    one = "Signature expired: 20260504T120000Z is earlier (Request ID: 1f2e3d4c-0000)"
    two = "Signature expired: 20260504T120107Z is earlier (Request ID: 9a8b7c6d-1111)"
    words = failures.rejection("InvalidSignatureException", one)
    assert words.message(one) == words.message(two)


def test_a_deletion_that_waits_for_a_suspicious_many_says_so() -> None:
    paused = cluster(paused="too many vanished: see FRACTAL_CONFIRM_MASS_LOSS")
    status = Status(attempt=attempt(), tasks=(retiring(reason="Deleted"),))
    seen = observation(status=status, home=paused, target=paused, deleting_since=ago(600))
    seen, _ = settled(seen)
    assert "FRACTAL_CONFIRM_MASS_LOSS" in seen.status.message


def test_an_account_that_is_full_counts_as_a_want_of_capacity() -> None:
    spec = {**SPEC, "placement": [{"capacityProvider": "a"}, {"capacityProvider": "b"}]}
    full = Problem("QuotaReached", "RunTask: limit on the number of tasks", ago(1))
    known = Launch(1, certain=True, calls=1, at=ago(1), problem=full)
    seen = observation(spec, status=Status(attempt=attempt()), launch=known)
    seen, _ = settled(seen)
    assert seen.status.attempt is not None
    assert (seen.status.attempt.number, seen.status.attempt.rung) == (2, 1)


def test_a_task_is_stopped_for_the_first_reason_it_was_given() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Suspended"),))
    seen = observation(status=status, tasks=(task(),), deleting_since=ago(1))
    seen, plan = settled(seen)
    (stop,) = plan.actions
    assert isinstance(stop, StopTask)
    (kept,) = seen.status.tasks
    assert (kept.role, kept.reason) == (Role.RETIRING, "Suspended")
    later = replace(seen, now=NOW + timedelta(seconds=1))
    assert decide(later, POLICY).actions == (stop,)


def test_an_intent_that_nobody_remembers_arming_is_written_again_before_its_call() -> None:
    """A late event brought back an object that was gone; only a write shows that it is."""
    seen, plan = settled(observation())
    assert any(isinstance(each, RunTask) for each in plan.actions)
    forgotten = replace(seen, launch=None, now=NOW + timedelta(seconds=5))
    (action,) = decide(forgotten, POLICY).actions
    assert isinstance(action, WriteStatus)
    assert action.arms == 1
    same_second = decide(replace(seen, launch=None), POLICY)
    assert same_second.actions == ()
    assert same_second.again_at == NOW + timedelta(seconds=1)


def test_a_task_that_a_status_claims_twice_is_one_task() -> None:
    twice = Status(tasks=(entry(1), entry(2, arn=entry(1).arn)))
    gone = cluster(info=None, swept_since=None)
    other = task(1, arn=arn("2"), spec_hash="v1:other")
    first = task(1, spec_hash="v1:other")
    seen = observation(status=twice, tasks=(first, other), target=None, home=gone)
    seen, _ = settled(seen)
    arns = [each.arn for each in seen.status.tasks]
    assert len(set(arns)) == len(arns)
