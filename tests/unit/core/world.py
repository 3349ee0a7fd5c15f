"""Builders of what a decision looks at, shared by the tests of the core."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fractal_models.container import Attempt, InvalidSpec, Role, Spec, Status, Task, parse_spec
from fractal_models.observed import (
    Address,
    ClusterArn,
    ClusterInfo,
    DefinitionContainer,
    ObservedContainer,
    ObservedTask,
    TaskArn,
    TaskDefinition,
)
from fractal_operator.core import tokens
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    FINALIZER,
    ClusterView,
    DefinitionView,
    Launch,
    Observation,
    Plan,
    Policy,
    WriteStatus,
)

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
REGION = "us-east-1"
ACCOUNT = "123456789012"
CLUSTER = ClusterArn(f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/main")
ELSEWHERE = ClusterArn(f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/other")
DEFINITION = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/web:1"
UID = "4a1f0c7e-0000-4000-8000-000000000001"
POLICY = Policy(install="ins", region=REGION, cluster="main", subnets=("subnet-1",))
SPEC: Mapping[str, Any] = {"taskDefinition": "web"}
HASH = tokens.spec_hash(SPEC) or ""
TEMPLATE: Mapping[str, Any] = {"image": "nginx:1", "cpuUnits": 256, "memoryMiB": 512}


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def started_by(number: int, *, uid: str = UID, install: str = "ins") -> str:
    return tokens.started_by(install, uid, number)


def arn(name: str = "1", cluster: str = CLUSTER) -> TaskArn:
    return TaskArn(cluster.replace(":cluster/", ":task/") + f"/{name}")


def task(number: int = 1, last_status: str = "RUNNING", **changes: Any) -> ObservedTask:
    """What ECS shows of the task of an attempt of ours."""
    fields: dict[str, Any] = {
        "arn": arn(str(number)),
        "cluster_arn": CLUSTER,
        "observed_at": NOW,
        "last_status": last_status,
        "definition_arn": DEFINITION,
        "started_by": started_by(number),
        "spec_hash": HASH,
        "launch_type": "FARGATE",
        "created_at": ago(100),
        "containers": (ObservedContainer("app"),),
    }
    if last_status == "RUNNING":
        fields["started_at"] = ago(60)
    return ObservedTask(**fields | changes)


def stopped(number: int = 1, exit_code: int | None = 1, **changes: Any) -> ObservedTask:
    fields: dict[str, Any] = {
        "desired_status": "STOPPED",
        "stop_code": "EssentialContainerExited",
        "stopped_reason": "Essential container in task exited",
        "started_at": ago(60),
        "stopped_at": NOW,
        "containers": (ObservedContainer("app", "STOPPED", exit_code),),
    }
    return task(number, "STOPPED", **fields | changes)


def attempt(number: int = 1, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "number": number,
        "cluster_arn": CLUSTER,
        "definition_arn": DEFINITION,
        "container_name": "app",
        "spec_hash": HASH,
        "first_issued_at": NOW,
        "last_issued_at": NOW,
    }
    return Attempt(**fields | changes)


def entry(number: int = 1, last_status: str = "RUNNING", **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "attempt": number,
        "role": Role.CURRENT,
        "arn": arn(str(number)),
        "definition_arn": DEFINITION,
        "last_status": last_status,
        "since": ago(60),
    }
    return Task(**fields | changes)


def retiring(number: int = 1, reason: str = "Replaced", **changes: Any) -> Task:
    return entry(number, role=Role.RETIRING, reason=reason, **changes)


def cluster(**changes: Any) -> ClusterView:
    """The target: known, active, swept, open."""
    fields: dict[str, Any] = {
        "region": REGION,
        "reference": "main",
        "info": ClusterInfo(CLUSTER, "main", "ACTIVE"),
        "known": True,
        "swept_since": ago(30),
        "account": ACCOUNT,
    }
    return ClusterView(**fields | changes)


def definition(
    *containers: DefinitionContainer, at: datetime = NOW, **changes: Any
) -> DefinitionView:
    fields: dict[str, Any] = {
        "arn": DEFINITION,
        "status": "ACTIVE",
        "network_mode": "bridge",
        "containers": containers or (DefinitionContainer("app"),),
    }
    return DefinitionView("web", at, TaskDefinition(**fields | changes))


def observation(spec: Mapping[str, Any] = SPEC, **changes: Any) -> Observation:
    """An object with our finalizer and nothing else; nothing stands in the way of a launch."""
    parsed: Spec | None = None
    errors: tuple[str, ...] = ()
    try:
        parsed = parse_spec(spec)
    except InvalidSpec as error:
        errors = error.errors
    status = changes.get("status", Status())
    fields: dict[str, Any] = {
        "now": NOW,
        "namespace": "default",
        "name": "box",
        "uid": UID,
        "generation": 1,
        "deleting_since": None,
        "finalizers": (FINALIZER,),
        "annotations": {},
        "spec": parsed,
        "spec_errors": errors,
        "spec_json": spec,
        "status": status,
        "target": cluster(),
        "home": cluster() if status.attempt else None,
        "definition": definition(),
        "created_at": NOW,
    }
    return Observation(**fields | changes)


def running(spec: Mapping[str, Any] = SPEC, **changes: Any) -> Observation:
    """An object whose task runs, with the status that the operator wrote about it."""
    seen = observation(
        spec,
        status=Status(attempt=attempt(spec_hash=tokens.spec_hash(spec)), tasks=(entry(),)),
        tasks=(task(spec_hash=tokens.spec_hash(spec)),),
        addresses={arn(): Address("203.0.113.7", "10.0.0.7")},
    )
    return replace(settled(seen)[0], **changes)


def written(plan: Plan) -> Status:
    """The status that a plan writes; fails if that is not all it does."""
    (action,) = plan.actions
    assert isinstance(action, WriteStatus)
    return action.status


def stored(status: Status) -> Status:
    """A status as it comes back from the API."""
    return Status.from_json(status.to_json())


def settled(seen: Observation, policy: Policy = POLICY) -> tuple[Observation, Plan]:
    """The observation after all status writes that follow from it at once, and the plan then."""
    for _ in range(8):
        plan = decide(seen, policy)
        if not plan.actions or not isinstance(plan.actions[0], WriteStatus):
            return seen, plan
        (action,) = plan.actions
        assert isinstance(action, WriteStatus)
        if action.arms and (seen.launch is None or seen.launch.attempt != action.arms):
            before = seen.status.attempt
            first = before is None or before.number != action.arms
            seen = replace(seen, launch=Launch(action.arms, certain=first))
        seen = replace(seen, status=stored(action.status))
        if seen.home is None and seen.status.attempt is not None:
            seen = replace(seen, home=cluster(reference=seen.status.attempt.cluster_arn))
    raise AssertionError(f"writes without end: {plan}")
