"""How the lives of an object's tasks lie in time, by ECS's own times."""

from itertools import pairwise

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
    """Whether, of tasks that ran one after the other, each ran before the last was stopped."""
    ran = [each for each in tasks if "startedAt" in each]
    return all(new["startedAt"] <= old["stoppingAt"] for old, new in pairwise(ran))
