"""The state that decisions work on: an object as merged, and how an end changes it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fractal_models.container import Attempt, Role, Task, Termination
from fractal_models.observed import ObservedTask
from fractal_operator.core import failures
from fractal_operator.core.plan import Observation, Policy

HEALTHY_RUN = timedelta(minutes=10)
"""A task that ran this long clears the count of failures."""

MOST_FAILURES = 1001
"""One more than spec.backoffLimit can be; counting further means nothing."""

KEPT_TERMINATIONS = 5
MOST_SECONDS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class State:
    """The merged view that the rest of the core works on and changes.

    ``highest`` is the highest attempt number seen anywhere. ``surplus`` are live tasks of ours for
    which the status has no room; they are to be stopped.
    """

    seen: Observation
    policy: Policy
    attempt: Attempt | None
    entries: tuple[Task, ...]
    terminations: tuple[Termination, ...]
    surplus: tuple[ObservedTask, ...]
    highest: int

    @property
    def now(self) -> datetime:
        return self.seen.now

    @property
    def unresolved(self) -> Attempt | None:
        """The attempt, while nobody knows whether a task of it exists or how it ended."""
        if self.attempt is None:
            return None
        numbers = {entry.attempt for entry in self.entries}
        numbers |= {ended.attempt for ended in self.terminations}
        return None if self.attempt.number in numbers else self.attempt

    @property
    def current(self) -> Task | None:
        return next((each for each in self.entries if each.role is Role.CURRENT), None)

    @property
    def coming(self) -> Task | None:
        """The task that is to take the current one's place (surge.py)."""
        return next((each for each in self.entries if each.role is Role.NEXT), None)

    @property
    def latest(self) -> int:
        """The number of the attempt that counts: whose end is followed by another. 0: none.

        ``attempt`` says its spec, failures and lifetime; it is an earlier one if a surge was
        called off.
        """
        if self.attempt is None:
            return 0
        return self.attempt.yields_to or self.attempt.number

    @property
    def last_end(self) -> Termination | None:
        """How the newest attempt ended; while none is unresolved. Superseded ones do not count.

        Beside a task that runs, only what was launched after it: what was before is over.
        """
        current, number = self.current, self.latest
        served = current is not None and current.last_status == "RUNNING"
        first = current.attempt if current is not None and served else 0
        ends = (each for each in self.terminations if first < each.attempt <= number)
        newest = sorted(ends, key=lambda each: each.attempt, reverse=True)
        told = (each for each in newest if each.stop_code != "Superseded")
        return next(told, newest[0] if newest else None)

    def task(self, arn: str) -> ObservedTask | None:
        return next((each for each in self.seen.tasks if each.arn == arn), None)

    def ended(self, attempt: int, stop_code: str, reason: str) -> "State":
        """This state with one more termination, and its effect on the count of failures."""
        record = Termination(
            attempt=attempt, stop_code=stop_code, reason=reason, finished_at=self.now
        )
        return with_end(self, record, ran=timedelta(0))


def with_end(state: State, record: Termination, ran: timedelta) -> State:
    """``state`` with a termination; only the latest attempt's end changes what is counted."""
    attempt = state.attempt
    if attempt is not None and state.latest == record.attempt:
        healthy = ran >= HEALTHY_RUN and record.stop_code != "StartTimeout"
        count = 0 if healthy else attempt.failures
        if record.stop_code in failures.OUR_STOPS:
            count = 0
        elif record.stop_code not in failures.UNCOUNTED_STOPS:
            count = min(count + 1, MOST_FAILURES)
        used = _used(state, attempt, record, ran)
        attempt = attempt.model_copy(update={"failures": count, "used_seconds": used})
    others = (each for each in state.terminations if each.attempt != record.attempt)
    return replace(state, attempt=attempt, terminations=(record, *others)[:KEPT_TERMINATIONS])


def _used(state: State, attempt: Attempt, record: Termination, ran: timedelta) -> int:
    """The seconds of lifetimeSeconds that are used when a task has ended."""
    used = attempt.used_seconds + max(int(ran.total_seconds()), 0)
    spec = state.seen.spec
    if record.stop_code == "Expired" and spec is not None:
        # ECS's times may come to less than ours did, or be missing: over it is all the same.
        used = max(used, spec.timeouts.lifetime_seconds or 0)
    return min(used, MOST_SECONDS)
