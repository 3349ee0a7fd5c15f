"""The states that a set of runs must have visited: what it never met, it proves nothing of."""

from tests.simulation.faults import CALL_FAULTS

SITUATIONS = ("between intent and launch", "between launch and adoption", "during a deletion")
SOMETIMES = (
    *(f"{kind} {situation}" for kind in CALL_FAULTS for situation in SITUATIONS),
    "token replayed",
    "lost race",
    "force-deleted",
    "reaped",
    "launched outside the bounds",
    "adopted after a crash",
    "database down during a deletion",
    "throttled by a full bucket",
    "two live tasks under Surge",
    "surge failed and the old stayed",
    "event taken in",
    "event received again",
    "events relied on",
    "sweeps took over from events",
)
"""What a large set of runs must have seen; a run that visits nothing of it proves nothing."""
