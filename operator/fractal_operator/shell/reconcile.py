"""Reconcile one object: observe, decide, act, and again, until the decision is to wait.

Thin on purpose: what to do stands in ``core``; how each action is done, in act.py. A run is bounded
(STEPS), never waits, and holds a key no longer than the calls it makes.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fractal_models.container import Status
from fractal_models.errors import FractalError
from fractal_operator.core import adoption, rows, sharing
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import FINALIZER, ClusterView, Observation, Plan, Policy
from fractal_operator.ports import Clock, ObjectKey
from fractal_operator.shell import places
from fractal_operator.shell.act import Actor
from fractal_operator.shell.bystander import Bystander
from fractal_operator.shell.memory import Memories, Reading
from fractal_operator.shell.objects import Body, Known, Objects, uid_of, version_of
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.permits import NoPermit, Permits, Waiter
from fractal_operator.shell.places import Place
from fractal_operator.shell.record import Recorder

log = logging.getLogger(__name__)

STEPS = 16
"""More than any path from one rest to the next needs; a bound on calls, not a tuning value."""


class Unsettled(FractalError):
    """A reconcile did not come to rest: each step that was done made another one due."""


@dataclass(frozen=True, slots=True)
class Rest:
    """How a reconcile ended: look again ``after`` seconds, or when something changes (None)."""

    after: float | None = None


class Reconciler:
    """``reconcile(key)`` for the keys of the queue; different keys may overlap, one never."""

    def __init__(
        self,
        *,
        clock: Clock,
        objects: Objects,
        memories: Memories,
        observer: Observer,
        recorder: Recorder,
        actor: Actor,
        permits: Permits,
        bystander: Bystander,
        policy: Policy,
    ) -> None:
        self._clock = clock
        self._objects = objects
        self._memories = memories
        self._observer = observer
        self._recorder = recorder
        self._actor = actor
        self._permits = permits
        self._bystander = bystander
        self._policy = policy
        self._doubtful: set[str] = set()

    def doubt(self, uid: str) -> None:
        """Read the object before the next decision: it is gone, or not selected any more."""
        if self._objects.key(uid) is not None:
            self._doubtful.add(uid)

    def settle(self) -> None:
        """Forget the doubts about objects that are known to be gone."""
        self._doubtful = {uid for uid in self._doubtful if self._objects.key(uid) is not None}

    async def reconcile(self, key: ObjectKey) -> Rest:
        """Bring one object as far as it can be brought now.

        Raises what a port raised if there is nothing to do about it but to come back later, and
        Unsettled if it does not come to rest.
        """
        body = self._objects.get(key)
        if body is not None and uid_of(body) in self._doubtful:
            doubted = uid_of(body)
            self._doubtful.discard(doubted)  # first: what is told meanwhile is another doubt
            try:
                body = await self._actor.reread(key, doubted)
            except FractalError:
                self._doubtful.add(doubted)
                raise
        for _ in range(STEPS):
            if body is None or self._objects.key(uid_of(body)) is None:
                return Rest()  # it went during a call: who looked again would claim its tasks
            seen = self.observe(body)
            plan = decide(seen, self._policy)
            if plan.parted:
                self._actor.part(body)
                return Rest()
            if sharing.left_alone(seen, self._policy):
                self._permits.keep(Waiter(seen.namespace, seen.uid))
                memory = self._memories.of(seen.uid)
                return Rest(await self._bystander.look(body, seen.status, memory))
            self._memories.of(seen.uid).aside = None
            if not plan.actions:
                return self._rest(body, seen, plan)
            # Its task may run before its launch is told of: its address is asked for then, too.
            self._observer.tasks.watch_closely(seen.uid, True)
            # Without a permit it stands in line now: decide again, what to do meanwhile.
            with suppress(NoPermit):
                body = await self._actor.act(key, body, seen, plan)
        raise Unsettled(f"it did not come to rest in {STEPS} steps")

    def observe(self, body: Body) -> Observation:
        """All that is known of one object now, without asking anybody."""
        meta, now = body["metadata"], self._clock.now()
        memory = self._memories.of(meta["uid"])
        reading = Reading.of(body)
        status = reading.status
        finalizers = tuple(meta.get("finalizers", ()))
        annotations = meta.get("annotations") or {}
        ours = not sharing.elsewhere(status, self._policy.install)
        self._observer.tasks.claim(meta["uid"], (each.arn for each in status.tasks if ours))
        sought = adoption.sought(annotations, status, self._policy, meta["namespace"])
        self._observer.tasks.wish(meta["uid"], sought if ours else "")
        tasks = self._observer.tasks.of(meta["uid"])
        memory.stops = {
            task.arn: memory.stops[task.arn] for task in tasks if task.arn in memory.stops
        }
        bare_since = memory.look(
            finalizer=FINALIZER in finalizers,
            attempt=status.attempt.number if status.attempt is not None else 0,
            alive=any(
                self._observer.tasks.owner(task) == meta["uid"] for task in tasks if task.live
            ),
            now=now,
        )
        home, target = self._places(body, status)
        memory.places = version_of(body), (home, target)
        home_view = self._view(home, held=True)
        own = target == (self._policy.region, self._policy.cluster)
        target_view = self._view(target, held=own)
        return Observation(
            now=now,
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            deleting_since=_time(meta.get("deletionTimestamp")),
            finalizers=finalizers,
            annotations=annotations,
            spec=reading.spec,
            spec_errors=reading.errors,
            spec_json=_mapping(body.get("spec")),
            status=status,
            target=target_view,
            home=home_view,
            tasks=tasks,
            missing=self._observer.tasks.missing_of(meta["uid"]),
            addresses={
                task.arn: self._observer.locator.known[task.arn]
                for task in tasks
                if task.arn in self._observer.locator.known
            },
            definition=memory.definition,
            lookup=memory.lookup,
            launch=memory.launch,
            stops=memory.stops,
            retained=memory.retained,
            adopted=memory.adopted,
            created_at=_time(meta.get("creationTimestamp")),
            selected=self._policy.selector.selects(meta.get("labels")),
            bare_since=bare_since,
            highest=memory.highest,
            breaker=self._actor.breaker(target_view, _definition(status)),
            queued=self._permits.queued(Waiter(meta["namespace"], meta["uid"])),
        )

    def clusters(self, known: Known) -> list[Place]:
        """The clusters (region, name or ARN) that matter to an object. Never raises."""
        if known.shape.installation not in ("", self._policy.install):
            return []
        version, places = self._memories.of(known.uid).places
        if not version or version != known.version:
            places = self._read_places(known)
        return [place for place in places if place is not None]

    def _read_places(self, known: Known) -> tuple[Place | None, ...]:
        """The same of an object that was not looked at as it stands."""
        body = known.body()
        try:
            return self._places(body, Status.from_json(body.get("status")))
        except Exception:  # asked of all objects at once: one's trouble is no other's
            log.exception("the clusters of %s cannot be told", known.key)
            return ()

    def _places(self, body: Body, status: Status) -> tuple[Place | None, Place | None]:
        born = self._memories.of(body["metadata"]["uid"]).finalized
        return places.home(status), places.target(body, status, self._policy, born=born)

    def _view(self, place: Place | None, *, held: bool) -> ClusterView | None:
        return self._observer.clusters.of(*place, held=held).view() if place is not None else None

    def _rest(self, body: Body, seen: Observation, plan: Plan) -> Rest:
        """Nothing to do now: tell Postgres how things stand, and say when to look again."""
        self._permits.keep(Waiter(seen.namespace, seen.uid), plan.waits)
        if FINALIZER not in seen.finalizers:
            return Rest()  # it is going: Postgres was told the last of it before the finalizer went
        if plan.wants_sweep and seen.target is not None:
            cluster = self._observer.clusters.of(seen.target.region, seen.target.reference)
            self._observer.request_sweep(cluster, seen.uid)
        self._recorder.offer(rows.current(body, seen, self._policy, gone=False))
        memory = self._memories.of(seen.uid)
        if not memory.retold:
            memory.retold = True
            self._recorder.offer(rows.retold(body, seen.status, seen.now))
        waits = any(
            each.type == "Reconciling" and each.status == "True" for each in seen.status.conditions
        )
        self._observer.tasks.watch_closely(seen.uid, waits)
        if plan.again_at is None:
            return Rest()
        return Rest(max((plan.again_at - seen.now).total_seconds(), 0.05))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _definition(status: Status) -> str:
    return status.attempt.definition_arn if status.attempt is not None else ""


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
