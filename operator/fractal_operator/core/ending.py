"""Winding down: for a deletion, a suspension or a replacement, until nothing is left alive.

A task is stopped only after the status calls it Retiring, and only if ECS shows it as ours. An
attempt whose outcome is unknown is drained first (launch.py): what appears is stopped too.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from fractal_models.container import Attempt, ConditionStatus, DeletionPolicy, Role, Task
from fractal_models.observed import ObservedTask
from fractal_operator.core import (
    adoption,
    broken,
    doubt,
    draining,
    failures,
    losses,
    phases,
    queueing,
    tokens,
)
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import Action, RemoveFinalizer, StopTask, TagTask
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

STOP_AGAIN = timedelta(seconds=30)
STUCK_AFTER = timedelta(minutes=5)
LOOKED_LATELY = timedelta(minutes=5)

WHY = {
    "Deleted": "FractalContainer deleted",
    "Suspended": "FractalContainer suspended",
    "Replaced": "replaced after an edit of the FractalContainer",
    "Restarted": "restarted as fractal.co/restart-requested-at asks",
    "Superseded": "superseded by a newer task of the same FractalContainer",
    "StartTimeout": "did not start within spec.timeouts",
    "ProvisioningTimeout": "found no capacity within spec.timeouts.provisioningSeconds",
    "RungTimeout": "found no capacity within waitSeconds of its rung of spec.placement",
    "Expired": "reached spec.timeouts.lifetimeSeconds",
    "Finished": "surplus task of a FractalContainer",
}
"""StopTask's reason for each of our own stop codes; ECS shows it as stoppedReason."""


def retire(state: State, entry: Task, reason: str) -> State:
    """``state`` in which one task is Retiring, for the first reason given."""
    retired = entry.model_copy(update={"role": Role.RETIRING, "reason": reason})
    entries = (retired if each.arn == entry.arn else each for each in state.entries)
    return replace(state, entries=tuple(entries))


def stop_calls(state: State) -> tuple[Action, ...]:
    """StopTask for every retiring and surplus task that ECS does not already mean to stop."""
    doomed: list[tuple[ObservedTask, str]] = [(task, "Finished") for task in state.surplus]
    for entry in state.entries:
        task = state.task(entry.arn)
        if entry.role is Role.RETIRING and task is not None:
            doomed.append((task, entry.reason))
    return tuple(
        StopTask(tokens.region_of(task.cluster_arn), task.cluster_arn, task.arn, WHY.get(why, why))
        for task, why in doomed
        if _stop_is_due(state, task)
    )


def _stop_is_due(state: State, task: ObservedTask) -> bool:
    last = state.seen.stops.get(task.arn)
    if last is None:
        return task.desired_status != "STOPPED"
    return task.desired_status != "STOPPED" and state.now - last.at >= STOP_AGAIN


def look_again(state: State) -> datetime | None:
    """When to look whether a stop has to be repeated; None while each waits for its turn."""
    due = [call.region for call in stop_calls(state) if isinstance(call, StopTask)]
    waits = due and all(queueing.since(state, region, "StopTask") for region in due)
    return None if waits else state.now + STOP_AGAIN


def lookups(state: State) -> tuple[Action, ...]:
    """The lookup that a long missing task still needs before it counts as lost."""
    found, attempt = state.seen.lookup, state.attempt
    for entry in state.entries:
        absent = losses.missing(state.seen, attempt, entry.arn)
        if absent is None or attempt is None:
            continue
        fresh = (
            found is not None
            and found.attempt == entry.attempt
            and found.began >= absent.first
            and state.now - found.began < LOOKED_LATELY
        )
        # One at a time: the answer to one lookup takes the place of the last one's.
        return () if fresh else (draining.find(state, entry.attempt, attempt.cluster_arn),)
    return ()


def wind_down(state: State, reason: str, waiting: Situation) -> Verdict | None:
    """Stop all that lives and resolve what is unresolved; None once nothing is left."""
    for entry in state.entries:
        if entry.role is not Role.RETIRING:
            state = retire(state, entry, reason)
    attempt = state.unresolved
    if adoption.pending(state) is not None and attempt is not None:
        return _finish(state, attempt, waiting)
    if attempt is not None and not draining.drained(state, attempt):
        return replace(draining.drain(state, attempt, waiting), calls=stop_calls(state))
    if not state.entries:
        return None
    return Verdict(
        state,
        refused_stop(state, waiting),
        reads=lookups(state),
        calls=stop_calls(state),
        again_at=look_again(state),
    )


def _finish(state: State, attempt: Attempt, waiting: Situation) -> Verdict:
    """An adoption that has begun is carried through: its tags may be on the task already."""
    verdict = adoption.pursue(state, attempt)
    return replace(verdict, situation=waiting, calls=(*verdict.calls, *stop_calls(state)))


def refused_stop(state: State, situation: Situation) -> Situation:
    """The situation, saying so if ECS refuses to stop a task: that needs a person."""
    for arn, call in state.seen.stops.items():
        task, problem = state.task(arn), call.problem
        refused = problem is not None and problem.kind in ("Rejected", "AccessDenied")
        if task is not None and task.live and refused and problem is not None:
            words = failures.rejection(problem.code, problem.message)
            return situation.but_stalled(words.reason, words.message(problem.message))
    return _as_said(state, situation) if _unasked(state) else situation


def _unasked(state: State) -> bool:
    """Whether a task is to be stopped that this process has not asked ECS to stop yet."""
    retiring = (entry.arn for entry in state.entries if entry.role is Role.RETIRING)
    tasks = (state.task(arn) for arn in retiring if arn not in state.seen.stops)
    return any(task is None or task.desired_status != "STOPPED" for task in tasks)


