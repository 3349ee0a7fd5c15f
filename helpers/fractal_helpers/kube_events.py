"""The core/v1 Event that tells what happened to an object."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kubernetes.aio.client.models import CoreV1Event

from fractal_models.kube import API_VERSION, KIND, KubeEvent

_COMPONENT = "fractal-operator"
_EVENT_MESSAGE_LIMIT = 1024  # the API server refuses longer ones
_NAME_LIMIT = 253


def event_of(body: Mapping[str, Any], event: KubeEvent, now: datetime) -> CoreV1Event:
    """Return the core/v1 Event to post: its name is ``<object name, cut>.<name_suffix>``."""
    meta = body["metadata"]
    at = now.replace(microsecond=0)  # metav1.Time holds whole seconds
    room = _NAME_LIMIT - len(event.name_suffix) - 1
    message = event.message
    if len(message) > _EVENT_MESSAGE_LIMIT:
        message = message[: _EVENT_MESSAGE_LIMIT - 1] + "…"
    return CoreV1Event.model_validate(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": meta["namespace"],
                "name": f"{meta['name'][:room].rstrip('-.')}.{event.name_suffix}",
            },
            "involvedObject": {
                "apiVersion": body.get("apiVersion", API_VERSION),
                "kind": body.get("kind", KIND),
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": message,
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
    )
