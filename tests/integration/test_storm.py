"""A small storm, so that the benchmark of the large one does not rot; and what it would notice."""

import asyncio
from typing import Any

from benchmarks.storm import Line, Options, measure, together


def task(created: float, stopped: float | None) -> dict[str, Any]:
    return {"createdAt": created, "stoppedAt": stopped, "live": stopped is None}


def test_a_small_storm_keeps_every_promise() -> None:
    options = Options(objects=60, teams=3, idle=1, patience=180, standin=False)
    lines = asyncio.run(measure(options, None))
    assert [str(line) for line in lines if not line.kept] == []
    (calls,) = (line.measured for line in lines if line.what == "AWS calls")
    assert calls > 60


def test_two_tasks_of_one_object_are_noticed() -> None:
    after = [task(1.0, 2.0), task(2.0, 3.0), task(3.0, None)]
    both = [task(1.0, 2.5), task(2.0, 3.0)]
    lost = [task(1.0, None), task(2.0, None)]
    assert together({"a": after}) == 0
    assert together({"a": after, "b": both, "c": lost}) == 2


def test_a_broken_promise_is_told_as_such() -> None:
    assert Line("x", 1, 1).kept
    assert not Line("x", 2, 1).kept
    assert "**no**" in str(Line("x", 2, 1))
    assert Line("x", 2).kept
