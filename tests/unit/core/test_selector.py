"""Label selectors, held against what the API stand-in makes of the same text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_dev.kube import selectors
from fractal_operator.core.selector import Selector, parse

LABELS = [
    {},
    {"team": "a"},
    {"team": "b", "tier": "test"},
    {"team": "", "example.com/shard": "7"},
    {"tier": "prod", "example.com/shard": "8"},
]
TERMS = [
    "team=a",
    "team==b",
    "team!=a",
    "team=",
    "team in (a, b)",
    "tier notin (test)",
    "tier notin (test,prod)",
    "team",
    "!team",
    "example.com/shard in (7)",
]


@given(st.lists(st.sampled_from(TERMS), max_size=3))
def test_it_selects_what_the_api_server_selects(terms: list[str]) -> None:
    selector = parse(",".join(terms))
    served = selectors.labels(str(selector))
    for labels in LABELS:
        assert selector.selects(labels) is served({"metadata": {"labels": labels}}), labels
    assert parse(str(selector)) == selector


def test_the_text_is_what_kubernetes_reads() -> None:
    text = " team in ( a ,b,a ) ,tier!=test, !x, x.example.com/y == z"
    assert str(parse(text)) == "team in (a,b),tier!=test,!x,x.example.com/y=z"
    assert str(parse("")) == str(Selector()) == ""
    assert not parse("  ")
    assert parse("team")
    assert Selector().selects(None)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("team=a,", ""),
        ("team=a,,tier=b", ""),
        ("team in ()", "team in ()"),
        ("team in (a b)", "team in (a b)"),
        ("team in (a", "team in (a"),
        ("team>1", "team>1"),
        ("-team=a", "-team=a"),
        (f"team={'a' * 64}", f"team={'a' * 64}"),
        ("Example.com/team=a", "Example.com/team=a"),
    ],
)
def test_what_is_no_selector_is_refused(text: str, term: str) -> None:
    with pytest.raises(ValueError, match=r"^'.*' is no term of a label selector$") as caught:
        parse(text)
    assert str(caught.value).startswith(repr(term))
