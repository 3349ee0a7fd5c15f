"""The watchdogs: what must not stand still, for how long it may, and what happens if it does.

| watchdog | stands still when | at most |
|---|---|---|
| watch | the API server shows a version that the watch has not told of (hearing.py) | 120 s |
| sweep | a look at an ECS cluster has not ended, well or ill | 900 s |
| queue | an object is ready and a worker free, but nobody takes it | 60 s |
| worker | a reconcile has not ended, well or ill | 600 s |
| sweeps, work queue, lists | the loop has not come round | 60 s, 60 s, 1800 s |
| events 1, 2, … | a poller of task events has not come round | 300 s |

A server that is down, slow or throttles makes attempts fail, and no loop stand still: the bounds
are far above the time-outs of all calls of an attempt. A fault is told by /healthz and by metrics
at once; if it lasts, the process ends, because nothing but a new one can help.
"""

import logging

from fractal_models.errors import FractalError
from fractal_operator.health import Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, ObjectKey
from fractal_operator.shell.hearing import SILENT_SECONDS, Hearing
from fractal_operator.shell.sweeps import Sweeps
from fractal_operator.shell.workqueue import WorkQueue

log = logging.getLogger(__name__)

SWEEP_SECONDS = 900.0
QUEUE_SECONDS = 60.0
WORKER_SECONDS = 600.0
GRACE_SECONDS = 30.0
"""For so long a fault is told before the process ends; the kubelet of the chart's probes takes 60 s
to end it."""

GUARD_SECONDS = 1.0


class Standstill(FractalError):
    """Something stands still, so this process has to end."""


class Watchdogs:
    """Registers what is watched with ``health``; ``guard`` is a loop, which ends by Standstill."""

    def __init__(
        self,
        *,
        clock: Clock,
        health: Health,
        metrics: Metrics,
        queue: WorkQueue[ObjectKey],
        workers: int,
        sweeps: Sweeps,
        hearing: Hearing,
    ) -> None:
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._queue = queue
        self._workers = workers
        health.watch("watch", SILENT_SECONDS, hearing.standing)
        health.watch("sweep", SWEEP_SECONDS, sweeps.standing)
        health.watch("queue", QUEUE_SECONDS, self._neglected)
        health.watch("worker", WORKER_SECONDS, self._longest)

    async def guard(self) -> None:
        """Tell what stands still, and raise Standstill if that lasts."""
        since: float | None = None
        while True:
            for each in self._health.standing():
                self._metrics.stands(each.name, each.seconds, each.limit)
            faults = "; ".join(self._health.not_alive())
            now = self._clock.monotonic()
            if not faults:
                since = None
            elif since is None:
                since = now
                log.error("%s. This process ends in %.0f s if that lasts", faults, GRACE_SECONDS)
            elif now - since > GRACE_SECONDS:
                raise Standstill(faults)
            await self._clock.sleep(GUARD_SECONDS)

    def _neglected(self) -> tuple[float, str]:
        seconds, key = self._queue.neglected(self._workers)
        return seconds, f"{key} is ready and a worker is free, but nobody has taken it"

    def _longest(self) -> tuple[float, str]:
        seconds, key = self._queue.longest()
        return seconds, f"the reconcile of {key} has not ended"
