"""A warning that many objects cause at once is a few lines in the log, not one an object.

While AWS does not answer, each of ten thousand objects has something to say of it, every few
seconds. What is left out stands in status, Events and metrics all the same.
"""

import logging
import threading
from collections.abc import Collection, Mapping

FEW = 5
"""Warnings of a kind that are let through in each period."""

PERIOD = 600.0
"""Seconds; begins with the first warning of a kind."""


class Repeats(logging.Filter):
    """Lets ``FEW`` warnings of a kind through in each ``PERIOD``, of the loggers that are named.

    A kind is a logger and a text before its values are put in. The first one of the next period
    has a field ``left_out``: how many like it were not let through before. Errors, tracebacks and
    other loggers pass.
    """

    def __init__(self, loggers: Collection[str]) -> None:
        super().__init__()
        self._loggers = frozenset(loggers)
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # since when, and how many
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record."""
        if record.name not in self._loggers or record.levelno != logging.WARNING or record.exc_info:
            return True
        kind = (record.name, str(record.msg))
        with self._lock:
            since, count = self._seen.get(kind, (record.created, 0))
            if abs(record.created - since) >= PERIOD:  # a clock may be set back
                if count > FEW:
                    _add(record, "left_out", count - FEW)
                since, count = record.created, 0
            self._seen[kind] = (since, count + 1)
        return count < FEW


def _add(record: logging.LogRecord, name: str, value: int) -> None:
    given = getattr(record, "fields", None)
    record.fields = {**(given if isinstance(given, Mapping) else {}), name: value}
