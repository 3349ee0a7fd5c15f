"""When a task that was never seen STOPPED counts as gone (design rule 11)."""

from datetime import timedelta

from fractal_models.container import Attempt, Role, Task
from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core.plan import Missing, Observation

LOST_AFTER = timedelta(minutes=5)
"""MISSING is ambiguous for up to about five minutes after RunTask (RunTask API reference)."""


def missing(seen: Observation, attempt: Attempt | None, arn: str) -> Missing | None:
    """How ECS has been missing a task, once only a lookup stands between it and lost (rule 11).

    MISSING twice at least five minutes apart, absent from a sweep begun since, in an ACTIVE cluster
    that this process sees as the same one, and not one of a suspicious many.
    """
    home, absent = seen.home, seen.missing.get(TaskArn(arn))
    if home is None or home.info is None or home.info.status != "ACTIVE" or home.paused:
        return None
    if attempt is None or home.info.arn != attempt.cluster_arn:
        return None
    if absent is None or absent.count < 2 or absent.last - absent.first < LOST_AFTER:
        return None
    return absent if home.swept_since is not None and home.swept_since >= absent.first else None


def lost(seen: Observation, attempt: Attempt | None, entry: Task) -> bool:
    """Whether a task that was never seen STOPPED is certainly gone."""
    if entry.role is Role.RETIRING and cluster_gone(seen, attempt):
        return True  # ECS deletes no cluster that runs tasks, and the wish to stop stays
    absent, found = missing(seen, attempt, entry.arn), seen.lookup
    return (
        absent is not None
        and found is not None
        and found.attempt == entry.attempt
        and found.problem is None
        and found.began >= absent.first
        and TaskArn(entry.arn) not in found.found
    )


def cluster_gone(seen: Observation, attempt: Attempt | None) -> bool:
    """Whether the cluster that the attempt was made in is certainly gone."""
    home = seen.home
    if home is None or attempt is None or not home.gone:
        return False
    return attempt.cluster_arn in (home.reference, _arn_of(home.reference, attempt.cluster_arn))


def _arn_of(name: str, like: str) -> str:
    return f"{like.rpartition('/')[0]}/{name}"


def vanished(seen: Observation, attempt: Attempt | None, number: int, task: ObservedTask) -> bool:
    """Whether the last sight of a live task is out of date: it is lost, or its cluster is gone."""
    if task.stopped:
        return False
    if cluster_gone(seen, attempt) and attempt is not None:
        return task.cluster_arn == attempt.cluster_arn
    return lost(seen, attempt, Task(attempt=number, arn=task.arn))
