"""ECS's throttles: a token bucket for each group of actions, in the sizes that ECS documents.

Source: Amazon ECS API reference, "Request throttling". The account's other users drink from them.
"""

from collections.abc import Callable

from fractal_models.errors import Throttled

GROUPS = (
    (("run_task", "stop_task"), 100.0, 40.0),
    (("list_tasks", "describe_tasks"), 100.0, 20.0),
    (("ensure_definition",), 20.0, 1.0),
    (("resolve_definition",), 50.0, 20.0),
    (("tag_task",), 20.0, 10.0),
    (("describe_cluster",), 50.0, 20.0),
)
"""Actions that share a bucket, its burst, and its refill in a second."""


class Quotas:
    """``spend(call)`` before each call of ECS. ``crowd``: the share that others leave nobody."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.crowd = 0.0
        self._now = now
        self._left = {names: (burst, 0.0) for names, burst, _ in GROUPS}
        self._groups = {name: group for group in GROUPS for name in group[0]}

    def spend(self, call: str) -> None:
        """Take a token for a call; raises Throttled where there is none."""
        if call not in self._groups:
            return
        names, burst, refill = self._groups[call]
        (left, at), now, ours = self._left[names], self._now(), 1.0 - self.crowd
        left = min(burst * ours, left + (now - at) * refill * ours)
        enough = left >= 1.0
        self._left[names] = (left - enough, now)
        if not enough:
            raise Throttled("Rate exceeded")
