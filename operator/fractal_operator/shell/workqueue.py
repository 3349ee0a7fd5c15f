"""The work queue: which object to look at next. A data structure without tasks, locks or sleeps.

Theory of operation. A key means "look at this object"; why is of no interest, so a key waits at
most once, at the earliest time it was added for. ``take`` hands a key to one worker until ``done``;
a key added meanwhile is remembered, once, and waits again after ``done``. So nothing is lost, and
no key is worked on twice at the same time. A key is in exactly one of these places:

    delayed ──its time comes──> ready ──take──> working ──done──> nowhere, or as added meanwhile

Ready keys are in lanes, which take turns (turns.py): a thousand keys of one namespace do not delay
another's. Within a lane they come out in the order in which they became ready; one given back goes
to the end, so that a busy key starves nobody; but who is hurried comes before the others.
Delayed keys stand in a heap whose entries are dropped lazily: an entry counts only while
``_delayed`` still holds it.
"""

import heapq
import itertools
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fractal_operator.core.backoff import delay
from fractal_operator.shell.turns import Turns

Key = TypeVar("Key", bound=Hashable)

_HEAP_SLACK = 64


def _no_lanes(key: Hashable) -> None:
    """The lane of every key."""


def _uncounted() -> None:
    """Count nothing."""


def _unobserved(seconds: float) -> None:
    """Measure nothing."""


class WorkQueue(Generic[Key]):
    """A keyed, coalescing queue with times and back-off, for one thread. All operations: O(log n).

    ``monotonic`` tells the time in seconds, ``lane`` in which lane a key is (all in one, if not
    given). The rest measures: ``on_add`` is called at every add, ``on_retry`` at every retry;
    ``on_wait`` gets how many seconds a taken key had been ready, ``on_work`` how many it was then
    worked on.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        lane: Callable[[Key], Hashable] = _no_lanes,
        on_add: Callable[[], None] = _uncounted,
        on_retry: Callable[[], None] = _uncounted,
        on_wait: Callable[[float], None] = _unobserved,
        on_work: Callable[[float], None] = _unobserved,
    ) -> None:
        self._monotonic = monotonic
        self._on_add = on_add
        self._on_retry = on_retry
        self._on_wait = on_wait
        self._on_work = on_work
        self._ready: Turns[Key] = Turns(lane)
        self._delayed: dict[Key, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._working: dict[Key, float] = {}
        self._moved = monotonic()  # when a key was last taken or given back
        self._meanwhile: dict[Key, float] = {}
        self._hurried: set[Key] = set()  # of those that are worked on
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Make ``key`` ready now."""
        self.add_after(key, 0.0)

    def hurry(self, key: Key) -> None:
        """Make ``key`` ready now, or at ``done``, before the others of its lane."""
        self.add(key)
        self._ready.first(key)
        if key in self._working:
            self._hurried.add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Make ``key`` ready in ``seconds``, or when it already would be, if that is earlier."""
        self._on_add()
        now = self._promote()
        self._place(key, now + max(seconds, 0.0), now)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Count a failure of ``key``, add it for after its back-off, and return that in seconds.

        It is ``at_least`` so many seconds, whatever the count.
        """
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        self._on_retry()
        seconds = max(delay(failures, key, failures).total_seconds(), at_least)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """Count the failures of ``key`` from zero again."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Return how often ``key`` was retried since it was last forgotten."""
        return self._failures.get(key, 0)

    def take(self) -> Key | None:
        """Hand out the ready key whose turn it is, or None. Call ``done`` afterwards."""
        now = self._promote()
        taken = self._ready.take()
        if taken is None:
            return None
        key, since = taken
        self._working[key] = self._moved = now
        self._on_wait(now - since)
        return key

    def done(self, key: Key) -> None:
        """Give ``key`` back; KeyError when it is not being worked on."""
        now = self._promote()
        self._on_work(now - self._working.pop(key))
        self._moved = now
        due = self._meanwhile.pop(key, None)
        if due is not None:
            self._place(key, due, now)
        if key in self._hurried:
            self._hurried.remove(key)
            self._ready.first(key)

    def next_deadline(self) -> float | None:
        """Return the monotonic time from which ``take`` has a key; None: not before another add."""
        now = self._promote()
        if self._ready:
            return now
        return self._heap[0][0] if self._delayed else None

    def depth(self) -> int:
        """Return how many keys are ready and not taken."""
        self._promote()
        return len(self._ready)

    def working_seconds(self) -> list[float]:
        """Return for how many seconds each key handed out has been worked on."""
        now = self._monotonic()
        return [now - since for since in self._working.values()]

    def longest(self) -> tuple[float, Key | None]:
        """Return for how many seconds a key has been worked on at most, and which."""
        key = next(iter(self._working), None)
        return (0.0, None) if key is None else (self._monotonic() - self._working[key], key)

    def neglected(self, workers: int) -> tuple[float, Key | None]:
        """Return for how many seconds a key has been ready, one of so many workers free, and no key
        taken; and which key is next."""
        now = self._promote()
        head = self._ready.peek()
        if head is None or len(self._working) >= workers:
            return 0.0, None
        key, since = head
        return now - max(since, self._moved), key

    def _place(self, key: Key, due: float, now: float) -> None:
        if key in self._working:
            self._meanwhile[key] = min(due, self._meanwhile.get(key, due))
        elif key in self._ready:
            return
        elif due <= now:
            self._delayed.pop(key, None)
            self._ready.add(key, now)
        elif key not in self._delayed or due < self._delayed[key][0]:
            self._delay(key, due)

    def _delay(self, key: Key, due: float) -> None:
        order = next(self._order)
        self._delayed[key] = (due, order)
        heapq.heappush(self._heap, (due, order, key))
        if len(self._heap) > 2 * len(self._delayed) + _HEAP_SLACK:
            self._heap = [(*entry, each) for each, entry in self._delayed.items()]
            heapq.heapify(self._heap)

    def _promote(self) -> float:
        """Move what has become due from delayed to ready, drop stale entries on top; return now."""
        now = self._monotonic()
        while self._heap:
            due, order, key = self._heap[0]
            current = self._delayed.get(key) == (due, order)
            if current and due > now:
                break
            heapq.heappop(self._heap)
            if current:
                del self._delayed[key]
                self._ready.add(key, due)
        return now
