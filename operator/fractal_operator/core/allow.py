"""The allow-list: what an object may name, by namespace. docs/allow-lists.md explains it.

A pattern holds letters, digits, ``*`` (any characters, or none) and ``?`` (exactly one); it must
match the whole value, and upper and lower case differ. A slash and a dot are characters like any
other. That is all, so that the API server's CEL can be given the same patterns.
"""

import re
from dataclasses import dataclass, field
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

    rules: tuple[Rule, ...] = field(default=())

    def of(self, namespace: str) -> tuple[Rule, ...]:
        """The rules that count in a namespace; it may name what any of them allows."""
        return tuple(rule for rule in self.rules if matches(rule.namespaces, namespace))


def matches(patterns: tuple[str, ...], value: str) -> bool:
    """Whether any pattern matches the whole of ``value``."""
    return any(_expression(pattern).fullmatch(value) for pattern in patterns)


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(each) or re.escape(each) for each in pattern), re.DOTALL)
