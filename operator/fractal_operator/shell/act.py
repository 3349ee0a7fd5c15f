"""How each action of a plan is done, and what is remembered of how it went.

One method an action. Failures of AWS calls are remembered, not raised: the next decision sees them.
Failures of Kubernetes writes are raised, but for a lost race, which ends in a fresh read.
"""

import logging
from collections.abc import Callable
from typing import assert_never

from fractal_models.container import Status
from fractal_models.errors import (
    Conflict,
    FractalError,
    Gone,
    Rejected,
    Unavailable,
)
from fractal_operator.core import events, rows
from fractal_operator.core.plan import (
    FINALIZER,
    AddFinalizer,
    ClusterView,
    DeleteObject,
    Ensure,
    Find,
    Launch,
    Observation,
    Plan,
    Policy,
    Problem,
    RemoveFinalizer,
    Resolve,
    RunTask,
    StopTask,
    TagTask,
    WriteStatus,
)
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs, Kube, KubeEvent, ObjectKey
from fractal_operator.shell import ends
from fractal_operator.shell.calls import Calls
from fractal_operator.shell.launches import Launches
from fractal_operator.shell.leader import NOT_LEADING
from fractal_operator.shell.memory import Memories, Memory
from fractal_operator.shell.objects import Body, Objects, is_of, key_of, uid_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.permits import Permits, Waiter
from fractal_operator.shell.record import Recorder

log = logging.getLogger(__name__)


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
        permits: Permits,
        policy: Policy,
        metrics: Metrics,
        leads: Callable[[], bool],
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._objects = objects
        self._memories = memories
        self._observer = observer
        self._recorder = recorder
        self._policy = policy
        self._metrics = metrics
        self._leads = leads
        self._permits = permits
        self._launches = Launches(ecs, clock, observer, permits, metrics)
        self._calls = Calls(ecs, clock, observer, permits, metrics)

    async def act(self, key: ObjectKey, body: Body, seen: Observation, plan: Plan) -> Body | None:
        """Do a plan's actions; the object as it stands then, None once it is gone.

        Raises Unavailable at the first action that is due when this process leads no more, and
        NoPermit at the first that has to wait for its turn.
        """
        memory, waiter = self._memories.of(seen.uid), Waiter(seen.namespace, seen.uid)
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
                        await self._launches.run_task(waiter, memory, action)
                    case StopTask():
                        await self._calls.stop_task(waiter, memory, action)
                    case TagTask():
                        await self._calls.tag_task(memory, action)
                    case DeleteObject():
                        await self._kube.delete(body)
                        return await self.reread(key, seen.uid)
                    case Find():
                        await self._calls.find(memory, action)
                    case Resolve() | Ensure():
                        await self._calls.define(memory, action, seen.requested)
                    case _:
                        assert_never(action)
        except (Conflict, Gone):
            return await self.reread(key, seen.uid)
        return body

    async def reread(self, key: ObjectKey, uid: str) -> Body | None:
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
        if self.looks_after(body):
            status, install = Status.from_json(body.get("status")), self._policy.install
            self._recorder.offer(
                [rows.app_state(body, status, install, self._clock.now(), gone=True)]
            )
        self._forget(body)

    def looks_after(self, body: Body) -> bool:
        """Whether no other installation looks after the object."""
        return is_of(body, self._policy.install)

    def part(self, body: Body) -> None:
        """The object is another installation's from now on: forget it, but for its rows."""
        self._objects.gone(key_of(body), uid_of(body))
        self._forget(body)

    def _forget(self, body: Body) -> None:
        uid = uid_of(body)
        self._observer.tasks.forget(uid)
        self._memories.forget(uid)
        self._permits.keep(Waiter(body["metadata"]["namespace"], uid))

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
            self._launches.secure(Waiter(seen.namespace, seen.uid), action.region)
            self._doubt(seen, memory, action.arms)
        new = action.status
        wanted = new.to_json()
        after = await self._kube.write_status(body, wanted)
        self._objects.read(after)
        if action.arms and (memory.launch is None or memory.launch.attempt != action.arms):
            first = seen.status.attempt is None or seen.status.attempt.number != action.arms
            memory.launch = Launch(action.arms, certain=first)
        await self._tell(after, seen, new)
        kept = after.get("status")
        if kept != wanted and Status.from_json(kept).to_json() != wanted:
            self._pruned(seen, memory)
        return after

    def _doubt(self, seen: Observation, memory: Memory, number: int) -> None:
        """Another process had taken the attempt over, and may have called: nothing is certain.

        Noted before the write that takes it back, whose answer may be lost.
        """
        before = seen.status.attempt
        same = before is not None and before.number == number
        if same and before is not None and before.issued_by != self._policy.process:
            memory.launch = Launch(number, certain=False)

    def _pruned(self, seen: Observation, memory: Memory) -> None:
        """The server dropped fields of a status: the next decision would write them again."""
        text = "the CRD is older than the operator: apply the output of `fractal-operator crds`"
        if not memory.pruned:
            memory.pruned = True
            log.error("status of %s/%s was not kept whole: %s", seen.namespace, seen.name, text)
        raise Rejected(f"the status was not kept whole: {text}", code="StatusPruned")

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

    def breaker(self, target: ClusterView | None, definition: str) -> Problem | None:
        """The refusal that bars launches of a definition in a cluster: see ``Launches.breaker``."""
        return self._launches.breaker(target, definition)
