"""The Ledger port: PostgreSQL in a thread of its own."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from fractal_helpers import log as logs
from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models.observed import TaskArn
from fractal_models.records import LivePage, MirrorRecord, Record, Refused
from fractal_operator.ports import Ledger
from fractal_operator.settings import Settings
from fractal_operator.shell.aws import DaemonPool

log = logging.getLogger(__name__)


class ThreadedLedger:
    """The Ledger port over the synchronous PostgreSQL ledger, in one thread of its own."""

    def __init__(
        self, ledger: PostgresLedger, install: str, namespaces: Sequence[str] = ()
    ) -> None:
        self._ledger = ledger
        self._install = install
        self._namespaces = tuple(namespaces)
        self._pool = DaemonPool(1)

    async def write(self, batch: Sequence[Record]) -> Sequence[Refused]:
        return await self._pool.run(lambda: self._ledger.write(batch))

    async def touch(self, seen: Mapping[TaskArn, datetime]) -> None:
        await self._pool.run(lambda: self._ledger.touch(seen))

    async def live(self, after: str = "") -> LivePage:
        namespaces = self._namespaces
        return await self._pool.run(lambda: self._ledger.live(self._install, namespaces, after))

    async def correct(self, batch: Sequence[MirrorRecord]) -> Sequence[Refused]:
        return await self._pool.run(lambda: self._ledger.correct(batch))

    async def close_missing(
        self, uids: Sequence[str], arns: Sequence[TaskArn], at: datetime
    ) -> int:
        ledger, install = self._ledger, self._install
        return await self._pool.run(lambda: ledger.close_missing(install, uids, arns, at))

    async def prune(self, before: datetime, limit: int) -> Mapping[str, int]:
        return await self._pool.run(lambda: self._ledger.prune(self._install, before, limit))


def ledger(settings: Settings, install: str) -> Ledger | None:
    """The ledger that the settings ask for, if any; its URL and password never reach a log."""
    if settings.database_url is None:
        log.warning("FRACTAL_DATABASE_URL is not set: nothing is recorded in PostgreSQL")
        return None
    url = settings.database_url.get_secret_value()
    for secret in (url, urlsplit(url).password):
        if secret:
            logs.register_secret(secret)
    return ThreadedLedger(PostgresLedger(create_engine(url)), install, settings.namespaces)
