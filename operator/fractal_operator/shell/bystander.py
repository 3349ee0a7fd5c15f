"""Objects that this installation selects, and another one looks after (core/sharing.py).

They are left alone. An object that changes hands is in between for seconds; one that stays so is
selected twice, or the other installation is gone: that is told by a metric, and once by an Event,
as nothing is written into a status that is another's.
"""

import logging

from fractal_models.container import Status
from fractal_models.errors import FractalError
from fractal_operator.core import tokens
from fractal_operator.core.plan import FINALIZER, Policy
from fractal_operator.ports import Clock, Kube, KubeEvent
from fractal_operator.shell.memory import Memory
from fractal_operator.shell.objects import Body, key_of, uid_of

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0
"""Longer than a handing over takes."""


class Bystander:
    """``look`` at each object that is another's."""

    def __init__(self, kube: Kube, clock: Clock, policy: Policy) -> None:
        self._kube = kube
        self._clock = clock
        self._policy = policy

    async def look(self, body: Body, status: Status, memory: Memory) -> float | None:
        """Note one; in how many seconds it is to be told of, None once it has been."""
        now = self._clock.monotonic()
        if memory.aside is None:
            memory.aside = now
        if memory.aside_told:
            return None
        due = memory.aside + TELL_SECONDS
        if now < due:
            return due - now
        memory.aside_told = True
        await self._tell(body, status.installation)
        return None

    async def _tell(self, body: Body, other: str) -> None:
        ours, finalizers = self._policy.install, body["metadata"].get("finalizers", ())
        text = (
            f"The installation {other!r} looks after this object; {ours!r} selects it, too, and "
            f"leaves it alone. Let only one of them select it. If {other!r} is gone for good, set "
            f"FRACTAL_INSTALL_ID={other} here to go on in its place."
        )
        log.warning("%s: %s", key_of(body), text)
        mark = tokens.digest(f"{uid_of(body)}|{other}|{ours}", 16)
        event = KubeEvent("Warning", "OtherInstallation", text, mark)
        try:
            if FINALIZER in finalizers:
                await self._kube.post_event(body, event)
        except FractalError as error:
            log.warning("Event OtherInstallation of %s lost: %s", key_of(body), error)
