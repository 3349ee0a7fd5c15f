"""The task definition of a launch: asked for, answered, and what to run of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fractal_models.container import Attempt, Spec
from fractal_models.observed import TaskDefinition
from fractal_operator.core import backoff, failures, phases, request, rest, tokens
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import DefinitionView, Ensure, Resolve
from fractal_operator.core.state import State
from fractal_operator.core.tokens import region_of

FAMILY_AGE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the next or present RunTask of a spec would be, once its definition is known."""

    definition: TaskDefinition
    container: str
    spec_hash: str


def definition(
    state: State, spec: Spec, region: str, pinned: str
) -> DefinitionView | Resolve | Ensure:
    """The answer for the spec's task definition, or the action that gets one.

    ``pinned`` is the revision that an unresolved attempt was armed with: it stands for the spec's
    family as long as the family is the same, so that a replay sends the same body.
    """
    return _answer(state, _ask(spec, region, pinned), region, pinned)


def revision(state: State, region: str, arn: str) -> DefinitionView | Resolve | Ensure:
    """The answer for the very task definition that a task runs from, whatever the spec says."""
    return _answer(state, Resolve(region, arn), region, arn)


def _answer(
    state: State, ask: Resolve | Ensure, region: str, pinned: str
) -> DefinitionView | Resolve | Ensure:
    reference = ask.reference if isinstance(ask, Resolve) else str(ask.registration["family"])
    view = state.seen.definition
    if view is None or (view.result is not None and region_of(view.result.arn) != region):
        return ask
    if view.result is not None and view.result.arn == pinned == reference:
        return view  # resolved for the intent
    if view.reference != reference:
        return ask
    age = state.now - view.at
    if state.seen.requested not in ("", view.request):
        return ask
    if view.problem is not None:
        return ask if state.now >= retry_at(state, view) else view
    if view.result is None:
        return ask if age >= rest.REJECTED_RETRY else view
    return ask if age > FAMILY_AGE and reference != pinned else view


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
    same = _stands_for(pinned, spec.task_definition)
    return Resolve(region, pinned if same else spec.task_definition)


def _stands_for(pinned: str, reference: str) -> bool:
    """Whether a pinned revision is one that a reference (family, revision or ARN) can mean."""
    if "/" not in reference:
        pinned = pinned.rpartition("/")[2]
    return pinned == reference or pinned.startswith(f"{reference}:")


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


def undefined(view: DefinitionView) -> Situation:
    """Why there is no task definition to launch from."""
    if view.problem is None:
        text = f"The task definition {view.reference} does not exist"
        words = failures.rejection("ClientException", "task definition not found")
        return phases.refused(words.reason, words.after(text))
    match view.problem.kind:
        case "Rejected" | "AccessDenied":
            words = failures.rejection(view.problem.code, view.problem.message)
            return phases.refused(words.reason, words.message(view.problem.message))
        case "Throttled" | "QuotaReached":
            words = failures.PASSING["Throttled"]
        case _:
            words = failures.PASSING["Unavailable"]
    return phases.waiting(words.reason, words.message(""))
