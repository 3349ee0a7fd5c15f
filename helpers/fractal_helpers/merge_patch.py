"""RFC 7386 merge patches between two JSON objects. Pure."""

from collections.abc import Mapping
from typing import Any


def merge_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the smallest merge patch that turns ``old`` into ``new``; {} when they are the same.

    Both are JSON objects. No value of ``new`` may be null: a merge patch cannot say so, null in it
    means "remove this key" (RFC 7386 section 1). Lists are replaced whole.
    """
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if changes := merge_diff(before, value):
                patch[key] = changes
        elif key not in old or not _same(before, value):
            patch[key] = value
    return patch


def _same(left: Any, right: Any) -> bool:
    # Python calls True == 1 == 1.0, JSON does not; only the first of the two matters to an API.
    match left, right:
        case dict(), dict():
            return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
        case list(), list():
            return len(left) == len(right) and all(map(_same, left, right))
        case _:
            return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)
