"""AWS's request quotas, for those who want to be throttled."""

import threading
from collections.abc import Mapping, Sequence

from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.errors import AwsError

_GROUPS: Mapping[str, tuple[float, float, Sequence[str]]] = {
    "cluster resource modify": (100, 40, ("RunTask", "StopTask", "StartTask")),
    "cluster resource read": (
        100,
        20,
        ("DescribeTasks", "ListTasks", "DescribeContainerInstances", "ListContainerInstances"),
    ),
    "task definition modify": (20, 1, ("RegisterTaskDefinition", "DeregisterTaskDefinition")),
    "task definition delete": (5, 1, ("DeleteTaskDefinitions",)),
    "task definition read": (
        50,
        20,
        ("DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"),
    ),
    "tag modify": (20, 10, ("TagResource", "UntagResource")),
    "tag read": (50, 20, ("ListTagsForResource",)),
    "cluster read": (50, 20, ("DescribeClusters", "ListClusters")),
    "cluster modify": (20, 1, ("CreateCluster", "DeleteCluster", "UpdateCluster")),
    "fargate launch": (100, 20, ("RunTask",)),
}
"""(burst, refill per second, operations that share the bucket), per account and region
(ECS API reference, "Request throttling"; Fargate throttling quotas)."""


class Throttle:
    """Token buckets at AWS's documented sizes, off until :meth:`set_scale`. Thread-safe."""

    def __init__(self, clock: StandInClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._scale = 0.0
        self._levels: dict[tuple[str, str], tuple[float, float]] = {}

    def set_scale(self, scale: float) -> None:
        """Fill the buckets, ``scale`` times as large as AWS's; 0 turns throttling off."""
        with self._lock:
            self._scale = scale
            self._levels.clear()

    def take(self, region: str, operation: str) -> None:
        """Take a token for the call, of each bucket that it draws on.

        Raises:
            AwsError: ThrottlingException: one of them is empty; then none is taken.
        """
        groups = [group for group, (_, _, names) in _GROUPS.items() if operation in names]
        with self._lock:
            if not self._scale:
                return
            levels = {group: self._level(region, group) for group in groups}
            if any(level < 1 for level in levels.values()):
                raise AwsError("ThrottlingException", "Rate exceeded")
            now = self._clock.now()
            for group, level in levels.items():
                self._levels[region, group] = (level - 1, now)

    def _level(self, region: str, group: str) -> float:
        burst, refill, _ = _GROUPS[group]
        now = self._clock.now()
        level, since = self._levels.get((region, group), (burst * self._scale, now))
        return min(burst * self._scale, level + (now - since) * refill * self._scale)
