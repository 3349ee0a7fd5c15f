"""The recorder: what Postgres is told, coalesced and in batches, never in anybody's way.

Rows wait in memory until a transaction holds them: at most one for each table row (the newest), and
history in order. So with the database down nothing is lost while the process lives; a restarted
process offers every object's rows again. Both have a bound: what had to be dropped is told by one
row that marks the gap; of the rows, those that matter still are offered again when the database is
back, or closed by the auditor.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from fractal_models.errors import FractalError
from fractal_models.observed import TaskArn
from fractal_models.records import (
    AppStateRecord,
    ContainerRecord,
    HistoryRecord,
    MirrorRecord,
    Record,
    Refused,
)
from fractal_operator.core import backoff
from fractal_operator.ports import Clock, Ledger
from fractal_operator.shell.touches import Touches

log = logging.getLogger(__name__)

BATCH = 500
HISTORY_BATCH = 1000
"""More than of rows, because each object tells several transitions when a process starts."""

HISTORY_BOUND = 50_000
ROWS_BOUND = 50_000
"""How many rows wait at most: two for each of 10,000 objects, and tasks that came and went."""

CAP_SECONDS = 30.0
ROWS_KEPT = 32
"""How many rows of one object are remembered as written: more than it has tasks in two hours."""

ENDED_KEPT = 20_000
"""How many rows of ended tasks are, of all objects: ECS shows such a task for an hour."""


class Recorder:
    """Collects records and writes them.

    ``refused`` hears of those that Postgres will not take. ``replay`` is called when the database
    is back: rows may have been lost with it, so all objects are to be offered again. History older
    than ``keep`` is not taken in: it would be pruned at once (prune.py). None takes all. Without a
    ``ledger`` nothing is taken in.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        clock: Clock,
        *,
        refused: Callable[[Refused], None],
        replay: Callable[[], None] = lambda: None,
        keep: timedelta | None = None,
        history_bound: int = HISTORY_BOUND,
        rows_bound: int = ROWS_BOUND,
        ended_kept: int = ENDED_KEPT,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._refused = refused
        self._replay = replay
        self._keep = keep
        self._bound = history_bound
        self._rows_bound = rows_bound
        self._ended_kept = ended_kept
        self._rows: OrderedDict[str, MirrorRecord] = OrderedDict()
        self._written: dict[str, dict[str, MirrorRecord]] = {}
        self._refusals: set[str] = set()
        self._history: deque[HistoryRecord] = deque()
        self._dropped: HistoryRecord | None = None
        self._overflowed = False
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._touches = Touches(clock)
        self._waiting_since: float | None = None
        self.failures = 0
        self._retry_at = 0.0

    def offer(self, records: Iterable[Record]) -> None:
        """Take in records; one that says nothing new since the last write costs nothing."""
        if self._ledger is None:
            return
        for record in records:
            match record:
                case HistoryRecord():
                    self._remember(record)
                case ContainerRecord() | AppStateRecord():
                    key = key_of(record)
                    written = self._written.get(uid_of(record), {})
                    if key in written:
                        written[key] = written.pop(key)  # the last to be forgotten
                    if key in self._ended:
                        self._ended.move_to_end(key)
                    known = self._rows.get(key) or written.get(key)
                    if says_the_same(known, record) or _older(record, known):
                        continue
                    self._rows[key] = record
                    if len(self._rows) > self._rows_bound:
                        self._drop()
        if self.depth() and self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()

    def touch(self, arns: Iterable[TaskArn], at: datetime) -> None:
        """Note when tasks were last observed, whatever else there is to say of them.

        Not while the database is down: the next sweeps will tell of those that live then.
        """
        if self._ledger is not None and not self.failures:
            self._touches.note(arns, at)

    def written(self) -> dict[str, MirrorRecord]:
        """All rows that are remembered as written, and were not refused, by their keys."""
        rows = (row for each in self._written.values() for row in each.items())
        return {key: row for key, row in rows if key not in self._refusals}

    def last(self, key: str, like: MirrorRecord) -> MirrorRecord | None:
        """The row with this key that was offered last, of the same object as ``like``."""
        return self._rows.get(key) or self._written.get(uid_of(like), {}).get(key)

    def depth(self) -> int:
        """How many records wait."""
        return len(self._rows) + len(self._history)

    def lag(self) -> float:
        """For how many seconds the oldest waiting record has waited."""
        since = self._waiting_since
        return 0.0 if since is None else self._clock.monotonic() - since

    async def flush(self) -> bool:
        """Write what waits; False if the database did not take it (it is tried again later)."""
        ledger = self._ledger
        if ledger is None:
            return True
        if self._clock.monotonic() < self._retry_at:
            return False
        try:
            while self.depth():
                await self._write_batch(ledger)
            await self._touches.write(ledger)
        except FractalError as error:
            self.failures += 1
            pause = backoff.delay(self.failures, "ledger", first=1, cap=CAP_SECONDS)
            self._retry_at = self._clock.monotonic() + pause.total_seconds()
            log.warning("recording %d rows failed, tried again later: %s", self.depth(), error)
            return False
        recovered, overflowed = self.failures > 0, self._overflowed
        self.failures, self._retry_at, self._waiting_since = 0, 0.0, None
        self._overflowed = False
        if recovered:
            self._written.clear()
            self._ended.clear()
        if recovered or overflowed:
            self._replay()
        return True

    async def _write_batch(self, ledger: Ledger) -> None:
        rows = list(islice(self._rows.items(), BATCH))
        events = list(islice(self._history, HISTORY_BATCH))
        gap = [self._dropped] if self._dropped is not None else []
        batch: Sequence[Record] = [*(row for _, row in rows), *gap, *events]
        refused = await ledger.write(batch)
        for key, row in rows:
            self._note(key, row)
            if self._rows.get(key) is row:  # else a newer one came while this one was written
                del self._rows[key]
        never = {key_of(r.record) for r in refused if not isinstance(r.record, HistoryRecord)}
        self._refusals = (self._refusals - {key for key, _ in rows}) | never
        for _, row in rows:
            if isinstance(row, AppStateRecord) and row.deleted:  # nothing to compare with
                self._forget(row.task_id)
        for event in events:
            if self._history and self._history[0] is event:  # else it made room meanwhile
                self._history.popleft()
        if gap and self._dropped is gap[0]:
            self._dropped = None
        for each in refused:
            self._refused(each)

    def _note(self, key: str, row: MirrorRecord) -> None:
        """Remember a row as written; the one that was not offered for longest makes room."""
        written = self._written.setdefault(uid_of(row), {})
        written.pop(key, None)
        written[key] = row
        if isinstance(row, ContainerRecord) and row.ended:
            self._ended[key] = row.uid
            self._ended.move_to_end(key)
            if len(self._ended) > self._ended_kept:
                oldest, uid = self._ended.popitem(last=False)
                self._written.get(uid, {}).pop(oldest, None)
        if len(written) > ROWS_KEPT:
            oldest = next(iter(written))
            del written[oldest]
            self._ended.pop(oldest, None)

    def _forget(self, uid: str) -> None:
        """Forget an object's rows: there will be nothing to compare with them."""
        keys = self._written.pop(uid, {}).keys()
        self._refusals -= keys
        for key in keys:
            self._ended.pop(key, None)

    def _remember(self, record: HistoryRecord) -> None:
        if self._keep is not None and record.at < self._clock.now() - self._keep:
            return
        if len(self._history) >= self._bound:
            lost = self._history.popleft()
            self._mark_gap(lost.key, lost.at)
        self._history.append(record)

    def _drop(self) -> None:
        """Make room for a row; what lives is offered again, so only an end is lost."""
        key, row = self._rows.popitem(last=False)
        self._overflowed = True
        if isinstance(row, ContainerRecord) and row.ended:
            self._mark_gap(key, row.observed_at)

    def _mark_gap(self, key: str, at: datetime) -> None:
        self._dropped = HistoryRecord(
            key=f"gap-{key}",
            at=at,
            uid="",
            namespace="",
            name="",
            attempt=0,
            container_id="",
            phase_from="",
            phase_to="",
            reason="HistoryGap",
            message="some of what happened until then was lost: the database was down too long",
        )


def key_of(row: MirrorRecord) -> str:
    return row.container_id if isinstance(row, ContainerRecord) else row.task_id


def uid_of(row: MirrorRecord) -> str:
    return row.uid if isinstance(row, ContainerRecord) else row.task_id


def _older(row: MirrorRecord, known: MirrorRecord | None) -> bool:
    """Whether a task's row tells of an earlier sight; a lower generation need not (a restore)."""
    if not (isinstance(row, ContainerRecord) and isinstance(known, ContainerRecord)):
        return False
    return _order(row) < _order(known)


def _order(row: ContainerRecord) -> tuple[int, datetime]:
    return row.version, row.observed_at


def says_the_same(known: MirrorRecord | None, row: MirrorRecord) -> bool:
    """Whether two records of one row say the same but for the times and versions they carry."""
    if known is None or type(known) is not type(row):
        return False
    moving = {"observed_at", "version", "resource_version"}
    names = (name for name in type(row).__slots__ if name not in moving)
    return all(getattr(known, name) == getattr(row, name) for name in names)
