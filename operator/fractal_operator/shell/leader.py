"""Leader election: which of several processes acts, by one Lease that is written with its version.

Theory of operation. The holder writes the Lease again every ``retry`` seconds and leads for
``renew`` seconds from the moment before its last successful write; a rival may take the Lease once
it has seen its spec unchanged for ``lease`` seconds, which began later. Both measure with monotonic
clocks of their own, so nobody's wall clock matters, and the holder stops ``lease - renew`` seconds
before a rival begins. Who finds no Lease makes one, and leads ``renew`` seconds later: a holder
whose Lease was deleted leads no more by then. A lead that was lost is not taken again by the same
process: it ends, and what starts in its place knows nothing that may be stale. A process that is
stopped between its look at the clock and a call still makes that call: then the fences of the
writes, and the client token, hold (docs/safety.md). The terms and the Event are those of
Kubernetes' own controllers.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fractal_models.errors import FractalError
from fractal_models.kube import ObjectKey
from fractal_operator.ports import Clock, Kube
from fractal_operator.shell import lease as leases
from fractal_operator.shell.lease import Lease

log = logging.getLogger(__name__)

NOT_LEADING = "this process is not the leader, so it changes nothing"


class LeadLost(FractalError):
    """This process led, and may not any more: it has to end."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: until a rival may take over, for which a renewal counts, and between two tries."""

    lease: int = 15
    renew: float = 10.0
    retry: float = 2.0


class Leader:
    """One candidate. ``identity`` is its own: two processes that share one would both lead."""

    def __init__(
        self, kube: Kube, clock: Clock, lease: ObjectKey, identity: str, terms: Terms
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._key = lease
        self._identity = identity
        self._terms = terms
        self._led = False
        self._from, self._until = -inf, -inf  # leads between these monotonic times
        self._held: Lease | None = None  # as this process wrote it last; None: to be read first
        self._rival: Lease | None = None  # what a rival's Lease says, as it was seen last
        self._told = ""  # who was last said to lead
        self._rival_until = -inf  # a rival may lead before this monotonic time
        self._trouble = ""

    def leads(self) -> bool:
        """Whether it may act now; asked before each call that changes anything, from any thread."""
        return self._from <= self._clock.monotonic() < self._until

    async def campaign(self, led: Callable[[], None], follows: Callable[[], None]) -> None:
        """Try to lead, then go on leading; never returns, raises LeadLost.

        Calls ``led`` once, ``follows`` each time that it sees somebody else lead.
        """
        while not self._led or self.leads():
            try:
                await self._round(follows)
                self._trouble = ""
            except Exception as error:  # whatever it was: this try has failed, and time goes on
                self._held = None
                self._complain(error)
            if self.leads() and not self._led:
                self._led = True
                log.info("%s became leader by lease %s", self._identity, self._key)
                led()
            now = self._clock.monotonic()
            turns = (self._until,) if self._led else (self._rival_until, self._from, inf)
            if ahead := [turn - now for turn in turns if turn > now]:
                await self._clock.sleep(min(self._terms.retry, *ahead))
        raise LeadLost(f"{self._identity} leads no more: lease {self._key} was not renewed in time")

    async def _round(self, follows: Callable[[], None]) -> None:
        lease = self._held
        if lease is None:
            lease = await self._kube.get_lease(self._key, self._timeout())
            self._judge(lease)
            if self._clock.monotonic() < self._rival_until:
                if lease is not None:
                    self._tell(leases.holder(lease))
                return follows()
        began, timeout = self._clock.monotonic(), self._timeout()
        spec = leases.claimed(lease, self._identity, self._terms.lease, self._clock.now())
        if lease is None:
            self._held = await self._kube.create_lease(self._key, spec, timeout)
        else:
            self._held = await self._kube.update_lease(lease, spec, timeout)
        self._until = began + self._terms.renew

    def _judge(self, lease: Lease | None) -> None:
        """Note what a Lease just read, or that there is none, says of rivals."""
        if lease is None:
            if not self._led:  # else it was its own
                self._from = self._clock.monotonic() + self._terms.renew
            return
        if leases.holder(lease) in ("", self._identity):
            self._rival_until = -inf
            return
        self._until = -inf
        if self._rival != leases.spec_of(lease):  # not its version: anybody may label a Lease
            self._rival = leases.spec_of(lease)
            seconds = leases.lasts(lease, self._terms.lease)
            self._rival_until = self._clock.monotonic() + seconds

    def _tell(self, rival: str) -> None:
        if rival != self._told:
            self._told = rival
            log.info("%s stands by: %s leads by lease %s", self._identity, rival, self._key)

    def _timeout(self) -> float:
        """Half of ``renew``, so that a call which hangs costs one try; never beyond the lead."""
        left = self._until - self._clock.monotonic() if self._led else inf
        if left <= 0:
            raise LeadLost("too late for a renewal")
        return min(self._terms.renew / 2, left)

    def _complain(self, error: Exception) -> None:
        text = f"lease {self._key} cannot be had: {error!r}{leases.hint(error, led=self._led)}"
        if text != self._trouble:
            self._trouble = text
            log.warning("%s", text)

    async def announce(self) -> None:
        """Tell by an Event on the Lease who leads; lost if it cannot be posted now."""
        if self._held is None:
            return
        event = leases.became_leader(self._held, self._identity)
        try:
            await self._kube.post_event(self._held, event)
        except FractalError as error:
            log.warning("Event LeaderElection lost: %s", error)

    async def release(self) -> None:
        """Give the lead up, for a rival to take at its next look. The campaign has ended before."""
        if self._clock.monotonic() >= self._until:
            return
        timeout, self._until = self._timeout(), -inf
        try:
            lease = await self._kube.get_lease(self._key, timeout)
            if lease is not None and leases.holder(lease) == self._identity:
                spec = leases.freed(lease, self._clock.now())
                await self._kube.update_lease(lease, spec, timeout)
        except FractalError as error:
            log.warning("lease %s was not released, it runs out by itself: %s", self._key, error)
