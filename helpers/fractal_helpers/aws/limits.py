"""Client-side rate limits: AWS's quota groups, and the tokens of each in one account and region.

ECS throttles by account and region with token buckets, which the actions of one group share (API
reference, "Request throttling"). Other users of the account drink from the same buckets, so ours
are half of them by default, and smaller for a while after ECS has throttled us all the same.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from weakref import WeakValueDictionary

from fractal_helpers.aws.bucket import TokenBucket


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account may ask of a quota group: ``burst`` calls at once, ``per_second`` sustained.

    Raises ValueError for a burst below 1 or a rate that is not above 0.
    """

    burst: float
    per_second: float

    def __post_init__(self) -> None:
        if not (self.burst >= 1 and self.per_second > 0):
            raise ValueError(f"a quota needs burst >= 1 and a rate > 0, not {self}")


QUOTAS: Mapping[str, Quota] = MappingProxyType(
    {
        # ECS API reference, "Request throttling".
        "cluster-modify": Quota(100, 40),
        "cluster-read": Quota(100, 20),
        "clusters-read": Quota(50, 20),
        "definition-modify": Quota(20, 1),
        "definition-read": Quota(50, 20),
        "tag-modify": Quota(20, 10),
        # Fargate throttling quotas: tasks launched, whatever their capacity provider. Accounts
        # differ (newer regions begin with a burst of 25), and AWS raises it on demand.
        "fargate-launch": Quota(100, 20),
        # EC2 developer guide, "Request throttling": non-mutating actions.
        "ec2-read": Quota(100, 20),
        # STS documents 600 a second; one call a process and region is all that is made.
        "sts": Quota(600, 600),
    }
)

LAUNCHES, STOPS = "launches", "stops"
_RESERVES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    # RunTask and StopTask share a group of ECS. A reserve of half for each: a mass deletion must
    # not starve launches, nor a storm of launches the deletions.
    {"cluster-modify": {LAUNCHES: 0.5, STOPS: 0.5}}
)
_DRAWS: Mapping[str, Sequence[tuple[str, str]]] = MappingProxyType(
    {
        "RunTask": (("cluster-modify", LAUNCHES), ("fargate-launch", "")),
        "StopTask": (("cluster-modify", STOPS),),
        "DescribeTasks": (("cluster-read", ""),),
        "ListTasks": (("cluster-read", ""),),
        "DescribeContainerInstances": (("cluster-read", ""),),
        "DescribeClusters": (("clusters-read", ""),),
        "RegisterTaskDefinition": (("definition-modify", ""),),
        "DescribeTaskDefinition": (("definition-read", ""),),
        "TagResource": (("tag-modify", ""),),
        "DescribeInstances": (("ec2-read", ""),),
        "DescribeNetworkInterfaces": (("ec2-read", ""),),
        "GetCallerIdentity": (("sts", ""),),
    }
)
"""The quota groups, and the reserve in each, that a call of an operation takes a token of."""

OPERATIONS = tuple(_DRAWS)
"""Every AWS API call that the operator makes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one reserve of a quota group stands: the tokens at hand, below 0 while calls wait for
    theirs, and how many are added in a second now. ``reserve`` is "" in a group without any."""

    group: str
    reserve: str
    tokens: float
    per_second: float


class QuotaGroups:
    """The buckets of one account and region: ``share`` (0..1] of each quota. Thread-safe.

    ``own`` are the account's quotas where they are not the documented ones. ``throttled(group)`` is
    told of each throttle reply. Raises ValueError for a share that is none.
    """

    def __init__(
        self,
        share: float = 0.5,
        own: Mapping[str, Quota] = MappingProxyType({}),
        *,
        throttled: Callable[[str], None] = lambda group: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share of the quota is in (0, 1], not {share}")
        self._told = throttled
        self._buckets: dict[str, TokenBucket] = {}
        for group, documented in QUOTAS.items():
            quota = own.get(group, documented)
            self._buckets[group] = TokenBucket(
                quota.burst * share,
                quota.per_second * share,
                _RESERVES.get(group, {"": 1.0}),
                monotonic=monotonic,
                sleep=sleep,
            )

    def draw(self, operation: str) -> float:
        """Take the tokens of one call if they are there now: 0.0. Never waits.

        Else none is taken, and the answer is in how many seconds they may be there; KeyError for
        an operation that has no group.
        """
        taken: list[tuple[TokenBucket, str]] = []
        for group, reserve in _DRAWS[operation]:
            wait = self._buckets[group].draw(reserve)
            if wait:
                for bucket, each in taken:
                    bucket.put_back(each)
                return wait
            taken.append((self._buckets[group], reserve))
        return 0.0

    def take(self, operation: str, timeout: float) -> bool:
        """Take the token of one call, waiting up to ``timeout`` seconds: see TokenBucket.take."""
        ((group, reserve),) = _DRAWS[operation]
        return self._buckets[group].take(reserve, timeout)

    def throttled(self, operation: str) -> None:
        """AWS throttled a call of ``operation``: shrink every group that it draws on."""
        for group, _ in _DRAWS[operation]:
            self._buckets[group].shrink()
            self._told(group)

    def standings(self) -> Iterator[Standing]:
        """How each reserve of each group stands now."""
        for group, bucket in self._buckets.items():
            for reserve, (tokens, per_second) in bucket.levels().items():
                yield Standing(group, reserve, tokens, per_second)


class Quotas:
    """The QuotaGroups of each region, one for all that this process does there. Thread-safe.

    The account is that of the process's credentials, which are the same everywhere. A region's
    buckets live as long as anybody holds them: names of regions can be made up without end.
    ``throttled(region, group)`` is told of each throttle reply; the rest is as for QuotaGroups.
    """

    def __init__(
        self,
        share: float = 0.5,
        own: Mapping[str, Quota] = MappingProxyType({}),
        *,
        throttled: Callable[[str, str], None] = lambda region, group: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share = share
        self._own = own
        self._throttled = throttled
        self._monotonic = monotonic
        self._sleep = sleep
        self._regions: WeakValueDictionary[str, QuotaGroups] = WeakValueDictionary()
        self._lock = threading.Lock()

    def quota(self, group: str) -> Quota:
        """What the account may ask of a group, of which ``share`` is used."""
        return self._own.get(group) or QUOTAS[group]

    def of(self, region: str) -> QuotaGroups:
        """The buckets of a region, full when they are first asked for."""
        with self._lock:
            known = self._regions.get(region)
            if known is None:
                known = self._regions[region] = QuotaGroups(
                    self._share,
                    self._own,
                    throttled=lambda group: self._throttled(region, group),
                    monotonic=self._monotonic,
                    sleep=self._sleep,
                )
            return known

    def standings(self) -> Iterator[tuple[str, Standing]]:
        """How each bucket of each region stands now."""
        with self._lock:
            regions = list(self._regions.items())
        for region, groups in regions:
            for standing in groups.standings():
                yield region, standing
