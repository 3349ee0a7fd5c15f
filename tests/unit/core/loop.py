"""A tiny world that decisions are carried out in, one at a time: one object, one ECS cluster.

It keeps ECS's promises that the core builds on (a client token launches once, a replay with another
body is refused) and counts what happens. What the operator remembers is lost by ``crash``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tests.unit.core import world

from fractal_models.container import Phase, Status
from fractal_models.observed import (
    Address,
    ClusterInfo,
    DefinitionContainer,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    TaskArn,
    TaskDefinition,
)
from fractal_operator.core import adoption, tokens
from fractal_operator.core.annotations import RECONCILE_REQUESTED
from fractal_operator.core.decide import decide
from fractal_operator.core.monotonic import newer
from fractal_operator.core.plan import (
    FINALIZER,
    Action,
    AddFinalizer,
    DefinitionView,
    DeleteObject,
    Ensure,
    Find,
    Launch,
    Lookup,
    Observation,
    Plan,
    Policy,
    Problem,
    RemoveFinalizer,
    Resolve,
    RunTask,
    Stop,
    StopTask,
    TagTask,
    WriteStatus,
)

_STRATEGY = "capacityProviderStrategy"
STARTING = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING")
STOPPING = ("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED")


@dataclass
class Memory:
    """What dies with the process."""

    finalized: bool = False
    bare_since: datetime | None = None
    swept_since: datetime | None = None
    launch: Launch | None = None
    lookup: Lookup | None = None
    definition: DefinitionView | None = None
    tasks: dict[TaskArn, ObservedTask] = field(default_factory=dict)
    stops: dict[TaskArn, Stop] = field(default_factory=dict)
    retained: dict[TaskArn, Stop] = field(default_factory=dict)
    adopted: dict[TaskArn, Stop] = field(default_factory=dict)


@dataclass
class World:
    """``fates`` are what happens to the next RunTask calls: "ok", or a name from ``_run``."""

    spec: Mapping[str, Any]
    policy: Policy = world.POLICY
    now: datetime = world.NOW
    generation: int = 1
    finalizers: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    deleting_since: datetime | None = None
    gone: bool = False
    memory: Memory = field(default_factory=Memory)
    tasks: dict[TaskArn, ObservedTask] = field(default_factory=dict)
    bound: dict[str, tuple[str, TaskArn | tuple[LaunchFailure, ...]]] = field(default_factory=dict)
    fates: list[str] = field(default_factory=list)
    hidden: bool = False
    stuck: set[TaskArn] = field(default_factory=set)
    calls: int = 0
    writes: list[str] = field(default_factory=list)
    most_alive: int = 0

    # --- what is counted ---

    @property
    def launched(self) -> int:
        return len(self.tasks)

    @property
    def alive(self) -> list[ObservedTask]:
        return [task for task in self.tasks.values() if task.live]

    def phase(self) -> Phase | None:
        return Status.from_json(self.status).phase

    # --- what happens to it ---

    def edit(self, **changes: Any) -> None:
        spec = {**self.spec, **changes}
        self.spec = {key: value for key, value in spec.items() if value is not None}
        self.generation += 1

    def delete(self) -> None:
        self.deleting_since = self.now

    def crash(self) -> None:
        self.memory = Memory()

    def sweep(self) -> None:
        """All that a sweep sees: every task, or none that is not visible yet."""
        self.memory.swept_since = self.now
        for task in () if self.hidden else self.tasks.values():
            self._seen(task)

    def progress(self) -> None:
        """Every task goes one state on, but for those that are stuck on their way to RUNNING."""
        for arn, task in self.tasks.items():
            if arn in self.stuck and task.desired_status != "STOPPED":
                continue
            path = STOPPING if task.desired_status == "STOPPED" else STARTING
            at = path.index(task.last_status) + 1 if task.last_status in path else 0
            self.change(arn, last_status=path[min(at, len(path) - 1)])

    def exits(self, exit_code: int = 1) -> None:
        for task in self.alive:
            container = ObservedContainer("app", "STOPPED", exit_code)
            self.change(
                task.arn,
                last_status="STOPPED",
                desired_status="STOPPED",
                stop_code="EssentialContainerExited",
                containers=(container,),
            )

    def change(self, arn: TaskArn, **changes: Any) -> None:
        task = replace(self.tasks[arn], observed_at=self.now, **changes)
        if task.last_status == "RUNNING" and task.started_at is None:
            task = replace(task, started_at=self.now)
        if task.stopped and task.stopped_at is None:
            task = replace(task, stopped_at=self.now)
        self.tasks[arn] = task

    # --- the operator ---

    def observe(self) -> Observation:
        status, memory = Status.from_json(self.status), self.memory
        bare = FINALIZER in self.finalizers and status.attempt is None and not memory.finalized
        memory.bare_since = (memory.bare_since or self.now) if bare else None
        if status.attempt is not None:
            memory.finalized = False
        info = ClusterInfo(world.CLUSTER, "main", "ACTIVE")
        view = world.cluster(info=info, swept_since=memory.swept_since)
        home = status.attempt.cluster_arn if status.attempt else ""
        claimed = {entry.arn for entry in status.tasks}
        tasks = [
            task
            for task in memory.tasks.values()
            if task.arn in claimed
            or task.arn == adoption.wish(self.annotations, status)
            or tokens.parse_started_by(task.started_by)
            or task.tag(tokens.TAG_UID)
        ]
        return world.observation(
            self.spec,
            now=self.now,
            generation=self.generation,
            finalizers=self.finalizers,
            annotations=self.annotations,
            deleting_since=self.deleting_since,
            status=status,
            target=view,
            home=replace(view, reference=home) if home == world.CLUSTER else None,
            tasks=tuple(sorted(tasks, key=lambda task: task.arn)),
            addresses={task.arn: Address("203.0.113.7", "10.0.0.7") for task in tasks},
            definition=memory.definition,
            lookup=memory.lookup,
            launch=memory.launch,
            stops=dict(memory.stops),
            retained=dict(memory.retained),
            adopted=dict(memory.adopted),
            bare_since=memory.bare_since,
        )

    def step(self) -> Plan:
        """One decision, carried out."""
        if self.gone:
            return Plan()
        plan = decide(self.observe(), self.policy)
        for action in plan.actions:
            self._act(action)
        self.most_alive = max(self.most_alive, len(self.alive))
        return plan

    def rest(self) -> Plan:
        """Decisions until there is nothing left to do now."""
        for _ in range(16):
            plan = self.step()
            if not plan.actions:
                return plan
        raise AssertionError(f"does not come to rest: {plan}")

    def run(
        self, seconds: float, *, every: float = 5, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Let time pass in steps, in which tasks move, are seen, and the operator acts."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end and not until():
            self.sweep()
            self.rest()
            self.now += timedelta(seconds=every)
            self.progress()

    def _act(self, action: Action) -> None:
        memory = self.memory
        match action:
            case AddFinalizer():
                self.finalizers = (*self.finalizers, FINALIZER)
                memory.finalized = Status.from_json(self.status).attempt is None
                self.writes.append("finalizer")
            case RemoveFinalizer():
                self.finalizers = tuple(each for each in self.finalizers if each != FINALIZER)
                self.gone = self.deleting_since is not None and not self.finalizers
                self.writes.append("finalizer")
            case WriteStatus(status=status, arms=arms):
                if arms and (memory.launch is None or memory.launch.attempt != arms):
                    before = Status.from_json(self.status).attempt
                    first = before is None or before.number != arms
                    memory.launch = Launch(arms, certain=first)
                self.status = status.to_json()
                self.writes.append(str(status.phase))
            case RunTask():
                self._run(action)
            case StopTask(arn=arn):
                self.change(arn, desired_status="STOPPED", stop_code="UserInitiated", tags=())
                memory.stops[arn] = Stop(self.now)
                self._seen(self.tasks[arn])
            case TagTask(arn=arn, tags=tags):
                kept = tags.get(tokens.TAG_RETAINED) == "true"
                (memory.retained if kept else memory.adopted)[arn] = Stop(self.now)
                merged = {**dict(self.tasks[arn].tags or ()), **tags}
                self.change(arn, tags=tuple(sorted(merged.items())))
            case DeleteObject():
                self.delete()
            case Find():
                found = [] if self.hidden else self.alive
                mine = [task for task in found if task.started_by == action.started_by]
                for task in mine:
                    self._seen(task)
                arns = tuple(task.arn for task in mine)
                memory.lookup = Lookup(action.attempt, self.now, arns)
            case Resolve(reference=reference):
                family = reference.rpartition("/")[2].partition(":")[0]
                memory.definition = self._definition(reference, family)
            case Ensure(registration=registration):
                family = str(registration["family"])
                memory.definition = self._definition(family, family)

    def _definition(self, reference: str, family: str) -> DefinitionView:
        base = f"arn:aws:ecs:{world.REGION}:{world.ACCOUNT}:task-definition"
        container = DefinitionContainer("app")
        result = TaskDefinition(f"{base}/{family}:1", "ACTIVE", "bridge", (container,))
        requested = self.annotations.get(RECONCILE_REQUESTED, "")
        return DefinitionView(reference, self.now, result, request=requested)

    def _seen(self, task: ObservedTask) -> None:
        sight = replace(task, observed_at=self.now)
        self.memory.tasks[task.arn] = newer(self.memory.tasks.get(task.arn), sight)

    def _run(self, action: RunTask) -> None:
        """RunTask: at most one task for one token; then what the caller gets to know of it."""
        memory, self.calls = self.memory, self.calls + 1
        known = memory.launch
        if known is None or known.attempt != action.attempt:
            known = Launch(action.attempt, certain=False)
        fate = self.fates.pop(0) if self.fates else "ok"
        token, body = action.request["clientToken"], tokens.request_hash(action.request)
        if fate == "throttled":
            problem = Problem("Throttled", "Rate exceeded", self.now)
            memory.launch = Launch(
                action.attempt, known.certain, known.calls + 1, self.now, None, problem
            )
            return
        if token not in self.bound:
            if fate == "full":
                self.bound[token] = (body, (LaunchFailure("RESOURCE:MEMORY"),))
            elif fate != "never sent":
                self.bound[token] = (body, self._launch(action))
        bound = self.bound.get(token)
        if fate in ("lost", "never sent") or bound is None:
            problem = Problem("OutcomeUnknown", "Read timeout", self.now)
            memory.launch = Launch(action.attempt, False, known.calls + 1, self.now, None, problem)
        elif bound[0] != body:
            problem = Problem("TokenConflict", "bound", self.now)
            memory.launch = Launch(action.attempt, False, known.calls + 1, self.now, None, problem)
            if isinstance(bound[1], str) and not self.hidden:
                self._seen(self.tasks[TaskArn(bound[1])])
        elif isinstance(bound[1], str):
            memory.launch = Launch(action.attempt, False, known.calls + 1, self.now)
            self._seen(self.tasks[TaskArn(bound[1])])
        else:
            memory.launch = Launch(
                action.attempt, known.certain, known.calls + 1, self.now, bound[1]
            )

    def _launch(self, action: RunTask) -> TaskArn:
        arn = world.arn(f"{action.attempt}-{len(self.tasks)}")
        (override,) = action.request["overrides"]["containerOverrides"]
        variables = {each["name"]: each["value"] for each in override["environment"]}
        self.tasks[arn] = ObservedTask(
            arn=arn,
            cluster_arn=world.CLUSTER,
            observed_at=self.now,
            last_status="PROVISIONING",
            definition_arn=action.request["taskDefinition"],
            started_by=action.request["startedBy"],
            launch_type=action.request.get("launchType", ""),
            capacity_provider=next(
                (each["capacityProvider"] for each in action.request.get(_STRATEGY, ())), ""
            ),
            spec_hash=variables["FRACTAL_SPEC_HASH"],
            created_at=self.now,
            containers=(ObservedContainer("app"),),
        )
        return arn
