"""Two processes of one installation, on an event loop and the fakes: one acts, one stands by."""

import asyncio
from itertools import takewhile

import pytest
from tests.unit.shell.process import KEY, World, running
from tests.unit.shell.test_run import OTHER, SPEC, Live, run

from fractal_models.errors import Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.health import ELECTION, FIRST_LIST, FIRST_SWEEP
from fractal_operator.shell.leader import Leader, LeadLost, Terms

LEASE = ObjectKey("system", "release-leader")
ACTS = {"run_task", "stop_task", "tag_task", "ensure_definition", "list_tasks", "describe_tasks"}
WRITES = {"set_finalizers", "write_status", "delete", "post_event"}


class Elected(Live):
    """A process that has to be elected."""

    def leader(self) -> Leader:
        if not hasattr(self, "candidate"):
            name = f"process-{self.world.processes}"
            self.candidate = Leader(self.kube, self.clock, LEASE, name, Terms())
        return self.candidate

    def leads(self) -> bool:
        """Whether it may act."""
        return self.leader().leads()

    def did(self) -> set[str]:
        """What it did that is the leader's business."""
        return (ACTS | WRITES) & set(self.wire.counts())


@pytest.fixture
def world() -> World:
    return World()


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def both(world: World) -> tuple[Elected, Elected, "list[asyncio.Task[None]]"]:
    """A leader with one running object, and a standby that knows it."""
    one, two = Elected(world), Elected(world)
    world.kube.create(KEY, SPEC)
    tasks = [asyncio.create_task(one.runner.run())]
    await one.until(lambda: running(world))
    tasks.append(asyncio.create_task(two.runner.run()))
    await two.until(two.ready)
    return one, two, tasks


def test_a_standby_is_ready_knows_the_objects_and_does_nothing(world: World) -> None:
    async def stands_by() -> None:
        one, two, tasks = await both(world)
        writes = sum(world.ledger_wire.counts().values())
        world.kube.create(OTHER, SPEC)
        await one.until(lambda: running(world, OTHER) and one.recorder.depth() == 0)
        world.kube.force_delete(KEY)
        one.hear()
        two.hear()
        await one.until(lambda: one.recorder.depth() == 0)
        assert [known.body() for known in two.objects.all()] == [world.kube.objects[OTHER]]
        assert two.did() == set()
        assert (two.queue.depth(), two.recorder.depth()) == (0, 0)
        assert sum(world.ledger_wire.counts().values()) > writes  # so the leader did record it
        assert two.ready()
        for each in tasks:
            await ended(each)

    run(stands_by())


def test_a_standby_takes_over_sweeps_first_and_forgets_nothing(world: World) -> None:
    async def takes_over() -> None:
        one, two, tasks = await both(world)
        gone = world.kube.create(OTHER, SPEC)["metadata"]["uid"]
        await one.until(lambda: running(world, OTHER) and one.recorder.depth() == 0)
        one.wire.hang = True  # it is as good as dead
        world.kube.force_delete(OTHER)  # while nobody leads
        third = ObjectKey("default", "three")
        world.kube.create(third, SPEC)
        two.hear()
        began = world.clock.monotonic()
        await two.until(two.leads)
        assert world.clock.monotonic() - began < 20
        assert two.health.not_ready() == [FIRST_SWEEP]
        await two.until(lambda: running(world, third))
        calls = [call.method for call in two.wire.calls]
        assert calls.index("list_tasks") < calls.index("run_task")
        assert two.ready()
        assert len(world.ecs.launches) == 3
        await two.until(lambda: world.ledger.closed == [gone])
        await two.until(lambda: bool(_events(world, "LeaderElection")))
        assert _events(world, "LeaderElection")[-1] == "process-2 became leader"
        await ended(tasks[1])

    run(takes_over())


