"""Several installations beside each other: whose an object is, and how it changes hands.

Theory. ``status.installation`` names the installation that looks after an object. It stands in
every status that is written, so it is taken by the same compare-and-swap as everything else: of two
installations that both select an object one gets it, and the other leaves it alone, status, calls
and rows.

An object that leaves the selector (its labels were edited, or the setting) is parted with: what was
begun is finished, the task that runs on is tagged as released, and then the claim is taken out of
the status. Whoever selects the object now finds a task that was launched for this very uid and that
its installation has let go of; it carries on with it, without a restart, under its number, and tags
it as its own. A task of another installation that was not released bars a launch, as ever.

The claim is not taken while the object's only known task is one that nobody here has seen, or is
another installation's: it may have one that this process does not know of yet.
"""

from fractal_models.container import Status
from fractal_models.observed import ObservedTask
from fractal_operator.core import annotations, conditions, ending, tokens
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.plan import (
    Observation,
    Plan,
    Policy,
    Problem,
    TagTask,
    WriteStatus,
)
from fractal_operator.core.state import State

REFUSED = "TaggingFailed"


def elsewhere(status: Status, install: str) -> bool:
    """Whether another installation than ``install`` looks after the object."""
    return status.installation not in ("", install)


def left_alone(seen: Observation, policy: Policy) -> bool:
    """Whether there is nothing to do here: the object is another installation's.

    Unless somebody gives it up, with whatever that one runs for it.
    """
    given_up = seen.deleting_since is not None and seen.annotations.get(ABANDON) == seen.uid
    return elsewhere(seen.status, policy.install) and not given_up


def claimant(state: State, taken: ObservedTask | None) -> str:
    """What ``status.installation`` is to say; ``taken``: a live task of another installation."""
    unseen = any(state.task(entry.arn) is None for entry in state.entries)
    if taken is not None or (unseen and not state.seen.status.installation):
        return state.seen.status.installation
    return state.policy.install


def part(state: State) -> Plan | None:
    """The next step of letting go of an object that left the selector; None: not yet, go on."""
    seen, current = state.seen, state.current
    if seen.selected or seen.deleting_since is not None or annotations.holds(seen.annotations):
        return None
    if state.unresolved is not None or state.surplus or len(state.entries) > 1:
        return None
    if not state.entries:
        return _release(seen)
    task = state.task(current.arn) if current is not None else None
    if task is None or task.stopping:
        return None
    asked = seen.retained.get(task.arn)
    told = _told(seen, _refusal(task, asked.problem) if asked is not None else None)
    # What was tagged as ours since may be shown as it was before.
    if task.tag(tokens.TAG_RETAINED) == tokens.RELEASED and task.arn not in seen.adopted:
        return _release(seen)
    if told != seen.status:
        return Plan((WriteStatus(told),))
    if asked is not None and seen.now - asked.at < ending.STOP_AGAIN:
        return Plan(again_at=asked.at + ending.STOP_AGAIN, wants_sweep=asked.problem is None)
    tags = {**_owner(state), tokens.TAG_RETAINED: tokens.RELEASED}
    return Plan((TagTask(tokens.region_of(task.arn), task.arn, tags),))


def _owner(state: State) -> dict[str, str]:
    seen = state.seen
    return tokens.owner_tags(state.policy.install, seen.namespace, seen.name, seen.uid)


def _release(seen: Observation) -> Plan:
    if not seen.status.installation:
        return Plan(parted=True)
    return Plan((WriteStatus(_told(seen, "").model_copy(update={"installation": ""})),))


def _refusal(task: ObservedTask, problem: Problem | None) -> str:
    """Why the task cannot be tagged, in words; "" if it can, or may yet by itself."""
    if problem is None or problem.kind not in ("Rejected", "AccessDenied"):
        return ""
    return (
        f"The object left the selector, but its ECS task {task.arn} cannot be tagged as released, "
        f"without which nobody else may have it; it is tried again: {problem.message}"
    )


def _told(seen: Observation, refusal: str | None) -> Status:
    """The status, saying ``refusal`` and nothing else anew; "": not any more, None: as before."""
    status = seen.status
    said = any(each.type == "Stalled" and each.reason == REFUSED for each in status.conditions)
    if refusal is None or not (refusal or said):
        return status
    reason = REFUSED if refusal else ""
    about = conditions.stalled(
        status.conditions, reason, refusal, generation=seen.generation, now=seen.now
    )
    kind = "Stalled" if refusal else "Ready"
    message = next((each.message for each in about if each.type == kind), "")
    return status.model_copy(update={"conditions": about, "message": message})
