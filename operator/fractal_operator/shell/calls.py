"""ECS calls for one object but for RunTask (launches.py). What they answered is remembered.

Failures are remembered, not raised: the next decision sees them.
"""

import logging
from dataclasses import replace
from datetime import datetime

from fractal_models.errors import FractalError
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core.plan import (
    DefinitionView,
    Ensure,
    Find,
    Lookup,
    Resolve,
    Stop,
    StopTask,
    TagTask,
)
from fractal_operator.core.tokens import KEPT, RELEASED, TAG_RETAINED
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs
from fractal_operator.shell.memory import Memory
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.permits import Permits, Waiter
from fractal_operator.shell.problems import problem_of

log = logging.getLogger(__name__)


class Calls:
    """StopTask, tags, lookups and task definitions, as plans ask for them."""

    def __init__(
        self, ecs: Ecs, clock: Clock, observer: Observer, permits: Permits, metrics: Metrics
    ) -> None:
        self._ecs = ecs
        self._clock = clock
        self._observer = observer
        self._permits = permits
        self._metrics = metrics

    async def stop_task(self, waiter: Waiter, memory: Memory, action: StopTask) -> None:
        """Ask ECS to stop a task; the answer shows it as it is then. Raises NoPermit."""
        waited = self._permits.use(action.region, "StopTask", waiter)
        now, known = self._clock.now(), memory.stops.get(action.arn)
        turn = (known.turn if known is not None else None) or (now if waited else None)
        try:
            task = await self._ecs.stop_task(
                action.region, action.cluster, action.arn, action.reason
            )
        except FractalError as error:
            memory.stops[action.arn] = Stop(now, problem_of(error, now), turn)
            log.warning("StopTask of %s failed: %s", action.arn, error)
            return
        memory.stops[action.arn] = Stop(now, turn=turn)
        self._metrics.stopped(action.reason)
        self._observed(action.arn, task, now)

    async def tag_task(self, memory: Memory, action: TagTask) -> None:
        """Put tags on a task: as kept, or as the object's own."""
        now = self._clock.now()
        value = action.tags.get(TAG_RETAINED)
        kept, released = value in KEPT, value == RELEASED
        answers, others = memory.retained, memory.adopted
        if not kept:
            answers, others = others, answers
        try:
            await self._ecs.tag_task(action.region, action.arn, action.tags)
        except FractalError as error:
            answers[action.arn] = Stop(now, problem_of(error, now), released=released)
            log.warning("tagging %s failed: %s", action.arn, error)
        else:
            answers[action.arn] = Stop(now, released=released)
            others.pop(action.arn, None)  # overwritten

    def _observed(self, arn: TaskArn, task: ObservedTask | None, now: datetime) -> None:
        if task is not None:
            self._observer.tasks.observe(task)
        else:
            self._observer.tasks.absent(arn, now)

    async def find(self, memory: Memory, action: Find) -> None:
        """Look an attempt's tasks up by what they were started as."""
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

    async def define(self, memory: Memory, action: Resolve | Ensure, request: str) -> None:
        """Find or register a task definition; ``request`` is the wish that this look answers."""
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
        memory.definition = replace(view, request=request)
