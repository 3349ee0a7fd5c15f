"""The allow-list: what an object may name, by namespace. docs/allow-lists.md explains it.

A pattern must match the whole value; upper and lower case differ. ``*`` stands for any characters
or none, ``?`` for exactly one; before the pattern's first slash neither stands for a slash, so that
a registry's host cannot be stretched into another's path. ``*`` alone matches everything. That is
all, so that the API server's CEL can be given the same patterns (_helpers.tpl of the chart).
"""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the namespaces that match ``namespaces`` may name: patterns, a list for each field."""

    namespaces: tuple[str, ...]
    regions: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    task_roles: tuple[str, ...] = ()
    execution_roles: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    adoptable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allow:
    """All rules. None: everything but adoption is allowed; one: only what a rule allows."""

    rules: tuple[Rule, ...] = ()

    def of(self, namespace: str) -> tuple[Rule, ...]:
        """The rules that count in a namespace; it may name what any of them allows."""
        return tuple(rule for rule in self.rules if matches(rule.namespaces, namespace))


def matches(patterns: tuple[str, ...], value: str) -> bool:
    """Whether any pattern matches the whole of ``value``."""
    return any(_expression(pattern).fullmatch(value) for pattern in patterns)


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    """A glob as an expression whose matching takes no more than pattern times value steps.

    People choose the values: an expression that goes back over every ``*`` would take hours for
    some. ``(?>`` keeps the first place where what stands between two stars was found; a later one
    never helps (``fnmatch`` says why). A slash ends all that stands before it, so the host's last
    star needs no second place, either.
    """
    if pattern == "*":
        return re.compile(".*", re.DOTALL)
    host, slash, path = pattern.partition("/")
    return re.compile(f"(?>{_translated(host, '[^/]')}{slash}){_translated(path, '.')}", re.DOTALL)


def _translated(text: str, character: str) -> str:
    first, *rest = (
        "".join(character if each == "?" else re.escape(each) for each in part)
        for part in text.split("*")
    )
    if not rest:
        return first
    *between, last = rest
    found = "".join(f"(?>{character}*?{part})" for part in between)
    return f"{first}{found}{character}*{last}"
