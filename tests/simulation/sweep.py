"""Every call of a reference workload, struck by every kind of fault, one run each.

What chance finds rarely, this finds surely: a crash between two calls that are milliseconds apart.
Besides the invariants, each run has to launch as many tasks as the undisturbed one did.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.simulation.faults import CALL_FAULTS
from tests.simulation.histories import History, Outcome, run
from tests.simulation.world import LEASES, QUEUE, WRITES

ALONE = History(
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


WORKLOADS = {
    "one operator": ALONE,
    "with events": replace(ALONE, events=True),
    "two operators": replace(ALONE, operators=2),
}
"""The same acts. Of the others only those calls are struck that the first one does not make."""

ONE_IN = 25
"""Of the calls for the Lease, which go on all the time, one in so many is struck."""


@dataclass(frozen=True)
class Plan:
    """Strike call ``number`` (``name``, from 1) of a workload with ``kind``."""

    workload: str
    number: int = 0
    name: str = ""
    kind: str = ""

    def __str__(self) -> str:
        struck = f"{self.kind} at call {self.number} ({self.name})" if self.kind else "no fault"
        return f"{self.workload}, {struck}"


def run_plan(plan: Plan, launches: int | None = None) -> Outcome:
    """The workload under one plan; ``launches``: how many it has to come to."""
    strikes: dict[int | tuple[str, int], str] = {plan.number: plan.kind} if plan.kind else {}
    history = WORKLOADS[plan.workload]
    return run(history, strikes, launches=launches, chance=plan.number)


READ_FAULTS = ("crash-before", "refused", "slow")
"""Of a read it is all one whether it happened before its answer was lost, or the process died."""


def plans(workload: str, called: tuple[str, ...]) -> Iterator[Plan]:
    """Every call by every kind of fault that means something to it."""
    seen = Counter[str]()
    for number, name in enumerate(called, 1):
        seen[name] += 1
        if _strikes(workload, name, seen[name]):
            for kind in CALL_FAULTS if name in WRITES else READ_FAULTS:
                yield Plan(workload, number, name, kind)


def _strikes(workload: str, name: str, nth: int) -> bool:
    match workload:
        case "with events":
            return name in QUEUE
        case "two operators":
            return name in LEASES and nth % ONE_IN == 1
        case _:
            return True
