"""Whether task events are relied on: what is seen at the queue, and what is not told by it."""

from dataclasses import replace

import pytest
from tests.unit.shell.ecs_world import MAIN, task_arn
from tests.unit.shell.wire import START, FakeClock

from fractal_models.observed import ClusterArn, ObservedTask
from fractal_operator.shell.stream import (
    BEHIND_SECONDS,
    DISTRUST_SECONDS,
    GRACE_SECONDS,
    HEARD_SECONDS,
    LAG_SECONDS,
    Stream,
)

TASK = ObservedTask(task_arn("one"), ClusterArn(MAIN), START, "RUNNING", version=3)
NEWER = replace(TASK, version=4, desired_status="STOPPED")
NEWEST = replace(NEWER, version=5, last_status="DEACTIVATING")


class Bench:
    """A stream, what it has told, and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.turns: list[bool] = []
        self.missed = 0
        self.stream = Stream(self.clock, missed=self._missed)
        self.stream.changed = self.turns.append

    def _missed(self, number: int) -> None:
        self.missed += number

    def pass_(self, seconds: float, *, step: float = 20.0) -> None:
        """Time passes while the queue answers, and is empty."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.stream.heard((), ())


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.stream.heard((), ())
    return made


def test_events_are_relied_on_from_the_first_answer_of_the_queue() -> None:
    bench = Bench()
    assert not bench.stream.healthy()
    bench.clock.advance(5)
    bench.stream.heard((), ())
    assert bench.stream.healthy()
    assert bench.stream.healthy_since == bench.clock.monotonic()
    assert bench.turns == [False, True]


def test_a_queue_that_is_silent_for_long_is_not_relied_on(bench: Bench) -> None:
    bench.clock.advance(HEARD_SECONDS)
    assert bench.stream.healthy()
    bench.clock.advance(1)
    assert not bench.stream.healthy()
    assert bench.stream.healthy_since is None
    bench.stream.heard((), ())
    assert bench.stream.healthy()


def test_a_queue_that_refuses_is_not_relied_on_at_once(bench: Bench) -> None:
    assert bench.stream.healthy()
    bench.stream.refused()
    assert not bench.stream.healthy()


def test_what_a_queue_that_is_behind_may_still_hold_is_not_missed(bench: Bench) -> None:
    """Of 10,000 launches at once the events came a minute late, and were distrusted for five."""
    bench.stream.shown(TASK, NEWER)
    for _ in range(5):
        bench.clock.advance(20)
        bench.stream.heard((GRACE_SECONDS - 10,), ())
        assert bench.stream.healthy()
    bench.stream.told(NEWER)
    bench.stream.shown(NEWER, NEWEST)
    bench.clock.advance(GRACE_SECONDS)
    bench.stream.heard((GRACE_SECONDS - 10,), ())
    assert bench.stream.healthy()
    bench.stream.heard((), ())  # all is read, and nothing has told of it
    assert not bench.stream.healthy()
    assert bench.missed == 1


@pytest.mark.parametrize(("first", "again"), [((80.0, 1.0), ()), ((1.0,), (80.0,))])
def test_a_queue_keeps_no_order(
    bench: Bench, first: tuple[float, ...], again: tuple[float, ...]
) -> None:
    """Beside a new message others may wait; so may those whose answer to us was lost."""
    bench.stream.shown(TASK, NEWER)
    for _ in range(15):
        bench.clock.advance(5)
        bench.stream.heard((80.0,), ())
    bench.stream.heard(first, again)
    bench.stream.heard((1.0,), ())
    assert bench.stream.healthy()
    bench.stream.told(NEWER)
    bench.pass_(GRACE_SECONDS * 2)
    assert bench.stream.healthy()
    assert bench.missed == 0


def test_a_queue_that_is_never_empty_shows_what_is_missed_all_the_same(bench: Bench) -> None:
    bench.stream.shown(TASK, NEWER)
    for _ in range(2 * int(GRACE_SECONDS)):
        bench.clock.advance(1)
        bench.stream.heard((0.5, 2.0), ())
    assert not bench.stream.healthy()
    assert bench.missed == 1


