"""decide(Observation, Policy) -> Plan: all of the operator's behaviour, read from here.

Theory of operation. One pure function looks at what is, never at what changed, and answers with
the next step. It is asked again after every step, and whenever anything may have changed.

    1. Another installation's: leave it alone (sharing.py). No finalizer: put it on, alone.
       (Deleting: nothing is ours to do.)
    2. Merge what ECS shows into what the status holds (merge.py): the status is a claim.
    3. Not selected any more: finish what was begun, let go of it (sharing.part).
       Else judge, by what the user wants:
         deleted      stop, see STOPPED, drop the finalizer               (ending.delete)
         not readable leave the task alone, say what is wrong             (_unreadable)
         paused       look, say what is, do nothing                       (holding.hold)
         Suspended    stop, and stay stopped                              (_suspend)
         adopt        take over the task that the annotation names        (adoption.adopt)
         Running      a current task: keep, time out or replace it        (steady.keep)
                      under Surge, replace it once another is Ready       (surge.keep)
                      only retiring tasks: wait until they have stopped   (steady.replacing)
                      an attempt nobody knows the outcome of: pursue it   (launch.pursue)
                      nothing: the next attempt, once every gate is open  (begin.begin)
    4. Turn the judgement into one step: reads first; else, if the status would change, that one
       write; else the calls that the status already announces, but for those that wait for their
       turn (queueing.py). So RunTask, StopTask and the end of
       the finalizer always come after a compare-and-swap write that says so: the write-ahead
       barrier, and the fence against a second operator.

One task at a time has the role Current: it is the one that serves, and that Ready, the endpoint and
the lifetime are about. Retiring is being stopped, whatever happens. Next, which only Surge knows,
was launched beside Current, and becomes Current once it is Ready or the other is gone; so a task
moves Next -> Current -> Retiring, and never back. status.attempt is the newest launch, be it the
current task's or the next one's.
"""

from dataclasses import replace
from datetime import datetime

from fractal_models.container import (
    OperatingMode,
    Status,
)
from fractal_models.observed import ObservedTask
from fractal_operator.core import (
    adoption,
    annotations,
    begin,
    doubt,
    ending,
    holding,
    launch,
    merge,
    phases,
    queueing,
    sharing,
    steady,
    surge,
    tokens,
)
from fractal_operator.core.compose import OVERDUE, compose, moving
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import (
    FINALIZER,
    AddFinalizer,
    Observation,
    Plan,
    Policy,
    RemoveFinalizer,
    WriteStatus,
)
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

OTHER_INSTALLATION = "OtherInstallation"


def decide(seen: Observation, policy: Policy) -> Plan:
    """The next step for one object. Total: every observation has a plan; it never raises."""
    if sharing.left_alone(seen, policy):
        return Plan(parted=not seen.selected)
    if FINALIZER not in seen.finalizers:
        parted = not seen.selected and not seen.status.installation
        leave = seen.deleting_since is not None or parted
        return Plan(parted=parted) if leave else Plan((AddFinalizer(),))
    state = adoption.settled(merge.merge(seen, policy))
    parting = sharing.part(state)
    if parting is not None:
        return parting
    verdict = queueing.stops(judge(state))
    if verdict.reads and not _learned(verdict):
        return Plan(verdict.reads)
    status = compose(verdict)
    if _may_skip_write(verdict, seen) or _says_the_same(status, seen.status):
        sweep, again_at = doubt.look(verdict.state)
        again_at = min(filter(None, (again_at, _again_at(verdict))), default=None)
        return Plan(verdict.calls, again_at, verdict.wants_sweep or sweep, verdict.waits)
    region = tokens.region_of(status.attempt.cluster_arn) if status.attempt else ""
    return Plan((WriteStatus(status, region, verdict.arms),))


def _learned(verdict: Verdict) -> bool:
    """Whether the last lookup ended a task: to be written before another one takes its place.

    Else two tasks that are both to be looked up would be so in turns, for ever.
    """
    seen, kept = verdict.state.seen, {each.arn for each in verdict.state.entries}
    ended = (each.attempt for each in seen.status.tasks if each.arn not in kept)
    return seen.lookup is not None and seen.lookup.attempt in ended


