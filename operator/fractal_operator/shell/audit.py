"""The auditor: PostgreSQL's rows held against the objects, for what the recorder alone cannot mend.

What is gone is closed. What stands otherwise than this process wrote it is written again, whatever
its rank: a restore of etcd or of the database, a commit that landed late, or another operator's
clock has put it there. And the row of a task that ended while nobody could record it, which ECS
does not show any more, is closed with what the status tells of the end.

The rows of live tasks also tell where to look: after a restore of etcd no object may name the
cluster any more in which a task of it lives.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fractal_models.container import Status
from fractal_models.errors import AccessDenied
from fractal_models.observed import TaskArn
from fractal_models.records import AppStateRecord, ContainerRecord, MirrorRecord
from fractal_operator.core import tokens
from fractal_operator.ports import Clock, Kube, Ledger, ObjectKey
from fractal_operator.shell import objects
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.objects import Body
from fractal_operator.shell.record import Recorder, key_of, says_the_same, uid_of

UNRECORDED = "the end of this task was not recorded; closed by the auditor"
"""``stopped_reason`` where the status does not tell of the end any more."""

Bodies = Mapping[str, Body]
"""Objects by their uids."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How many objects' rows were closed, and how many rows were wrong."""

    closed: int
    corrected: int


class Auditor:
    """``lives`` tells whether a task is known to live; ``clusters`` are those that are swept;
    ``watched``: namespaces (none: all)."""

    def __init__(
        self,
        kube: Kube,
        ledger: Ledger,
        recorder: Recorder,
        clock: Clock,
        lives: Callable[[TaskArn], bool],
        clusters: Clusters,
        watched: Collection[str] = (),
    ) -> None:
        self._kube = kube
        self._watched = frozenset(watched)
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock
        self._lives = lives
        self._clusters = clusters

    async def audit(self, existing: Callable[[], Awaitable[Bodies]]) -> Audit:
        """Compare once, and mend. Raises what the ports raise; may be repeated.

        ``existing`` lists all objects; it is asked after the rows were read, so that an object made
        in between is not taken for gone.
        """
        before = self._recorder.written()
        rows = {key_of(row): row for row in await self._ledger.live()}
        for row in rows.values():
            if isinstance(row, ContainerRecord):
                self._cluster(row)  # swept from now on, whether an object names it or not
        bodies = await existing()
        apps = (row for row in rows.values() if isinstance(row, AppStateRecord))
        gone = await self._gone([row for row in apps if row.task_id not in bodies])
        closed = await self._ledger.close_missing(gone, self._clock.now())
        unrecorded = [*self._unrecorded(rows, bodies)]
        self._recorder.offer(unrecorded)
        wrong = [*self._otherwise(before, rows, bodies)]
        if wrong:
            await self._ledger.correct(wrong)
        return Audit(closed, len(wrong) + len(unrecorded))

    async def _gone(self, missing: Iterable[AppStateRecord]) -> list[str]:
        """The uids, sorted, of the objects missing from a list that are gone.

        A list of several namespaces leaves out those that are refused, so a read has to confirm it.
        """
        gone: list[str] = []
        refused: set[str] = set()
        for row in missing:
            if row.namespace in self._watched:
                if row.namespace in refused:
                    continue
                try:
                    fresh = await self._kube.get(ObjectKey(row.namespace, row.name))
                except AccessDenied:
                    refused.add(row.namespace)
                    continue
                if fresh is not None and objects.uid_of(fresh) == row.task_id:
                    continue
            gone.append(row.task_id)
        return sorted(gone)

    def _otherwise(
        self, before: Mapping[str, MirrorRecord], rows: Mapping[str, MirrorRecord], bodies: Bodies
    ) -> Iterator[MirrorRecord]:
        """What this process has written, and is not there."""
        for key, written in before.items():
            if uid_of(written) not in bodies or self._recorder.last(key, written) is not written:
                continue  # gone, or another row has been on its way since
            row, wrong = rows.get(key), False
            if isinstance(written, ContainerRecord) and written.ended:
                wrong = row is not None
            elif isinstance(written, AppStateRecord) or self._lives(TaskArn(key)):
                wrong = not says_the_same(row, written)
            if wrong:
                yield written

    def _unrecorded(
        self, rows: Mapping[str, MirrorRecord], bodies: Bodies
    ) -> Iterator[ContainerRecord]:
        """The rows of tasks that no status claims and that are not known to live, closed."""
        for key, row in rows.items():
            body = bodies.get(uid_of(row))
            if body is None or not isinstance(row, ContainerRecord):
                continue
            last, status = self._recorder.last(key, row), Status.from_json(body.get("status"))
            ended = isinstance(last, ContainerRecord) and last.ended
            if ended or self._lives(TaskArn(key)) or _claimed(status, row) or self._unswept(row):
                continue
            ends = (each for each in status.last_terminations if each.attempt == row.attempt)
            end, now = next(ends, None), self._clock.now()
            yield replace(
                row,
                state="STOPPED",
                observed_at=max(row.observed_at, now),
                stopped_at=end.finished_at if end is not None and end.finished_at else now,
                stop_code=end.stop_code if end is not None else "",
                stopped_reason=end.reason if end is not None else UNRECORDED,
                exit_code=end.exit_code if end is not None else None,
            )

    def _cluster(self, row: ContainerRecord) -> Cluster | None:
        arn = tokens.cluster_of(row.container_id)
        return self._clusters.of(tokens.region_of(arn), arn, held=True) if arn else None

    def _unswept(self, row: ContainerRecord) -> bool:
        """Whether this process has not seen yet which tasks live in the cluster of the row's."""
        cluster = self._cluster(row)
        if cluster is None or cluster.swept_since is not None:
            return False
        return cluster.there or not cluster.known


def _claimed(status: Status, row: ContainerRecord) -> bool:
    """Whether the status claims a task, or may yet come to claim it."""
    if any(each.arn == row.container_id for each in status.tasks):
        return True
    told = {each.attempt for each in status.tasks}
    told |= {each.attempt for each in status.last_terminations}
    number = status.attempt.number if status.attempt is not None else 0
    return number == row.attempt and number not in told
