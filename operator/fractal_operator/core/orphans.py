"""Orphans: live tasks of this installation that no object stands for, and which of them to stop.

Theory. As long as an object exists, its tasks are the reconciler's, whatever their number: it ends
them before the object goes. So an orphan is what a deletion by force leaves behind, or a call that
landed outside the bounds that a drain relies on (docs/safety.md). No object can tell of it, so a
mistake here stops somebody's work. Hence (design rule 14):

 1. The tasks are known before the objects are listed: an object is made before its task is.
 2. An object whose uid a task carries, or whose status names the task, stands for it.
 3. Only what proves itself is stopped: ``startedBy`` is this installation's, the tags can be read
    and say the same, name a watched namespace, and do not say that the task was retained. An
    adopted task was somebody else's before and proves nothing: it is reported.
 4. It must be 10 minutes old and have been an orphan in two rounds.
 5. Many at once, or no objects at all, are more likely a mistake about the objects: another
    Kubernetes cluster, a restored etcd, a deleted CRD. Then none is stopped.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import tokens

MIN_AGE = timedelta(minutes=10)
"""More than a drain takes (420 s): whatever an operator still knows of ends before."""

APART = timedelta(minutes=4)
"""Between two sightings; less than the pause between two rounds, which clocks measure."""

MANY = 10
MANY_SHARE = 0.10


class Kind(StrEnum):
    """What is to become of a task without an object; the values are those of a metric's label."""

    TASK = "task"
    """Proven ours: it is stopped once it is old enough."""
    UNPROVEN = "unproven"
    """Adopted, or with tags that do not say what they must: for a person to look at."""
    UNWATCHED = "unwatched"
    """Of a namespace that this operator does not watch: nobody here can know its object."""
    UNSELECTED = "unselected"
    """Its object exists, with labels that this operator does not select."""
    RETAINED = "retained"
    """Kept on purpose (deletionPolicy Retain)."""


@dataclass(frozen=True, slots=True)
class Reaping:
    """Which installation this is, and which namespaces it watches (none: all)."""

    install: str
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Census:
    """One round's view: all live tasks of ours, all objects, and the tasks that none stands for.

    ``orphans`` were described after the objects were listed; ``unanswered`` are tasks without an
    object that ECS gave no answer about, ``unselected`` those whose object was read after all: it
    is not among the selected ones.
    """

    now: datetime
    ours: int
    objects: int
    orphans: Sequence[ObservedTask]
    unanswered: frozenset[TaskArn] = frozenset()
    unselected: frozenset[TaskArn] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a round concludes. ``first`` is when each was sighted first, for the next round;
    ``held`` says in words why none is stopped although there are some, "" if nothing holds."""

    kinds: Mapping[TaskArn, Kind]
    first: Mapping[TaskArn, datetime]
    stop: tuple[ObservedTask, ...]
    held: str


def uids(task: ObservedTask, install: str) -> frozenset[str]:
    """The objects that a task may belong to: the one it was launched for, and who adopted it."""
    origin = tokens.parse_started_by(task.started_by)
    launched = origin.uid if origin is not None and origin.install == install else ""
    adopted = task.tag(tokens.TAG_UID) if task.tag(tokens.TAG_INSTALL) == install else ""
    return frozenset({launched, adopted} - {""})


def unclaimed(
    tasks: Iterable[ObservedTask], bodies: Collection[Mapping[str, Any]], install: str
) -> tuple[ObservedTask, ...]:
    """Those of ``tasks`` that no object stands for: by its uid, or by an ARN in its status."""
    alive = {str(body["metadata"]["uid"]) for body in bodies}
    suspects = [task for task in tasks if alive.isdisjoint(uids(task, install))]
    if not suspects:
        return ()
    named = {text for body in bodies for text in _texts(body.get("status"))}
    return tuple(task for task in suspects if task.arn not in named)


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, wherever it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def kind(task: ObservedTask, reaping: Reaping) -> Kind:
    """What is to become of a task that no object stands for."""
    if task.tag(tokens.TAG_RETAINED) in tokens.KEPT:
        return Kind.RETAINED
    namespace = task.tag(tokens.TAG_NAMESPACE)
    if namespace and reaping.namespaces and namespace not in reaping.namespaces:
        return Kind.UNWATCHED
    origin = tokens.parse_started_by(task.started_by)
    if origin is None or origin.install != reaping.install:
        return Kind.UNPROVEN
    if task.stopping:
        return Kind.TASK  # StopTask takes a task's tags away
    told = task.tag(tokens.TAG_INSTALL) == reaping.install and namespace
    return Kind.TASK if told and task.tag(tokens.TAG_NAME) else Kind.UNPROVEN


def judge(census: Census, known: Mapping[TaskArn, datetime], reaping: Reaping) -> Judgement:
    """Which of a round's orphans are stopped now; ``known``: the last judgement's ``first``."""
    now = census.now
    kinds = {task.arn: kind(task, reaping) for task in census.orphans}
    kinds |= dict.fromkeys(census.unselected, Kind.UNSELECTED)
    first = {arn: known.get(arn, now) for arn in kinds}
    kept = {arn: known[arn] for arn in census.unanswered if arn in known}
    doomed = [each for each in census.orphans if kinds[each.arn] is Kind.TASK and not each.stopping]
    held = _held(census, len(doomed)) if doomed else ""
    due = tuple(task for task in doomed if _is_due(task, first[task.arn], now))
    return Judgement(kinds, first | kept, () if held else due, held)


def _is_due(task: ObservedTask, first: datetime, now: datetime) -> bool:
    return now - first >= APART and now - (task.created_at or first) >= MIN_AGE


def _held(census: Census, doomed: int) -> str:
    if not census.objects:
        return (
            f"{doomed} tasks of this installation have no FractalContainer, and Kubernetes shows "
            "none at all: none of them is stopped"
        )
    limit = max(MANY, int(MANY_SHARE * census.ours))
    count = doomed + len(census.unanswered)
    if count <= limit:
        return ""
    return (
        f"{count} tasks of this installation have no FractalContainer, more than {limit}: none of "
        "them is stopped"
    )
