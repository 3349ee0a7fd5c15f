"""Structural schemas of custom resources: pruning and defaulting.

What Kubernetes calls structural is assumed: one type a node, no $ref.
"""

from __future__ import annotations

import copy
from typing import Any

Schema = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# Pruned and defaulted by the server itself, whatever the schema says.
_OWN = frozenset({"apiVersion", "kind", "metadata"})


def prune(obj: Schema, schema: Schema) -> list[str]:
    """Removes from `obj`, in place, what the root `schema` does not know; returns those paths."""
    unknown: list[str] = []
    _prune(obj, schema, "", unknown, root=True)
    return sorted(unknown)


def _prune(value: Any, schema: Schema, path: str, unknown: list[str], *, root: bool) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _prune(item, schema.get("items", {}), f"{path}[{index}]", unknown, root=False)
        return
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for key in list(value):
        here = f"{path}.{key}" if path else key
        if root and key in _OWN:
            continue
        if key in known:
            _prune(value[key], known[key], here, unknown, root=False)
        elif isinstance(rest, dict):
            _prune(value[key], rest, here, unknown, root=False)
        elif not (rest is True or schema.get(_PRESERVE)):
            del value[key]
            unknown.append(here)


def default(value: Any, schema: Schema) -> None:
    """Fills defaults in, in place; a null where none is allowed counts as absent."""
    if isinstance(value, list):
        for item in value:
            default(item, schema.get("items", {}))
        return
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for key in list(value):
        inner = known.get(key, rest if isinstance(rest, dict) else None)
        if inner is not None and value[key] is None and not inner.get("nullable"):
            del value[key]
    for key, inner in known.items():
        if key not in value and "default" in inner:
            value[key] = copy.deepcopy(inner["default"])
    for key, item in value.items():
        default(item, known.get(key, rest if isinstance(rest, dict) else {}))
