"""From a request's body to the object that is stored: decoding, placing, completing."""

from __future__ import annotations

import base64
from typing import Any

from fractal_dev.kube import crds, errors, metadata, schema
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import CRDS, NAMESPACES, SECRETS, Resource


def decode(resource: Resource, body: Any, validation: str) -> tuple[Obj, tuple[str, ...]]:
    """Returns a new object with unknown fields dropped and defaults filled in, and warnings."""
    if isinstance(body, dict) and not resource.custom:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    _check_kind(resource, body)
    meta, unknown = metadata.decode(body.get("metadata"))
    obj: Obj = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": meta,
        **{
            key: _copy(value)
            for key, value in body.items()
            if key not in ("apiVersion", "kind", "metadata")
        },
    }
    if resource.schema is not None:
        unknown += schema.prune(obj, resource.schema)
        schema.default(obj, resource.schema)
    said = tuple(f'unknown field "{path}"' for path in unknown)
    if said and validation == "Strict":
        raise errors.DecodeError("strict decoding error: " + ", ".join(said))
    return obj, said if validation == "Warn" else ()


def as_version(resource: Resource, obj: Obj) -> Obj:
    """Returns `obj` in the version asked for; definitions convert by their apiVersion only."""
    if obj["apiVersion"] == resource.api_version:
        return obj
    return {**obj, "apiVersion": resource.api_version}


def cannot_handle(resource: Resource, error: errors.DecodeError) -> errors.ApiError:
    return errors.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a '
        f"{resource.kind}: {error}"
    )


def place(resource: Resource, obj: Obj, namespace: str, name: str) -> str:
    """Makes the object's name and namespace those of the request; returns the name."""
    meta = obj["metadata"]
    if resource.namespaced and meta.get("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if meta.get("name", name) != name:
        message = (
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
        raise errors.bad_request(message)
    meta["name"] = name
    if resource.namespaced:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    return name


def completed(resource: Resource, new: Obj, old: Obj | None) -> Obj:
    """What built-in kinds get from the server besides metadata."""
    if resource is CRDS:
        return crds.complete(new, metadata.now())
    if resource is NAMESPACES and old is None:
        labels = {"kubernetes.io/metadata.name": new["metadata"]["name"]}
        new["metadata"]["labels"] = {**new["metadata"].get("labels", {}), **labels}
        return {**new, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    if resource is NAMESPACES and old is not None:
        return {**new, "spec": old["spec"]}
    if resource is SECRETS:
        plain = new.pop("stringData", {})
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        data = {**new.get("data", {}), **encoded}
        return {"type": "Opaque", **new, **({"data": data} if data else {})}
    return new


def with_status(base: Obj, other: Obj) -> Obj:
    """`base` with the status of `other`."""
    kept = {key: value for key, value in base.items() if key != "status"}
    kept["metadata"] = dict(base["metadata"])
    return {**kept, "status": other["status"]} if "status" in other else kept


def wanted(resource: Resource, obj: Obj) -> Obj:
    """What a change of raises the generation."""
    ignored = ("metadata", "status") if resource.has_status else ("metadata",)
    return {key: value for key, value in obj.items() if key not in ignored}


def _check_kind(resource: Resource, body: Any) -> None:
    unrecognized = f"the object provided is unrecognized (must be of type {resource.kind}): "
    if not isinstance(body, dict):
        raise errors.bad_request(unrecognized + "the body must be a JSON object")
    kind, version = body.get("kind"), body.get("apiVersion")
    if not kind:
        raise errors.bad_request(unrecognized + "Object 'Kind' is missing")
    if version != resource.api_version:
        message = (
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
        raise errors.bad_request(message)
    if kind != resource.kind:
        name = (body.get("metadata") or {}).get("name", "")
        message = f'Invalid value: "{kind}": must be {resource.kind}'
        cause = errors.Cause("FieldValueInvalid", "kind", message)
        raise errors.invalid(resource.group, kind, name, [cause])


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
