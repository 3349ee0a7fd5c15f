"""The ports of one process onto the fakes: Kube, Ecs and Ledger, each over the process's wire."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.unit.shell.ecs_world import ACCOUNT, EcsWorld
from tests.unit.shell.kube_world import KubeWorld
from tests.unit.shell.wire import Wire

from fractal_helpers.upserts import rank
from fractal_models.errors import Unavailable
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
from fractal_models.records import (
    AppStateRecord,
    ContainerRecord,
    HistoryRecord,
    LivePage,
    MirrorRecord,
    Record,
    Refused,
)
from fractal_operator.core.selector import Selector


class FakeKube:
    """The port Kube of one process; its lists leave out what ``selector`` does not select."""

    def __init__(self, world: KubeWorld, wire: Wire, selector: Selector | None = None) -> None:
        self._world = world
        self._wire = wire
        self._selector = selector or Selector()

    async def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        return await self._wire.call("get", lambda: self._world.get(key), key)

    async def list(self) -> Sequence[Mapping[str, Any]]:
        def do() -> Sequence[Mapping[str, Any]]:
            every = self._world.list()
            return [x for x in every if self._selector.selects(x["metadata"].get("labels"))]

        return await self._wire.call("list", do)

    async def claimed(self, install: str) -> Sequence[Mapping[str, Any]]:
        return await self._wire.call("claimed", lambda: self._world.claimed(install), install)

    async def set_finalizers(
        self, body: Mapping[str, Any], finalizers: Sequence[str]
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.set_finalizers(body, finalizers)

        return await self._wire.call("set_finalizers", do, body, finalizers)

    async def write_status(
        self, body: Mapping[str, Any], status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.write_status(body, status)

        return await self._wire.call("write_status", do, body, status)

    async def delete(self, body: Mapping[str, Any]) -> None:
        await self._wire.call("delete", lambda: self._world.delete_if_same(body), body)

    async def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None:
        def do() -> None:
            self._world.post_event(body, event)

        await self._wire.call("post_event", do, body, event)

    async def get_lease(self, key: ObjectKey, within: float) -> Mapping[str, Any] | None:
        return await self._wire.call("get_lease", lambda: self._world.get_lease(key), key)

    async def create_lease(
        self, key: ObjectKey, spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.create_lease(key, spec)

        return await self._wire.call("create_lease", do, key, spec)

    async def update_lease(
        self, lease: Mapping[str, Any], spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        def do() -> Mapping[str, Any]:
            return self._world.update_lease(lease, spec)

        return await self._wire.call("update_lease", do, lease, spec)


class FakeEcs:
    """The port Ecs of one process. There is one region; another is another world."""

    def __init__(self, world: EcsWorld, wire: Wire) -> None:
        self._world = world
        self._wire = wire
        self.forgotten: list[str] = []

    def draw(self, region: str, operation: str) -> float:
        left = self._world.permits.get(operation)
        if left is None:
            return 0.0
        self._world.permits[operation] = max(left - 1, 0)
        return 0.0 if left else 1.0

    def forget_definition(self, region: str, reference: str) -> None:
        self.forgotten.append(reference)

    async def account(self, region: str) -> str:
        return await self._wire.call("account", lambda: ACCOUNT)

    async def describe_cluster(self, region: str, cluster: str) -> ClusterInfo | None:
        world = self._world
        return await self._wire.call(
            "describe_cluster", lambda: world.describe_cluster(cluster), cluster
        )

    async def resolve_definition(self, region: str, reference: str) -> TaskDefinition | None:
        world = self._world
        return await self._wire.call(
            "resolve_definition", lambda: world.resolve_definition(reference), reference
        )

    async def ensure_definition(
        self, region: str, registration: Mapping[str, Any]
    ) -> TaskDefinition:
        world = self._world
        return await self._wire.call(
            "ensure_definition", lambda: world.ensure_definition(registration), registration
        )

    async def run_task(self, region: str, request: Mapping[str, Any]) -> RunTaskResult:
        return await self._wire.call("run_task", lambda: self._world.run_task(request), request)

    async def stop_task(
        self, region: str, cluster: ClusterArn, arn: TaskArn, reason: str
    ) -> ObservedTask | None:
        world = self._world
        return await self._wire.call(
            "stop_task", lambda: world.stop_task(cluster, arn, reason), arn, reason
        )

    async def tag_task(self, region: str, arn: TaskArn, tags: Mapping[str, str]) -> None:
        world = self._world
        await self._wire.call("tag_task", lambda: world.tag_task(arn, tags), arn, tags)

    async def list_tasks(
        self, region: str, cluster: str, *, started_by: str = "", stopped: bool = False
    ) -> Sequence[TaskArn]:
        def do() -> Sequence[TaskArn]:
            return self._world.list_tasks(cluster, started_by, stopped)

        return await self._wire.call("list_tasks", do, cluster, started_by, stopped)

    async def describe_tasks(
        self, region: str, cluster: str, arns: Sequence[TaskArn]
    ) -> DescribeTasksResult:
        world = self._world
        if not arns:
            return DescribeTasksResult((), ())  # as the client helper: no call
        return await self._wire.call(
            "describe_tasks", lambda: world.describe_tasks(cluster, arns), cluster, arns
        )

    async def addresses(
        self, region: str, tasks: Sequence[ObservedTask]
    ) -> Mapping[TaskArn, Address]:
        known = self._world.addresses
        return await self._wire.call(
            "addresses", lambda: {t.arn: known[t.arn] for t in tasks if t.arn in known}, tasks
        )


class FakeLedger:
    """Postgres: a row is overwritten only by one that is not older, history is appended once.

    ``down`` refuses everything; ``poison`` names keys whose records it never takes; ``page`` is how
    many objects a page of ``live`` has.
    """

    def __init__(self, wire: Wire) -> None:
        self.down = False
        self.poison: Collection[str] = ()
        self.page = 2
        self.apps: dict[str, AppStateRecord] = {}
        self.containers: dict[str, ContainerRecord] = {}
        self.history: dict[str, HistoryRecord] = {}
        self.touched: dict[TaskArn, datetime] = {}
        self.closed: list[str] = []
        self._wire = wire

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        return await self._wire.call("write", lambda: self._write(batch), batch)

    async def touch(self, seen: Mapping[TaskArn, datetime]) -> None:
        def do() -> None:
            self._check()
            self.touched.update(seen)

        await self._wire.call("touch", do, seen)

    async def live(self, after: str = "") -> LivePage:
        return await self._wire.call("live", lambda: self._live(after), after)

    async def correct(self, batch: Sequence[MirrorRecord]) -> Sequence[Refused]:
        return await self._wire.call("correct", lambda: self._correct(batch), batch)

    async def close_missing(
        self, uids: Sequence[str], arns: Sequence[TaskArn], at: datetime
    ) -> int:
        return await self._wire.call(
            "close_missing", lambda: self._close(uids, arns, at), uids, arns, at
        )

    async def prune(self, before: datetime, limit: int) -> Mapping[str, int]:
        return await self._wire.call("prune", lambda: self._prune(before, limit), before, limit)

    def _check(self) -> None:
        if self.down:
            raise Unavailable("the database is down")

    def _write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        self._check()
        refused = []
        for record in batch:
            key = name_of(record)
            if key in self.poison:
                refused.append(Refused(record, "a value that cannot be stored"))
            elif isinstance(record, HistoryRecord):
                self.history.setdefault(key, record)
            else:
                known = self.apps.get(key) or self.containers.get(key)
                if known is None or rank(known) <= rank(record):
                    self._put(record)
        return refused

    def _correct(self, batch: Sequence[MirrorRecord]) -> Sequence[Refused]:
        self._check()
        for record in batch:
            self._put(record)
        return ()

    def _put(self, record: MirrorRecord) -> None:
        if isinstance(record, AppStateRecord):
            self.apps[record.task_id] = record
        else:
            self.containers[record.container_id] = record

    def _live(self, after: str) -> LivePage:
        """A page is ``page`` objects and their tasks, as the real one's, which goes by uids."""
        self._check()
        apps = [row for uid, row in self.apps.items() if not row.deleted and uid not in self.closed]
        apps = sorted((row for row in apps if row.task_id > after), key=lambda row: row.task_id)
        upto = apps[self.page - 1].task_id if len(apps) >= self.page else None
        tasks = (
            row
            for row in self.containers.values()
            if not row.ended and row.uid in self.apps
            if row.uid > after and (upto is None or row.uid <= upto)
        )
        return LivePage((*apps[: self.page], *tasks), upto)

    def _prune(self, before: datetime, limit: int) -> Mapping[str, int]:
        self._check()
        tables: list[tuple[str, dict[str, Any], list[str]]] = [
            (
                "container_history",
                self.history,
                [key for key, row in self.history.items() if row.at < before],
            ),
            (
                "user_containers",
                self.containers,
                [
                    key
                    for key, row in self.containers.items()
                    if row.ended and row.stopped_at is not None and row.stopped_at < before
                ],
            ),
            (
                "user_app_state",
                self.apps,
                [key for key, row in self.apps.items() if row.deleted and row.observed_at < before],
            ),
        ]
        for _, table, keys in tables:
            for key in keys[:limit]:
                del table[key]
        return {name: len(keys[:limit]) for name, _, keys in tables}

    def _close(self, uids: Sequence[str], arns: Sequence[TaskArn], at: datetime) -> int:
        self._check()
        self.closed += uids
        self._stop((arn for arn in arns if self.apps[self.containers[arn].uid].deleted), at)
        return len(uids)

    def _stop(self, arns: Iterable[str], at: datetime) -> None:
        for arn in arns:
            task = self.containers[arn]
            if not task.ended:
                when = max(task.observed_at, at)
                self.containers[arn] = replace(task, state="STOPPED", observed_at=when)


def name_of(record: Record) -> str:
    """The key of a record's row."""
    match record:
        case AppStateRecord():
            return record.task_id
        case ContainerRecord():
            return record.container_id
        case _:
            return record.key
