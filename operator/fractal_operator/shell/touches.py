"""``last_pinged``: when tasks were last seen, written so that ten thousand of them cost little.

Each task's time is written every five minutes at most, and of all tasks a fifth at a time, chosen
by a hash: one statement a minute that changes a fifth of the rows of each page. The pages keep room
for that (their fillfactor), so PostgreSQL puts the new versions beside the old ones (heap-only
tuples) and neither table nor indexes grow. Written all at once, every minute, the table grew by a
third each time.
"""

from collections.abc import Iterable
from datetime import datetime
from zlib import crc32

from fractal_models.observed import TaskArn
from fractal_operator.ports import Clock, Ledger

SLICES = 5
SLICE_SECONDS = 60.0


class Touches:
    """What was seen since it was written; there is no harm in losing it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[TaskArn, datetime] = {}
        self._slice = 0
        self._due_at = clock.monotonic()

    def note(self, arns: Iterable[TaskArn], at: datetime) -> None:
        """Note that tasks were seen."""
        self._seen.update(dict.fromkeys(arns, at))

    def waiting(self) -> int:
        """Of how many tasks the time of sight is not written."""
        return len(self._seen)

    async def write(self, ledger: Ledger) -> None:
        """Write the next slice, if it is time. Raises what the ledger raises."""
        if self._clock.monotonic() < self._due_at:
            return
        due = {arn: at for arn, at in self._seen.items() if slice_of(arn) == self._slice}
        if due:
            await ledger.touch(due)
        for arn, at in due.items():
            if self._seen.get(arn) == at:  # else it was seen again meanwhile
                del self._seen[arn]
        self._slice = (self._slice + 1) % SLICES
        self._due_at = self._clock.monotonic() + SLICE_SECONDS


def slice_of(arn: TaskArn) -> int:
    """Which slice a task is in, in every process."""
    return crc32(arn.encode()) % SLICES
