"""Metrics of the rate limit: the tokens of each quota group, and the lines that wait for them."""

from collections.abc import Callable, Iterable

from fractal_helpers.aws.limits import Standing
from fractal_operator.metric_families import Families

PERMITS = ("RunTask", "StopTask")
# A wait of seconds is a full minute's burst, one of an hour a mass deletion of 36,000.
_WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


def _none() -> Iterable[tuple[str, Standing]]:
    return ()


class QuotaMetrics(Families):
    """How much may be asked of AWS, who waits for it, and how often AWS said that it was too much.

    Regions are those in use. Their series are there from the first look on, as 0 where nobody waits
    and AWS has refused nothing: else a first throttle would be no increase to Prometheus. They end
    when the region is in use no more.
    """

    def _rate_limit(self) -> None:
        self._standings: Callable[[], Iterable[tuple[str, Standing]]] = _none
        self._in_use: frozenset[tuple[str, str]] = frozenset()
        where = ("region", "group", "reserve")
        self._tokens = self._gauge(
            "fractal_aws_quota_tokens",
            "Calls that the operator's own rate limit allows at once, by quota group and, where "
            "launches and stops share one, reserve. Below 0: owed to calls that wait.",
            *where,
        )
        self._refill = self._gauge(
            "fractal_aws_quota_tokens_per_second",
            "Calls a second that it allows in the long run; less for a while after a throttle.",
            *where,
        )
        self.throttles = self._counter(
            "fractal_aws_throttles_total",
            "Throttle replies of AWS by quota group, those that botocore retried included.",
            "region",
            "group",
        )
        self._depth_of_line = self._gauge(
            "fractal_permits_waiting",
            "Objects that wait for their turn to be launched (RunTask) or stopped (StopTask).",
            "region",
            "operation",
        )
        self._oldest_in_line = self._gauge(
            "fractal_permits_oldest_wait_seconds",
            "For how long the one has waited that waits for longest.",
            "region",
            "operation",
        )
        self._permit_wait = self._histogram(
            "fractal_permit_wait_duration_seconds",
            "How long an object waited for its turn, of those that had to.",
            _WAIT_BUCKETS,
            "operation",
        )
        for operation in PERMITS:
            self._permit_wait.labels(operation)

    def watch_quotas(self, standings: Callable[[], Iterable[tuple[str, Standing]]]) -> None:
        """Ask ``standings`` from now on how the buckets of each region stand."""
        self._standings = standings

    def quotas(self) -> None:
        """Set the gauges of the buckets, and let go of regions that are in use no more."""
        self._tokens.clear()
        self._refill.clear()
        in_use = set()
        for region, each in self._standings():
            labels = (region, each.group, each.reserve)
            self._tokens.labels(*labels).set(each.tokens)
            self._refill.labels(*labels).set(each.per_second)
            self.throttles.labels(region, each.group)
            in_use.add((region, each.group))
        for ended in self._in_use - in_use:
            self.throttles.remove(*ended)
        self._in_use = frozenset(in_use)

    def lines(self, standings: Iterable[tuple[str, str, int, float]]) -> None:
        """Set the gauges of the lines: region, operation, depth and longest wait in seconds."""
        self._depth_of_line.clear()
        self._oldest_in_line.clear()
        empty = [(region, operation, 0, 0.0) for region, _ in self._in_use for operation in PERMITS]
        for region, operation, depth, oldest in (*empty, *standings):
            self._depth_of_line.labels(region, operation).set(depth)
            self._oldest_in_line.labels(region, operation).set(oldest)

    def permit_waited(self, operation: str, seconds: float) -> None:
        """Note how long somebody waited for a permit."""
        self._permit_wait.labels(operation).observe(seconds)

    def throttled(self, region: str, group: str) -> None:
        """Count a throttle reply; from any thread."""
        self.throttles.labels(region, group).inc()
