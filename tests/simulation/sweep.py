"""Every call of a reference workload, struck by every kind of fault, one run each.

What chance finds rarely, this finds surely: a crash between two calls that are milliseconds apart.
Besides the invariants, each run has to launch as many tasks as the undisturbed one did.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.faults import CALL_FAULTS
from tests.simulation.histories import History, Outcome, run
from tests.simulation.world import WRITES

WORKLOAD = History(
    (
        (115, "replace"),
        (120, "crash"),
        (120, "suspend"),
        (120, "resume"),
        (120, "recreate"),
        (120, "restart"),
        (60, "surge"),
        (60, "replace"),
        (120, "delete"),
    )
)


@dataclass(frozen=True)
class Plan:
    """Strike call ``number`` (``name``, from 1) with ``kind``."""

    number: int = 0
    name: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind} at call {self.number} ({self.name})" if self.kind else "no fault"


def run_plan(plan: Plan, launches: int | None = None) -> Outcome:
    """The workload under one plan; ``launches``: how many it has to come to."""
    strikes: dict[int | tuple[str, int], str] = {plan.number: plan.kind} if plan.kind else {}
    return run(WORKLOAD, strikes, launches=launches, chance=plan.number)


READ_FAULTS = ("crash-before", "refused", "slow")
"""Of a read it is all one whether it happened before its answer was lost, or the process died."""


def plans(called: tuple[str, ...]) -> Iterator[Plan]:
    """Every call by every kind of fault that means something to it."""
    for number, name in enumerate(called, 1):
        for kind in CALL_FAULTS if name in WRITES else READ_FAULTS:
            yield Plan(number, name, kind)