def test_one_event_that_is_late_in_a_quiet_time_turns_nothing(bench: Bench) -> None:
    assert bench.stream.healthy()
    bench.stream.heard((90.0,), ())
    for _ in range(19):
        bench.clock.advance(1)
        assert bench.stream.healthy()
    bench.pass_(20)
    assert bench.stream.healthy()
    assert bench.turns == [True]


def test_a_queue_that_is_behind_is_not_relied_on_until_it_has_caught_up(bench: Bench) -> None:
    for _ in range(3):
        bench.stream.heard((LAG_SECONDS + 1,), ())
        assert bench.stream.healthy()
        bench.clock.advance(BEHIND_SECONDS / 2)
    bench.stream.heard((LAG_SECONDS + 1,), ())
    assert not bench.stream.healthy()
    bench.stream.heard((), (1.0,))  # which waited for us, not for the queue
    assert not bench.stream.healthy()
    bench.stream.heard((LAG_SECONDS,), ())
    assert bench.stream.healthy()


def test_a_change_that_no_event_tells_of_in_time_shows_that_the_rule_is_gone(bench: Bench) -> None:
    bench.stream.shown(TASK, NEWER)
    bench.pass_(GRACE_SECONDS - 1)
    assert bench.stream.healthy()
    bench.pass_(1)
    assert not bench.stream.healthy()
    assert bench.missed == 1
    bench.pass_(DISTRUST_SECONDS * 2)
    assert not bench.stream.healthy()  # an empty queue proves nothing
    bench.stream.told(NEWEST)
    assert bench.stream.healthy()
    assert bench.missed == 1


def test_an_event_that_comes_a_little_later_than_the_look_is_no_reason(bench: Bench) -> None:
    bench.stream.shown(TASK, NEWER)
    bench.stream.told(TASK)  # this one tells of less
    bench.pass_(GRACE_SECONDS - 1)
    bench.stream.told(NEWER)
    bench.pass_(GRACE_SECONDS)
    assert bench.stream.healthy()


def test_a_second_look_does_not_put_off_the_deadline(bench: Bench) -> None:
    bench.stream.shown(TASK, NEWER)
    bench.pass_(GRACE_SECONDS - 1)
    bench.stream.shown(NEWER, replace(NEWER, version=5, health="HEALTHY"))
    bench.stream.shown(TASK, NEWER)
    bench.pass_(1)
    assert bench.missed == 0  # not looked at yet
    assert not bench.stream.healthy()


def test_trust_comes_back_only_after_a_while(bench: Bench) -> None:
    bench.stream.shown(TASK, NEWER)
    bench.pass_(GRACE_SECONDS)
    assert not bench.stream.healthy()
    bench.pass_(DISTRUST_SECONDS - 1)
    bench.stream.told(NEWEST)
    assert not bench.stream.healthy()
    bench.pass_(1)
    bench.stream.told(replace(NEWEST, version=6))
    assert bench.stream.healthy()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, NEWER),
        (TASK, TASK),
        (NEWER, TASK),
        (replace(TASK, version=None), NEWER),
        (TASK, replace(NEWER, version=None)),
        (TASK, replace(TASK, version=4, health="UNHEALTHY")),
    ],
)
def test_what_is_no_change_needs_no_event(
    bench: Bench, old: ObservedTask | None, new: ObservedTask
) -> None:
    bench.stream.shown(old, new)
    bench.pass_(GRACE_SECONDS * 2)
    assert bench.stream.healthy()


def test_without_a_queue_nothing_is_awaited() -> None:
    bench = Bench()
    bench.stream.shown(TASK, NEWER)
    bench.clock.advance(GRACE_SECONDS * 2)
    assert not bench.stream.healthy()
    assert bench.missed == 0


def test_each_turn_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fractal_operator")
    for _ in range(3):
        bench.stream.healthy()
    bench.stream.refused()
    for _ in range(3):
        bench.stream.healthy()
    assert [each.levelname for each in caplog.records] == ["INFO", "WARNING"]
    assert "the queue does not answer" in caplog.text.replace("their queue", "the queue")
