"""What a judgement of an object comes to, before it is turned into one step."""

from dataclasses import dataclass
from datetime import datetime

from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import Action, Permit
from fractal_operator.core.state import State


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement: what the status shall hold and say, what to read first, what to call after.

    ``quiet``: nothing has been found out yet, so what the status says already stays; ``brief``:
    even of a new object nothing is said for so short a time. ``waits``: see Plan.
    """

    state: State
    situation: Situation
    reads: tuple[Action, ...] = ()
    calls: tuple[Action, ...] = ()
    again_at: datetime | None = None
    arms: int = 0
    wants_sweep: bool = False
    quiet: bool = False
    brief: bool = False
    waits: tuple[tuple[str, Permit], ...] = ()
