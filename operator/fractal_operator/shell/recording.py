"""The loops that keep the database up to date: write what is queued, close what is forgotten."""

import logging

from fractal_models.errors import FractalError
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock
from fractal_operator.shell.audit import Auditor
from fractal_operator.shell.news import News
from fractal_operator.shell.record import Recorder

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
AUDIT_SECONDS = 600.0
LISTED_SECONDS = 0.25
"""Between two looks whether there was a first list."""


class Recording:
    """Two loops: ``record`` and ``audit``. Neither ends because the database is down."""

    def __init__(
        self,
        *,
        clock: Clock,
        news: News,
        recorder: Recorder,
        auditor: Auditor,
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._news = news
        self._recorder = recorder
        self._auditor = auditor
        self._metrics = metrics

    async def record(self) -> None:
        """Write what is queued, again and again."""
        while True:
            began = self._clock.monotonic()
            busy, failures = self._recorder.depth() > 0, self._recorder.failures
            written = await self._recorder.flush()
            if self._recorder.failures > failures:
                self._metrics.db_errors.inc()
            elif busy and written:
                self._metrics.db_write_seconds.observe(self._clock.monotonic() - began)
            await self._clock.sleep(FLUSH_SECONDS)

    async def audit(self) -> None:
        """Close the rows of objects that are gone, after the first list and now and then."""
        while not self._news.listed:
            await self._clock.sleep(LISTED_SECONDS)
        while True:
            try:
                audit = await self._auditor.audit()
            except FractalError as error:
                log.warning("auditing the database failed, tried again later: %s", error)
            else:
                self._metrics.orphans.labels("row").set(audit.closed + audit.corrected)
                if audit.closed:
                    log.warning(
                        "closed the database rows of %d objects that are gone", audit.closed
                    )
                if audit.corrected:
                    log.warning("corrected %d rows of the database", audit.corrected)
            await self._clock.sleep(AUDIT_SECONDS)
