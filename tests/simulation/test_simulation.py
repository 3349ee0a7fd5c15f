"""The simulation, as far as every run of the tests has time for it; `make simulate` has more."""

import os
import subprocess
import sys
from functools import cache

import pytest
from tests.simulation.bugs import ROOT
from tests.simulation.faults import CALL_FAULTS
from tests.simulation.histories import Outcome
from tests.simulation.runs import run_seed
from tests.simulation.sometimes import SITUATIONS
from tests.simulation.sweep import READ_FAULTS, WORKLOADS, Plan, plans, run_plan

SEEDS = 300
CHUNK = 20


@cache
def reference(workload: str) -> Outcome:
    """A workload without any fault."""
    return run_plan(Plan(workload))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_without_faults_a_workload_launches_what_it_asks_for(workload: str) -> None:
    assert reference(workload).failure == ""
    assert reference(workload).launches == 7


@pytest.mark.parametrize("kind", CALL_FAULTS)
@pytest.mark.parametrize(
    ("workload", "reads", "writes"),
    [("one operator", 80, 60), ("with events", 0, 100), ("two operators", 20, 20)],
)
def test_each_call_may_be_struck(workload: str, reads: int, writes: int, kind: str) -> None:
    met: set[str] = set()
    struck = 0
    for plan in plans(workload, reference(workload).called):
        if plan.kind == kind:
            outcome = run_plan(plan, reference(workload).launches)
            assert not outcome.failure, "\n".join((str(plan), outcome.failure, *outcome.tail))
            met |= outcome.sometimes
            struck += 1
    assert struck >= writes + (reads if kind in READ_FAULTS else 0)
    if workload == "one operator":
        assert met >= {f"{kind} {situation}" for situation in SITUATIONS}


@pytest.mark.parametrize("first", range(1, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    launches = 0
    for seed in range(first, first + CHUNK):
        result = run_seed(seed)
        told = (f"seed {seed}: {result.failure}", result.chaos.told(), *result.tail)
        assert not result.failure, "\n".join(told)
        launches += result.launches
    assert launches > CHUNK


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Also where sets of texts have another order."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.seeds", "--seed", "1003"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": order},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for order in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) > 100
