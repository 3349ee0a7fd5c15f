"""How the operator hears of changes in ECS: from a queue of task events, and by sweeps. Pure."""

from pydantic import Field
from pydantic_settings import BaseSettings

QUEUE_URL = r"^https?://[A-Za-z0-9.:-]+/\d{12}/[A-Za-z0-9_-]{1,80}$"


class EventSettings(BaseSettings):
    """The part of ``Settings`` that says where task events come from."""

    sqs_queue_url: str | None = Field(
        None,
        description="SQS queue of this installation's task events, by an EventBridge rule "
        "(docs/events.md). While it works, sweeps are an audit. Unset: sweeps alone tell what ECS "
        "does.",
        pattern=QUEUE_URL,
        json_schema_extra={"allowed": "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME; no FIFO"},
    )
    sqs_pollers: int = Field(
        2, description="Calls that wait for messages of the queue at the same time.", ge=1, le=4
    )
    audit_seconds: float = Field(
        600.0,
        description="Seconds between two sweeps while task events can be relied on; not below "
        "`FRACTAL_SWEEP_SECONDS`.",
        ge=60,
        le=600,
    )
