"""The task engine: keeps every task, moves it through its life as the clock passes.

Nothing runs in the background but the ticks that deliver events (server.py). Whoever looks takes
:attr:`TaskEngine.lock` and calls :meth:`TaskEngine.settle`, which makes everything happen that is
due, in order and at its own time.
"""

import heapq
import itertools
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from fractal_dev.ecs.account import Account
from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.estate import Estate
from fractal_dev.ecs.events import Events
from fractal_dev.ecs.plan import TaskPlan
from fractal_dev.ecs.task import Placement, Task

RETENTION = 3600.0
"""STOPPED tasks are shown "at least one hour" (ECS API, DescribeTasks); here exactly one."""
PROVISIONING_LIMIT = 1800.0
"""A task that a capacity provider finds no instance for gives up after about 30 minutes
(PrefectHQ/prefect issue 22410)."""
_PLACEMENT_RETRY = 1.0


class TaskEngine:
    """All tasks of one account. Hold :attr:`lock` around every use."""

    def __init__(self, clock: StandInClock, account: Account) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.account = account
        self.events = Events(account, clock.now)
        self._estate = Estate(account)
        self._by_id: dict[str, Task] = {}
        self._by_cluster: dict[tuple[str, str], list[Task]] = defaultdict(list)
        self._by_started_by: dict[tuple[str, str, str], list[Task]] = defaultdict(list)
        self._due: list[tuple[float, int, int, Task]] = []
        self._ticks = itertools.count()
        self._seqs = itertools.count(1)

    def create(
        self,
        region: str,
        cluster: Any,
        definition: Any,
        request: Mapping[str, Any],
        plan: TaskPlan,
        placement: Placement,
    ) -> Task:
        """Add a task in PROVISIONING and plan its way to RUNNING."""
        task_id = uuid.uuid4().hex
        base = f"arn:aws:ecs:{region}:{self.account.id}"
        task = Task(
            seq=next(self._seqs),
            id=task_id,
            arn=f"{base}:task/{cluster.name}/{task_id}",
            region=region,
            cluster_name=cluster.name,
            cluster_arn=cluster.arn,
            definition=definition,
            request=request,
            client_token=str(request.get("clientToken", "")),
            plan=plan,
            placement=placement,
            created_at=self.clock.now(),
            containers=[],
            tags=_tags(request, cluster, definition),
            health=plan.health,
        )
        self._estate.claim(task)
        self._by_id[task.id] = task
        self._by_cluster[region, cluster.name].append(task)
        self._by_started_by[region, cluster.name, task.started_by].append(task)
        at = task.created_at + plan.provisioning
        steps = [(at, "PENDING"), (at := at + plan.pending, "ACTIVATING")]
        steps.append((at + plan.activating, "FAIL" if plan.fail_to_start else "RUNNING"))
        self._schedule(task, steps)
        self.events.changed(task, task.created_at)
        return task

    def settle(self) -> None:
        """Make everything happen that is due by now."""
        now = self.clock.now()
        while self._due and self._due[0][0] <= now:
            at, _, epoch, task = heapq.heappop(self._due)
            if epoch == task.epoch:
                _, step = task.steps.popleft()
                self._push(task)
                self._take(task, step, at)
        self.events.deliver()

    def all(self) -> Iterable[Task]:
        """Return every task there ever was, oldest first."""
        return self._by_id.values()

    def find(self, task_id: str) -> Task | None:
        """Return the task of that id (not ARN), whether AWS would still show it or not."""
        return self._by_id.get(task_id)

    def in_cluster(self, region: str, cluster: str, started_by: str | None) -> Iterable[Task]:
        """Return the cluster's visible tasks in order of creation."""
        if started_by is None:
            tasks = self._by_cluster.get((region, cluster), [])
        else:
            tasks = self._by_started_by.get((region, cluster, started_by), [])
        return [task for task in tasks if self.visible(task)]

    def visible(self, task: Task) -> bool:
        """Whether DescribeTasks, ListTasks and StopTask know the task at this time."""
        now = self.clock.now()
        if task.vanished or now < task.created_at + task.plan.visibility_lag:
            return False
        return not task.stopped or now < task.times["stoppedAt"] + RETENTION

    def stop(self, task: Task, code: str, reason: str, main_exit_code: int | None = None) -> None:
        """Begin to stop the task now; nothing happens to one that is stopping or has stopped.

        ``main_exit_code`` is given when the main container ended by itself; the others, and the
        main one without it, end by SIGTERM.
        """
        self._begin_stop(task, self.clock.now(), code, reason, main_exit_code)

    def vanish(self, task: Task) -> None:
        """Lose the task: AWS answers MISSING from now on, without an end having been seen."""
        task.vanished = True
        self._finish(task, self.clock.now())
        self._schedule(task, [])

    def set_health(self, task: Task, health: str) -> None:
        """Set the health of the main container."""
        task.health = health
        self._change(task, self.clock.now())

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
                self._fail_to_start(task, at, task.plan.fail_to_start)
            case "EXIT":
                reason = "Essential container in task exited"
                self._begin_stop(task, at, "EssentialContainerExited", reason, task.plan.exit_code)
            case "SPOT":
                self._begin_stop(task, at, "SpotInterruption", "Your Spot Task was interrupted.")
            case "PENDING":
                self._leave_provisioning(task, at)
            case "STOPPED":
                self._finish(task, at)
            case status:
                self._enter(task, status, at)

    def _change(self, task: Task, at: float) -> None:
        """A change is done: whoever looks sees another version, and an event tells of it."""
        task.version += 1
        self.events.changed(task, at)

    def _enter(self, task: Task, status: str, at: float) -> None:
        task.last_status = status
        match status:
            case "PENDING":
                self._estate.attach(task, "ATTACHING")
                task.times["connectivityAt"] = at
            case "ACTIVATING":
                self._estate.attach(task, "ATTACHED")
                task.times["pullStartedAt"] = at
            case "RUNNING":
                task.times["pullStoppedAt"] = task.times["startedAt"] = at
                self._estate.start(task)
            case "DEPROVISIONING":
                task.times["executionStoppedAt"] = at
                self._estate.stop_containers(task)
            case _:
                pass
        self._change(task, at)
        if status == "RUNNING":
            self._plan_end(task, at)

    def _leave_provisioning(self, task: Task, at: float) -> None:
        if self._estate.place(task):
            self._enter(task, "PENDING", at)
        elif at >= task.created_at + PROVISIONING_LIMIT:
            self._fail_to_start(task, at, "No container instance met all of its requirements.")
        else:
            later = [(when + _PLACEMENT_RETRY, step) for when, step in task.steps]
            self._schedule(task, [(at + _PLACEMENT_RETRY, "PENDING"), *later])

    def _plan_end(self, task: Task, at: float) -> None:
        ends = [(task.plan.exit_after, "EXIT"), (task.plan.spot_after, "SPOT")]
        planned = sorted((at + after, what) for after, what in ends if after is not None)
        self._schedule(task, planned[:1])

    def _fail_to_start(self, task: Task, at: float, reason: str) -> None:
        if task.plan.empty_containers:
            task.containers = []
        for container in task.containers[:1]:
            container.reason = reason
        self._begin_stop(task, at, "TaskFailedToStart", reason)

    def _begin_stop(
        self, task: Task, at: float, code: str, reason: str, main_exit_code: int | None = None
    ) -> None:
        if task.desired_status == "STOPPED":
            return
        plan = task.plan
        task.desired_status, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        task.times["stoppingAt"] = at
        self._change(task, at)
        if "startedAt" not in task.times:
            steps = [(at, "DEPROVISIONING"), (at + plan.deprovisioning, "STOPPED")]
        else:
            exit_code = 137 if plan.ignores_sigterm else plan.sigterm_exit_code
            task.exit_codes = {container.name: exit_code for container in task.containers}
            if main_exit_code is not None and task.main is not None:
                task.exit_codes[task.main.name] = main_exit_code
            grace = task.stop_timeout if plan.ignores_sigterm else plan.stopping
            steps = [(at, "DEACTIVATING"), (at := at + plan.deactivating, "STOPPING")]
            steps += [(at := at + grace, "DEPROVISIONING"), (at + plan.deprovisioning, "STOPPED")]
        self._schedule(task, steps)

    def _finish(self, task: Task, at: float) -> None:
        if task.stopped:
            return
        task.last_status = task.desired_status = "STOPPED"
        task.times["stoppedAt"] = at
        self._estate.release(task)
        self._change(task, at)


def _tags(request: Mapping[str, Any], cluster: Any, definition: Any) -> list[dict[str, str]]:
    """Return the request's tags, those it propagates, and ECS's own if it asks for them."""
    tags = {tag["key"]: tag for tag in request.get("tags") or ()}
    if request.get("propagateTags") == "TASK_DEFINITION":
        tags = {**{tag["key"]: tag for tag in definition.tags}, **tags}
    if request.get("enableECSManagedTags"):
        key = "aws:ecs:clusterName"
        tags[key] = {"key": key, "value": cluster.name}
    return list(tags.values())
