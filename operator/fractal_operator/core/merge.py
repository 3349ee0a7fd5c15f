"""From what ECS shows to what the status holds: which tasks, which attempt, which ends.

Theory. The status is a claim, which users can edit; ECS is the truth about tasks. A task is ours
only if its ``startedBy`` names this installation and this object's uid. Merging
 1. drops claims on foreign tasks, and turns stopped or lost tasks into terminations;
 2. adopts every live task of ours that the status does not know: the newest becomes Current under
    its own number, any other is Retiring or, beyond the two that the status holds, surplus;
 3. repairs the attempt so that its number is never below a task's that exists.
No launch happens while step 2 has anything to do, so a wiped status cannot cause a second task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fractal_models.container import Attempt, Role, Task, Termination
from fractal_models.observed import STATE_RANK, ObservedTask, TaskArn
from fractal_operator.core import failures, tokens
from fractal_operator.core.plan import Missing, Observation, Policy

LOST_AFTER = timedelta(minutes=5)
"""MISSING is ambiguous for up to about five minutes after RunTask (RunTask API reference)."""

HEALTHY_RUN = timedelta(minutes=10)
"""A task that ran this long clears the count of failures."""

CLOCK_SKEW = timedelta(seconds=60)
KEPT_TERMINATIONS = 5


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
    adopted: tuple[int, ...] = ()

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
        return next((each for each in self.entries if each.role == Role.CURRENT), None)

    @property
    def last_end(self) -> Termination | None:
        """How the newest attempt ended, if it has ended."""
        number = self.attempt.number if self.attempt else None
        return next((each for each in self.terminations if each.attempt == number), None)

    def task(self, arn: str) -> ObservedTask | None:
        return next((each for each in self.seen.tasks if each.arn == arn), None)

    def ended(self, attempt: int, stop_code: str, reason: str) -> "State":
        """This state with one more termination, and its effect on the count of failures."""
        record = Termination(
            attempt=attempt, stop_code=stop_code, reason=reason, finished_at=self.now
        )
        return _with_end(self, record, ran=timedelta(0))


def merge(seen: Observation, policy: Policy) -> State:
    """The state that follows from the status as claimed and the tasks as observed."""
    ours = _ours(seen, policy)
    state = State(
        seen=seen,
        policy=policy,
        attempt=_plausible(seen.status.attempt, seen.now),
        entries=(),
        terminations=seen.status.last_terminations,
        surplus=(),
        highest=_highest(seen, ours),
    )
    for entry in seen.status.tasks:
        state = _take(state, entry, ours)
    return _adopt(_end_unlisted(state, ours), ours)


def number_of(task: ObservedTask, seen: Observation, policy: Policy) -> int | None:
    """The attempt that launched ``task``, or None if it is not this object's task."""
    origin = tokens.parse_started_by(task.started_by)
    if origin is None or (origin.install, origin.uid) != (policy.install, seen.uid):
        return None
    return origin.attempt


def _ours(seen: Observation, policy: Policy) -> dict[TaskArn, tuple[int, ObservedTask]]:
    numbered = ((number_of(task, seen, policy), task) for task in seen.tasks)
    return {task.arn: (number, task) for number, task in numbered if number is not None}


