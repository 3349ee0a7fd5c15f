"""PostgreSQL of the simulation: the rules by which helpers/ledger.py keeps rows, in memory.

Which of two records of a row wins is compared with the real statements in tests/integration; here
the order is the same: terminal and deleted are absorbing, then version, generation, time of sight.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.simulation.faults import CANARY, UNSTORABLE
from tests.unit.shell.fakes import FakeLedger, name_of
from tests.unit.shell.wire import Wire

from fractal_models.records import AppStateRecord, ContainerRecord, Record, Refused

TERMINAL = ("STOPPED", "FAILED")


class SimLedger(FakeLedger):
    """The rows of all processes; ``over(wire)`` is one process's way to them."""

    def over(self, wire: Wire) -> "SimLedger":
        mine = SimLedger(wire)
        mine.apps, mine.containers, mine.history = self.apps, self.containers, self.history
        mine.touched = self.touched
        return mine

    async def close_missing(self, uids: Sequence[str], at: datetime) -> int:
        return await self._wire.call("close_missing", lambda: self._end(uids, at), uids, at)

    def _write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        refused = []
        for record in batch:
            key = name_of(record)
            if record.name == UNSTORABLE:
                refused.append(Refused(record, f"a value that no column takes ({CANARY})"))
                continue
            match record:
                case AppStateRecord():
                    known = self.apps.get(key)
                    if known is None or _app_rank(record) >= _app_rank(known):
                        self.apps[key] = record
                case ContainerRecord():
                    old = self.containers.get(key)
                    if old is None or _rank(record) >= _rank(old):
                        self.containers[key] = record
                case _:
                    self.history.setdefault(key, record)
        return refused

    def _live_uids(self) -> Sequence[str]:
        return [uid for uid, row in self.apps.items() if not row.deleted]

    def _end(self, uids: Sequence[str], at: datetime) -> int:
        """The auditor closes objects that are gone, and the tasks of all that are deleted."""
        for uid in uids:
            row = self.apps[uid]
            self.apps[uid] = replace(
                row, state="CANCELLED", deleted=True, observed_at=max(row.observed_at, at)
            )
        for arn, task in self.containers.items():
            app = self.apps.get(task.uid)
            if app is not None and app.deleted and task.state not in TERMINAL:
                when = max(task.observed_at, at)
                self.containers[arn] = replace(task, state="STOPPED", observed_at=when)
        return len(uids)


def _app_rank(row: AppStateRecord) -> tuple[Any, ...]:
    return row.deleted, row.generation, row.observed_at


def _rank(row: ContainerRecord) -> tuple[Any, ...]:
    return row.state in TERMINAL, row.version, row.generation, row.observed_at
