"""spec.updateStrategy Surge: the next task comes up beside the current one, then takes its place.

Theory. An edit or a requested restart makes another attempt while the current task goes on; it is
an attempt like any other, with its intent, gates, pauses, rungs and draining (begin.py, launch.py,
draining.py). Its task is Next (merge.py) until one of three things comes true:

    it is Ready, or the current task serves no more    it becomes Current, the old one Retiring
    the spec was edited again, or back                 it is Retiring, the old one stays
    it has ended, or is not Ready in time              the old one stays, and after a pause another
                                                       attempt is made, while the old one still is
                                                       not what is wanted

Never three: an attempt is made, and RunTask called for it, only while the current task is the only
one. So what was launched in vain has stopped before the next is launched.

Only a task that runs is worth waiting for, and only in its own cluster, where alone its object's
tasks are looked for: otherwise, and as soon as the strategy is Recreate again, the current task is
stopped first (steady.py), and a Next that there is by then becomes Current.
"""

from dataclasses import replace

from fractal_models.container import Role, Spec, Task, UpdateStrategy
from fractal_operator.core import (
    adoption,
    begin,
    draining,
    ending,
    launch,
    phases,
    rest,
    steady,
)
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict


def keep(state: State, spec: Spec, current: Task) -> Verdict:
    """Keep the current task, or replace it: under Surge once another is Ready."""
    beside = _waits(state, spec, current)
    coming = state.coming
    if coming is not None:
        state = _advanced(state, spec, current, coming, beside=beside)
        if state.current is not current:
            return steady.keep(state, spec, _the(state.current))
    why = steady.leaves(state, current) or ("Superseded" if state.coming else "")
    if not why:
        state = _called_off(state, current)
        return steady.keep(state, spec, _the(state.current))
    if not beside:
        return steady.keep(state, spec, current)
    update = _update(state, spec)
    if update.situation.at_rest:
        # The next task has come to a good end, and none follows: so has what the spec asks for.
        return steady.replacing(ending.retire(update.state, current, why))
    return _beside(state, spec, current, update, why)


def _waits(state: State, spec: Spec, current: Task) -> bool:
    """Whether the current task is to run until another is Ready."""
    task, attempt = state.task(current.arn), state.attempt
    if spec.update_strategy is not UpdateStrategy.SURGE or adoption.pending(state) is not None:
        return False
    stopping = task is not None and task.stopping
    if current.last_status != "RUNNING" or stopping or steady.overdue(state, spec, current):
        return False
    return attempt is None or not launch.moved(state, attempt)


def _advanced(state: State, spec: Spec, current: Task, coming: Task, *, beside: bool) -> State:
    """What has become of the next task: given up, in the current one's place, or still to come."""
    why = steady.outdated(state, coming) or steady.overdue(state, spec, coming)
    if why:
        return ending.retire(state, coming, why)
    if beside and not steady.shown(state, spec, coming).situation.ready:
        return state
    state = ending.retire(state, current, steady.leaves(state, current) or "Superseded")
    return _with(state, coming, role=Role.CURRENT)


def _update(state: State, spec: Spec) -> Verdict:
    """How far the attempt is that is made beside the current task, and its next step."""
    coming, attempt = state.coming, state.unresolved
    if coming is not None:
        return steady.shown(state, spec, coming)
    if len(state.entries) > 1 or state.surplus:
        ended = phases.waiting("Progressing", "Another task is being stopped first.")
        ended = ending.refused_stop(state, ended)
        again_at = state.now + ending.STOP_AGAIN
        if attempt is not None:
            return draining.drain(state, attempt, ended)
        return Verdict(state, ended, reads=ending.lookups(state), again_at=again_at)
    if attempt is not None:
        outcome = launch.pursue(state, spec, attempt)
        if isinstance(outcome, Verdict):
            return outcome
        state = outcome
    final = rest.finished(state, spec) if not begin.renewed(state) else None
    return begin.begin(state, spec) if final is None else Verdict(state, final)


def _beside(state: State, spec: Spec, current: Task, update: Verdict, why: str) -> Verdict:
    """The current task as it stands, with what is done for the next one."""
    if update.arms:
        restarts = current.reason == "Restarted" or begin.restart_wanted(state)
        reason = "Restarted" if restarts else why
        update = replace(update, state=_with(update.state, current, reason=reason))
    serving = steady.shown(state, spec, current)
    deadlines = [steady.deadline_of(state, spec, each) for each in state.entries]
    times = [max(each[0], state.now + steady.LOOK_AGAIN) for each in deadlines if each is not None]
    times += [each for each in (update.again_at, serving.again_at) if each is not None]
    # The next attempt's questions only: theirs and the current task's would take turns for ever.
    reads = update.reads
    if state.unresolved is None:
        reads = reads or ending.lookups(state)
    return replace(
        update,
        situation=serving.situation.until(update.situation),
        reads=reads,
        calls=(*update.calls, *ending.stop_calls(state), *adoption.retag(state, current)),
        again_at=min(times, default=None),
    )


def _called_off(state: State, current: Task) -> State:
    """The current task is wanted after all: what was to come is over, and counts no more."""
    attempt = state.attempt
    if attempt is None or not current.reason or state.unresolved is not None:
        return state
    known = steady.spec_hash(state, current)
    update = {"yields_to": current.attempt, "spec_hash": known, "failures": 0, "used_seconds": 0}
    state = replace(state, attempt=attempt.model_copy(update=update))
    return _with(state, current, reason="")


def _with(state: State, entry: Task, **changes: object) -> State:
    """``state`` with one task changed."""
    changed = entry.model_copy(update=changes)
    entries = (changed if each.arn == entry.arn else each for each in state.entries)
    return replace(state, entries=tuple(entries))


def _the(current: Task | None) -> Task:
    assert current is not None
    return current
