"""A token bucket whose tokens several kinds of calls share, without one starving another."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_HOLD_SECONDS = 30.0
_SHRINK_PAUSE_SECONDS = 1.0
_SMALLEST_SCALE = 1 / 8


@dataclass(slots=True)
class _Reserve:
    """A part of the bucket: ``part`` of its refill, ``most`` tokens."""

    part: float
    most: float
    level: float


class TokenBucket:
    """A thread-safe token bucket: ``burst`` tokens at most, ``per_second`` refilled.

    It is divided into ``reserves``, by their parts, which add up to 1. Each gets its part of the
    refill, so that none is starved; what a full one has no room for goes to the others, so that
    none is wasted. In any ``t`` seconds at most ``burst + t * per_second`` tokens come out.

    Waiting callers are served in the order of their coming: ``take`` reserves its tokens (the level
    goes below zero) and then sleeps until they are due, so nobody can overtake it.
    """

    def __init__(
        self,
        burst: float,
        per_second: float,
        reserves: Mapping[str, float] = MappingProxyType({"": 1.0}),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if burst <= 0 or per_second <= 0:
            raise ValueError(f"a bucket needs a burst and a rate > 0, not {burst}, {per_second}")
        self._per_second = per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        # A call takes a whole token: a reserve that cannot hold one would never give any.
        sizes = {name: max(1.0, burst * part) for name, part in reserves.items()}
        self._reserves = {
            name: _Reserve(part, sizes[name], sizes[name]) for name, part in reserves.items()
        }
        self._scale = 1.0
        self._refilled_at = monotonic()
        self._scale_until = self._refilled_at
        self._shrunk_at = float("-inf")

    def draw(self, reserve: str = "") -> float:
        """Take a token if one is there now: 0.0. Else the seconds until there is one, if nobody
        else takes any."""
        with self._lock:
            wait = self._wait(reserve)
            if not wait:
                self._reserves[reserve].level -= 1
                return 0.0
            full = self._others_full(reserve)
            if wait <= full:
                return wait
            rate = self._per_second * self._scale
            mine = self._reserves[reserve]
            return full + (1.0 - mine.level - full * rate * mine.part) / rate

    def put_back(self, reserve: str = "") -> None:
        """Return a token that was drawn and not used."""
        with self._lock:
            mine = self._reserves[reserve]
            mine.level = min(mine.most, mine.level + 1)

    def take(self, reserve: str = "", timeout: float = 0.0) -> bool:
        """Take a token, waiting up to ``timeout`` seconds; False (and none taken) if that is not
        enough.

        The decision is made at once: a caller that could not be served in time does not wait.
        """
        with self._lock:
            wait = self._wait(reserve)
            if wait > timeout:
                return False
            self._reserves[reserve].level -= 1
        if wait:
            self._sleep(wait)
        return True

    def shrink(self) -> None:
        """Halve the rate (to an eighth at least) and drop the saved tokens: the quota is exhausted.

        Each 30 s without another call doubles the rate again. Further calls within one second count
        as the same throttle: requests under way together are refused together.
        """
        with self._lock:
            self._refill()
            now = self._refilled_at
            if now - self._shrunk_at < _SHRINK_PAUSE_SECONDS:
                return
            self._shrunk_at = now
            self._scale = max(_SMALLEST_SCALE, self._scale / 2)
            self._scale_until = now + _HOLD_SECONDS
            for each in self._reserves.values():
                each.level = min(each.level, 0.0)

    def levels(self) -> Mapping[str, tuple[float, float]]:
        """By reserve, the tokens at hand (below 0: owed to who waits), and its refill a second."""
        with self._lock:
            self._refill()
            rate = self._per_second * self._scale
            return {name: (each.level, rate * each.part) for name, each in self._reserves.items()}

    def _others_full(self, reserve: str) -> float:
        """In how many seconds the others have no room, so that all of the refill is this one's."""
        rate = self._per_second * self._scale
        others = (each for name, each in self._reserves.items() if name != reserve)
        return max(((each.most - each.level) / (rate * each.part) for each in others), default=0.0)

    def _wait(self, reserve: str) -> float:
        """Seconds until its own part of the refill alone makes a token."""
        self._refill()
        mine = self._reserves[reserve]
        return max(0.0, (1.0 - mine.level) / (self._per_second * self._scale * mine.part))

    def _refill(self) -> None:
        now = self._monotonic()
        while self._scale < 1 and self._scale_until <= now:
            self._add(self._scale_until)
            self._scale *= 2
            self._scale_until += _HOLD_SECONDS
        self._add(now)

    def _add(self, until: float) -> None:
        tokens = max(0.0, until - self._refilled_at) * self._per_second * self._scale
        self._refilled_at = max(self._refilled_at, until)
        spare = 0.0
        for each in self._reserves.values():
            level = each.level + tokens * each.part
            each.level = min(level, each.most)
            spare += level - each.level
        for each in self._reserves.values():
            more = min(spare, each.most - each.level)
            each.level += more
            spare -= more
