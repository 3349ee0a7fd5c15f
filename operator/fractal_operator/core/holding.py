"""An object that is paused or read-only: its status shows the truth, nothing is done for it.

What is left undone keeps it Reconciling, so that a tool that waits for an edit goes on waiting;
with nothing undone it is shown as it is.
"""

from dataclasses import replace

from fractal_models.container import OperatingMode, Spec, Task
from fractal_operator.core import annotations, begin, ending, lifetime, phases, rest, steady
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

WHY = {
    "Paused": f"The annotation {annotations.PAUSED} is set: nothing is launched, replaced or "
    "stopped.",
    "ReadOnly": f"The annotation {annotations.READ_ONLY} is set: nothing is launched, replaced, "
    "stopped or deleted.",
}


def hold(state: State, spec: Spec, reason: str) -> Verdict:
    """What is shown of an object for which nothing is to be done; ``reason``: a key of WHY."""
    current = state.current
    if current is not None:
        verdict = steady.shown(state, spec, current)
        situation = _waits(verdict.situation, reason)
        if not _undone(state, spec, current):
            text = f"{WHY[reason]} {verdict.situation.message}"
            situation = replace(verdict.situation, message=text)
        reads = (*ending.lookups(state), *verdict.reads)
        end = lifetime.ends_at(state, spec, current)
        times = [each for each in (verdict.again_at, end) if each is not None and each > state.now]
        again_at = min(times, default=None)
        return replace(verdict, situation=situation, reads=reads, again_at=again_at)
    settled = _settled(state, spec)
    if settled is not None:
        return Verdict(state, settled)
    phase = phases.stopping if state.entries else phases.waiting
    return Verdict(state, _waits(phase(reason, ""), reason), reads=ending.lookups(state))


def _waits(situation: phases.Situation, reason: str) -> phases.Situation:
    text = f"{WHY[reason]} What is left to do waits until the annotation is gone."
    return replace(situation, message=text, reconciling=reason, stalled="")


def _undone(state: State, spec: Spec, current: Task) -> bool:
    """Whether the current task would not stay alone as it is."""
    suspended = spec.operating_mode is OperatingMode.SUSPENDED
    crowded = len(state.entries) > 1 or bool(state.surplus) or state.unresolved is not None
    end = lifetime.ends_at(state, spec, current)
    over = end is not None and end <= state.now and lifetime.running(current)
    return suspended or crowded or over or steady.leaves(state, current) != ""


def _settled(state: State, spec: Spec) -> phases.Situation | None:
    """What is shown of an object without a current task that has nothing left to do."""
    if state.entries or state.unresolved is not None:
        return None
    if spec.operating_mode is OperatingMode.SUSPENDED:
        return phases.suspended()
    return None if begin.renewed(state) else rest.finished(state, spec)
