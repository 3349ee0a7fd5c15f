"""AWS errors as the stand-in answers them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class AwsError(Exception):
    """An error answer of the AWS JSON 1.1 protocol; ``extra`` are the error's own members."""

    code: str
    message: str
    status: int = 400
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the error as the JSON object that SDKs parse."""
        return {"__type": self.code, "message": self.message, **self.extra}


def invalid_parameter(message: str) -> AwsError:
    """Return ECS's answer to a parameter that it understands and refuses."""
    return AwsError("InvalidParameterException", message)


def client_error(message: str) -> AwsError:
    """Return ECS's answer to a request about a resource that it cannot use."""
    return AwsError("ClientException", message)
