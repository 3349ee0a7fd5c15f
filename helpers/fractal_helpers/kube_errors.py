"""Failed Kubernetes API calls, translated by meaning into :mod:`fractal_models.errors`."""

import json
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

# kubernetes.aio speaks through aiohttp and lets its errors through unwrapped.
from kubernetes.aio.client.rest import aiohttp  # type: ignore[attr-defined]

from fractal_models.errors import (
    AccessDenied,
    Conflict,
    FractalError,
    Gone,
    NotServed,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
)

TransportError: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError, TimeoutError)
"""What kubernetes.aio raises when there is no whole answer. TimeoutError covers asyncio's."""

_MESSAGE_LIMIT = 1024


def from_answer(error: ApiException, what: str, *, write: bool) -> FractalError:
    """Translate an answer that is not 2xx. ``what`` names the call, e.g. "patch a/b"."""
    status = _status_of(error)
    text = f"{what}: {_explain(error, status)}"[:_MESSAGE_LIMIT]
    reason = str(status.get("reason") or error.reason or "")
    match error.status:
        case 404 if (status.get("details") or {}).get("name"):
            return Gone(text)
        case 404:
            # No object is named: the path itself is unknown. Told apart from Gone, because a CRD
            # that is away for a moment must not look as if every object had been deleted.
            return NotServed(f"{text} (is the CustomResourceDefinition installed?)")
        case 409:
            return Conflict(text)
        case 422 if _has_cause(status, "field", "metadata.uid"):
            return Conflict(text)
        case 403 if _has_cause(status, "reason", "NamespaceTerminating"):
            return Gone(text)  # nothing may be created any more; no lack of permission
        case 429:
            return Throttled(text)
        case 401 | 403:
            return AccessDenied(text, code=reason)
        case int(code) if code >= 500:
            return OutcomeUnknown(text) if write else Unavailable(text)
        case _:
            return Rejected(text, code=reason)


def from_transport(error: Exception, what: str, *, write: bool) -> FractalError:
    """Translate a call that got no whole answer; only a failed connect proves nothing was sent."""
    text = f"{what}: {type(error).__name__}: {error}"[:_MESSAGE_LIMIT]
    not_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return OutcomeUnknown(text) if write and not not_sent else Unavailable(text)


def _status_of(error: ApiException) -> dict[str, Any]:
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}  # a proxy's page, or the server's plain "404 page not found"
    return body if isinstance(body, dict) else {}


def _explain(error: ApiException, status: dict[str, Any]) -> str:
    if error.status == 422 and (causes := _causes(status)):
        return "; ".join(
            f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes
        )
    return str(status.get("message") or f"HTTP {error.status} {error.reason}")


def _has_cause(status: dict[str, Any], key: str, value: str) -> bool:
    return any(cause.get(key) == value for cause in _causes(status))


def _causes(status: dict[str, Any]) -> list[dict[str, Any]]:
    return (status.get("details") or {}).get("causes") or []
