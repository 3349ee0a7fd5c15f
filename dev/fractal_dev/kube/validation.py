"""Validation of custom resources against their structural schemas.

CEL rules are not evaluated. Texts and order of the errors follow k8s.io/apiextensions-apiserver
1.36.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaValidator, core_schema

from fractal_dev.kube.errors import Cause
from fractal_dev.kube.schema import Schema

_INT_OR_STRING = "x-kubernetes-int-or-string"
_RULES = "x-kubernetes-validations"
# The failures after which a server does not go on to CEL rules.
_BLOCKING = frozenset(
    {
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
        "FieldValueNotSupported",
    }
)


def validate(obj: Schema, schema: Schema) -> list[Cause]:
    """Returns every way in which `obj` breaks the root `schema`; an empty list when it does not."""
    causes = [*_node(obj, schema, ""), *_lists(obj, schema, "")]
    if _has_rules(schema) and any(cause.reason in _BLOCKING for cause in causes):
        why = (
            "Invalid value: null: some validation rules were not checked because the object was "
            "invalid; correct the existing errors to complete validation"
        )
        causes.append(Cause("FieldValueInvalid", "<nil>", why))
    return causes


def _has_rules(schema: Schema) -> bool:
    return _RULES in schema or any(
        _has_rules(inner)
        for inner in (
            *schema.get("properties", {}).values(),
            schema.get("items"),
            schema.get("additionalProperties"),
        )
        if isinstance(inner, dict)
    )


def _node(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """A node and all below it; lists that are sets or maps are `_lists`' matter."""
    if value is None and schema.get("nullable"):
        return
    yield from _type(value, schema, path)
    yield from _combinations(value, schema, path)
    yield from _enum(value, schema, path)
    match value:
        case str():
            yield from _string(value, schema, path)
        case bool() | None:
            pass
        case int() | float():
            yield from _number(value, schema, path)
        case list():
            yield from _array(value, schema, path)
        case dict():
            yield from _object(value, schema, path)
        case _:
            raise TypeError(f"{path}: JSON has no {type(value).__name__}")


