"""Deletion: preconditions, the marks of it, and what holds an object back."""

from __future__ import annotations

from fractal_dev.kube import crds, errors, metadata
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import CRDS, NAMESPACES, Resource


def check_preconditions(resource: Resource, old: Obj, preconditions: Obj) -> None:
    for field, label, hint in (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ):
        wanted, have = preconditions.get(field), old["metadata"][field]
        if wanted is not None and wanted != have:
            why = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record "
                f"({have}). {hint}"
            )
            name = old["metadata"]["name"]
            raise errors.conflict(resource.group, resource.kind, name, why)


def marked(resource: Resource, obj: Obj) -> Obj:
    """`obj` with the marks of deletion, or itself when it is held by nothing or marked already."""
    if resource is CRDS and crds.CLEANUP not in obj["metadata"].get("finalizers", ()):
        finalizers = [*obj["metadata"].get("finalizers", ()), crds.CLEANUP]
        obj = {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
    if not held(obj) or "deletionTimestamp" in obj["metadata"]:
        return obj
    meta = {
        **obj["metadata"],
        "deletionTimestamp": metadata.now(),
        "deletionGracePeriodSeconds": 0,
    }
    if "generation" in meta:
        meta["generation"] += 1
    obj = {**obj, "metadata": meta}
    if resource is CRDS:
        return crds.terminating(obj, metadata.now())
    if resource is NAMESPACES:
        return {**obj, "status": {**obj["status"], "phase": "Terminating"}}
    return obj


def held(obj: Obj) -> bool:
    in_spec = obj["kind"] == "Namespace" and obj.get("spec", {}).get("finalizers")
    return bool(obj["metadata"].get("finalizers") or in_spec)
