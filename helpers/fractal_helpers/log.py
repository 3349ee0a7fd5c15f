"""Structured logs on the standard library: one JSON object a line, or text on a terminal.

    {"ts": "…Z", "level": "info", "logger": "…", "message": "…", "namespace": …, "name": …, …}

``fractal_log`` passes fields; code that uses ``logging`` itself passes ``extra={"fields": {…}}``
(a key of its own, because ``extra={"name": …}`` clashes with the record's own attributes). Every
string is redacted before it is written, and nothing a record holds makes logging raise.
"""

import json
import logging
import math
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal, TextIO

from fractal_helpers.log_repeats import Repeats
from fractal_helpers.redaction import MASK, escape, names_secret, redact, register_secret

__all__ = ["Format", "configure", "fractal_log", "register_secret"]

Format = Literal["json", "text", "auto"]

_MAX_DEPTH = 6

_FLOORS = {
    # At DEBUG kopf writes whole objects, diffs and patches (_core/reactor/processing.py,
    # _cogs/clients/patching.py: both through `kopf.objects`) and its peering patches.
    # At INFO it tells of every event that it passed on.
    "kopf": logging.WARNING,
    # At DEBUG the SDK writes request bodies, signed headers and credentials' origins.
    "boto3": logging.INFO,
    "botocore": logging.WARNING,
    "s3transfer": logging.INFO,
    "urllib3": logging.INFO,
    # At INFO SQLAlchemy writes every statement with its parameters.
    "sqlalchemy": logging.WARNING,
    "alembic": logging.INFO,
    "asyncio": logging.INFO,
    "aiohttp.access": logging.WARNING,
}


def configure(
    format: Format = "auto",  # noqa: A002 - the word users know it by
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    few: Collection[str] = (),
) -> None:
    """Send every log of the process to ``stream`` (default: standard error), replacing what was.

    Of the loggers ``few`` only some warnings of each kind are written: see ``Repeats``.

    ``auto`` is text on a terminal and JSON elsewhere. Loggers of libraries that dump payloads are
    held above the level at which they do, whatever ``level`` is. Python warnings are logged too.
    """
    target = sys.stderr if stream is None else stream
    text = format == "text" or (format == "auto" and target.isatty())
    handler = _Handler(target)
    handler.setFormatter(_TextFormatter() if text else _JsonFormatter())
    handler.addFilter(Repeats(few))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, floor in _FLOORS.items():
        logging.getLogger(name).setLevel(max(floor, root.level))
    logging.captureWarnings(True)


def fractal_log(
    function: str,
    label: str | None,
    message: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **fields: object,
) -> None:
    """Log one event: where (``function``), about what (``label``, such as an object's key), what.

    ``fields`` become fields of the JSON object (namespace, name, uid, attempt, task_arn, reason).
    ``error`` is logged with its type, text and traceback.
    """
    about = {"function": function, "label": label} | fields
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    logging.getLogger("fractal").log(
        level, "%s", message, exc_info=exc_info, extra={"fields": about}
    )


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record: the inherited method prints its arguments unredacted."""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        # ASCII only: escapes line breaks, controls and lone surrogates alike. DEL is ASCII.
        return json.dumps(event, allow_nan=False).replace("\x7f", "\\u007f")


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        time, level = event.pop("ts"), event.pop("level")
        logger, message = event.pop("logger"), event.pop("message")
        trace = event.pop("exception", None)
        fields = [f"{key}={_plain(value)}" for key, value in event.items()]
        line = escape(" ".join([str(time), f"{level:<8}", f"{logger}: {message}", *fields]))
        # A traceback keeps its lines, each indented so that none can pass for a line of the log.
        return "\n    ".join([line, *map(escape, str(trace).splitlines())]) if trace else line


def _event(record: logging.LogRecord) -> dict[str, Any]:
    event: dict[str, Any] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6]
        + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": redact(_message(record)),
    }
    for name, value in _fields(record).items():
        key = str(name)
        event[f"{key}_" if key in event or key == "exception" else key] = (
            MASK if names_secret(key) else _clean(value)
        )
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        event.setdefault("error", _clean(error))
        event["exception"] = redact(logging.Formatter().formatException(record.exc_info))
    return event


def _message(record: logging.LogRecord) -> str:
    """Return the message; a wrong format string must not lose the event."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg!r} {record.args!r}"


def _fields(record: logging.LogRecord) -> Mapping[Any, Any]:
    """Return the caller's fields; kopf's object reference counts as fields too."""
    given = getattr(record, "fields", None)
    fields = dict(given) if isinstance(given, Mapping) else {}
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, Mapping):
        fields = {k: reference.get(k) for k in ("namespace", "name", "uid")} | fields
    return fields


def _clean(value: object, depth: int = 0) -> Any:
    """Return ``value`` as JSON can hold it, redacted."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return redact(value)
        case date():
            return value.isoformat()
        case BaseException():
            return redact(f"{type(value).__name__}: {value}")
        case Mapping() if depth < _MAX_DEPTH:
            return {
                redact(str(k)): MASK if names_secret(str(k)) else _clean(v, depth + 1)
                for k, v in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            return [_clean(item, depth + 1) for item in value]
        case _:
            return redact(_repr(value))


def _repr(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value)
