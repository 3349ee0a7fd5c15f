"""Launches and stops that wait for their turn: for a permit of the rate limit that AWS sets.

A plan that needs a permit is made as if there were one. Where there is none the shell has the
object stand in line, and asks again: now the observation says so, and the plan is to wait. A short
wait is not told; a longer one is, once, in a write.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from fractal_models.container import Status
from fractal_operator.core import phases
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import Permit, StopTask
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

TOLD_AFTER = timedelta(seconds=5)
REASON = "RateLimited"

_WHY = (
    "Waiting for its turn to be {}: AWS limits how many tasks an account may {} in a second, and "
    "others wait, too. It needs nothing; if this takes too long, raise the quotas (docs/quotas.md)."
)
LAUNCH = _WHY.format("launched", "launch")
STOP = _WHY.format("stopped", "stop")


def since(state: State, region: str, permit: Permit) -> datetime | None:
    """Since when the object stands in a region's line, None if it does not."""
    return next(
        (at for where, what, at in state.seen.queued if (where, what) == (region, permit)), None
    )


def launch(state: State, region: str, situation: Situation) -> Verdict | None:
    """The wait for a launch permit, None if the object does not stand in line for one.

    ``situation`` is how things stand otherwise: it stays told while the wait is short.
    """
    began = since(state, region, "RunTask")
    if began is None:
        return None
    waits: tuple[tuple[str, Permit], ...] = ((region, "RunTask"),)
    if state.now < began + TOLD_AFTER:
        told = began + TOLD_AFTER
        return Verdict(state, situation, again_at=told, quiet=True, brief=True, waits=waits)
    return Verdict(state, phases.waiting(REASON, LAUNCH), waits=waits)


def told(status: Status) -> bool:
    """Whether the status says that the object waits for its turn."""
    return any(each.type == "Reconciling" and each.reason == REASON for each in status.conditions)


def held(verdict: Verdict) -> tuple[StopTask, ...]:
    """The stops of a verdict that wait for their turn."""
    stops = (call for call in verdict.calls if isinstance(call, StopTask))
    return tuple(each for each in stops if since(verdict.state, each.region, "StopTask"))


def stops(verdict: Verdict) -> Verdict:
    """The verdict, without the stops that wait for their turn; saying so if they do for long."""
    late, state, again_at = held(verdict), verdict.state, verdict.again_at
    if not late:
        return _waited(verdict) if _unasked(verdict) and told(state.seen.status) else verdict
    due = TOLD_AFTER + min(at for _, permit, at in state.seen.queued if permit == "StopTask")
    if state.now < due:
        again_at = min(again_at or due, due)
    else:
        verdict = _waited(verdict)
    regions = {each.region for each in late}
    return replace(
        verdict,
        calls=tuple(call for call in verdict.calls if call not in late),
        again_at=again_at,
        waits=(*verdict.waits, *((region, "StopTask") for region in sorted(regions))),
    )


def _waited(verdict: Verdict) -> Verdict:
    """The verdict, saying that a stop waits for its turn, if that is what the object is about."""
    situation = verdict.situation
    if not situation.reconciling or situation.ready:
        return verdict
    text = f"{situation.message} {STOP}"
    return replace(verdict, situation=replace(situation, message=text, reconciling=REASON))


def _unasked(verdict: Verdict) -> bool:
    """Whether this process has not asked yet for a stop of the verdict; another may have waited."""
    stops = (call.arn for call in verdict.calls if isinstance(call, StopTask))
    return any(arn not in verdict.state.seen.stops for arn in stops)
