"""What holds of a decision whatever it looks at: forged, wiped, stale, contradictory."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.unit.core import world
from tests.unit.core.world import CLUSTER, ELSEWHERE, NOW, UID, arn, stored

from fractal_models.container import Status
from fractal_models.observed import (
    STATE_RANK,
    Address,
    ClusterInfo,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    PortBinding,
)
from fractal_operator.core import annotations, tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import (
    ABANDON,
    ADOPT,
    PAUSED,
    READ_ONLY,
    RECONCILE_REQUESTED,
    RESTART_REQUESTED,
)
from fractal_operator.core.decide import decide
from fractal_operator.core.launch import SEND_WINDOW
from fractal_operator.core.merge import merge, number_of
from fractal_operator.core.plan import (
    FINALIZER,
    AddFinalizer,
    ClusterView,
    DefinitionView,
    DeleteObject,
    Ensure,
    Find,
    Launch,
    Lookup,
    Missing,
    Observation,
    Plan,
    Problem,
    RemoveFinalizer,
    Resolve,
    RunTask,
    Stop,
    StopTask,
    TagTask,
    WriteStatus,
)

NAMES = ["1", "2", "3", "9"]
NUMBERS = st.sampled_from([1, 2, 3, 9, 999_999_999, 2**31 - 1])
ADOPTABLE = arn("1")
RULE = Rule(namespaces=("*",), clusters=("*",), images=("*",), adoptable=(f"{ADOPTABLE}*",))
POLICY = replace(world.POLICY, allow=Allow((RULE,)))
KINDS = st.sampled_from(
    [
        "Throttled",
        "QuotaReached",
        "Unavailable",
        "Rejected",
        "AccessDenied",
        "TokenConflict",
        "OutcomeUnknown",
        "Gone",
        "Conflict",
    ]
)
# Around the limits that matter, and far outside the sensible.
SECONDS = st.sampled_from([0, 5, 29, 31, 60, 61, 299, 301, 419, 421, 600, 2699, 2701, 90_000])
PAST = st.builds(world.ago, SECONDS)
TIMES = PAST | st.sampled_from(
    [
        NOW + timedelta(seconds=30),
        NOW + timedelta(hours=9),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
)
ARNS = st.sampled_from([*(arn(n) for n in NAMES), arn("1", ELSEWHERE), "", "nonsense"])
CLUSTERS = st.sampled_from([CLUSTER, CLUSTER, ELSEWHERE, "", "nonsense"])
HASHES = st.sampled_from([world.HASH, "v1:other", "v9:x", ""])
STATES = st.sampled_from([*STATE_RANK, "RUNNING", "RUNNING", "STRANGE", ""])
ROLES = st.sampled_from(["Current", "Next", "Retiring"])
STOPS = st.sampled_from(
    [
        "EssentialContainerExited",
        "SpotInterruption",
        "CapacityUnavailable",
        "RungTimeout",
        "LaunchRejected",
        "LaunchFailed",
        "Unresolved",
        "Lost",
        "Replaced",
        "Suspended",
        "Superseded",
        "Expired",
        "",
        "what ever",
    ]
)


def some(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """A JSON object with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