def _says_the_same(new: Status, old: Status) -> bool:
    return new == old or new.to_json() == old.to_json()


def _again_at(verdict: Verdict) -> datetime | None:
    """The next look; within a minute while a task is moving, to say so if ECS shows nothing.

    Not while its stop waits for its turn: there may be thousands, and each look costs.
    """
    if not moving(verdict.state) or any(permit == "StopTask" for _, permit in verdict.waits):
        return verdict.again_at
    limit = verdict.state.now + OVERDUE
    return min(verdict.again_at or limit, limit)


def _may_skip_write(verdict: Verdict, seen: Observation) -> bool:
    """Nothing new to say; or the last step of a deletion: the status would go with the object."""
    if verdict.quiet and (seen.status.conditions or verdict.brief):
        return True
    return any(isinstance(call, RemoveFinalizer) for call in verdict.calls)


def judge(state: State) -> Verdict:
    """What is to happen to this object now."""
    seen = state.seen
    other = merge.stranger(seen, state.policy)
    if seen.deleting_since is not None:
        if other is not None and _was_ours(other, seen.status) and not ending.abandoned(state):
            return Verdict(state, _taken(other, deleting=True))
        if annotations.holds(seen.annotations) == "ReadOnly" and not ending.abandoned(state):
            return Verdict(state, phases.held(holding.WHY["ReadOnly"]))
        return ending.delete(state)
    if seen.spec is None:
        return _unreadable(state)
    held = annotations.holds(seen.annotations)
    if held:
        return holding.hold(state, seen.spec, held)
    if seen.spec.operating_mode is OperatingMode.SUSPENDED:
        return _suspend(state)
    current = state.current
    if current is not None:
        return surge.keep(state, seen.spec, current)
    if state.entries:
        return steady.replacing(state)
    if other is not None:
        return Verdict(state, _taken(other, deleting=False))
    adopting, wish = adoption.pending(state), adoption.wish(seen.annotations, seen.status)
    if adopting is not None:
        return adoption.pursue(state, adopting)
    if wish and state.highest < tokens.MAX_ATTEMPT:
        return adoption.adopt(state, wish)
    attempt = state.unresolved
    if attempt is not None:
        outcome = launch.pursue(state, seen.spec, attempt)
        if isinstance(outcome, Verdict):
            return outcome
        state = outcome
    return begin.begin(state, seen.spec)


def _was_ours(task: ObservedTask, status: Status) -> bool:
    """Whether the status knew the task, under the installation that this operator was then."""
    told = any(
        each.type in ("Ready", "Stalled") and each.reason == OTHER_INSTALLATION
        for each in status.conditions
    )
    return told or any(task.arn == each.arn for each in status.tasks)


def _taken(task: ObservedTask, *, deleting: bool) -> Situation:
    """Another installation's task lives for this object: neither a second one, nor a leak."""
    origin = tokens.parse_started_by(task.started_by)
    text = (
        f"Task {task.arn} of this object belongs to the installation "
        f"{origin.install if origin else ''!r}: set FRACTAL_INSTALL_ID to that to go on with it, "
        "or stop the task."
    )
    if deleting:
        return replace(phases.stuck(text), reason=OTHER_INSTALLATION)
    return phases.refused(OTHER_INSTALLATION, text)


def _unreadable(state: State) -> Verdict:
    """A spec stored under another schema: touch nothing, say what is wrong."""
    errors = "; ".join(state.seen.spec_errors)
    text = f"The spec cannot be used: {errors}. Correct it; nothing is launched or stopped for it."
    current = state.current
    well = current is not None and steady.still_ready(state, current)
    shown = phases.running() if well else phases.refused("InvalidSpec", text)
    return Verdict(state, shown.but_stalled("InvalidSpec", text))


def _suspend(state: State) -> Verdict:
    text = "Stopping the ECS task: spec.operatingMode is Suspended."
    verdict = ending.wind_down(state, "Suspended", phases.stopping("Suspending", text))
    if verdict is not None:
        return verdict
    attempt = state.unresolved
    if attempt is not None:
        text = "suspended before a task was launched"
        state = state.ended(attempt.number, "Suspended", text)
    return Verdict(state, phases.suspended())
