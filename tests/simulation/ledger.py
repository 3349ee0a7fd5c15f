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

from fractal_models.observed import TaskArn
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

    def _close(self, uids: Sequence[str], arns: Sequence[TaskArn], at: datetime) -> int:
        """The auditor closes objects that are gone with their tasks, and tasks of deleted ones."""
        for uid in uids:
            row = self.apps[uid]
            self.apps[uid] = replace(
                row, state="CANCELLED", deleted=True, observed_at=max(row.observed_at, at)
            )
        self._stop([arn for arn, task in self.containers.items() if task.uid in uids], at)
        self._stop([arn for arn in arns if self.apps[self.containers[arn].uid].deleted], at)
        return len(uids)
