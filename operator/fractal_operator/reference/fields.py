"""The fields of the API as rows for people, from the schema that the API server is given.

The schema is the CustomResourceDefinition's: what is told here is what a server enforces.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fractal_models.patterns import WORDS
from fractal_operator.reference.markdown import code

Schema = Mapping[str, Any]

_CHANGES = {"Replaces the task": "R", "Next launch": "N", "In place": "I"}
_RULES = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``change`` is R, N or I in the spec, "" elsewhere; the rest is text for a cell."""

    path: str
    type: str
    default: str
    allowed: str
    change: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """An object of the API, its fields, and the messages of the rules over them."""

    path: str
    about: str
    fields: tuple[Field, ...]
    rules: tuple[str, ...]


def sections(path: str, schema: Schema) -> Iterator[Section]:
    """``schema``'s object, then every object inside it, in the order of the schema."""
    required = schema.get("required", ())
    properties = schema["properties"]
    yield Section(
        path,
        _described(schema)[1],
        tuple(
            _field(f"{path}.{name}", each, required=name in required)
            for name, each in properties.items()
        ),
        tuple(rule["message"] for rule in schema.get(_RULES, ())),
    )
    for name, each in properties.items():
        inner, suffix = (each["items"], "[]") if "items" in each else (each, "")
        if "properties" in inner:
            yield from sections(f"{path}.{name}{suffix}", inner)


def _field(path: str, schema: Schema, *, required: bool) -> Field:
    change, meaning = _described(schema)
    return Field(
        path=path,
        type=_type(schema),
        default="required" if required else _default(schema),
        allowed="; ".join(_allowed(schema)),
        change=change,
        meaning=meaning,
    )


def _described(schema: Schema) -> tuple[str, str]:
    """What an edit does (R, N, I or ""), and the description without its prefix that says so."""
    text: str = schema["description"]
    prefix, _, rest = text.partition(": ")
    change = _CHANGES.get(prefix, "")
    text = rest if change else text
    begins_with_value = text.partition(" ")[0].rstrip(",") in schema.get("enum", ())
    return change, text if begins_with_value else text[:1].upper() + text[1:]


def _type(schema: Schema) -> str:
    match schema["type"]:
        case "array":
            return f"list of {_type(schema['items'])}s"
        case "object" if "additionalProperties" in schema:
            return f"map of {_type(schema['additionalProperties'])}s"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case other:
            return str(other)


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default in (None, {}) else code(str(default))


def _allowed(schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        yield ", ".join(code(each) for each in schema["enum"])
    if schema.get("format") == "date-time":
        yield "RFC 3339, UTC"
    else:
        for unit, least, most in (
            ("", "minimum", "maximum"),
            (" characters", "minLength", "maxLength"),
            (" items", "minItems", "maxItems"),
            (" entries", "minProperties", "maxProperties"),
        ):
            if most in schema and "enum" not in schema:
                low = schema.get(least, 0)
                bound = f"{low} to {schema[most]}" if low or not unit else f"at most {schema[most]}"
                yield bound + unit
    for rule in schema.get(_RULES, ()):
        if rule["message"] in WORDS.values():
            yield rule["message"]
    inner = schema.get("items") or schema.get("additionalProperties")
    if inner is not None and "properties" not in inner:
        yield "each " + ", ".join(_allowed(inner))
