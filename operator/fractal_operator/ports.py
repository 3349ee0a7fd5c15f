"""The operator's ports: everything outside the process that a reconcile may touch.

Shell coroutines await these methods only, so that a simulator can drive them without an event
loop. Every method may raise the errors of :mod:`fractal_models.errors`; ``OutcomeUnknown`` means
that the call may have been executed.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from fractal_models.kube import KubeEvent, ObjectKey
from fractal_models.observed import (
    Address,
    ClusterArn,
    ClusterInfo,
    DescribeTasksResult,
    ObservedTask,
    RunTaskResult,
    TaskArn,
    TaskDefinition,
)
from fractal_models.records import LivePage, MirrorRecord, Record, Refused
from fractal_models.task_events import Message

__all__ = ["Clock", "Ecs", "Events", "Kube", "KubeEvent", "Ledger", "ObjectKey"]


class Kube(Protocol):
    """The Kubernetes API. Bodies are the API's own JSON objects.

    Every write carries the uid and resourceVersion of ``body``: a lost race raises ``Conflict``,
    an object that is gone raises ``Gone``. Each returns the object as it stands after the write.
    """

    async def get(self, key: ObjectKey) -> Mapping[str, Any] | None: ...

    async def list(self) -> Collection[Mapping[str, Any]]: ...

    async def claimed(self, install: str) -> Collection[Mapping[str, Any]]:
        """Return the objects that an installation looks after, whatever their labels are."""
        ...

    async def set_finalizers(
        self, body: Mapping[str, Any], finalizers: Sequence[str]
    ) -> Mapping[str, Any]: ...

    async def write_status(
        self, body: Mapping[str, Any], status: Mapping[str, Any]
    ) -> Mapping[str, Any]: ...

    async def delete(self, body: Mapping[str, Any]) -> None:
        """Ask for the object's deletion, if it is still the one of ``body`` (uid)."""
        ...

    async def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None: ...

    async def get_lease(self, key: ObjectKey, within: float) -> Mapping[str, Any] | None:
        """Return the Lease, None when there is none. Each call ends within ``within`` seconds."""
        ...

    async def create_lease(
        self, key: ObjectKey, spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]: ...

    async def update_lease(
        self, lease: Mapping[str, Any], spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        """Replace the whole spec of ``lease``, if nobody has written it since."""
        ...


class Ecs(Protocol):
    """The ECS client helper, one per region, made awaitable. ``cluster`` is a name or an ARN."""

    def draw(self, region: str, operation: str) -> float:
        """Take what the rate limit asks for one RunTask or StopTask, without waiting: 0.0.

        Else nothing is taken, and the answer is in how many seconds it may be there. ``run_task``
        and ``stop_task`` must each have been preceded by a draw that was 0.0.
        """
        ...

    async def account(self, region: str) -> str:
        """The AWS account that the credentials belong to (STS GetCallerIdentity)."""
        ...

    def forget_definition(self, region: str, reference: str) -> None:
        """Forget what is cached of a task definition: RunTask called it inactive."""
        ...

    async def describe_cluster(self, region: str, cluster: str) -> ClusterInfo | None: ...

    async def resolve_definition(self, region: str, reference: str) -> TaskDefinition | None: ...

    async def ensure_definition(
        self, region: str, registration: Mapping[str, Any]
    ) -> TaskDefinition: ...

    async def run_task(self, region: str, request: Mapping[str, Any]) -> RunTaskResult: ...

    async def stop_task(
        self, region: str, cluster: ClusterArn, arn: TaskArn, reason: str
    ) -> ObservedTask | None: ...

    async def tag_task(self, region: str, arn: TaskArn, tags: Mapping[str, str]) -> None:
        """Put tags on a task; returning means that ECS has confirmed them."""
        ...

    async def list_tasks(
        self, region: str, cluster: str, *, started_by: str = "", stopped: bool = False
    ) -> Sequence[TaskArn]: ...

    async def describe_tasks(
        self, region: str, cluster: str, arns: Sequence[TaskArn]
    ) -> DescribeTasksResult: ...

    async def addresses(
        self, region: str, tasks: Sequence[ObservedTask]
    ) -> Mapping[TaskArn, Address]: ...


class Events(Protocol):
    """The queue of task events. ``name`` is the queue's."""

    name: str

    async def receive(self, seconds: int) -> Sequence[Message]:
        """Wait for messages, for up to ``seconds`` (1..20); some of those that are there, or none.

        What is received is hidden for a while, and comes again unless it is deleted.
        """
        ...

    async def delete(self, receipts: Sequence[str]) -> int:
        """Delete messages that were received together; how many were not deleted."""
        ...


class Ledger(Protocol):
    """Postgres, as a mirror. Every method is one transaction and may be repeated harmlessly."""

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        """Write a batch; a record never overwrites a newer one.

        Returns the records that Postgres refuses for good; the others are written all the same.
        """
        ...

    async def touch(self, seen: Mapping[TaskArn, datetime]) -> None:
        """Note when these tasks were seen, unchanged."""
        ...

    async def live(self, after: str = "") -> LivePage:
        """Return a page of this installation's rows that are not closed, of objects and of tasks.

        The next one follows the ``upto`` of the last; it is None where none follows.
        """
        ...

    async def correct(self, batch: Sequence[MirrorRecord]) -> Sequence[Refused]:
        """Write a batch even over newer rows: they are known to be wrong."""
        ...

    async def close_missing(
        self, uids: Sequence[str], arns: Sequence[TaskArn], at: datetime
    ) -> int:
        """Close the rows of objects that are gone without a last record; returns how many.

        And those of the tasks ``arns`` whose object's row is closed already.
        """
        ...

    async def prune(self, before: datetime, limit: int) -> Mapping[str, int]:
        """Delete at most ``limit`` rows of each table of what was over ``before``; how many."""
        ...


class Clock(Protocol):
    """Time: ``now`` is aware UTC wall time, ``monotonic`` seconds that never go back."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
