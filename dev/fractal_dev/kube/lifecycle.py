"""What goes on after a DELETE: a namespace, or a definition, takes its objects along.

As on a real server this happens a little later and waits for the objects' finalizers. Objects with
ownerReferences are not collected.
"""

from __future__ import annotations

import asyncio

from fractal_dev.kube import crds, metadata, patches
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.registry import Options, Registry
from fractal_dev.kube.resources import CRDS, NAMESPACES, Resource

DELAY = 0.2
"""Seconds between a DELETE and the cascade: long enough for `kubectl delete -f` of a file with a
namespace and its content to delete the content by itself first."""


class Cascade:
    """Runs as a task; `wake()` makes it look for what is terminating."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self, registry: Registry) -> None:
        """Runs until cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(DELAY)
            self._woken.clear()
            _sweep(registry)


def _sweep(registry: Registry) -> None:
    """Each removal wakes the cascade again, so one step at a time is enough."""
    for namespace in _terminating(registry, NAMESPACES):
        name = namespace["metadata"]["name"]
        contents = [r for r in registry.catalog.stored() if r.namespaced]
        left = sum(_empty(registry, resource, name) for resource in contents)
        _advance_namespace(registry, namespace, left)
    for crd in _terminating(registry, CRDS):
        kind = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        defined = [r for r in registry.catalog.stored() if r.storage == kind]
        if not sum(_empty(registry, resource, None) for resource in defined):
            kept = [f for f in crd["metadata"]["finalizers"] if f != crds.CLEANUP]
            patch = {"metadata": {"finalizers": kept}}
            name = crd["metadata"]["name"]
            registry.patch(CRDS, "", "", name, patches.MERGE, patch, Options())


def _terminating(registry: Registry, resource: Resource) -> list[Obj]:
    return [
        obj
        for obj in registry.store.list(resource.storage, None)
        if "deletionTimestamp" in obj["metadata"]
    ]


def _empty(registry: Registry, resource: Resource, namespace: str | None) -> int:
    """Deletes the objects; returns how many wait for a finalizer."""
    for obj in registry.store.list(resource.storage, namespace):
        meta = obj["metadata"]
        registry.delete(resource, meta.get("namespace", ""), meta["name"], {}, Options())
    return len(registry.store.list(resource.storage, namespace))


def _advance_namespace(registry: Registry, namespace: Obj, left: int) -> None:
    if not left:
        free = {**namespace, "spec": {"finalizers": []}}
        if not namespace["metadata"].get("finalizers"):
            registry.remove(NAMESPACES, free)
        elif namespace["spec"]["finalizers"]:
            registry.store.put(NAMESPACES.storage, free)
        return
    # Clients, kopf among them, read from these conditions that the cascade has begun.
    if "conditions" not in namespace["status"]:
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": "Some content in the namespace has finalizers remaining",
                "lastTransitionTime": metadata.now(),
            }
            for kind, reason in (
                ("NamespaceContentRemaining", "SomeResourcesRemain"),
                ("NamespaceFinalizersRemaining", "SomeFinalizersRemain"),
            )
        ]
        status = {**namespace["status"], "conditions": conditions}
        registry.store.put(NAMESPACES.storage, {**namespace, "status": status})
