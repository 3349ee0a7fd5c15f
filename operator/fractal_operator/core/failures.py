"""Failures in plain words: what ECS said -> a reason, a sentence, and what to do about it.

ECS's texts are free text and no closed list: they choose the words shown to people, for RunTask's
``failures[]`` the retry, and for a stop whose code says less than its text the stop code; never
whether a task exists. The words stand in the tables of core/words; docs/failures.md is made from
them.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from fractal_models.container import Termination
from fractal_models.observed import LaunchFailure, ObservedTask
from fractal_operator.core.words.explanation import Explanation, Nature
from fractal_operator.core.words.placements import PASSING, PLACEMENT, UNPLACED
from fractal_operator.core.words.refusals import REJECTED, REJECTIONS
from fractal_operator.core.words.stop_codes import AGAIN, EXIT_CODES, EXITED, STOP_CODES
from fractal_operator.core.words.stop_texts import CODELESS, STOP_TEXTS

__all__ = [
    "CAPACITY_STOPS",
    "CRASHES",
    "INFRASTRUCTURE_STOPS",
    "OUR_STOPS",
    "PASSING",
    "UNCOUNTED_STOPS",
    "UNSEEN_STOPS",
    "Explanation",
    "Nature",
    "ended",
    "full",
    "refusal",
    "rejection",
    "stop_code",
    "stopped_text",
    "termination",
    "unplaced",
]

OUR_STOPS = frozenset(
    {"Deleted", "Suspended", "Replaced", "Restarted", "Superseded", "Expired", "Finished"}
)
"""Stop codes of ends that the operator itself brought about, on purpose; they count for nothing."""

CAPACITY_STOPS = frozenset({"CapacityUnavailable", "ProvisioningTimeout", "RungTimeout"})
"""Ends for want of capacity: the next rung of spec.placement follows."""

INFRASTRUCTURE_STOPS = frozenset({"SpotInterruption", "TerminationNotice", "InfrastructureHealth"})
"""Ends that the infrastructure brought about, whatever exit code the container had then."""

UNCOUNTED_STOPS = OUR_STOPS | {
    *INFRASTRUCTURE_STOPS,
    *CAPACITY_STOPS,
    "AdoptionFailed",
    "LaunchFailed",
    "LaunchRejected",
    "Unresolved",
}
"""Ends that never count against backoffLimit: nothing that the container did."""

CRASHES = 3
"""From how many failures in a row a container that ends by itself is said to do so in a loop."""

UNSEEN_STOPS = frozenset(
    {"AdoptionFailed", "LaunchFailed", "LaunchRejected", "Lost", "Superseded", "Unresolved"}
)
"""Ends of attempts whose task may live all the same: nobody saw it stopped."""

_SPEAK_FOR_THEMSELVES = UNCOUNTED_STOPS | {"Lost", "UserInitiated"}


def rejection(code: str, message: str) -> Explanation:
    """Words for a request that AWS refused with an error ``code`` and ``message``."""
    for row in REJECTIONS:
        if _found(row.code, code) and _found(row.text, message):
            return row.words
    return REJECTED


def refusal(text: str) -> Explanation:
    """Words for an attempt that ended as LaunchRejected, from all that was recorded of it."""
    nature, words, _ = unplaced([LaunchFailure(text)])
    return words if nature is Nature.SPEC else rejection(text, text)


def unplaced(failures: Sequence[LaunchFailure]) -> tuple[Nature, Explanation, str]:
    """What RunTask's ``failures[]`` mean, in words; no entries or unknown ones: Nature.UNKNOWN."""
    text = "; ".join(f"{f.reason} {f.detail}".strip() for f in failures)
    for entry in failures:
        for row in PLACEMENT:
            if _found(row.pattern, entry.reason):
                return row.nature, row.words, text
    return Nature.UNKNOWN, UNPLACED, text or "RunTask answered with neither a task nor a failure"


def full(text: str) -> Explanation:
    """Words for a want of capacity or quota, from what was said or recorded of it."""
    nature, words, _ = unplaced([LaunchFailure(text)])
    return words if nature is Nature.CAPACITY else STOP_CODES["CapacityUnavailable"]


def stopped_text(task: ObservedTask) -> str:
    """All that ECS says about why a task stopped, its containers' reasons included."""
    reasons = [task.stopped_reason, *(c.reason for c in task.containers)]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def stop_code(task: ObservedTask) -> str:
    """ECS's stopCode, but where only its text tells what others have a code of their own for.

    A task that never got any capacity is a TaskFailedToStart to ECS ("API failure reasons",
    DescribeTasks); the end of a Spot task has come with another code and with none
    (aws/containers-roadmap#1565).
    """
    code, text = task.stop_code, stopped_text(task)
    if code == "TaskFailedToStart":
        nature, _, _ = unplaced([LaunchFailure(text)])
        return "CapacityUnavailable" if nature is Nature.CAPACITY else code
    told = next((each for pattern, each, _ in CODELESS if _found(pattern, text)), "")
    if code in INFRASTRUCTURE_STOPS and told == "SpotInterruption":
        return told
    return code or told or "StopReasonUnknown"


def termination(
    stop_code: str, text: str, exit_code: int | None = None, in_a_row: int = 0
) -> Explanation:
    """Words for how a task or an attempt ended; known texts say more than the stop code.

    ``in_a_row`` is how many failures this end is the latest of.
    """
    words = STOP_CODES.get(stop_code) or Explanation(
        stop_code or "TaskStopped", "The task stopped", "See the reason that ECS gives."
    )
    if stop_code not in _SPEAK_FOR_THEMSELVES:
        words = _by_text(text) or words
    if words is not EXITED:
        return words
    if exit_code is not None:
        words = EXIT_CODES.get(exit_code, words)
    return words if in_a_row < CRASHES else replace(words, meaning=words.meaning + AGAIN)


def ended(end: Termination, in_a_row: int = 0) -> Explanation:
    """Words for any end that a status records, of a task or of an attempt without one."""
    match end.stop_code:
        case "LaunchRejected":
            return refusal(end.reason)
        case "CapacityUnavailable":
            return full(end.reason)
        case _:
            return termination(end.stop_code, end.reason, end.exit_code, in_a_row)


def _by_text(text: str) -> Explanation | None:
    return next((row.words for row in STOP_TEXTS if _found(row.pattern, text)), None)


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None