def _as_said(state: State, situation: Situation) -> Situation:
    """With what a process before this one was refused: that nobody has asked yet is no news."""
    status = state.seen.status
    for said in status.conditions:
        stalled = said.type == "Stalled" and said.status is ConditionStatus.TRUE
        if stalled and status.phase is situation.phase and said.reason != broken.REASON:
            return situation.but_stalled(said.reason, said.message)
    return situation


def delete(state: State) -> Verdict:
    """Deletion (design rule 12): the finalizer goes when ECS confirms that nothing is left."""
    seen = state.seen
    released = Verdict(state, phases.deleting(""), calls=(RemoveFinalizer(),))
    if abandoned(state):
        return released
    if _unswept(state):
        text = "Looking at the cluster's tasks once before the object goes."
        situation = _as_said(state, phases.deleting(text))
        verdict: Verdict | None = Verdict(state, situation, wants_sweep=True)
    elif _retains(state):
        verdict = _retain(state)
    else:
        verdict = wind_down(state, "Deleted", phases.deleting("Stopping the ECS task."))
    ends = doubt.keeps(seen)
    if verdict is None and ends is not None:
        verdict = doubt.until(state, phases.deleting(doubt.why(ends)), ends)
    return released if verdict is None else _or_stuck(verdict)


def abandoned(state: State) -> bool:
    """Whether somebody gave this very object up, with whatever runs for it."""
    deleting = state.seen.deleting_since is not None
    return deleting and state.seen.annotations.get(ABANDON) == state.seen.uid


def _retains(state: State) -> bool:
    """Whether the object's task shall live on; read from the raw spec, which may be unreadable."""
    return bool(state.seen.spec_json.get("deletionPolicy") == DeletionPolicy.RETAIN)


def _retain(state: State) -> Verdict | None:
    """Keep the current task beyond its object, marked as such; stop every other (rule 13)."""
    situation = phases.deleting("Keeping the ECS task: spec.deletionPolicy is Retain.")
    attempt, current, coming = state.unresolved, state.current, state.coming
    if coming is not None:
        state = retire(state, coming, "Deleted")
    if attempt is not None and adoption.pending(state) is not None and current is None:
        return _finish(state, attempt, situation)
    if attempt is not None and not draining.drained(state, attempt):
        return replace(draining.drain(state, attempt, situation), calls=stop_calls(state))
    if len(state.entries) > (current is not None) or state.surplus:
        again_at = state.now + STOP_AGAIN
        reads, calls = lookups(state), stop_calls(state)
        return Verdict(state, situation, reads=reads, calls=calls, again_at=again_at)
    task = state.task(current.arn) if current is not None else None
    if current is None:
        return None
    if task is None:
        return Verdict(state, situation, reads=lookups(state), again_at=state.now + STOP_AGAIN)
    done = state.seen.retained.get(task.arn)
    if done is not None and done.released:
        done = None  # tagged before the deletion, as a task whose object lives on
    if done is not None and done.problem is None:
        return None
    if done is not None and state.now - done.at < STOP_AGAIN:
        return Verdict(state, situation, again_at=done.at + STOP_AGAIN)
    tag = TagTask(tokens.region_of(task.arn), task.arn, {tokens.TAG_RETAINED: "true"})
    return Verdict(state, situation, calls=(tag,))


def _unswept(state: State) -> bool:
    """Whether nobody has looked at the attempt's cluster since this process began.

    The status may have been restored from before a task that lives.
    """
    home = state.seen.home
    return (
        state.attempt is not None
        and home is not None
        and (home.swept_since is None and not losses.cluster_gone(state.seen, state.attempt))
    )


def _limit(verdict: Verdict) -> datetime:
    """Until when a deletion may take without anything being wrong."""
    state, seen = verdict.state, verdict.state.seen
    assert seen.deleting_since is not None
    times = [seen.deleting_since + STUCK_AFTER]
    attempt = state.unresolved
    if attempt is not None:
        drained = draining.last_issued(state, attempt) + draining.DRAIN
        times.append(drained + timedelta(seconds=60))
    ends = doubt.keeps(seen)
    if ends is not None:
        times.append(ends + timedelta(seconds=60))
    # What had to wait for its turn for long was asked for late; here, or by a process before this.
    times += [call.turn + STUCK_AFTER for call in seen.stops.values() if call.turn is not None]
    if not seen.stops and queueing.told(seen.status):
        times.append(seen.now + STUCK_AFTER)
    return max(times)


def _or_stuck(verdict: Verdict) -> Verdict:
    """The verdict, saying after five minutes that ECS does not confirm, why, and what to do."""
    seen = verdict.state.seen
    if queueing.held(verdict):
        return verdict  # nobody has asked ECS yet
    limit = _limit(verdict)
    if seen.now < limit:
        again = min(verdict.again_at or limit, limit)
        return replace(verdict, again_at=again)
    calls = (*seen.stops.values(), *seen.retained.values())
    problems = [call.problem.message for call in calls if call.problem]
    views = [view for view in (seen.home, seen.target) if view is not None]
    problems = [view.paused for view in views if view.paused] + problems
    problems += [view.problem.message for view in views if view.problem]
    if seen.lookup is not None and seen.lookup.problem is not None:
        problems.append(seen.lookup.problem.message)
    if not problems and verdict.situation.stalled == "DeletionStuck":
        return verdict  # as another process has said it, who knew why
    why = problems[0] if problems else "ECS does not confirm that the task has stopped"
    text = (
        f"{why.rstrip('.')}. The object is kept so that no task is forgotten. Repair the access to "
        f"ECS, or give the object up with: kubectl annotate fractalcontainer {seen.name} "
        f"-n {seen.namespace} {ABANDON}={seen.uid}"
    )
    return replace(verdict, situation=phases.stuck(text))
