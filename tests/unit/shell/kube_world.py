"""The Kubernetes API of the fakes, as the operator's writes and the users' edits leave it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from tests.unit.shell.wire import FakeClock

from fractal_models.errors import AccessDenied, Conflict, Gone, Rejected
from fractal_models.kube import KubeEvent, ObjectKey

Body = dict[str, Any]


class KubeWorld:
    """The API server: uids, generations, resourceVersions, finalizers; and the users' edits.

    A write whose resourceVersion or uid is not the present one is a Conflict; one of an object that
    is gone, Gone. ``changes`` is what a watch would tell, in order. ``stale_list``, once set, is
    what the next list answers: one from a cache that lags behind. In the namespaces ``refused``
    nothing may be read any more, and lists leave them out.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.objects: dict[ObjectKey, Body] = {}
        self.leases: dict[ObjectKey, Body] = {}
        self.events: dict[str, tuple[str, KubeEvent]] = {}
        self.changes: list[tuple[str, Body]] = []
        self.stale_list: Sequence[Body] | None = None
        self.refused: set[str] = set()
        self.writes = 0
        self._clock = clock
        self._version = 100
        self._uids = 0

    # --- what users do ---

    def create(self, key: ObjectKey, spec: Mapping[str, Any], **meta: Any) -> Body:
        assert key not in self.objects
        self._uids += 1
        body = {
            "metadata": {
                "namespace": key.namespace,
                "name": key.name,
                "uid": f"4a1f0c7e-0000-4000-8000-{self._uids:012}",
                "generation": 1,
                "creationTimestamp": self._clock.now().isoformat(),
                **meta,
            },
            "spec": dict(spec),
        }
        return self._store(body, "ADDED")

    def edit(self, key: ObjectKey, **spec: Any) -> Body:
        body = copy.deepcopy(self.objects[key])
        body["spec"].update(spec)
        body["metadata"]["generation"] += 1
        return self._store(body)

    def annotate(self, key: ObjectKey, **annotations: str) -> Body:
        body = copy.deepcopy(self.objects[key])
        names = {f"fractal.co/{k.replace('_', '-')}": v for k, v in annotations.items()}
        body["metadata"]["annotations"] = {**body["metadata"].get("annotations", {}), **names}
        return self._store(body)

    def label(self, key: ObjectKey, **labels: str) -> Body:
        body = copy.deepcopy(self.objects[key])
        body["metadata"]["labels"] = labels
        return self._store(body)

    def delete(self, key: ObjectKey) -> None:
        body = copy.deepcopy(self.objects[key])
        if not body["metadata"].get("finalizers"):
            self._drop(body)
        elif "deletionTimestamp" not in body["metadata"]:
            body["metadata"]["generation"] += 1
            body["metadata"]["deletionTimestamp"] = self._clock.now().isoformat()
            self._store(body)

    def delete_if_same(self, body: Mapping[str, Any]) -> None:
        """DELETE with the uid as its precondition."""
        key = ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])
        current = self.objects.get(key)
        if current is None:
            raise Gone(f"{key} is gone")
        if current["metadata"]["uid"] != body["metadata"]["uid"]:
            raise Conflict(f"{key} has another uid")
        self.delete(key)

    def force_delete(self, key: ObjectKey) -> None:
        self._drop(self.objects[key])

    # --- what the API server answers ---

    def get(self, key: ObjectKey) -> Body | None:
        if key.namespace in self.refused:
            raise AccessDenied(f"get {key}: forbidden", code="Forbidden")
        return self.objects.get(key)

    def list(self) -> Sequence[Body]:
        stale, self.stale_list = self.stale_list, None
        readable = [x for key, x in self.objects.items() if key.namespace not in self.refused]
        return readable if stale is None else stale

    def claimed(self, install: str) -> Sequence[Body]:
        return [
            body
            for body in self.objects.values()
            if body.get("status", {}).get("installation") == install
        ]

    def set_finalizers(self, body: Mapping[str, Any], finalizers: Sequence[str]) -> Body:
        current = self._fenced(body)
        before = current["metadata"].get("finalizers", [])
        deleting = "deletionTimestamp" in current["metadata"]
        if deleting and set(finalizers) - set(before):
            raise Rejected("no new finalizers can be added while the object is being deleted")
        if list(finalizers) == before:
            return current
        current["metadata"]["finalizers"] = list(finalizers)
        self.writes += 1
        if deleting and not finalizers:
            return self._drop(current)
        return self._store(current)

    def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> Body:
        current = self._fenced(body)
        if current.get("status") == status:
            return current  # the client sends no empty patch
        current["status"] = dict(status)
        self.writes += 1
        return self._store(current)

    def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None:
        self.events.setdefault(event.name_suffix, (body["metadata"]["uid"], event))

    def get_lease(self, key: ObjectKey) -> Body | None:
        return self.leases.get(key)

    def create_lease(self, key: ObjectKey, spec: Mapping[str, Any]) -> Body:
        if key in self.leases:
            raise Conflict(f"lease {key} already exists")
        return self._store_lease(key, spec)

    def update_lease(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> Body:
        key = ObjectKey(lease["metadata"]["namespace"], lease["metadata"]["name"])
        if key not in self.leases:
            raise Gone(f"lease {key} is gone")
        same = "resourceVersion"
        if self.leases[key]["metadata"][same] != lease["metadata"][same]:
            raise Conflict(f"lease {key} has another version")
        return self._store_lease(key, spec)

    def _store_lease(self, key: ObjectKey, spec: Mapping[str, Any]) -> Body:
        self._version += 1
        meta = {"namespace": key.namespace, "name": key.name, "uid": "4a1f0c7e"}
        self.leases[key] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**meta, "resourceVersion": str(self._version)},
            "spec": dict(spec),
        }
        return self.leases[key]

    def _fenced(self, body: Mapping[str, Any]) -> Body:
        meta = body["metadata"]
        current = self.objects.get(ObjectKey(meta["namespace"], meta["name"]))
        if current is None:
            raise Gone(f"{meta['name']} is gone")
        for fence in ("uid", "resourceVersion"):
            if current["metadata"][fence] != meta[fence]:
                raise Conflict(f"{meta['name']} has another {fence}")
        return {**current, "metadata": {**current["metadata"]}}

    def _store(self, body: Body, kind: str = "MODIFIED") -> Body:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        meta = body["metadata"]
        self.objects[ObjectKey(meta["namespace"], meta["name"])] = body
        self.changes.append((kind, copy.deepcopy(body)))
        return body

    def _drop(self, body: Body) -> Body:
        stored = self._store(body, "DELETED")
        del self.objects[ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"])]
        return stored
