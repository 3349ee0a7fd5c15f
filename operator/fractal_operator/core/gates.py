"""The gates in front of every launch: is the cluster there, looked at, and open to launches?"""

from datetime import timedelta

from fractal_operator.core import doubt, failures, permits, phases
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import ClusterView
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

LOOK_AGAIN = timedelta(seconds=60)


def closed(state: State, target: ClusterView | None) -> Verdict | None:
    """The gate that keeps the next attempt from beginning now, if any."""
    seen = state.seen
    if target is None:
        refused = permits.asked(state.policy, seen.namespace, seen.spec) if seen.spec else ""
        if refused:
            return Verdict(state, phases.refused("NotAllowed", refused))
        text = (
            "No ECS cluster or region is known: set spec.cluster and spec.region, or the "
            "operator's FRACTAL_CLUSTER and AWS_REGION."
        )
        return Verdict(state, phases.refused("InvalidSpec", text))
    if not target.known:
        quiet = target.problem is None
        return Verdict(state, _unknown_cluster(target), wants_sweep=True, quiet=quiet)
    if target.info is None or target.info.status != "ACTIVE":
        status = f" is {target.info.status}" if target.info else " does not exist"
        words = failures.rejection("ClusterNotFound", "")
        text = words.after(f"ECS cluster {target.reference} in {target.region}{status}")
        again = seen.now + LOOK_AGAIN
        return Verdict(state, phases.refused(words.reason, text), again_at=again, wants_sweep=True)
    if state.attempt is None and seen.status.attempt is not None:
        text = "The status named an attempt that cannot be: looking at the cluster's tasks first."
        return Verdict(state, phases.waiting("WaitingForSweep", text), wants_sweep=True)
    wanted = doubt.bars(state, target)
    if target.swept_since is None or (wanted is not None and wanted <= seen.now):
        text = "Looking at the cluster's tasks once before the launch."
        situation = phases.waiting("WaitingForSweep", text)
        return Verdict(state, situation, wants_sweep=True, quiet=True)
    if wanted is not None:
        return doubt.until(state, phases.waiting("WaitingForSweep", doubt.why(wanted)), wanted)
    if target.paused:
        again = seen.now + LOOK_AGAIN
        return Verdict(state, phases.waiting("LaunchesPaused", target.paused), again_at=again)
    if seen.breaker is not None:
        words = failures.rejection(seen.breaker.code, seen.breaker.message)
        text = words.message(seen.breaker.message)
        return Verdict(state, phases.waiting(words.reason, text), again_at=seen.breaker.at)
    return None


def _unknown_cluster(target: ClusterView) -> Situation:
    problem = target.problem
    if problem is None:
        text = "Looking at the cluster's tasks once before the launch."
        return phases.waiting("WaitingForSweep", text)
    words = failures.rejection(problem.code, problem.message)
    if problem.kind in ("Rejected", "AccessDenied"):
        return phases.refused(words.reason, words.message(problem.message))
    words = failures.PASSING["Unavailable"]
    return phases.waiting(words.reason, words.message(""))