JSON_TIMES = st.builds(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"), TIMES)
ATTEMPTS = st.fixed_dictionaries(
    {"number": NUMBERS},
    optional={
        "clusterArn": CLUSTERS,
        "definitionArn": st.sampled_from([world.DEFINITION, "", "x"]),
        "containerName": st.sampled_from(["app", ""]),
        "rung": st.integers(0, 3),
        "specHash": HASHES,
        "requestHash": st.sampled_from(["", "x"]),
        "firstIssuedAt": JSON_TIMES,
        "lastIssuedAt": JSON_TIMES,
        "failures": st.sampled_from([0, 1, 7, 2**31 - 1]),
        "adopts": ARNS,
        "yieldsTo": st.sampled_from([0, 1, 2, 9]),
    },
)
ENTRIES = st.fixed_dictionaries(
    {"attempt": NUMBERS, "arn": ARNS, "role": ROLES},
    optional={
        "lastStatus": STATES,
        "healthStatus": st.sampled_from(["", "HEALTHY", "UNHEALTHY"]),
        "reason": st.sampled_from(
            ["", "Deleted", "Suspended", "StartTimeout", "Expired", "Replaced", "Restarted"]
        ),
        "startedAt": JSON_TIMES,
        "since": JSON_TIMES,
    },
)
ENDS = st.fixed_dictionaries(
    {"attempt": NUMBERS, "stopCode": STOPS},
    optional={
        "reason": st.sampled_from(["", "RESOURCE:CPU", "secret", "x" * 2000]),
        "exitCode": st.sampled_from([0, 1, -1, 2**31 - 1]),
        "finishedAt": JSON_TIMES,
    },
)
CONDITIONS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Ready", "Reconciling", "Stalled", "Synced", "Odd"]),
        "status": st.sampled_from(["True", "False", "Unknown"]),
    },
    optional={"lastTransitionTime": JSON_TIMES, "reason": st.text(max_size=5)},
)
STATUSES = st.builds(
    Status.from_json,
    some(
        attempt=ATTEMPTS,
        tasks=st.lists(ENTRIES, max_size=2),
        lastTerminations=st.lists(ENDS, max_size=5),
        conditions=st.lists(CONDITIONS, max_size=4),
        endpoint=st.just({"ip": "1.2.3.4"}),
        phase=st.sampled_from(["Running", "Failed"]),
        readyAt=JSON_TIMES,
    ),
)
ORIGINS = st.builds(world.started_by, st.sampled_from([1, 2, 3, 9])) | st.sampled_from(
    [
        world.started_by(1, uid="another"),
        world.started_by(2, install="another"),
        "somebody",
        "fc/ins/" + UID + "/9999999999",
        "",
    ]
)
CONTAINERS = st.builds(
    ObservedContainer,
    st.sampled_from(["app", "log"]),
    exit_code=st.none() | st.sampled_from([0, 1, 137, 2**32, -(2**40)]),
    bindings=st.lists(
        st.builds(PortBinding, st.integers(-1, 70000), st.integers(-1, 70000)), max_size=3
    ).map(tuple),
)
TASKS = st.builds(
    ObservedTask,
    arn=st.sampled_from([arn(n) for n in NAMES]),
    cluster_arn=st.sampled_from([CLUSTER, CLUSTER, ELSEWHERE]),
    observed_at=PAST,
    last_status=STATES,
    desired_status=st.sampled_from(["RUNNING", "STOPPED"]),
    definition_arn=st.sampled_from([world.DEFINITION, ""]),
    started_by=ORIGINS,
    spec_hash=HASHES,
    health=st.sampled_from(["UNKNOWN", "HEALTHY", "UNHEALTHY"]),
    created_at=st.none() | PAST,
    started_at=st.none() | PAST,
    stopped_at=st.none() | PAST,
    stop_code=STOPS,
    stopped_reason=st.text(max_size=5),
    containers=st.lists(CONTAINERS, max_size=2).map(tuple),
    tags=st.sampled_from(
        [
            None,
            (),
            tuple(tokens.owner_tags("ins", "default", "box", UID).items()),
            tuple(tokens.owner_tags("ins", "default", "eve", "another").items()),
            ((tokens.TAG_RETAINED, "true"),),
        ]
    ),
)
PROBLEMS = st.builds(
    Problem, KINDS, st.sampled_from(["", "AccessDenied", "text"]), PAST, st.sampled_from(["", "X"])
)
NO_PROBLEM = st.none() | PROBLEMS
VIEWS = st.builds(
    ClusterView,
    region=st.just(world.REGION),
    reference=st.sampled_from(["main", CLUSTER, ELSEWHERE]),
    info=st.none()
    | st.builds(
        ClusterInfo,
        st.sampled_from([CLUSTER, CLUSTER, ELSEWHERE]),
        st.just("main"),
        st.sampled_from(["ACTIVE", "ACTIVE", "INACTIVE", "PROVISIONING"]),
    ),
    problem=NO_PROBLEM,
    known=st.booleans(),
    swept_since=st.none() | PAST,
    paused=st.sampled_from(["", "", "many lost"]),
    account=st.sampled_from([world.ACCOUNT, "1" * 12, ""]),
) | st.just(world.cluster())
SPECS: SearchStrategy[Mapping[str, Any]] = st.sampled_from(
    [
        world.SPEC,
        {"taskDefinition": "web", "dpi": 96},
        {"taskDefinition": "web", "updateStrategy": "Surge"},
        {"taskDefinition": "web", "dpi": 96, "updateStrategy": "Surge", "restartPolicy": "Never"},
        {"taskDefinition": "web", "containerName": "none"},
        {"taskDefinition": "web", "operatingMode": "Suspended"},
        {"taskDefinition": "web", "restartPolicy": "Never", "backoffLimit": 0},
        {"taskDefinition": "web", "restartPolicy": "OnFailure", "deletionPolicy": "Retain"},
        {
            "taskDefinition": "web",
            "restartPolicy": "Never",
            "timeouts": {
                "provisioningSeconds": 1,
                "startSeconds": 1,
                "lifetimeSeconds": 31536000,
                "ttlSecondsAfterFinished": 31536000,
            },
        },
        {"taskDefinition": "web", "placement": [{"launchType": "EC2", "waitSeconds": 9}] * 2},
        {"template": world.TEMPLATE},
        {"template": {**world.TEMPLATE, "healthCheck": {"command": ["CMD", "x"]}}},
        {"taskDefinition": 7},
        {},
    ]
)


