"""A small thread-safe cache: bounded, least recently used out first, entries may age."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most ``size`` entries; one put with ``seconds`` is forgotten after that time."""

    def __init__(self, size: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value of ``key``; None when unknown or too old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            value, until = entry
            if self._monotonic() >= until:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V, seconds: float = float("inf")) -> None:
        """Remember ``value`` for ``seconds``; the least recently used entry makes room."""
        with self._lock:
            self._entries[key] = (value, self._monotonic() + seconds)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget ``key``, known or not."""
        with self._lock:
            self._entries.pop(key, None)
