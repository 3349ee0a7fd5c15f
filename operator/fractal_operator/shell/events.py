"""Task events from the queue: taken in like any other sight of a task, then deleted.

In this order, so that a crash between the two costs a second look and never an event. What has been
taken in is in memory only, and a new process sweeps before it acts: ECS shows ended tasks, too.

An event is a claim of whoever may write to the queue. It has to fit a cluster that is swept, and a
task that is ours; and it may no more than any other sight: be merged, by version. An end counts
only once ECS has confirmed it (hearsay.py). What is of other
installations, services, accounts or clusters is deleted unread; what cannot be read is left to the
dead-letter queue.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf

from fractal_models.errors import FractalError, Rejected
from fractal_models.observed import ObservedTask, TaskArn
from fractal_models.task_events import Message, TaskEvent, Unreadable
from fractal_operator.core import backoff, claims, tokens
from fractal_operator.core.monotonic import newer
from fractal_operator.health import Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Events
from fractal_operator.shell.clusters import Cluster, Clusters
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.stream import Stream

log = logging.getLogger(__name__)

BEAT_SECONDS = 300.0
"""Within this a poller comes round: its calls end within 40 s each, and a pause after 60 s."""

PAUSE_SECONDS = 60.0
"""The longest pause after failures in a row."""

LONG_SECONDS, SHORT_SECONDS = 20, 1
"""How long to wait for messages: of a queue that has answered, and of one that has to show first
that it does."""

FEW = 5
"""A queue that has many messages gives ten at a time."""

GATHER_SECONDS = 0.25
"""The pause after few messages, so that those which are on their way come together: a receive, a
delete and a look at an object cost as much for one as for ten."""

WAIT_SECONDS = 1.0
"""Between two looks whether the first sweep has been done."""


class Pollers:
    """``poll`` is a loop, which may run several times at once. Only who leads may run it."""

    def __init__(
        self,
        *,
        queue: Events,
        clock: Clock,
        clusters: Clusters,
        observer: Observer,
        stream: Stream,
        metrics: Metrics,
        health: Health,
        leads: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._clusters = clusters
        self._observer = observer
        self._stream = stream
        self._metrics = metrics
        self._health = health
        self._leads = leads
        self._failures = 0
        self._refused_at = -inf
        self._patience = SHORT_SECONDS
        self._deletes = True
        self._pollers = 0

    async def poll(self) -> None:
        """Take in what comes, for ever. What goes wrong is counted, and tried again."""
        self._pollers += 1
        name = f"events {self._pollers}"
        while True:
            self._health.beat(name, BEAT_SECONDS)
            await self._clock.sleep(await self.round())

    async def round(self) -> float:
        """Receive, take in and delete one batch; for how many seconds to pause then."""
        if not self._looked():
            return WAIT_SECONDS
        asked_at = self._clock.monotonic()
        try:
            messages = await self._queue.receive(self._patience)
            self._patience = LONG_SECONDS
            if asked_at >= self._refused_at:  # else another poller knows better by now
                self._hear(messages)
            done = self._take(messages)
            if done and self._leads():
                await self._delete(done)
        except FractalError as error:
            return self._failed(error)
        except Exception:
            log.exception("taking in task events broke")
            self._metrics.events_crashes.inc()
            return self._pause()
        self._failures = 0
        return GATHER_SECONDS if 0 < len(messages) < FEW else 0.0

    async def _delete(self, receipts: Sequence[str]) -> None:
        """Delete what was taken in. What stays comes again, and tells nothing new then."""
        try:
            left = await self._queue.delete(receipts)
        except FractalError as error:
            left = len(receipts)
            if self._deletes:
                log.warning("messages of task events cannot be deleted: %s", error)
        self._deletes = left < len(receipts)
        self._metrics.events_undeleted.inc(left)

    def _looked(self) -> bool:
        """Whether any cluster has been looked at: before that no event can be believed."""
        held = [each for each in self._clusters.all() if each.held]
        return not held or any(each.swept_at is not None for each in held)

    def _awaited(self) -> set[tuple[str, str]]:
        """The clusters (region, name or ARN) that nobody has looked at yet: tasks of ours may be
        there, but what they are is not known."""
        held = (each for each in self._clusters.all() if each.held and each.swept_at is None)
        return {(each.region, each.reference) for each in held}

    def _failed(self, error: FractalError) -> float:
        if isinstance(error, Rejected):
            self._refused_at = self._clock.monotonic()
            self._stream.refused()
        if not self._failures:
            log.warning("the queue of task events does not answer: %s", error)
        return self._pause()

    def _pause(self) -> float:
        self._failures += 1
        self._patience = SHORT_SECONDS
        pause = backoff.delay(self._failures, "events", first=2, cap=PAUSE_SECONDS)
        return pause.total_seconds()

    def _hear(self, messages: Sequence[Message]) -> None:
        first, again = self._lags(messages, again=False), self._lags(messages, again=True)
        self._metrics.events_lag.set(min(first, default=0.0))
        self._stream.heard(first, again)

    def _lags(self, messages: Sequence[Message], *, again: bool) -> list[float]:
        """For how many seconds the messages had waited that came for the first time, or again."""
        now = self._clock.now()
        sent = (each.sent_at for each in messages if each.again is again and each.sent_at)
        return [max((now - at).total_seconds(), 0.0) for at in sent]

    def _take(self, messages: Sequence[Message]) -> list[str]:
        """Take in what is ours; the receipts of all that need not come again."""
        known = {each.arn: each for each in self._clusters.all() if each.there}
        awaited = self._awaited()
        newest: dict[TaskArn, ObservedTask] = {}
        done: list[str] = []
        ours = 0
        for message in messages:
            match message.content:
                case Unreadable(why, digest):
                    self._metrics.events.labels("unreadable").inc()
                    log.warning("a message (%s) of the queue is no event: %s", digest, why)
                    continue
                case TaskEvent(task) as event if self._is_ours(event, known):
                    self._stream.told(task)
                    newest[task.arn] = newer(newest.get(task.arn), task)
                    ours += 1
                case TaskEvent() as event if not awaited.isdisjoint(_names(event)):
                    continue  # it comes again, once its cluster has been looked at
                case _:
                    self._metrics.events.labels("foreign").inc()
            done.append(message.receipt)
        heard = self._observer.heard
        news = [task for task in newest.values() if is_news(heard(task.arn), task)]
        self._metrics.events.labels("news").inc(len(news))
        self._metrics.events.labels("known").inc(ours - len(news))
        self._observer.told(news)
        return done

    def _is_ours(self, event: TaskEvent, known: Mapping[str, Cluster]) -> bool:
        """Whether an event is of a task of ours, in a cluster that is swept, and all that it claims
        fits."""
        task = event.task
        cluster = known.get(task.cluster_arn)
        if cluster is None or not claims.well_formed(task.arn):
            return False
        place = task.cluster_arn.split(":")[3:5]
        if place != [event.region, event.account] or cluster.region != event.region:
            return False
        if not task.arn.startswith(tokens.task_prefix(task.cluster_arn)):
            return False
        old = self._observer.tasks.sight(task.arn)
        if old is not None and old.started_by and old.started_by != task.started_by:
            return False  # no task changes that; who says so wants to be somebody else
        return self._observer.tasks.concerns(task)


def _names(event: TaskEvent) -> set[tuple[str, str]]:
    """How an object may name the cluster of an event."""
    arn = event.task.cluster_arn
    return {(event.region, arn), (event.region, arn.rpartition("/")[2])}


def is_news(old: ObservedTask | None, new: ObservedTask) -> bool:
    """Whether an event tells more than is known: it may be the second one, or late."""
    if old is None or old.version is None or new.version is None:
        return old is None or not old.stopped
    return not old.stopped and (new.stopped or new.version > old.version)
