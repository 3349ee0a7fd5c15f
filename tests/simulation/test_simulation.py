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
from tests.simulation.sweep import READ_FAULTS, Plan, plans, run_plan

SEEDS = 300
CHUNK = 20


@cache
def reference() -> Outcome:
    """The workload without any fault."""
    return run_plan(Plan())


def test_without_faults_the_workload_launches_what_it_asks_for() -> None:
    assert reference().failure == ""
    assert reference().launches == 7


@pytest.mark.parametrize("kind", CALL_FAULTS)
def test_each_call_may_be_struck(kind: str) -> None:
    met: set[str] = set()
    struck = 0
    for plan in plans(reference().called):
        if plan.kind == kind:
            outcome = run_plan(plan, reference().launches)
            assert not outcome.failure, "\n".join((str(plan), outcome.failure, *outcome.tail))
            met |= outcome.sometimes
            struck += 1
    assert struck == len(reference().called) if kind in READ_FAULTS else struck >= 60
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
