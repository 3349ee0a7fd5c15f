"""Rules 5 to 9: from a new object to one task, whatever an answer says."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    ACCOUNT,
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
    definition,
    observation,
    retiring,
    settled,
    started_by,
    stopped,
    task,
    written,
)

from fractal_models.container import Status, Termination
from fractal_models.errors import FractalError, QuotaReached
from fractal_models.observed import ClusterInfo, DefinitionContainer, LaunchFailure
from fractal_operator.core import draining
from fractal_operator.core.annotations import RECONCILE_REQUESTED
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    FINALIZER,
    AddFinalizer,
    DefinitionView,
    Ensure,
    Find,
    Launch,
    Lookup,
    Observation,
    Plan,
    Problem,
    Resolve,
    RunTask,
    WriteStatus,
)


def condition(status: Status, kind: str) -> tuple[str, str, str]:
    (found,) = (each for each in status.conditions if each.type == kind)
    return str(found.status), found.reason, found.message


def armed(**changes: Any) -> Observation:
    """An object whose first attempt was written just now, by this process."""
    fields: dict[str, Any] = {"launch": Launch(1, certain=True)}
    return settled(observation(**fields | changes))[0]


def problem(kind: str, message: str = "text", code: str = "") -> Problem:
    return Problem(kind, message, NOW, code)


# --- the finalizer and the intent ---


def test_the_finalizer_comes_first_and_alone() -> None:
    others = ("someone.else/finalizer",)
    assert decide(observation(finalizers=others), POLICY) == Plan((AddFinalizer(),))


def test_the_finalizer_is_not_put_on_a_dying_object() -> None:
    assert decide(observation(finalizers=(), deleting_since=NOW), POLICY) == Plan()


def test_the_definition_is_read_before_the_first_write() -> None:
    assert decide(observation(definition=None), POLICY) == Plan((Resolve(REGION, "web"),))


def test_the_intent_pins_what_the_call_depends_on_and_is_alone_in_its_plan() -> None:
    plan = decide(observation(), POLICY)
    (action,) = plan.actions
    assert isinstance(action, WriteStatus)
    assert (action.arms, action.region) == (1, REGION)
    made = action.status.attempt
    assert made is not None
    assert made.model_copy(update={"request_hash": ""}) == attempt()
    assert len(made.request_hash) == 26
    assert condition(action.status, "Ready")[:2] == ("False", "Launching")
    assert condition(action.status, "Reconciling")[0] == "True"
    assert condition(action.status, "Stalled")[0] == "False"
    assert condition(action.status, "Synced")[0] == "True"


def test_the_call_follows_the_write_and_repeats_what_it_pinned() -> None:
    plan = decide(armed(), POLICY)
    (action,) = plan.actions
    assert isinstance(action, RunTask)
    assert (action.attempt, action.region) == (1, REGION)
    assert action.request["cluster"] == CLUSTER
    assert action.request["taskDefinition"] == DEFINITION
    assert action.request["startedBy"] == started_by(1)
    assert action.request["count"] == 1
    assert plan.again_at == NOW + timedelta(seconds=30)


@pytest.mark.parametrize(("late", "calls"), [(0, True), (30, True), (31, False)])
def test_a_call_later_than_30_s_is_armed_again(late: int, calls: bool) -> None:
    now = NOW + timedelta(seconds=late)
    plan = decide(replace(armed(), now=now), POLICY)
    if calls:
        assert isinstance(plan.actions[0], RunTask)
        return
    again = written(plan).attempt
    assert again is not None
    assert (again.number, again.last_issued_at, again.first_issued_at) == (1, now, NOW)
    assert plan.actions[0] == WriteStatus(written(plan), REGION, arms=1)


def test_an_edit_before_the_call_rewrites_the_attempt_under_its_number() -> None:
    seen = observation({**SPEC, "dpi": 96}, status=armed().status, launch=Launch(1, certain=True))
    again = written(decide(seen, POLICY)).attempt
    assert again is not None
    assert again.number == 1
    assert again.spec_hash != HASH
    assert again.request_hash != seen.status.attempt.request_hash  # type: ignore[union-attr]


def test_an_edited_definition_is_asked_for_and_never_taken_from_the_old_one() -> None:
    seen = observation({"taskDefinition": "other"}, status=armed().status)
    assert decide(seen, POLICY).actions == (Resolve(REGION, "other"),)


def test_the_pinned_revision_stays_while_the_family_is_the_same() -> None:
    newer = DEFINITION.replace(":1", ":2")
    seen = replace(armed(), definition=definition(arn=newer, at=ago(0)))
    call = decide(replace(seen, definition=None), POLICY).actions
    assert call == (Resolve(REGION, DEFINITION),)


@pytest.mark.parametrize(
    ("reference", "asked"),
    [
        ("web", DEFINITION),
        ("web:1", DEFINITION),
        (DEFINITION, DEFINITION),
        (DEFINITION.removesuffix(":1"), DEFINITION),
        ("web:2", "web:2"),
        ("we", "we"),
        (DEFINITION + "1", DEFINITION + "1"),
        (DEFINITION.replace(ACCOUNT, "1" * 12), DEFINITION.replace(ACCOUNT, "1" * 12)),
    ],
)
def test_which_references_the_pinned_revision_stands_for(reference: str, asked: str) -> None:
    seen = replace(
        observation({"taskDefinition": reference}), status=armed().status, home=cluster()
    )
    assert decide(replace(seen, definition=None), POLICY).actions == (Resolve(REGION, asked),)


def test_a_template_is_registered_and_then_pinned() -> None:
    spec = {"template": TEMPLATE}
    (ensure,) = decide(observation(spec, definition=None), POLICY).actions
    assert isinstance(ensure, Ensure)
    family = ensure.registration["family"]
    pinned = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:3"
    view = replace(definition(DefinitionContainer("main"), arn=pinned), reference=family)
    seen, plan = settled(observation(spec, definition=view))
    assert isinstance(plan.actions[0], RunTask)
    assert plan.actions[0].request["taskDefinition"] == pinned
    assert decide(replace(seen, definition=None), POLICY).actions == (Resolve(REGION, pinned),)


# --- the task definition's answer ---


@pytest.mark.parametrize(
    ("view", "age", "asks"),
    [
        (definition(), 60, False),
        (definition(), 61, True),
        (DefinitionView("web", NOW), 599, False),
        (DefinitionView("web", NOW), 600, True),
        (DefinitionView("web", NOW, problem=problem("Rejected")), 599, False),
        (DefinitionView("web", NOW, problem=problem("AccessDenied")), 600, True),
        (DefinitionView("web", NOW, problem=problem("Throttled")), 1, False),
        (DefinitionView("web", NOW, problem=problem("Unavailable")), 21, True),
        (DefinitionView("other", NOW), 0, True),
        (definition(arn=DEFINITION.replace(REGION, "eu-west-1")), 0, True),
    ],
)
def test_how_long_an_answer_holds(view: DefinitionView, age: int, asks: bool) -> None:
    now = NOW + timedelta(seconds=age)
    plan = decide(observation(definition=view, now=now), POLICY)
    assert (plan.actions == (Resolve(REGION, "web"),)) is asks


def test_a_request_to_reconcile_asks_again_at_once() -> None:
    seen = observation(
        annotations={RECONCILE_REQUESTED: "now"},
        definition=DefinitionView("web", ago(1)),
    )
    assert decide(seen, POLICY).actions == (Resolve(REGION, "web"),)
    seen = replace(seen, definition=DefinitionView("web", NOW, request="now"))
    status = written(decide(seen, POLICY))
    assert status.last_handled_reconcile_at == "now"


@pytest.mark.parametrize(
    ("view", "phase", "reason", "stalled"),
    [
        (DefinitionView("web", NOW), "Failed", "TaskDefinitionNotFound", True),
        (
            DefinitionView("web", NOW, problem=problem("AccessDenied", code="AccessDenied")),
            "Failed",
            "AccessDenied",
            True,
        ),
        (DefinitionView("web", NOW, problem=problem("Rejected")), "Failed", "LaunchRejected", True),
        (
            DefinitionView("web", NOW, problem=problem("Throttled")),
            "Pending",
            "Throttled",
            False,
        ),
        (
            DefinitionView("web", NOW, problem=problem("QuotaReached")),
            "Pending",
            "Throttled",
            False,
        ),
        (
            DefinitionView("web", NOW, problem=problem("OutcomeUnknown")),
            "Pending",
            "EcsUnavailable",
            False,
        ),
    ],
)
@pytest.mark.parametrize("pending", [False, True], ids=["new", "armed"])
def test_no_definition_no_launch(
    view: DefinitionView, phase: str, reason: str, stalled: bool, pending: bool
) -> None:
    seen = observation(definition=view)
    if pending:
        fields: dict[str, Any] = {
            "definition_arn": "",
            "first_issued_at": ago(5),
            "last_issued_at": ago(5),
        }
        seen = observation(definition=view, status=Status(attempt=attempt(**fields)))
    seen, plan = settled(seen)
    assert plan.actions == ()
    assert plan.again_at is not None
    assert plan.again_at > NOW
    assert (str(seen.status.phase), condition(seen.status, "Ready")[1]) == (phase, reason)
    assert (condition(seen.status, "Stalled")[0] == "True") is stalled
    assert (condition(seen.status, "Reconciling")[0] == "True") is not stalled


LONG = "x" * 8000


@pytest.mark.parametrize(
    ("spec", "view", "says"),
    [
        (
            {**SPEC, "containerName": "none"},
            definition(DefinitionContainer("app"), DefinitionContainer("log")),
            "spec.containerName must name the main container",
        ),
        (
            SPEC,
            definition(DefinitionContainer("app"), DefinitionContainer("log")),
            "one of app, log",
        ),
        (SPEC, definition(DefinitionContainer("app", essential=False)), "no essential container"),
        (
            {**SPEC, "environment": [{"name": "A", "value": LONG}, {"name": "B", "value": LONG}]},
            definition(),
            "too large",
        ),
    ],
)
def test_what_the_definition_does_not_allow_is_said_and_not_sent(
    spec: dict[str, Any], view: DefinitionView, says: str
) -> None:
    seen, plan = settled(observation(spec, definition=view))
    assert plan.actions == ()
    assert condition(seen.status, "Stalled")[1] == "InvalidSpec"
    assert says in seen.status.message
    assert seen.status.attempt is None


def test_awsvpc_needs_subnets() -> None:
    view = definition(network_mode="awsvpc")
    bare = replace(POLICY, subnets=())
    seen, plan = settled(observation(definition=view), bare)
    assert plan.actions == ()
    assert "spec.network.subnets is needed" in seen.status.message
    _, plan = settled(observation(definition=view))
    assert isinstance(plan.actions[0], RunTask)


# --- the gates ---


@pytest.mark.parametrize(
    ("target", "reason", "wants_sweep"),
    [
        (None, "InvalidSpec", False),
        (cluster(known=False, info=None), "WaitingForSweep", True),
        (
            cluster(known=False, info=None, problem=problem("AccessDenied", code="AccessDenied")),
            "AccessDenied",
            True,
        ),
        (
            cluster(known=False, info=None, problem=problem("Unavailable")),
            "EcsUnavailable",
            True,
        ),
        (cluster(info=None), "ClusterNotFound", True),
        (cluster(info=ClusterInfo(CLUSTER, "main", "INACTIVE")), "ClusterNotFound", True),
        (cluster(swept_since=None), "WaitingForSweep", True),
        (cluster(paused="too many lost"), "LaunchesPaused", False),
    ],
)
@pytest.mark.parametrize("pending", [False, True], ids=["new", "armed"])
def test_a_closed_gate_lets_nothing_through(
    target: Any, reason: str, wants_sweep: bool, pending: bool
) -> None:
    status = Status(attempt=attempt()) if pending else Status()
    seen, plan = settled(observation(target=target, status=status))
    assert plan.actions == ()
    assert plan.wants_sweep is wants_sweep
    assert condition(seen.status, "Ready")[:2] == ("False", reason)
    assert (seen.status.attempt is not None) is pending


def test_waiting_for_the_first_look_says_nothing_new() -> None:
    status = armed().status
    plan = decide(observation(status=status, target=cluster(swept_since=None)), POLICY)
    assert (plan.actions, plan.wants_sweep) == ((), True)


@pytest.mark.parametrize(("swept", "launches"), [(11, False), (10, True)])
def test_a_bare_object_waits_for_a_sweep_begun_afterwards(swept: int, launches: bool) -> None:
    seen = observation(bare_since=ago(10), target=cluster(swept_since=ago(swept)))
    status = written(decide(seen, POLICY))
    assert (status.attempt is not None) is launches


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": 2},
        {"created_at": None},
        {"created_at": ago(310)},
        {"tasks": (stopped(),)},
    ],
)
def test_a_bare_object_that_may_hide_a_task_waits_until_ecs_shows_all(changes: Any) -> None:
    looked = cluster(swept_since=NOW)
    seen, plan = settled(observation(bare_since=ago(10), target=looked, **changes))
    assert (seen.status.attempt, plan.again_at) == (None, ago(10) + draining.DRAIN)
    later = NOW + draining.DRAIN
    swept = cluster(swept_since=ago(10) + draining.DRAIN)
    late = replace(seen, now=later, target=swept, definition=definition(at=later))
    assert written(decide(late, POLICY)).attempt is not None


def test_a_launch_of_a_young_bare_object_goes_on_after_its_intent() -> None:
    seen = armed(bare_since=ago(1), target=cluster(swept_since=NOW))
    assert isinstance(decide(seen, POLICY).actions[0], RunTask)


def test_an_open_breaker_waits_until_it_closes() -> None:
    until = NOW + timedelta(seconds=40)
    seen = observation(breaker=Problem("AccessDenied", "no", until, "AccessDeniedException"))
    seen, plan = settled(seen)
    assert (plan.actions, plan.again_at) == ((), until)
    assert condition(seen.status, "Reconciling")[1] == "AccessDenied"


# --- the answers to the call ---


def known(**changes: Any) -> Launch:
    fields: dict[str, Any] = {"attempt": 1, "certain": True, "calls": 1, "at": NOW}
    return Launch(**fields | changes)


@pytest.mark.parametrize(
    "kind", [c.__name__ for c in [*FractalError.__subclasses__(), QuotaReached]]
)
def test_every_error_that_a_call_can_raise_leads_on(kind: str) -> None:
    seen, plan = settled(armed(launch=known(problem=problem(kind))))
    if kind == "Rejected":
        assert seen.status.last_terminations[0].stop_code == "LaunchRejected"
        return
    assert seen.status.attempt is not None
    assert seen.status.attempt.number == 1
    assert plan.again_at is not None
    assert plan.again_at > NOW
    later = decide(replace(seen, now=plan.again_at), POLICY)
    assert isinstance(later.actions[0], RunTask | WriteStatus)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Throttled", "Throttled"),
        ("Unavailable", "EcsUnavailable"),
        ("OutcomeUnknown", "OutcomeUnknown"),
    ],
)
def test_the_reason_for_another_try_is_shown_and_stays(kind: str, reason: str) -> None:
    seen, plan = settled(armed(launch=known(problem=problem(kind), calls=9)))
    assert condition(seen.status, "Reconciling")[:2] == ("True", reason)
    assert plan.again_at is not None
    assert NOW + timedelta(seconds=15) <= plan.again_at <= NOW + timedelta(seconds=30)
    middle = NOW + (plan.again_at - NOW) / 2
    assert decide(replace(seen, now=middle), POLICY).actions == ()


def test_a_refusal_is_an_end_at_once_and_tried_again_after_ten_minutes() -> None:
    refusal = problem("Rejected", "Unable to assume the role", "ClientException")
    seen, plan = settled(armed(launch=known(problem=refusal)))
    (end,) = seen.status.last_terminations
    assert (end.attempt, end.stop_code) == (1, "LaunchRejected")
    assert end.reason == "ClientException: Unable to assume the role"
    assert condition(seen.status, "Stalled")[1] == "InvalidRole"
    assert str(seen.status.phase) == "Failed"
    assert plan == Plan(again_at=NOW + timedelta(minutes=10))
    later = replace(seen, now=NOW + timedelta(minutes=10), target=cluster(swept_since=NOW))
    assert decide(later, POLICY).actions == (Resolve(REGION, "web"),)
    fresh = replace(later, definition=definition(at=later.now))
    again = written(decide(fresh, POLICY)).attempt
    assert again is not None
    assert (again.number, again.failures) == (2, 0)


def test_the_code_of_a_refusal_is_not_said_twice() -> None:
    refusal = problem("Rejected", "ClientException: no", "ClientException")
    seen, _ = settled(armed(launch=known(problem=refusal)))
    assert seen.status.last_terminations[0].reason == "ClientException: no"


def test_a_refusal_is_tried_again_on_request_and_once_only() -> None:
    seen, _ = settled(armed(launch=known(problem=problem("Rejected"))))
    asked = {RECONCILE_REQUESTED: "x" * 200 + "\0"}
    seen = replace(seen, annotations=asked)
    assert decide(seen, POLICY).actions == (Resolve(REGION, "web"),)
    assert seen.definition is not None
    seen = replace(seen, definition=replace(seen.definition, request=seen.requested))
    again = written(decide(seen, POLICY))
    assert again.attempt is not None
    assert again.attempt.number == 2
    over = replace(seen, annotations=asked, status=again)
    assert over.requested == ""


def test_a_refusal_after_an_unknown_answer_is_drained_first() -> None:
    refused = known(certain=False, problem=problem("Rejected"))
    seen, plan = settled(armed(launch=refused))
    assert seen.status.last_terminations == ()
    assert plan.actions == (Find(REGION, CLUSTER, 1, started_by(1)),)


def test_no_capacity_needs_one_lookup() -> None:
    full = known(failures=(LaunchFailure("RESOURCE:CPU"),))
    seen, plan = settled(armed(launch=full))
    assert plan.actions == (Find(REGION, CLUSTER, 1, started_by(1)),)
    seen, plan = settled(replace(seen, lookup=Lookup(1, NOW)))
    (end,) = seen.status.last_terminations
    assert (end.stop_code, end.reason) == ("CapacityUnavailable", "RESOURCE:CPU")
    assert condition(seen.status, "Reconciling")[:2] == ("True", "Retrying")
    assert condition(seen.status, "Ready")[1] == "CapacityUnavailable"
    assert plan.again_at is not None
    assert timedelta(seconds=7) <= plan.again_at - NOW <= timedelta(seconds=15)


def test_capacity_failures_in_a_row_wait_longer() -> None:
    ends = tuple(
        Termination(attempt=n, stop_code="CapacityUnavailable", finished_at=NOW)
        for n in (5, 4, 3, 2)
    )
    other = Termination(attempt=1, stop_code="Lost", finished_at=NOW)
    status = Status(attempt=attempt(5), last_terminations=(*ends, other))
    _, plan = settled(observation(status=status))
    assert plan.again_at is not None
    assert timedelta(seconds=60) <= plan.again_at - NOW <= timedelta(seconds=120)
    status = Status(attempt=attempt(5), last_terminations=ends)
    assert settled(observation(status=status))[1].again_at == plan.again_at


@pytest.mark.parametrize(
    ("lookup", "ends"),
    [
        (None, False),
        (Lookup(1, ago(1)), False),
        (Lookup(2, NOW), False),
        (Lookup(1, NOW, (arn("9"),)), False),
        (Lookup(1, NOW, problem=problem("Throttled")), False),
        (Lookup(1, NOW), True),
    ],
)
def test_only_a_clean_lookup_after_the_failure_counts(lookup: Lookup, ends: bool) -> None:
    full = known(failures=(LaunchFailure("RESOURCE:CPU"),))
    seen, _ = settled(armed(launch=full, lookup=lookup))
    assert bool(seen.status.last_terminations) is ends


def test_an_impossible_placement_stalls() -> None:
    failed = known(failures=(LaunchFailure("ATTRIBUTE", "zone"),))
    draining, _ = settled(armed(launch=failed, lookup=Lookup(1, ago(1))))
    assert condition(draining.status, "Stalled")[:2] == ("True", "PlacementImpossible")
    seen, plan = settled(armed(launch=failed, lookup=Lookup(1, NOW)))
    assert seen.status.last_terminations[0].stop_code == "LaunchRejected"
    assert condition(seen.status, "Stalled")[:2] == ("True", "PlacementImpossible")
    assert seen.status.message == draining.status.message
    assert plan.again_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("answer", [(), (LaunchFailure("strange"),)], ids=["empty", "unknown"])
def test_an_answer_that_says_nothing_is_drained(answer: tuple[LaunchFailure, ...]) -> None:
    seen = armed(launch=known(failures=answer), lookup=Lookup(1, NOW))
    seen, plan = settled(seen)
    assert seen.status.last_terminations == ()
    end = NOW + timedelta(seconds=420)
    over = replace(seen, now=end)
    assert decide(over, POLICY).actions == (Find(REGION, CLUSTER, 1, started_by(1)),)
    seen, plan = settled(replace(over, lookup=Lookup(1, end)))
    assert seen.status.last_terminations[0].stop_code == "LaunchFailed"
    assert plan.again_at is not None


@pytest.mark.parametrize(
    ("looked", "due"),
    [(0, 5), (100, 125), (300, 360), (390, 420), (419, 420), (420, 480), (600, 660)],
)
def test_a_drain_looks_often_at_first_and_once_at_its_end(looked: int, due: int) -> None:
    began = NOW + timedelta(seconds=looked)
    seen = armed(launch=known(failures=(), certain=False), lookup=Lookup(1, began, (arn("9"),)))
    before = decide(replace(seen, now=NOW + timedelta(seconds=due - 1)), POLICY)
    assert not any(isinstance(each, Find) for each in before.actions)
    now = NOW + timedelta(seconds=due)
    assert isinstance(decide(replace(seen, now=now), POLICY).actions[0], Find)


@pytest.mark.parametrize(
    ("lookup", "ends"),
    [(Lookup(1, NOW), False), (Lookup(1, NOW + timedelta(seconds=45 * 60)), True)],
)
def test_a_dead_token_is_looked_up_and_then_given_up(lookup: Lookup, ends: bool) -> None:
    now = NOW + timedelta(minutes=45)
    seen = replace(armed(), launch=None, now=now, lookup=lookup)
    plan = decide(seen, POLICY)
    if not ends:
        assert isinstance(plan.actions[0], Find)
        return
    seen, plan = settled(seen)
    (end,) = seen.status.last_terminations
    assert end.stop_code == "Unresolved"
    assert plan.again_at is not None
    assert plan.again_at > now


def test_a_bound_token_is_never_taken_for_unsent() -> None:
    bound = known(problem=problem("TokenConflict"), certain=False)
    seen, _ = settled(armed(launch=bound, lookup=Lookup(1, NOW)))
    assert "bound to a launch not visible yet" in seen.status.message
    later = replace(seen, now=NOW + timedelta(seconds=500), lookup=Lookup(1, NOW + timedelta(499)))
    later, plan = settled(later)
    assert later.status.last_terminations == ()
    assert plan.actions == ()
    certain = replace(bound, certain=True)
    assert settled(armed(launch=certain))[0].status.last_terminations == ()


# --- rule 9: the wish changes while the outcome is unknown ---


def test_another_cluster_waits_until_the_first_is_drained() -> None:
    target = cluster(reference="other", info=ClusterInfo(ELSEWHERE, "other", "ACTIVE"))
    spec = {**SPEC, "cluster": "other"}
    seen = observation(spec, status=armed().status, target=target, home=cluster())
    assert decide(seen, POLICY).actions == (Find(REGION, CLUSTER, 1, started_by(1)),)
    waiting, _ = settled(replace(seen, lookup=Lookup(1, NOW)))
    assert condition(waiting.status, "Reconciling")[1] == "Draining"
    end = NOW + timedelta(seconds=420)
    over = replace(seen, now=end, lookup=Lookup(1, end), definition=definition(at=end))
    status = written(decide(over, POLICY))  # its end and the next intent are one write
    assert status.attempt is not None
    assert (status.attempt.number, status.attempt.cluster_arn) == (2, ELSEWHERE)
    assert [each.stop_code for each in status.last_terminations] == ["Replaced"]


@pytest.mark.parametrize("certain", [True, False])
def test_an_edit_into_something_that_cannot_be_sent(certain: bool) -> None:
    spec = {**SPEC, "containerName": "none"}
    launch = Launch(1, certain=certain)
    seen = observation(spec, status=armed().status, launch=launch, lookup=Lookup(1, NOW))
    seen, _ = settled(seen)
    assert condition(seen.status, "Stalled")[1] == "InvalidSpec"
    assert [each.stop_code for each in seen.status.last_terminations] == ["Replaced"] * certain


def test_no_call_while_a_task_lives() -> None:
    seen = observation(status=Status(attempt=attempt(2), tasks=(retiring(1),)), tasks=(task(1),))
    _, plan = settled(seen)
    assert not any(isinstance(each, RunTask) for each in plan.actions)


def test_attempt_numbers_run_out_with_words() -> None:
    end = Termination(attempt=999_999_999, stop_code="Suspended")
    status = Status(attempt=attempt(999_999_999), last_terminations=(end,))
    seen, plan = settled(observation(status=status))
    assert plan.actions == ()
    assert condition(seen.status, "Stalled")[1] == "AttemptsExhausted"


def test_synced_is_false_once_a_call_of_unknown_outcome_is_a_minute_old() -> None:
    lost = known(certain=False, problem=problem("OutcomeUnknown"))
    for seconds, value in ((60, "True"), (61, "False")):
        now = NOW + timedelta(seconds=seconds)
        status = Status(attempt=attempt(last_issued_at=now))
        at = replace(lost, at=now)
        seen, _ = settled(observation(status=status, now=now, launch=at))
        assert condition(seen.status, "Synced")[0] == value
        sure = replace(at, certain=True)
        seen, _ = settled(observation(status=status, now=now, launch=sure))
        assert condition(seen.status, "Synced")[0] == "True"


def test_other_finalizers_do_not_matter() -> None:
    seen = observation(finalizers=("a", FINALIZER, "b"))
    assert isinstance(decide(seen, POLICY).actions[0], WriteStatus)
