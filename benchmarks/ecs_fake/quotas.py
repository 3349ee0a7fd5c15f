"""AWS's request quotas as token buckets, off until a scale is set, and the count of all calls."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.errors import AwsError

GROUPS: Mapping[str, tuple[float, float, frozenset[str]]] = {
    "cluster resource modify": (100, 40, frozenset({"RunTask", "StopTask"})),
    "cluster resource read": (100, 20, frozenset({"DescribeTasks", "ListTasks"})),
    "task definition modify": (
        20,
        1,
        frozenset({"RegisterTaskDefinition", "DeregisterTaskDefinition"}),
    ),
    "task definition read": (50, 20, frozenset({"DescribeTaskDefinition"})),
    "tag modify": (20, 10, frozenset({"TagResource", "UntagResource"})),
    "tag read": (50, 20, frozenset({"ListTagsForResource"})),
    "cluster read": (50, 20, frozenset({"DescribeClusters"})),
    "cluster modify": (20, 1, frozenset({"CreateCluster", "DeleteCluster"})),
}
"""(burst, refill a second, operations that share the bucket), per account and region (ECS API
reference, "Request throttling")."""
_FARGATE = "fargate launch"
_LAUNCHES = {_FARGATE: (100.0, 20.0)}
"""Launches draw on a second bucket (Fargate throttling quotas)."""
_GROUP_OF = {operation: name for name, (_, _, names) in GROUPS.items() for operation in names}


class Quotas:
    """Counts every call, and throttles once a scale is set."""

    def __init__(self, clock: StandInClock) -> None:
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self._clock = clock
        self._scale = 0.0
        self._levels: dict[str, tuple[float, float]] = {}

    def set_scale(self, scale: float) -> None:
        """Fill the buckets, ``scale`` times as large as AWS's; 0 turns throttling off."""
        self._scale = scale
        self._levels.clear()

    def take(self, operation: str) -> None:
        """Count a call of ECS and take its token.

        Raises:
            AwsError: ThrottlingException: the bucket is empty.
        """
        self.calls[operation] += 1
        group = _GROUP_OF.get(operation)
        if not self._scale or group is None:
            return
        sizes = {group: GROUPS[group][:2], **(_LAUNCHES if operation == "RunTask" else {})}
        now = self._clock.now()
        levels: dict[str, float] = {}
        for name, (burst, refill) in sizes.items():
            most = burst * self._scale
            level, since = self._levels.get(name, (most, now))
            levels[name] = min(most, level + (now - since) * refill * self._scale)
            if levels[name] < 1:
                self.throttled[name] += 1
                raise AwsError("ThrottlingException", "Rate exceeded")
        self._levels |= {name: (level - 1, now) for name, level in levels.items()}

    def told(self, *, clear: bool) -> dict[str, Any]:
        """All counts, by operation and by quota group, then perhaps from zero again."""
        groups: Counter[str] = Counter()
        for operation, count in self.calls.items():
            groups[_GROUP_OF.get(operation, operation.partition(":")[0])] += count
        told = {
            "calls": dict(self.calls),
            "errors": dict(self.errors),
            "groups": dict(groups),
            "throttled": dict(self.throttled),
        }
        if clear:
            for counter in (self.calls, self.errors, self.throttled):
                counter.clear()
        return told
