"""Failures of the API, in the words that a real API server uses for them.

The texts were compared with Kubernetes 1.20 and 1.36; where those differ the newer one is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an object is invalid: `reason` as in Status causes, the field's path, the text."""

    reason: str
    field: str
    message: str


class ApiError(Exception):
    """A request that is refused; `body()` is the Status object that the client gets."""

    def __init__(self, code: int, reason: str, message: str, details: Obj | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> Obj:
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


class DecodeError(Exception):
    """A body that cannot become an object; create and update wrap the text in different ways."""


def _qualified(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name


def _details(name: str, group: str, kind: str, **more: Any) -> Obj:
    return {
        **({"name": name} if name else {}),
        **({"group": group} if group else {}),
        "kind": kind,
        **more,
    }


def not_found(group: str, plural: str, name: str) -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(name, group, plural))


def already_exists(group: str, plural: str, name: str, *, deleting: bool) -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" already exists'
    prefix = "object is being deleted: " if deleting else ""
    return ApiError(409, "AlreadyExists", prefix + message, _details(name, group, plural))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and "
        "try again"
    )
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(name, group, plural))


def forbidden(group: str, plural: str, name: str, why: str, causes: Sequence[Obj] = ()) -> ApiError:
    details = _details(name, group, plural, **({"causes": list(causes)} if causes else {}))
    message = f'{_qualified(plural, group)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details)


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422; `causes` keep their order, equal ones are said once."""
    said = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    listed = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    message = f'{_qualified(kind, group)} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, _details(name, group, kind, causes=listed))


def invalid_patch(patched: Any, why: str) -> ApiError:
    """422 for a patch whose result cannot be decoded; the server quotes the whole result."""
    shown = json.dumps(json.dumps(patched, separators=(",", ":"), sort_keys=True))
    cause = Cause("FieldValueInvalid", "patch", f"Invalid value: {shown}: {why}")
    error = invalid("", "", "", [cause])
    error.details = {"causes": (error.details or {})["causes"]}
    return error


def unprocessable() -> ApiError:
    """422 for a JSON patch that does not fit the object, a failed `test` among them."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, {})


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def expired(since: int, floor: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {since} ({floor})")


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)


def not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unknown_path() -> ApiError:
    message = "the server could not find the requested resource"
    return ApiError(404, "NotFound", message, {})
