"""A part of ``make faults`` that is cheap enough for every run of the tests."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from tests.e2e.api import Api
from tests.e2e.faults import plans, special, state
from tests.e2e.faults.parts import Parts, shared, stage
from tests.e2e.faults.plans import Plan, Reference
from tests.e2e.faults.wire import Kind, Strike

from fractal_dev.postgres import Postgres

CREATE: tuple[tuple[str, Kind], ...] = (
    ("patch-status-1", "kill-after"),
    ("run-task-1", "kill-before"),
    ("run-task-1", "kill-after"),
    ("run-task-1", "answer-lost"),
)
DELETE: tuple[tuple[str, Kind], ...] = (
    ("stop-task-1", "kill-after"),
    ("patch-object-1", "answer-lost"),
    ("commit-1", "kill-before"),
)


@pytest.fixture(scope="session")
def given(api: Api, ecs_url: str, postgres: Postgres) -> Parts:
    """This worker's servers."""
    return shared(api, ecs_url, postgres)


@pytest.mark.parametrize(
    ("workload", "struck", "disturbance"),
    [("create", CREATE, "watch-gone"), ("delete", DELETE, "watch-dropped")],
)
def test_a_struck_call_changes_nothing_in_the_end(
    given: Parts, workload: str, struck: tuple[tuple[str, Kind], ...], disturbance: str
) -> None:
    expected = plans.reference(given, workload)
    made = [Plan(workload, Strike(call, kind)) for call, kind in struck]
    with ThreadPoolExecutor(len(made) + 1) as pool:
        runs = [pool.submit(plans.run, given, each, expected) for each in made]
        name = f"{workload}/{disturbance}"
        runs.append(pool.submit(plans.judged, name, partial(disturbed, given, name, expected)))
    results = [each.result() for each in runs]
    assert [(each.name, each.wrong) for each in results if each.wrong] == []
    assert {each.launches for each in results} == {state.summed(expected.end, "launches")} == {1}


def disturbed(given: Parts, name: str, expected: Reference, folder: Path, done: plans.Run) -> None:
    """A run under a fault that strikes no single call."""
    found = next(each for each in special.specials() if each.name == name)
    found.run(found.workload, given, folder, expected, done)


def test_a_task_too_many_would_be_told(given: Parts, tmp_path: Path) -> None:
    """The verdict is not always the same: a task that no object stands for is seen."""
    with stage(given, tmp_path) as world:
        before = state.snapshot(world, {})
        world.run_foreign_task(f"fc/{world.name}/{uuid4()}/1")
        after = state.snapshot(world, {})
    assert state.difference(before, before) == ""
    assert '"live": true' in state.difference(before, after)
