"""Taking over a task that somebody else launched (annotation fractal.co/adopt), without a restart.

In place of the object's first launch, and only of a task that the allow-list names. It is an
attempt like any other: ``status.attempt.adopts`` names the task before anything is done to it; then
the task is tagged as the object's; and once ECS shows the tags, the status holds the task. The tags
are the proof of whose it is, which no user of Kubernetes can write, so two objects cannot both have
it. What has begun is carried through, whatever becomes of the annotation, or ends as
AdoptionFailed.

An attempt that the allow-list does not name (it was narrowed since, or somebody edited the status)
tags nothing any more. But the tags may be on their way, so it ends only 420 s later (draining.py),
if they do not show by then; if they do, the task is the object's.

A task that another FractalContainer launched can be adopted only once that one has retained it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from fractal_models.container import Attempt, Status, Task
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import claims, draining, gates, losses, permits, phases, tokens
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.plan import Action, Policy, TagTask
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

ASK_AGAIN = timedelta(seconds=30)
FAILED = "AdoptionFailed"


def wish(annotations: Mapping[str, str], status: Status) -> str:
    """The ARN of the task that an object is to take over, "" if none, or if it is too late."""
    attempt = status.attempt
    if attempt is None:
        return annotations.get(ADOPT, "")
    if _begun(status):
        return attempt.adopts
    ends = (each for each in status.last_terminations if each.attempt == attempt.number)
    failed = any(each.stop_code == FAILED for each in ends) and not _held(status, attempt)
    return annotations.get(ADOPT, "") if attempt.adopts and failed else ""


def _begun(status: Status) -> bool:
    """Whether the attempt is to take over a task, and neither has it nor has ended."""
    attempt = status.attempt
    if attempt is None or not attempt.adopts or _held(status, attempt):
        return False
    return all(each.attempt != attempt.number for each in status.last_terminations)


def _held(status: Status, attempt: Attempt) -> bool:
    return any(each.attempt == attempt.number for each in status.tasks)


def sought(annotations: Mapping[str, str], status: Status, policy: Policy, namespace: str) -> str:
    """The wish, "" also where it is refused whatever ECS says: nobody is to look for the task.

    What has begun is looked for whatever the list says by now: the tags may be on the task.
    """
    arn = wish(annotations, status)
    listed = _begun(status) or permits.adoptable(policy, namespace, arn)
    return arn if claims.well_formed(arn) and listed else ""


def pending(state: State) -> Attempt | None:
    """The attempt that is to take over a task, while it has not got it."""
    attempt = state.unresolved
    return attempt if attempt is not None and attempt.adopts else None


def settled(state: State) -> State:
    """``state`` without an adoption that cannot succeed any more: the task is another's, or gone.

    An edit of spec.cluster does not end it, as the tags may be on the task already: once they are
    seen, the task is the object's current one, and is replaced.
    """
    attempt = pending(state)
    if attempt is None:
        return state
    arn = attempt.adopts
    refusal = _unfit(state, arn, attempt.cluster_arn)
    if not refusal and not _listed(state, arn) and _untagged(state, attempt):
        refusal = _unlisted(state, arn)
    return state.ended(attempt.number, FAILED, refusal) if refusal else state


def _untagged(state: State, attempt: Attempt) -> bool:
    """Whether it is certain that no tag will show, as this process has had nothing tagged."""
    if losses.cluster_gone(state.seen, attempt):
        return True
    task, ends = state.task(attempt.adopts), draining.last_issued(state, attempt) + draining.DRAIN
    mine = attempt.issued_by == state.policy.process
    return mine and task is not None and task.observed_at >= ends


def adopt(state: State, arn: str) -> Verdict:
    """The intent to take over the task ``arn``, or why the object cannot have it."""
    seen, target = state.seen, state.seen.target
    gate = gates.closed(state, target)
    if target is None or target.info is None:
        assert gate is not None
        return gate
    refusal = _refusal(state, arn, target.info.arn)
    if refusal:
        text = f"{refusal} Correct or remove the annotation {ADOPT}."
        return Verdict(state, phases.refused("AdoptionRefused", text))
    task = state.task(arn)
    if task is None:
        return Verdict(state, _adopting(arn))  # it is looked for as long as the object waits
    attempt = Attempt(
        number=state.highest + 1,
        cluster_arn=target.info.arn,
        definition_arn=task.definition_arn,
        container_name=claims.container_name(seen, task),
        spec_hash=tokens.spec_hash(seen.spec_json) or "",
        first_issued_at=seen.now,
        last_issued_at=seen.now,
        restart_requested_at=seen.restart,
        adopts=arn,
    )
    return Verdict(replace(state, attempt=attempt, highest=attempt.number), _adopting(arn))


def pursue(state: State, attempt: Attempt) -> Verdict:
    """Tag the task that an attempt adopts, until ECS shows the tags; only while it is pending."""
    if not _listed(state, attempt.adopts):
        return _withdraw(state, attempt)
    situation, tagged = _adopting(attempt.adopts), state.seen.adopted.get(TaskArn(attempt.adopts))
    if tagged is not None and tagged.problem is not None:
        text = f"The ECS task {attempt.adopts} cannot be tagged: {tagged.problem.message}"
        situation = phases.retrying("TaggingFailed", text)
    again_at = state.now + ASK_AGAIN
    return Verdict(state, situation, calls=_tag(state, attempt.adopts), again_at=again_at)


def _withdraw(state: State, attempt: Attempt) -> Verdict:
    """Tag nothing, and wait: what another process may have asked for shows by then."""
    if attempt.issued_by != state.policy.process:
        taken = {"issued_by": state.policy.process, "last_issued_at": state.now}
        attempt = attempt.model_copy(update=taken)
        state = replace(state, attempt=attempt)
    ends = draining.last_issued(state, attempt) + draining.DRAIN
    text = (
        f"{_unlisted(state, attempt.adopts)} Looking until {ends:%H:%M:%S} UTC whether it was "
        "tagged before: then it is taken over all the same."
    )
    again_at = max(ends, state.now + ASK_AGAIN)
    return Verdict(state, phases.waiting("Adopting", text), again_at=again_at)


def retag(state: State, current: Task) -> tuple[Action, ...]:
    """The tags of an adopted task, where somebody has taken them away, and of one that was let go
    of: by another installation, or by this one before its object came back."""
    task = state.task(current.arn)
    if task is not None and state.seen.selected and _was_released(state, task):
        return _tag(state, task.arn)
    if task is None or task.tags is None or task.tag(tokens.TAG_UID) or task.stopping:
        return ()
    return () if claims.launched_for(task, state.seen.uid) else _tag(state, task.arn)


def _was_released(state: State, task: ObservedTask) -> bool:
    """Whether the object's task says that it was let go of: then no reaper would stop it, and
    another object could adopt it."""
    given = task.tag(tokens.TAG_RETAINED) == tokens.RELEASED
    return given and task.tag(tokens.TAG_UID) == state.seen.uid and not task.stopping


def _tag(state: State, arn: str) -> tuple[Action, ...]:
    seen, task = state.seen, state.task(arn)
    tagged = seen.adopted.get(TaskArn(arn))
    if task is None or (tagged is not None and seen.now - tagged.at < ASK_AGAIN):
        return ()
    tags = tokens.owner_tags(state.policy.install, seen.namespace, seen.name, seen.uid)
    region = tokens.region_of(arn)
    return (TagTask(region, task.arn, {**tags, tokens.TAG_RETAINED: "false"}),)


def _adopting(arn: str) -> phases.Situation:
    return phases.waiting("Adopting", f"Taking over the ECS task {arn}.")


def _refusal(state: State, arn: str, cluster_arn: str) -> str:
    """Why the object, whose cluster that is, cannot have the task, in words.

    "": it can, or nothing is known yet.
    """
    if claims.well_formed(arn) and not _listed(state, arn):
        return _unlisted(state, arn)
    return _unfit(state, arn, cluster_arn)


def _listed(state: State, arn: str) -> bool:
    return permits.adoptable(state.policy, state.seen.namespace, arn)


def _unlisted(state: State, arn: str) -> str:
    return (
        f"The ECS task {arn} may not be adopted from namespace {state.seen.namespace}: "
        "no rule of the operator's allow-list (FRACTAL_ALLOW) lists it under adoptable."
    )


def _unfit(state: State, arn: str, cluster_arn: str) -> str:
    """Why the task is not to be had, whoever may have it."""
    seen, task = state.seen, state.task(arn)
    if not claims.well_formed(arn):
        return f"{arn[:512]!r} is not the ARN of an ECS task (arn:aws:ecs:…:task/CLUSTER/ID)."
    if not arn.startswith(tokens.task_prefix(cluster_arn)):
        return f"The ECS task {arn} is not in the object's cluster {cluster_arn}."
    if task is None:
        unknown = any(each == arn for each in seen.missing)
        return f"ECS does not know the task {arn}." if unknown else ""
    if task.stopping:
        return f"The ECS task {arn} is stopping, or has stopped."
    return _taken(state, task)


def _taken(state: State, task: ObservedTask) -> str:
    origin, owner = tokens.parse_started_by(task.started_by), task.tag(tokens.TAG_UID)
    if task.tag(tokens.TAG_RETAINED) in tokens.KEPT:
        return ""
    if owner and owner != state.seen.uid:
        name = f"{task.tag(tokens.TAG_NAMESPACE)}/{task.tag(tokens.TAG_NAME)}"
        return f"The ECS task {task.arn} belongs to the FractalContainer {name} (uid {owner})."
    if origin is not None and not owner:
        return f"The ECS task {task.arn} was launched for another FractalContainer."
    return ""
