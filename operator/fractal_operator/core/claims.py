"""What the status claims, held against what can be: users can edit it."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from fractal_models.container import TEMPLATE_CONTAINER, Attempt
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import doubt, permits, tokens
from fractal_operator.core.plan import Observation, Policy

CLOCK_SKEW = timedelta(seconds=60)
_CLUSTER_ARN = re.compile(r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[^/]+")
# Laxer on the id than ECS is today (32 hex digits, or a UUID): its form is ECS's to change.
_TASK_ARN = re.compile(
    r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task/[\w-]{1,255}/[\w-]{1,64}", re.ASCII
)


def plausible(attempt: Attempt | None, now: datetime) -> Attempt | None:
    """The attempt as it can be: without a number or a cluster of ours it is nobody's."""
    if attempt is None or attempt.number > tokens.MAX_ATTEMPT:
        return None
    if not _CLUSTER_ARN.fullmatch(attempt.cluster_arn):
        return None
    last = not_later(attempt.last_issued_at, now) or now
    first = attempt.first_issued_at
    first = last if first is None else min(first, last)
    return attempt.model_copy(update={"first_issued_at": first, "last_issued_at": last})


def not_later(when: datetime | None, now: datetime) -> datetime | None:
    """A claimed time; one from the future is now."""
    return now if when is not None and when > now + CLOCK_SKEW else when


def repaired(
    attempt: Attempt | None,
    seen: Observation,
    known: Mapping[TaskArn, tuple[int, ObservedTask]],
) -> Attempt | None:
    """The attempt made to agree with the newest task that ECS shows, which knows better."""
    newest = max(known.values(), key=lambda pair: (pair[0], pair[1].live), default=None)
    if newest is None:
        return attempt
    number, task = newest
    if attempt is not None and attempt.number > number:
        return attempt
    if attempt is None and not task.live and doubt.hides(seen):
        return None  # a later one may hide: the next process, too, has to know that
    if attempt is not None and attempt.number == number and attempt.yields_to:
        return attempt  # it speaks for an earlier task than this one
    if attempt is None or attempt.number < number:
        # An adopted task has run before: for this object it begins now.
        born = task.created_at if launched_for(task, seen.uid) else None
        issued = min(born or seen.now, seen.now)
        name = container_name(seen, task)
        attempt = Attempt(
            number=number,
            first_issued_at=issued,
            last_issued_at=issued,
            container_name=name,
            restart_requested_at=seen.restart,  # unknown: never restart on ignorance
        )
    truth = {
        "cluster_arn": task.cluster_arn or attempt.cluster_arn,
        "definition_arn": task.definition_arn or attempt.definition_arn,
        "spec_hash": launched_hash(task, seen.uid) or attempt.spec_hash or _present_hash(seen),
    }
    return attempt.model_copy(update=truth)


def adopted(task: ObservedTask, seen: Observation, policy: Policy) -> int | None:
    """The attempt that stands for a task which somebody else launched, None if it is not ours.

    Ours is a task whose tags name this object (only the operator writes them, and only on what the
    allow-list names) and that the status holds, or would, had it not been wiped. StopTask takes a
    task's tags away, and so may people: what has none is ours if the status holds it, and if it
    stops anyway or could be adopted again, which a task that another object launched could not.

    Ours is also what another installation launched for this very object, and let go of.
    """
    attempt, listed = seen.status.attempt, None
    origin = tokens.parse_started_by(task.started_by)
    for entry in seen.status.tasks:
        listed = entry.attempt if entry.arn == task.arn else listed
    owner = task.tag(tokens.TAG_UID)
    taken = (task.tag(tokens.TAG_INSTALL), owner) == (policy.install, seen.uid)
    if origin is not None and origin.uid == seen.uid and (taken or released(task, seen.uid)):
        return origin.attempt
    if taken:
        if listed or attempt is None:
            return listed or 1
        return attempt.number if attempt.adopts == task.arn else None
    if owner or (origin is not None and not task.stopping):
        return None
    mine = task.stopping or permits.adoptable(policy, seen.namespace, task.arn)
    return listed if mine else None


def released(task: ObservedTask, uid: str) -> bool:
    """Whether an installation has let go of a task that it launched for the object ``uid``."""
    given = task.tag(tokens.TAG_RETAINED) == tokens.RELEASED and task.tag(tokens.TAG_UID) == uid
    return given and launched_for(task, uid)


def given_away(task: ObservedTask, seen: Observation, policy: Policy) -> bool:
    """Whether another object of this installation has adopted the task, whoever launched it."""
    owner = task.tag(tokens.TAG_UID)
    elsewhere = task.tag(tokens.TAG_INSTALL) == policy.install and owner not in ("", seen.uid)
    return elsewhere and task.tag(tokens.TAG_RETAINED) == "false"


def launched_hash(task: ObservedTask, uid: str) -> str:
    """The hash of the spec that the object ``uid`` launched the task from, "" if it did not."""
    return task.spec_hash if launched_for(task, uid) else ""


def launched_for(task: ObservedTask, uid: str) -> bool:
    """Whether the object ``uid`` launched the task itself."""
    origin = tokens.parse_started_by(task.started_by)
    return origin is not None and origin.uid == uid


def runs_from(attempt: Attempt | None, number: int, started: datetime | None) -> datetime | None:
    """From when on the task of attempt ``number`` has run for its object.

    From its start, but for one that was adopted later: the intent of a launch comes before the
    start, as far as two clocks agree.
    """
    known = attempt is not None and attempt.number == number
    issued = attempt.first_issued_at if attempt is not None and known else None
    if started is None or issued is None:
        return started
    return issued if issued - started > CLOCK_SKEW else started


def _present_hash(seen: Observation) -> str:
    """The hash of the spec as it is: unknown or adopted, a task is never restarted on ignorance."""
    return tokens.spec_hash(seen.spec_json) or ""


def container_name(seen: Observation, task: ObservedTask) -> str:
    """The main container, as far as the spec and the task tell it."""
    if len(task.containers) == 1:
        return task.containers[0].name
    if seen.spec is None:
        return ""
    return TEMPLATE_CONTAINER if seen.spec.template is not None else seen.spec.container_name


def claimable(attempt: Attempt | None, arn: str) -> bool:
    """Whether a task that was never seen can exist where the attempt says: nowhere else is looked.

    A real task elsewhere, or one whose attempt was wiped, is found by its startedBy.
    """
    if attempt is None or not well_formed(arn):
        return False
    return arn.startswith(tokens.task_prefix(attempt.cluster_arn))


def well_formed(arn: str) -> bool:
    """Whether a text can be a task's ARN. ECS refuses all that it is asked at once for one that
    cannot, so nothing else is to be asked for."""
    return _TASK_ARN.fullmatch(arn) is not None
