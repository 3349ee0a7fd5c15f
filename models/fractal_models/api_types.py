"""What the models of FractalContainer are made of: base class, rules, and the kinds of fields.

A cross-field rule is written once, as a :class:`Rule`: pydantic checks its predicate, the API
server its CEL expression (Kubernetes >= 1.25), and both show the same message.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

FieldInfo = Any
"""What pydantic's ``Field`` returns; pydantic itself annotates it as Any."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule: ``message`` is shown when ``cel`` or ``holds`` is false.

    ``cel`` sees the model's JSON object as ``self``; ``holds`` gets the pydantic model. Both must
    agree: tests/e2e/test_admission.py compares them over a table.
    """

    message: str
    cel: str
    holds: Callable[[Any], bool]


def without_nulls(data: Any) -> Any:
    """A JSON object without its null values; anything else as it is."""
    if isinstance(data, Mapping) and None in data.values():
        return {key: value for key, value in data.items() if value is not None}
    return data


class ApiModel(BaseModel):
    """A frozen JSON object of the API: camelCase names outside, ``null`` the same as absent.

    The API server drops nulls of fields that are not nullable before it validates; so do we.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        rules = [{"rule": r.cel, "message": r.message} for r in cls.RULES]
        if rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = rules
        return schema

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return without_nulls(data)

    @model_validator(mode="after")
    def _keep_the_rules(self) -> Self:
        broken = [rule.message for rule in self.RULES if not rule.holds(self)]
        if broken:
            raise ValueError("; ".join(broken))
        return self


class SpecModel(ApiModel):
    """A part of the spec: unknown fields are refused (the API server prunes them)."""

    model_config = ConfigDict(extra="forbid")


class StatusModel(ApiModel):
    """A part of the status: unknown fields are ignored, since users can edit status."""

    model_config = ConfigDict(extra="ignore")


def _described(prefix: str, text: str, **constraints: Any) -> FieldInfo:
    return Field(description=f"{prefix}: {text}", **constraints)


replaces = partial(_described, "Replaces the task")
"""A field whose change means another task. ``replaces(text, **constraints of pydantic.Field)``."""
next_launch = partial(_described, "Next launch")
"""A field whose change counts when the next task is launched, for whatever reason."""
in_place = partial(_described, "In place")
"""A field whose change takes effect without touching the running task."""


T = TypeVar("T")


def unique_by(*names: str) -> AfterValidator:
    """A validator for a list-map: no two items agree in all the attributes ``names``."""
    key = attrgetter(*names)

    def check(items: tuple[T, ...]) -> tuple[T, ...]:
        _refuse_duplicates(map(key, items))
        return items

    return AfterValidator(check)


def _refuse_duplicates(keys: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for key in keys:
        if key in seen:
            parts = key if isinstance(key, tuple) else (key,)
            raise ValueError("Duplicate value: " + ", ".join(map(str, parts)))
        seen.add(key)


def unique(items: tuple[str, ...]) -> tuple[str, ...]:
    """A validator for a list that is a set: no item stands twice."""
    _refuse_duplicates(items)
    return items


def list_map(*keys: str) -> dict[str, Any]:
    """Schema extras of a list whose items are told apart by ``keys`` (JSON names)."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
