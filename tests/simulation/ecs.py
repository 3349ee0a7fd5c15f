"""The ECS of the simulation: facts about ECS that hurt, on top of the unit tests' one.

A task is invisible for up to five minutes after RunTask, in lists and descriptions each for itself;
reads may show the past; it starts slowly, fails to start, dies, stops slowly; an hour after its end
it is unknown. A token is bound until an hour after its task's end; failures are replayed, and may
come with a task that exists all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation.faults import Chaos
from tests.simulation.timeline import SimClock, Timeline
from tests.unit.shell.ecs_world import MAIN, EcsWorld, task_arn

from fractal_models.errors import Rejected, TokenConflict
from fractal_models.observed import (
    DescribeTasksResult,
    LaunchFailure,
    ObservedContainer,
    ObservedTask,
    RunTaskResult,
    TaskArn,
)
from fractal_operator.core import tokens

Tags = tuple[tuple[str, str], ...]
HOUR = 3600.0
FULL = (LaunchFailure("RESOURCE:MEMORY"),)
ODD = (LaunchFailure("SOMETHING NEW"),)


class SimEcs(EcsWorld):
    """``launched``, ``stops`` and ``tagged`` hear of launches, asked stops and adoptions."""

    def __init__(
        self,
        timeline: Timeline,
        rng: Random,
        launched: Callable[[TaskArn], None],
        stops: Callable[[TaskArn, str], None],
        tagged: Callable[[TaskArn], None],
    ) -> None:
        super().__init__(SimClock(timeline))
        self.chaos = Chaos()
        self.timeline, self._rng = timeline, rng
        self.reader = self.clock  # of the process whose call is served: it dates what it reads
        self._launched, self._stops, self._tagged = launched, stops, tagged
        self.announce: Callable[[ObservedTask], None] = lambda task: None
        self.requests: dict[TaskArn, Mapping[str, Any]] = {}
        self.ran: set[TaskArn] = set()
        self.owners: dict[TaskArn, str] = {}
        self.retained: set[TaskArn] = set()
        self._listed_from: dict[TaskArn, float] = {}
        self._shown_from: dict[TaskArn, float] = {}
        self._past: dict[TaskArn, list[tuple[float, ObservedTask, Tags]]] = {}
        self._answers: dict[tuple[str, str], tuple[str, tuple[LaunchFailure, ...], TaskArn]] = {}

    # --- the truth ---

    def owned(self, uid: str) -> list[TaskArn]:
        """The live tasks of an object, in truth."""
        return [arn for arn, task in self.tasks.items() if task.live and self.owners[arn] == uid]

    def put(self, name: str, started_by: str = "", cluster: str = MAIN, **facts: Any) -> TaskArn:
        arn = super().put(name, started_by, cluster, **facts)
        origin = tokens.parse_started_by(started_by)
        self.owners[arn] = origin.uid if origin else ""
        if self.tasks[arn].last_status == "RUNNING":
            self.ran.add(arn)
        self._past[arn] = []
        self._note(arn)
        return arn

    def change(self, arn: TaskArn, **facts: Any) -> None:
        super().change(arn, **facts)
        if self.tasks[arn].last_status == "RUNNING":
            self.ran.add(arn)
        self._note(arn)

    def _note(self, arn: TaskArn) -> None:
        tags = tuple(sorted(self.tags.get(arn, {}).items()))
        self._past[arn].append((self.timeline.now, self.tasks[arn], tags))
        self.announce(self.tasks[arn])

    # --- what happens by itself ---

    def _launch(self, cluster: str, request: Mapping[str, Any]) -> TaskArn:
        now, chaos, rng = self.timeline.now, self.chaos, self._rng
        arn = super()._launch(cluster, request)
        self._note(arn)  # with its tags
        self.requests[arn] = request
        lag = chaos.visible_after if rng.random() < 0.7 else chaos.visible_after / 10
        self._listed_from[arn] = now + rng.random() * lag
        self._shown_from[arn] = now + rng.random() * lag
        self._launched(arn)
        pace = 200.0 if rng.random() < chaos.slow_start else 8.0
        for status in ("PENDING", "ACTIVATING", "RUNNING"):
            now += rng.random() * pace
            self.timeline.at(now, lambda to=status: self._go_on(arn, to))  # type: ignore[misc]
        if rng.random() < chaos.dies_starting:
            self.timeline.at(now - 1, lambda: self._fail_to_start(arn))
        elif rng.random() < chaos.dies_running:
            end = now + rng.random() * 300
            self.timeline.at(end, lambda: self._crash(arn))
        return arn

    def _go_on(self, arn: TaskArn, status: str) -> None:
        task = self.tasks.get(arn)
        if task is not None and task.live and task.desired_status != "STOPPED":
            self.go(arn, status)

    def _fail_to_start(self, arn: TaskArn) -> None:
        task = self.tasks.get(arn)
        if task is not None and task.live and task.last_status != "RUNNING":
            self._over(arn, containers=(), stop_code="TaskFailedToStart", stopped_reason="no luck")

    def _crash(self, arn: TaskArn) -> None:
        if self.chaos.dies_running:  # else the faults have ceased
            self.die(arn, self._rng.choice((0, 1, 137)))

    def die(self, arn: TaskArn, code: int) -> None:
        """The task's main container exits."""
        if arn in self.tasks and self.tasks[arn].live:
            self._over(arn, containers=(ObservedContainer("app", "STOPPED", code),))

    def _over(self, arn: TaskArn, **facts: Any) -> None:
        task = self.tasks[arn]
        self.change(
            arn,
            last_status="STOPPED",
            desired_status="STOPPED",
            stopped_at=self.clock.now(),
            **{
                "stop_code": task.stop_code or "EssentialContainerExited",
                "stopped_reason": task.stopped_reason or "Essential container in task exited",
                **facts,
            },
        )
        self.timeline.after(HOUR, lambda: self._vanish(arn))

    def _vanish(self, arn: TaskArn) -> None:
        del self.tasks[arn]

    # --- what ECS answers ---

    def run_task(self, request: Mapping[str, Any]) -> RunTaskResult:
        cluster = self._cluster(request["cluster"])
        key, body = (cluster, request["clientToken"]), tokens.canonical(request)
        if key in self._answers:
            first, failures, arn = self._answers[key]
            if arn and arn not in self.tasks:  # an hour after its task's end the token is forgotten
                del self._answers[key]
            elif first != body:
                bound = (arn,) if arn else ()
                raise TokenConflict("token is bound", code="ConflictException", resource_ids=bound)
            else:
                return RunTaskResult(() if failures else (self._replayed(arn),), failures)
        definition = self.definitions.get(request["taskDefinition"])
        if definition is None or definition.status != "ACTIVE":
            raise Rejected("TaskDefinition is inactive", code="ClientException")
        failures, arn = (), TaskArn("")
        if self._rng.random() < self.chaos.unplaced:
            failures = self._rng.choice((FULL, ODD))
        placed = not failures or self._rng.random() < self.chaos.placed_though_failed
        if placed:
            arn = self._launch(cluster, request)
        if failures == FULL and placed:
            # The product relies on it (docs/safety.md): such a task is visible at once.
            self._listed_from[arn] = self._shown_from[arn] = self.timeline.now
        self._answers[key] = (body, failures, arn)
        return RunTaskResult(() if failures else (self._shown(arn),), failures)

    def stop_task(self, cluster: str, arn: TaskArn, reason: str) -> ObservedTask | None:
        task = self.tasks.get(arn)
        if task is not None:
            self._stops(arn, reason)
        told = super().stop_task(cluster, arn, reason)
        if told is not None:
            self._note(arn)  # its tags are gone
            told = replace(self.tasks[arn], observed_at=self.reader.now(), tags=())
        if told is not None and task is not None and task.desired_status != "STOPPED":
            pause = self._rng.random() * self.chaos.stop_seconds
            self.timeline.after(pause, lambda: self.die(arn, 137))
        return told

    def tag_task(self, arn: TaskArn, tags: Mapping[str, str]) -> None:
        super().tag_task(arn, tags)
        self._note(arn)
        if tokens.TAG_UID in tags:
            self.owners[arn] = tags[tokens.TAG_UID]
            self._tagged(arn)
        if tags.get(tokens.TAG_RETAINED) == "true":
            self.retained.add(arn)
        else:
            self.retained.discard(arn)

    def list_tasks(self, cluster: str, started_by: str, stopped: bool) -> Sequence[TaskArn]:
        prefix, now, shown = task_arn("", self._cluster(cluster)), self.timeline.now, []
        for arn in self.tasks:
            if not arn.startswith(prefix) or self._listed_from.get(arn, 0.0) > now:
                continue
            task, _ = self._past_of(arn)
            if started_by:
                if task.started_by == started_by and task.live:
                    shown.append(arn)
            elif (task.desired_status == "STOPPED") == stopped:
                shown.append(arn)
        return shown

    def describe_tasks(self, cluster: str, arns: Sequence[TaskArn]) -> DescribeTasksResult:
        prefix, now = task_arn("", self._cluster(cluster)), self.timeline.now
        known = [
            arn
            for arn in sorted(set(arns))
            if arn in self.tasks
            and arn.startswith(prefix)
            and self._shown_from.get(arn, 0.0) <= now
        ]
        missing = tuple(arn for arn in arns if arn not in known)
        return DescribeTasksResult(tuple(self._shown(arn) for arn in known), missing)

    def _visible(self, arn: TaskArn) -> bool:
        return self._shown_from.get(arn, 0.0) <= self.timeline.now

    def _past_of(self, arn: TaskArn) -> tuple[ObservedTask, Tags]:
        """A task and its tags as a read shows them: as they were up to ``read_age`` seconds ago."""
        past = self._past[arn]
        if self.chaos.read_age:
            when = self.timeline.now - self._rng.random() * self.chaos.read_age
            known = next((each for each in reversed(past) if each[0] <= when), past[0])
        else:
            known = past[-1]
        return known[1], known[2]

    def _shown(self, arn: TaskArn) -> ObservedTask:
        task, tags = self._past_of(arn)
        return replace(task, observed_at=self.reader.now(), tags=tags)

    def _replayed(self, arn: TaskArn) -> ObservedTask:
        task = self.tasks[arn]
        if task.live:
            return self._shown(arn)
        return ObservedTask(arn, task.cluster_arn, self.reader.now(), "STOPPED", "STOPPED")
