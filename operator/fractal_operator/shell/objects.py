"""The FractalContainers as this process last saw them: from the watch, from lists, from own writes.

A cache, so it may be stale; every write is fenced by uid and resourceVersion, and a lost fence ends
in a fresh read. Bodies are the API's own JSON objects and are never changed in place.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fractal_operator.ports import ObjectKey

Body = Mapping[str, Any]


def key_of(body: Body) -> ObjectKey:
    """Which object a body is about."""
    return ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])


def uid_of(body: Body) -> str:
    """The body's uid, which no namesake shares."""
    return str(body["metadata"]["uid"])


def is_of(body: Body, install: str) -> bool:
    """Whether no other installation than ``install`` looks after the object."""
    status = body.get("status")
    return not isinstance(status, Mapping) or status.get("installation", "") in ("", install)


class Objects:
    """Bodies by key, and keys by uid."""

    def __init__(self) -> None:
        self._bodies: dict[ObjectKey, Body] = {}
        self._keys: dict[str, ObjectKey] = {}

    def get(self, key: ObjectKey) -> Body | None:
        return self._bodies.get(key)

    def key(self, uid: str) -> ObjectKey | None:
        """Where the object with this uid is, if it is known."""
        return self._keys.get(uid)

    def bodies(self) -> Iterable[Body]:
        return tuple(self._bodies.values())

    def __len__(self) -> int:
        return len(self._bodies)

    def seen(self, body: Body) -> ObjectKey:
        """Take in a body from the watch or a list, unless a newer one is known."""
        key = key_of(body)
        known = self._bodies.get(key)
        if known is None or not older(body, known):
            self.read(body)
        return key

    def read(self, body: Body) -> None:
        """Take in a fresh read or the answer of an own write: believed whatever was known."""
        key = key_of(body)
        known = self._bodies.get(key)
        if known is not None and uid_of(known) != uid_of(body):
            self._keys.pop(uid_of(known), None)
        self._bodies[key] = body
        self._keys[uid_of(body)] = key

    def gone(self, key: ObjectKey, uid: str) -> Body | None:
        """Forget an object; the body it had. A namesake with another uid stays."""
        known = self._bodies.get(key)
        if known is None or uid_of(known) != uid:
            return None
        self._keys.pop(uid, None)
        return self._bodies.pop(key)


def older(body: Body, known: Body) -> bool:
    """Whether a late watch event tells less than is known already, be it of a namesake.

    resourceVersions of one resource may be compared as numbers (KEP-5504); where they are none,
    of two namesakes the later made one counts, and of one object the later arrival: the fence on
    every write repairs a wrong guess.
    """
    new, old = (str(each["metadata"].get("resourceVersion", "")) for each in (body, known))
    if new.isdigit() and old.isdigit():
        return int(new) < int(old)
    made, before = (str(each["metadata"].get("creationTimestamp", "")) for each in (body, known))
    return uid_of(body) != uid_of(known) and made < before
