"""Between two attempts: is there to be another, when, and what is shown meanwhile."""

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import takewhile
from typing import assert_never

from fractal_models.container import Attempt, RestartPolicy, Spec, Termination
from fractal_operator.core import backoff, failures, lifetime, phases
from fractal_operator.core.phases import Situation
from fractal_operator.core.state import State

REJECTED_RETRY = timedelta(minutes=10)
DENIED_FIRST_SECONDS = 60.0
"""After a refusal for want of rights: those are repaired elsewhere, and nobody edits the spec."""
CAPACITY_FIRST_SECONDS = 15.0
UNLAUNCHED = frozenset(
    {"AdoptionFailed", "CapacityUnavailable", "LaunchFailed", "LaunchRejected", "Unresolved"}
)
RETRIED_ENDS = UNLAUNCHED | failures.CAPACITY_STOPS
"""Ends before anything ran: retried whatever the restart policy says."""

MUTE_EXITS = failures.INFRASTRUCTURE_STOPS | {"TaskFailedToStart", "StartTimeout"}
"""Ends with which exit code 0 is no success: the container was ended, or its task never started."""


def finished(state: State, spec: Spec) -> Situation | None:
    """The final situation if no further attempt may follow.

    After what restartPolicy and backoffLimit say, lifetimeSeconds does: with nothing left of it,
    there is nothing to launch for.
    """
    end = state.last_end
    if end is None or state.attempt is None:
        return None
    final = _final(state, spec, state.attempt, end)
    # Statuses written before the time was counted say only that it was over.
    uncounted = end.stop_code == "Expired" and state.attempt.used_seconds == 0
    uncounted = uncounted and spec.timeouts.lifetime_seconds is not None
    if final is None and (uncounted or lifetime.used_up(state, spec)):
        return phases.expired("The task reached spec.timeouts.lifetimeSeconds.")
    return final


def _final(state: State, spec: Spec, attempt: Attempt, end: Termination) -> Situation | None:
    if end.stop_code in RETRIED_ENDS | failures.OUR_STOPS:
        return None
    words = failures.ended(end, attempt.failures)
    if not _restarts(spec.restart_policy, end):
        if succeeded(end):
            return phases.succeeded("The main container exited with code 0.")
        return phases.refused(words.reason, _told(words, end))
    if attempt.failures > spec.backoff_limit:
        text = (
            f"{_told(words, end)} {attempt.failures} attempts failed in a row, more than "
            f"spec.backoffLimit {spec.backoff_limit}: change the spec to try again."
        )
        return phases.refused(words.reason, text)
    return None


def _restarts(policy: RestartPolicy, end: Termination) -> bool:
    match policy:
        case RestartPolicy.ALWAYS:
            return True
        case RestartPolicy.ON_FAILURE:
            return not succeeded(end)
        case RestartPolicy.NEVER:
            return False
        case _:
            assert_never(policy)


def succeeded(end: Termination) -> bool:
    """Whether the main container came to a good end, and by itself."""
    return end.exit_code == 0 and end.stop_code not in MUTE_EXITS


def _told(words: failures.Explanation, end: Termination) -> str:
    exit_code = "" if end.exit_code is None else f" (exit code {end.exit_code})"
    return words.message(f"{end.reason or end.stop_code}{exit_code}")


def rung(state: State, spec: Spec) -> int:
    """The rung of spec.placement for the next attempt: the next one after a want of capacity.

    After the last rung, and after any other end, it is the first.
    """
    end = state.last_end
    if end is None or state.attempt is None or end.stop_code not in failures.CAPACITY_STOPS:
        return 0
    following = state.attempt.rung + 1
    return following if following < len(spec.placement) else 0


def relaunch_at(state: State, spec: Spec) -> datetime:
    """When the next attempt may begin: at once after our own stops and on the next rung.

    Otherwise after a pause that grows with the failures, or with the rounds on the ladder.
    """
    end = state.last_end
    if end is None or state.attempt is None or end.stop_code in failures.OUR_STOPS:
        return state.now
    since = min(end.finished_at or state.now, state.now)
    number = state.attempt.number
    if end.stop_code == "LaunchRejected":
        return since + _rejected_pause(state, end)
    if end.stop_code in failures.CAPACITY_STOPS:
        if rung(state, spec) > 0:
            return state.now
        row = _row(state, failures.CAPACITY_STOPS)
        return since + backoff.delay(row, state.seen.uid, number, first=CAPACITY_FIRST_SECONDS)
    return since + backoff.delay(max(state.attempt.failures, 1), state.seen.uid, number)


def _rejected_pause(state: State, end: Termination) -> timedelta:
    if failures.refusal(end.reason).reason != "AccessDenied":
        return REJECTED_RETRY
    row, longest = _row(state, {end.stop_code}), REJECTED_RETRY.total_seconds()
    return backoff.delay(row, state.seen.uid, end.attempt, first=DENIED_FIRST_SECONDS, cap=longest)


def _row(state: State, stop_codes: Collection[str]) -> int:
    """How many of the last attempts ended so, one after the other."""
    return sum(1 for _ in takewhile(lambda each: each.stop_code in stop_codes, state.terminations))


def resting(state: State) -> Situation:
    """What is shown between two attempts: how the last one ended, and that another follows."""
    end = state.last_end
    if end is None:
        return phases.waiting("Pending", "Waiting for the first launch.")
    if end.stop_code in failures.OUR_STOPS:
        return phases.waiting("Progressing", "The next attempt follows.")
    words = failures.ended(end, state.attempt.failures if state.attempt else 0)
    if end.stop_code == "LaunchRejected":
        return phases.refused(words.reason, words.message(end.reason))
    if end.stop_code in RETRIED_ENDS:
        # Of an attempt that the operator gave up, ECS says no more than the words.
        said = end.reason if end.stop_code in UNLAUNCHED else ""
        return phases.retrying(words.reason, words.message(said))
    return phases.retrying(words.reason, f"{_told(words, end)} Attempt {end.attempt} is over.")


def before(state: State) -> str:
    """How the attempt before this one ended, unless that was meant; "" if there was none.

    Seen late, an end is followed by the next attempt at once: this is where it is still told.
    """
    end, attempt = state.last_end, state.attempt
    if end is None or attempt is None or end.stop_code in failures.OUR_STOPS:
        return ""
    return f"Attempt {end.attempt} ended: {_told(failures.ended(end, attempt.failures), end)}"
