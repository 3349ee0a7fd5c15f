"""Which objects this installation looks after: its namespaces, its labels, its name. Pure."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_settings import BaseSettings, NoDecode

from fractal_operator.core import selector
from fractal_operator.core.selector import Selector
from fractal_operator.settings_faults import Fault, split_list

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
SELECTOR_WORDS = (
    "terms such as team=a, tier!=test, team in (a,b), team notin (c), team, !team; comma-separated"
)


def _split(value: Any) -> Any:
    return split_list(value) if isinstance(value, str) else value


def _read_selector(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value
    try:
        return selector.parse(value)
    except ValueError as error:
        raise Fault(f"{error}; allowed: {SELECTOR_WORDS}") from None


class WatchSettings(BaseSettings):
    """The part of ``Settings`` that says whose objects these are."""

    namespaces: Annotated[
        tuple[Annotated[str, Field(pattern=DNS_LABEL)], ...], NoDecode, BeforeValidator(_split)
    ] = Field(
        (),
        description="Kubernetes namespaces to watch. Empty: all of them.",
        json_schema_extra={"allowed": "namespace names, comma-separated"},
    )
    label_selector: Annotated[Selector, NoDecode, PlainValidator(_read_selector)] = Field(
        Selector(),
        description="Labels of the FractalContainers to watch, as Kubernetes writes a label "
        "selector. Empty: all of them. For several installations beside each other "
        "(docs/splitting.md).",
        json_schema_extra={"allowed": SELECTOR_WORDS},
    )