def _quoted(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _body(path: str, value: Any, text: str) -> Cause:
    """The form of most errors: `spec.x: Invalid value: 0: spec.x in body should be …`."""
    message = f"Invalid value: {_quoted(value)}: {path} in body {text}"
    return Cause("FieldValueInvalid", path, message)


def _wrong_type(path: str, wanted: str, value: str) -> Cause:
    shown = _quoted(value)
    message = f"Invalid value: {shown}: {path} in body must be of type {wanted}: {shown}"
    return Cause("FieldValueTypeInvalid", path, message)


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _type(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    have = _type_name(value)
    if schema.get(_INT_OR_STRING):
        if have not in ("integer", "string"):
            yield _wrong_type(path, "integer,string", have)
        return
    wanted = schema.get("type")
    if wanted and have != wanted and not (wanted == "number" and have == "integer"):
        yield _wrong_type(path, wanted, have)


def _enum(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        values = ", ".join(_quoted(item) for item in allowed)
        message = f"Unsupported value: {_quoted(value)}: supported values: {values}"
        yield Cause("FieldValueNotSupported", path, message)


def _string(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    most, least, pattern = (
        schema.get("maxLength"),
        schema.get("minLength", 0),
        schema.get("pattern"),
    )
    if most is not None and len(value) > most:
        message = f"Too long: may not be more than {most} bytes"
        yield Cause("FieldValueTooLong", path, message)
    elif len(value) < least:
        yield _body(path, value, f"should be at least {least} chars long")
    elif pattern and not _matches(pattern, value):
        yield _body(path, value, f"should match '{pattern}'")
    check = _FORMATS.get(schema.get("format", ""))
    if check and not check(value):
        yield _wrong_type(path, schema["format"], value)


def _matches(pattern: str, value: str) -> bool:
    """By Rust's regex (pydantic): as in Go's, ``$`` is the very end and ``\\p{…}`` is known."""
    return _expression(pattern).isinstance_python(value)


@lru_cache(maxsize=256)
def _expression(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern))


def _date_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False


def _ipv4(value: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(value))
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {"date-time": _date_time, "ipv4": _ipv4}


def _number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and not -(2**bits) <= value < 2**bits:
        message = (
            f'Invalid value: "": Checked value must be of type integer with format '
            f"{schema['format']} in {path}"
        )
        yield Cause("FieldValueInvalid", "<nil>", message)
    if (most := schema.get("maximum")) is not None:
        if schema.get("exclusiveMaximum"):
            if value >= most:
                yield _body(path, value, f"should be less than {most}")
        elif value > most:
            yield _body(path, value, f"should be less than or equal to {most}")
    if (least := schema.get("minimum")) is not None:
        if schema.get("exclusiveMinimum"):
            if value <= least:
                yield _body(path, value, f"should be greater than {least}")
        elif value < least:
            yield _body(path, value, f"should be greater than or equal to {least}")
    if (factor := schema.get("multipleOf")) and value % factor:
        yield _body(path, value, f"should be a multiple of {factor}")


def _too_many(path: str, have: int, most: int) -> Cause:
    message = f"Too many: {have}: must have at most {most} items"
    return Cause("FieldValueTooMany", path, message)


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    for index, item in enumerate(value):
        yield from _node(item, schema.get("items", {}), f"{path}[{index}]")
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    if len(value) < (least := schema.get("minItems", 0)):
        yield _body(path, len(value), f"should have at least {least} items")


def _object(value: Schema, schema: Schema, path: str) -> Iterator[Cause]:
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for key, item in value.items():
        inner = known.get(key, rest if isinstance(rest, dict) else None)
        if inner is not None:
            yield from _node(item, inner, f"{path}.{key}" if path else key)
    for key in schema.get("required", ()):
        if key not in value:
            where = f"{path}.{key}" if path else key
            yield Cause("FieldValueRequired", where, "Required value")
    if (most := schema.get("maxProperties")) is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    if len(value) < (least := schema.get("minProperties", 0)):
        yield _body(path, len(value), f"should have at least {least} properties")


def _combinations(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """anyOf, oneOf, allOf, not; a failed choice also tells why its first branch failed."""
    if choices := schema.get("anyOf"):
        failures = [list(_node(value, choice, path)) for choice in choices]
        if all(failures):
            yield _combined(path, "must validate at least one schema (anyOf)")
            yield from failures[0]
    if choices := schema.get("oneOf"):
        failures = [list(_node(value, choice, path)) for choice in choices]
        if (valid := failures.count([])) != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            yield _combined(path, f"must validate one and only one schema (oneOf). {found}")
            yield from failures[0]
    if choices := schema.get("allOf"):
        failures = [list(_node(value, choice, path)) for choice in choices]
        if any(failures):
            for failure in failures:
                yield from failure
            none = ". None validated" if all(failures) else ""
            yield _combined(path, f"must validate all the schemas (allOf){none}")
    if "not" in schema and not any(_node(value, schema["not"], path)):
        yield _combined(path, "must not validate the schema (not)")


def _combined(path: str, text: str) -> Cause:
    return Cause("FieldValueInvalid", "<nil>", f'Invalid value: "": "{path}" {text}')


def _lists(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """Lists that are sets or maps hold no item, or key, twice."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for key, item in value.items():
            inner = known.get(key, rest if isinstance(rest, dict) else {})
            yield from _lists(item, inner, f"{path}.{key}" if path else key)
    if not isinstance(value, list):
        return
    match schema.get("x-kubernetes-list-type"):
        case "set":
            marks = value
        case "map":
            keys = schema.get("x-kubernetes-list-map-keys", ())
            marks = [
                {key: item[key] for key in keys if key in item} if isinstance(item, dict) else item
                for item in value
            ]
        case _:
            marks = []
    for index, mark in enumerate(marks):
        if mark in marks[:index]:
            message = f"Duplicate value: {_quoted(mark)}"
            yield Cause("FieldValueDuplicate", f"{path}[{index}]", message)
    for index, item in enumerate(value):
        yield from _lists(item, schema.get("items", {}), f"{path}[{index}]")
