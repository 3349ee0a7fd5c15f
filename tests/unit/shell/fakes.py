"""Fakes of the ports Kube, Ledger and Clock, and the wire through which every fake is called.

What a fake knows is the state of the world, shared by any number of processes; a process reaches it
through ports of its own, whose wire records each call and may fail it, lose its answer, end the
process there, or give control away. Fakes are kind to nobody: see each class.
"""

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fractal_models.errors import Conflict, FractalError, Gone, Rejected, Unavailable
from fractal_models.kube import KubeEvent, ObjectKey
from fractal_models.observed import TaskArn
from fractal_models.records import AppStateRecord, ContainerRecord, Record, Refused

Answer = TypeVar("Answer")
Body = dict[str, Any]
START = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


class Crash(BaseException):
    """The process ends here; whatever it called has happened, or not."""


class _Suspension:
    def __await__(self) -> Generator[None, None, None]:
        yield


def run(coro: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of a coroutine that awaits nothing but fakes: no event loop is needed."""
    try:
        while True:
            coro.send(None)
    except StopIteration as end:
        result: Answer = end.value
        return result


def run_to_call(coro: Coroutine[Any, Any, object], number: int) -> bool:
    """Run a coroutine over a wire that suspends until its call ``number`` (from 1) is next.

    False if it ended before.
    """
    try:
        for _ in range(number):
            coro.send(None)
    except StopIteration:
        return False
    return True


@dataclass(frozen=True)
class Call:
    """One call of a port's method, as it was sent."""

    method: str
    arguments: tuple[Any, ...]


@dataclass
class Wire:
    """How one process reaches the world: every call is noted, and may go wrong as scripted.

    With ``suspends``, control is given away before each call. ``crash_at`` numbers calls from 1.
    """

    suspends: bool = False
    crash_at: int | None = None
    crash_after: bool = False
    calls: list[Call] = field(default_factory=list)
    _faults: list[tuple[str, FractalError, bool]] = field(default_factory=list)

    def fail(
        self, method: str, error: FractalError, *, nth: int = 1, times: int = 1, after: bool = False
    ) -> None:
        """Fail the ``nth`` call of ``method`` from now (and those next to it): ``times`` calls.

        ``after``: it takes effect all the same; only the answer is lost.
        """
        seen = sum(call.method == method for call in self.calls)
        for number in range(seen + nth, seen + nth + times):
            self._faults.append((f"{method} {number}", error, after))

    def counts(self) -> Counter[str]:
        """How often each method was called."""
        return Counter(call.method for call in self.calls)

    def of(self, method: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of one method."""
        return [call.arguments for call in self.calls if call.method == method]

    async def call(self, method: str, do: Callable[[], Answer], *arguments: Any) -> Answer:
        if self.suspends:
            await _Suspension()
        self.calls.append(Call(method, copy.deepcopy(arguments)))
        if self.crash_at == len(self.calls) and not self.crash_after:
            raise Crash
        fault = self._next_fault(method)
        if fault is not None and not fault[2]:
            raise fault[1]
        result = do()
        if self.crash_at == len(self.calls):
            raise Crash
        if fault is not None:
            raise fault[1]
        return copy.deepcopy(result)

    def _next_fault(self, method: str) -> tuple[str, FractalError, bool] | None:
        name = f"{method} {self.counts()[method]}"
        return next((fault for fault in self._faults if fault[0] == name), None)


class FakeClock:
    """Time that passes only when the test says so. ``sleep`` needs an event loop."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return 1000.0 + self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        due = [each for each in self._sleepers if each[0] <= self._seconds]
        self._sleepers = [each for each in self._sleepers if each[0] > self._seconds]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        await future


class KubeWorld:
    """The API server: uids, generations, resourceVersions, finalizers; and the users' edits.

    A write whose resourceVersion or uid is not the present one is a Conflict; one of an object that
    is gone, Gone. ``changes`` is what a watch would tell, in order.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.objects: dict[ObjectKey, Body] = {}
        self.events: dict[str, tuple[str, KubeEvent]] = {}
        self.changes: list[tuple[str, Body]] = []
        self.writes = 0
        self._clock = clock
        self._version = 100
        self._uids = 0

    # --- what users do ---

    def create(self, key: ObjectKey, spec: Mapping[str, Any], **meta: Any) -> Body:
        assert key not in self.objects
        self._uids += 1
        body = {
            "metadata": {
                "namespace": key.namespace,
                "name": key.name,
                "uid": f"4a1f0c7e-0000-4000-8000-{self._uids:012}",
                "generation": 1,
                **meta,
            },
            "spec": dict(spec),
        }
        return self._store(body, "ADDED")

    def edit(self, key: ObjectKey, **spec: Any) -> Body:
        body = copy.deepcopy(self.objects[key])
        body["spec"].update(spec)
        body["metadata"]["generation"] += 1
        return self._store(body)

    def annotate(self, key: ObjectKey, **annotations: str) -> Body:
        body = copy.deepcopy(self.objects[key])
        names = {f"fractal.co/{k.replace('_', '-')}": v for k, v in annotations.items()}
        body["metadata"]["annotations"] = {**body["metadata"].get("annotations", {}), **names}
        return self._store(body)

    def delete(self, key: ObjectKey) -> None:
        body = copy.deepcopy(self.objects[key])
        if not body["metadata"].get("finalizers"):
            self._drop(body)
        elif "deletionTimestamp" not in body["metadata"]:
            body["metadata"]["generation"] += 1
            body["metadata"]["deletionTimestamp"] = self._clock.now().isoformat()
            self._store(body)

    def force_delete(self, key: ObjectKey) -> None:
        self._drop(self.objects[key])

    # --- what the API server answers ---

    def get(self, key: ObjectKey) -> Body | None:
        return self.objects.get(key)

    def set_finalizers(self, body: Mapping[str, Any], finalizers: Sequence[str]) -> Body:
        current = self._fenced(body)
        before = current["metadata"].get("finalizers", [])
        deleting = "deletionTimestamp" in current["metadata"]
        if deleting and set(finalizers) - set(before):
            raise Rejected("no new finalizers can be added while the object is being deleted")
        if list(finalizers) == before:
            return current
        current["metadata"]["finalizers"] = list(finalizers)
        self.writes += 1
        if deleting and not finalizers:
            return self._drop(current)
        return self._store(current)

    def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> Body:
        current = self._fenced(body)
        if current.get("status") == status:
            return current
        current["status"] = copy.deepcopy(dict(status))
        self.writes += 1
        return self._store(current)

    def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None:
        self.events.setdefault(event.name_suffix, (body["metadata"]["uid"], event))

    def _fenced(self, body: Mapping[str, Any]) -> Body:
        meta = body["metadata"]
        current = self.objects.get(ObjectKey(meta["namespace"], meta["name"]))
        if current is None:
            raise Gone(f"{meta['name']} is gone")
        for fence in ("uid", "resourceVersion"):
            if current["metadata"][fence] != meta[fence]:
                raise Conflict(f"{meta['name']} has another {fence}")
        return copy.deepcopy(current)

    def _store(self, body: Body, kind: str = "MODIFIED") -> Body:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        meta = body["metadata"]
        self.objects[ObjectKey(meta["namespace"], meta["name"])] = body
        self.changes.append((kind, copy.deepcopy(body)))
        return body

    def _drop(self, body: Body) -> Body:
        stored = self._store(body, "DELETED")
        del self.objects[ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])]
        return stored


class FakeKube:
    """The port Kube of one process."""

    def __init__(self, world: KubeWorld, wire: Wire) -> None:
        self._world = world
        self._wire = wire

    async def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        return await self._wire.call("get", lambda: self._world.get(key), key)

    async def list(self) -> Sequence[Mapping[str, Any]]:
        return await self._wire.call("list", lambda: [*self._world.objects.values()])

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

    async def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None:
        def do() -> None:
            self._world.post_event(body, event)

        await self._wire.call("post_event", do, body, event)


class FakeLedger:
    """Postgres: a row is overwritten only by one that is not older, history is appended once.

    ``down`` refuses everything; ``poison`` names keys whose records it never takes.
    """

    def __init__(self, wire: Wire) -> None:
        self.down = False
        self.poison: Collection[str] = ()
        self.apps: dict[str, AppStateRecord] = {}
        self.containers: dict[str, ContainerRecord] = {}
        self.history: dict[str, Record] = {}
        self.touched: dict[TaskArn, datetime] = {}
        self.closed: list[str] = []
        self._wire = wire

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        return await self._wire.call("write", lambda: self._write(batch), batch)

    async def touch(self, arns: Sequence[TaskArn], observed_at: datetime) -> None:
        def do() -> None:
            self._check()
            self.touched.update(dict.fromkeys(arns, observed_at))

        await self._wire.call("touch", do, arns, observed_at)

    async def live_uids(self) -> Sequence[str]:
        return await self._wire.call("live_uids", self._live_uids)

    async def close_missing(self, uids: Sequence[str], at: datetime) -> int:
        return await self._wire.call("close_missing", lambda: self._close(uids), uids, at)

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
            elif isinstance(record, AppStateRecord):
                known = self.apps.get(key)
                if known is None or known.observed_at <= record.observed_at:
                    self.apps[key] = record
            elif isinstance(record, ContainerRecord):
                old = self.containers.get(key)
                if old is None or _order(old) <= _order(record):
                    self.containers[key] = record
            else:
                self.history.setdefault(key, record)
        return refused

    def _live_uids(self) -> Sequence[str]:
        self._check()
        return [uid for uid, row in self.apps.items() if not row.deleted and uid not in self.closed]

    def _close(self, uids: Sequence[str]) -> int:
        self._check()
        self.closed += uids
        return len(uids)


def name_of(record: Record) -> str:
    """The key of a record's row."""
    match record:
        case AppStateRecord():
            return record.task_id
        case ContainerRecord():
            return record.container_id
        case _:
            return record.key


def _order(row: ContainerRecord) -> tuple[int, int, datetime]:
    return row.version, row.generation, row.observed_at
