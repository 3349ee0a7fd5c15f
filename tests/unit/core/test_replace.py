"""The current task: kept, replaced, timed out, ready or not; and what an upgrade leaves alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import (
    CLUSTER,
    DEFINITION,
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
    entry,
    observation,
    retiring,
    running,
    settled,
    stopped,
    task,
    written,
)

from fractal_models.container import EndpointPort, Status
from fractal_models.observed import (
    Address,
    DefinitionContainer,
    ObservedContainer,
    PortBinding,
    TaskDefinition,
)
from fractal_operator.core.annotations import RECONCILE_REQUESTED
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    DefinitionView,
    Observation,
    Plan,
    Problem,
    Resolve,
    RunTask,
    StopTask,
)


def conditions(seen: Observation) -> dict[str, tuple[str, str]]:
    return {each.type: (str(each.status), each.reason) for each in seen.status.conditions}


# --- converged ---


def test_a_running_object_needs_nothing() -> None:
    seen = running()
    assert decide(seen, POLICY) == Plan()
    assert str(seen.status.phase) == "Running"
    assert conditions(seen) == {
        "Ready": ("True", "TaskRunning"),
        "Reconciling": ("False", "Settled"),
        "Stalled": ("False", "NotStalled"),
        "Synced": ("True", "ReconcileSuccess"),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"now": NOW + timedelta(days=400)},
        {"tasks": (), "addresses": {}, "home": cluster(swept_since=None), "target": cluster()},
        {"tasks": (), "addresses": {}, "home": None, "target": None},
        {"target": cluster(known=False, info=None, swept_since=None)},
        {"home": cluster(paused="many lost"), "target": cluster(paused="many lost")},
        {"definition": None},
        {"breaker": Problem("AccessDenied", "no", NOW)},
    ],
    ids=["later", "restarted", "nothing known", "no cluster", "paused", "no definition", "breaker"],
)
def test_a_running_object_is_left_alone_and_silent(changes: dict[str, Any]) -> None:
    assert decide(running(**changes), POLICY) == Plan()


def test_a_handled_request_costs_one_write() -> None:
    seen, plan = settled(running(annotations={RECONCILE_REQUESTED: "t1"}))
    assert plan == Plan()
    assert seen.status.last_handled_reconcile_at == "t1"


# --- replaced ---


def test_an_edit_retires_the_task_then_stops_it_then_launches() -> None:
    edited = {**SPEC, "dpi": 96}
    seen = replace(running(), spec_json=edited, spec=observation(edited).spec, generation=2)
    seen, plan = settled(seen)
    assert plan.actions == (
        StopTask(REGION, CLUSTER, arn(), "replaced after an edit of the FractalContainer"),
    )
    assert str(seen.status.phase) == "Updating"
    assert conditions(seen)["Ready"] == ("False", "Replacing")
    after = written(decide(replace(seen, tasks=(stopped(),)), POLICY))
    assert after.attempt is not None
    assert (after.attempt.number, after.attempt.failures) == (2, 0)
    assert [each.stop_code for each in after.last_terminations] == ["Replaced"]


@pytest.mark.parametrize(
    ("recorded", "shown", "replaced"),
    [
        ("", "", False),
        ("v9:x", "", False),
        ("v9:x", "v9:y", False),
        ("v1:x", "", True),
        ("v1:x", "v9:y", False),
        ("v9:x", "v1:y", True),
        ("", "v1:y", True),
    ],
)
def test_the_recorded_version_decides_and_ignorance_restarts_nothing(
    recorded: str, shown: str, replaced: bool
) -> None:
    status = Status(attempt=attempt(spec_hash=recorded), tasks=(entry(),))
    seen = observation(status=status, tasks=(task(spec_hash=shown),))
    seen, _ = settled(seen)
    assert (str(seen.status.phase) == "Updating") is replaced


def test_a_hash_of_another_attempt_says_nothing_of_the_current_task() -> None:
    status = Status(attempt=attempt(2, spec_hash="v1:x"), tasks=(entry(1),))
    seen, _ = settled(observation(status=status))
    assert [str(each.role) for each in seen.status.tasks] == ["Current"]


def test_two_retiring_tasks_are_both_stopped_before_a_launch() -> None:
    status = Status(attempt=attempt(2), tasks=(retiring(1), retiring(2)))
    seen, plan = settled(observation(status=status, tasks=(task(1), task(2))))
    assert {each.arn for each in plan.actions if isinstance(each, StopTask)} == {
        arn("1"),
        arn("2"),
    }
    _, plan = settled(replace(seen, tasks=(stopped(1), task(2))))
    assert not any(isinstance(each, RunTask) for each in plan.actions)


# --- timeouts ---

LIMITS = {"provisioningSeconds": 100, "startSeconds": 50, "lifetimeSeconds": 1000}


@pytest.mark.parametrize(
    ("known", "shown", "since", "over"),
    [
        ("PROVISIONING", "PROVISIONING", 99, False),
        ("PROVISIONING", "PROVISIONING", 100, True),
        ("PROVISIONING", "PENDING", 59, False),
        ("PENDING", "PENDING", 49, False),
        ("PENDING", "PENDING", 50, True),
        ("ACTIVATING", "ACTIVATING", 50, True),
        ("STRANGE", "STRANGE", 9999, False),
        ("DEPROVISIONING", "DEPROVISIONING", 9999, False),
    ],
)
def test_start_timeouts(known: str, shown: str, since: int, over: bool) -> None:
    status = Status(attempt=attempt(), tasks=(entry(1, known, since=ago(since)),))
    spec = {**SPEC, "timeouts": LIMITS}
    seen, plan = settled(observation(spec, status=status, tasks=(task(1, shown),)))
    (found,) = seen.status.tasks
    code = "ProvisioningTimeout" if shown == "PROVISIONING" else "StartTimeout"
    assert found.reason == (code if over else "")
    assert any(isinstance(each, StopTask) for each in plan.actions) is over


def test_a_fast_provisioning_is_never_taken_from_the_time_to_start() -> None:
    spec = {**SPEC, "timeouts": {"startSeconds": 10}}
    for since, over in ((60, False), (69, False)):
        status = Status(attempt=attempt(), tasks=(entry(1, "PROVISIONING", since=ago(since)),))
        seen, _ = settled(observation(spec, status=status, tasks=(task(1, "PENDING"),)))
        assert (seen.status.tasks[0].reason == "StartTimeout") is over
    status = Status(attempt=attempt(), tasks=(entry(1, "PROVISIONING", since=ago(60)),))
    _, plan = settled(observation(spec, status=status, tasks=(task(1, "PENDING"),)))
    assert plan.again_at == NOW + timedelta(seconds=10)


def test_a_deadline_needs_a_sight_of_the_task_and_does_not_spin() -> None:
    status = Status(attempt=attempt(), tasks=(entry(1, "PENDING", since=ago(700)),))
    for tasks, soon in (((task(1, "PENDING", observed_at=ago(101)),), 10), ((), 60)):
        seen, plan = settled(observation(status=status, tasks=tasks))
        assert seen.status.tasks[0].reason == ""
        assert plan.again_at == NOW + timedelta(seconds=soon)


def test_a_start_timeout_counts_and_is_followed_by_another_try() -> None:
    status = Status(attempt=attempt(), tasks=(retiring(reason="StartTimeout"),))
    end = stopped(started_at=None, stop_code="UserInitiated")
    seen, plan = settled(observation(status=status, tasks=(end,)))
    assert seen.status.attempt is not None
    assert seen.status.attempt.failures == 1
    assert conditions(seen)["Ready"][1] == "StartTimeout"
    assert plan.again_at is not None


def test_a_lifetime_ends_as_expired_and_nothing_follows() -> None:
    spec = {**SPEC, "timeouts": LIMITS}
    seen, plan = settled(running(spec))
    assert seen.status.will_stop_at == ago(60) + timedelta(seconds=1000)
    assert plan == Plan(again_at=seen.status.will_stop_at - timedelta(seconds=100))
    end = NOW + timedelta(seconds=940)
    seen, plan = settled(replace(seen, now=end, tasks=(task(observed_at=end),)))
    assert plan.actions == (
        StopTask(REGION, CLUSTER, arn(), "reached spec.timeouts.lifetimeSeconds"),
    )
    assert (str(seen.status.phase), conditions(seen)["Ready"][1]) == ("Stopping", "Expiring")
    seen, plan = settled(replace(seen, tasks=(stopped(),)))
    assert (plan, str(seen.status.phase)) == (Plan(), "Succeeded")
    assert conditions(seen)["Reconciling"] == ("False", "Expired")


# --- ready ---


def starting(spec: Any = SPEC, **changes: Any) -> Observation:
    """An object whose task runs, of which the status does not know yet."""
    fields: dict[str, Any] = {
        "status": Status(attempt=attempt(), tasks=(entry(1, "PENDING"),)),
        "tasks": (task(),),
        "addresses": {arn(): Address("203.0.113.7", "10.0.0.7")},
    }
    seen = observation(spec, **fields | changes)
    hashed = running(spec).status.attempt
    return replace(
        seen,
        status=seen.status.model_copy(update={"attempt": hashed}),
        tasks=tuple(
            replace(each, spec_hash=hashed.spec_hash if hashed else "") for each in seen.tasks
        ),
    )


def test_running_and_reachable_is_ready_in_one_write() -> None:
    status = written(decide(starting(), POLICY))
    assert status.endpoint is not None
    assert (status.endpoint.ip, status.endpoint.private_ip) == ("203.0.113.7", "10.0.0.7")
    assert status.ready_at == NOW
    assert status.placement is not None
    assert (status.placement.rung, status.placement.capacity_provider) == (0, "FARGATE")


@pytest.mark.parametrize("address", [None, Address("", "")])
def test_without_an_address_it_is_not_ready(address: Any) -> None:
    seen, _ = settled(starting(addresses={arn(): address} if address else {}))
    assert conditions(seen)["Ready"] == ("False", "EndpointPending")
    assert seen.status.endpoint is None
    seen, _ = settled(replace(seen, addresses={arn(): Address("", "10.0.0.7")}))
    assert seen.status.endpoint is not None
    assert seen.status.endpoint.ip == "10.0.0.7"


CHECKED = {"template": {**TEMPLATE, "healthCheck": {"command": ["CMD", "true"]}}}


def checked_definition(**changes: Any) -> DefinitionView:
    main = DefinitionContainer("app", has_health_check=True)
    side = DefinitionContainer("log", essential=False)
    return definition(main, side, **changes)


@pytest.mark.parametrize(
    ("spec", "view", "health", "reason"),
    [
        (SPEC, definition(), "UNKNOWN", "TaskRunning"),
        (SPEC, checked_definition(), "UNKNOWN", "HealthCheckPending"),
        (SPEC, checked_definition(), "HEALTHY", "TaskRunning"),
        (SPEC, checked_definition(), "UNHEALTHY", "Unhealthy"),
        (
            SPEC,
            definition(
                DefinitionContainer("app"),
                DefinitionContainer("log", essential=False, has_health_check=True),
            ),
            "UNKNOWN",
            "TaskRunning",
        ),
        (SPEC, DefinitionView(DEFINITION, NOW), "UNKNOWN", "TaskRunning"),
        (
            SPEC,
            DefinitionView(DEFINITION, NOW, problem=Problem("Throttled", "slow", NOW)),
            "UNKNOWN",
            "HealthCheckPending",
        ),
        ({"template": TEMPLATE}, None, "UNKNOWN", "TaskRunning"),
        (CHECKED, None, "UNKNOWN", "HealthCheckPending"),
        (CHECKED, None, "HEALTHY", "TaskRunning"),
        (CHECKED, None, "UNHEALTHY", "Unhealthy"),
    ],
)
def test_ready_waits_for_the_health_check_where_there_is_one(
    spec: Any, view: Any, health: str, reason: str
) -> None:
    seen, plan = settled(starting(spec, definition=view, tasks=(task(health=health),)))
    assert conditions(seen)["Ready"] == (str(reason == "TaskRunning"), reason)
    waits = view is not None and view.problem is not None
    assert (plan.again_at is not None) is waits
    assert not any(isinstance(each, StopTask) for each in plan.actions)


def test_whether_there_is_a_health_check_is_asked_of_the_task_s_own_revision() -> None:
    assert decide(starting(definition=None), POLICY).actions == (Resolve(REGION, DEFINITION),)
    assert running(definition=None).status.ready_at is not None


def test_an_unhealthy_task_is_not_ready_and_not_replaced() -> None:
    seen, plan = settled(running(tasks=(task(health="UNHEALTHY"),)))
    assert plan == Plan()
    assert conditions(seen)["Ready"] == ("False", "Unhealthy")
    assert (seen.status.endpoint, seen.status.ready_at) == (None, None)
    back, _ = settled(
        replace(seen, tasks=(task(health="HEALTHY"),), now=NOW + timedelta(seconds=9))
    )
    assert conditions(back)["Ready"][0] == "True"
    assert back.status.ready_at == NOW + timedelta(seconds=9)


def test_a_task_on_its_way_out_is_not_ready() -> None:
    seen, plan = settled(running(tasks=(task(1, "DEACTIVATING"),)))
    assert (str(seen.status.phase), conditions(seen)["Ready"][1]) == ("Stopping", "Stopping")
    assert not plan.actions


PORTS = {
    "template": {
        **TEMPLATE,
        "ports": [
            {"name": "web", "containerPort": 80},
            {"name": "dns", "containerPort": 53, "protocol": "udp"},
        ],
    }
}


@pytest.mark.parametrize(
    ("bindings", "ports"),
    [
        ((), [("dns", 53, 53, "udp"), ("web", 80, 80, "tcp")]),
        (
            (PortBinding(80, 32768), PortBinding(8125, 32769, "udp")),
            [("web", 80, 32768, "tcp"), ("", 8125, 32769, "udp")],
        ),
        ((PortBinding(80, 0), PortBinding(0, 1), PortBinding(1, 70000)), [("web", 80, 0, "tcp")]),
    ],
)
def test_ports_are_the_ones_ecs_bound_else_the_templates(bindings: Any, ports: Any) -> None:
    shown = task(containers=(ObservedContainer("main", bindings=bindings),))
    seen, _ = settled(starting(PORTS, tasks=(shown,)))
    assert seen.status.endpoint is not None
    assert list(seen.status.endpoint.ports) == [
        EndpointPort(name=name, container_port=inner, host_port=outer, protocol=protocol)
        for name, inner, outer, protocol in ports
    ]


def test_no_more_ports_are_told_than_a_status_holds() -> None:
    bound = tuple(PortBinding(n, n) for n in range(1, 200))
    shown = task(containers=(ObservedContainer("app", bindings=bound),))
    seen, _ = settled(starting(tasks=(shown,)))
    assert seen.status.endpoint is not None
    assert len(seen.status.endpoint.ports) == 100


def test_the_capacity_provider_is_told_where_there_is_one() -> None:
    seen, _ = settled(running(tasks=(task(capacity_provider="FARGATE_SPOT"),)))
    assert seen.status.placement is not None
    assert seen.status.placement.capacity_provider == "FARGATE_SPOT"
    again, _ = settled(replace(seen, tasks=()))
    assert again.status.placement == seen.status.placement
    fresh = Status(attempt=attempt(), tasks=(entry(),))
    nothing, _ = settled(observation(status=fresh))
    assert nothing.status.placement is not None
    assert nothing.status.placement.capacity_provider == ""


# --- synced ---


@pytest.mark.parametrize(("age", "value"), [(60, "True"), (61, "False")])
def test_synced_is_false_while_a_moving_task_is_unobserved(age: int, value: str) -> None:
    status = Status(attempt=attempt(), tasks=(entry(1, "PENDING"),))
    seen, plan = settled(
        observation(status=status, tasks=(task(1, "PENDING", observed_at=ago(age)),))
    )
    assert conditions(seen)["Synced"][0] == value
    assert plan.again_at is not None
    assert plan.again_at <= NOW + timedelta(seconds=60)


def test_synced_is_unknown_before_the_first_look_and_kept_over_a_restart() -> None:
    dark = {"tasks": (), "home": None, "target": cluster(swept_since=None)}
    seen, _ = settled(observation(target=cluster(swept_since=None)))
    assert conditions(seen)["Synced"] == ("Unknown", "NotObserved")
    status = Status(attempt=attempt(), tasks=(entry(1, "PENDING", since=ago(900)),))
    known, _ = settled(observation(status=status, tasks=(task(1, "PENDING"),)))
    assert conditions(known)["Synced"][0] == "True"
    assert decide(replace(known, **dark), POLICY).actions == ()  # type: ignore[arg-type]


# --- a spec that cannot be read ---

BROKEN = {"taskDefinition": "web", "noSuchField": 1}


def broken(seen: Observation) -> Observation:
    bad = observation(BROKEN)
    return replace(seen, spec=None, spec_errors=bad.spec_errors, spec_json=BROKEN)


def test_an_unreadable_spec_touches_no_task() -> None:
    seen, plan = settled(broken(running()))
    assert plan == Plan()
    assert conditions(seen)["Ready"][0] == "True"
    assert conditions(seen)["Stalled"] == ("True", "InvalidSpec")
    assert seen.status.endpoint is not None
    assert "spec.noSuchField: unknown field" in seen.status.message


@pytest.mark.parametrize(
    "seen",
    [
        observation(),
        observation(status=Status(attempt=attempt())),
        starting(),
        running(tasks=(task(health="UNHEALTHY"),)),
        running(tasks=(stopped(),)),
    ],
    ids=["new", "armed", "starting", "unhealthy", "ended"],
)
def test_an_unreadable_spec_launches_nothing_and_is_not_ready(seen: Observation) -> None:
    seen, plan = settled(broken(seen))
    assert plan.actions == ()
    assert (str(seen.status.phase), conditions(seen)["Ready"][0]) == ("Failed", "False")


def test_an_unreadable_object_can_be_deleted() -> None:
    _, plan = settled(replace(broken(running()), deleting_since=NOW))
    assert [type(each) for each in plan.actions] == [StopTask]


def test_a_definition_without_containers_has_no_check() -> None:
    empty = DefinitionView(
        DEFINITION, NOW, TaskDefinition(DEFINITION, "ACTIVE", "bridge", containers=())
    )
    seen, _ = settled(starting(definition=empty))
    assert conditions(seen)["Ready"][0] == "True"
