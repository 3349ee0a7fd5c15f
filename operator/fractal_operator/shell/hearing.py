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
from fractal_operator.ports import Clock, Kube
from fractal_operator.shell.objects import Body, Objects, key_of, uid_of

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
        self._told_at[self._stream(body)] = self._clock.monotonic()
        self._told[uid] = _version(body)
        self._missing.pop(uid, None)
        if kind == "DELETED":
            self._told.pop(uid)

    def listed(self, bodies: Iterable[Body]) -> None:
        """All objects, by a list."""
        if self._first is None:
            self._first = frozenset(uid_of(body) for body in bodies)

    def standing(self) -> tuple[float, str]:
        """For how long a watch has owed something, and what: see ``Health.watch``."""
        return max(((self._owed(body), _owes(body)) for body in self._missed()), default=(0.0, ""))

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
        known = {uid_of(body): body for body in self._objects.bodies()}
        now = self._clock.monotonic()
        for uid, body in known.items():
            # The watch tells nothing more of one that left the selector.
            owed = self._selector.selects(body["metadata"].get("labels"))
            if owed and _newer(_version(body), self._told.get(uid)):
                self._missing.setdefault(uid, now)
            else:
                self._missing.pop(uid, None)
        self._told = {uid: version for uid, version in self._told.items() if uid in known}
        self._missing = {uid: at for uid, at in self._missing.items() if uid in known}

    async def _prove(self) -> None:
        """Read what is missed for longest; unless it is there as known, begin to wait anew."""
        body = max(self._missed(), key=self._owed)
        try:
            fresh = await self._kube.get(key_of(body))
        except AccessDenied:  # a Role that is gone silences the watch of its namespace, no other
            for each in self._missed():
                if self._stream(each) == self._stream(body):
                    self._missing.pop(uid_of(each))
            return
        except FractalError:
            self._missing.clear()
            return
        same = fresh is not None and uid_of(fresh) == uid_of(body)
        if not same or _newer(_version(body), _version(fresh or {})):
            self._missing.pop(uid_of(body), None)

    def _missed(self) -> list[Body]:
        keys = (self._objects.key(uid) for uid in self._missing)
        bodies = (self._objects.get(key) for key in keys if key is not None)
        return [body for body in bodies if body is not None and not self._passed_over(body)]

    def _passed_over(self, body: Body) -> bool:
        """Whether the watch has told of others, but never of this one, which was there before."""
        uid = uid_of(body)
        old = uid in (self._first or ()) and uid not in self._told
        return old and self._stream(body) in self._told_at

    def _owed(self, body: Body) -> float:
        since = self._missing.get(uid_of(body), inf)
        told = self._told_at.get(self._stream(body), -inf)
        return max(self._clock.monotonic() - max(since, told), 0.0)

    def _stream(self, body: Body) -> str:
        return str(body["metadata"]["namespace"]) if self._by_namespace else ""


def _version(body: Body) -> str:
    return str((body.get("metadata") or {}).get("resourceVersion", ""))


def _newer(version: str, than: str | None) -> bool:
    """Whether ``version`` is later; versions that are no numbers only differ (see ``older``)."""
    if than is not None and version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than


def _owes(body: Body) -> str:
    return f"the watch has not told of version {_version(body)} of {key_of(body)}"
