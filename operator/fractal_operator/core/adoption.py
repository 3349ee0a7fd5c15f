"""Taking over a task that somebody else launched (annotation fractal.co/adopt), without a restart.

In place of the object's first launch, and only of a task that the allow-list names. The task's own
tags say whose it is, so that two objects cannot both have it: first the tags are written, then ECS
is seen to show them, and only then does the status hold the task. From there on it is a task like
any other, of a number of its own; what follows it is launched from the spec.

A task that another FractalContainer launched can be adopted only once that one has retained it.
"""

from collections.abc import Mapping
from datetime import timedelta

from fractal_models.container import Status
from fractal_models.observed import ObservedTask
from fractal_operator.core import gates, permits, phases, tokens
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.plan import TagTask
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

ASK_AGAIN = timedelta(seconds=30)


def wish(annotations: Mapping[str, str], status: Status) -> str:
    """The ARN of the task that an object asks to adopt, "" if none, or if it is too late."""
    return annotations.get(ADOPT, "") if status.attempt is None else ""


def adopt(state: State, arn: str) -> Verdict:
    """The steps towards having the task ``arn``, or why the object cannot have it."""
    seen = state.seen
    gate = gates.closed(state, seen.target)
    if gate is not None and (seen.target is None or seen.target.info is None):
        return gate
    task = next((each for each in seen.tasks if each.arn == arn), None)
    refusal = _refusal(state, arn, task)
    if refusal:
        text = f"{refusal} Correct or remove the annotation {ADOPT}."
        return Verdict(state, phases.refused("AdoptionRefused", text), wants_sweep=task is None)
    situation = phases.waiting("Adopting", f"Taking over the ECS task {arn}.")
    if task is None:
        return Verdict(state, situation, wants_sweep=True)
    tagged = seen.adopted.get(task.arn)
    if tagged is not None and tagged.problem is not None:
        text = f"The ECS task {arn} cannot be tagged: {tagged.problem.message}"
        situation = phases.retrying("AdoptionFailed", text)
    if tagged is not None and seen.now - tagged.at < ASK_AGAIN:
        return Verdict(state, situation, again_at=tagged.at + ASK_AGAIN)
    tags = tokens.owner_tags(state.policy.install, seen.namespace, seen.name, seen.uid)
    call = TagTask(tokens.region_of(arn), task.arn, {**tags, tokens.TAG_RETAINED: "false"})
    return Verdict(state, situation, calls=(call,), again_at=seen.now + ASK_AGAIN)


def _refusal(state: State, arn: str, task: ObservedTask | None) -> str:
    """Why the object cannot have the task, in words; "" if it can, or nothing is known yet."""
    seen = state.seen
    if not permits.adoptable(state.policy, seen.namespace, arn):
        return f"The ECS task {arn} may not be adopted from namespace {seen.namespace}: " + (
            "no rule of the operator's allow-list (FRACTAL_ALLOW) lists it under adoptable."
        )
    info = seen.target.info if seen.target is not None else None
    if info is not None and not arn.startswith(tokens.task_prefix(info.arn)):
        return f"The ECS task {arn} is not in the object's cluster {info.arn}."
    if task is None:
        unknown = any(each == arn for each in seen.missing)
        return f"ECS does not know the task {arn}." if unknown else ""
    if task.stopping:
        return f"The ECS task {arn} is stopping, or has stopped."
    return _taken(state, task)


def _taken(state: State, task: ObservedTask) -> str:
    origin, owner = tokens.parse_started_by(task.started_by), task.tag(tokens.TAG_UID)
    if task.tag(tokens.TAG_RETAINED) == "true":
        return ""
    if owner and owner != state.seen.uid:
        name = f"{task.tag(tokens.TAG_NAMESPACE)}/{task.tag(tokens.TAG_NAME)}"
        return f"The ECS task {task.arn} belongs to the FractalContainer {name} (uid {owner})."
    if origin is not None and not owner:
        return f"The ECS task {task.arn} was launched for another FractalContainer."
    return ""
