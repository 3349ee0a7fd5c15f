"""The allow-list in the core: what is launched under it, what is not, and what is said."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.core import world
from tests.unit.core.test_properties import observations
from tests.unit.core.world import (
    ACCOUNT,
    CLUSTER,
    DEFINITION,
    ELSEWHERE,
    NOW,
    POLICY,
    REGION,
    TEMPLATE,
    attempt,
    cluster,
    definition,
    observation,
    running,
    settled,
    stopped,
)

from fractal_models.container import Phase, Status, parse_spec
from fractal_models.observed import ClusterArn, ClusterInfo, DefinitionContainer
from fractal_operator.core import permits
from fractal_operator.core.allow import Allow, Rule, matches
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    DefinitionView,
    Ensure,
    Launch,
    Observation,
    Plan,
    Policy,
    RunTask,
    StopTask,
    TagTask,
    WriteStatus,
)
from fractal_operator.core.tokens import region_of, spec_hash

ROLES = f"arn:aws:iam::{ACCOUNT}:role/"
TEAM = Rule(
    namespaces=("team-*",),
    regions=("eu-*",),
    clusters=("apps-*", f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/exact"),
    task_roles=(ROLES + "app-*",),
    execution_roles=(ROLES + "pull",),
    subnets=("subnet-a*",),
    security_groups=("sg-a",),
    images=("registry.example.com/team/*", "nginx:*"),
    adoptable=(f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/apps-1/*",),
)
OPS = Rule(namespaces=("ops", "team-b"), images=("*",), task_roles=("*",))
STRICT = replace(POLICY, allow=Allow((TEAM, OPS)), security_groups=("sg-d",))


def asked(spec: Mapping[str, Any], namespace: str = "team-a", policy: Policy = STRICT) -> str:
    return permits.asked(policy, namespace, parse_spec(spec))


def template(**changes: Any) -> dict[str, Any]:
    return {"template": {**TEMPLATE, **changes}}


def situation(plan: Plan) -> tuple[str, str, str]:
    """Phase, the reason of Stalled and the message that a plan writes."""
    (action,) = plan.actions
    assert isinstance(action, WriteStatus)
    assert action.arms == 0
    (stalled,) = (each for each in action.status.conditions if each.type == "Stalled")
    assert stalled.status == "True"
    return str(action.status.phase), stalled.reason, stalled.message


# --- what a spec may name ---

ALLOWED: list[Mapping[str, Any]] = [
    {"taskDefinition": "web"},
    template(),
    template(image="registry.example.com/team/app@sha256:" + "0" * 64),
    template(taskRoleArn=ROLES + "app-web", executionRoleArn=ROLES + "pull"),
    {"taskDefinition": "web", "region": "eu-central-1"},
    {"taskDefinition": "web", "region": REGION},  # the operator's own
    {"taskDefinition": "web", "cluster": "main"},  # the operator's own
    {"taskDefinition": "web", "cluster": CLUSTER},
    {"taskDefinition": "web", "cluster": "apps-1"},
    {"taskDefinition": "web", "cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/apps-1"},
    {"taskDefinition": "web", "cluster": "exact"},  # its ARN is looked at before the launch
    {"taskDefinition": "web", "cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/exact"},
    {"taskDefinition": "web", "network": {"subnets": ["subnet-a1", "subnet-1"]}},
    {"taskDefinition": "web", "network": {"securityGroups": ["sg-a", "sg-d"]}},
]
REFUSED: list[tuple[Mapping[str, Any], str]] = [
    (template(image="evil.org/app"), "spec.template.image: evil.org/app"),
    (template(taskRoleArn=ROLES + "admin"), f"spec.template.taskRoleArn: {ROLES}admin"),
    (
        template(executionRoleArn=ROLES + "app-web"),
        f"spec.template.executionRoleArn: {ROLES}app-web",
    ),
    ({"taskDefinition": "web", "region": "us-west-2"}, "spec.region: us-west-2"),
    ({"taskDefinition": "web", "cluster": "other"}, "spec.cluster: other"),
    ({"taskDefinition": "web", "cluster": ELSEWHERE}, f"spec.cluster: {ELSEWHERE}"),
    (
        {
            "taskDefinition": "web",
            "cluster": "arn:aws:ecs:eu-west-1:1" + "0" * 11 + ":cluster/exact",
        },
        "spec.cluster: arn:aws:ecs:eu-west-1:100000000000:cluster/exact",
    ),
    (
        {"taskDefinition": "web", "network": {"subnets": ["subnet-a1", "subnet-b"]}},
        "spec.network.subnets: subnet-b",
    ),
    (
        {"taskDefinition": "web", "network": {"securityGroups": ["sg-b"]}},
        "spec.network.securityGroups: sg-b",
    ),
]


@pytest.mark.parametrize("spec", ALLOWED, ids=str)
def test_what_a_rule_or_the_settings_have_is_allowed(spec: Mapping[str, Any]) -> None:
    assert asked(spec) == ""


@pytest.mark.parametrize(("spec", "named"), REFUSED, ids=[each[1] for each in REFUSED])
def test_what_no_rule_has_is_refused_in_words(spec: Mapping[str, Any], named: str) -> None:
    assert asked(spec) == (
        f"{named} is not allowed in namespace team-a. Name what is, or ask whoever runs the "
        "operator to add it to the allow-list."
    )


@pytest.mark.parametrize(("spec", "named"), REFUSED, ids=[each[1] for each in REFUSED])
def test_without_rules_everything_is_allowed(spec: Mapping[str, Any], named: str) -> None:
    assert named
    assert asked(spec, policy=POLICY) == ""


def test_everything_that_is_refused_is_told_at_once() -> None:
    told = asked(template(image="evil.org/app", taskRoleArn=ROLES + "admin") | {"region": "xx-x-1"})
    assert [part.partition(":")[0] for part in told.split(". ")[:3]] == [
        "spec.region",
        "spec.template.image",
        "spec.template.taskRoleArn",
    ]


def test_a_namespace_that_no_rule_names_may_name_nothing_but_the_operators_own() -> None:
    assert "spec.template.image: nginx:1" in asked(template(), "default")
    assert asked({"taskDefinition": "web", "cluster": "main", "region": REGION}, "default") == ""


def test_a_namespace_may_have_what_any_of_its_rules_allows() -> None:
    both = template(image="evil.org/app", executionRoleArn=ROLES + "pull")
    assert asked(both, "team-b") == ""  # the image by OPS, the role by TEAM
    assert "executionRoleArn" in asked(both, "ops")


def test_the_region_of_the_operators_own_cluster_is_the_operators_own() -> None:
    policy = replace(STRICT, region="", cluster=ELSEWHERE)
    assert asked({"taskDefinition": "web", "region": REGION}, policy=policy) == ""
    assert asked({"taskDefinition": "web", "cluster": "other"}, policy=policy) == ""


def test_a_long_value_is_cut_in_the_message() -> None:
    told = asked(template(taskRoleArn=ROLES + "x" * 300))
    assert (ROLES + "x" * 300)[:200] + "… is" in told


# --- what is launched ---


def launched(
    spec: Mapping[str, Any], view: DefinitionView | None = None, **changes: Any
) -> tuple[Observation, Plan]:
    view = view or definition(DefinitionContainer("app", image="nginx:1"))
    changes = {"namespace": "team-a", "launch": Launch(1, certain=True), **changes}
    return settled(observation(spec, definition=view, **changes), STRICT)


def test_an_allowed_object_is_launched() -> None:
    _, plan = launched({"taskDefinition": "web"})
    (action,) = plan.actions
    assert isinstance(action, RunTask)


def test_a_refused_spec_is_not_even_looked_up_or_registered() -> None:
    seen = observation(template(image="evil.org/app"), definition=None, namespace="team-a")
    phase, reason, message = situation(decide(seen, STRICT))
    assert (phase, reason) == (Phase.FAILED, "NotAllowed")
    assert message.startswith("spec.template.image: evil.org/app is not allowed in namespace team")
    rested, plan = settled(seen, STRICT)
    assert plan == Plan()
    assert rested.status.attempt is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task_role": ROLES + "admin"}, "The task role of task definition"),
        ({"task_role": "app-web"}, "app-web is not allowed"),  # a bare name is no ARN
        ({"execution_role": ROLES + "admin"}, "The execution role of task definition"),
        (
            {"containers": (DefinitionContainer("app", image="evil.org/x"),)},
            "The image of container app of task definition",
        ),
        (
            {
                "containers": (
                    DefinitionContainer("app", image="nginx:1"),
                    DefinitionContainer("log", essential=False, image="evil.org/log"),
                )
            },
            "The image of container log of task definition",
        ),
        ({"containers": (DefinitionContainer("app"),)}, "(unknown) is not allowed"),
    ],
)
def test_a_task_definition_is_held_to_the_list_too(changes: Mapping[str, Any], named: str) -> None:
    view = definition(**{"containers": (DefinitionContainer("app", image="nginx:1"),), **changes})
    seen = observation(namespace="team-a", definition=view)
    phase, reason, message = situation(decide(seen, STRICT))
    assert (phase, reason) == (Phase.FAILED, "NotAllowed")
    assert named in message
    assert DEFINITION in message
    _, plan = settled(seen, STRICT)
    assert plan.actions == ()
    # a family's newest revision may be an allowed one later
    assert plan.again_at is not None
    assert plan.again_at > NOW


def test_a_name_for_a_cluster_elsewhere_is_seen_through_before_the_launch() -> None:
    """`exact` is allowed in one account; there is a cluster of that name in another."""
    stray = CLUSTER.replace(ACCOUNT, "999999999999").replace("/main", "/exact")
    target = cluster(reference="exact", info=ClusterInfo(stray, "exact", "ACTIVE"))  # type: ignore[arg-type]
    spec = {"taskDefinition": "web", "cluster": "exact"}
    _, reason, message = situation(
        decide(
            observation(
                spec,
                namespace="team-a",
                target=target,
                definition=definition(DefinitionContainer("app", image="nginx:1")),
            ),
            STRICT,
        )
    )
    assert reason == "NotAllowed"
    assert f"The cluster: {stray}" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ""),
        (
            {"cluster": CLUSTER.replace(REGION, "us-west-2")},
            "The cluster's region: us-west-2 is not allowed",
        ),
        ({"subnets": ["subnet-1", "subnet-b"]}, "The subnet: subnet-b is not allowed"),
        ({"securityGroups": ["sg-d", "sg-b"]}, "The security group: sg-b is not allowed"),
    ],
)
def test_what_is_sent_is_looked_at_wherever_it_came_from(
    changes: Mapping[str, Any], named: str
) -> None:
    network = {"subnets": ["subnet-1"], "securityGroups": ["sg-a"], **changes}
    body = {
        "cluster": changes.get("cluster", CLUSTER),
        "networkConfiguration": {"awsvpcConfiguration": network},
    }
    found = definition(DefinitionContainer("app", image="nginx:1")).result
    assert found is not None
    told = permits.sent(STRICT, "team-a", body, found)
    assert told.startswith(named)
    assert bool(told) is bool(named)


def test_a_forged_attempt_launches_nothing_that_is_refused() -> None:
    """The status claims an attempt, armed just now, of a revision with another role."""
    view = definition(
        DefinitionContainer("app", image="nginx:1"), task_role=ROLES + "admin", at=NOW
    )
    for spec in ({"taskDefinition": "web"}, template(image="evil.org/x")):
        seen = observation(
            spec,
            namespace="team-a",
            definition=view,
            status=Status(attempt=attempt(issued_by=STRICT.process)),
            launch=Launch(1, certain=True),
        )
        rested, plan = settled(seen, STRICT)
        assert not any(isinstance(each, RunTask | Ensure) for each in plan.actions)
        (ready,) = (each for each in rested.status.conditions if each.type == "Ready")
        assert (ready.status, ready.reason) == ("False", "NotAllowed")


def test_an_unresolved_attempt_is_drained_before_the_refusal_is_final() -> None:
    """A call may have been made before the list was narrowed: nothing new until that is known."""
    seen = observation(
        template(image="evil.org/x"),
        namespace="team-a",
        status=Status(attempt=attempt(first_issued_at=world.ago(60), last_issued_at=world.ago(60))),
    )
    rested, plan = settled(seen, STRICT)
    assert rested.status.attempt is not None
    assert not any(isinstance(each, RunTask) for each in plan.actions)
    assert plan.again_at is not None or plan.actions


# --- what runs already ---


def test_a_narrowed_list_leaves_a_running_task_alone_and_bars_the_next() -> None:
    seen = running(namespace="team-a", definition=definition(DefinitionContainer("app")))
    rested, plan = settled(seen, STRICT)
    assert plan.actions == ()
    assert rested.status == seen.status
    ended = replace(
        rested, tasks=(stopped(),), now=world.NOW.replace(hour=13), target=cluster(), missing={}
    )
    ended = replace(ended, definition=replace(ended.definition, at=ended.now))  # type: ignore[type-var]
    after, plan = settled(ended, STRICT)
    assert plan.actions == ()
    (ready,) = (each for each in after.status.conditions if each.type == "Ready")
    assert ready.reason == "NotAllowed"


def test_an_edit_to_what_is_refused_keeps_the_task_that_runs() -> None:
    was = running(namespace="team-a")
    edited = template(image="evil.org/app")
    seen = replace(was, spec=parse_spec(edited), spec_json=edited)
    rested, plan = settled(seen, STRICT)
    assert not any(isinstance(each, StopTask) for each in plan.actions)
    assert rested.status.phase == Phase.RUNNING
    by_type = {each.type: each for each in rested.status.conditions}
    assert (by_type["Stalled"].status, by_type["Stalled"].reason) == ("True", "NotAllowed")
    assert by_type["Ready"].status == "True"
    back, _ = settled(replace(rested, spec=was.spec, spec_json=was.spec_json), STRICT)
    stalled = next(each for each in back.status.conditions if each.type == "Stalled")
    assert stalled.status == "False"


def test_a_refused_object_is_launched_once_the_settings_allow_it() -> None:
    view = definition(DefinitionContainer("app", image="evil.org/app"))
    seen = observation(namespace="team-a", definition=view, launch=Launch(1, certain=True))
    rested, plan = settled(seen, STRICT)
    assert plan.actions == ()
    wider = replace(STRICT, allow=Allow((TEAM, replace(OPS, namespaces=("team-a",)))))
    _, plan = settled(rested, wider)
    assert isinstance(plan.actions[0], RunTask)


def test_a_finished_object_stays_finished_under_a_narrower_list() -> None:
    spec = {"taskDefinition": "web", "restartPolicy": "Never", "region": "us-west-2"}
    assert asked(spec)
    end = stopped(exit_code=0, spec_hash=spec_hash(spec))
    done, _ = settled(replace(running(spec, namespace="team-a"), tasks=(end,)), STRICT)
    assert done.status.phase == Phase.SUCCEEDED


# --- adoption ---


def test_only_a_rule_lets_a_task_be_adopted() -> None:
    task = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/apps-1/0123"
    assert permits.adoptable(STRICT, "team-a", task)
    assert not permits.adoptable(STRICT, "ops", task)
    assert not permits.adoptable(STRICT, "team-a", task.replace("apps-1", "apps-2"))
    assert not permits.adoptable(POLICY, "team-a", task)


# --- whatever is looked at ---

SPECS = st.sampled_from([*ALLOWED, *(spec for spec, _ in REFUSED)])
DEFINITIONS = st.builds(
    lambda role, pull, image: definition(
        DefinitionContainer("app", image=image), task_role=role, execution_role=pull
    ),
    st.sampled_from(["", ROLES + "app-web", ROLES + "admin", "app-web"]),
    st.sampled_from(["", ROLES + "pull", ROLES + "admin"]),
    st.sampled_from(["nginx:1", "evil.org/x", ""]),
)


APPS = ClusterArn(CLUSTER.replace("/main", "/apps-1"))
STRAYS = {
    each: world.task(arn=each, cluster_arn=where, started_by="somebody", spec_hash="")
    for where in (CLUSTER, APPS)
    for each in (world.arn("stray", where),)
}
"""Running tasks that others launched, by ARN: one may be adopted by the rules, one may not."""


NAMESPACES = st.sampled_from(["team-a", "team-a", "team-b", "ops", "default"])
TARGETS = st.sampled_from(
    [
        cluster(),
        cluster(info=ClusterInfo(APPS, "apps-1", "ACTIVE")),
        cluster(info=ClusterInfo(ELSEWHERE, "other", "ACTIVE")),
    ]
)


@st.composite
def views(draw: Any, spec: Mapping[str, Any]) -> DefinitionView:
    """What a spec's task definition turned out to be."""
    view: DefinitionView = draw(DEFINITIONS)
    assert view.result is not None
    return replace(view, reference=spec.get("taskDefinition", view.result.arn))


