"""The recorder: what Postgres is told, with the database there, slow, and away."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.shell.fakes import FakeLedger, name_of
from tests.unit.shell.wire import START, FakeClock, Wire, run, run_to_call

from fractal_models.errors import OutcomeUnknown
from fractal_models.observed import TaskArn
from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord, Refused
from fractal_operator.shell.record import BATCH, HISTORY_BATCH, Recorder
from fractal_operator.shell.touches import SLICES, slice_of

APP = AppStateRecord(
    task_id="uid-1",
    install="ins",
    namespace="default",
    name="one",
    user_id=None,
    state="PENDING",
    ip="",
    port=-1,
    generation=1,
    resource_version="1",
    observed_at=START,
    deleted=False,
)
TASK = ContainerRecord(
    container_id="task-1",
    uid="uid-1",
    namespace="default",
    name="one",
    attempt=1,
    user_id=None,
    cluster="main",
    location="us-east-1",
    ip="",
    state="CREATING",
    port_32262=-1,
    port_32263=-1,
    port_32273=-1,
    dpi=None,
    task_definition="web",
    task_version=1,
    version=1,
    generation=1,
    observed_at=START,
    created_at=START,
    started_at=None,
    stopped_at=None,
    stop_code="",
    stopped_reason="",
    exit_code=None,
)


TASK_2 = replace(TASK, container_id="task-2")


def told(number: int) -> HistoryRecord:
    return HistoryRecord(
        key=f"key-{number}",
        at=START + timedelta(seconds=number),
        uid="uid-1",
        namespace="default",
        name="one",
        attempt=1,
        container_id="",
        phase_from="",
        phase_to="",
        reason="Ready",
        message="",
    )


class Bench:
    """A recorder in front of a ledger, and everything that was refused."""

    def __init__(self, history_bound: int = 5000, **bounds: Any) -> None:
        self.wire = Wire()
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.wire)
        self.refused: list[Refused] = []
        self.recorder = Recorder(
            self.ledger,
            self.clock,
            refused=self.refused.append,
            replay=self._replay,
            history_bound=history_bound,
            **bounds,
        )
        self.replays: Callable[[], None] = lambda: None
        self.replayed = 0

    def _replay(self) -> None:
        self.replayed += 1
        self.replays()

    def flush(self) -> bool:
        return run(self.recorder.flush())

    def flush_when_allowed(self) -> bool:
        """Flush once a minute has passed, more than any back-off."""
        self.clock.advance(60)
        return self.flush()

    def sent(self) -> list[list[str]]:
        return [[name_of(record) for record in batch] for (batch,) in self.wire.of("write")]

    def told(self) -> list[str]:
        return list(self.ledger.history)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_row_for_each_row_of_a_table_and_the_newest_wins(bench: Bench) -> None:
    for state in ("PENDING", "SPINNING_UP_NEW", "READY"):
        bench.recorder.offer([replace(APP, state=state), replace(TASK, state=state)])
    assert bench.recorder.depth() == 2
    assert bench.flush()
    assert bench.sent() == [["uid-1", "task-1"]]
    assert bench.ledger.apps["uid-1"].state == bench.ledger.containers["task-1"].state == "READY"
    assert bench.recorder.depth() == 0


def test_nothing_new_costs_nothing(bench: Bench) -> None:
    assert bench.flush()
    assert bench.wire.calls == []
    bench.recorder.offer([APP, TASK])
    bench.flush()
    later = START + timedelta(minutes=1)
    bench.recorder.offer([replace(APP, observed_at=later, resource_version="9")])
    bench.recorder.offer([replace(TASK, observed_at=later, version=2)])
    assert bench.recorder.depth() == 0
    bench.recorder.offer([replace(APP, state="READY", observed_at=later)])
    assert bench.recorder.depth() == 1


def test_a_change_back_before_the_write_is_written(bench: Bench) -> None:
    bench.recorder.offer([APP])
    bench.flush()
    bench.recorder.offer([replace(APP, state="READY")])
    bench.recorder.offer([replace(APP, observed_at=START + timedelta(seconds=1))])
    bench.flush()
    assert bench.ledger.apps["uid-1"].state == "PENDING"
    assert bench.ledger.apps["uid-1"].observed_at == START + timedelta(seconds=1)


def test_a_dead_database_loses_nothing_and_keeps_the_order(bench: Bench) -> None:
    bench.ledger.down = True
    for number in range(5):
        bench.recorder.offer([replace(APP, generation=number), told(number)])
        assert not bench.flush_when_allowed()
    assert bench.recorder.failures == 5
    assert bench.recorder.depth() == 6
    bench.ledger.down = False
    assert bench.flush_when_allowed()
    assert bench.told() == [f"key-{number}" for number in range(5)]
    assert bench.ledger.apps["uid-1"].generation == 4
    assert (bench.recorder.depth(), bench.recorder.failures) == (0, 0)


@pytest.mark.parametrize("after", [False, True])
def test_a_write_whose_answer_is_lost_is_repeated(bench: Bench, after: bool) -> None:
    bench.wire.fail("write", OutcomeUnknown("the connection broke"), after=after)
    bench.recorder.offer([APP, told(1), told(2)])
    assert not bench.flush()
    assert bench.flush_when_allowed()
    assert bench.sent() == [["uid-1", "key-1", "key-2"]] * 2
    assert bench.told() == ["key-1", "key-2"]


def test_attempts_on_a_dead_database_become_rare_and_never_cease(bench: Bench) -> None:
    bench.ledger.down = True
    bench.recorder.offer([APP])
    times = []
    for _ in range(1200):
        before = len(bench.wire.calls)
        bench.flush()
        if len(bench.wire.calls) > before:
            times.append(bench.clock.monotonic())
        bench.clock.advance(0.5)
    pauses = [late - early for early, late in pairwise(times)]
    assert pauses[0] <= 1.5
    assert all(15 <= pause <= 30.5 for pause in pauses[8:])
    assert len(times) <= 50


def test_lag_tells_how_long_the_oldest_record_waits(bench: Bench) -> None:
    assert bench.recorder.lag() == 0
    bench.ledger.down = True
    bench.recorder.offer([APP])
    bench.clock.advance(60)
    bench.recorder.offer([TASK])
    assert bench.recorder.lag() == 60
    assert not bench.flush()
    bench.ledger.down = False
    bench.flush_when_allowed()
    assert bench.recorder.lag() == 0


def test_a_newer_row_that_comes_while_one_is_written_is_written_too(bench: Bench) -> None:
    bench.wire.suspends = True
    bench.recorder.offer([APP, told(1)])
    writing = bench.recorder.flush()
    assert run_to_call(writing, 1)
    bench.recorder.offer([replace(APP, state="READY"), told(2)])
    assert run(writing)
    assert bench.sent() == [["uid-1", "key-1"], ["uid-1", "key-2"]]
    assert bench.ledger.apps["uid-1"].state == "READY"


def test_the_same_row_offered_while_it_is_written_is_not_written_twice(bench: Bench) -> None:
    bench.wire.suspends = True
    bench.recorder.offer([APP])
    writing = bench.recorder.flush()
    assert run_to_call(writing, 1)
    bench.recorder.offer([replace(APP, observed_at=START + timedelta(seconds=5))])
    assert run(writing)
    assert bench.sent() == [["uid-1"]]


def test_large_amounts_go_in_bounded_batches(bench: Bench) -> None:
    bench.recorder.offer(replace(APP, task_id=f"uid-{n}") for n in range(2 * BATCH + 1))
    bench.recorder.offer(told(n) for n in range(2 * BATCH + 1))
    assert bench.flush()
    assert [len(batch) for batch in bench.sent()] == [BATCH + HISTORY_BATCH, BATCH + 1, 1]
    assert len(bench.ledger.apps) == 2 * BATCH + 1
    assert bench.told() == [f"key-{n}" for n in range(2 * BATCH + 1)]


def test_history_beyond_its_bound_leaves_one_row_that_marks_the_gap() -> None:
    bench = Bench(history_bound=3)
    bench.ledger.down = True
    bench.recorder.offer(told(number) for number in range(5))
    bench.flush()
    bench.ledger.down = False
    assert bench.flush_when_allowed()
    assert bench.told() == ["gap-key-1", "key-2", "key-3", "key-4"]
    gap = bench.ledger.history["gap-key-1"]
    assert (gap.reason, gap.at) == ("HistoryGap", told(1).at)
    bench.recorder.offer([told(9)])
    bench.flush()
    assert bench.told()[4:] == ["key-9"], "one outage, one gap"


def test_history_that_overflows_while_it_is_written_loses_only_what_the_gap_tells() -> None:
    bench = Bench(history_bound=3)
    bench.wire.suspends = True
    bench.recorder.offer(told(number) for number in range(3))
    writing = bench.recorder.flush()
    assert run_to_call(writing, 1)
    bench.recorder.offer([told(3), told(4)])  # 0 and 1 make room, while they are being written
    assert run(writing)
    kept = [key for key in bench.told() if not key.startswith("gap-")]
    assert kept == [f"key-{number}" for number in range(5)]


def test_what_postgres_refuses_is_reported_once_and_holds_up_nothing(bench: Bench) -> None:
    bench.ledger.poison = {"task-1"}
    bench.recorder.offer([APP, TASK, told(1)])
    assert bench.flush()
    assert [name_of(each.record) for each in bench.refused] == ["task-1"]
    assert list(bench.ledger.apps) == ["uid-1"]
    assert bench.told() == ["key-1"]
    bench.recorder.offer([TASK])
    assert bench.recorder.depth() == 0, "the same row again would be refused again"


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


ARNS = [TaskArn(f"task-{number}") for number in range(1000)]


def test_tasks_seen_every_minute_are_written_every_five_a_fifth_at_a_time(bench: Bench) -> None:
    for minute in range(10):
        bench.recorder.touch(ARNS, START + minutes(minute))
        for _ in range(4):
            assert bench.flush()
            bench.clock.advance(15)
    written = [seen for (seen,) in bench.wire.of("touch")]
    assert len(written) == 2 * SLICES == 10
    for minute, seen in enumerate(written):
        assert 150 < len(seen) < 250
        assert set(seen.values()) == {START + minutes(minute)}
    for round_of in (written[:SLICES], written[SLICES:]):
        assert sorted(arn for seen in round_of for arn in seen) == sorted(ARNS)
    for minute in range(SLICES):
        assert written[minute].keys() == written[minute + SLICES].keys(), "the same ones again"


def test_tasks_that_are_seen_once_are_all_written_within_five_minutes(bench: Bench) -> None:
    bench.recorder.touch(ARNS, START)
    for _ in range(SLICES):
        bench.flush()
        bench.clock.advance(60)
    assert bench.ledger.touched == dict.fromkeys(ARNS, START)
    calls = len(bench.wire.calls)
    bench.flush_when_allowed()
    assert len(bench.wire.calls) == calls, "nothing is left to be told"


def test_a_touch_that_fails_is_tried_again_and_none_are_kept_for_a_dead_database(
    bench: Bench,
) -> None:
    first = [arn for arn in ARNS if slice_of(arn) == 0]
    bench.recorder.touch(first[:10], START)
    bench.ledger.down = True
    assert not bench.flush()
    bench.recorder.touch(ARNS, START + minutes(1))
    bench.ledger.down = False
    assert bench.flush_when_allowed()
    assert bench.ledger.touched == dict.fromkeys(first[:10], START)
    bench.recorder.touch(first, START + minutes(9))
    for _ in range(SLICES):
        assert bench.flush_when_allowed()
    assert bench.ledger.touched == dict.fromkeys(first, START + minutes(9))


def test_a_task_that_is_seen_again_while_it_is_written_is_written_again(bench: Bench) -> None:
    bench.wire.suspends = True
    (arn,) = [arn for arn in ARNS[:10] if slice_of(arn) == 0][:1]
    bench.recorder.touch([arn], START)
    writing = bench.recorder.flush()
    assert run_to_call(writing, 1)
    bench.recorder.touch([arn], START + minutes(1))
    assert run(writing)
    for _ in range(SLICES):
        assert bench.flush_when_allowed()
    assert bench.ledger.touched == {arn: START + minutes(1)}


def test_rows_go_before_touches(bench: Bench) -> None:
    arn = next(arn for arn in ARNS if slice_of(arn) == 0)
    bench.recorder.touch([arn], START)
    bench.recorder.offer([replace(TASK, container_id=arn)])
    bench.flush()
    assert [call.method for call in bench.wire.calls] == ["write", "touch"]


def test_rows_beyond_their_bound_give_way_and_are_asked_for_when_there_is_room() -> None:
    bench = Bench(rows_bound=3)
    bench.ledger.down = True
    apps = [replace(APP, task_id=f"uid-{number}") for number in range(4)]
    bench.replays = lambda: bench.recorder.offer(apps)
    bench.recorder.offer([*apps, replace(TASK, state="STOPPED"), TASK_2])
    assert bench.recorder.depth() == 3
    assert not bench.flush()
    bench.ledger.down = False
    for _ in range(3):
        assert bench.flush_when_allowed()
    assert bench.ledger.apps == {row.task_id: row for row in apps}
    assert bench.ledger.containers.keys() == {"task-1", "task-2"}
    assert bench.replayed == 2, "for the outage, and for the one that was turned away"
    assert bench.told() == [], "what lives is not lost by it"


def test_an_end_that_has_to_give_way_leaves_a_row_that_marks_the_gap() -> None:
    bench = Bench(rows_bound=1)
    bench.ledger.down = True
    bench.recorder.offer([replace(TASK, state="STOPPED"), TASK_2])
    bench.ledger.down = False
    assert bench.flush()
    assert bench.told() == ["gap-task-1"]
    assert bench.ledger.history["gap-task-1"].at == TASK.observed_at


def test_of_ended_tasks_only_the_last_are_remembered() -> None:
    bench = Bench(ended_kept=2)
    ended = [replace(TASK, container_id=f"t{n}", uid=f"u{n}", state="STOPPED") for n in range(3)]
    bench.recorder.offer([*ended[:2], TASK])
    bench.flush()
    bench.recorder.offer(ended[:1])  # the last to be forgotten
    bench.recorder.offer(ended[2:])
    bench.flush()
    assert bench.recorder.written().keys() == {"task-1", "t0", "t2"}
    bench.recorder.offer([replace(APP, task_id="u0", deleted=True)])
    bench.flush()
    bench.recorder.offer([replace(ended[1], uid="u3"), replace(ended[1], container_id="t4")])
    bench.flush()
    assert bench.recorder.written().keys() == {"task-1", "t1", "t4"}


def test_history_that_would_be_pruned_at_once_is_not_taken_in() -> None:
    bench = Bench(keep=timedelta(days=2))
    bench.clock.advance(timedelta(days=2, seconds=5).total_seconds())
    bench.recorder.offer(told(number) for number in range(10))
    bench.flush()
    assert bench.told() == [f"key-{number}" for number in range(5, 10)]


def test_the_last_row_of_an_object_is_forgotten_with_it(bench: Bench) -> None:
    gone = replace(APP, state="CANCELLED", deleted=True)
    bench.recorder.offer([gone])
    bench.flush()
    bench.recorder.offer([gone])
    bench.flush()
    assert bench.sent() == [["uid-1"], ["uid-1"]], "nothing is kept of it to compare with"


def test_what_was_refused_does_not_count_as_written_until_it_is(bench: Bench) -> None:
    bench.ledger.poison = ["uid-1"]
    bench.recorder.offer([APP, TASK])
    bench.flush()
    assert bench.recorder.written() == {"task-1": TASK}
    bench.ledger.poison = []
    better = replace(APP, state="READY")
    bench.recorder.offer([better])
    bench.flush()
    assert bench.recorder.written() == {"uid-1": better, "task-1": TASK}


def test_a_sight_of_a_lower_generation_is_taken_in_once_etcd_was_restored(bench: Bench) -> None:
    bench.recorder.offer([replace(TASK, generation=3)])
    bench.flush()
    later = START + timedelta(seconds=1)
    restored = replace(TASK, generation=2, state="RUNNING_AVAILABLE", observed_at=later)
    bench.recorder.offer([restored])
    assert bench.recorder.last("task-1", TASK) == restored