@st.composite
def observations(draw: Any) -> Observation:
    tasks = draw(st.lists(TASKS, max_size=4, unique_by=lambda task: task.arn))
    launch = draw(
        st.none()
        | st.builds(
            Launch,
            attempt=NUMBERS,
            certain=st.booleans(),
            calls=st.integers(0, 9),
            at=st.none() | PAST,
            failures=st.none()
            | st.sampled_from(["RESOURCE:CPU", "ATTRIBUTE", "odd"]).map(
                lambda reason: (LaunchFailure(reason),)
            )
            | st.just(()),
            problem=NO_PROBLEM,
        )
    )
    definitions = (
        st.none()
        | st.just(world.definition())
        | st.builds(DefinitionView, st.just("web"), PAST, problem=NO_PROBLEM)
    )
    return world.observation(
        draw(SPECS),
        status=draw(STATUSES),
        finalizers=draw(st.sampled_from([(FINALIZER,), (FINALIZER, "x"), ("x",)])),
        deleting_since=draw(st.none() | PAST),
        annotations=draw(
            some(
                **{
                    ABANDON: st.sampled_from([UID, "another"]),
                    RECONCILE_REQUESTED: st.sampled_from(["now", "", "x" * 300, "\0"]),
                    RESTART_REQUESTED: st.sampled_from(["now", "", "x" * 300, "\0"]),
                    ADOPT: st.sampled_from([arn("1"), arn("2"), arn("1", ELSEWHERE), "nonsense"]),
                    PAUSED: st.sampled_from(["false", "false", "true"]),
                    READ_ONLY: st.sampled_from(["false", "false", "true"]),
                }
            )
        ),
        tasks=tuple(tasks),
        target=draw(st.none() | VIEWS),
        home=draw(st.none() | VIEWS),
        missing=draw(
            st.dictionaries(
                st.sampled_from([arn(n) for n in NAMES]),
                st.builds(Missing, PAST, PAST, st.integers(1, 3)),
                max_size=2,
            )
        ),
        addresses=draw(
            st.dictionaries(
                st.sampled_from([arn(n) for n in NAMES]),
                st.sampled_from([Address("1.1.1.1"), Address("", "10.0.0.1"), Address()]),
            )
        ),
        definition=draw(definitions),
        lookup=draw(
            st.none()
            | st.builds(
                Lookup,
                NUMBERS,
                PAST,
                st.lists(st.sampled_from([arn(n) for n in NAMES]), max_size=1).map(tuple),
                NO_PROBLEM,
            )
        ),
        launch=launch,
        stops=draw(
            st.dictionaries(
                st.sampled_from([arn(n) for n in NAMES]), st.builds(Stop, PAST, NO_PROBLEM)
            )
        ),
        retained=draw(
            st.dictionaries(
                st.sampled_from([arn(n) for n in NAMES]), st.builds(Stop, PAST, NO_PROBLEM)
            )
        ),
        adopted=draw(
            st.dictionaries(
                st.sampled_from([arn(n) for n in NAMES]), st.builds(Stop, PAST, NO_PROBLEM)
            )
        ),
        bare_since=draw(st.none() | PAST),
        breaker=draw(NO_PROBLEM),
    )


