"""PostgreSQL of the simulation: the rules by which helpers/ledger.py keeps rows, in memory.

Which of two records of a row wins is told by the function (fractal_helpers.upserts.rank) with which
tests/integration compares the real statements.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tests.simulation.faults import CANARY, UNSTORABLE
from tests.unit.shell.fakes import FakeLedger
from tests.unit.shell.wire import Wire

from fractal_models.records import Record, Refused


class SimLedger(FakeLedger):
    """The rows of all processes; ``over(wire)`` is one process's way to them."""

    def over(self, wire: Wire) -> "SimLedger":
        mine = SimLedger(wire)
        mine.apps, mine.containers, mine.history = self.apps, self.containers, self.history
        mine.touched = self.touched
        return mine

    def _write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        strange = [record for record in batch if record.name == UNSTORABLE]
        taken = [record for record in batch if record.name != UNSTORABLE]
        why = f"a value that no column takes ({CANARY})"
        return [*(Refused(record, why) for record in strange), *super()._write(taken)]

    async def close_missing(self, uids: Sequence[str], at: datetime) -> int:
        return await self._wire.call("close_missing", lambda: self._end(uids, at), uids, at)

    def _end(self, uids: Sequence[str], at: datetime) -> int:
        """The auditor closes objects that are gone, and the tasks of all that are deleted."""
        for uid in uids:
            row = self.apps[uid]
            self.apps[uid] = replace(
                row, state="CANCELLED", deleted=True, observed_at=max(row.observed_at, at)
            )
        for arn, task in self.containers.items():
            app = self.apps.get(task.uid)
            if app is not None and app.deleted and not task.ended:
                when = max(task.observed_at, at)
                self.containers[arn] = replace(task, state="STOPPED", observed_at=when)
        return len(uids)
