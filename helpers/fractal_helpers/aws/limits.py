"""Client-side rate limits: one token bucket per ECS quota group, below the documented quota.

ECS throttles by account and region with token buckets, which the actions of one group share (API
reference, "Request throttling"). Other users of the account drink from the same buckets, so ours
are half of them by default, and smaller for a while after ECS has throttled us all the same.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_HOLD_SECONDS = 30.0
_SHRINK_PAUSE_SECONDS = 1.0
_SMALLEST_SCALE = 1 / 8


class TokenBucket:
    """A thread-safe token bucket: ``burst`` tokens at most, ``per_second`` refilled.

    Waiting callers are served in the order of their coming: ``take`` reserves its tokens (the level
    goes below zero) and then sleeps until they are due, so nobody can overtake it.
    """

    def __init__(
        self,
        burst: float,
        per_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if burst < 1 or per_second <= 0:
            raise ValueError(f"a bucket needs burst >= 1 and a rate > 0, not {burst}, {per_second}")
        self._burst = burst
        self._per_second = per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._level = burst
        self._scale = 1.0
        self._refilled_at = monotonic()
        self._scale_until = self._refilled_at
        self._shrunk_at = float("-inf")

    def try_take(self, n: float = 1) -> bool:
        """Take ``n`` tokens if they are there now; never waits."""
        with self._lock:
            self._refill()
            if self._level < n:
                return False
            self._level -= n
            return True

    def take(self, n: float = 1, timeout: float = 0) -> bool:
        """Take ``n`` tokens, waiting up to ``timeout`` seconds; False (and none taken) if too few.

        The decision is made at once: a caller that could not be served in time does not wait.
        """
        with self._lock:
            self._refill()
            wait = max(0.0, (n - self._level) / (self._per_second * self._scale))
            if wait > timeout:
                return False
            self._level -= n
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
            self._level = min(self._level, 0.0)

    def _refill(self) -> None:
        now = self._monotonic()
        while self._scale < 1 and self._scale_until <= now:
            self._add(self._scale_until)
            self._scale *= 2
            self._scale_until += _HOLD_SECONDS
        self._add(now)

    def _add(self, until: float) -> None:
        elapsed = max(0.0, until - self._refilled_at)
        self._level = min(self._burst, self._level + elapsed * self._per_second * self._scale)
        self._refilled_at = max(self._refilled_at, until)


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota group as AWS documents it: ``burst`` calls at once, ``per_second`` sustained."""

    burst: float
    per_second: float


QUOTAS: Mapping[str, Quota] = MappingProxyType(
    {
        # ECS API reference, "Request throttling".
        "cluster-modify": Quota(100, 40),
        "cluster-read": Quota(100, 20),
        "clusters-read": Quota(50, 20),
        "definition-modify": Quota(20, 1),
        "definition-read": Quota(50, 20),
        "tag-modify": Quota(20, 10),
        # EC2 developer guide, "Request throttling": non-mutating actions.
        "ec2-read": Quota(100, 20),
        # STS documents 600 a second; one call a process and region is all that is made.
        "sts": Quota(600, 600),
    }
)
_SHARES: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        # RunTask and StopTask share a group of ECS. Separate halves: a mass deletion must not
        # starve launches, nor a storm of launches the deletions.
        "RunTask": ("cluster-modify", 0.5),
        "StopTask": ("cluster-modify", 0.5),
        "DescribeTasks": ("cluster-read", 1.0),
        "ListTasks": ("cluster-read", 1.0),
        "DescribeContainerInstances": ("cluster-read", 1.0),
        "DescribeClusters": ("clusters-read", 1.0),
        "RegisterTaskDefinition": ("definition-modify", 1.0),
        "DescribeTaskDefinition": ("definition-read", 1.0),
        "TagResource": ("tag-modify", 1.0),
        "DescribeInstances": ("ec2-read", 1.0),
        "DescribeNetworkInterfaces": ("ec2-read", 1.0),
        "GetCallerIdentity": ("sts", 1.0),
    }
)

OPERATIONS = tuple(_SHARES)
"""Every AWS API call that the operator makes."""


class QuotaGroups:
    """The buckets of one account and region: ``share`` (0..1] of each documented quota.

    Actions of a group share a bucket, except that launches and stops have half of theirs each.
    """

    def __init__(
        self,
        share: float = 0.5,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share of the quota is in (0, 1], not {share}")
        buckets: dict[tuple[str, str], TokenBucket] = {}
        self._buckets: dict[str, TokenBucket] = {}
        for operation, (group, part) in _SHARES.items():
            key = (group, operation if part < 1 else "")
            if key not in buckets:
                quota = QUOTAS[group]
                buckets[key] = TokenBucket(
                    max(1.0, quota.burst * share * part),
                    quota.per_second * share * part,
                    monotonic=monotonic,
                    sleep=sleep,
                )
            self._buckets[operation] = buckets[key]

    def bucket(self, operation: str) -> TokenBucket:
        """The bucket that ``operation`` draws from; KeyError for one that has no group."""
        return self._buckets[operation]

    def throttled(self, operation: str) -> None:
        """AWS throttled ``operation``: shrink every bucket of its quota group."""
        group = _SHARES[operation][0]
        for bucket in {self._buckets[op] for op, (g, _) in _SHARES.items() if g == group}:
            bucket.shrink()
