"""How each action of a plan is done, and what is remembered of how it went.

One method an action. Failures of AWS calls are remembered, not raised: the next decision sees them.
Failures of Kubernetes writes are raised, but for a lost race, which ends in a fresh read.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from fractal_models.container import Status
from fractal_models.errors import (
    AccessDenied,
    Conflict,
    FractalError,
    Gone,
    OutcomeUnknown,
    Rejected,
    Throttled,
    TokenConflict,
    Unavailable,
)
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import events, rows
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
from fractal_operator.core.tokens import TAG_RETAINED
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs, Kube, KubeEvent, ObjectKey
from fractal_operator.shell import ends
from fractal_operator.shell.leader import NOT_LEADING
from fractal_operator.shell.memory import Memories, Memory
from fractal_operator.shell.objects import Body, Objects, uid_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.record import Recorder

log = logging.getLogger(__name__)

BREAKER = timedelta(seconds=60)


class NoPermit(Exception):
    """The launch rate limit has nothing left: come back in a moment."""


class Actor:
    """Carries out plans for any object, as long as ``leads`` says that this process leads."""

    def __init__(
        self,
        *,
        kube: Kube,
        ecs: Ecs,
        clock: Clock,
        objects: Objects,
        memories: Memories,
        observer: Observer,
        recorder: Recorder,
        policy: Policy,
        metrics: Metrics,
        leads: Callable[[], bool],
    ) -> None:
        self._kube = kube
        self._ecs = ecs
        self._clock = clock
        self._objects = objects
        self._memories = memories
        self._observer = observer
        self._recorder = recorder
        self._policy = policy
        self._metrics = metrics
        self._leads = leads
        self._breakers: dict[tuple[str, str], Problem] = {}

    async def act(self, key: ObjectKey, body: Body, seen: Observation, plan: Plan) -> Body | None:
        """Do a plan's actions; the object as it stands then, None once it is gone.

        Raises Unavailable at the first action that is due when this process leads no more.
        """
        memory = self._memories.of(seen.uid)
        try:
            for action in plan.actions:
                if not self._leads():
                    raise Unavailable(NOT_LEADING)
                match action:
                    case AddFinalizer():
                        body = await self._add_finalizer(body, memory)
                    case RemoveFinalizer():
                        return await self._remove_finalizer(key, body, seen)
                    case WriteStatus():
                        body = await self._write_status(body, seen, memory, action)
                    case RunTask():
                        await self._run_task(seen, memory, action)
                    case StopTask():
                        await self._stop_task(memory, action)
                    case TagTask():
                        await self._tag_task(memory, action)
                    case DeleteObject():
                        await self._kube.delete(body)
                        return await self._reread(key, seen.uid)
                    case Find():
                        await self._find(memory, action)
                    case Resolve() | Ensure():
                        await self._define(seen, memory, action)
                    case _:
                        assert_never(action)
        except (Conflict, Gone):
            return await self._reread(key, seen.uid)
        return body

    async def _reread(self, key: ObjectKey, uid: str) -> Body | None:
        """Somebody else wrote first, or the object is gone: read, and decide again."""
        fresh = await self._kube.get(key)
        if fresh is None or uid_of(fresh) != uid:  # gone, even if a namesake has taken its place
            known = self._objects.gone(key, uid)
            if known is not None:
                self.vanished(known)
        if fresh is not None:
            self._objects.read(fresh)
        return fresh

    def vanished(self, body: Body) -> None:
        """The object is gone from the API: tell Postgres, and forget it."""
        uid = uid_of(body)
        status = Status.from_json(body.get("status"))
        self._recorder.offer(
            [rows.app_state(body, status, self._policy.install, self._clock.now(), gone=True)]
        )
        self._observer.tasks.forget(uid)
        self._memories.forget(uid)

    async def _add_finalizer(self, body: Body, memory: Memory) -> Body:
        others = body["metadata"].get("finalizers", ())
        fresh = Status.from_json(body.get("status")).attempt is None
        after = await self._kube.set_finalizers(body, [*others, FINALIZER])
        memory.finalized = fresh
        self._objects.read(after)
        return after

    async def _remove_finalizer(self, key: ObjectKey, body: Body, seen: Observation) -> Body | None:
        # Queued before the finalizer goes: nobody can reconstruct it afterwards.
        self._recorder.offer(rows.current(body, seen, self._policy, gone=True))
        others = [each for each in body["metadata"].get("finalizers", ()) if each != FINALIZER]
        after = await self._kube.set_finalizers(body, others)
        if others:
            self._objects.read(after)
            return after
        # It went with its last finalizer; the watch may have told so before this answer came.
        known = self._objects.gone(key, seen.uid)
        if known is not None:
            self.vanished(known)
        return None

    async def _write_status(
        self, body: Body, seen: Observation, memory: Memory, action: WriteStatus
    ) -> Body:
        if action.arms:
            self._take_permit(memory, action.region)
        new = action.status
        after = await self._kube.write_status(body, new.to_json())
        self._objects.read(after)
        if action.arms and (memory.launch is None or memory.launch.attempt != action.arms):
            first = seen.status.attempt is None or seen.status.attempt.number != action.arms
            memory.launch = Launch(action.arms, certain=first)
        await self._tell(after, seen, new)
        if Status.from_json(after.get("status")).to_json() != new.to_json():
            self._pruned(seen, memory)
        return after

    def _pruned(self, seen: Observation, memory: Memory) -> None:
        """The server dropped fields of a status: the next decision would write them again."""
        text = "the CRD is older than the operator: apply the output of `fractal-operator crds`"
        if not memory.pruned:
            memory.pruned = True
            log.error("status of %s/%s was not kept whole: %s", seen.namespace, seen.name, text)
        raise Rejected(f"the status was not kept whole: {text}", code="StatusPruned")

    def _take_permit(self, memory: Memory, region: str) -> None:
        """Take a launch permit for the object's next RunTask, unless it holds one."""
        if memory.permit != region:
            if not self._ecs.launch_permit(region):
                raise NoPermit
            memory.permit = region

    async def _tell(self, body: Body, seen: Observation, new: Status) -> None:
        """Events and history of one status write; a lost Event is no reason to stop."""
        told = events.transitions(seen.uid, seen.status, new)
        self._recorder.offer(rows.history(body, seen.status, new, told, seen.now))
        known = {(end.attempt, end.stop_code) for end in seen.status.last_terminations}
        for end in new.last_terminations:
            if (end.attempt, end.stop_code) not in known:
                self._metrics.terminated(end.stop_code, end.reason)
                self._recorder.offer(ends.unseen(body, seen, new, end))
        self._measure_start(seen.status, new)
        for each in told:
            event = KubeEvent(each.type, each.reason, each.message, each.key)
            try:
                await self._kube.post_event(body, event)
            except FractalError as error:
                log.warning(
                    "Event %s of %s/%s lost: %s", each.reason, seen.namespace, seen.name, error
                )

    def _measure_start(self, old: Status, new: Status) -> None:
        if new.ready_at and not old.ready_at and new.attempt and new.attempt.first_issued_at:
            self._metrics.start_seconds.observe(
                (new.ready_at - new.attempt.first_issued_at).total_seconds()
            )

    async def _run_task(self, seen: Observation, memory: Memory, action: RunTask) -> None:
        known = memory.launch
        if known is None or known.attempt != action.attempt:
            known = Launch(action.attempt, certain=False)
        calls = known.calls + 1
        self._take_permit(memory, action.region)
        memory.permit = ""
        try:
            result = await self._ecs.run_task(action.region, action.request)
        except TokenConflict as error:
            await self._adopt_bound(action, error)
            memory.launch = self._failed(known, calls, error)
            self._metrics.launches.labels("adopted").inc()
            return
        except FractalError as error:
            memory.launch = self._failed(known, calls, error)
            self._trip(action, error)
            return
        now = self._clock.now()
        launched = bool(result.tasks)
        memory.launch = Launch(
            action.attempt,
            certain=known.certain and not launched,
            calls=calls,
            at=now,
            failures=None if launched else result.failures,
        )
        self._metrics.launches.labels("launched" if launched else "failed").inc()
        for task in result.tasks:
            # The replay of a stopped task comes back bare; the token says whose it is, and where.
            whole = replace(
                task,
                started_by=task.started_by or action.request["startedBy"],
                cluster_arn=task.cluster_arn or action.request["cluster"],
            )
            self._observer.tasks.observe(whole, launched=True)

    def _failed(self, known: Launch, calls: int, error: FractalError) -> Launch:
        """What is known after a call that raised; only an unknown outcome costs certainty."""
        certain = known.certain and not isinstance(error, OutcomeUnknown | TokenConflict)
        problem = problem_of(error, self._clock.now())
        return Launch(known.attempt, certain, calls, problem.at, problem=problem)

    def _trip(self, action: RunTask, error: FractalError) -> None:
        cluster = str(action.request["cluster"])
        match error:
            case Throttled():
                result = "throttled"
            case Rejected():
                result = "rejected"
            case _:
                result = "unknown"
        self._metrics.launches.labels(result).inc()
        if isinstance(error, Rejected):
            self._ecs.forget_definition(action.region, str(action.request["taskDefinition"]))
        if isinstance(error, AccessDenied):
            until = self._clock.now() + BREAKER
            self._breakers[(action.region, cluster)] = problem_of(error, until)

    def breaker(self, target: ClusterView | None) -> Problem | None:
        """The refusal that closes a cluster to launches for now; its ``at`` is when that ends."""
        if target is None or target.info is None:
            return None
        problem = self._breakers.get((target.region, target.info.arn))
        return problem if problem is not None and problem.at > self._clock.now() else None

    async def _adopt_bound(self, action: RunTask, error: TokenConflict) -> None:
        """The token is bound already: what it is bound to is the task that was looked for."""
        arns = [TaskArn(arn) for arn in error.resource_ids]
        log.warning("client token of attempt %d is bound to %s", action.attempt, arns)
        if arns:
            try:
                found = await self._ecs.describe_tasks(
                    action.region, str(action.request["cluster"]), arns
                )
            except FractalError as failure:
                log.warning("describing %s failed: %s", arns, failure)
                return
            for task in found.tasks:
                self._observer.tasks.observe(task)

    async def _stop_task(self, memory: Memory, action: StopTask) -> None:
        now = self._clock.now()
        try:
            task = await self._ecs.stop_task(
                action.region, action.cluster, action.arn, action.reason
            )
        except FractalError as error:
            memory.stops[action.arn] = Stop(now, problem_of(error, now))
            log.warning("StopTask of %s failed: %s", action.arn, error)
            return
        memory.stops[action.arn] = Stop(now)
        self._metrics.stopped(action.reason)
        self._observed(action.arn, task, now)

    async def _tag_task(self, memory: Memory, action: TagTask) -> None:
        now = self._clock.now()
        kept = action.tags.get(TAG_RETAINED) == "true"
        answers = memory.retained if kept else memory.adopted
        try:
            await self._ecs.tag_task(action.region, action.arn, action.tags)
        except FractalError as error:
            answers[action.arn] = Stop(now, problem_of(error, now))
            log.warning("tagging %s failed: %s", action.arn, error)
        else:
            answers[action.arn] = Stop(now)

    def _observed(self, arn: TaskArn, task: ObservedTask | None, now: datetime) -> None:
        if task is not None:
            self._observer.tasks.observe(task)
        else:
            self._observer.tasks.absent(arn, now)

    async def _find(self, memory: Memory, action: Find) -> None:
        began = self._clock.now()
        try:
            arns = await self._ecs.list_tasks(
                action.region, action.cluster, started_by=action.started_by
            )
            found = await self._ecs.describe_tasks(action.region, action.cluster, list(arns))
        except FractalError as error:
            problem = problem_of(error, self._clock.now())
            memory.lookup = Lookup(action.attempt, began, problem=problem)
            return
        for task in found.tasks:
            self._observer.tasks.observe(task)
        memory.lookup = Lookup(action.attempt, began, tuple(arns))

    async def _define(self, seen: Observation, memory: Memory, action: Resolve | Ensure) -> None:
        reference = (
            action.reference if isinstance(action, Resolve) else str(action.registration["family"])
        )
        try:
            if isinstance(action, Resolve):
                result = await self._ecs.resolve_definition(action.region, action.reference)
            else:
                result = await self._ecs.ensure_definition(action.region, action.registration)
        except FractalError as error:
            now = self._clock.now()
            view = DefinitionView(reference, now, problem=problem_of(error, now))
        else:
            view = DefinitionView(reference, self._clock.now(), result)
        memory.definition = replace(view, request=seen.requested)


def problem_of(error: FractalError, at: datetime) -> Problem:
    """An error as the core sees it."""
    kind = "TokenConflict" if isinstance(error, TokenConflict) else type(error).__name__
    return Problem(kind, str(error), at, error.code if isinstance(error, Rejected) else "")
