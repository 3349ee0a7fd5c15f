"""Which clusters are swept when there are more than can be: known ones always, others in turn."""

import asyncio

from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.process import KEY, World, running
from tests.unit.shell.test_run import Live, run, started
from tests.unit.shell.wire import START

from fractal_models.kube import ObjectKey
from fractal_models.observed import ClusterInfo
from fractal_operator.shell.clusters import Cluster
from fractal_operator.shell.sweeps import BIG_CALLS, NEWCOMERS, NEWCOMERS_OF_REGION, admitted

SPEC = {"taskDefinition": "web"}


def newcomer(number: int, region: str = REGION, **facts: float) -> Cluster:
    return Cluster(region, f"made-up-{number}", **facts)  # type: ignore[arg-type]


def test_known_clusters_are_all_swept_however_many_newcomers_wait() -> None:
    known = [Cluster(REGION, f"known-{number}", swept_since=START) for number in range(20)]
    chosen = admitted([*(newcomer(number) for number in range(600)), *known], [])
    assert [each for each in chosen if each.swept_since] == known
    assert len(chosen) == len(known) + NEWCOMERS_OF_REGION


def test_big_clusters_of_a_region_take_turns_and_leave_threads_to_others() -> None:
    first, second, third, far = (
        Cluster(region, f"big-{number}", swept_since=START, swept_at=number, calls=BIG_CALLS)
        for number, region in enumerate((REGION, REGION, REGION, "aa-north-1"))
    )
    small = Cluster(REGION, "small", swept_since=START, swept_at=9, calls=BIG_CALLS - 1)
    assert admitted([third, small, far, second, first], []) == [first, second, far, small]
    assert admitted([third], [first, second]) == []
    assert admitted([third, far], [second, small]) == [third, far]


def test_newcomers_are_few_in_each_region_and_in_all_together() -> None:
    everywhere = [newcomer(1, f"aa-north-{number}") for number in range(100)]
    busy = [newcomer(number) for number in range(NEWCOMERS_OF_REGION)]
    chosen = admitted([newcomer(9), *everywhere], busy)
    assert len(chosen) + len(busy) == NEWCOMERS
    assert all(each.region != REGION for each in chosen)
    assert admitted([newcomer(9)], [newcomer(1, "aa-north-1")]) != []
    assert admitted(everywhere, [*busy, *chosen]) == []


def test_newcomers_take_turns() -> None:
    late, early, fresh = newcomer(1, swept_at=9), newcomer(2, swept_at=5), newcomer(4)
    assert admitted([late, early, fresh], []) == [fresh, early]
    assert admitted([late, early], [newcomer(5)]) == [early]


def test_clusters_where_tasks_may_be_do_not_wait_for_others_and_are_few_all_the_same() -> None:
    busy = [newcomer(number) for number in range(NEWCOMERS_OF_REGION)]
    held = [newcomer(number, held=True) for number in range(600)]
    assert admitted(held, busy) == held[:NEWCOMERS_OF_REGION]
    assert admitted([newcomer(9)], held[:NEWCOMERS_OF_REGION]) != []


class Crowd(Live):
    """A process whose ECS never answers for made-up clusters; counts who asks at the same time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asking = self.most = 0
        self.tried: set[str] = set()
        self.release = asyncio.Event()
        describe = self.ecs.describe_cluster

        async def slow(region: str, cluster: str) -> ClusterInfo | None:
            if not cluster.startswith("made-up"):
                return await describe(region, cluster)
            self.tried.add(cluster)
            self.asking += 1
            self.most = max(self.most, self.asking)
            await self.release.wait()
            self.asking -= 1
            return None

        self.ecs.describe_cluster = slow  # type: ignore[method-assign]


def test_hundreds_of_made_up_clusters_neither_delay_a_launch_nor_readiness() -> None:
    async def crowded() -> None:
        world = World()
        for number in range(300):
            spec = {**SPEC, "cluster": f"made-up-{number}"}
            world.kube.create(ObjectKey("default", f"bogus-{number}"), spec)
        process = Crowd(world)
        async with started(process):
            await process.until(lambda: process.asking == NEWCOMERS_OF_REGION)
            world.kube.create(KEY, SPEC)
            await process.until(lambda: running(world))
            assert process.most == NEWCOMERS_OF_REGION, "all others wait for their turn"
            assert len(process.tried) == NEWCOMERS_OF_REGION
            process.release.set()
            await process.until(lambda: len(process.tried) == 300)
            assert process.most == NEWCOMERS_OF_REGION

    run(crowded())