@st.composite
def launchable(draw: Any) -> Observation:
    """The same, but with nothing else in the way of a launch: so that launches do come about."""
    seen: Observation = draw(observations())
    strategy = {"updateStrategy": draw(st.sampled_from(["Recreate", "Surge"]))}
    spec = {**draw(st.sampled_from([world.SPEC, {**world.SPEC, "dpi": 96}])), **strategy}
    tasks = st.sampled_from([(), (), (), seen.tasks])
    problem = st.builds(
        Problem, st.sampled_from(["Throttled", "OutcomeUnknown"]), st.just(""), PAST
    )
    launches = st.builds(
        Launch, NUMBERS, st.booleans(), st.integers(0, 3), st.none() | PAST, problem=problem
    )
    return replace(
        seen,
        spec=world.observation(spec).spec,
        spec_json=spec,
        finalizers=(FINALIZER,),
        deleting_since=None,
        tasks=draw(tasks),
        target=world.cluster(),
        definition=world.definition(),
        launch=draw(st.none() | launches),
        bare_since=draw(st.none() | st.just(world.ago(60))),
        breaker=None,
    )


def live(seen: Observation) -> list[ObservedTask]:
    """Tasks of ours that live, as far as anybody can tell: not missing, nor in a lost cluster."""
    if seen.home is not None and seen.home.gone:
        return []
    return [
        task
        for task in seen.tasks
        if task.live and number_of(task, seen, POLICY) and task.arn not in seen.missing
    ]


def ours(seen: Observation, task: ObservedTask) -> bool:
    """Whether a task is this object's: launched for it and not given away, or adopted by it."""
    origin, owner = tokens.parse_started_by(task.started_by), task.tag(tokens.TAG_UID)
    if origin is not None and (origin.install, origin.uid) == (POLICY.install, UID):
        return owner in ("", UID) or task.tag(tokens.TAG_RETAINED) != "false"
    held = any(entry.arn == task.arn for entry in seen.status.tasks)
    return owner == UID or (not owner and held and task.arn.startswith(ADOPTABLE))


def check(seen: Observation, plan: Plan) -> None:
    held = annotations.holds(seen.annotations)
    if held == "ReadOnly" or (held and seen.deleting_since is None):
        acts = StopTask | RunTask | TagTask | DeleteObject
        assert not any(isinstance(each, acts) for each in plan.actions), "nothing is done"
    writes = [
        each
        for each in plan.actions
        if isinstance(each, AddFinalizer | RemoveFinalizer | WriteStatus | DeleteObject)
    ]
    reads = [each for each in plan.actions if isinstance(each, Resolve | Ensure | Find)]
    assert not writes or len(plan.actions) == 1, "a Kubernetes write is alone in its plan"
    assert not reads or len(plan.actions) == len(reads), "reads come before calls"
    if FINALIZER not in seen.finalizers:
        assert all(isinstance(each, AddFinalizer) for each in plan.actions)
    for each in plan.actions:
        match each:
            case RunTask():
                check_call(seen, each)
            case StopTask():
                (task,) = (task for task in seen.tasks if task.arn == each.arn)
                assert ours(seen, task)
                listed = {entry.arn: entry.role for entry in seen.status.tasks}
                assert listed.get(task.arn) not in ("Current", "Next")
            case TagTask():
                (task,) = (task for task in seen.tasks if task.arn == each.arn)
                mine, meant = ours(seen, task), seen.status.attempt
                assert mine or (meant is not None and task.arn == meant.adopts)
                assert mine or task.arn.startswith(ADOPTABLE)
                free = task.tag(tokens.TAG_RETAINED) == "true" or not task.tag(tokens.TAG_UID)
                assert mine or free or task.tag(tokens.TAG_UID) == UID
            case RemoveFinalizer():
                retained = seen.spec_json.get("deletionPolicy") == "Retain"
                assert seen.deleting_since is not None
                assert not live(seen) or retained or seen.annotations.get(ABANDON) == UID
            case _:
                pass


