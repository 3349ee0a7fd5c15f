"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fractal_dev.kube import errors

Test = Callable[[errors.Obj], bool]

_SET = re.compile(r"\s*([\w./-]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUALS = re.compile(r"\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([\w./-]+)\s*")


def labels(selector: str) -> Test:
    """Compiles `a=b,c!=d,e in (f,g),h notin (i),j,!k`; raises ApiError 400 when it is none."""
    tests = [_label(part) for part in _split(selector)]

    def matches(obj: errors.Obj) -> bool:
        have: dict[str, str] = obj["metadata"].get("labels", {})
        return all(test(have) for test in tests)

    return matches


def fields(selector: str, known: frozenset[str]) -> Test:
    """Compiles `metadata.name=x,type!=y`; raises ApiError 400 for a field not in `known`."""
    wanted = [_field(part, known) for part in _split(selector)]

    def matches(obj: errors.Obj) -> bool:
        return all((_value(obj, path) == value) is equal for path, value, equal in wanted)

    return matches


def _split(selector: str) -> list[str]:
    return [part for part in re.split(r",(?![^()]*\))", selector) if part.strip()]


def _label(part: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.fullmatch(part):
        key, wanted_in = found[1], found[2] == "in"
        values = {value.strip() for value in found[3].split(",")}
        # "notin" and "!=" also hold where the label is absent, "in" does not.
        return lambda have: (have.get(key) in values) is wanted_in
    if found := _EQUALS.fullmatch(part):
        key, equal, value = found[1], found[2] != "!=", found[3]
        return lambda have: (have.get(key) == value) is equal
    if found := _EXISTS.fullmatch(part):
        key, wanted = found[2], not found[1]
        return lambda have: (key in have) is wanted
    raise errors.bad_request(f"unable to parse requirement: {part.strip()!r}")


def _field(part: str, known: frozenset[str]) -> tuple[str, str, bool]:
    found = re.fullmatch(r"\s*([\w.]+)\s*(==|=|!=)\s*(.*?)\s*", part)
    if not found:
        raise errors.bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    if found[1] not in known:
        raise errors.bad_request(f"field label not supported: {found[1]}")
    return found[1], found[3], found[2] != "!="


def _value(obj: errors.Obj, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
