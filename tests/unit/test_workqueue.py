"""The work queue, by example and against a model that keeps everything in one plain dict."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fractal_operator.shell.workqueue import WorkQueue


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time) -> WorkQueue[str]:
    return WorkQueue(time)


def test_duplicates_coalesce_and_order_is_kept(queue: WorkQueue[str]) -> None:
    for key in ["b", "a", "b", "a"]:
        queue.add(key)
    assert queue.depth() == 2
    assert [queue.take(), queue.take(), queue.take()] == ["b", "a", None]


def test_a_key_is_with_one_worker_at_a_time_and_comes_back_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_it_tells_which_key_is_worked_on_for_longest(queue: WorkQueue[str], time: Time) -> None:
    assert queue.longest() == (0.0, None)
    for key in ["a", "b"]:
        queue.add(key)
        queue.take()
        time.now += 10
    assert queue.longest() == (20.0, "a")
    queue.done("a")
    assert queue.longest() == (10.0, "b")


def test_a_key_is_neglected_while_a_worker_is_free(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.add_after("later", 1000)
    time.now += 30
    assert queue.neglected(2) == (30.0, "a")
    assert queue.take() == "a"
    queue.add("b")
    time.now += 10
    assert queue.neglected(2) == (10.0, "b")
    assert queue.neglected(1) == (0.0, None), "the only worker is busy"
    queue.done("a")
    assert queue.neglected(1) == (0.0, "b"), "it may be taken since now"
    time.now += 5
    assert queue.neglected(1) == (5.0, "b")
    queue.take()
    assert queue.neglected(1) == queue.neglected(2) == (0.0, None), "nothing else is ready"


def test_the_earliest_time_wins(queue: WorkQueue[str], time: Time) -> None:
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    assert queue.next_deadline() == 110.0
    time.now = 109.9
    assert queue.take() is None
    time.now = 110.0
    assert queue.take() == "a"
    queue.done("a")
    assert queue.next_deadline() is None


def test_a_time_that_was_overtaken_is_forgotten(queue: WorkQueue[str], time: Time) -> None:
    queue.add_after("a", 20)
    queue.add("a")
    queue.take()
    queue.done("a")
    queue.add_after("a", 50)
    assert queue.next_deadline() == 150.0
    time.now += 30
    assert queue.take() is None


def test_a_key_that_came_back_goes_to_the_end(queue: WorkQueue[str], time: Time) -> None:
    queue.add("busy")
    queue.take()
    queue.add("busy")
    time.now += 5
    queue.add("other")
    time.now += 5
    queue.done("busy")
    assert [queue.take(), queue.take()] == ["other", "busy"]


def test_a_time_given_during_work_stands_after_it(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.take()
    queue.add_after("a", 30)
    time.now += 5
    queue.done("a")
    assert queue.next_deadline() == 130.0
    assert queue.take() is None


def test_what_was_due_first_comes_first(queue: WorkQueue[str], time: Time) -> None:
    queue.add_after("late", 2)
    queue.add_after("early", 1)
    time.now += 5
    queue.add("now")
    assert [queue.take(), queue.take(), queue.take()] == ["early", "late", "now"]


def test_failures_back_off_up_to_a_cap_and_are_forgotten(queue: WorkQueue[str], time: Time) -> None:
    waits = [queue.retry("a") for _ in range(12)]
    assert waits[:4] == sorted(waits[:4])
    assert max(waits) <= 300.0
    assert min(waits) > 0
    assert queue.failures("a") == 12
    assert queue.next_deadline() == pytest.approx(time.now + min(waits))
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.retry("a") == waits[0]


def test_two_keys_that_fail_together_do_not_come_back_together(queue: WorkQueue[str]) -> None:
    assert len({queue.retry(f"key-{number}") for number in range(100)}) > 90


def test_everything_is_measured(time: Time) -> None:
    adds: list[None] = []
    retries: list[None] = []
    waits: list[float] = []
    works: list[float] = []
    queue: WorkQueue[str] = WorkQueue(
        time,
        on_add=lambda: adds.append(None),
        on_retry=lambda: retries.append(None),
        on_wait=waits.append,
        on_work=works.append,
    )
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    queue.add_after("a", 30)
    assert (len(adds), len(retries)) == (3, 0)
    time.now += 13
    queue.take()
    time.now += 2
    assert queue.working_seconds() == [2.0]
    queue.done("a")
    assert (waits, works) == ([3.0], [2.0])
    assert queue.working_seconds() == []
    queue.retry("a")
    assert (len(adds), len(retries)) == (4, 1)


def test_giving_back_what_was_not_taken_is_a_bug(queue: WorkQueue[str]) -> None:
    queue.add("a")
    with pytest.raises(KeyError):
        queue.done("a")


def test_a_time_moved_forward_for_ever_does_not_grow_the_heap(queue: WorkQueue[str]) -> None:
    for number in range(10_000):
        queue.add_after("a", 20_000.0 - number)
    assert len(queue._heap) < 200


def team(key: str) -> str:
    return key.partition("-")[0]


def test_a_thousand_keys_of_one_team_delay_anothers_by_one(time: Time) -> None:
    queue: WorkQueue[str] = WorkQueue(time, lane=team)
    for number in range(1000):
        queue.add(f"a-{number}")
    assert queue.take() == "a-0"
    queue.add("b-lone")
    assert {queue.take(), queue.take()} == {"a-1", "b-lone"}


def test_who_is_hurried_comes_before_the_others_of_its_team_only(time: Time) -> None:
    queue: WorkQueue[str] = WorkQueue(time, lane=lambda key: key[0])
    for key in ("a1", "a2", "a3", "b1"):
        queue.add(key)
    queue.hurry("a3")
    queue.hurry("a4")  # it was not known of
    assert [queue.take() for _ in range(5)] == ["a4", "b1", "a3", "a1", "a2"]
    queue.add("a5")
    queue.add_after("a6", 1.0)
    queue.hurry("a6")  # now, not in a second
    assert queue.take() == "a6"


def test_who_is_hurried_while_it_is_worked_on_comes_first_right_after(time: Time) -> None:
    queue: WorkQueue[str] = WorkQueue(time)
    queue.add("a")
    assert queue.take() == "a"
    queue.add("b")
    queue.hurry("a")
    assert queue.take() == "b", "nobody is worked on twice at a time"
    queue.add("c")
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    queue.add("a")
    assert [queue.take(), queue.take()] == ["c", "a"], "hurried once"


def test_a_team_that_is_always_busy_takes_turns_too(time: Time) -> None:
    """Its keys are given back and added again at once, and yet it gets no more than its turns."""
    queue: WorkQueue[str] = WorkQueue(time, lane=team)
    for number in range(50):
        queue.add(f"a-{number}")
        queue.add(f"b-{number}")
    taken = []
    for _ in range(40):
        key = queue.take()
        assert key is not None
        taken.append(team(key))
        if key.startswith("a"):
            queue.add(key)
        queue.done(key)
        time.now += 1
    assert taken == ["a", "b"] * 20


def test_delayed_keys_take_their_turns_when_they_are_due(time: Time) -> None:
    queue: WorkQueue[str] = WorkQueue(time, lane=team)
    for number in range(3):
        queue.add_after(f"a-{number}", 1)
    queue.add_after("b-0", 2)
    time.now += 5
    assert queue.depth() == 4
    assert [queue.take() for _ in range(5)] == ["a-0", "b-0", "a-1", "a-2", None]


KEYS = st.sampled_from("abc")


@dataclass
class Model:
    """The queue's promise in the plainest words: when is each key due, and who works on what."""

    due: dict[str, float] = field(default_factory=dict)
    working: set[str] = field(default_factory=set)

    def add(self, key: str, at: float) -> None:
        self.due[key] = min(at, self.due.get(key, at))

    def done(self, key: str, now: float) -> None:
        self.working.discard(key)
        if key in self.due:
            self.due[key] = max(self.due[key], now)

    def ready(self, now: float) -> set[str]:
        return {key for key, at in self.due.items() if at <= now and key not in self.working}


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.time = Time()
        self.queue: WorkQueue[str] = WorkQueue(self.time)
        self.model = Model()
        for key in "abc":
            self.add(key)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.model.add(key, self.time.now)

    @rule(key=KEYS, seconds=st.integers(-1, 20))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        self.model.add(key, self.time.now + max(seconds, 0))

    @rule(key=KEYS)
    def retry(self, key: str) -> None:
        self.model.add(key, self.time.now + self.queue.retry(key))

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        self.time.now += seconds

    @rule()
    def take(self) -> None:
        ready = self.model.ready(self.time.now)
        key = self.queue.take()
        if key is None:
            assert not ready
            return
        assert key in ready
        assert self.model.due[key] == min(self.model.due[each] for each in ready)
        del self.model.due[key]
        self.model.working.add(key)

    @precondition(lambda self: self.model.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.working)))
        self.queue.done(key)
        self.model.done(key, self.time.now)

    @invariant()
    def says_when_and_how_many(self) -> None:
        now = self.time.now
        ready = self.model.ready(now)
        later = [at for key, at in self.model.due.items() if key not in self.model.working]
        assert self.queue.depth() == len(ready)
        assert self.queue.next_deadline() == (now if ready else min(later, default=None))
        assert len(self.queue.working_seconds()) == len(self.model.working)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
