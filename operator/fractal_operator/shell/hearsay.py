"""The ends of tasks that only events have told of: ECS is asked about each before it counts.

After an end another task is launched, and whoever can write to the queue can tell of one that was
none. So an end on an event's word alone changes nothing, but has the task described at once, up to
100 in a call, and then as often as the ring comes round, until ECS shows that it has stopped. ECS
may show the past, or not show a new task yet, for about five minutes; what it does not confirm
after that was no end.
"""

import logging
from datetime import datetime, timedelta

from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.ports import Clock

log = logging.getLogger(__name__)

CALL = 100
"""How many tasks one DescribeTasks takes."""

FORGOTTEN_AFTER = timedelta(hours=1)
"""About as long as ECS itself tells of a task that has ended."""


class Hearsay:
    """Ends by the ARNs of their tasks, from the event that told of one to ECS's own word."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[TaskArn, tuple[ObservedTask, datetime]] = {}
        self._fresh: dict[TaskArn, None] = {}

    def tell(self, task: ObservedTask) -> None:
        """An event has told of the end of a task that is not known to have ended."""
        if task.arn not in self._told:
            now = self._clock.now()
            self._told[task.arn] = task, min(task.stopped_at or now, now)
            self._fresh[task.arn] = None

    def of(self, arn: TaskArn) -> ObservedTask | None:
        """The end of a task as an event told of it, while ECS has not confirmed it."""
        told = self._told.get(arn)
        return told[0] if told is not None else None

    def calls(self, cluster_arn: str) -> int:
        """How many calls it takes to ask ECS about the ends in a cluster that events have told of
        and that it has not been asked about yet."""
        return -(-len(tokens.under(cluster_arn, self._fresh)) // CALL)

    def take(self, cluster_arn: str) -> list[TaskArn]:
        """The tasks of those ends, as many as one call describes; they are asked about now."""
        taken = tokens.under(cluster_arn, self._fresh)[:CALL]
        for arn in taken:
            del self._fresh[arn]
        return taken

    def asked(self, cluster_arn: str) -> set[TaskArn]:
        """The tasks of a cluster that were asked about, and are to be asked about again."""
        return {*tokens.under(cluster_arn, self._told)} - self._fresh.keys()

    def shown(self, task: ObservedTask) -> None:
        """ECS has shown a task."""
        if task.live and self._expired(task.arn):
            log.error("an event told of an end of task %s, which lives: was it forged?", task.arn)
        if task.stopped or self._expired(task.arn):
            self._drop(task.arn)

    def missed(self, arn: TaskArn) -> None:
        """ECS does not know a task: what becomes of it, others find out if it stays so."""
        if self._expired(arn):
            self._drop(arn)

    def prune(self) -> None:
        """Forget the ends that ECS has told nothing of for long, as where a cluster is gone."""
        oldest = self._clock.now() - FORGOTTEN_AFTER
        for arn in [arn for arn, (_, at) in self._told.items() if at < oldest]:
            self._drop(arn)

    def _expired(self, arn: TaskArn) -> bool:
        told = self._told.get(arn)
        return told is not None and self._clock.now() - told[1] > LOST_AFTER

    def _drop(self, arn: TaskArn) -> None:
        self._told.pop(arn, None)
        self._fresh.pop(arn, None)
