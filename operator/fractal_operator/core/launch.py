"""Launching: at most one live task for one (uid, attempt), whatever gets lost on the way.

Theory. An attempt is a number, and a client token made of it. Its life:

    intent     status.attempt is written (a compare-and-swap) and names all that RunTask depends on
    call       RunTask with that token, within 30 s of a write of lastIssuedAt; repeating the call
               is harmless while the token lives (ECS: at least an hour; we use 45 minutes)
    resolved   a task of that number is known, or a termination with that number is recorded

A new number is taken only when the old one is resolved and nothing of this object is alive. How an
attempt resolves without a task to see stands in draining.py.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from fractal_models.container import Attempt, Spec
from fractal_operator.core import (
    backoff,
    begin,
    definitions,
    draining,
    failures,
    gates,
    permits,
    phases,
    queueing,
    rest,
    tokens,
)
from fractal_operator.core.failures import Nature
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import DefinitionView, Launch, Problem, RunTask
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

SEND_WINDOW = timedelta(seconds=30)
TOKEN_LIFE = timedelta(minutes=45)


def pursue(state: State, spec: Spec, attempt: Attempt) -> Verdict | State:
    """Go on with an unresolved attempt of an object that shall run; a State once it is resolved."""
    known = draining.launch_of(state, attempt)
    problem = known.problem if known is not None else None
    if known is not None and known.failures is not None:
        return _unplaced(state, attempt, known)
    if problem is not None and problem.kind in ("Rejected", "AccessDenied"):
        return _refused(state, attempt, problem)
    text = f"Making sure that attempt {attempt.number} has left no task behind."
    waiting = phases.waiting("Draining", text)
    if moved(state, attempt):
        return _settle(state, attempt, "Replaced", "no task of this attempt was found", waiting)
    if state.now - draining.first_issued(state, attempt) >= TOKEN_LIFE:
        return _settle(state, attempt, "Unresolved", "no task of this attempt was found", waiting)
    if problem is not None and problem.kind == "TokenConflict":
        return draining.drain(state, attempt, _passing("TokenConflict"))
    if problem is not None and problem.kind == "QuotaReached":
        words = failures.full(problem.message)
        shown = phases.waiting(words.reason, words.message(problem.message))
        return _settle(state, attempt, "CapacityUnavailable", problem.message, shown)
    return _send(state, spec, attempt, known)


def moved(state: State, attempt: Attempt) -> bool:
    """Whether the spec names another cluster by now; an attempt never changes its cluster."""
    target = state.seen.target
    info = target.info if target is not None else None
    return info is not None and info.arn != attempt.cluster_arn


def _settle(
    state: State, attempt: Attempt, stop_code: str, text: str, meanwhile: Situation
) -> Verdict | State:
    """The attempt's end, once it has certainly left no task; until then, its draining."""
    if draining.drained(state, attempt):
        return state.ended(attempt.number, stop_code, text)
    return draining.drain(state, attempt, meanwhile)


def _unplaced(state: State, attempt: Attempt, known: Launch) -> Verdict | State:
    """RunTask answered 200 without a task. A task may exist all the same (apache/airflow#16150)."""
    nature, words, text = failures.unplaced(known.failures or ())
    match nature:
        case Nature.CAPACITY:
            code, shown = "CapacityUnavailable", phases.retrying(words.reason, words.message(text))
        case Nature.SPEC:
            code, shown = "LaunchRejected", phases.refused(words.reason, words.message(text))
        case Nature.UNKNOWN:
            code, shown = "LaunchFailed", phases.retrying(words.reason, words.message(text))
        case _:
            assert_never(nature)
    return _settle(state, attempt, code, text, shown)


def _refused(state: State, attempt: Attempt, problem: Problem) -> Verdict | State:
    text = problem.message
    if problem.code not in text:
        text = f"{problem.code}: {text}"
    words = failures.refusal(text)
    shown = phases.refused(words.reason, words.message(text))
    return _settle(state, attempt, "LaunchRejected", text, shown)


