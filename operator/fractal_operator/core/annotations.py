"""The annotations that people put on a FractalContainer, and what each asks of the operator."""

from collections.abc import Mapping

PAUSED = "fractal.co/paused"
READ_ONLY = "fractal.co/read-only"
RECONCILE_REQUESTED = "fractal.co/reconcile-requested-at"
RESTART_REQUESTED = "fractal.co/restart-requested-at"
ADOPT = "fractal.co/adopt"
ABANDON = "fractal.co/abandon"

MEANING: Mapping[str, str] = {
    PAUSED: "Nothing is launched, replaced or stopped for the object; its status goes on to show "
    "the truth. Does not hold up a deletion. Any value but `false` pauses.",
    READ_ONLY: "As `paused`, and a deletion waits, too, until the annotation is gone. Any value "
    "but `false` counts.",
    RECONCILE_REQUESTED: "Any new value, such as the time: tries again now what would be tried "
    "again later. `status.lastHandledReconcileAt` then holds the value.",
    RESTART_REQUESTED: "Any new value, such as the time: replaces the task, or makes a new attempt "
    "where there is none any more, without an edit. `status.attempt.restartRequestedAt` then holds "
    "the value.",
    ADOPT: "The ARN of a running ECS task that the object takes over, without a restart, in place "
    "of its first launch. The operator's allow-list must name it.",
    ABANDON: "The object's own uid: a deletion that cannot be confirmed is let go, with whatever "
    "still runs.",
}
"""What the API reference says of each."""


def holds(annotations: Mapping[str, str]) -> str:
    """The reason why nothing may be launched or stopped: "ReadOnly", "Paused", or ""."""
    for name, reason in ((READ_ONLY, "ReadOnly"), (PAUSED, "Paused")):
        if annotations.get(name, "false").lower() != "false":
            return reason
    return ""