@st.composite
def inviting(draw: Any) -> Observation:
    """Nothing but the lists stands in the way; the status may claim an attempt, armed just now."""
    spec, target, wish = draw(SPECS), draw(TARGETS), draw(st.sampled_from(["", *STRAYS]))
    claimed = st.sampled_from([target.info.arn, CLUSTER])
    pinned = st.sampled_from([DEFINITION, DEFINITION, DEFINITION.replace("web:1", "web:2"), ""])
    forged = attempt(
        cluster_arn=draw(claimed), definition_arn=draw(pinned), issued_by=STRICT.process
    )
    return observation(
        spec,
        namespace=draw(NAMESPACES),
        target=target,
        home=target,
        definition=draw(views(spec)),
        status=Status(attempt=draw(st.sampled_from([None, forged]))),
        launch=Launch(1, certain=True),
        tasks=tuple(STRAYS.values()),
        annotations={ADOPT: wish} if wish else {},
    )


@st.composite
def contradictory(draw: Any) -> Observation:
    """A view of the other property tests, of a spec that may name what is refused."""
    seen: Observation = draw(observations())
    spec = draw(SPECS)
    return replace(
        seen,
        namespace=draw(NAMESPACES),
        spec=parse_spec(spec),
        spec_json=spec,
        spec_errors=(),
        definition=draw(views(spec)),
    )


