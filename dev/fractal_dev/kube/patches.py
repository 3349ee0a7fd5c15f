"""JSON merge patch (RFC 7386), JSON patch (RFC 6902) and what kubectl needs of strategic merge."""

from __future__ import annotations

import copy
from typing import Any

from fractal_dev.kube import errors

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})


def apply(kind: str, target: errors.Obj, patch: Any) -> errors.Obj:
    """Returns `target` with `patch` of media type `kind` applied; `target` stays as it is.

    Raises ApiError: 400 for what is no patch, 422 for a JSON patch that does not fit the object.
    """
    if kind == JSON:
        return _json_patch(target, patch)
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: the patch must be a JSON object")
    merged = merge(target, _without_directives(patch) if kind == STRATEGIC else patch)
    assert isinstance(merged, dict)
    return merged


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _without_directives(patch: Any) -> Any:
    # The built-in kinds served here merge like RFC 7386 except for lists, which kubectl's
    # own patches of config maps, secrets and namespaces do not touch.
    if not isinstance(patch, dict):
        return patch
    return {
        key: _without_directives(value) for key, value in patch.items() if not key.startswith("$")
    }


def _json_patch(target: errors.Obj, patch: Any) -> errors.Obj:
    if not isinstance(patch, list):
        raise errors.bad_request("error decoding patch: a JSON patch must be a list of operations")
    document: Any = copy.deepcopy(target)
    for operation in patch:
        if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
            raise errors.bad_request(f"invalid operation {operation}: unsupported operation")
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise errors.unprocessable() from error
    if not isinstance(document, dict):
        raise errors.unprocessable()
    return document


def _operate(document: Any, operation: errors.Obj) -> Any:
    """One operation; raises KeyError, IndexError, ValueError or TypeError where it does not fit."""
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            _find(document, path)
            replaced = _remove(document, path) if path else None
            return _add(replaced, path, copy.deepcopy(operation["value"]))
        case "copy":
            found = _find(document, _pointer(operation["from"]))
            return _add(document, path, copy.deepcopy(found))
        case "move":
            source = _pointer(operation["from"])
            found = _find(document, source)
            return _add(_remove(document, source), path, found)
        case _:
            if not _same(_find(document, path), operation["value"]):
                raise ValueError("test failed")
            return document


def _same(left: Any, right: Any) -> bool:
    return bool(left == right and isinstance(left, bool) == isinstance(right, bool))


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError("a JSON pointer starts with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _find(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last)
        if not 0 <= index <= len(parent):
            raise IndexError(last)
        parent.insert(index, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise TypeError(last)
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent, last = _find(document, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document
