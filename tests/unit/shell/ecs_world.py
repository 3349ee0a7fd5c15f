"""The ECS of the fakes: what the API reference promises, and no more.

A task shows up in lists and descriptions only ``lag`` seconds after RunTask: until then it is
MISSING. A client token is bound to the first body sent under it: the same body gets the same task
(a stopped one without its details), another body a TokenConflict. Nothing moves by itself.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tests.unit.shell.wire import FakeClock

from fractal_models.errors import Rejected, TokenConflict
from fractal_models.observed import (
    Address,
    ClusterArn,
    ClusterInfo,
    DefinitionContainer,
    DescribeTasksResult,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    RunTaskResult,
    TaskArn,
    TaskDefinition,
)

REGION = "us-east-1"
ACCOUNT = "123456789012"
ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
MAIN = ClusterArn(f"{ARN}:cluster/main")
OTHER = ClusterArn(f"{ARN}:cluster/other")
WEB = f"{ARN}:task-definition/web:1"
START_ORDER = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING")


def task_arn(name: str, cluster: str = MAIN) -> TaskArn:
    return TaskArn(cluster.replace(":cluster/", ":task/") + f"/{name}")


def _definition(arn: str, *names: str) -> TaskDefinition:
    return TaskDefinition(arn, "ACTIVE", "bridge", tuple(map(DefinitionContainer, names)))


@dataclass
class EcsWorld:
    """ECS in one account and region, and what happens there without us.

    ``unplaced``: the failures with which the next RunTasks answer instead of a task; ``permits``:
    how many calls of RunTask and StopTask the rate limit allows (not named: any number).
    """

    clock: FakeClock
    lag: float = 0.0
    permits: dict[str, int] = field(default_factory=dict)
    unplaced: deque[tuple[LaunchFailure, ...]] = field(default_factory=deque)
    tasks: dict[TaskArn, ObservedTask] = field(default_factory=dict)
    clusters: dict[str, ClusterInfo] = field(
        default_factory=lambda: {
            arn: ClusterInfo(arn, arn.rpartition("/")[2], "ACTIVE") for arn in (MAIN, OTHER)
        }
    )
    definitions: dict[str, TaskDefinition] = field(
        default_factory=lambda: {WEB: _definition(WEB, "app")}
    )
    addresses: dict[TaskArn, Address] = field(default_factory=dict)
    tags: dict[TaskArn, dict[str, str]] = field(default_factory=dict)
    launches: list[str] = field(default_factory=list)
    most_live: dict[str, int] = field(default_factory=dict)
    _bound: dict[tuple[str, str], tuple[str, TaskArn]] = field(default_factory=dict)

    # --- what happens there ---

    def put(self, name: str, started_by: str = "", cluster: str = MAIN, **facts: Any) -> TaskArn:
        """A task that is there, whoever launched it."""
        arn = task_arn(name, cluster)
        task = ObservedTask(
            arn=arn,
            cluster_arn=ClusterArn(cluster),
            observed_at=self.clock.now(),
            last_status="RUNNING",
            started_by=started_by,
            definition_arn=WEB,
            version=1,
            created_at=self.clock.now() - timedelta(hours=1),
            started_at=self.clock.now() - timedelta(hours=1),
            containers=(ObservedContainer("app", "RUNNING"),),
        )
        self.tasks[arn] = replace(task, **facts)
        self.addresses[arn] = Address(f"203.0.113.{len(self.tasks)}", f"10.0.0.{len(self.tasks)}")
        return arn

    def change(self, arn: TaskArn, **facts: Any) -> None:
        task = self.tasks[arn]
        self.tasks[arn] = replace(task, version=(task.version or 0) + 1, **facts)

    def go(self, arn: TaskArn, status: str) -> None:
        """Move a task that starts to the state it reaches next."""
        started = self.clock.now() if status == "RUNNING" else None
        self.change(arn, last_status=status, started_at=started)

    def end(self, arn: TaskArn, code: int = 1, stop_code: str = "EssentialContainerExited") -> None:
        task = self.tasks[arn]
        self.change(
            arn,
            last_status="STOPPED",
            desired_status="STOPPED",
            stop_code=task.stop_code or stop_code,
            stopped_reason=task.stopped_reason or "Essential container in task exited",
            stopped_at=self.clock.now(),
            containers=(ObservedContainer("app", "STOPPED", code),),
        )

    def settle(self) -> None:
        """Whatever starts runs, whatever was told to stop has stopped."""
        for arn, task in self.tasks.items():
            if task.live and task.desired_status == "STOPPED":
                self.end(arn, 137)
            elif task.live and task.last_status != "RUNNING":
                self.go(arn, "RUNNING")

    def live(self, part: str = "") -> list[TaskArn]:
        """The tasks that cost money, of all whose startedBy contains ``part``."""
        return [arn for arn, task in self.tasks.items() if task.live and part in task.started_by]

    # --- what ECS answers ---

    def run_task(self, request: Mapping[str, Any]) -> RunTaskResult:
        cluster = self._cluster(request["cluster"])
        key, body = (cluster, request["clientToken"]), json.dumps(request, sort_keys=True)
        if key in self._bound:
            first, arn = self._bound[key]
            if first != body:
                raise TokenConflict(
                    "the token is bound", code="ConflictException", resource_ids=(arn,)
                )
            return RunTaskResult((self._replayed(arn),), ())
        definition = self.definitions.get(request["taskDefinition"])
        if definition is None or definition.status != "ACTIVE":
            raise Rejected("TaskDefinition is inactive", code="ClientException")
        if self.unplaced:
            return RunTaskResult((), self.unplaced.popleft())
        arn = self._launch(cluster, request)
        self._bound[key] = (body, arn)
        return RunTaskResult((self._shown(arn),), ())

    def _launch(self, cluster: str, request: Mapping[str, Any]) -> TaskArn:
        owner = request["startedBy"]
        environment = request["overrides"]["containerOverrides"][0]["environment"]
        arn = self.put(
            f"{len(self.launches) + 1:032x}",
            owner,
            cluster,
            last_status="PROVISIONING",
            definition_arn=request["taskDefinition"],
            spec_hash=next(e["value"] for e in environment if e["name"] == "FRACTAL_SPEC_HASH"),
            created_at=self.clock.now(),
            started_at=None,
            containers=(ObservedContainer("app", "PENDING"),),
        )
        self.tags[arn] = {tag["key"]: tag["value"] for tag in request["tags"]}
        self.launches.append(owner)
        uid = owner.rpartition("/")[0]
        self.most_live[uid] = max(self.most_live.get(uid, 0), len(self.live(uid)))
        return arn

    def _replayed(self, arn: TaskArn) -> ObservedTask:
        task = self._shown(arn)
        if task.live:
            return task
        return ObservedTask(arn, task.cluster_arn, self.clock.now(), "STOPPED", "STOPPED")

    def stop_task(self, cluster: str, arn: TaskArn, reason: str) -> ObservedTask | None:
        self._cluster(cluster)
        if arn not in self.tasks or not self._visible(arn):
            return None
        if self.tasks[arn].live and self.tasks[arn].desired_status != "STOPPED":
            self.change(
                arn, desired_status="STOPPED", stop_code="UserInitiated", stopped_reason=reason
            )
            self.tags.pop(arn, None)  # as ECS does
        return self._shown(arn)

    def tag_task(self, arn: TaskArn, tags: Mapping[str, str]) -> None:
        if arn not in self.tasks or not self._visible(arn):
            raise Rejected("The specified task was not found.", code="InvalidParameterException")
        self.tags.setdefault(arn, {}).update(tags)

    def list_tasks(self, cluster: str, started_by: str, stopped: bool) -> Sequence[TaskArn]:
        prefix = task_arn("", self._cluster(cluster))
        here = (t for t in self.tasks.values() if t.arn.startswith(prefix) and self._visible(t.arn))
        if started_by:
            assert not stopped  # ECS takes no second filter
            return [task.arn for task in here if task.started_by == started_by and task.live]
        wanted = "STOPPED" if stopped else "RUNNING"
        return [task.arn for task in here if task.desired_status == wanted]

    def describe_tasks(self, cluster: str, arns: Sequence[TaskArn]) -> DescribeTasksResult:
        prefix = task_arn("", self._cluster(cluster))
        known = {a for a in arns if a in self.tasks and a.startswith(prefix) and self._visible(a)}
        missing = tuple(arn for arn in arns if arn not in known)
        return DescribeTasksResult(tuple(map(self._shown, sorted(known))), missing)

    def describe_cluster(self, cluster: str) -> ClusterInfo | None:
        arns = {name: info for info in self.clusters.values() for name in (info.arn, info.name)}
        return arns.get(cluster)

    def resolve_definition(self, reference: str) -> TaskDefinition | None:
        for arn, found in reversed(self.definitions.items()):
            name = arn.rpartition("/")[2]
            if reference in (arn, name, name.partition(":")[0]):
                return found
        return None

    def ensure_definition(self, registration: Mapping[str, Any]) -> TaskDefinition:
        arn = f"{ARN}:task-definition/{registration['family']}:1"
        names = (each["name"] for each in registration["containerDefinitions"])
        return self.definitions.setdefault(arn, _definition(arn, *names))

    def _cluster(self, reference: str) -> str:
        info = self.describe_cluster(reference)
        if info is None or info.status == "INACTIVE":
            raise Rejected("Cluster not found.", code="ClusterNotFoundException")
        return info.arn

    def _visible(self, arn: TaskArn) -> bool:
        created = self.tasks[arn].created_at
        return created is None or self.clock.now() >= created + timedelta(seconds=self.lag)

    def _shown(self, arn: TaskArn) -> ObservedTask:
        tags = tuple(sorted(self.tags.get(arn, {}).items()))
        return replace(self.tasks[arn], observed_at=self.clock.now(), tags=tags)
