"""Patterns of the allow-list, and which rules count where."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_operator.core.allow import Allow, Rule, matches

ROLE = "arn:aws:iam::123456789012:role/"


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("team-a", "team-a"),
        ("team-*", "team-"),
        ("team-*", "team-a-b"),
        ("team-?", "team-a"),
        ("*", ""),
        ("*", "registry.example.com/team/app:1"),
        ("*-a", "team-a"),
        ("registry.example.com/team/*", "registry.example.com/team/app/web:1@sha256:00"),
        ("*.example.com/team/*", "registry.example.com/team/app"),
        ("registry.example.com/*/app", "registry.example.com/a/b/app"),
        ("nginx:*", "nginx:1.27"),
        (ROLE + "app-*", ROLE + "app-web"),
        (ROLE + "team/*", ROLE + "team/app/web"),
        ("arn:aws:iam::*:role/app", "arn:aws:iam::210987654321:role/app"),
        ("registry.example.com/a+b/*", "registry.example.com/a+b/c"),
    ],
)
def test_a_pattern_matches(pattern: str, value: str) -> None:
    assert matches((pattern,), value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("team-a", "team-ab"),
        ("team-a", "xteam-a"),
        ("team-a", "Team-a"),
        ("team-?", "team-"),
        ("team-?", "team-ab"),
        ("a.c", "abc"),
        ("[ab]", "a"),
        ("team-a", "team-a\n"),
        ("registry.example.com*", "registry.example.com.evil.org/app"),
        ("*.example.com/team/*", "evil.org/x.example.com/team/app"),
        ("nginx:*", "nginx:5000/app"),
        ("nginx*", "nginx.evil.org/app"),
        ("nginx?*", "nginx/evil"),
        ("nginx", "docker.io/library/nginx"),
        ("registry.example.com/team/*", "REGISTRY.example.com/team/app"),
        ("registry.example.com/team/*", "registry.example.com:5000/team/app"),
        (ROLE + "app-*", ROLE + "admin"),
        (ROLE + "app-*", "app-web"),
        ("arn:aws:iam::*:role/app-*", "arn:aws:iam::1:role/x:role/app-y"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, value: str) -> None:
    assert not matches((pattern,), value)


def test_one_pattern_of_several_is_enough_and_none_is_not() -> None:
    assert matches(("a", "b"), "b")
    assert not matches((), "b")


@given(st.text())
def test_a_star_matches_everything_and_text_without_wildcards_itself(value: str) -> None:
    assert matches(("*",), value)
    plain = value.replace("*", "").replace("?", "")
    assert matches((plain,), plain)
    assert not matches((plain,), plain + "x")


def test_a_namespace_gets_every_rule_that_names_it() -> None:
    one, two = Rule(namespaces=("team-*", "ops")), Rule(namespaces=("team-a",))
    allow = Allow((one, two))
    assert allow.of("team-a") == (one, two)
    assert allow.of("ops") == (one,)
    assert allow.of("else") == ()


def backtracking(pattern: str) -> re.Pattern[str]:
    """The plainest expression for a pattern, as the chart gives it to RE2."""
    if pattern == "*":
        return re.compile(".*", re.DOTALL)
    host, slash, path = pattern.partition("/")
    return re.compile(plain(host, "[^/]") + slash + plain(path, "."), re.DOTALL)


def plain(text: str, character: str) -> str:
    wild = {"*": f"{character}*", "?": character}
    return "".join(wild.get(each) or re.escape(each) for each in text)


@settings(max_examples=1000)
@given(st.text("*?ab/", max_size=8), st.text("ab/\n", max_size=9))
def test_no_verdict_differs_from_that_of_the_plainest_expression(pattern: str, value: str) -> None:
    assert matches((pattern,), value) == bool(backtracking(pattern).fullmatch(value))


@pytest.mark.parametrize("end", ["", "/app"])
@pytest.mark.parametrize("between", ["-", "-?", "?-?"])
def test_no_value_makes_a_pattern_with_many_stars_go_back_over_them(between: str, end: str) -> None:
    """Trying all places of 30 stars in 2,000 dashes takes longer than the universe is old."""
    hostile, pattern = "-" * 2000, f"*{between}" * 30
    assert not matches((f"{pattern}*x{end}",), hostile + end)
    assert not matches((f"{ROLE}{pattern}*x{end}",), ROLE + hostile + end)
    assert matches((f"{ROLE}{pattern}*-{end}",), ROLE + hostile + end)
