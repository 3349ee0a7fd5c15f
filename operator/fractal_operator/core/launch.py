"""Launching: at most one live task for one (uid, attempt), whatever gets lost on the way.

Theory. An attempt is a number, and a client token made of it. Its life:

    intent     status.attempt is written (a compare-and-swap) and names all that RunTask depends on
    call       RunTask with that token, within 30 s of a write of lastIssuedAt; repeating the call
               is harmless while the token lives (ECS: at least an hour; we use 45 minutes)
    resolved   a task of that number is known, or a termination with that number is recorded

A new number is taken only when the old one is resolved and nothing of this object is alive. Without
a task to see, an attempt resolves only by certainty: every call was made by this process and was
answered; or a lookup after a capacity failure found nothing; or it is drained: 420 s have passed
since the last call could have been sent (300 s until a task is visible, 40 s for a late call, 45 s
of clock skew, 30 s between write and call) and a lookup begun after that found nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fractal_models.container import Attempt, Spec
from fractal_models.observed import ClusterArn, LaunchFailure, TaskDefinition
from fractal_operator.core import backoff, failures, phases, request, rest, tokens
from fractal_operator.core.failures import Nature
from fractal_operator.core.merge import State
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import (
    Action,
    DefinitionView,
    Ensure,
    Find,
    Launch,
    Resolve,
    RunTask,
)

SEND_WINDOW = timedelta(seconds=30)
TOKEN_LIFE = timedelta(minutes=45)
DRAIN = timedelta(seconds=420)
FAMILY_AGE = timedelta(seconds=60)
JUST_NOW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement: what the status shall hold and say, what to read first, what to call after.

    ``quiet``: nothing has been found out yet, so what the status says already stays.
    """

    state: State
    situation: Situation
    reads: tuple[Action, ...] = ()
    calls: tuple[Action, ...] = ()
    again_at: datetime | None = None
    arms: int = 0
    wants_sweep: bool = False
    overdue: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the next or present RunTask of a spec would be, once its definition is known."""

    definition: TaskDefinition
    container: str
    spec_hash: str


def region_of(cluster_arn: str) -> str:
    """The region inside an ECS ARN (``arn:aws:ecs:REGION:ACCOUNT:…``), "" if it has none."""
    parts = cluster_arn.split(":")
    return parts[3] if len(parts) > 5 else ""


# --- the task definition -----------------------------------------------------------------------


def definition(
    state: State, spec: Spec, region: str, pinned: str
) -> DefinitionView | Resolve | Ensure:
    """The answer for the spec's task definition, or the action that gets one.

    ``pinned`` is the revision that an unresolved attempt was armed with: it stands for the spec's
    family as long as the family is the same, so that a replay sends the same body.
    """
    ask = _ask(spec, region, pinned)
    reference = ask.reference if isinstance(ask, Resolve) else str(ask.registration["family"])
    view = state.seen.definition
    if view is not None and view.result is not None and view.result.arn == pinned:
        return view  # just resolved for the intent
    if view is None or view.reference != reference:
        return ask
    age = state.now - view.at
    if state.seen.requested and age > JUST_NOW:
        return ask
    if view.problem is not None:
        return ask if state.now >= retry_at(state, view) else view
    if view.result is None:
        return ask if age >= rest.REJECTED_RETRY else view
    floating = isinstance(ask, Resolve) and ":" not in reference
    return ask if floating and age > FAMILY_AGE else view


def retry_at(state: State, view: DefinitionView) -> datetime:
    """When a failed or empty answer is asked for again."""
    problem = view.problem
    if problem is None or problem.kind in ("Rejected", "AccessDenied"):
        return view.at + rest.REJECTED_RETRY
    return view.at + backoff.delay(2, state.seen.uid, "definition")


def _ask(spec: Spec, region: str, pinned: str) -> Resolve | Ensure:
    if spec.template is not None:
        registration = request.registration(spec, spec.template, region)
        if _family(pinned) == registration["family"]:
            return Resolve(region, pinned)
        return Ensure(region, registration)
    same = pinned and (pinned == spec.task_definition or _family(pinned) == spec.task_definition)
    return Resolve(region, pinned if same else spec.task_definition)


def _family(arn: str) -> str:
    """``arn:…:task-definition/family:7`` -> ``family``."""
    return arn.rpartition("/")[2].partition(":")[0]


def wanted(state: State, spec: Spec, found: TaskDefinition) -> Wanted | str:
    """What to launch, or in words why the spec does not allow it."""
    container = request.main_container(spec, found)
    if container is None:
        names = ", ".join(each.name for each in found.containers)
        return (
            f"spec.containerName must name the main container of {found.arn}: one of {names}"
            if spec.container_name or len(found.containers) > 1
            else f"{found.arn} has no essential container"
        )
    if found.network_mode == "awsvpc" and request.network(spec, state.policy) is None:
        return (
            f"spec.network.subnets is needed: {found.arn} uses the network mode awsvpc, and the "
            "operator has no default subnets (FRACTAL_SUBNETS)"
        )
    digest = tokens.spec_hash(state.seen.spec_json) or ""
    size = len(tokens.canonical(request.overrides(spec, container, digest)))
    if size > request.MAX_OVERRIDES:
        return (
            f"spec.environment and spec.command are too large: {size} characters as ECS overrides, "
            f"which may have {request.MAX_OVERRIDES}"
        )
    return Wanted(found, container, digest)


def body(state: State, spec: Spec, want: Wanted, attempt: Attempt) -> dict[str, Any]:
    """The RunTask request of one attempt."""
    seen = state.seen
    return request.run_task(
        spec=spec,
        policy=state.policy,
        namespace=seen.namespace,
        name=seen.name,
        uid=seen.uid,
        attempt=attempt.number,
        rung=attempt.rung,
        cluster_arn=attempt.cluster_arn,
        definition=want.definition,
        container=want.container,
        spec_hash=want.spec_hash,
    )


# --- an attempt that nobody knows the outcome of -------------------------------------------------


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
    return known.problem is None or known.problem.kind != "TokenConflict"


def drained(state: State, attempt: Attempt) -> bool:
    """Whether no task of the attempt exists or can still appear, as far as the bounds hold."""
    home = state.seen.home
    if unsent(state, attempt) or (home is not None and home.gone):
        return True
    last = attempt.last_issued_at or state.now
    known = launch_of(state, attempt)
    if known is not None and known.certain and known.failures is not None and known.at is not None:
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
    last = attempt.last_issued_at or state.now
    ends = last + DRAIN
    found = state.seen.lookup
    due = state.now
    if found is not None and found.attempt == attempt.number:
        pause = min(max((found.began - last) / 4, timedelta(seconds=5)), timedelta(seconds=60))
        due = found.began + pause
        if found.began < ends <= state.now and found.problem is None:
            due = state.now
    if due <= state.now:
        look = find(state, attempt.number, attempt.cluster_arn)
        return Verdict(state, situation, reads=(look,))
    overdue = state.now - last > timedelta(seconds=60)
    return Verdict(
        state,
        situation,
        again_at=min(due, ends) if ends > state.now else due,
        overdue=overdue,
    )


def pursue(state: State, spec: Spec, attempt: Attempt) -> Verdict:
    """Go on with an unresolved attempt, for an object that shall run."""
    target = state.seen.target
    known = launch_of(state, attempt)
    moved = (
        target is not None and target.info is not None and (target.info.arn != attempt.cluster_arn)
    )
    dead = state.now - (attempt.first_issued_at or state.now) >= TOKEN_LIFE
    conflict = known is not None and known.problem and known.problem.kind == "TokenConflict"
    if known is not None and known.failures is not None:
        return _unplaced(state, attempt, known)
    refused = (
        known is not None
        and known.problem is not None
        and (known.problem.kind in ("Rejected", "AccessDenied"))
    )
    if refused and known is not None and known.problem is not None:
        return _refused(state, attempt, known.problem.code, known.problem.message)
    if moved or dead:
        if drained(state, attempt):
            code = "Replaced" if moved else "Unresolved"
            text = "no task of this attempt was found"
            ended = state.ended(attempt.number, code, text)
            return Verdict(ended, rest.resting(ended))
        text = f"Making sure that attempt {attempt.number} has left no task behind."
        return drain(state, attempt, phases.waiting("Draining", text))
    if conflict:
        text = f"The client token of attempt {attempt.number} is bound to a task not visible yet."
        return drain(state, attempt, phases.waiting("TokenConflict", text))
    return _send(state, spec, attempt, known)


def _unplaced(state: State, attempt: Attempt, known: Launch) -> Verdict:
    """RunTask answered 200 without a task. A task may exist all the same (apache/airflow#16150)."""
    nature, words, text = failures.unplaced(known.failures or ())
    if drained(state, attempt):
        code = {
            Nature.CAPACITY: "CapacityUnavailable",
            Nature.SPEC: "LaunchRejected",
            Nature.UNKNOWN: "LaunchFailed",
        }[nature]
        ended = state.ended(attempt.number, code, f"{words.reason}: {text}")
        return Verdict(ended, rest.resting(ended))
    return drain(state, attempt, phases.retrying(words.reason, words.message(text)))


def _refused(state: State, attempt: Attempt, code: str, text: str) -> Verdict:
    words = failures.rejection(code, text)
    situation = phases.refused(words.reason, words.message(text))
    if drained(state, attempt):
        ended = state.ended(attempt.number, "LaunchRejected", text)
        return Verdict(ended, rest.resting(ended))
    return drain(state, attempt, situation)


def _send(state: State, spec: Spec, attempt: Attempt, known: Launch | None) -> Verdict:
    """Call RunTask, after a write that names exactly this request less than 30 s ago."""
    region = region_of(attempt.cluster_arn)
    situation = _calling(attempt, known)
    answer = definition(state, spec, region, attempt.definition_arn)
    if not isinstance(answer, DefinitionView):
        return Verdict(state, situation, reads=(answer,))
    if answer.result is None:
        situation = undefined(answer)
        return Verdict(state, situation, again_at=retry_at(state, answer))
    want = wanted(state, spec, answer.result)
    if isinstance(want, str):
        # The spec was edited into something that cannot be sent; the attempt may still have landed.
        if drained(state, attempt):
            ended = state.ended(attempt.number, "Replaced", "the spec changed before the launch")
            return Verdict(ended, phases.refused("InvalidSpec", want))
        return drain(state, attempt, phases.refused("InvalidSpec", want))
    due = next_call_at(state, attempt, known)
    if due > state.now:
        return Verdict(state, situation, again_at=due, overdue=_overdue(state, attempt))
    again = attempt.model_copy(
        update={
            "definition_arn": want.definition.arn,
            "container_name": want.container,
            "spec_hash": want.spec_hash,
        }
    )
    rendered = body(state, spec, want, again)
    again = again.model_copy(update={"request_hash": tokens.request_hash(rendered)})
    late = state.now - (attempt.last_issued_at or attempt.first_issued_at or state.now)
    if again != attempt or late > SEND_WINDOW:
        again = again.model_copy(update={"last_issued_at": state.now})
        return Verdict(replace(state, attempt=again), situation, arms=again.number)
    call = RunTask(region, attempt.number, rendered)
    return Verdict(state, situation, calls=(call,), again_at=state.now + SEND_WINDOW)


def next_call_at(state: State, attempt: Attempt, known: Launch | None) -> datetime:
    """When RunTask may be called (again): soon after a lost answer, with growing pauses."""
    if known is None or known.at is None:
        return state.now
    full = known.problem is not None and known.problem.kind == "QuotaReached"
    first, cap = (30.0, 300.0) if full else (1.0, 30.0)
    return known.at + backoff.delay(
        known.calls, state.seen.uid, attempt.number, first=first, cap=cap
    )


def _overdue(state: State, attempt: Attempt) -> bool:
    return state.now - (attempt.first_issued_at or state.now) > timedelta(seconds=60)


def _calling(attempt: Attempt, known: Launch | None) -> Situation:
    if known is None or known.problem is None:
        return phases.launching(attempt.number)
    match known.problem.kind:
        case "Throttled":
            text = "AWS limits the rate of launches; it is tried again."
            return phases.waiting("Throttled", text)
        case "QuotaReached":
            words = failures.unplaced([LaunchFailure(known.problem.message)])[1]
            return phases.waiting("QuotaExceeded", words.message(known.problem.message))
        case "Unavailable":
            return phases.waiting("EcsUnavailable", "ECS cannot be reached; it is tried again.")
        case _:
            text = f"The answer to the launch of attempt {attempt.number} was lost; asking again."
            return phases.waiting("OutcomeUnknown", text)


def undefined(view: DefinitionView) -> Situation:
    """Why there is no task definition to launch from."""
    if view.problem is None:
        text = f"The task definition {view.reference} does not exist"
        words = failures.rejection("ClientException", "task definition not found")
        return phases.refused("TaskDefinitionNotFound", words.message(text))
    match view.problem.kind:
        case "Rejected" | "AccessDenied":
            words = failures.rejection(view.problem.code, view.problem.message)
            return phases.refused(words.reason, words.message(view.problem.message))
        case "Throttled" | "QuotaReached":
            text = "AWS limits the rate of task definition calls; it is tried again."
            return phases.waiting("Throttled", text)
        case _:
            return phases.waiting("EcsUnavailable", "ECS cannot be reached; it is tried again.")
