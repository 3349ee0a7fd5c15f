"""Permits and the lines for them: fairness is counted, over simulated time and a real bucket."""

import asyncio
from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.wire import FakeClock

from fractal_helpers.aws.limits import Quota, QuotaGroups
from fractal_operator.core.plan import Permit
from fractal_operator.ports import Ecs
from fractal_operator.shell.permits import GRANTED, LAPSE_SECONDS, NoPermit, Permits, Waiter

RUN: Permit = "RunTask"
STOP: Permit = "StopTask"


class Bench:
    """Permits over real buckets: each object uses its permit as soon as it is woken, or not."""

    def __init__(self, burst: float = 4, per_second: float = 2) -> None:
        self.clock = FakeClock()
        own = {name: Quota(burst, per_second) for name in ("cluster-modify", "fargate-launch")}
        self.quotas = QuotaGroups(1.0, own, monotonic=self.clock.monotonic)
        self.draws = 0
        self.waits: list[tuple[str, float]] = []
        self.woken: list[str] = []
        self.used: list[Waiter] = []
        self.diligent = True
        self.permits = Permits(
            cast("Ecs", self), self.clock, self.wake, lambda *what: self.waits.append(what)
        )
        self.wants: dict[str, tuple[Waiter, Permit]] = {}

    def draw(self, region: str, operation: str) -> float:
        self.draws += 1
        return self.quotas.draw(operation)

    def wake(self, uid: str) -> None:
        self.woken.append(uid)

    def want(self, waiter: Waiter, permit: Permit = RUN) -> bool:
        """An object needs a permit; whether it could use one at once."""
        self.wants[waiter.uid] = waiter, permit
        try:
            self.permits.use(REGION, permit, waiter)
        except NoPermit:
            return False
        self.used.append(waiter)
        del self.wants[waiter.uid]
        return True

    def work(self) -> None:
        """Those that were woken look again."""
        woken, self.woken = self.woken, []
        for uid in woken:
            if uid in self.wants:
                self.want(*self.wants[uid])

    def serve(self, seconds: float) -> None:
        """The loop of permits.py, for so long."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            pause = self.permits.grant()
            if self.diligent:
                self.work()
            left = end - self.clock.monotonic()
            self.clock.advance(left if pause is None else min(pause, left))
        self.permits.grant()
        if self.diligent:
            self.work()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def team(name: str, count: int) -> list[Waiter]:
    return [Waiter(name, f"{name}-{number}") for number in range(count)]


def test_while_nobody_waits_a_permit_is_had_at_once(bench: Bench) -> None:
    assert bench.want(Waiter("a", "1"))
    assert bench.permits.grant() is None
    assert list(bench.permits.standings()) == []


def test_one_teams_thousand_delay_anothers_one_by_one_permit(bench: Bench) -> None:
    for waiter in team("a", 1000):
        bench.want(waiter)
    assert len(bench.used) == 2
    lone = Waiter("b", "lone")
    assert not bench.want(lone), "the others were first"
    bench.serve(1.1)
    assert lone in bench.used
    assert len(bench.used) <= 2 + 2


@pytest.mark.parametrize("permit", [RUN, STOP])
def test_teams_get_equal_parts_while_they_wait(bench: Bench, permit: Permit) -> None:
    for waiter in (*team("a", 500), *team("b", 100), *team("c", 10)):
        bench.want(waiter, permit)
    bench.used.clear()
    bench.serve(15)
    told = Counter(waiter.namespace for waiter in bench.used)
    assert max(told.values()) - min(told.values()) <= 1


def test_within_a_team_the_first_comes_first(bench: Bench) -> None:
    for waiter in team("a", 20):
        bench.want(waiter)
    bench.serve(60)
    assert bench.used == team("a", 20)


@pytest.mark.parametrize(("storm", "other"), [(RUN, STOP), (STOP, RUN)])
def test_a_storm_of_one_kind_does_not_delay_the_other(
    bench: Bench, storm: Permit, other: Permit
) -> None:
    for waiter in team("a", 500):
        bench.want(waiter, storm)
    bench.serve(10)
    assert bench.want(Waiter("a", "other"), other)


def test_all_tokens_are_used_while_anybody_waits_and_never_more(bench: Bench) -> None:
    for waiter in team("a", 300):
        bench.want(waiter)
    began = len(bench.used)
    bench.serve(60)
    assert len(bench.used) - began == pytest.approx(60 * 2, abs=3)


def test_who_waits_costs_nothing(bench: Bench) -> None:
    """The rate limit is asked once a permit, however many wait; and nobody is woken for nothing."""
    for waiter in team("a", 5000):
        bench.want(waiter)
    bench.draws = 0
    bench.serve(30)
    assert bench.draws <= 2 * len(bench.used) + 10


def test_a_wait_is_told_since_when_and_measured_when_it_ends(bench: Bench) -> None:
    first, second, third = team("a", 3)
    assert bench.want(first)
    assert bench.want(second)
    began = bench.clock.now()
    assert not bench.want(third)
    (queued,) = bench.permits.queued(third)
    assert (queued.region, queued.permit, queued.since) == (REGION, RUN, began)
    bench.clock.advance(0.4)
    assert not bench.want(third)
    assert bench.permits.queued(third) == (queued,), "asking again is no new wait"
    ((region, permit, depth, oldest),) = bench.permits.standings()
    assert (region, permit, depth) == (REGION, RUN, 1)
    assert oldest == pytest.approx(0.4)
    bench.serve(2)
    assert bench.permits.queued(third) == ()
    ((operation, seconds),) = bench.waits
    assert operation == RUN
    assert seconds == pytest.approx(0.5, abs=0.02)


def test_who_leaves_the_line_is_passed_over(bench: Bench) -> None:
    waiters = team("a", 6)
    for waiter in waiters:
        bench.want(waiter)
    bench.permits.keep(waiters[2])
    del bench.wants[waiters[2].uid]
    bench.serve(10)
    assert bench.used == [each for each in waiters if each is not waiters[2]]
    assert list(bench.permits.standings()) == []


def test_who_is_granted_a_permit_and_needs_none_any_more_passes_it_on(bench: Bench) -> None:
    waiters = team("a", 4)
    for waiter in waiters:
        bench.want(waiter)
    bench.diligent = False
    bench.serve(0.6)
    assert bench.woken == [waiters[2].uid]
    draws = bench.draws
    bench.permits.keep(waiters[2])
    assert bench.woken == [waiters[2].uid, waiters[3].uid]
    assert bench.draws == draws, "it is the same permit"
    assert bench.want(waiters[3])


def test_only_lines_that_are_wanted_are_kept(bench: Bench) -> None:
    for waiter in team("b", 2):
        bench.want(waiter)
    both = Waiter("a", "both")
    assert not bench.want(both)
    bench.permits.keep(both, [(REGION, RUN)])
    assert bench.permits.queued(both)
    bench.permits.keep(both, [("us-west-2", RUN), (REGION, STOP)])
    assert bench.permits.queued(both) == ()


def test_permits_that_are_not_used_do_not_gather(bench: Bench) -> None:
    """The Kubernetes API is down: else all would be used at once when it is back."""
    bench = Bench(100, 50)
    for waiter in team("a", 500):
        bench.want(waiter)
    bench.diligent = False
    bench.serve(20)
    assert len(bench.woken) == GRANTED
    bench.diligent = True
    bench.work()
    assert len(bench.woken) == 0
    bench.serve(1)
    assert len(bench.used) <= 50 + GRANTED + 50 + 50


def test_a_permit_lapses_and_the_line_goes_on(bench: Bench) -> None:
    bench = Bench(100, 50)
    for waiter in team("a", 200):
        bench.want(waiter)
    bench.diligent = False
    bench.serve(LAPSE_SECONDS - 1)
    assert len(bench.woken) == GRANTED
    late = bench.woken[0]
    bench.serve(2)
    assert len(bench.woken) == 2 * GRANTED
    assert not bench.want(*bench.wants[late]), "it stands in line again, behind the others"


def test_whether_somebody_had_to_wait_is_told_with_the_permit(bench: Bench) -> None:
    first, second, third = team("a", 3)
    assert not bench.permits.use(REGION, STOP, first)
    assert not bench.permits.use(REGION, STOP, second)
    with pytest.raises(NoPermit):
        bench.permits.use(REGION, STOP, third)
    bench.diligent = False
    bench.serve(2)
    assert bench.permits.use(REGION, STOP, third)


def test_the_loop_grants_as_tokens_come_and_sleeps_while_nobody_waits() -> None:
    class Clock(FakeClock):
        stands: float | None = None

        def monotonic(self) -> float:
            return asyncio.get_running_loop().time() if self.stands is None else self.stands

    async def play() -> list[str]:
        woken: asyncio.Queue[str] = asyncio.Queue()
        clock = Clock()
        own = {name: Quota(2, 100) for name in ("cluster-modify", "fargate-launch")}
        quotas = QuotaGroups(1.0, own, monotonic=clock.monotonic)

        class Draws:
            def draw(self, region: str, operation: str) -> float:
                return quotas.draw(operation)

        def unmeasured(*_: Any) -> None:
            pass

        permits = Permits(cast("Ecs", Draws()), clock, woken.put_nowait, unmeasured)
        loop = asyncio.create_task(permits.serve())
        await asyncio.sleep(0)
        waiters = team("a", 5)
        clock.stands = clock.monotonic()  # no token comes before all have asked
        assert permits.ask(REGION, RUN, waiters[0])
        for waiter in waiters[1:]:
            assert not permits.ask(REGION, RUN, waiter)
        clock.stands = None
        found = [await asyncio.wait_for(woken.get(), 120) for _ in waiters[1:]]
        loop.cancel()
        return found

    assert asyncio.run(play()) == [f"a-{number}" for number in range(1, 5)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 40)),
    ),
    max_size=120,
)


@given(STEPS, st.sampled_from([RUN, STOP]))
def test_nobody_is_forgotten_and_the_rate_is_kept(
    steps: list[tuple[str, str, int]], permit: Permit
) -> None:
    bench = Bench(4, 2)
    began = bench.clock.monotonic()
    for what, name, number in steps:
        waiter = Waiter(name, f"{name}-{number}")
        match what:
            case "want":
                bench.want(waiter, permit)
            case "leave":
                bench.permits.keep(waiter)
                bench.wants.pop(waiter.uid, None)
            case _:
                bench.serve(number / 10)
        assert len(bench.used) <= 4 + (bench.clock.monotonic() - began) * 2 + 1e-6
    bench.serve(60)
    assert bench.wants == {}, "whoever stayed has had a permit"
    assert list(bench.permits.standings()) == []
