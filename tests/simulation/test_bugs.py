"""The planted bugs stand where the code stands, and are caught (all of them: `make bugs`)."""

import pytest
from tests.simulation.bugs import ROOT, caught, changed
from tests.simulation.planted import BUGS, Bug


def test_there_is_no_bug_without_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_changes_code_that_is_there(bug: Bug) -> None:
    text = (ROOT / bug.file).read_text()
    compile(changed(bug, text), bug.file, "exec")
    assert changed(bug, text) != text


@pytest.mark.parametrize("number", [0, len(BUGS) // 2, len(BUGS) - 1])
def test_a_planted_bug_is_caught(number: int) -> None:
    assert caught(BUGS[number])
