"""Objects whose reconcile breaks: told to their owners after some tries, and in nobody's way.

What breaks is a bug of ours, or a value that no schema of ours would have let in. Trying again at
once helps seldom, trying for ever fills the log; and nobody reads the log of an operator for an
object of his own. So after TRIES the object itself says so, and is tried again every AGAIN_SECONDS;
an edit of it has it tried at once. Deleted and given up (fractal.co/abandon), it is let go even so.
"""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from fractal_helpers.redaction import escape, redact
from fractal_models.errors import FractalError, Rejected
from fractal_operator.core import broken
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.plan import FINALIZER
from fractal_operator.core.tokens import digest
from fractal_operator.ports import Clock, Kube, KubeEvent, ObjectKey
from fractal_operator.shell.act import Actor
from fractal_operator.shell.objects import Body, Objects, uid_of
from fractal_operator.shell.reconcile import Unsettled

log = logging.getLogger(__name__)

TRIES = 3
AGAIN_SECONDS = 600.0
REFUSED = "Invalid"
"""The API server's reason for a status that its CRD does not allow."""


class Poison:
    """Counts, by object, reconciles in a row that broke, and tells of them. Never raises.

    ``leads`` says whether this process may write; ``actor`` is told of an object that was let go.
    """

    def __init__(
        self, *, kube: Kube, clock: Clock, objects: Objects, actor: Actor, leads: Callable[[], bool]
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._objects = objects
        self._actor = actor
        self._leads = leads
        self._times: dict[ObjectKey, int] = {}

    def well(self, key: ObjectKey) -> None:
        """A reconcile of the object came to its end."""
        self._times.pop(key, None)

    async def broke(self, key: ObjectKey, error: Exception) -> float:
        """A reconcile of the object ended in ``error``; for how many seconds to wait at least."""
        body = self._objects.get(key)
        if body is None or not _ours(error):
            return 0.0
        times = self._times[key] = self._times.get(key, 0) + 1
        try:
            if not self._leads():
                return 0.0
            if broken.abandoned(body["metadata"]):
                await self._let_go(key, body)
            elif times >= TRIES and self._actor.looks_after(body):
                await self._tell(body, _cause(error))
        except FractalError as failure:
            log.warning("that %s is broken could not be told now: %s", key, failure)
        except Exception:
            log.exception("that %s is broken could not be told", key)
        return AGAIN_SECONDS if times >= TRIES else 0.0

    async def _tell(self, body: Body, cause: str) -> None:
        """Say it in the conditions and, where those are refused, too, in an Event at least."""
        text = broken.message(body["metadata"], cause)
        suffix = f"broken-{digest(f'{uid_of(body)}|{text}', 10)}"
        try:
            status = broken.status(body, cause, self._clock.now())
            if status != body.get("status"):
                self._objects.read(await self._kube.write_status(body, status))
        finally:
            event = KubeEvent("Warning", broken.REASON, text, suffix)
            await self._kube.post_event(body, event)

    async def _let_go(self, key: ObjectKey, body: Body) -> None:
        """Take our finalizer off without a decision: its owner takes what it may leave behind."""
        others = [each for each in body["metadata"].get("finalizers", ()) if each != FINALIZER]
        log.warning("%s is given up by %s, broken as it is", key, ABANDON)
        after = await self._kube.set_finalizers(body, others)
        if others:
            self._objects.read(after)
            return
        known = self._objects.gone(key, uid_of(body))
        if known is not None:
            self._actor.vanished(known)


def _ours(error: Exception) -> bool:
    """Whether an error says something of the object, and nothing of what is outside."""
    if isinstance(error, Rejected):
        return error.code == REFUSED
    return isinstance(error, Unsettled) or not isinstance(error, FractalError)


def _cause(error: Exception) -> str:
    """An error in one line; of one that nobody foresaw also where it arose, never its traceback."""
    text = escape(redact(" ".join(str(error).split())))
    if isinstance(error, FractalError):
        return text.rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"
