"""Records that PostgreSQL will never take: counted, logged, and told to the object's owner.

The Event's name is made of what was refused and why, so that the same refusal is told once.
"""

import asyncio
import logging

from fractal_models.errors import FractalError
from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord, Refused
from fractal_operator.core.tokens import digest
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Kube, KubeEvent
from fractal_operator.shell.objects import Body, Objects

log = logging.getLogger(__name__)


class Refusals:
    """The Recorder's ``refused``: called in the event loop, it posts the Event by a task."""

    def __init__(self, kube: Kube, objects: Objects, metrics: Metrics) -> None:
        self._kube = kube
        self._objects = objects
        self._metrics = metrics
        self._posting: set[asyncio.Task[None]] = set()

    def __call__(self, refused: Refused) -> None:
        self._metrics.db_refused.inc()
        log.error("PostgreSQL refuses a record: %s", refused)
        uid, table = _about(refused)
        key = self._objects.key(uid)
        body = self._objects.get(key) if key is not None else None
        if body is not None:
            suffix = f"record-{digest(f'{uid}|{table}|{refused.reason}', 10)}"
            text = f"{table} does not show this object as it is: {refused.reason}"
            event = KubeEvent("Warning", "RecordRefused", text, suffix)
            task = asyncio.create_task(self._post(body, event))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def _post(self, body: Body, event: KubeEvent) -> None:
        try:
            await self._kube.post_event(body, event)
        except FractalError as error:
            log.warning("Event RecordRefused lost: %s", error)


def _about(refused: Refused) -> tuple[str, str]:
    """The uid of the object that a record is about, and its table."""
    match refused.record:
        case AppStateRecord(task_id=uid):
            return uid, "hardware.user_app_state"
        case ContainerRecord(uid=uid):
            return uid, "hardware.user_containers"
        case HistoryRecord(uid=uid):
            return uid, "logs.container_history"
