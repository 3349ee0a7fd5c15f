"""The addresses of running tasks: looked up once a task, while somebody waits for one.

Done before a task is shown to its object: Running and Ready are then one write. Looking one up
takes a call of another service, which may be slow or out of reach. Who sweeps waits for it; who
reads task events must not, since what comes next may be of another region: those tasks are put off,
and taken in when their cluster's addresses have been asked for, a hundred a call.
"""

import logging
from collections.abc import Callable, Iterable

from fractal_models.errors import FractalError
from fractal_models.observed import Address, ObservedTask, TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.monotonic import newer
from fractal_operator.ports import Ecs
from fractal_operator.shell.clusters import Cluster
from fractal_operator.shell.tasks import Tasks

log = logging.getLogger(__name__)

CALL = 100
"""How many tasks are asked for at a time."""


class Locator:
    """``known`` are the addresses by task. ``wake(uid)`` has an object looked at again."""

    def __init__(self, ecs: Ecs, tasks: Tasks, wake: Callable[[str], None]) -> None:
        self.known: dict[TaskArn, Address] = {}
        self._ecs = ecs
        self._tasks = tasks
        self._wake = wake
        self._put_off: dict[TaskArn, ObservedTask] = {}

    def wants(self, task: ObservedTask) -> bool:
        """Whether a task runs whose address somebody waits for, and that is not known."""
        return (
            task.last_status == "RUNNING"
            and task.arn not in self.known
            and self._tasks.awaited(task)
        )

    def put_off(self, task: ObservedTask) -> None:
        """Take in a task that an event tells of when its address has been asked for."""
        self._put_off[task.arn] = newer(self._put_off.get(task.arn), task)

    def of(self, arn: TaskArn) -> ObservedTask | None:
        """A task as an event told of it, while it is put off."""
        return self._put_off.get(arn)

    def waits(self, cluster: Cluster) -> bool:
        """Whether tasks of a cluster are put off."""
        return cluster.info is not None and bool(tokens.under(cluster.arn, self._put_off))

    async def take_in(self, cluster: Cluster) -> None:
        """Ask for the addresses of those that are put off by now, and take them in."""
        arns = tokens.under(cluster.arn, self._put_off)[:CALL]
        try:
            await self.locate(cluster, [self._put_off[arn] for arn in arns])
        finally:
            for arn in arns:
                if (task := self._put_off.pop(arn, None)) is not None:
                    self._tasks.observe(task, launched=True)

    async def locate(self, cluster: Cluster, tasks: Iterable[ObservedTask]) -> None:
        """Look up the addresses of those that want one; what fails is tried at the next look."""
        wanted = [task for task in tasks if self.wants(task)]
        if not wanted:
            return
        try:
            located = await self._ecs.addresses(cluster.region, wanted)
        except FractalError as error:
            log.warning("addresses of tasks in %s cannot be told now: %s", cluster.arn, error)
            return
        for task in wanted:
            if task.arn in located:
                self.known[task.arn] = located[task.arn]
                uid = self._tasks.owner(task)
                if uid is not None:
                    self._wake(uid)

    def prune(self) -> None:
        """Forget those of tasks that have ended, which will be somebody else's; and the tasks that
        nobody waits for any more."""
        self.known = {arn: each for arn, each in self.known.items() if self._tasks.lives(arn)}
        awaited = self._tasks.awaited
        self._put_off = {arn: task for arn, task in self._put_off.items() if awaited(task)}
