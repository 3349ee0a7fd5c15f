"""Rate limits: tokens over simulated time, shares of the quota, and shrinking after a throttle."""

import threading

import pytest
from tests.unit.aws_wire import Clock

from fractal_helpers.aws.limits import QuotaGroups, TokenBucket


def bucket(clock: Clock, burst: float = 5, per_second: float = 2) -> TokenBucket:
    return TokenBucket(burst, per_second, monotonic=clock.monotonic, sleep=clock.sleep)


def drain(tokens: TokenBucket) -> int:
    taken = 0
    while tokens.try_take():
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


def test_take_waits_exactly_until_its_tokens_are_due() -> None:
    clock = Clock()
    tokens = bucket(clock)
    assert tokens.take(n=5, timeout=0)
    assert tokens.take(n=3, timeout=2)
    assert clock.slept == [1.5]


def test_take_that_would_be_late_takes_nothing_and_does_not_wait() -> None:
    clock = Clock()
    tokens = bucket(clock)
    drain(tokens)
    assert not tokens.take(n=3, timeout=1.4)
    assert clock.slept == []
    clock.time += 0.5
    assert tokens.try_take()


def test_a_waiting_caller_cannot_be_overtaken() -> None:
    clock = Clock()
    asked: list[bool] = []

    def sleep(seconds: float) -> None:
        clock.time += seconds / 2
        asked.append(tokens.try_take())
        clock.time += seconds / 2

    tokens = TokenBucket(4, 1, monotonic=clock.monotonic, sleep=sleep)
    assert tokens.take(n=4)
    assert tokens.take(n=4, timeout=10)
    assert asked == [False]


def test_two_threads_never_take_the_same_token() -> None:
    tokens = bucket(Clock(), burst=1)
    taken: list[bool] = []
    rival = threading.Thread(target=lambda: taken.append(tokens.try_take()))

    class Slow(float):
        """A number whose comparison with the level lets the rival in, if anything does."""

        def __gt__(self, level: float) -> bool:
            rival.start()
            rival.join(timeout=0.2)
            return float(self) > level

    taken.append(tokens.try_take(Slow(1)))
    rival.join()
    assert sorted(taken) == [False, True]


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


@pytest.mark.parametrize(
    ("operation", "burst", "per_second"),
    [
        ("RunTask", 25, 10),
        ("StopTask", 25, 10),
        ("DescribeTasks", 50, 10),
        ("DescribeClusters", 25, 10),
        ("RegisterTaskDefinition", 10, 0.5),
        ("DescribeTaskDefinition", 25, 10),
        ("DescribeInstances", 50, 10),
    ],
)
def test_half_of_the_documented_quota(operation: str, burst: int, per_second: float) -> None:
    clock = Clock()
    tokens = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep).bucket(operation)
    assert drain(tokens) == burst
    clock.time += 10
    assert drain(tokens) == min(burst, int(per_second * 10))


def test_actions_of_a_group_share_a_bucket_but_launches_and_stops_do_not() -> None:
    quotas = QuotaGroups()
    assert quotas.bucket("DescribeTasks") is quotas.bucket("ListTasks")
    assert quotas.bucket("DescribeTasks") is quotas.bucket("DescribeContainerInstances")
    assert quotas.bucket("RunTask") is not quotas.bucket("StopTask")
    assert drain(quotas.bucket("StopTask")) == 25
    assert drain(quotas.bucket("RunTask")) == 25


def test_the_share_of_the_quota_can_be_set() -> None:
    assert drain(QuotaGroups(1.0).bucket("RunTask")) == 50
    assert drain(QuotaGroups(0.01).bucket("RegisterTaskDefinition")) == 1
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="share"):
            QuotaGroups(share)
    with pytest.raises(ValueError, match="bucket"):
        TokenBucket(0, 1)
