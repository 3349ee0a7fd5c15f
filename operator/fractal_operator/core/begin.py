"""The next attempt: whether there shall be one, what it waits for, and its intent.

Reached only while nothing of the object is alive and no attempt is unresolved.
"""

from dataclasses import replace
from datetime import timedelta

from fractal_models.container import Attempt, Spec
from fractal_operator.core import failures, launch, phases, rest, tokens
from fractal_operator.core.launch import Verdict, Wanted
from fractal_operator.core.merge import State
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import ClusterView, DefinitionView


def begin(state: State, spec: Spec) -> Verdict:
    """The intent of the next attempt, or what stands in its way."""
    changed = spec_changed(state, state.attempt)
    final = rest.finished(state, spec) if not changed else None
    if final is not None:
        return Verdict(state, final)
    due = rest.relaunch_at(state) if not changed else state.now
    if due > state.now and not state.seen.requested:
        return Verdict(state, rest.resting(state), again_at=due)
    target = state.seen.target
    gate = closed(state, target)
    if gate is not None:
        return gate
    assert target is not None
    assert target.info is not None
    answer = launch.definition(state, spec, target.region, "")
    if not isinstance(answer, DefinitionView):
        return Verdict(state, _resting_or_launching(state), reads=(answer,))
    if answer.result is None:
        retry = launch.retry_at(state, answer)
        return Verdict(state, launch.undefined(answer), again_at=retry)
    want = launch.wanted(state, spec, answer.result)
    if isinstance(want, str):
        return Verdict(state, phases.refused("InvalidSpec", want))
    return _intent(state, spec, want, target.info.arn, changed=changed)


def spec_changed(state: State, attempt: Attempt | None) -> bool:
    """Whether the replacing fields differ from the ones that ``attempt`` launched.

    The recorded version's algorithm decides, so that an operator upgrade restarts nothing; an
    unknown version or no hash at all is no change: never restart on ignorance.
    """
    if attempt is None or not attempt.spec_hash:
        return False
    now = tokens.spec_hash(state.seen.spec_json, attempt.spec_hash)
    return now is not None and now != attempt.spec_hash


def _resting_or_launching(state: State) -> Situation:
    return rest.resting(state) if state.last_end else phases.launching(state.highest + 1)


def closed(state: State, target: ClusterView | None) -> Verdict | None:
    """The gate that keeps the next attempt from beginning now, if any."""
    seen = state.seen
    if target is None:
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
        text = words.message(f"ECS cluster {target.reference} in {target.region}{status}")
        again = seen.now + timedelta(seconds=60)
        return Verdict(state, phases.refused(words.reason, text), again_at=again, wants_sweep=True)
    since = target.swept_since
    if since is None or (seen.bare_since is not None and since < seen.bare_since):
        text = "Looking at the cluster's tasks once before the launch."
        situation = phases.waiting("WaitingForSweep", text)
        return Verdict(state, situation, wants_sweep=True, quiet=True)
    if target.paused:
        return Verdict(state, phases.waiting("LaunchesPaused", target.paused))
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
    return phases.waiting("EcsUnavailable", "ECS cannot be reached; it is tried again.")


def _intent(state: State, spec: Spec, want: Wanted, cluster_arn: str, *, changed: bool) -> Verdict:
    """The next attempt, written before its call and holding all that the call depends on."""
    before = state.attempt
    attempt = Attempt(
        number=state.highest + 1,
        cluster_arn=cluster_arn,
        definition_arn=want.definition.arn,
        container_name=want.container,
        rung=0,
        spec_hash=want.spec_hash,
        first_issued_at=state.now,
        last_issued_at=state.now,
        failures=before.failures if before is not None and not changed else 0,
    )
    rendered = launch.body(state, spec, want, attempt)
    attempt = attempt.model_copy(update={"request_hash": tokens.request_hash(rendered)})
    armed = replace(state, attempt=attempt, highest=attempt.number)
    return Verdict(armed, phases.launching(attempt.number), arms=attempt.number)
