"""The pruner: rows of what was over long ago leave the database, some at a time.

Its transactions are short and apart, because the recorder's wait for the same connection.
"""

import logging
from datetime import timedelta

from fractal_models.errors import FractalError
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ledger

log = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
"""After the lead was taken, when there is much else to do."""

PERIOD_SECONDS = 3600.0
BATCH = 1000
PAUSE_SECONDS = 1.0
"""Between two batches."""


class Pruner:
    """A loop of the leader's: ``prune`` deletes what was over ``keep`` ago."""

    def __init__(self, ledger: Ledger, clock: Clock, metrics: Metrics, keep: timedelta) -> None:
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._keep = keep

    async def prune(self) -> None:
        """Prune, again and again."""
        await self._clock.sleep(FIRST_SECONDS)
        while True:
            try:
                while await self._batch():
                    await self._clock.sleep(PAUSE_SECONDS)
            except FractalError as error:
                log.warning("pruning the database failed, tried again later: %s", error)
            await self._clock.sleep(PERIOD_SECONDS)

    async def _batch(self) -> bool:
        """Delete once; whether there may be more to delete."""
        pruned = await self._ledger.prune(self._clock.now() - self._keep, BATCH)
        for table, count in pruned.items():
            self._metrics.db_pruned.labels(table).inc(count)
        return BATCH in pruned.values()
