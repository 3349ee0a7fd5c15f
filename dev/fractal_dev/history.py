"""What PostgreSQL holds about the objects of a demo."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

from fractal_helpers.ledger import PostgresLedger
from fractal_helpers.sql import create_engine
from fractal_models.serializers import JsonScalar

_TASK_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")
_HEADS = ("AT", "NAME", "ATTEMPT", "PHASE", "REASON", "MESSAGE")


class History:
    """The rows of objects, by uid."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self._ledger = ledger

    def ended(self, uid: str) -> bool:
        """Whether the object's row and the last row of its history say that it is deleted."""
        state, rows = self._ledger.app_state(uid), self._ledger.history(uid)
        return bool(state and state["deleted"] and rows and rows[-1]["phase_to"] == "Deleted")

    def stopped_tasks(self, uid: str) -> set[JsonScalar]:
        """Return the ARNs of the object's tasks whose row says STOPPED."""
        rows = self._ledger.containers(uid)
        return {each["container_id"] for each in rows if each["state"] == "STOPPED"}

    def table(self, uids: Collection[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the history of all objects in the order of time: heads and rows."""
        rows = [row for uid in uids for row in self._ledger.history(uid)]
        rows.sort(key=lambda row: str(row["at"]))
        return _HEADS, [_cells(row) for row in rows]


@contextmanager
def read_history(url: str) -> Iterator[History]:
    """Give the history in the database ``url``; its errors are those of fractal_helpers.sql."""
    engine = create_engine(url)
    try:
        yield History(PostgresLedger(engine))
    finally:
        engine.dispose()


def _cells(row: dict[str, JsonScalar]) -> tuple[str, ...]:
    at = datetime.fromisoformat(str(row["at"])).strftime("%H:%M:%S.%f")[:-5]
    old, new = row["phase_from"] or "", row["phase_to"] or ""
    phase = str(new) if old in ("", new) else f"{old} → {new}"
    attempt = str(row["attempt"] or "")
    message = _TASK_ID.sub(r"\1", str(row["message"]))
    return (at, str(row["name"]), attempt, phase, str(row["reason"]), message)