def check_call(seen: Observation, call: RunTask) -> None:
    attempt = seen.status.attempt
    assert attempt is not None
    assert attempt.last_issued_at is not None
    assert call.attempt == attempt.number
    assert seen.now - attempt.last_issued_at <= SEND_WINDOW
    assert seen.deleting_since is None
    assert seen.spec is not None
    assert str(seen.spec.operating_mode) == "Running"
    alive = live(seen)
    if str(seen.spec.update_strategy) == "Surge" and alive:
        (serving,) = alive
        assert number_of(serving, seen, POLICY) != attempt.number
        assert [entry.arn for entry in seen.status.tasks] == [serving.arn]
    else:
        assert alive == []
    assert seen.target is not None
    assert seen.target.swept_since is not None
    assert not seen.target.paused
    assert seen.target.info is not None
    assert call.request["cluster"] == attempt.cluster_arn == seen.target.info.arn
    assert call.request["startedBy"] == world.started_by(attempt.number)
    assert tokens.request_hash(call.request) == attempt.request_hash
    ended = {end.attempt for end in seen.status.last_terminations}
    assert attempt.number not in ended


@settings(max_examples=400, deadline=None)
@given(observations() | launchable())
def test_a_decision_keeps_the_rules_and_its_writes_come_to_rest(seen: Observation) -> None:
    for _ in range(8):
        plan = decide(seen, POLICY)
        check(seen, plan)
        if not plan.actions:
            return
        match plan.actions[0]:
            case WriteStatus(status=status):
                after = stored(status)
                assert after.to_json() != seen.status.to_json()
                seen = replace(seen, status=after)
            case AddFinalizer():
                seen = replace(seen, finalizers=(FINALIZER, *seen.finalizers))
            case _:
                return
    raise AssertionError("eight writes at one moment, and no end")


@settings(max_examples=200, deadline=None)
@given(observations())
def test_the_merged_view_is_consistent(seen: Observation) -> None:
    state = merge(seen, POLICY)
    numbers = [entry.attempt for entry in state.entries]
    assert len(state.entries) <= 2
    assert len(set(numbers)) == len(numbers)
    assert sum(entry.role == "Current" for entry in state.entries) <= 1
    coming = [entry for entry in state.entries if entry.role == "Next"]
    assert not coming or (state.current is not None and state.current.attempt < coming[0].attempt)
    placed = {entry.arn for entry in state.entries} | {task.arn for task in state.surplus}
    assert {task.arn for task in live(seen)} <= placed
    foreign = {task.arn for task in seen.tasks if number_of(task, seen, POLICY) is None}
    assert not foreign & placed
    if state.attempt is not None:
        assert all(number_of(t, seen, POLICY) <= state.attempt.number for t in live(seen))  # type: ignore[operator]


@settings(max_examples=100, deadline=None)
@given(observations(), st.sampled_from(["Running", "Suspended"]))
def test_an_object_at_rest_stays_silent(seen: Observation, mode: str) -> None:
    """Whatever was looked up or remembered: a well object, seen again, costs nothing."""
    spec = {**world.SPEC, "operatingMode": mode}
    calm = world.running(spec)
    if mode == "Suspended":
        calm, _ = world.settled(replace(calm, tasks=(world.stopped(),)))
        calm = world.settled(replace(calm, tasks=()))[0]
    assume(seen.now == calm.now)
    noisy = replace(
        calm,
        lookup=seen.lookup,
        launch=None if seen.launch and seen.launch.attempt == 1 else seen.launch,
        definition=seen.definition,
        stops=seen.stops,
        breaker=seen.breaker,
        target=seen.target,
    )
    assert decide(noisy, POLICY).actions == ()
