"""What is wrong with a setting, in one line: the variable, the value, what is allowed. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails


class Fault(ValueError):
    """A validator's own words about a value; they are told as they are."""


def split_list(value: str) -> list[str]:
    """Split at commas; blanks around items and empty items do not count."""
    return [item.strip() for item in value.split(",") if item.strip()]


def unknown(name: str, names: Iterable[str]) -> str:
    """Say that no setting is called ``name``, and which of ``names`` may have been meant."""
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "docs/settings.md lists those that exist"
    return f"{name}: there is no such setting; {hint}"


def fault(
    details: ErrorDetails,
    values: Mapping[str, str],
    variables: Mapping[str, str],
    fields: Mapping[str, FieldInfo],
) -> str:
    """Say what pydantic's ``details`` mean. ``values`` and ``variables`` are keyed by field name.

    A secret's value is never shown. A ``Fault`` and a rule about several settings speak for
    themselves.
    """
    if not details["loc"]:
        return str(details["ctx"]["error"])
    name = str(details["loc"][0])
    field = fields[name]
    told = details.get("ctx", {}).get("error")
    if isinstance(told, Fault):
        return f"{variables[name]}: {told}"
    shown = "the value (not shown)" if _is_secret(field) else repr(_culprit(details, values[name]))
    return f"{variables[name]}: {shown} is not allowed; allowed: {what_is_allowed(field)}"


def what_is_allowed(field: FieldInfo) -> str:
    """Say which values ``field`` takes: its own words, its choices, or its bounds."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    if choices := _choices(field.annotation):
        return "one of " + ", ".join(choices)
    bounds = {type(bound).__name__: bound for bound in field.metadata}
    kind = "a whole number" if field.annotation is int else "a number"
    if "Gt" in bounds:
        return f"{kind} above {bounds['Gt'].gt}, up to {bounds['Le'].le}"
    return f"{kind} from {bounds['Ge'].ge} to {bounds['Le'].le}"


def _culprit(details: ErrorDetails, value: str) -> str:
    """Return the item of a list that is wrong, or the whole value."""
    index = details["loc"][1] if len(details["loc"]) > 1 else None
    return split_list(value)[index] if isinstance(index, int) else value


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in repr(field.annotation)


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    return next((found for each in get_args(annotation) if (found := _choices(each))), ())
