"""Every task, cluster and definition of the fake's one account and region, and the passing time.

Nothing here waits: :meth:`World.settle` makes everything happen that is due, each at its own time.
One thread uses it, that of the server's event loop.
"""

import heapq
import itertools
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.ecs_fake.cluster import Cluster
from benchmarks.ecs_fake.task import Definition, Task

from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.errors import AwsError, client_error
from fractal_dev.ecs.plan import TaskPlan

ACCOUNT = "123456789012"
RETENTION = 3600.0
"""STOPPED tasks are shown "at least one hour" (ECS API, DescribeTasks); here exactly one."""

Told = Callable[[Task, float], None]
"""Told of a task that has changed, and when."""


class World:
    """All state. ``told`` is called for each change of a task, as EventBridge is."""

    def __init__(self, clock: StandInClock, region: str) -> None:
        self.clock = clock
        self.region = region
        self.told: list[Told] = []
        self.tasks: dict[str, Task] = {}
        self.started_by: dict[tuple[str, str], list[Task]] = defaultdict(list)
        self.live: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.interfaces: dict[str, Task] = {}
        self.clusters: dict[str, Cluster] = {}
        self.definitions: dict[str, list[Definition]] = {}
        self._due: list[tuple[float, int, int, Task]] = []
        self._ticks, self._seqs = itertools.count(), itertools.count(1)

    def ensure_cluster(self, name: str) -> Cluster:
        """The ACTIVE cluster of that name, made if there is none."""
        found = self.clusters.get(name)
        if found is None or found.status != "ACTIVE":
            found = self.clusters[name] = Cluster(name, self._arn("cluster", name))
        return found

    def cluster(self, reference: str, *, active: bool = False) -> Cluster:
        """The cluster by name or ARN; AwsError ClusterNotFoundException."""
        prefix, _, name = reference.rpartition("/")
        here = prefix in ("", self._arn("cluster", name).rpartition("/")[0])
        found = self.clusters.get(name) if here else None
        if found is None or (active and found.status != "ACTIVE"):
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return found

    def register(self, request: Mapping[str, Any]) -> Definition:
        """A new revision, even of what is there already, as ECS makes one."""
        revisions = self.definitions.setdefault(request["family"], [])
        name = f"{request['family']}:{len(revisions) + 1}"
        made = Definition(
            self._arn("task-definition", name), request["family"], len(revisions) + 1, request
        )
        revisions.append(made)
        return made

    def definition(self, reference: str) -> Definition:
        """By family (its latest ACTIVE revision), family:revision or ARN; AwsError if unknown."""
        family, _, revision = reference.rsplit("/", 1)[-1].partition(":")
        revisions = self.definitions.get(family, [])
        if revision:
            fitting = [each for each in revisions if str(each.revision) == revision]
        else:
            fitting = [each for each in revisions if each.status == "ACTIVE"]
        if not fitting:
            raise client_error("Unable to describe task definition: TaskDefinition not found.")
        return fitting[-1]

    def create(
        self,
        cluster: Cluster,
        definition: Definition,
        request: Mapping[str, Any],
        launch: tuple[str, str],
        plan: TaskPlan,
        tags: list[dict[str, str]],
    ) -> Task:
        """Add a task in PROVISIONING, of (launch type, provider), on its way to RUNNING."""
        task_id, now = os.urandom(16).hex(), self.clock.now()
        task = Task(
            seq=next(self._seqs),
            id=task_id,
            arn=self._arn("task", f"{cluster.name}/{task_id}"),
            cluster=cluster.name,
            cluster_arn=cluster.arn,
            region=self.region,
            definition=definition,
            request=request,
            launch_type=launch[0],
            provider=launch[1],
            plan=plan,
            created_at=now,
            tags=tags,
        )
        self.tasks[task.id] = self.interfaces[task.eni] = task
        cluster.tasks.append(task)
        cluster.seqs.append(task.seq)
        self.started_by[cluster.name, task.started_by].append(task)
        self._count(task)
        at = now + plan.provisioning
        steps = [(at, "PENDING"), (at := at + plan.pending, "ACTIVATING")]
        steps.append((at + plan.activating, "FAIL" if plan.fail_to_start else "RUNNING"))
        self._schedule(task, steps)
        self._tell(task, now)
        return task

    def visible(self, task: Task) -> bool:
        """Whether DescribeTasks, ListTasks and StopTask know the task at this time."""
        now = self.clock.now()
        if task.lost or now < task.created_at + task.plan.visibility_lag:
            return False
        return not task.stopped or now < task.times["stoppedAt"] + RETENTION

    def find(self, cluster: Cluster, reference: str) -> Task | None:
        """The visible task of a cluster by id or ARN."""
        task = self.tasks.get(reference.rsplit("/", 1)[-1])
        there = task is not None and task.cluster == cluster.name and self.visible(task)
        return task if there else None

    def settle(self) -> None:
        """Make everything happen that is due by now."""
        now = self.clock.now()
        while self._due and self._due[0][0] <= now:
            at, _, epoch, task = heapq.heappop(self._due)
            if epoch == task.epoch:
                _, step = task.steps.popleft()
                self._push(task)
                self._take(task, step, at)

    def stop(self, task: Task, code: str, reason: str, exit_code: int | None = None) -> None:
        """Begin to stop the task now; nothing happens to one that is stopping or has stopped."""
        self._begin_stop(task, self.clock.now(), code, reason, exit_code)

    def lose(self, task: Task) -> None:
        """AWS answers MISSING from now on, without an end having been seen."""
        task.lost = True
        self._schedule(task, [])
        self._finish(task, self.clock.now(), tell=False)

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:ecs:{self.region}:{ACCOUNT}:{kind}/{name}"

    def _schedule(self, task: Task, steps: Iterable[tuple[float, str]]) -> None:
        task.epoch += 1
        task.steps = deque(steps)
        self._push(task)

    def _push(self, task: Task) -> None:
        if task.steps:
            entry = (task.steps[0][0], next(self._ticks), task.epoch, task)
            heapq.heappush(self._due, entry)

    def _take(self, task: Task, step: str, at: float) -> None:
        match step:
            case "FAIL":
                self._begin_stop(task, at, "TaskFailedToStart", task.plan.fail_to_start)
            case "EXIT":
                reason = "Essential container in task exited"
                self._begin_stop(task, at, "EssentialContainerExited", reason, task.plan.exit_code)
            case "STOPPED":
                self._finish(task, at)
            case status:
                self._enter(task, status, at)

    def _enter(self, task: Task, status: str, at: float) -> None:
        task.last_status = status
        task.version += 1
        match status:
            case "PENDING":
                task.attached = bool(task.vpc)
                task.times["connectivityAt"] = at
            case "ACTIVATING":
                task.times["pullStartedAt"] = at
            case "RUNNING":
                task.times["pullStoppedAt"] = task.times["startedAt"] = at
                if task.plan.exit_after is not None:
                    self._schedule(task, [(at + task.plan.exit_after, "EXIT")])
            case "DEPROVISIONING":
                task.times["executionStoppedAt"] = at
            case _:
                pass
        self._tell(task, at)

    def _begin_stop(
        self, task: Task, at: float, code: str, reason: str, exit_code: int | None = None
    ) -> None:
        if task.desired_status == "STOPPED":
            return
        task.desired_status, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        task.times["stoppingAt"] = at
        task.version += 1
        plan, steps = task.plan, []
        if "startedAt" in task.times:
            task.exit_code = plan.sigterm_exit_code if exit_code is None else exit_code
            steps = [(at, "DEACTIVATING"), (at := at + plan.deactivating, "STOPPING")]
            at += plan.stopping
        self._schedule(
            task, [*steps, (at, "DEPROVISIONING"), (at + plan.deprovisioning, "STOPPED")]
        )
        self._tell(task, task.times["stoppingAt"])

    def _finish(self, task: Task, at: float, *, tell: bool = True) -> None:
        if task.stopped:
            return
        task.last_status = task.desired_status = "STOPPED"
        task.version += 1
        task.times["stoppedAt"] = at
        del self.interfaces[task.eni]
        self.live[uid_of(task)] -= 1
        if tell:
            self._tell(task, at)

    def _count(self, task: Task) -> None:
        uid = uid_of(task)
        self.live[uid] += 1
        self.most[uid] = max(self.most[uid], self.live[uid])

    def _tell(self, task: Task, at: float) -> None:
        task.changed()
        for tell in self.told:
            tell(task, at)


def uid_of(task: Task) -> str:
    """The object's uid in a startedBy of ``fc/<install>/<uid>/<number>``, else the whole, and the
    task's id without one."""
    parts = task.started_by.split("/")
    return parts[2] if len(parts) == 4 else task.started_by or task.id