def _send(state: State, spec: Spec, attempt: Attempt, known: Launch | None) -> Verdict | State:
    """Call RunTask, after a write that names exactly this request less than 30 s ago."""
    gate = gates.closed(state, state.seen.target)
    if gate is not None:
        return gate
    refused = permits.asked(state.policy, state.seen.namespace, spec)
    if refused:
        return _barred(state, attempt, refused)
    region = tokens.region_of(attempt.cluster_arn)
    situation = _calling(state, attempt, known)
    answer = definitions.definition(state, spec, region, attempt.definition_arn)
    if not isinstance(answer, DefinitionView):
        return Verdict(state, situation, reads=(answer,))
    if answer.result is None:
        again_at = definitions.retry_at(state, answer)
        return Verdict(state, definitions.undefined(answer), again_at=again_at)
    want = definitions.wanted(state, spec, answer.result)
    if isinstance(want, str):
        # The spec was edited into something that cannot be sent; the attempt may still have landed.
        text = "the spec changed before the launch"
        return _settle(state, attempt, "Replaced", text, phases.refused("InvalidSpec", want))
    due = next_call_at(state, attempt, known)
    if due > state.now:
        return Verdict(state, situation, again_at=due)
    turn = queueing.launch(state, region, situation)
    if turn is not None:
        return turn
    again = attempt.model_copy(
        update={
            "definition_arn": want.definition.arn,
            "container_name": want.container,
            "spec_hash": want.spec_hash,
            **_counts(state, attempt),
            # Another process's intent is no leave to call: the write in between is the fence.
            "issued_by": state.policy.process,
        }
    )
    rendered = definitions.body(state, spec, want, again)
    refused = permits.sent(state.policy, state.seen.namespace, rendered, want.definition)
    if refused:
        return _barred(state, attempt, refused)
    again = again.model_copy(update={"request_hash": tokens.request_hash(rendered)})
    late = state.now - draining.last_issued(state, attempt) > SEND_WINDOW
    # Without a memory of arming it, the object may be gone: a late event brought back its body.
    if again != attempt or late or known is None:
        again = again.model_copy(update={"last_issued_at": state.now})
        soon = state.now + timedelta(seconds=1)  # written within this very second: once more
        return Verdict(replace(state, attempt=again), situation, again_at=soon, arms=again.number)
    call = RunTask(region, attempt.number, rendered)
    return Verdict(state, situation, calls=(call,), again_at=state.now + SEND_WINDOW)


def _counts(state: State, attempt: Attempt) -> dict[str, Any]:
    """What an attempt rewritten after an edit leaves behind: failures, and lifetime used up.

    A restart that is asked for before anything was sent is heeded by this very attempt.
    """
    heeded = {"restart_requested_at": state.seen.restart} if draining.unsent(state, attempt) else {}
    return {"failures": 0, "used_seconds": 0, **heeded} if begin.renewed(state) else {}


def _barred(state: State, attempt: Attempt, refused: str) -> Verdict | State:
    """Edited spec, narrowed allow-list or forged status: not sent any more. It may have landed."""
    text = "the allow-list forbids the launch"
    return _settle(state, attempt, "Replaced", text, phases.refused("NotAllowed", refused))


def next_call_at(state: State, attempt: Attempt, known: Launch | None) -> datetime:
    """When RunTask may be called (again): soon after a lost answer, with growing pauses."""
    if known is None or known.at is None:
        return state.now
    return known.at + backoff.delay(known.calls, state.seen.uid, attempt.number, first=1, cap=30)


def _calling(state: State, attempt: Attempt, known: Launch | None) -> Situation:
    if known is None or known.problem is None:
        return phases.launching(attempt.number, rest.before(state))
    return _passing(known.problem.kind)


def _passing(kind: str) -> Situation:
    """Trouble that passes by itself; an answer of no known kind is no answer."""
    words = failures.PASSING.get(kind, failures.PASSING["OutcomeUnknown"])
    return phases.waiting(words.reason, words.message(""))
