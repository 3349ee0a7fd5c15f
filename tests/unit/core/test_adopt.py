"""Rules 6, 10 and 11: what ECS shows against what the status claims."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    CLUSTER,
    DEFINITION,
    ELSEWHERE,
    HASH,
    NOW,
    POLICY,
    REGION,
    SPEC,
    TEMPLATE,
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

from fractal_models.container import Role, Status, Termination
from fractal_models.observed import ClusterInfo, ObservedContainer, TaskArn
from fractal_operator.core.decide import decide
from fractal_operator.core.merge import exit_code, merge
from fractal_operator.core.plan import (
    Find,
    Lookup,
    Missing,
    RemoveFinalizer,
    RunTask,
    StopTask,
    WriteStatus,
)

# --- what is ours ---


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        (started_by(3), True),
        (started_by(3, uid="another"), False),
        ("", False),
        ("fc/ins", False),
        ("ecs-svc/1", False),
    ],
)
def test_a_task_is_ours_by_its_started_by_alone(origin: str, ours: bool) -> None:
    seen = observation(tasks=(task(3, arn=arn("x"), started_by=origin),))
    status = written(decide(seen, POLICY))
    if ours:
        assert [(each.attempt, each.arn, each.role) for each in status.tasks] == [
            (3, arn("x"), Role.CURRENT)
        ]
        assert status.attempt is not None
        assert (status.attempt.number, status.attempt.cluster_arn) == (3, CLUSTER)
        assert (status.attempt.spec_hash, status.attempt.definition_arn) == (HASH, DEFINITION)
    else:
        assert status.tasks == ()
        assert status.attempt is not None
        assert status.attempt.number == 1  # a launch of its own


def test_a_claimed_task_of_somebody_else_is_dropped_and_never_stopped() -> None:
    foreign = task(1, started_by="somebody")
    seen = observation(
        status=Status(attempt=attempt(), tasks=(entry(),)), tasks=(foreign,), deleting_since=NOW
    )
    state = merge(seen, POLICY)
    assert (state.entries, state.surplus) == ((), ())
    seen, plan = settled(seen)
    assert not any(isinstance(each, StopTask) for each in plan.actions)


def test_a_claim_takes_the_number_that_ecs_knows() -> None:
    status = Status(attempt=attempt(3), tasks=(entry(7, arn=arn("3")),))
    state = merge(observation(status=status, tasks=(task(3),)), POLICY)
    assert [each.attempt for each in state.entries] == [3]


@pytest.mark.parametrize(
    "claim", [arn("x", ELSEWHERE), "nonsense", "", arn("no!task"), arn("x/y"), arn("x" * 65)]
)
def test_a_claim_that_could_never_be_seen_is_dropped(claim: str) -> None:
    status = Status(attempt=attempt(), tasks=(entry(arn=claim),))
    assert merge(observation(status=status), POLICY).entries == ()


def test_a_claim_without_an_attempt_is_dropped_and_looked_for() -> None:
    seen = observation(
        status=Status(tasks=(entry(),)), bare_since=NOW, target=cluster(swept_since=ago(1))
    )
    seen, plan = settled(seen)
    assert (seen.status.tasks, plan.actions, plan.wants_sweep) == ((), (), True)


def test_a_claim_not_seen_yet_is_kept_as_it_is() -> None:
    seen = running(tasks=(), addresses={}, home=cluster(swept_since=None))
    assert decide(seen, POLICY).actions == ()


# --- which task is the current one ---


@pytest.mark.parametrize(
    ("entries", "tasks", "kept", "surplus"),
    [
        ((), (1,), [(1, "Current")], []),
        ((), (1, 2), [(2, "Current"), (1, "Retiring")], []),
        ((), (1, 2, 3), [(3, "Current"), (2, "Retiring")], [1]),
        ((entry(1),), (1, 2), [(2, "Current"), (1, "Retiring")], []),
        ((retiring(1),), (1, 2), [(2, "Current"), (1, "Retiring")], []),
        ((retiring(1), entry(2)), (1, 2), [(2, "Current"), (1, "Retiring")], []),
        ((retiring(2),), (2, 1), [(2, "Retiring"), (1, "Retiring")], []),
        ((retiring(3), retiring(2)), (3, 2, 1), [(3, "Retiring"), (2, "Retiring")], [1]),
        # A claim never displaces a task that is seen.
        ((entry(9),), (1,), [(1, "Current"), (9, "Retiring")], []),
        ((entry(1, arn=arn("none")),), (1,), [(1, "Current")], []),
        # But one that is on its way out is not made current again.
        ((entry(2), retiring(1)), (1,), [(2, "Current"), (1, "Retiring")], []),
    ],
)
def test_the_newest_seen_task_is_current(
    entries: Any, tasks: tuple[int, ...], kept: list[tuple[int, str]], surplus: list[int]
) -> None:
    status = Status(attempt=attempt(9), tasks=entries)
    seen = observation(status=status, tasks=tuple(task(n) for n in tasks))
    state = merge(seen, POLICY)
    assert [(each.attempt, str(each.role)) for each in state.entries] == kept
    assert [each.arn for each in state.surplus] == [arn(str(n)) for n in surplus]


def test_a_second_task_of_one_attempt_is_stopped() -> None:
    twin = task(1, arn=arn("twin"))
    seen = running(tasks=(task(1), twin))
    plan = decide(seen, POLICY)
    assert [each.arn for each in plan.actions if isinstance(each, StopTask)] == [twin.arn]


def test_superseded_tasks_are_stopped_while_the_current_one_runs() -> None:
    seen, plan = settled(observation(tasks=(task(1), task(2), task(3))))
    assert [(each.attempt, each.reason) for each in seen.status.tasks] == [
        (2, "Superseded"),
        (3, ""),
    ]
    stops = [each for each in plan.actions if isinstance(each, StopTask)]
    assert {each.arn for each in stops} == {arn("1"), arn("2")}
    assert (stops[0].region, stops[0].cluster) == (REGION, CLUSTER)
    assert plan.again_at == NOW + timedelta(seconds=30)


# --- the attempt is repaired ---


@pytest.mark.parametrize(
    ("claimed", "seen_task", "number"),
    [
        (attempt(1), task(3), 3),
        (attempt(1), stopped(3), 3),
        (None, task(3), 3),
        (None, stopped(3), 3),
        (attempt(5), task(3), 5),
        (attempt(1, cluster_arn=""), task(1), 1),
        (attempt(1, cluster_arn=ELSEWHERE), task(1), 1),
        (attempt(2**31 - 1), task(1), 1),
    ],
)
def test_the_attempt_agrees_with_the_newest_task(claimed: Any, seen_task: Any, number: int) -> None:
    state = merge(observation(status=Status(attempt=claimed), tasks=(seen_task,)), POLICY)
    assert state.attempt is not None
    assert state.attempt.number == number
    if number != 5:
        assert state.attempt.cluster_arn == CLUSTER
        assert state.attempt.spec_hash == HASH


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"template": TEMPLATE}, "main"),
        ({**SPEC, "containerName": "app"}, "app"),
        (SPEC, ""),
        ({"taskDefinition": 7}, ""),
    ],
)
def test_a_repaired_attempt_knows_the_main_container_if_the_spec_does(
    spec: dict[str, Any], name: str
) -> None:
    two = (ObservedContainer("app"), ObservedContainer("sidecar"))
    state = merge(observation(spec, tasks=(task(containers=two),)), POLICY)
    assert state.attempt is not None
    assert state.attempt.container_name == name


def test_the_only_container_of_a_task_is_the_main_one() -> None:
    state = merge(observation({"template": TEMPLATE}, tasks=(task(),)), POLICY)
    assert state.attempt is not None
    assert state.attempt.container_name == "app"


@pytest.mark.parametrize(
    ("first", "last", "becomes"),
    [
        (None, None, (NOW, NOW)),
        (ago(5), None, (ago(5), NOW)),
        (None, ago(5), (ago(5), ago(5))),
        (ago(1), ago(5), (ago(5), ago(5))),
        (ago(-60), ago(-60), (ago(-60), ago(-60))),
        (ago(-61), ago(-61), (NOW, NOW)),
        (ago(9), ago(5), (ago(9), ago(5))),
    ],
)
def test_times_of_an_attempt_are_never_in_the_future(first: Any, last: Any, becomes: Any) -> None:
    claimed = attempt(first_issued_at=first, last_issued_at=last)
    state = merge(observation(status=Status(attempt=claimed)), POLICY)
    assert state.attempt is not None
    assert (state.attempt.first_issued_at, state.attempt.last_issued_at) == becomes


@pytest.mark.parametrize(
    "claimed", [attempt(1, cluster_arn="x"), attempt(2**31 - 1), attempt(10**9)]
)
def test_an_attempt_that_cannot_be_is_removed_and_a_sweep_awaited(claimed: Any) -> None:
    status = written(decide(observation(status=Status(attempt=claimed)), POLICY))
    assert status.attempt is None
    assert status.conditions[0].reason == "WaitingForSweep"


def test_the_next_number_is_above_all_that_was_seen() -> None:
    ends = (Termination(attempt=6, stop_code="Lost"),)
    status = Status(attempt=attempt(4), tasks=(entry(5),), last_terminations=ends)
    assert merge(observation(status=status, tasks=(stopped(3),)), POLICY).highest == 6
    assert merge(observation(status=status, tasks=(stopped(8),)), POLICY).highest == 8


# --- a newer attempt than the current task's ---


def newer(**changes: Any) -> Any:
    status = Status(attempt=attempt(2, spec_hash=""), tasks=(entry(1),))
    fields: dict[str, Any] = {"status": status, "tasks": (task(1),)}
    return observation(**fields | changes)


def test_a_running_task_is_kept_while_a_newer_attempt_is_looked_for() -> None:
    assert decide(newer(), POLICY).actions == (Find(REGION, CLUSTER, 2, started_by(2)),)
    seen, plan = settled(newer(lookup=Lookup(2, NOW)))
    assert plan.actions == ()
    assert plan.again_at == NOW + timedelta(seconds=5)
    assert [(each.attempt, each.role) for each in seen.status.tasks] == [(1, Role.CURRENT)]


def test_a_newer_attempt_that_left_nothing_is_over() -> None:
    now = NOW + timedelta(seconds=420)
    seen, plan = settled(newer(now=now, lookup=Lookup(2, now)))
    assert plan.actions == ()
    (end,) = seen.status.last_terminations
    assert (end.attempt, end.stop_code) == (2, "Superseded")
    # How the older task ends then decides what follows.
    ended, _ = settled(replace(seen, tasks=(stopped(1, exit_code=7, stopped_at=now),)))
    assert "exit code 7" in ended.status.message


def test_a_newer_attempt_that_did_land_takes_over() -> None:
    seen, plan = settled(newer(tasks=(task(1), task(2))))
    assert [(e.attempt, str(e.role)) for e in seen.status.tasks] == [
        (1, "Retiring"),
        (2, "Current"),
    ]
    assert [type(each) for each in plan.actions] == [StopTask]


# --- ends ---


def test_a_stopped_task_becomes_a_termination() -> None:
    seen, _ = settled(running(tasks=(stopped(1, exit_code=3),)))
    (end,) = seen.status.last_terminations
    assert (end.attempt, end.stop_code, end.exit_code) == (1, "EssentialContainerExited", 3)
    assert end.finished_at == NOW
    assert seen.status.tasks == ()
    assert seen.status.endpoint is None


def test_an_end_that_nobody_saw_coming_is_noted() -> None:
    seen = observation(
        status=Status(attempt=attempt()), tasks=(stopped(1, stop_code="", stopped_reason=""),)
    )
    state = merge(seen, POLICY)
    assert [(each.attempt, each.stop_code) for each in state.terminations] == [
        (1, "StopReasonUnknown")
    ]
    assert state.unresolved is None


def test_a_live_twin_outweighs_a_stopped_one() -> None:
    twin = task(1, arn=arn("twin"))
    seen = observation(status=Status(attempt=attempt()), tasks=(stopped(1), twin))
    state = merge(seen, POLICY)
    assert (state.terminations, [each.arn for each in state.entries]) == ((), [twin.arn])


@pytest.mark.parametrize(
    ("containers", "code"),
    [
        ((), None),
        ((ObservedContainer("app", exit_code=3),), 3),
        ((ObservedContainer("other", exit_code=3),), 3),
        ((ObservedContainer("log", exit_code=1), ObservedContainer("app", exit_code=0)), 0),
        ((ObservedContainer("log", exit_code=1), ObservedContainer("etc", exit_code=2)), None),
        ((ObservedContainer("app", exit_code=0xC000013A),), 2**31 - 1),
        ((ObservedContainer("app"),), None),
    ],
)
def test_the_exit_code_is_the_main_containers(containers: Any, code: int | None) -> None:
    assert exit_code(task(containers=containers), "app") == code


@pytest.mark.parametrize(
    ("end", "before", "after"),
    [
        ({"stop_code": "EssentialContainerExited"}, 2, 3),
        ({"stop_code": "TaskFailedToStart", "started_at": None}, 2, 3),
        ({"stop_code": "UserInitiated"}, 2, 3),
        ({"stop_code": "SpotInterruption"}, 2, 2),
        ({"stop_code": "TerminationNotice"}, 2, 2),
        ({"stop_code": "InfrastructureHealth"}, 2, 2),
        ({"started_at": ago(600)}, 2, 1),
        ({"started_at": ago(599)}, 2, 3),
        ({"started_at": ago(600), "stop_code": "SpotInterruption"}, 2, 0),
        ({}, 2**31 - 1, 1001),
    ],
)
def test_what_counts_as_a_failure(end: dict[str, Any], before: int, after: int) -> None:
    status = Status(attempt=attempt(failures=before, first_issued_at=ago(700)), tasks=(entry(),))
    state = merge(observation(status=status, tasks=(stopped(1, **end),)), POLICY)
    assert state.attempt is not None
    assert state.attempt.failures == after


def test_ends_on_our_own_account_clear_the_count() -> None:
    status = Status(attempt=attempt(failures=3), tasks=(retiring(reason="Replaced"),))
    state = merge(observation(status=status, tasks=(stopped(),)), POLICY)
    assert state.attempt is not None
    assert (state.attempt.failures, state.terminations[0].stop_code) == (0, "Replaced")


def test_an_older_attempts_end_counts_for_nothing() -> None:
    status = Status(attempt=attempt(2, failures=3), tasks=(entry(1),))
    state = merge(observation(status=status, tasks=(stopped(1), task(2))), POLICY)
    assert state.attempt is not None
    assert state.attempt.failures == 3


def test_at_most_five_ends_are_kept_the_newest_first_and_never_displaced() -> None:
    ends = tuple(Termination(attempt=n, stop_code="Lost") for n in range(15, 10, -1))
    status = Status(attempt=attempt(3), tasks=(entry(3),), last_terminations=ends)
    state = merge(observation(status=status, tasks=(stopped(3),)), POLICY)
    assert [each.attempt for each in state.terminations] == [3, 15, 14, 13, 12]
    assert state.unresolved is None


# --- lost ---

LOST = Missing(ago(400), ago(60), 2)


def gone(**changes: Any) -> Any:
    """An object whose task ECS has not shown for long, and a lookup that did not find it."""
    fields: dict[str, Any] = {
        "tasks": (),
        "missing": {arn(): LOST},
        "lookup": Lookup(1, ago(50)),
        "home": cluster(reference=CLUSTER),
    }
    return running(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, True),
        ({"tasks": (task(),)}, True),  # the last sight of it is older
        ({"missing": {}}, False),
        ({"missing": {arn(): Missing(ago(400), ago(400), 1)}}, False),
        ({"missing": {arn(): Missing(ago(359), ago(60), 2)}}, False),
        ({"missing": {arn(): Missing(ago(360), ago(60), 2)}}, True),
        ({"lookup": Lookup(1, ago(401))}, False),
        ({"lookup": Lookup(2, ago(50))}, False),
        ({"lookup": Lookup(1, ago(50), (arn(),))}, False),
        ({"home": None}, False),
        ({"home": cluster(info=None)}, False),
        ({"home": cluster(info=ClusterInfo(CLUSTER, "main", "INACTIVE"))}, False),
        ({"home": cluster(info=ClusterInfo(ELSEWHERE, "other", "ACTIVE"))}, False),
        ({"home": cluster(paused="too many")}, False),
        ({"home": cluster(swept_since=None)}, False),
        ({"home": cluster(swept_since=ago(401))}, False),
    ],
)
def test_when_a_task_is_lost(changes: dict[str, Any], lost: bool) -> None:
    seen = gone(**changes)
    state = merge(seen, POLICY)
    assert [each.stop_code for each in state.terminations] == ["Lost"] * lost
    assert len(state.entries) == 1 - lost


def test_a_lost_task_does_not_come_back_from_its_last_sight() -> None:
    seen, _ = settled(gone(tasks=(task(),)))
    assert seen.status.tasks == ()
    assert [each.stop_code for each in seen.status.last_terminations] == ["Lost"]


def test_a_lost_task_is_followed_by_the_restart_policy() -> None:
    seen, plan = settled(gone())
    assert seen.status.tasks == ()
    assert plan.again_at is not None
    assert plan.again_at > NOW
    assert seen.status.attempt is not None
    assert seen.status.attempt.failures == 1


def test_a_lost_retiring_task_ended_as_it_was_wished() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="Suspended"),))
    state = merge(gone(status=status), POLICY)
    assert [each.stop_code for each in state.terminations] == ["Suspended"]


@pytest.mark.parametrize(
    ("lookup", "looks"),
    [
        (None, True),
        (Lookup(1, ago(401)), True),
        (Lookup(2, ago(1)), True),
        (Lookup(1, ago(299), (arn(),)), False),
        (Lookup(1, ago(300), (arn(),)), True),
    ],
)
def test_a_long_missing_task_is_looked_up_now_and_then(lookup: Any, looks: bool) -> None:
    plan = decide(gone(lookup=lookup), POLICY)
    assert (plan.actions == (Find(REGION, CLUSTER, 1, started_by(1)),)) is looks


def test_of_two_missing_tasks_one_is_looked_up_at_a_time() -> None:
    status = Status(attempt=attempt(2), tasks=(entry(2), retiring(1)))
    absent: dict[TaskArn, Missing] = {arn("1"): LOST, arn("2"): LOST}
    _, plan = settled(gone(status=status, missing=absent, lookup=Lookup(2, NOW, (arn("2"),))))
    assert plan.actions == ()


def test_a_retiring_task_is_gone_with_its_cluster() -> None:
    none = cluster(reference=CLUSTER, info=None)
    status = Status(attempt=attempt(), tasks=(retiring(),))
    for home in (none, replace(none, reference="main")):
        state = merge(observation(status=status, home=home), POLICY)
        assert [each.stop_code for each in state.terminations] == ["Replaced"]
    for home in (replace(none, reference="another"), replace(none, account="")):
        assert merge(observation(status=status, home=home), POLICY).terminations == ()
    kept = Status(attempt=attempt(), tasks=(entry(),))
    assert merge(observation(status=kept, home=none), POLICY).terminations == ()


def test_the_last_sight_of_a_task_in_a_cluster_that_is_gone_is_worth_nothing() -> None:
    none = cluster(reference=CLUSTER, info=None)
    for tasks in ((task(),), ()):
        for entries in ((retiring(),), ()):
            status = Status(attempt=attempt(), tasks=entries)
            state = merge(observation(status=status, home=none, tasks=tasks), POLICY)
            assert (state.entries, state.surplus) == ((), ())
        status = Status(attempt=attempt(), tasks=(entry(),))
        state = merge(observation(status=status, home=none, tasks=tasks), POLICY)
        assert [each.attempt for each in state.entries] == [1]
    elsewhere = task(arn=arn("1", ELSEWHERE), cluster_arn=ELSEWHERE, started_by=started_by(2))
    status = Status(attempt=attempt(3))
    state = merge(observation(status=status, home=none, tasks=(elsewhere,)), POLICY)
    assert [each.attempt for each in state.entries] == [2]


def test_another_accounts_credentials_prove_nothing() -> None:
    other = cluster(reference=CLUSTER, info=None, account="1" * 12)
    assert not other.gone
    assert not cluster(known=False, info=None).gone
    assert cluster(info=ClusterInfo(CLUSTER, "main", "INACTIVE")).gone
    assert not cluster().gone


# --- stages ---


@pytest.mark.parametrize(
    ("known", "shown", "kept"),
    [
        ("PROVISIONING", "PENDING", "PROVISIONING"),
        ("PROVISIONING", "ACTIVATING", "PROVISIONING"),
        ("PENDING", "PROVISIONING", "PENDING"),
        ("ACTIVATING", "RUNNING", "RUNNING"),
        ("RUNNING", "DEACTIVATING", "DEACTIVATING"),
        ("DEACTIVATING", "DEPROVISIONING", "DEACTIVATING"),
        ("", "PENDING", "PENDING"),
        ("PROVISIONING", "NEVER_HEARD_OF", "PROVISIONING"),
    ],
)
def test_a_stage_is_written_once(known: str, shown: str, kept: str) -> None:
    status = Status(attempt=attempt(), tasks=(entry(last_status=known, since=ago(10)),))
    state = merge(observation(status=status, tasks=(task(1, shown),)), POLICY)
    (found,) = state.entries
    assert found.last_status == kept
    assert found.since == (ago(10) if kept == known else NOW)


@pytest.mark.parametrize(("waited", "kept"), [(60, "PROVISIONING"), (61, "PENDING")])
def test_after_a_long_provisioning_the_next_stage_is_told_apart(waited: int, kept: str) -> None:
    status = Status(attempt=attempt(), tasks=(entry(1, "PROVISIONING", since=ago(waited)),))
    state = merge(observation(status=status, tasks=(task(1, "PENDING"),)), POLICY)
    assert state.entries[0].last_status == kept


def test_adopting_never_launches() -> None:
    seen, plan = settled(observation(tasks=(task(1, "PENDING"),)))
    assert not any(isinstance(each, RunTask | WriteStatus) for each in plan.actions)
    assert str(seen.status.phase) == "Provisioning"


def test_a_late_sight_of_a_task_whose_end_was_seen_takes_nothing_over() -> None:
    ended = Termination(attempt=1, stop_code="EssentialContainerExited", exit_code=3)
    status = Status(
        attempt=attempt(2), tasks=(entry(2, "PROVISIONING"),), last_terminations=(ended,)
    )
    state = merge(observation(status=status, tasks=(task(1),)), POLICY)
    assert [(each.attempt, str(each.role)) for each in state.entries] == [
        (2, "Current"),
        (1, "Retiring"),
    ]
    listed = status.model_copy(update={"tasks": state.entries})
    state = merge(observation(status=listed, tasks=(stopped(1, 0),)), POLICY)
    assert [(each.attempt, each.stop_code) for each in state.terminations] == [
        (1, "EssentialContainerExited")
    ]
    assert [each.attempt for each in state.entries] == [2]


def test_two_tasks_that_are_lost_are_looked_up_one_after_the_other() -> None:
    """Each answer took the place of the other's: the object never came to rest."""
    tasks = (retiring(1, "Deleted"), retiring(2, "Deleted"))
    seen = gone(
        deleting_since=NOW,
        status=Status(attempt=attempt(2), tasks=tasks),
        missing={arn("1"): LOST, arn("2"): LOST},
        lookup=None,
    )
    assert decide(seen, POLICY).actions == (Find(REGION, CLUSTER, 2, started_by(2)),)
    first = written(decide(replace(seen, lookup=Lookup(2, NOW)), POLICY))
    assert [each.attempt for each in first.tasks] == [1]
    seen = replace(seen, status=first, lookup=Lookup(2, NOW))
    assert decide(seen, POLICY).actions == (Find(REGION, CLUSTER, 1, started_by(1)),)
    _, plan = settled(replace(seen, lookup=Lookup(1, NOW)))
    assert [type(each) for each in plan.actions] == [RemoveFinalizer]
