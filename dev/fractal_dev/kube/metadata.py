"""ObjectMeta: what a client may set, what only the server sets, and when it is refused."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fractal_dev.kube.errors import Cause, DecodeError, Obj
from fractal_dev.kube.resources import Resource

_FIELDS = frozenset(
    {
        "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation",
        "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "labels",
        "annotations", "ownerReferences", "finalizers", "managedFields",
    }
)  # fmt: skip
# This server keeps no record of who owns which field, and selfLink is gone since 1.24.
_DROPPED = frozenset({"managedFields", "selfLink"})

_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
# No vowels and no look-alikes, as in k8s.io/apimachinery/pkg/util/rand.
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


def now() -> str:
    """The time in the API's form: RFC 3339, whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decode(given: Any) -> tuple[Obj, list[str]]:
    """Returns the metadata without empty and unknown fields, and the paths of the unknown ones.

    Raises DecodeError where a label or an annotation is no string.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise DecodeError(
            "json: cannot unmarshal into Go struct field .metadata of type ObjectMeta"
        )
    for field in ("labels", "annotations"):
        if not isinstance(given.get(field) or {}, dict) or not all(
            isinstance(value, str) for value in (given.get(field) or {}).values()
        ):
            raise DecodeError(
                f"json: cannot unmarshal into Go struct field ObjectMeta.{field} of type string"
            )
    known = {
        key: value
        for key, value in given.items()
        if key in _FIELDS - _DROPPED and value not in (None, "", [], {})
    }
    return known, sorted(f"metadata.{key}" for key in given if key not in _FIELDS)


def stamp_new(metadata: Obj, resource: Resource) -> Obj:
    """Returns the metadata of an object about to be created: name, uid, time, generation."""
    name = metadata.get("name") or (
        metadata["generateName"] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        if "generateName" in metadata
        else ""
    )
    kept = {
        key: value
        for key, value in metadata.items()
        if key not in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation")
    }
    return {
        **kept,
        "name": name,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": now(),
        **({"generation": 1} if resource.has_generation else {}),
    }


def carry_over(metadata: Obj, old: Obj) -> Obj:
    """Returns the metadata of an update with what only the server sets taken from `old`."""
    kept: Obj = {
        key: old[key]
        for key in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
        if key in old and key not in metadata
    }
    fixed: Obj = {key: old[key] for key in ("creationTimestamp", "generation") if key in old}
    without = {key: value for key, value in metadata.items() if key != "generation"}
    return {**without, **kept, **fixed, "resourceVersion": old["resourceVersion"]}


def check(metadata: Obj, resource: Resource) -> Iterator[Cause]:
    """What is wrong with the metadata by itself."""
    name = metadata["name"]
    if not name:
        message = "Required value: name or generateName is required"
        yield Cause("FieldValueRequired", "metadata.name", message)
    elif resource.plural == "namespaces" and not _DNS_LABEL.fullmatch(name):
        why = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
            "'-', and must start and end with an alphanumeric character (e.g. 'my-name',  or "
            f"'123-abc', regex used for validation is '{_DNS_LABEL.pattern}')"
        )
        yield Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {why}')
    elif not _DNS_SUBDOMAIN.fullmatch(name):
        why = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. "
            f"'example.com', regex used for validation is '{_DNS_SUBDOMAIN.pattern}')"
        )
        yield Cause("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {why}')
    for value in metadata.get("labels", {}).values():
        if not _LABEL.fullmatch(value):
            why = (
                "a valid label must be an empty string or consist of alphanumeric characters, "
                "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
                "'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                f"'{_LABEL.pattern}')"
            )
            yield Cause("FieldValueInvalid", "metadata.labels", f'Invalid value: "{value}": {why}')


def check_update(metadata: Obj, old: Obj) -> Iterator[Cause]:
    """What may not change between `old` and `metadata`."""
    for field in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(field) != old.get(field):
            shown = metadata[field]
            shown = f'"{shown}"' if isinstance(shown, str) else shown
            message = f"Invalid value: {shown}: field is immutable"
            yield Cause("FieldValueInvalid", f"metadata.{field}", message)
    added = [
        finalizer
        for finalizer in metadata.get("finalizers", ())
        if finalizer not in old.get("finalizers", ())
    ]
    if "deletionTimestamp" in old and added:
        shown = ", ".join(f'"{finalizer}"' for finalizer in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, found new "
            f"finalizers []string{{{shown}}}"
        )
        yield Cause("FieldValueForbidden", "metadata.finalizers", message)