def within(seen: Observation, plan: Plan) -> int:
    """How many launches, registrations and takings a plan holds; fails if one is outside the lists.

    Written out again here, from what is sent alone, so that it does not share the code's mistakes.
    """
    rules = [each for each in STRICT.allow.rules if matches(each.namespaces, seen.namespace)]

    def listed(field: str, value: str, *own: str) -> bool:
        patterns = tuple(one for rule in rules for one in getattr(rule, field))
        return value in ("", *own) or matches(patterns, value)

    count = 0
    for action in plan.actions:
        match action:
            case RunTask():
                count += 1
                assert seen.definition is not None
                found = seen.definition.result
                assert found is not None
                assert action.request["taskDefinition"] == found.arn
                assert set(action.request["overrides"]) == {"containerOverrides"}
                arn = action.request["cluster"]
                assert action.region == region_of(arn)
                assert listed("regions", region_of(arn), REGION)
                assert listed("clusters", arn, CLUSTER) or listed("clusters", arn.split("/")[1])
                assert listed("task_roles", found.task_role)
                assert listed("execution_roles", found.execution_role)
                assert found.containers
                for each in found.containers:
                    assert listed("images", each.image or "(unknown)")
                network = action.request.get("networkConfiguration", {})
                settings_ = network.get("awsvpcConfiguration", {})
                for subnet in settings_.get("subnets", ()):
                    assert listed("subnets", subnet, *STRICT.subnets)
                for group in settings_.get("securityGroups", ()):
                    assert listed("security_groups", group, *STRICT.security_groups)
            case Ensure():
                count += 1
                body = action.registration
                assert listed("task_roles", body.get("taskRoleArn", ""))
                assert listed("execution_roles", body.get("executionRoleArn", ""))
                assert all(listed("images", one["image"]) for one in body["containerDefinitions"])
            case TagTask():
                count += 1
                task = next((one for one in seen.tasks if one.arn == action.arn), None)
                ours = task is not None and task.started_by.startswith(f"fc/ins/{seen.uid}/")
                assert ours or listed("adoptable", action.arn)
            case _:
                pass
    return count


