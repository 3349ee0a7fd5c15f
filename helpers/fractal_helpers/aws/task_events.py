"""EventBridge's "ECS Task State Change", from the body of an SQS message. Total: never raises.

The envelope and its ``detail`` are described in the ECS developer guide, "Amazon ECS task state
change events", which asks readers to be "prepared to handle unknown properties".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from fractal_helpers.aws import decode
from fractal_models.observed import ObservedTask
from fractal_models.task_events import TaskEvent, Unreadable

SOURCE = "aws.ecs"
KIND = "ECS Task State Change"


class _NoEvent(Exception):
    """Why a body is no event, in words that do not quote it."""


def read(body: object, now: datetime) -> TaskEvent | Unreadable | None:
    """The event in a message's body; None for an event of another kind.

    The task's ``observed_at`` is when ECS changed it, never later than ``now``: an event may have
    waited for days. Of its tags an event does not tell, and of its health not always.
    """
    try:
        return _event(_envelope(body), now)
    except (_NoEvent, ValueError, RecursionError) as error:
        text = body if isinstance(body, str) else ""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        why = str(error) if isinstance(error, _NoEvent) else "it is no JSON that can be read"
        return Unreadable(why, digest)


def _envelope(body: object) -> Mapping[str, Any]:
    if not isinstance(body, str):
        raise _NoEvent("it has no body")
    found = json.loads(body)
    # Half a surrogate pair, which JSON can spell, could be written nowhere.
    json.dumps(found, ensure_ascii=False).encode()
    if not isinstance(found, dict):
        raise _NoEvent("it is no JSON object")
    return found


def _event(envelope: Mapping[str, Any], now: datetime) -> TaskEvent | None:
    source, kind = envelope.get("source"), envelope.get("detail-type")
    if not isinstance(source, str) or not isinstance(kind, str):
        raise _NoEvent("it is no EventBridge event: source or detail-type is missing")
    if (source, kind) != (SOURCE, KIND):
        return None
    detail, region, account = (envelope.get(name) for name in ("detail", "region", "account"))
    if not isinstance(detail, dict):
        raise _NoEvent("it has no detail")
    if not isinstance(region, str) or not isinstance(account, str):
        raise _NoEvent("it does not tell its region and account")
    at = decode.instant(detail.get("updatedAt")) or decode.instant(envelope.get("time")) or now
    try:
        task = decode.task(detail, min(at, now))
    except ValueError as error:
        raise _NoEvent("its task has no taskArn") from error
    if not task.last_status:
        raise _NoEvent("its task has no lastStatus")
    return TaskEvent(_as_told(task, detail), region, account)


def _as_told(task: ObservedTask, detail: Mapping[str, Any]) -> ObservedTask:
    """The task without a health that nobody has told: an event need not tell of it, and UNKNOWN
    would say that a task with a health check is not healthy any more."""
    if "healthStatus" in detail:
        return task
    containers = (
        replace(each, health="") if each.health == "UNKNOWN" else each for each in task.containers
    )
    return replace(task, health="", containers=tuple(containers))
