"""FRACTAL_ALLOW: the allow-list as JSON, read into the core's rules, or its faults. Pure.

The same expressions stand in the chart's values.schema.json. They keep out patterns that match
nothing, such as a role without its account, and quotes, which would end a CEL string.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fractal_operator.core.allow import Rule
from fractal_operator.settings_faults import Fault

WORDS = "a JSON list of rules, docs/allow-lists.md"


class Kind(NamedTuple):
    """What the patterns of one list look like, in an expression and in words."""

    field: str
    expression: str
    words: str


_ROLE = r"\*|arn:[a-z*?-]+:iam::[0-9*?]+:role/[A-Za-z0-9_+=,.@/*?-]+"
_ROLE_WORDS = "* or the pattern of a role's ARN, arn:aws:iam::123456789012:role/app-*"
KINDS: Mapping[str, Kind] = {
    "namespaces": Kind("namespaces", r"[a-z0-9*?-]{1,63}", "* or a pattern of namespaces, team-*"),
    "regions": Kind("regions", r"[a-z0-9*?-]{1,32}", "* or a pattern of regions, eu-*"),
    "clusters": Kind(
        "clusters",
        r"(arn:[a-z*?-]+:ecs:[a-z0-9*?-]+:[0-9*?]+:cluster/)?[A-Za-z0-9_*?-]{1,255}",
        "* or a pattern of cluster names or ARNs, apps-*",
    ),
    "taskRoles": Kind("task_roles", _ROLE, _ROLE_WORDS),
    "executionRoles": Kind("execution_roles", _ROLE, _ROLE_WORDS),
    "subnets": Kind("subnets", r"\*|subnet-[0-9a-z*?]+", "* or a subnet's id, subnet-0a1b2c3d"),
    "securityGroups": Kind(
        "security_groups", r"\*|sg-[0-9a-z*?]+", "* or a security group's id, sg-0a1b2c3d"
    ),
    "images": Kind(
        "images",
        r"[A-Za-z0-9*?][A-Za-z0-9._:/#@*?-]{0,329}",
        "* or a pattern of images as they are written, registry.example.com/team/*",
    ),
    "adoptable": Kind(
        "adoptable",
        r"\*|arn:[a-z*?-]+:ecs:[a-z0-9*?-]+:[0-9*?]+:task/[A-Za-z0-9_/*?-]+",
        "* or the pattern of a task's ARN, arn:aws:ecs:us-east-1:123456789012:task/apps/*",
    ),
}
"""A rule's lists, by their name in JSON."""


def read_rules(text: Any) -> tuple[Rule, ...]:
    """The rules that FRACTAL_ALLOW holds; raises ``Fault`` that names everything wrong with them.

    Anything but text is taken as rules already.
    """
    if not isinstance(text, str):
        return tuple(text)
    try:
        given = json.loads(text, object_pairs_hook=_object)
    except ValueError as error:
        raise Fault(f"not JSON ({error}); allowed: {WORDS}") from None
    if not isinstance(given, list):
        raise Fault(f"not a list; allowed: {WORDS}")
    faults = [fault for number, rule in enumerate(given, 1) for fault in _faults(number, rule)]
    if faults:
        raise Fault("; ".join(faults))
    return tuple(
        Rule(**{KINDS[name].field: tuple(patterns) for name, patterns in rule.items()})
        for rule in given
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that stands twice would silently lose a list."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one rule")
    return found


def _faults(number: int, rule: Any) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield f"rule {number} is not an object"
        return
    if not rule.get("namespaces"):
        yield f'rule {number} names no namespaces; for all of them: "namespaces": ["*"]'
    for name, patterns in rule.items():
        if name not in KINDS:
            close = difflib.get_close_matches(name, KINDS, n=1)
            hint = f"did you mean {close[0]}?" if close else "there are " + ", ".join(KINDS)
            yield f"rule {number}: there is no list {name}; {hint}"
        elif not isinstance(patterns, list):
            yield f"rule {number}: {name} is not a list"
        else:
            kind = KINDS[name]
            for each in patterns:
                if not isinstance(each, str) or not re.fullmatch(kind.expression, each):
                    shown = json.dumps(each, ensure_ascii=False)
                    yield f"rule {number}: {shown} is not allowed in {name}; allowed: {kind.words}"
