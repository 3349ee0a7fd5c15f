"""The quotas of the account, where AWS has given it others than the documented ones. Pure."""

import re
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_settings import BaseSettings, NoDecode

from fractal_helpers.aws.limits import QUOTAS, Quota
from fractal_operator.settings_faults import Fault, split_list

WORDS = (
    "GROUP=BURST/RATE, comma-separated, such as fargate-launch=500/100; a burst from 1, a rate "
    f"above 0; the groups are {', '.join(QUOTAS)}"
)
_NUMBER = "[0-9]{1,6}([.][0-9]{1,3})?"
PATTERN = f"^[a-z0-9-]+={_NUMBER}/{_NUMBER}$"
_SCHEMA = {"type": "array", "items": {"type": "string", "pattern": PATTERN}}


def read_quotas(value: Any) -> tuple[tuple[str, Quota], ...]:
    """Quotas by group from text; raises Fault for one that cannot be used."""
    if not isinstance(value, str):
        return tuple(value)
    found: dict[str, Quota] = {}
    for item in split_list(value):
        if not re.fullmatch(PATTERN, item):
            raise Fault(f"{item!r} is not allowed; allowed: {WORDS}")
        group, burst, rate = re.split("[=/]", item)
        if group not in QUOTAS:
            raise Fault(f"{group!r} is no quota group; allowed: {WORDS}")
        if group in found:
            raise Fault(f"{group!r} is named twice")
        try:
            found[group] = Quota(float(burst), float(rate))
        except ValueError:
            raise Fault(f"{item!r} is not allowed; allowed: {WORDS}") from None
    return tuple(found.items())


class QuotaSettings(BaseSettings):
    """The part of ``Settings`` that says what the account may ask of AWS."""

    quotas: Annotated[
        tuple[tuple[str, Quota], ...],
        NoDecode,
        PlainValidator(read_quotas),
        WithJsonSchema(_SCHEMA),
    ] = Field(
        (),
        description="Quotas of the AWS account and region that are not those which AWS documents, "
        "as calls at once and calls a second; `FRACTAL_QUOTA_SHARE` of each is used.",
        json_schema_extra={"allowed": WORDS},
    )
