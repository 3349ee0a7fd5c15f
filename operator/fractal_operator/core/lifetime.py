"""The clock of spec.timeouts.lifetimeSeconds: how long an object has run, and when that is enough.

Theory. What counts is the time that the object has run: of each task from startedAt to stoppedAt,
added up (merge.py) over the tasks that follow one another after a crash, an interruption or a
suspension, and kept in status.attempt.usedSeconds. While nothing runs, the clock stands. An
attempt that begins anew, after an edit or a requested restart, begins with a new one (begin.py).
"""

from datetime import datetime, timedelta

from fractal_models.container import Spec, Task
from fractal_models.observed import STATE_RANK
from fractal_operator.core import claims
from fractal_operator.core.state import State

LONGEST_WARNING = timedelta(minutes=5)


def ends_at(state: State, spec: Spec, current: Task) -> datetime | None:
    """When the current task will have run for all that is left; None: never, or nobody knows.

    Before RUNNING it is an estimate: as if it ran from when its present stage was first seen.
    """
    own = current.attempt == state.latest  # else what is counted is of the one to come
    left, began = _left(state, spec, used=own), current.since
    if running(current):
        began = claims.runs_from(state.attempt, current.attempt, current.started_at) or began
    if left is None or began is None:
        return None
    # Whole seconds, as the status keeps them: ECS's own are finer, and not always at hand.
    return began.replace(microsecond=0) + left


def warns_at(spec: Spec, end: datetime) -> datetime:
    """When to warn of an end: five minutes before, or a tenth of a lifetime if that is less."""
    tenth = timedelta(seconds=(spec.timeouts.lifetime_seconds or 0) / 10)
    return end - min(LONGEST_WARNING, tenth)


def used_up(state: State, spec: Spec) -> bool:
    """Whether a further task would have no time left to run; it has once the limit is raised."""
    return _left(state, spec, used=True) == timedelta(0)


def running(current: Task) -> bool:
    """Whether the task has started, as far as the status knows; stopping ones have."""
    return STATE_RANK.get(current.last_status, 0) >= STATE_RANK["RUNNING"]


def _left(state: State, spec: Spec, *, used: bool) -> timedelta | None:
    if spec.timeouts.lifetime_seconds is None:
        return None
    before = state.attempt.used_seconds if state.attempt is not None and used else 0
    return timedelta(seconds=max(spec.timeouts.lifetime_seconds - before, 0))
