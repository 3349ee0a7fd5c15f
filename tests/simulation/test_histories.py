"""Short histories by both choosers; what Hypothesis finds, it makes small and ready to paste."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulation.bugs import run_planted
from tests.simulation.histories import Chance, Drawn, History, chosen, regression, run
from tests.simulation.planted import BUGS


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.data())
def test_no_history_that_hypothesis_draws_fails(data: st.DataObject) -> None:
    history = chosen(Drawn(data.draw))
    outcome = run(history)
    assert not outcome.failure, "\n".join((outcome.failure, regression(history), *outcome.tail))


def test_no_history_that_chance_chooses_fails() -> None:
    struck = 0
    for seed in range(60):
        history = chosen(Chance(seed))
        outcome = run(history)
        told = (outcome.failure, regression(history), *outcome.tail)
        assert not outcome.failure, "\n".join(told)
        struck += len(history.strikes)
    assert struck > 30


def test_a_planted_bug_ends_as_a_small_history_that_can_be_pasted() -> None:
    name = "the finalizer goes when the stop was asked for"
    bug = next(each for each in BUGS if each.name == name)
    failed, told = run_planted(bug, "tests.simulation.histories", "--examples", "100")
    assert failed, told
    assert re.match(r"S4: ", told)
    shown = re.search(r"outcome = run\((History\(.*\))\)$", told, re.MULTILINE)
    assert shown, told
    history = eval(shown.group(1), {"History": History})
    assert [act for _, act in history.acts] == ["delete"]
    assert history.strikes == ()
    assert not run(history).failure  # without the bug