def _highest(seen: Observation, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> int:
    numbers = [number for number, _ in ours.values()]
    numbers += [entry.attempt for entry in seen.status.tasks]
    numbers += [ended.attempt for ended in seen.status.last_terminations]
    if seen.status.attempt:
        numbers.append(seen.status.attempt.number)
    return max((each for each in numbers if each <= tokens.MAX_ATTEMPT), default=0)


def _plausible(attempt: Attempt | None, now: datetime) -> Attempt | None:
    """The attempt as it can be: an absurd number is nobody's, a time from the future is now."""
    if attempt is None or attempt.number > tokens.MAX_ATTEMPT:
        return None
    first, last = attempt.first_issued_at, attempt.last_issued_at
    if last is None or last > now + CLOCK_SKEW:
        last = now
    if first is None or first > last:
        first = last
    return attempt.model_copy(update={"first_issued_at": first, "last_issued_at": last})


def _take(state: State, entry: Task, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """One task that the status claims: kept and refreshed, ended, or dropped as not ours."""
    arn = TaskArn(entry.arn)
    if arn in ours:
        number, task = ours[arn]
        entry = entry.model_copy(update={"attempt": number})
        if task.stopped:
            return _stopped(state, entry, task)
        return replace(state, entries=(*state.entries, refreshed(entry, task)))
    if state.task(arn) is not None:
        return state  # somebody else's task: a forged or stale claim, never touched
    if lost(state, entry):
        text = "ECS no longer knows the task and its end was not seen"
        ended = Termination(
            attempt=entry.attempt,
            stop_code=entry.reason if entry.role == Role.RETIRING and entry.reason else "Lost",
            reason=text,
            finished_at=state.now,
        )
        return _with_end(state, ended, ran=_ran(entry.started_at, state.now))
    return replace(state, entries=(*state.entries, entry))


def may_be_lost(state: State, entry: Task) -> Missing | None:
    """How ECS has been missing the task, once that has lasted long enough to look it up."""
    absent = state.seen.missing.get(TaskArn(entry.arn))
    if absent is None or absent.count < 2 or absent.last - absent.first < LOST_AFTER:
        return None
    return absent


def lost(state: State, entry: Task) -> bool:
    """Whether a task that was never seen STOPPED is certainly gone (design rule 11).

    MISSING twice at least five minutes apart, absent from a sweep and a lookup begun since, in an
    ACTIVE cluster that this process sees as the same one, and not one of a suspicious many.
    """
    home = state.seen.home
    if home is None or home.paused:
        return False
    if home.gone and entry.role == Role.RETIRING:
        return (
            True  # the cluster is gone (ECS deletes none that runs tasks), the wish to stop stays
        )
    absent = may_be_lost(state, entry)
    if absent is None or home.info is None or home.info.status != "ACTIVE":
        return False
    if state.attempt is None or home.info.arn != state.attempt.cluster_arn:
        return False
    if home.swept_since is None or home.swept_since < absent.first:
        return False
    found = state.seen.lookup
    return (
        found is not None
        and found.attempt == entry.attempt
        and found.problem is None
        and found.began >= absent.first
        and TaskArn(entry.arn) not in found.found
    )


def _ran(started: datetime | None, stopped: datetime | None) -> timedelta:
    return stopped - started if started and stopped else timedelta(0)


def _stopped(state: State, entry: Task, task: ObservedTask) -> State:
    retiring = entry.role == Role.RETIRING and entry.reason
    record = Termination(
        attempt=entry.attempt,
        stop_code=entry.reason if retiring else task.stop_code or "StopReasonUnknown",
        reason=failures.stopped_text(task),
        exit_code=exit_code(task, state.attempt.container_name if state.attempt else ""),
        finished_at=task.stopped_at or task.observed_at,
    )
    return _with_end(state, record, ran=_ran(task.started_at, task.stopped_at))


def exit_code(task: ObservedTask, main_container: str) -> int | None:
    """The main container's exit code; None: it never ran, or nobody knows which one that is."""
    for container in task.containers:
        if container.name == main_container or len(task.containers) == 1:
            return container.exit_code
    return None


def _with_end(state: State, record: Termination, ran: timedelta) -> State:
    """``state`` with a termination; only the newest attempt's end changes the count of failures."""
    attempt = state.attempt
    if attempt is not None and attempt.number == record.attempt:
        count = 0 if ran >= HEALTHY_RUN else attempt.failures
        if record.stop_code in failures.OUR_STOPS:
            count = 0
        elif record.stop_code not in failures.UNCOUNTED_STOPS:
            count += 1
        attempt = attempt.model_copy(update={"failures": count})
    others = (each for each in state.terminations if each.attempt != record.attempt)
    ends = sorted((record, *others), key=lambda each: each.attempt, reverse=True)
    return replace(state, attempt=attempt, terminations=tuple(ends[:KEPT_TERMINATIONS]))


def _end_unlisted(state: State, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """A task of the unresolved attempt that ended before anybody could note its ARN."""
    attempt = state.unresolved
    for number, task in ours.values():
        if attempt is not None and number == attempt.number and task.stopped:
            return _stopped(state, _entry(number, task, Role.CURRENT, state.now), task)
    return state


def _entry(number: int, task: ObservedTask, role: Role, now: datetime) -> Task:
    return refreshed(Task(attempt=number, role=role, arn=task.arn, since=now), task)


def refreshed(entry: Task, task: ObservedTask) -> Task:
    """The entry with what ECS shows now; PROVISIONING to ACTIVATING is one state, one write."""
    same = entry.last_status and _group(entry.last_status) == _group(task.last_status)
    return entry.model_copy(
        update={
            "definition_arn": task.definition_arn or entry.definition_arn,
            "last_status": entry.last_status if same else task.last_status,
            "health_status": task.health if task.health != "UNKNOWN" else "",
            "started_at": task.started_at or entry.started_at,
        }
    )


def _group(status: str) -> int:
    """0: starting (or unknown to us), 1: RUNNING, 2: ending."""
    rank = STATE_RANK.get(status, 0)
    return (rank >= STATE_RANK["RUNNING"]) + (rank > STATE_RANK["RUNNING"])


def _adopt(state: State, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """Take in live tasks that the status does not list; at most one Current, two entries in all."""
    listed = {entry.arn for entry in state.entries}
    unknown = [(n, task) for n, task in ours.values() if task.live and task.arn not in listed]
    entries = list(state.entries)
    for number, task in unknown:
        entries.append(_entry(number, task, Role.CURRENT, state.now))
    entries.sort(key=lambda each: (each.role == Role.CURRENT, each.attempt), reverse=True)
    kept = entries[:1] + [_superseded(e) for e in entries[1:] if e.attempt != entries[0].attempt]
    shown = {entry.arn for entry in kept[:2]}
    tasks = (state.task(entry.arn) for entry in entries if entry.arn not in shown)
    state = replace(
        state,
        entries=tuple(kept[:2]),
        surplus=tuple(task for task in tasks if task is not None),
        adopted=tuple(number for number, _ in unknown),
    )
    return _repaired(state, ours)


def _superseded(entry: Task) -> Task:
    if entry.role == Role.RETIRING:
        return entry
    return entry.model_copy(update={"role": Role.RETIRING, "reason": "Superseded"})


def _repaired(state: State, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """The attempt made to agree with the newest task that exists, which knows better."""
    newest = max(
        (pair for pair in ours.values() if pair[1].live), key=lambda pair: pair[0], default=None
    )
    if newest is None:
        return state
    number, task = newest
    attempt = state.attempt
    if attempt is not None and attempt.number > number:
        return state
    if attempt is None or attempt.number < number:
        issued = task.created_at or state.now
        attempt = Attempt(number=number, first_issued_at=issued, last_issued_at=issued)
    truth = {
        "cluster_arn": task.cluster_arn,
        "definition_arn": task.definition_arn or attempt.definition_arn,
        "spec_hash": task.spec_hash or attempt.spec_hash,
    }
    return replace(state, attempt=attempt.model_copy(update=truth))
