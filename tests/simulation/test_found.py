"""What the simulation has found, each under the faults that brought it up: it stays repaired."""

from dataclasses import replace
from random import Random

from tests.simulation.faults import CALM
from tests.simulation.liveness import unsettled
from tests.simulation.runs import quiet, run_chaos
from tests.simulation.users import SPEC
from tests.simulation.world import World

from fractal_models.kube import ObjectKey

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


def test_a_task_in_a_cluster_that_a_restored_etcd_does_not_name_is_found_by_its_row() -> None:
    """Its object lived on in its former cluster, with a second task (seeds 5009004, 5009514)."""
    world, key = World(Random(1), CALM), ObjectKey("default", "fc-0")

    def settle() -> None:
        end = world.timeline.now + 900
        while unsettled(world):
            assert world.timeline.now < end, unsettled(world)
            world.timeline.run(world.timeline.now + 5)

    with quiet():
        world.boot()
        uid = world.kube.create(key, SPEC)["metadata"]["uid"]
        settle()
        before = world.timeline.now
        world.timeline.run(before + 60)
        world.kube.edit(key, cluster="other")
        settle()
        (moved,) = world.ecs.owned(uid)
        (process,) = world.operators
        assert process is not None
        world.crash(process)
        world.restore(world.timeline.now - before, bumped=True)
        settle()
    (there,) = world.ecs.owned(uid)
    assert (":task/main/" in there, world.ecs.tasks[moved].live) == (True, False)
