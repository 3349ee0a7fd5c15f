"""The generated specs as lists, and what the model says to one."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck as Health
from hypothesis import Phase, given, seed, settings
from tests.manifests import specs

from fractal_models.container import InvalidSpec, parse_spec
from fractal_models.spec_parts import Placement
from fractal_models.spec_rules import SPEC_RULES
from fractal_models.template import Template
from fractal_models.template_parts import EnvVar, HealthCheck

ONE_OF = {SPEC_RULES[0].message, Placement.RULES[0].message}
"""The rules that servers without CEL keep, too: the schema for them says it by ``oneOf``."""
CEL_ONLY = {
    rule.message
    for rules in (SPEC_RULES, *(model.RULES for model in (Template, EnvVar, HealthCheck)))
    for rule in rules
} - ONE_OF


@dataclass(frozen=True)
class Refusal:
    """What the model says of a spec: its messages, and whether only rules are broken that a server
    without CEL does not know."""

    errors: tuple[str, ...]
    rules_only: bool


def cases(count: int, number: int) -> list[Any]:
    """``count`` generated specs, the same ones for the same ``number``."""
    made: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        derandomize=False,
        suppress_health_check=list(Health),
    )
    @given(specs())
    def collect(spec: Any) -> None:
        made.append(spec)

    collect()
    return made


def refusal(spec: Any) -> Refusal | None:
    """Why the model refuses ``spec``; None: it takes it."""
    try:
        parse_spec(spec)
    except InvalidSpec as error:
        said = [message.partition(": ")[2] for message in error.errors]
        return Refusal(error.errors, all(_only_cel(each) for each in said))
    return None


def _only_cel(text: str) -> bool:
    for message in CEL_ONLY:
        text = text.replace(message, "")
    return text.strip("; ") == ""


def taken_without_cel(spec: Any) -> bool:
    """Whether a server without CEL has to take what it would keep as ``spec``.

    That is what the model takes, or refuses for a CEL rule only; or for a null in a command, which
    is an empty string to such a server.
    """
    refused = refusal(_commands_filled(spec))
    return refused is None or refused.rules_only


def _commands_filled(value: Any, at: str = "") -> Any:
    match value:
        case dict():
            return {name: _commands_filled(each, name) for name, each in value.items()}
        case list() if at == "command":
            return ["" if each is None else each for each in value]
        case list():
            return [_commands_filled(each) for each in value]
        case _:
            return value
