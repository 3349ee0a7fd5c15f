"""The workers: take keys from the queue, reconcile each, and have it looked at again later."""

import asyncio
import logging
from contextlib import suppress

from fractal_models.errors import FractalError
from fractal_operator.health import BEAT_SECONDS, Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, ObjectKey
from fractal_operator.shell.agenda import Agenda
from fractal_operator.shell.poison import Poison
from fractal_operator.shell.reconcile import Reconciler

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long reconciles that are under way at a stop may go on."""


class Workers:
    """At most ``count`` reconciles at a time, never two of one object. ``dispatch`` is the loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        agenda: Agenda,
        reconciler: Reconciler,
        poison: Poison,
        metrics: Metrics,
        health: Health,
        count: int,
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._queue = agenda.queue
        self._reconciler = reconciler
        self._poison = poison
        self._metrics = metrics
        self._health = health
        self._count = count

    async def dispatch(self) -> None:
        """Hand out keys as they become due, as long as a worker is free."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._health.beat("work queue", BEAT_SECONDS)
                key = self._queue.take() if len(running) < self._count else None
                if key is not None:
                    task = asyncio.create_task(self.reconcile(key))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda _: self._agenda.news.set())
                    continue
                self._agenda.news.clear()
                await self._wait_for_work(len(running))
        finally:
            if running:
                # What is under way may end well; what does not is found again after a restart.
                await asyncio.wait(running, timeout=DRAIN_SECONDS)

    async def _wait_for_work(self, running: int) -> None:
        timeout = BEAT_SECONDS / 4
        deadline = self._queue.next_deadline()
        if deadline is not None and running < self._count:
            timeout = min(timeout, max(deadline - self._clock.monotonic(), 0.0))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._agenda.news.wait()

    async def reconcile(self, key: ObjectKey) -> None:
        """Look at one object that was taken from the queue, and give it back. Never raises."""
        began = self._clock.monotonic()
        self._metrics.active_workers.inc()
        result = "error"
        try:
            rest = await self._reconciler.reconcile(key)
        except FractalError as error:
            again = self._queue.retry(key, await self._poison.broke(key, error))
            log.warning("reconcile of %s failed, again in %.0f s: %s", key, again, error)
        except Exception as error:
            self._metrics.reconcile_panics.inc()
            again = self._queue.retry(key, await self._poison.broke(key, error))
            log.exception("reconcile of %s failed unexpectedly, again in %.0f s", key, again)
        else:
            self._queue.forget(key)
            self._poison.well(key)
            result = "success" if rest.after is None else "requeue_after"
            if rest.after is not None:
                self._queue.add_after(key, rest.after)
        finally:
            self._queue.done(key)
            self._metrics.active_workers.dec()
            self._metrics.reconciled(result, self._clock.monotonic() - began)
