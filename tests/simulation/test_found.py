"""What the simulation has found, each under the faults that brought it up: it stays repaired."""

from dataclasses import replace
from random import Random

from tests.simulation.faults import CALM
from tests.simulation.runs import run_chaos

RUNS = 8


def test_a_late_event_of_an_object_that_is_gone_launches_nothing() -> None:
    """The echo of an intent came after the finalizer had gone, and with it all memory of it.

    RunTask was then called without a write, and so without a fence: a task for nobody. Without the
    repair 5 of these runs show it.
    """
    chaos = replace(
        CALM,
        rates={"refused": 0.05},
        watch_delay=2.0,
        meddling=1.0,
        user_pause=40.0,
        objects=3,
    )
    for seed in range(1, RUNS + 1):
        result = run_chaos(seed, Random(seed), chaos)
        assert not result.failure, "\n".join((str(seed), result.failure, *result.tail))
        assert result.faults["refused"] > 0


def test_an_edit_of_the_cluster_in_the_middle_of_an_adoption_loses_no_task() -> None:
    """The adoption ended as failed with its tags under way: two tasks, or one without its object.

    Without the repair 3 of these runs show it.
    """
    chaos = replace(
        CALM,
        rates={"lost": 0.05},
        adopt=True,
        meddling=1.0,
        user_pause=40.0,
        objects=6,
    )
    for seed in range(8, 8 + RUNS):
        result = run_chaos(seed, Random(seed), chaos)
        assert not result.failure, "\n".join((str(seed), result.failure, *result.tail))
        assert result.sometimes["adopted"] > 0
