"""Reads: one object, a page of a list, and their forms (whole, Table, metadata only)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from fractal_dev.kube import errors, selectors, tables
from fractal_dev.kube.bodies import as_version
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.paths import Target
from fractal_dev.kube.registry import Registry


def selected(target: Target, query: Mapping[str, str]) -> selectors.Test:
    """The request's label and field selectors, and its name, as one test."""
    known = target.resource.fields | {"metadata.name"}
    if target.resource.namespaced:
        known |= {"metadata.namespace"}
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""), known)

    def matches(obj: Obj) -> bool:
        named = not target.name or obj["metadata"]["name"] == target.name
        return named and by_label(obj) and by_field(obj)

    return matches


def page(registry: Registry, target: Target, query: Mapping[str, str]) -> tuple[list[Obj], Obj]:
    """Returns a page of objects and the list's metadata. Raises ApiError 400 for a bad query.

    Later pages show the objects as they are by then, not as they were at the first page; the
    resourceVersion stays the first page's, so that a watch from it misses nothing.
    """
    resource, store = target.resource, registry.store
    matches = selected(target, query)
    limit = number(query, "limit")
    version, after = store.version, ("", "")
    if token := query.get("continue"):
        version, after = _read_token(token)
    found = [
        as_version(resource, obj)
        for obj in store.list(resource.storage, target.namespace)
        if _place(obj) > after and matches(obj)
    ]
    meta: Obj = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        meta["continue"] = _token(version, _place(found[limit - 1]))
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return found, meta


def number(query: Mapping[str, str], name: str) -> int:
    """The query parameter as a number, 0 without one; raises ApiError 400."""
    text = query.get(name) or "0"
    try:
        return int(text)
    except ValueError:
        raise errors.bad_request(f'{name}: Invalid value: "{text}": invalid syntax') from None


def as_list(
    target: Target, objects: list[Obj], meta: Obj, accept: str, query: Mapping[str, str]
) -> Obj:
    """A list in the form that the Accept header asks for."""
    if "as=Table" in accept:
        include = query.get("includeObject", "Metadata")
        return tables.table(target.resource.columns, objects, meta, include, heads=True)
    if "as=PartialObjectMetadataList" in accept:
        kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        objects = [tables.partial(obj) for obj in objects]
    else:
        kind, version = f"{target.resource.kind}List", target.resource.api_version
    return {"apiVersion": version, "kind": kind, "metadata": meta, "items": objects}


def as_one(
    target: Target, obj: Obj, accept: str, query: Mapping[str, str], *, heads: bool = True
) -> Obj:
    """One object, also one of a watch, in the form that the Accept header asks for."""
    if "as=Table" in accept:
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        include = query.get("includeObject", "Metadata")
        return tables.table(target.resource.columns, [obj], meta, include, heads=heads)
    return tables.partial(obj) if "as=PartialObjectMetadata" in accept else obj


def _place(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _token(version: int, last: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *last]).encode()).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError) as error:
        raise errors.bad_request(f"invalid continue token: {error}") from error
