"""How the lives of an object's tasks lie in time, by ECS's own times."""

from math import inf

from tests.e2e.stack import Obj


def most_at_once(tasks: list[Obj]) -> int:
    """How many of an object's tasks ever lived at the same moment."""
    ends = [
        *((float(each["createdAt"]), 1) for each in tasks),
        *((float(each["stoppedAt"]), -1) for each in tasks if not each["live"]),
    ]
    alive, most = 0, 0
    for _, step in sorted(ends):
        alive += step
        most = max(most, alive)
    return most


def served_without_a_gap(tasks: list[Obj]) -> bool:
    """Whether from the first start to the last stop at each moment one of the tasks ran.

    A task counts from its start until it is told to stop.
    """
    ran = sorted((float(each["startedAt"]), _told(each)) for each in tasks if "startedAt" in each)
    served = ran[0][1]
    for began, until in ran:
        if began > served:
            return False
        served = max(served, until)
    return True


def _told(task: Obj) -> float:
    return float(task.get("stoppingAt") or task.get("stoppedAt") or inf)
