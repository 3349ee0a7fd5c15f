"""The FractalContainers as this process last saw them: from the watch, from lists, from own writes.

A cache, so it may be stale; every write is fenced by uid and resourceVersion, and a lost fence ends
in a fresh read. Ten thousand bodies would take 200 MB and more, so each is kept as text and decoded
when somebody looks at its object; what is asked of all objects at once stands beside the text.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fractal_helpers.bodies import pack, unpack
from fractal_operator.ports import ObjectKey

Body = Mapping[str, Any]


def key_of(body: Body) -> ObjectKey:
    """Which object a body is about."""
    return ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])


def uid_of(body: Body) -> str:
    """The body's uid, which no namesake shares."""
    return str(body["metadata"]["uid"])


def version_of(body: Body) -> str:
    """The body's resourceVersion, "" without one."""
    return str(body["metadata"].get("resourceVersion", ""))


def is_of(body: Body, install: str) -> bool:
    """Whether no other installation than ``install`` looks after the object."""
    status = body.get("status")
    return not isinstance(status, Mapping) or status.get("installation", "") in ("", install)


@dataclass(frozen=True, slots=True)
class Shape:
    """How an object stands, as its status says; shared by all that stand alike.

    ``conditions`` are (type, status, reason). Anybody may edit a status, so all is text.
    """

    installation: str
    phase: str
    conditions: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, status: object) -> "Shape":
        """What a status says, however it is written."""
        if not isinstance(status, Mapping):
            return cls("", "", ())
        listed = status.get("conditions")
        conditions = tuple(
            (str(each.get("type")), str(each.get("status")), str(each.get("reason")))
            for each in (listed if isinstance(listed, list) else ())
            if isinstance(each, Mapping)
        )
        return cls(str(status.get("installation", "")), str(status.get("phase", "")), conditions)


@dataclass(frozen=True, slots=True)
class Known:
    """One object as it was seen last: what is asked of all objects at once, and its body as text.

    ``made`` and ``deleting`` are its creationTimestamp and its deletionTimestamp, "" without one.
    """

    key: ObjectKey
    uid: str
    version: str
    made: str
    deleting: str
    shape: Shape
    text: bytes

    @classmethod
    def of(cls, body: Body) -> "Known":
        """What a body tells."""
        meta = body["metadata"]
        return cls(
            key=key_of(body),
            uid=uid_of(body),
            version=version_of(body),
            made=str(meta.get("creationTimestamp", "")),
            deleting=str(meta.get("deletionTimestamp") or ""),
            shape=Shape.of(body.get("status")),
            text=pack(body),
        )

    def body(self) -> Body:
        """The body, decoded anew."""
        return unpack(self.text)


class Objects:
    """What is known by key, and keys by uid. ``shapes`` counts how many objects stand how."""

    def __init__(self) -> None:
        self.shapes: Counter[Shape] = Counter()
        self._known: dict[ObjectKey, Known] = {}
        self._keys: dict[str, ObjectKey] = {}
        self._deleting: set[ObjectKey] = set()
        self._shared: dict[Shape, Shape] = {}

    def get(self, key: ObjectKey) -> Body | None:
        """The object's body, decoded anew: each call costs what a small write costs."""
        known = self._known.get(key)
        return None if known is None else known.body()

    def known(self, key: ObjectKey) -> Known | None:
        """What is known of an object, without decoding its body."""
        return self._known.get(key)

    def key(self, uid: str) -> ObjectKey | None:
        """Where the object with this uid is, if it is known."""
        return self._keys.get(uid)

    def all(self) -> tuple[Known, ...]:
        """Everything that is known."""
        return tuple(self._known.values())

    def deleting(self) -> list[Known]:
        """The objects that are in deletion."""
        return [self._known[key] for key in self._deleting]

    def __len__(self) -> int:
        return len(self._known)

    def seen(self, body: Body) -> bool:
        """Take in a body from the watch or a list; False if a newer one is known."""
        known = self._known.get(key_of(body))
        if known is not None and older(body, known):
            return False
        version = version_of(body)
        if known is None or not version or (known.version, known.uid) != (version, uid_of(body)):
            self.read(body)
        return True

    def read(self, body: Body) -> None:
        """Take in a fresh read or the answer of an own write: believed whatever was known."""
        known = Known.of(body)
        before = self._known.get(known.key)
        if before is not None:
            self._drop(before)
        known = replace(known, shape=self._shared.setdefault(known.shape, known.shape))
        self._known[known.key] = known
        self._keys[known.uid] = known.key
        self.shapes[known.shape] += 1
        if known.deleting:
            self._deleting.add(known.key)

    def gone(self, key: ObjectKey, uid: str) -> Body | None:
        """Forget an object; the body it had. A namesake with another uid stays."""
        known = self._known.get(key)
        if known is None or known.uid != uid:
            return None
        self._drop(known)
        del self._known[key]
        return known.body()

    def _drop(self, known: Known) -> None:
        """Undo what counts and finds this."""
        self._keys.pop(known.uid, None)
        self._deleting.discard(known.key)
        self.shapes[known.shape] -= 1
        if not self.shapes[known.shape]:
            del self.shapes[known.shape], self._shared[known.shape]


def older(body: Body, known: Known) -> bool:
    """Whether a late watch event tells less than is known already, be it of a namesake.

    resourceVersions of one resource may be compared as numbers (KEP-5504); where they are none,
    of two namesakes the later made one counts, and of one object the later arrival: the fence on
    every write repairs a wrong guess.
    """
    new, old = version_of(body), known.version
    if new.isdigit() and old.isdigit():
        return int(new) < int(old)
    made = str(body["metadata"].get("creationTimestamp", ""))
    return uid_of(body) != known.uid and made < known.made
