"""A token bucket: tokens over simulated time, reserves that starve nobody, and shrinking."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.aws_wire import Clock

from fractal_helpers.aws.bucket import TokenBucket

TWO = {"a": 0.5, "b": 0.5}


def bucket(clock: Clock, burst: float = 5, per_second: float = 2) -> TokenBucket:
    return TokenBucket(burst, per_second, monotonic=clock.monotonic, sleep=clock.sleep)


def drain(tokens: TokenBucket, reserve: str = "") -> int:
    taken = 0
    while not tokens.draw(reserve):
        taken += 1
    return taken


def test_a_burst_then_the_refill_rate_and_never_more_than_the_burst() -> None:
    clock = Clock()
    tokens = bucket(clock)
    assert drain(tokens) == 5
    clock.time += 1.5
    assert drain(tokens) == 3
    clock.time += 3600
    assert drain(tokens) == 5


def test_a_draw_that_fails_says_when_there_is_a_token() -> None:
    clock = Clock()
    tokens = bucket(clock)
    drain(tokens)
    clock.time += 0.1
    wait = tokens.draw()
    assert wait == pytest.approx(0.4)
    clock.time += wait
    assert not tokens.draw()


@given(st.lists(st.sampled_from("ab"), max_size=12), st.floats(0, 3), st.floats(0.1, 0.9))
def test_a_draw_that_fails_says_exactly_when_whatever_the_other_has(
    drawn: list[str], later: float, part: float
) -> None:
    clock = Clock()
    tokens = TokenBucket(8, 2, {"a": part, "b": 1 - part}, monotonic=clock.monotonic)
    for each in drawn:
        tokens.draw(each)
    clock.time += later
    drain(tokens, "a")
    wait = tokens.draw("a")
    clock.time += wait - 1e-3
    assert tokens.draw("a"), "not before"
    clock.time += 2e-3
    assert not tokens.draw("a")


def test_take_waits_exactly_until_its_token_is_due() -> None:
    clock = Clock()
    tokens = bucket(clock)
    drain(tokens)
    assert tokens.take(timeout=2)
    assert clock.slept == [0.5]


def test_take_that_would_be_late_takes_nothing_and_does_not_wait() -> None:
    clock = Clock()
    tokens = bucket(clock)
    drain(tokens)
    assert not tokens.take(timeout=0.4)
    assert clock.slept == []
    clock.time += 0.5
    assert not tokens.draw()


def test_a_waiting_caller_cannot_be_overtaken() -> None:
    clock = Clock()
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        clock.time += seconds / 2
        asked.append(tokens.draw())
        clock.time += seconds / 2

    tokens = TokenBucket(1, 1, monotonic=clock.monotonic, sleep=sleep)
    assert tokens.take()
    assert tokens.take(timeout=10)
    assert asked == [1.5]


def test_two_threads_never_take_the_same_token() -> None:
    """The clock, which is read before the token is taken, lets the rival in, if anything does."""
    taken: list[float] = []
    rival = threading.Thread(target=lambda: taken.append(tokens.draw()))
    reads: list[float] = []

    def monotonic() -> float:
        reads.append(0.0)
        if len(reads) == 2:
            rival.start()
            rival.join(timeout=0.2)
        return 1_000.0

    tokens = TokenBucket(1, 1, monotonic=monotonic)
    taken.append(tokens.draw())
    rival.join()
    assert sorted(taken) == [0.0, 1.0]


def test_shrink_drops_the_savings_and_halves_the_rate_until_half_a_minute_later() -> None:
    clock = Clock()
    tokens = bucket(clock, burst=1000, per_second=2)
    tokens.shrink()
    assert drain(tokens) == 0
    clock.time += 10
    assert drain(tokens) == 10
    clock.time += 30  # 20 s at 1/s, 10 s at 2/s
    assert drain(tokens) == 40


def test_repeated_shrinks_stop_at_an_eighth_and_recover_step_by_step() -> None:
    clock = Clock()
    tokens = bucket(clock, burst=1000, per_second=8)
    for _ in range(6):
        clock.time += 2
        tokens.shrink()
    clock.time += 10
    assert drain(tokens) == 10
    clock.time += 80  # 20 s at 1/s, 30 s at 2/s, 30 s at 4/s
    assert drain(tokens) == 20 + 60 + 120
    clock.time += 10
    assert drain(tokens) == 80


def test_requests_that_are_throttled_together_shrink_once() -> None:
    clock = Clock()
    tokens = bucket(clock, burst=1000, per_second=8)
    for _ in range(20):
        clock.time += 0.01
        tokens.shrink()
    clock.time += 5
    assert drain(tokens) == pytest.approx(20, abs=1)


def test_what_a_full_reserve_has_no_room_for_goes_to_the_other() -> None:
    clock = Clock()
    tokens = TokenBucket(10, 4, TWO, monotonic=clock.monotonic)
    assert drain(tokens, "a") == 5
    clock.time += 1
    assert drain(tokens, "a") == 4, "b is full: its part is a's as well"
    assert drain(tokens, "b") == 5
    clock.time += 1
    assert (drain(tokens, "a"), drain(tokens, "b")) == (2, 2)


def test_a_token_that_is_put_back_is_there_again_but_never_too_many() -> None:
    tokens = TokenBucket(10, 4, TWO, monotonic=Clock().monotonic)
    assert not tokens.draw("a")
    for _ in range(3):
        tokens.put_back("a")
    assert drain(tokens, "a") == 5


def test_each_reserve_holds_a_token_at_least() -> None:
    tokens = TokenBucket(1, 0.1, TWO, monotonic=Clock().monotonic)
    assert (drain(tokens, "a"), drain(tokens, "b")) == (1, 1)
    for burst, per_second in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="bucket"):
            TokenBucket(burst, per_second)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "shrink"]),
        st.floats(0, 5, allow_nan=False),
    ),
    max_size=200,
)


@given(
    STEPS,
    st.floats(4, 100),
    st.floats(0.5, 50),
    st.floats(0.1, 0.9),
)
def test_never_more_than_the_burst_and_the_refill_come_out_in_any_time(
    steps: list[str | float], burst: float, per_second: float, part: float
) -> None:
    """And of each reserve no more than it holds, what it gets, and the other's refill."""
    clock = Clock()
    reserves = {"a": part, "b": 1 - part}
    tokens = TokenBucket(burst, per_second, reserves, monotonic=clock.monotonic)
    most = sum(max(1.0, burst * each) for each in reserves.values())
    taken: list[float] = []
    for step in steps:
        match step:
            case "shrink":
                tokens.shrink()
            case str():
                wait = tokens.draw(step)
                if not wait:
                    taken.append(clock.time)
                else:
                    assert wait > 0
            case _:
                clock.time += step
        for first, since in enumerate(taken[-50:], max(0, len(taken) - 50)):
            count = len(taken) - first
            assert count <= most + (clock.time - since) * per_second + 1e-6
    assert all(level <= most for level, _ in tokens.levels().values())


@given(st.lists(st.sampled_from("aab"), min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_reserve_gets_its_part_whatever_the_other_asks(asks: list[str], step: float) -> None:
    """Whoever asks no more often than its part allows is never refused."""
    clock = Clock()
    tokens = TokenBucket(8, 2, TWO, monotonic=clock.monotonic)
    credit = 4.0
    for who in asks:
        clock.time += step
        credit = min(4.0, credit + step * 1.0)
        drain(tokens, "b")
        if who == "a" and credit >= 1:
            credit -= 1
            assert not tokens.draw("a")


@given(st.floats(0.01, 2), st.integers(1, 60))
def test_nothing_is_wasted_while_one_of_them_wants_it(step: float, times: int) -> None:
    clock = Clock()
    tokens = TokenBucket(8, 2, TWO, monotonic=clock.monotonic)
    began, taken = clock.time, drain(tokens, "a")
    for _ in range(times):
        clock.time += step
        taken += drain(tokens, "a")
    due = 4 + (clock.time - began) * 2
    lost = times * max(0.0, step * 2 - 3)  # more than fits in, beside a part of a token
    assert due - lost - 1 - 1e-6 <= taken <= due + 1e-6
