"""Whether task events can be relied on, so that sweeps may be rare.

A queue may be gone, refuse us, or be behind: that is seen at the queue. A rule may be gone, or lead
elsewhere: then the queue is empty, and looks well. So what a look at ECS shows first has to be told
by an event before long, too; if it is not, events count for nothing until they have proven
themselves again. What they do not count for, the sweeps do (observe.py).
"""

import logging
from collections.abc import Callable, Collection
from math import inf

from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.ports import Clock

log = logging.getLogger(__name__)

HEARD_SECONDS = 60.0
"""For so long the queue may not have answered: an answer takes up to 20 s, a lost one 35 s."""

LAG_SECONDS = 60.0
"""Older news than this a sweep may have, too."""

BEHIND_SECONDS = 25.0
"""For how long news has to be as old as that. One late event is no queue that is behind, and after
it nothing may be told for the 20 s that an answer takes."""

MIXED_SECONDS = 10.0
"""A queue keeps no order: how far it has been read, the oldest messages of so long tell."""

GRACE_SECONDS = 60.0
"""Within this an event has to tell what a look at ECS has shown; of a queue that is behind, once it
has been read so far."""

DISTRUST_SECONDS = 300.0
"""For so long at least events are not relied on after one was missed."""


class Stream:
    """What is known of the events: the pollers and the looks at ECS tell it.

    ``changed(healthy)`` hears of each turn, ``missed(number)`` of changes without an event.
    """

    def __init__(self, clock: Clock, *, missed: Callable[[int], None]) -> None:
        self.changed: Callable[[bool], None] = lambda healthy: None
        self._clock = clock
        self._missed = missed
        self._heard_at: float | None = None
        self._read_until = -inf  # what was sent before has come, but for a few that are late
        # When the oldest message was sent of those that came since then, and of those before.
        self._oldest, self._oldest_since, self._oldest_before = inf, -inf, inf
        self._behind_since: float | None = None
        self._silent_since: float | None = None
        self._ahead: dict[TaskArn, tuple[ObservedTask, float]] = {}
        self._was: str | None = None
        self.healthy_since: float | None = None

    def heard(self, first: Collection[float], again: Collection[float]) -> None:
        """The queue has answered with messages that had waited for so many seconds: those that came
        for the first time, and those that come again, which waited for us."""
        now = self._heard_at = self._clock.monotonic()
        if not (first or again):
            self._read_until, self._oldest, self._oldest_before = now, inf, inf
            self._behind_since = None
            return
        if now - self._oldest_since >= MIXED_SECONDS:
            self._oldest_before, self._oldest, self._oldest_since = self._oldest, inf, now
        self._oldest = min(self._oldest, now - max((*first, *again)))
        self._read_until = max(self._read_until, min(self._oldest, self._oldest_before))
        if not first:
            return
        if min(first) <= LAG_SECONDS:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now

    def refused(self) -> None:
        """The queue does not exist, or is not ours to read: waiting for it is no use."""
        self._heard_at = None

    def told(self, task: ObservedTask) -> None:
        """An event has told of a task of ours, whether or not that was new."""
        now = self._clock.monotonic()
        ahead = self._ahead.get(task.arn)
        if ahead is not None and _reaches(task, ahead[0]):
            del self._ahead[task.arn]
        if self._silent_since is not None and now - self._silent_since >= DISTRUST_SECONDS:
            self._silent_since = None

    def shown(self, old: ObservedTask | None, new: ObservedTask) -> None:
        """A look at ECS has shown a task. Of each step in its life an event has to tell; that it
        does of others, as of a change of health, nobody has promised."""
        if self._heard_at is None or old is None or _reaches(old, new):
            return  # no queue is heard; or a first sight; or no step
        ahead = self._ahead.get(new.arn)
        if ahead is None or not _reaches(ahead[0], new):
            self._ahead[new.arn] = new, self._clock.monotonic() + GRACE_SECONDS

    def healthy(self) -> bool:
        """Whether events can be relied on now. Says so when that changes."""
        self._settle()
        why = self._problem()
        if why != self._was:
            self._turn(why)
        return not why

    def _settle(self) -> None:
        """Of what a look has shown, find what no event has told in time."""
        late = [arn for arn, (_, at) in self._ahead.items() if at <= self._read_until]
        for arn in late:
            del self._ahead[arn]
        if late:
            self._silent_since = self._clock.monotonic()
            self._missed(len(late))

    def _problem(self) -> str:
        now = self._clock.monotonic()
        if self._heard_at is None or now - self._heard_at > HEARD_SECONDS:
            return "their queue does not answer"
        if self._behind_since is not None and now - self._behind_since > BEHIND_SECONDS:
            return f"they come more than {LAG_SECONDS:.0f} s late"
        if self._silent_since is not None:
            return "a change was seen in ECS that no event has told of"
        return ""

    def _turn(self, why: str) -> None:
        first, self._was = self._was is None, why
        self.healthy_since = None if why else self._clock.monotonic()
        self.changed(not why)
        if not why:
            log.info("task events are relied on: sweeps are an audit from now on")
        elif not first:  # at a start nothing has been heard yet
            log.warning("task events are not relied on: %s. Sweeps do without them", why)


def _reaches(one: ObservedTask, other: ObservedTask) -> bool:
    """Whether the first sight shows the task as far in its life as the second one, or further."""
    if one.version is None or other.version is None or one.version >= other.version:
        return True
    return (one.last_status, one.desired_status) == (other.last_status, other.desired_status)