def follow(seen: Observation) -> None:
    """The decisions that follow from a view, each within the lists."""
    for _ in range(6):
        plan = decide(seen, STRICT)
        within(seen, plan)
        match plan.actions:
            case (WriteStatus(status=status), *_):
                seen = replace(seen, status=world.stored(status))
            case _:
                return


@settings(max_examples=400)
@given(inviting())
def test_nothing_leads_to_a_launch_outside_the_lists(seen: Observation) -> None:
    follow(seen)


@given(contradictory())
def test_no_contradiction_leads_to_a_launch_outside_the_lists(seen: Observation) -> None:
    follow(seen)


def test_the_property_sees_launches_registrations_and_adoptions() -> None:
    seen, plan = launched({"taskDefinition": "web"})
    assert within(seen, plan) == 1
    seen = observation(template(), definition=None, namespace="team-a")
    assert within(seen, decide(seen, STRICT)) == 1
    arn = world.arn("stray", APPS)
    seen = observation(
        namespace="team-a",
        target=cluster(info=ClusterInfo(APPS, "apps-1", "ACTIVE")),
        tasks=(STRAYS[arn],),
        annotations={ADOPT: arn},
    )
    assert within(*settled(seen, STRICT)) == 1
    _, plan = settled(replace(seen, namespace="ops"), STRICT)
    assert plan.actions == ()


# --- places ---


@pytest.mark.parametrize(
    ("region", "reference", "allowed"),
    [
        (REGION, "apps-1", True),
        (REGION, f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/exact", True),
        (REGION, "made-up", False),
        ("aa-north-1", "apps-1", False),
        (POLICY.region, POLICY.cluster, True),
    ],
)
def test_a_place_is_looked_at_only_if_both_its_names_are_listed(
    region: str, reference: str, allowed: bool
) -> None:
    assert permits.place(STRICT, "team-a", region, reference) is allowed
    assert permits.place(POLICY, "team-a", region, reference), "without a list all is allowed"


def test_an_object_that_names_a_refused_place_is_told_so_though_nothing_is_seen_there() -> None:
    """The shell does not look at such a place: the core hears of no target."""
    spec = {**template(image="nginx:1"), "region": "aa-north-1"}
    refusal = "spec.region: aa-north-1 is not allowed in namespace team-a."
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/apps-1/0123"
    for annotations in ({}, {ADOPT: arn}):
        seen = replace(
            observation(spec=spec, annotations=annotations), namespace="team-a", target=None
        )
        phase, reason, message = situation(decide(seen, STRICT))
        assert (phase, reason) == ("Failed", "NotAllowed")
        assert message.startswith(refusal)
