"""Transitions worth telling: the same list feeds Kubernetes Events and the history in Postgres.

Told from the difference of two statuses, so each transition is told once, when its write succeeded.
The key of a transition depends only on the object and on what happened: telling it again (a crash
between write and Event, a second operator) gives the same Event name and the same history key.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from fractal_models.container import Attempt, ConditionStatus, Phase, Role, Status, Termination
from fractal_operator.core import failures, phases, rest, tokens

NORMAL, WARNING = "Normal", "Warning"


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing that happened to an object: an Event of ``type`` and a row of history.

    ``at`` is when it happened as far as the status tells, None if it does not.
    """

    type: str
    reason: str
    message: str
    attempt: int
    task_arn: str
    key: str
    at: datetime | None = None


def transitions(uid: str, old: Status, new: Status) -> tuple[Transition, ...]:
    """What happened between two statuses of one object, in order."""
    told = [*_ends(old, new), *_launches(old, new), *_tasks(old, new), *_conditions(old, new)]
    return tuple(_transition(uid, each) for each in told)


def retold(uid: str, status: Status) -> tuple[Transition, ...]:
    """What a status still tells of its past, under the keys it was first told with.

    For the history alone: what a process could not record before it died is recorded by the next.
    """
    attempt = status.attempt
    launched = [_launch(status)] if attempt is not None and attempt.request_hash else []
    before = Status(attempt=attempt)
    told = [*launched, *_tasks(before, status), *_ends(before, status)]
    told += _conditions(before, status)
    return tuple(_transition(uid, each) for each in told)


@dataclass(frozen=True, slots=True)
class _Told:
    """A transition before it has its key; ``mark`` tells it from its like of the same object."""

    mark: tuple[object, ...]
    type: str
    reason: str
    message: str
    attempt: int
    arn: str = ""
    at: datetime | None = None


def _transition(uid: str, told: _Told) -> Transition:
    key = tokens.digest("|".join(map(str, (uid, *told.mark))), 16)
    return Transition(told.type, told.reason, told.message, told.attempt, told.arn, key, told.at)


def _launches(old: Status, new: Status) -> Iterator[_Told]:
    number = new.attempt.number if new.attempt else 0
    before = old.attempt.number if old.attempt else 0
    found = any(task.attempt == number for task in new.tasks)
    if number > before and not found and new.attempt is not None:
        yield _adoption(new.attempt) if new.attempt.adopts else _launch(new)


def _adoption(attempt: Attempt) -> _Told:
    text = f"Taking over task {_short(attempt.adopts)} as attempt {attempt.number}"
    mark, at = ("adopt", attempt.number), attempt.first_issued_at
    return _Told(mark, NORMAL, "Adopting", text, attempt.number, attempt.adopts, at)


def _launch(status: Status) -> _Told:
    attempt = status.attempt
    assert attempt is not None
    cluster = attempt.cluster_arn.rpartition("/")[2]
    definition = _short(attempt.definition_arn)
    text = f"Launching attempt {attempt.number} of {definition} in {cluster}"
    mark = ("launch", attempt.number)
    return _Told(mark, NORMAL, "Launching", text, attempt.number, at=attempt.first_issued_at)


def _tasks(old: Status, new: Status) -> Iterator[_Told]:
    before = {task.arn: task for task in old.tasks}
    for task in new.tasks:
        known, arn, number = before.get(task.arn), task.arn, task.attempt
        meant = old.attempt is not None and old.attempt.number == number
        if known is None and meant and old.attempt is not None and not old.attempt.adopts:
            text = f"ECS accepted attempt {number} as task {_short(arn)}"
            yield _Told(("task", arn), NORMAL, "TaskLaunched", text, number, arn, task.since)
        elif known is None:
            text = f"Found task {_short(arn)} of attempt {number} in ECS and adopted it"
            yield _Told(("task", arn), NORMAL, "TaskAdopted", text, number, arn, task.since)
        if task.role is Role.RETIRING and (known is None or known.role is not Role.RETIRING):
            kind = NORMAL if task.reason in failures.OUR_STOPS else WARNING
            text = f"Stopping task {_short(arn)} of attempt {number}: {task.reason}"
            yield _Told(("retire", arn), kind, "StoppingTask", text, number, arn)


def _ends(old: Status, new: Status) -> Iterator[_Told]:
    known = {(end.attempt, end.stop_code) for end in old.last_terminations}
    arns = {task.attempt: task.arn for task in old.tasks}
    for end in reversed(new.last_terminations):
        if (end.attempt, end.stop_code) not in known:
            latest = new.attempt is not None and new.attempt.number == end.attempt
            in_a_row = new.attempt.failures if new.attempt is not None and latest else 0
            yield _end(end, arns.get(end.attempt, ""), in_a_row)


def _end(end: Termination, arn: str, in_a_row: int) -> _Told:
    mark, at = ("end", end.attempt, end.stop_code), end.finished_at
    words = failures.ended(end, in_a_row)
    exit_code = "" if end.exit_code is None else f", exit code {end.exit_code}"
    text = f"Attempt {end.attempt} ended ({end.stop_code}{exit_code}). "
    if end.stop_code in failures.OUR_STOPS:
        told = words.message("")
        return _Told(mark, NORMAL, "TaskStopped", text + told, end.attempt, arn, at)
    kind = NORMAL if rest.succeeded(end) else WARNING
    told = words.message(end.reason)
    return _Told(mark, kind, words.reason, text + told, end.attempt, arn, at)


def _conditions(old: Status, new: Status) -> Iterator[_Told]:
    before = {each.type: each for each in old.conditions}
    arn = next((task.arn for task in new.tasks if task.role is Role.CURRENT), "")
    took_over = any(task.arn == arn and task.role is Role.NEXT for task in old.tasks)
    number = new.attempt.number if new.attempt else 0
    for each in new.conditions:
        known, at = before.get(each.type), each.last_transition_time
        true = each.status is ConditionStatus.TRUE
        turned = known is None or known.status is not each.status
        other = turned or known is None or known.reason != each.reason
        mark = (each.type, each.reason, number, _seconds(at))
        if each.type == "Ready" and true and (turned or took_over):
            address = new.endpoint.ip if new.endpoint else ""
            text = f"The container is ready at {address}" if address else "The container is ready"
            # Whatever reason it has by the time that it is told again.
            mark = (each.type, "TaskRunning", number, _seconds(at))
            yield _Told(mark, NORMAL, "Ready", text, number, arn, at)
        if each.type == "Ready" and true and each.reason == "Expiring" and other:
            seen = ("expiring", number, _seconds(new.will_stop_at))
            end = new.will_stop_at
            text = phases.expiring(end).message if end else each.message
            yield _Told(seen, WARNING, "Expiring", text, number, arn)
        if each.type == "Ready" and each.reason == "Unhealthy" and other:
            yield _Told(mark, WARNING, "Unhealthy", each.message, number, arn, at)
        if each.type == "Stalled" and true and other:
            yield _Told(mark, WARNING, each.reason, each.message, number, arn, at)
    if new.phase in (Phase.SUSPENDED, Phase.SUCCEEDED) and old.phase is not new.phase:
        phase = ("phase", new.phase, new.observed_generation, number)
        yield _Told(phase, NORMAL, new.phase.value, new.message, number)


def _seconds(at: datetime | None) -> str:
    """A time in whole seconds, as the status keeps it: told again, it must be the same."""
    return at.isoformat(timespec="seconds") if at else ""


def _short(arn: str) -> str:
    return arn.rpartition("/")[2]
