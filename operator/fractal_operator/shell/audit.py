"""The auditor: PostgreSQL's rows held against the objects, for what the recorder alone cannot mend.

What is gone is closed. What stands otherwise than this process wrote it is written again, whatever
its rank: a restore of etcd or of the database, a commit that landed late, or another operator's
clock has put it there. And the row of a task that ended while nobody could record it, which ECS
does not show any more, is closed with what the status tells of the end.

The rows of live tasks also tell where to look: after a restore of etcd no object may name the
cluster any more in which a task of it lives.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fractal_models.container import Status
from fractal_models.errors import AccessDenied
from fractal_models.observed import TaskArn
from fractal_models.records import AppStateRecord, ContainerRecord, MirrorRecord
from fractal_operator.core import tokens
from fractal_operator.ports import Clock, Kube, Ledger, ObjectKey
from fractal_operator.shell import objects
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.objects import Known
from fractal_operator.shell.record import Recorder, key_of, says_the_same, uid_of

UNRECORDED = "the end of this task was not recorded; closed by the auditor"
"""``stopped_reason`` where the status does not tell of the end any more."""

BATCH = 1000
"""How many rows one statement corrects."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How many objects' rows were closed, and how many rows were wrong."""

    closed: int
    corrected: int


class Auditor:
    """``lives`` tells whether a task is known to live, ``known`` what is known of the object with a
    uid; ``clusters`` are those that are swept."""

    def __init__(
        self,
        kube: Kube,
        ledger: Ledger,
        recorder: Recorder,
        clock: Clock,
        lives: Callable[[TaskArn], bool],
        known: Callable[[str], Known | None],
        clusters: Clusters,
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock
        self._lives = lives
        self._known = known
        self._clusters = clusters

    async def audit(self) -> Audit:
        """Compare once, and mend. Raises what the ports raise; may be repeated.

        Rows are read page by page: what is done takes time in proportion to the objects, and memory
        to a page of them. An object that is not known may have been made a moment ago, so a read
        has to confirm that it is gone.
        """
        before = self._recorder.written()
        missing: list[AppStateRecord] = []
        astray: list[TaskArn] = []
        met: set[str] = set()
        corrected, upto = 0, ""
        while True:
            page = await self._ledger.live(upto)
            rows = {key_of(row): row for row in page.rows}
            apps = [row for row in page.rows if isinstance(row, AppStateRecord)]
            missing += (row for row in apps if self._known(row.task_id) is None)
            for row in _tasks_of(page.rows):
                self._cluster(row)  # swept from now on, whether an object names it or not
            astray += self._astray(page.rows, {row.task_id for row in apps})
            unrecorded = [*self._unrecorded(rows)]
            self._recorder.offer(unrecorded)
            wrong = [*self._otherwise({key: before[key] for key in rows if key in before}, rows)]
            corrected += len(unrecorded) + await self._correct(wrong)
            met |= rows.keys()
            if page.upto is None:
                break
            upto = page.upto
        absent = {key: row for key, row in before.items() if key not in met}
        corrected += await self._correct([*self._otherwise(absent, {})])
        gone = await self._gone(missing)
        if not (gone or astray):
            return Audit(0, corrected)
        closed = await self._ledger.close_missing(gone, astray, self._clock.now())
        return Audit(closed, corrected)

    async def _correct(self, wrong: Sequence[MirrorRecord]) -> int:
        for first in range(0, len(wrong), BATCH):
            await self._ledger.correct(wrong[first : first + BATCH])
        return len(wrong)

    async def _gone(self, missing: Iterable[AppStateRecord]) -> list[str]:
        """The uids, sorted, of those objects that are gone; none of a namespace that is refused."""
        gone: list[str] = []
        refused: set[str] = set()
        for row in missing:
            if row.namespace in refused:
                continue
            try:
                fresh = await self._kube.get(ObjectKey(row.namespace, row.name))
            except AccessDenied:
                refused.add(row.namespace)
                continue
            if fresh is None or objects.uid_of(fresh) != row.task_id:
                gone.append(row.task_id)
        return sorted(gone)

    def _otherwise(
        self, before: Mapping[str, MirrorRecord], rows: Mapping[str, MirrorRecord]
    ) -> Iterator[MirrorRecord]:
        """What this process has written, and is not there."""
        for key, written in before.items():
            if self._recorder.last(key, written) is not written:
                continue  # another row has been on its way since
            row, wrong = rows.get(key), False
            if isinstance(written, ContainerRecord) and written.ended:
                wrong = row is not None
            elif isinstance(written, AppStateRecord) or self._lives(TaskArn(key)):
                wrong = not says_the_same(row, written)
            if wrong and self._known(uid_of(written)) is not None:
                yield written

    def _unrecorded(self, rows: Mapping[str, MirrorRecord]) -> Iterator[ContainerRecord]:
        """The rows of tasks that no status claims and that are not known to live, closed."""
        for key, row in rows.items():
            if not isinstance(row, ContainerRecord) or self._lives(TaskArn(key)):
                continue
            last, known = self._recorder.last(key, row), self._known(row.uid)
            if known is None or (isinstance(last, ContainerRecord) and last.ended):
                continue
            status = Status.from_json(known.body().get("status"))
            if _claimed(status, row) or self._unswept(row):
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

    def _astray(self, rows: Iterable[MirrorRecord], uids: Collection[str]) -> Iterator[TaskArn]:
        """The live tasks, by their rows, of objects that are none of these."""
        for row in _tasks_of(rows):
            if row.uid not in uids and not self._unswept(row):
                yield TaskArn(row.container_id)

    def _cluster(self, row: ContainerRecord) -> Cluster | None:
        arn = tokens.cluster_of(row.container_id)
        return self._clusters.of(tokens.region_of(arn), arn, held=True) if arn else None

    def _unswept(self, row: ContainerRecord) -> bool:
        """Whether this process has not seen yet which tasks live in the cluster of the row's."""
        cluster = self._cluster(row)
        if cluster is None or cluster.swept_since is not None:
            return False
        return cluster.there or not cluster.known


def _tasks_of(rows: Iterable[MirrorRecord]) -> Iterator[ContainerRecord]:
    return (row for row in rows if isinstance(row, ContainerRecord))


def _claimed(status: Status, row: ContainerRecord) -> bool:
    """Whether the status claims a task, or may yet come to claim it."""
    if any(each.arn == row.container_id for each in status.tasks):
        return True
    told = {each.attempt for each in status.tasks}
    told |= {each.attempt for each in status.last_terminations}
    number = status.attempt.number if status.attempt is not None else 0
    return number == row.attempt and number not in told
