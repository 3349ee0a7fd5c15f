"""The merge patch between two statuses, checked against RFC 7386's own pseudo code."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_helpers.merge_patch import merge_diff

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2)
KEYS = st.sampled_from("abcd")


def values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    )


OLD = st.dictionaries(KEYS, values(SCALARS), max_size=4)
NEW = st.dictionaries(KEYS, values(SCALARS.filter(lambda v: v is not None)), max_size=4)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386 section 2, line by line."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def typed(value: Any) -> Any:
    """Python calls True == 1; JSON does not."""
    match value:
        case dict():
            return {key: typed(inner) for key, inner in value.items()}
        case list():
            return [typed(inner) for inner in value]
        case _:
            return (type(value).__name__, value)


@given(OLD, NEW)
def test_applying_the_difference_gives_the_new_object(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert typed(merge_patch(old, merge_diff(old, new))) == typed(new)


@given(NEW)
def test_no_difference_is_an_empty_patch(status: dict[str, Any]) -> None:
    assert merge_diff(status, status) == {}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1, "b": 2}, {"b": 2}, {"a": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": None, "y": 3}}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": None}}),
        ({}, {"a": {}}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": True}, {"a": 1}, {"a": 1}),
        ({"a": "x"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_the_patch_says_only_what_changed(
    old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert typed(merge_diff(old, new)) == typed(patch)
