"""Objects in memory, one counter of resource versions, and a log of events for watches.

Stored objects are never changed in place: every write replaces the object, so that what a reader
holds, or the log keeps, stays as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from fractal_dev.kube import errors
from fractal_dev.kube.errors import Obj

Kind = tuple[str, str]
"""Group and plural: versions of a kind share their objects."""

HISTORY = 20_000
"""Events kept a kind; a watch that asks for an older one is told to list again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change; `previous` is the object before it, None for a new one."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    version: int
    object: Obj
    previous: Obj | None


@dataclass(slots=True)
class _Shelf:
    objects: dict[tuple[str, str], Obj] = field(default_factory=dict)
    log: deque[Event] = field(default_factory=deque)
    floor: int = 0
    watchers: set[asyncio.Queue[Event | None]] = field(default_factory=set)


class Store:
    """Keeps objects by (group, plural), namespace ("" for cluster-wide kinds) and name."""

    def __init__(self) -> None:
        # Versions start at the clock's microseconds: one from an earlier run is then older than
        # all of this run's, and its watch gets 410 instead of silence.
        self.version = time.time_ns() // 1000
        self._start = self.version
        self._shelves: defaultdict[Kind, _Shelf] = defaultdict(lambda: _Shelf(floor=self._start))

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        return self._shelves[kind].objects.get((namespace, name))

    def list(self, kind: Kind, namespace: str | None) -> list[Obj]:
        """Objects sorted by namespace and name; `namespace` None is all of them."""
        objects = self._shelves[kind].objects
        return [
            obj
            for (home, _), obj in sorted(objects.items(), key=lambda item: item[0])
            if namespace is None or home == namespace
        ]

    def put(self, kind: Kind, obj: Obj) -> Obj:
        """Stores `obj` under a new resource version and returns what was stored."""
        key = _key(obj)
        previous = self._shelves[kind].objects.get(key)
        stored = self._stamped(obj)
        self._shelves[kind].objects[key] = stored
        event = Event("MODIFIED" if previous else "ADDED", self.version, stored, previous)
        self._publish(kind, event)
        return stored

    def remove(self, kind: Kind, obj: Obj) -> None:
        """Removes the object and tells watchers; `obj` is its last state."""
        previous = self._shelves[kind].objects.pop(_key(obj))
        last = self._stamped(obj)
        self._publish(kind, Event("DELETED", self.version, last, previous))

    def drop(self, kind: Kind) -> None:
        """Forgets a kind whose definition is gone and ends its watches."""
        for queue in self._shelves.pop(kind).watchers:
            queue.put_nowait(None)

    def close(self) -> None:
        """Ends every watch."""
        for shelf in self._shelves.values():
            for queue in shelf.watchers:
                queue.put_nowait(None)

    @contextmanager
    def watch(self, kind: Kind, since: int) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue of the events after `since`, then of each that happens; None ends it.

        Raises ApiError 410 when `since` is older than what the log keeps.
        """
        shelf = self._shelves[kind]
        if since < shelf.floor:
            raise errors.expired(since, shelf.floor)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in shelf.log:
            if event.version > since:
                queue.put_nowait(event)
        shelf.watchers.add(queue)
        try:
            yield queue
        finally:
            shelf.watchers.discard(queue)

    def _stamped(self, obj: Obj) -> Obj:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        return {**obj, "metadata": metadata}

    def _publish(self, kind: Kind, event: Event) -> None:
        shelf = self._shelves[kind]
        shelf.log.append(event)
        if len(shelf.log) > HISTORY:
            shelf.floor = shelf.log.popleft().version
        for queue in shelf.watchers:
            queue.put_nowait(event)


def _key(obj: Obj) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
