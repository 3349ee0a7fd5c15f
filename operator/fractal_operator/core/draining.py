"""Making sure that an attempt has left no task behind, and that none can still appear.

Without a task to see, an attempt resolves only by certainty: every call was made by this process
and was answered; or a lookup after a capacity failure found nothing; or it is drained: 420 s have
passed since the last call could have been sent (300 s until a task is visible, 40 s for a late
call, 45 s of clock skew, 30 s between write and call) and a lookup begun after that found nothing.
"""

from datetime import datetime, timedelta

from fractal_models.container import Attempt
from fractal_models.observed import ClusterArn
from fractal_operator.core import failures, losses, tokens
from fractal_operator.core.failures import Nature
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import Action, Find, Launch
from fractal_operator.core.state import State
from fractal_operator.core.tokens import region_of
from fractal_operator.core.verdict import Verdict

DRAIN = timedelta(seconds=420)


def first_issued(state: State, attempt: Attempt) -> datetime:
    """When RunTask may first have been called for the attempt."""
    return attempt.first_issued_at or state.now


def last_issued(state: State, attempt: Attempt) -> datetime:
    """When RunTask may last have been meant to be called for the attempt."""
    return attempt.last_issued_at or state.now


def launch_of(state: State, attempt: Attempt) -> Launch | None:
    """This process's knowledge of the attempt's calls, if it made or armed any."""
    known = state.seen.launch
    return known if known is not None and known.attempt == attempt.number else None


def unsent(state: State, attempt: Attempt) -> bool:
    """Whether it is certain that no call of this attempt can have launched a task.

    This process armed it first; each call was answered, and refused as a whole.
    """
    known = launch_of(state, attempt)
    if known is None or not known.certain or known.failures is not None:
        return False
    if attempt.issued_by != state.policy.process:
        return False  # another process took the attempt over, and may have called since
    return known.problem is None or known.problem.kind != "TokenConflict"


def drained(state: State, attempt: Attempt) -> bool:
    """Whether no task of the attempt exists or can still appear, as far as the bounds hold."""
    if attempt.adopts and not attempt.request_hash:
        return True  # no launch was ever meant under it
    if unsent(state, attempt) or losses.cluster_gone(state.seen, attempt):
        return True
    last = last_issued(state, attempt)
    known = launch_of(state, attempt)
    mine = attempt.issued_by == state.policy.process
    if mine and known is not None and known.certain and known.failures is not None and known.at:
        nature, _, _ = failures.unplaced(known.failures)
        if nature is not Nature.UNKNOWN and _looked(state, attempt, known.at):
            return True
    return state.now - last >= DRAIN and _looked(state, attempt, last + DRAIN)


def _looked(state: State, attempt: Attempt, since: datetime) -> bool:
    found = state.seen.lookup
    return (
        found is not None
        and found.attempt == attempt.number
        and found.problem is None
        and found.began >= since
        and not found.found
    )


def find(state: State, attempt: int, cluster_arn: str) -> Find:
    """The lookup of one attempt's task by startedBy."""
    key = tokens.started_by(state.policy.install, state.seen.uid, attempt)
    return Find(region_of(cluster_arn), ClusterArn(cluster_arn), attempt, key)


def drain(state: State, attempt: Attempt, situation: Situation) -> Verdict:
    """Wait for an attempt to be drained, looking it up now and then; call only if not drained."""
    reads, again_at = look(state, attempt)
    return Verdict(state, situation, reads=reads, again_at=again_at)


def look(state: State, attempt: Attempt) -> tuple[tuple[Action, ...], datetime]:
    """The lookup that an attempt which is not drained needs now, if any, and when the next is due.

    Soon after the call, then less often, at most every minute; and once when the drain is over.
    """
    last, found = last_issued(state, attempt), state.seen.lookup
    ends, due = last + DRAIN, state.now
    if found is not None and found.attempt == attempt.number:
        pause = min(max((found.began - last) / 4, timedelta(seconds=5)), timedelta(seconds=60))
        due = found.began + pause
        if found.began < ends < due:
            due = ends
    if due <= state.now:
        return (find(state, attempt.number, attempt.cluster_arn),), state.now
    return (), due
