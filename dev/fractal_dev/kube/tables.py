"""Printer columns: what `kubectl get` shows, computed by the server (meta.k8s.io/v1 Table)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fractal_dev.kube.errors import Obj

_STEP = re.compile(
    r"""\.?\[\?\(@\.(?P<key>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]"""
    r"""|\.?\[(?P<index>-?\d+|\*)\]|\.?\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\.(?P<name>(?:\\.|[^.\[\\])+)"""
)


@dataclass(frozen=True, slots=True)
class Column:
    """`path` is a JSONPath, or, for built-in kinds, what computes the cell."""

    name: str
    path: str | Callable[[Obj], Any]
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def definition(self) -> Obj:
        about = "Custom resource definition column (in JSONPath format): "
        described = about + self.path if isinstance(self.path, str) else self.name
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or described,
            "priority": self.priority,
        }

    def cell(self, obj: Obj) -> Any:
        if not isinstance(self.path, str):
            return self.path(obj)
        found = find(obj, self.path)
        return _cell(self.type, found[0]) if found else None


NAME = Column(
    "Name", lambda obj: obj["metadata"]["name"], format="name", description="The object's name."
)
AGE = Column("Age", ".metadata.creationTimestamp", "date")


def find(obj: Any, path: str) -> list[Any]:
    """Every value at `path`, which is the part of JSONPath that a CRD's columns may use."""
    values, position = [obj], 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        values = [found for value in values for found in _step(value, step)]
        position = step.end()
    return values


def _step(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["quoted"] or (step["name"] and re.sub(r"\\(.)", r"\1", step["name"]))
    if name:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list):
        return []
    if step["key"]:
        return [item for item in value if find(item, "." + step["key"]) == [step["value"]]]
    if step["index"] == "*":
        return value
    index = int(step["index"])
    return [value[index]] if -len(value) <= index < len(value) else []


def _cell(kind: str, value: Any) -> Any:
    match kind:
        case "string":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        case "integer" | "number":
            whole = isinstance(value, int | float) and not isinstance(value, bool)
            return (int(value) if kind == "integer" else value) if whole else None
        case "date":
            return since(value)
        case _:
            return value if isinstance(value, bool) else None


def since(timestamp: Any) -> str | None:
    """How long ago an RFC 3339 time was, as kubectl writes it: 5s, 3m20s, 2h, 4d."""
    if not timestamp:
        return None
    try:
        then = datetime.fromisoformat(str(timestamp))
        seconds = int((datetime.now(UTC) - then).total_seconds())
    except (ValueError, TypeError):
        return "<invalid>"
    return _duration(max(seconds, 0)) if seconds > -2 else "<invalid>"


def _duration(seconds: int) -> str:
    # The steps of k8s.io/apimachinery/pkg/util/duration.HumanDuration.
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, unit: str, small: int, rest: str) -> str:
    return f"{large}{unit}{small}{rest}" if small else f"{large}{unit}"


def table(
    columns: Sequence[Column], objects: Sequence[Obj], metadata: Obj, include: str, *, heads: bool
) -> Obj:
    """A Table of `objects`; `include` is the request's includeObject: Metadata, Object or None.

    A watch sends its columns with the first event only (`heads`), as real servers do.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [column.definition() for column in columns] if heads else None,
        "rows": [
            {"cells": [column.cell(obj) for column in columns], "object": _included(obj, include)}
            for obj in objects
        ],
    }


def _included(obj: Obj, include: str) -> Obj | None:
    if include == "None":
        return None
    return obj if include == "Object" else partial(obj)


def partial(obj: Obj) -> Obj:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
