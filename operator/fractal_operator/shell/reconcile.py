"""Reconcile one object: observe, decide, act, and again, until the decision is to wait.

Thin on purpose: what to do stands in ``core``; how each action is done, in act.py. A run is bounded
(STEPS), never waits, and holds a key no longer than the calls it makes.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fractal_models.container import InvalidSpec, Spec, Status, parse_spec
from fractal_operator.core import rows
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import FINALIZER, ClusterView, Observation, Plan, Policy
from fractal_operator.core.tokens import region_of
from fractal_operator.ports import Clock, ObjectKey
from fractal_operator.shell.act import Actor, NoPermit
from fractal_operator.shell.memory import Memories
from fractal_operator.shell.objects import Body, Objects
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.record import Recorder

log = logging.getLogger(__name__)

STEPS = 16
"""More than any path from one rest to the next needs; a bound on calls, not a tuning value."""

PERMIT_SECONDS = 1.0


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
        policy: Policy,
    ) -> None:
        self._clock = clock
        self._objects = objects
        self._memories = memories
        self._observer = observer
        self._recorder = recorder
        self._actor = actor
        self._policy = policy

    async def reconcile(self, key: ObjectKey) -> Rest:
        """Bring one object as far as it can be brought now.

        Raises what a port raised if there is nothing to do about it but to come back later.
        """
        body = self._objects.get(key)
        for _ in range(STEPS):
            if body is None:
                return Rest()
            seen = self.observe(body)
            plan = decide(seen, self._policy)
            if not plan.actions:
                return self._rest(body, seen, plan)
            try:
                body = await self._actor.act(key, body, seen, plan)
            except NoPermit:
                return Rest(PERMIT_SECONDS)
        log.error("reconcile of %s did not come to rest in %d steps", key, STEPS)
        return Rest(PERMIT_SECONDS)

    def observe(self, body: Body) -> Observation:
        """All that is known of one object now, without asking anybody."""
        meta, now = body["metadata"], self._clock.now()
        status = Status.from_json(body.get("status"))
        spec, errors = _spec(body)
        memory = self._memories.of(meta["uid"])
        finalizers = tuple(meta.get("finalizers", ()))
        self._observer.tasks.claim(meta["uid"], (task.arn for task in status.tasks))
        tasks = self._observer.tasks.of(meta["uid"])
        memory.stops = {
            task.arn: memory.stops[task.arn] for task in tasks if task.arn in memory.stops
        }
        target = self._view(self._target_name(_mapping(body.get("spec"))))
        return Observation(
            now=now,
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            deleting_since=_time(meta.get("deletionTimestamp")),
            finalizers=finalizers,
            annotations=meta.get("annotations") or {},
            spec=spec,
            spec_errors=errors,
            spec_json=_mapping(body.get("spec")),
            status=status,
            target=target,
            home=self._view(_home_name(status)),
            tasks=tasks,
            missing=self._observer.tasks.missing_of(meta["uid"]),
            addresses={
                task.arn: self._observer.addresses[task.arn]
                for task in tasks
                if task.arn in self._observer.addresses
            },
            definition=memory.definition,
            lookup=memory.lookup,
            launch=memory.launch,
            stops=memory.stops,
            retained=memory.retained,
            bare_since=memory.look(
                finalizer=FINALIZER in finalizers, attempt=status.attempt is not None, now=now
            ),
            breaker=self._actor.breaker(target),
        )

    def clusters(self, body: Body) -> list[tuple[str, str]]:
        """The clusters (region, name or ARN) that matter to an object."""
        target = self._target_name(_mapping(body.get("spec")))
        home = _home_name(Status.from_json(body.get("status")))
        return [name for name in (target, home) if name is not None]

    def _target_name(self, spec: Mapping[str, Any]) -> tuple[str, str] | None:
        region = spec.get("region") or self._policy.region
        reference = spec.get("cluster") or self._policy.cluster
        if not (region and isinstance(region, str) and reference and isinstance(reference, str)):
            return None
        return region, reference

    def _view(self, name: tuple[str, str] | None) -> ClusterView | None:
        return self._observer.clusters.of(*name).view() if name is not None else None

    def _rest(self, body: Body, seen: Observation, plan: Plan) -> Rest:
        """Nothing to do now: tell Postgres how things stand, and say when to look again."""
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


def _spec(body: Body) -> tuple[Spec | None, tuple[str, ...]]:
    try:
        return parse_spec(body.get("spec", {})), ()
    except InvalidSpec as error:
        return None, error.errors


def _home_name(status: Status) -> tuple[str, str] | None:
    arn = status.attempt.cluster_arn if status.attempt else ""
    region = region_of(arn)
    return (region, arn) if region else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
