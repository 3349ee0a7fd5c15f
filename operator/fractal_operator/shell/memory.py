"""What this process knows of its own calls for one object. Lost at a crash, and rightly so.

Nothing here is needed to be right again after a restart: it only lets the core tell certainty ("I
asked, and was refused") from ignorance ("somebody may have asked").
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from fractal_models.container import InvalidSpec, Spec, Status, parse_spec
from fractal_models.observed import TaskArn
from fractal_operator.core.plan import DefinitionView, Launch, Lookup, Stop
from fractal_operator.shell.objects import Body
from fractal_operator.shell.places import Place


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in an object's body. ``spec`` is None where ``errors`` say why."""

    status: Status
    spec: Spec | None
    errors: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Body) -> Self:
        """Parse a body; never raises."""
        status = Status.from_json(body.get("status"))
        try:
            return cls(status, parse_spec(body.get("spec", {})))
        except InvalidSpec as error:
            return cls(status, None, error.errors)


@dataclass(slots=True)
class Memory:
    """``bare_since``: since when the object is in doubt (core/doubt.py).

    ``finalized``: this process put our finalizer on and has seen no attempt since, so the object
    is new and not one whose status was wiped. ``highest``: the highest attempt seen. ``retold``:
    the history got what the status tells of the time before this process. ``permit``: the region
    for which a launch permit is held. ``pruned``: it was said that the API server drops fields of
    the status. ``places``: the clusters that matter to it, and of which version of it. ``aside``:
    since when, on the monotonic clock, the object is another installation's; ``aside_told``: that
    was told.
    """

    finalized: bool = False
    highest: int = 0
    bare_since: datetime | None = None
    launch: Launch | None = None
    lookup: Lookup | None = None
    definition: DefinitionView | None = None
    stops: dict[TaskArn, Stop] = field(default_factory=dict)
    retained: dict[TaskArn, Stop] = field(default_factory=dict)
    adopted: dict[TaskArn, Stop] = field(default_factory=dict)
    retold: bool = False
    permit: str = ""
    pruned: bool = False
    aside: float | None = None
    aside_told: bool = False
    places: tuple[str, tuple[Place | None, ...]] = ("", ())

    def look(self, *, finalizer: bool, attempt: int, alive: bool, now: datetime) -> datetime | None:
        """Note how the object looks now; returns ``bare_since``.

        ``attempt`` is the number in its status, 0 without one; ``alive``: a task of it is known
        to live.
        """
        self.finalized = self.finalized and not attempt
        bare = attempt < self.highest or (not attempt and not self.finalized)
        self.highest = max(self.highest, attempt)
        if alive or not finalizer:
            self.bare_since = None
        elif bare and self.bare_since is None:
            self.bare_since = now
        return self.bare_since


class Memories:
    """A Memory for each uid, made when first asked for."""

    def __init__(self) -> None:
        self._of: dict[str, Memory] = {}

    def of(self, uid: str) -> Memory:
        memory = self._of.get(uid)
        if memory is None:
            memory = self._of[uid] = Memory()
        return memory

    def retell(self) -> None:
        """Have the history of every object told again: it may have been lost."""
        for memory in self._of.values():
            memory.retold = False

    def forget(self, uid: str) -> None:
        self._of.pop(uid, None)
