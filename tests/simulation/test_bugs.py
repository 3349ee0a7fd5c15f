"""The test is tested: every planted bug of bugs.py is caught, by the invariant that is to catch it.

A bug that is caught no more means that the simulation has lost a fault or an invariant. When the
product's code changes, other seeds may catch it: the next ones are tried, too.
"""

import re

import pytest
from tests.simulation.bugs import BUGS, Bug, run_planted

TRIED = 150


def test_there_is_no_bug_without_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    seeds = ("--until", "--first", str(bug.seed), "--seeds", str(TRIED))
    failed, told = run_planted(bug, "tests.simulation.seeds", *seeds)
    assert failed, told
    assert re.search(rf"^seed \d+: .*\b{bug.says}", told, re.MULTILINE), told
