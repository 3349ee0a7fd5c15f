"""Transitions worth telling: the same list feeds Kubernetes Events and the history in Postgres.

Told from the difference of two statuses, so each transition is told once, when its write succeeded.
The key of a transition depends only on the object and on what happened: telling it again (a crash
between write and Event, a second operator) gives the same Event name and the same history key.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from fractal_models.container import ConditionStatus, Phase, Role, Status, Termination
from fractal_operator.core import failures, tokens

NORMAL, WARNING = "Normal", "Warning"


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing that happened to an object: an Event of ``type`` and a row of history."""

    type: str
    reason: str
    message: str
    attempt: int
    task_arn: str
    key: str


def transitions(uid: str, old: Status, new: Status) -> tuple[Transition, ...]:
    """What happened between two statuses of one object, in order."""
    number = new.attempt.number if new.attempt else 0
    told = [*_ends(old, new), *_launches(old, new), *_tasks(old, new), *_conditions(old, new)]
    return tuple(
        Transition(kind, reason, message, at or number, arn, _key(uid, reason, at or number, mark))
        for kind, reason, message, at, arn, mark in told
    )


_Told = tuple[str, str, str, int, str, str]
"""type, reason, message, attempt (0: the present one), task ARN, what tells it from its like."""


def _key(uid: str, *parts: object) -> str:
    return tokens.digest("|".join(map(str, (uid, *parts))), 16)


def _launches(old: Status, new: Status) -> Iterator[_Told]:
    number = new.attempt.number if new.attempt else 0
    before = old.attempt.number if old.attempt else 0
    if new.attempt and number > before and not new.tasks:
        cluster = new.attempt.cluster_arn.rpartition("/")[2]
        text = f"Launching attempt {number} of {_short(new.attempt.definition_arn)} in {cluster}"
        yield NORMAL, "Launching", text, number, "", ""


def _tasks(old: Status, new: Status) -> Iterator[_Told]:
    before = {task.arn: task for task in old.tasks}
    for task in new.tasks:
        known = before.get(task.arn)
        expected = old.attempt is not None and old.attempt.number == task.attempt
        if known is None and expected:
            text = f"ECS accepted attempt {task.attempt} as task {_short(task.arn)}"
            yield NORMAL, "TaskLaunched", text, task.attempt, task.arn, task.arn
        elif known is None:
            text = f"Found task {_short(task.arn)} of attempt {task.attempt} in ECS and adopted it"
            yield NORMAL, "TaskAdopted", text, task.attempt, task.arn, task.arn
        if task.role is Role.RETIRING and (known is None or known.role is not Role.RETIRING):
            kind = WARNING if task.reason == "StartTimeout" else NORMAL
            text = f"Stopping task {_short(task.arn)} of attempt {task.attempt}: {task.reason}"
            yield kind, "StoppingTask", text, task.attempt, task.arn, task.arn


def _ends(old: Status, new: Status) -> Iterator[_Told]:
    known = {(end.attempt, end.stop_code) for end in old.last_terminations}
    arns = {task.attempt: task.arn for task in old.tasks}
    for end in reversed(new.last_terminations):
        if (end.attempt, end.stop_code) not in known:
            yield _end(end, arns.get(end.attempt, ""))


def _end(end: Termination, arn: str) -> _Told:
    if end.stop_code in failures.OUR_STOPS:
        text = f"Attempt {end.attempt} ended: {end.stop_code}"
        return NORMAL, "TaskStopped", text, end.attempt, arn, end.stop_code
    words = failures.termination(end.stop_code, end.reason)
    exit_code = "" if end.exit_code is None else f", exit code {end.exit_code}"
    text = f"Attempt {end.attempt} ended ({end.stop_code}{exit_code}): {end.reason}"
    if not arn:
        return WARNING, "LaunchFailed", text, end.attempt, arn, end.stop_code
    kind = NORMAL if end.exit_code == 0 else WARNING
    return kind, words.reason, f"{text}. {words.hint}", end.attempt, arn, end.stop_code


def _conditions(old: Status, new: Status) -> Iterator[_Told]:
    before = {each.type: each for each in old.conditions}
    arn = next((task.arn for task in new.tasks if task.role is Role.CURRENT), "")
    for each in new.conditions:
        known = before.get(each.type)
        same = known is not None and known.status == each.status
        mark = _mark(each.last_transition_time)
        if each.type == "Ready" and each.status is ConditionStatus.TRUE and not same:
            address = new.endpoint.ip if new.endpoint else ""
            text = f"The container is ready at {address}" if address else "The container is ready"
            yield NORMAL, "Ready", text, 0, arn, mark
        if (
            each.type == "Ready"
            and each.reason == "Unhealthy"
            and not (known is not None and known.reason == each.reason)
        ):
            yield WARNING, "Unhealthy", each.message, 0, arn, mark
        if (
            each.type == "Stalled"
            and each.status is ConditionStatus.TRUE
            and not (same and known is not None and known.reason == each.reason)
        ):
            yield WARNING, each.reason, each.message, 0, arn, mark
    if new.phase in (Phase.SUSPENDED, Phase.SUCCEEDED) and old.phase is not new.phase:
        yield NORMAL, new.phase.value, new.message, 0, "", f"{new.observed_generation}"


def _mark(when: datetime | None) -> str:
    return when.isoformat(timespec="seconds") if when else ""


def _short(arn: str) -> str:
    return arn.rpartition("/")[2]
