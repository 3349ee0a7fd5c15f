"""Whether the watch of FractalContainers still tells what happens.

An idle cluster is silent, and so is a watch whose connection has died without a word. What tells
them apart is a version that this process knows from elsewhere (a list, a read, the answer to a
write of its own) and that the watch has not told of. Before it counts, a fresh read has to confirm
it: while the API server does not answer, there is nothing to hear.

A watch that goes on telling of others is slow at most, or has lost one event, which the next list
repairs; and an object that a watch never told of, though it began with a list, is no proof.
"""

from collections.abc import Iterable
from math import inf

from fractal_models.errors import AccessDenied, FractalError
from fractal_operator.core.selector import Selector
from fractal_operator.ports import Clock, Kube, ObjectKey
from fractal_operator.shell.objects import Body, Known, Objects, key_of, uid_of, version_of

SILENT_SECONDS = 120.0
"""kopf gives up a connection without events or bookmarks after 70 s, and makes a new one."""

LOOK_SECONDS = 10.0
EVERY = Selector()


class Hearing:
    """``heard`` takes every event of the watch, ``listed`` every list; ``listen`` is a loop.

    With ``by_namespace`` each namespace has a watch of its own, which may be silent by itself.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        clock: Clock,
        objects: Objects,
        by_namespace: bool,
        selector: Selector = EVERY,
    ) -> None:
        self._selector = selector
        self._kube = kube
        self._clock = clock
        self._objects = objects
        self._by_namespace = by_namespace
        self._first: frozenset[str] | None = None  # the uids of the first list
        self._told: dict[str, str] = {}  # the version that the watch told last, by uid
        self._told_at: dict[str, float] = {}  # when a watch told anything, by its namespace
        self._missing: dict[str, float] = {}  # since when a version is missed, by uid

    def heard(self, kind: str, body: Body) -> None:
        """One event of the watch."""
        uid = uid_of(body)
        self._told_at[self._stream(key_of(body))] = self._clock.monotonic()
        self._told[uid] = version_of(body)
        self._missing.pop(uid, None)
        if kind == "DELETED":
            self._told.pop(uid)

    def listed(self, bodies: Iterable[Body]) -> None:
        """All objects, by a list."""
        if self._first is None:
            self._first = frozenset(uid_of(body) for body in bodies)

    def standing(self) -> tuple[float, str]:
        """For how long a watch has owed something, and what: see ``Health.watch``."""
        missed = ((self._owed(known), _owes(known)) for known in self._missed())
        return max(missed, default=(0.0, ""))

    async def listen(self) -> None:
        """Look, again and again, what the watch has not told of."""
        while True:
            self.look()
            if self.standing()[0] > SILENT_SECONDS / 2:
                await self._prove()
            await self._clock.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Note the versions that are known, and that the watch has not told of."""
        if self._first is None:
            return
        now, told = self._clock.monotonic(), self._told.get
        untold = [known for known in self._objects.all() if known.version != told(known.uid)]
        self._missing = {
            known.uid: self._missing.get(known.uid, now)
            for known in untold
            if _newer(known.version, told(known.uid)) and self._selects(known)
        }
        if len(self._told) > len(self._objects):
            self._told = {uid: each for uid, each in self._told.items() if self._objects.key(uid)}

    def _selects(self, known: Known) -> bool:
        """Whether the watch tells of the object: of one that left the selector it does not."""
        return self._selector.selects(known.body()["metadata"].get("labels"))

    async def _prove(self) -> None:
        """Read what is missed for longest; unless it is there as known, begin to wait anew."""
        known = max(self._missed(), key=self._owed)
        try:
            fresh = await self._kube.get(known.key)
        except AccessDenied:  # a Role that is gone silences the watch of its namespace, no other
            for each in self._missed():
                if self._stream(each.key) == self._stream(known.key):
                    self._missing.pop(each.uid)
            return
        except FractalError:
            self._missing.clear()
            return
        if fresh is None or uid_of(fresh) != known.uid or _newer(known.version, version_of(fresh)):
            self._missing.pop(known.uid, None)

    def _missed(self) -> list[Known]:
        keys = (self._objects.key(uid) for uid in self._missing)
        found = (self._objects.known(key) for key in keys if key is not None)
        return [known for known in found if known is not None and not self._passed_over(known)]

    def _passed_over(self, known: Known) -> bool:
        """Whether the watch has told of others, but never of this one, which was there before."""
        old = known.uid in (self._first or ()) and known.uid not in self._told
        return old and self._stream(known.key) in self._told_at

    def _owed(self, known: Known) -> float:
        since = self._missing.get(known.uid, inf)
        told = self._told_at.get(self._stream(known.key), -inf)
        return max(self._clock.monotonic() - max(since, told), 0.0)

    def _stream(self, key: ObjectKey) -> str:
        return key.namespace if self._by_namespace else ""


def _newer(version: str, than: str | None) -> bool:
    """Whether ``version`` is later; versions that are no numbers only differ (see ``older``)."""
    if version == than:
        return False
    if than is not None and version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return True


def _owes(known: Known) -> str:
    return f"the watch has not told of version {known.version} of {known.key}"