@pytest.mark.parametrize("size", [1, 3000])
def test_the_lease_is_handed_over_by_the_same_calls_at_any_size(world: World, size: int) -> None:
    """Only calls for the Lease come before the lead; every object is looked at afterwards."""

    async def takes_over() -> None:
        one, two = Elected(world), Elected(world)
        for number in range(size):
            paused = {"annotations": {"fractal.co/paused": "true"}}
            world.kube.create(ObjectKey("default", f"n{number}"), SPEC, **paused)
        tasks = [asyncio.create_task(one.runner.run())]
        await one.until(one.ready)
        tasks.append(asyncio.create_task(two.runner.run()))
        await two.until(two.ready)
        await ended(tasks[0])
        one.wire.hang = True
        began, calls = world.clock.monotonic(), len(two.wire.calls)
        await two.until(two.leads)
        assert world.clock.monotonic() - began < 20
        methods = [call.method for call in two.wire.calls[calls:]]
        before = list(takewhile(lambda method: "lease" in method, methods))
        assert set(before) == {"get_lease", "update_lease"}
        assert len(before) <= 12
        await ended(tasks[1])

    run(takes_over())


def _events(world: World, reason: str) -> list[str]:
    return [each.message for _, each in world.kube.events.values() if each.reason == reason]


def test_a_clean_stop_hands_over_at_once(world: World) -> None:
    async def stops() -> None:
        one, two, tasks = await both(world)
        one.runner.stop.set()
        await tasks[0]
        assert "holderIdentity" not in world.kube.leases[LEASE]["spec"]
        began = world.clock.monotonic()
        await two.until(two.leads)
        assert world.clock.monotonic() - began <= 2.5
        await ended(tasks[1])

    run(stops())


def test_a_leader_without_its_lease_ends_and_changes_nothing_more(world: World) -> None:
    async def loses() -> None:
        one, two, tasks = await both(world)
        for method in ("get_lease", "create_lease", "update_lease"):
            one.wire.fail(method, Unavailable("cut off"), times=1000)
        await one.until(tasks[0].done, passing=0.5)
        with pytest.raises(LeadLost):
            await tasks[0]
        world.kube.create(OTHER, SPEC)
        before = one.did(), one.wire.counts()
        one.objects.seen(world.kube.objects[OTHER])
        with pytest.raises(Unavailable, match="not the leader"):
            await one.reconciler.reconcile(OTHER)
        assert (one.did(), one.wire.counts()) == before
        await two.until(lambda: running(world, OTHER))
        await ended(tasks[1])
        assert len(world.ecs.launches) == 2

    run(loses())


@pytest.mark.parametrize("last", ["set_finalizers", "write_status", "run_task"])
def test_between_any_two_actions_the_lead_is_asked_for(world: World, last: str) -> None:
    """Time passes in a call; what follows in the plan, or in the next, is not done."""

    async def late() -> None:
        one = Elected(world)
        task = asyncio.create_task(one.runner.run())
        await one.until(one.ready)

        def pass_time() -> None:
            if one.wire.calls[-1].method == last:
                world.clock._seconds += 60  # it slept; nothing of its own was woken meanwhile

        one.wire.overtaken = pass_time
        world.kube.create(KEY, SPEC)
        one.hear()
        await one.until(task.done)
        methods = [call.method for call in one.wire.calls if call.method in WRITES | {"run_task"}]
        methods = [each for each in methods if each != "post_event"]
        assert methods[-1] == last
        assert methods.count(last) == 1
        with pytest.raises(LeadLost):
            await task

    run(late())


def test_who_cannot_be_elected_is_not_ready_and_says_what_it_waits_for(world: World) -> None:
    async def refused() -> None:
        one = Elected(world)
        one.wire.fail("get_lease", Unavailable("down"), times=20)
        task = asyncio.create_task(one.runner.run())
        await one.until(lambda: FIRST_LIST not in one.health.not_ready())
        assert one.health.not_ready() == [ELECTION, FIRST_SWEEP]
        await one.until(one.ready)
        await ended(task)

    run(refused())
