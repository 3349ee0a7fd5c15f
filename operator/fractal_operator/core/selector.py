"""A label selector, as Kubernetes reads it: which objects an installation looks after.

The API server filters by it. It is evaluated here, too, for objects that were read one by one: such
a read is not filtered. Equality and set terms, all of which must hold; ``!=`` and ``notin`` also
hold where the label is absent (https://kubernetes.io/docs/concepts/overview/working-with-objects/
labels/#label-selectors).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KEY = rf"(?:{_DNS}(?:\.{_DNS})*/)?{_NAME}"
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*((?:{_NAME})?)")
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_PRESENCE = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Term:
    """One requirement. ``values`` None: any value will do. ``wanted`` False turns it round."""

    key: str
    values: tuple[str, ...] | None
    wanted: bool = True

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it."""
        has = self.key in labels
        return (has and (self.values is None or labels[self.key] in self.values)) is self.wanted

    def __str__(self) -> str:
        if self.values is None:
            return self.key if self.wanted else f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.wanted else '!='}{self.values[0]}"
        return f"{self.key} {'in' if self.wanted else 'notin'} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of ``terms`` must hold; without any, every object is selected.

    Its text is what the API server is asked with.
    """

    terms: tuple[Term, ...] = ()

    def selects(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is selected."""
        return all(term.holds(labels or {}) for term in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def parse(text: str) -> Selector:
    """The selector that ``text`` is; raises ``ValueError`` that says which term is wrong."""
    parts = [part.strip() for part in _COMMA.split(text)] if text.strip() else []
    return Selector(tuple(map(_term, parts)))


def _term(text: str) -> Term:
    if found := _EQUALITY.fullmatch(text):
        key, operator, value = found.groups()
        return Term(key, (value,), operator != "!=")
    if found := _SET.fullmatch(text):
        key, operator, listed = found.groups()
        values = tuple(dict.fromkeys(value.strip() for value in listed.split(",")))
        if all(re.fullmatch(_NAME, value) for value in values):
            return Term(key, values, operator == "in")
    elif found := _PRESENCE.fullmatch(text):
        absent, key = found.groups()
        return Term(key, None, not absent)
    raise ValueError(f"{text!r} is no term of a label selector")
