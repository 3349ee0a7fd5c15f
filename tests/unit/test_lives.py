"""The oracle of a surge: who says that there was no gap has to see one."""

from typing import Any

import pytest
from tests.e2e.lives import most_at_once, served_without_a_gap


def task(created: float, started: float | None, stopping: float | None) -> dict[str, Any]:
    times = {"createdAt": created, "startedAt": started, "stoppingAt": stopping}
    stopped = {} if stopping is None else {"stoppedAt": stopping + 1}
    return {**{k: v for k, v in times.items() if v is not None}, **stopped, "live": not stopped}


OLD = task(0, 1, 20)


@pytest.mark.parametrize(
    ("tasks", "without_a_gap"),
    [
        ([OLD, task(10, 15, None)], True),
        ([OLD, task(10, 21, None)], False),
        ([OLD, task(10, None, 14), task(15, 18, None)], True),
        ([task(0, 1, 40), task(10, 15, 18), task(20, 25, None)], True),
        ([OLD, task(5, 15, 30), task(31, 35, None)], False),
    ],
    ids=["in time", "too late", "one never ran", "one was replaced before it served", "both went"],
)
def test_a_gap_is_a_moment_without_any_task(
    tasks: list[dict[str, Any]], without_a_gap: bool
) -> None:
    assert served_without_a_gap(tasks) is without_a_gap


def test_the_most_that_lived_at_once_is_counted() -> None:
    assert most_at_once([OLD, task(10, 15, 18), task(18, 19, None)]) == 3
    assert most_at_once([OLD, task(10, 15, 18), task(25, 26, None)]) == 2
