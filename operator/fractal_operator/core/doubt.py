"""A status that may not tell all: wiped by somebody, or put back with etcd to before a launch.

Theory. An object with our finalizer but without an attempt (and not one that this process put the
finalizer on), or with a lower attempt than this process has seen, is in doubt from then on
(``Observation.bare_since``): a task that nobody knows of may have been launched just before, and
ECS may not show it yet. What a sweep begun 420 s later (draining.py) does not show does not exist.
A live task of the object that is seen ends the doubt: it never has two.

A deletion waits that long; but for one sweep only where the status says ``neverLaunched``, which
is written by who knows (it put the finalizer on, or the doubt is over). So stands, at each start of
the operator, whatever waits for its first launch, suspended or refused. Only a forged status,
or an etcd restored to before the launch, says so falsely; what is hidden then is the reaper's.

A launch waits that long, too, but for a young object that was never edited and shows no task: it
can only have been launched where it is to be launched now, and every token of it still lives, so
that the same number makes no second task. For that one, one sweep is enough.
"""

from datetime import datetime, timedelta

from fractal_operator.core.draining import DRAIN, launch_of
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import ClusterView, Observation
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

YOUNG = timedelta(minutes=5)


def ends_at(seen: Observation) -> datetime | None:
    """When the doubt ends: with a sweep begun then or later. None: there is none."""
    return None if seen.bare_since is None else seen.bare_since + DRAIN


def hides(seen: Observation) -> bool:
    """Whether a task of the object may exist that nobody knows of."""
    return _unlooked(seen, ends_at(seen))


def keeps(seen: Observation) -> datetime | None:
    """The object may go with a sweep begun then or later, for what may hide; None: it may now."""
    never = seen.status.never_launched and seen.status.attempt is None and not seen.highest
    ends = seen.bare_since if never else ends_at(seen)
    return ends if _unlooked(seen, ends) else None


def never_launched(state: State) -> bool:
    """Whether it is certain that no attempt was ever made: what the status says to later looks."""
    seen, ends = state.seen, ends_at(state.seen)
    if state.attempt is not None or seen.tasks or seen.highest:
        return False
    if seen.status.never_launched or ends is None:
        return True
    return seen.target is not None and _swept(seen.target, ends)


def _unlooked(seen: Observation, since: datetime | None) -> bool:
    target = seen.target
    if since is None or target is None or target.gone:
        return False  # nothing can have been launched there
    return not _swept(target, since)


def bars(state: State, target: ClusterView) -> datetime | None:
    """Since when a sweep of ``target`` must have begun before a launch; None: one has."""
    since, ends = state.seen.bare_since, ends_at(state.seen)
    if since is None or ends is None:
        return None
    if state.attempt is not None and launch_of(state, state.attempt) is not None:
        return None  # this process wrote the intent, when nothing barred it
    wanted = since if _fresh(state, since) else ends
    return None if _swept(target, wanted) else wanted


def _fresh(state: State, since: datetime) -> bool:
    seen = state.seen
    young = seen.created_at is not None and since - seen.created_at < YOUNG
    return young and seen.generation == 1 and state.highest == 0


def look(state: State) -> tuple[bool, datetime | None]:
    """Whether to sweep now and when to look again, so that a doubt ends though nothing waits."""
    seen, ends = state.seen, ends_at(state.seen)
    waits = seen.deleting_since is not None or state.attempt is not None
    if ends is None or waits or not hides(seen):
        return False, None
    return (True, None) if state.now >= ends else (False, ends)


def until(state: State, situation: Situation, ends: datetime) -> Verdict:
    """Wait for the doubt's end, and look at once for what ECS shows already."""
    seen = state.seen
    since, target = seen.bare_since, seen.target
    swept = target is not None and since is not None and _swept(target, since)
    if swept and seen.now < ends:
        return Verdict(state, situation, again_at=ends)
    return Verdict(state, situation, wants_sweep=True)


def why(ends: datetime) -> str:
    """What is told of the wait."""
    return (
        "The status does not say what was launched: looking at the cluster's tasks until "
        f"{ends:%H:%M:%S} UTC, when ECS shows all that there can be."
    )


def _swept(cluster: ClusterView, since: datetime) -> bool:
    return cluster.swept_since is not None and cluster.swept_since >= since
