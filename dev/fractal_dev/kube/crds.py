"""CustomResourceDefinitions: their own checks and defaults, and the resources that they define."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fractal_dev.kube.errors import Cause, Obj
from fractal_dev.kube.resources import Resource
from fractal_dev.kube.tables import AGE, NAME, Column

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a definition until its objects are gone."""


def complete(crd: Obj, now: str) -> Obj:
    """Returns `crd` with its names, conversion and, for a new one, its status filled in.

    A definition is Established as soon as it is stored.
    """
    spec = dict(crd.get("spec") or {})
    names = dict(spec.get("names") or {})
    kind = str(names.get("kind", ""))
    names = {"singular": kind.lower(), "listKind": f"{kind}List", **names}
    spec = {"conversion": {"strategy": "None"}, **spec, "names": names}
    status = crd.get("status") or {
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted",
                now,
            ),
        ],
        "storedVersions": [
            version.get("name") for version in spec.get("versions", ()) if version.get("storage")
        ],
    }
    return {**crd, "spec": spec, "status": {**status, "acceptedNames": names}}


def terminating(crd: Obj, now: str) -> Obj:
    """Returns `crd` as it stands while its objects are being deleted."""
    condition = _condition(
        "Terminating",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
        now,
    )
    conditions = [*crd["status"]["conditions"], condition]
    return {**crd, "status": {**crd["status"], "conditions": conditions}}


def _condition(kind: str, reason: str, message: str, now: str) -> Obj:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def check(crd: Obj) -> Iterator[Cause]:
    """The mistakes that are likely by hand; a real server checks far more of the schema."""
    spec = crd["spec"]
    names = spec["names"]
    name = crd["metadata"]["name"]
    if name != f"{names.get('plural')}.{spec.get('group')}":
        message = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        yield Cause("FieldValueInvalid", "metadata.name", message)
    if not names.get("kind"):
        yield Cause("FieldValueRequired", "spec.names.kind", "Required value")
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        allowed = 'supported values: "Cluster", "Namespaced"'
        message = f'Unsupported value: "{spec.get("scope", "")}": {allowed}'
        yield Cause("FieldValueNotSupported", "spec.scope", message)
    versions: list[Any] = spec.get("versions") or []
    if [version.get("storage") for version in versions].count(True) != 1:
        message = "Invalid value: must have exactly one version marked as storage version"
        yield Cause("FieldValueInvalid", "spec.versions", message)
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            yield Cause("FieldValueRequired", field, "Required value")


def resources(crd: Obj) -> Iterator[Resource]:
    """The resource of each served version."""
    spec, names = crd["spec"], crd["spec"]["names"]
    for version in spec["versions"]:
        if version.get("served"):
            yield Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                singular=names["singular"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames", ())),
                categories=tuple(names.get("categories", ())),
                columns=_columns(version),
                schema=version["schema"]["openAPIV3Schema"],
                has_status="status" in (version.get("subresources") or {}),
                has_generation=True,
                needs_version=True,
                may_create="deletionTimestamp" not in crd["metadata"],
            )


def _columns(version: Obj) -> tuple[Column, ...]:
    declared = version.get("additionalPrinterColumns")
    if not declared:
        return (NAME, AGE)
    return (
        NAME,
        *(
            Column(
                name=column["name"],
                path=column["jsonPath"],
                type=column["type"],
                priority=column.get("priority", 0),
                format=column.get("format", ""),
                description=column.get("description", ""),
            )
            for column in declared
        ),
    )
