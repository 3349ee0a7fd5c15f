"""The API server of the simulation: every version is kept, so that the past can be told, too."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.simulation.timeline import SimClock
from tests.unit.shell.kube_world import Body, KubeWorld

from fractal_models.kube import ObjectKey


def _copy(body: Mapping[str, Any]) -> Body:
    copied: Body = json.loads(json.dumps(body))
    return copied


class SimKube(KubeWorld):
    """``changed`` hears of each change as it happens; bodies are never changed once stored."""

    def __init__(self, clock: SimClock, changed: Callable[[str, Body], None]) -> None:
        super().__init__(clock)
        self.times: list[float] = []
        self._changed = changed

    def list_of(self, when: float) -> Sequence[Body]:
        """The objects as they stood at the monotonic time ``when``: a list from a stale cache."""
        shown: dict[ObjectKey, Body] = {}
        for at, (kind, body) in zip(self.times, self.changes, strict=True):
            if at > when:
                break
            key = ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])
            shown[key] = body
            if kind == "DELETED":
                del shown[key]
        return [*shown.values()]

    def restore(self, when: float, *, bumped: bool) -> Sequence[Body]:
        """etcd as it was then; the objects that there are now."""
        self.objects = {}
        past = self.list_of(when)
        if not bumped:
            versions = [int(body["metadata"]["resourceVersion"]) for body in past]
            self._version = max(versions, default=100)
        for body in past:
            meta = body["metadata"]
            copied = _copy(body)
            if bumped:
                self._version += 1
                copied["metadata"]["resourceVersion"] = str(self._version)
            self.objects[ObjectKey(meta["namespace"], meta["name"])] = copied
        return [*self.objects.values()]

    def wipe(self, key: ObjectKey) -> Body:
        """A user takes the whole status away."""
        body = _copy(self.objects[key])
        body["status"] = {}
        return self._store(body)

    def unset(self, key: ObjectKey, *fields: str) -> Body:
        """A user's edit that removes fields of the spec."""
        body = _copy(self.objects[key])
        body["spec"] = {name: value for name, value in body["spec"].items() if name not in fields}
        body["metadata"]["generation"] += 1
        return self._store(body)

    def force_delete(self, key: ObjectKey) -> None:
        """All finalizers are taken off, and the object deleted."""
        self._drop(_copy(self.objects[key]))

    def _store(self, body: Body, kind: str = "MODIFIED") -> Body:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        meta = body["metadata"]
        self.objects[ObjectKey(meta["namespace"], meta["name"])] = body
        self.changes.append((kind, body))
        self.times.append(self._clock.monotonic())
        if kind != "DELETED":
            self._changed(kind, body)
        return body

    def _drop(self, body: Body) -> Body:
        stored = self._store(body, "DELETED")
        del self.objects[ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])]
        self._changed("DELETED", stored)
        return stored
