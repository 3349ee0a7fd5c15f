"""The next attempt: whether there shall be one, what it waits for, and its intent.

Reached only while nothing of the object is alive and no attempt is unresolved.
"""

from dataclasses import replace
from datetime import timedelta

from fractal_models.container import Attempt, Spec
from fractal_operator.core import definitions, gates, permits, phases, queueing, rest, tokens
from fractal_operator.core.definitions import Wanted
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import DefinitionView, DeleteObject
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict


def begin(state: State, spec: Spec) -> Verdict:
    """The intent of the next attempt, or what stands in its way."""
    if not state.seen.selected:
        text = "The object is let go of: its labels are not this installation's any more."
        return Verdict(state, phases.waiting("Released", text))
    changed = renewed(state)
    final = rest.finished(state, spec) if not changed else None
    if final is not None:
        return _over(state, spec, final)
    refused = permits.asked(state.policy, state.seen.namespace, spec)
    if refused:
        return Verdict(state, phases.refused("NotAllowed", refused))
    due = rest.relaunch_at(state, spec) if not changed else state.now
    if due > state.now and not state.seen.requested:
        return Verdict(state, rest.resting(state), again_at=due)
    target = state.seen.target
    gate = gates.closed(state, target)
    if gate is not None:
        return gate
    if state.highest >= tokens.MAX_ATTEMPT:
        text = (
            "No attempt number is left: status.attempt was edited. Delete the object, make it anew."
        )
        return Verdict(state, phases.refused("AttemptsExhausted", text))
    assert target is not None
    assert target.info is not None
    answer = definitions.definition(state, spec, target.region, "")
    if not isinstance(answer, DefinitionView):
        return Verdict(state, rest.resting(state), reads=(answer,))
    if answer.result is None:
        retry = definitions.retry_at(state, answer)
        return Verdict(state, definitions.undefined(answer), again_at=retry)
    want = definitions.wanted(state, spec, answer.result)
    if isinstance(want, str):
        return Verdict(state, phases.refused("InvalidSpec", want))
    region = tokens.region_of(target.info.arn)
    turn = queueing.launch(state, region, rest.resting(state))
    return turn or _intent(state, spec, want, target.info.arn, changed=changed)


def _over(state: State, spec: Spec, final: Situation) -> Verdict:
    """Nothing more to run: the object itself goes after ttlSecondsAfterFinished."""
    end, ttl = state.last_end, spec.timeouts.ttl_seconds_after_finished
    if ttl is None or end is None or end.finished_at is None:
        return Verdict(state, final)
    due = min(end.finished_at, state.now) + timedelta(seconds=ttl)
    if due > state.now:
        return Verdict(state, final, again_at=due)
    return Verdict(state, final, calls=(DeleteObject(),))


def spec_changed(state: State, recorded: str) -> bool:
    """Whether the replacing fields differ from the ones that the hash ``recorded`` is of.

    The recorded version's algorithm decides, so that an operator upgrade restarts nothing; an
    unknown version or no hash at all is no change: never restart on ignorance.
    """
    now = tokens.spec_hash(state.seen.spec_json, recorded)
    return now is not None and now != recorded


def restart_wanted(state: State) -> bool:
    """Whether fractal.co/restart-requested-at asks for more than the latest attempt heeded."""
    wish, attempt = state.seen.restart, state.attempt
    return bool(wish) and attempt is not None and wish != attempt.restart_requested_at


def renewed(state: State) -> bool:
    """Whether the next attempt is a fresh start: after an edit, or a restart that was asked for."""
    attempt = state.attempt
    return attempt is not None and (spec_changed(state, attempt.spec_hash) or restart_wanted(state))


def _intent(state: State, spec: Spec, want: Wanted, cluster_arn: str, *, changed: bool) -> Verdict:
    """The next attempt, written before its call and holding all that the call depends on."""
    before = state.attempt
    attempt = Attempt(
        number=state.highest + 1,
        cluster_arn=cluster_arn,
        definition_arn=want.definition.arn,
        container_name=want.container,
        rung=rest.rung(state, spec),
        spec_hash=want.spec_hash,
        first_issued_at=state.now,
        last_issued_at=state.now,
        issued_by=state.policy.process,
        restart_requested_at=state.seen.restart,
        failures=before.failures if before is not None and not changed else 0,
        used_seconds=before.used_seconds if before is not None and not changed else 0,
    )
    rendered = definitions.body(state, spec, want, attempt)
    refused = permits.sent(state.policy, state.seen.namespace, rendered, want.definition)
    if refused:
        # The newest revision of a family may be another one by then.
        again_at = state.now + rest.REJECTED_RETRY
        return Verdict(state, phases.refused("NotAllowed", refused), again_at=again_at)
    attempt = attempt.model_copy(update={"request_hash": tokens.request_hash(rendered)})
    armed = replace(state, attempt=attempt, highest=attempt.number)
    situation = phases.launching(attempt.number, rest.before(armed))
    return Verdict(armed, situation, arms=attempt.number)
