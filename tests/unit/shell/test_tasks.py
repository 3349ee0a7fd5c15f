"""The store of tasks: whose they are, who is woken, what is kept."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.shell.ecs_world import MAIN, OTHER, task_arn
from tests.unit.shell.wire import START

from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.core.tokens import started_by
from fractal_operator.shell.tasks import KEPT_STOPPED, Tasks

ARN = task_arn("one")


class Bench:
    def __init__(self) -> None:
        self.woken: list[str] = []
        self.duplicates = 0
        self.tasks = Tasks("ins", self.woken.append, self.count)

    def count(self) -> None:
        self.duplicates += 1

    def arns(self, uid: str) -> list[TaskArn]:
        return [task.arn for task in self.tasks.of(uid)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def task(
    name: str = "one",
    *,
    uid: str = "uid-1",
    attempt: int = 1,
    install: str = "ins",
    version: int = 1,
    status: str = "RUNNING",
    after: float = 0.0,
) -> ObservedTask:
    return ObservedTask(
        arn=task_arn(name),
        cluster_arn=ClusterArn(MAIN),
        observed_at=START + timedelta(seconds=after),
        last_status=status,
        desired_status="STOPPED" if status == "STOPPED" else "RUNNING",
        started_by=started_by(install, uid, attempt),
        version=version,
    )


def missing_for(bench: Bench, arn: TaskArn, span: timedelta) -> None:
    bench.tasks.absent(arn, START)
    bench.tasks.absent(arn, START + span)


# --- whose ---


def test_a_task_of_ours_belongs_to_the_object_it_was_launched_for(bench: Bench) -> None:
    bench.tasks.observe(task())
    assert bench.arns("uid-1") == [ARN]
    assert bench.woken == ["uid-1"]


def test_tasks_of_nobody_are_not_kept(bench: Bench) -> None:
    bench.tasks.observe(replace(task(), started_by="service"))
    assert bench.arns("uid-1") == []
    assert bench.tasks.expected(MAIN) == []
    assert bench.woken == []


@pytest.mark.parametrize(
    "text",
    ["", "one", ARN[:-4], f"{ARN}!", f"{ARN}\n", f"{ARN}/x", f"{ARN} ", ARN + "x" * 64, f" {ARN}"],
)
def test_what_is_no_task_arn_is_not_looked_for(bench: Bench, text: str) -> None:
    bench.tasks.claim("uid-1", [text, ARN])
    assert bench.tasks.expected(MAIN) == [ARN]


def test_a_claimed_task_is_shown_to_who_claims_it(bench: Bench) -> None:
    bench.tasks.claim("uid-2", [ARN])
    bench.tasks.observe(replace(task(), started_by="service"))
    assert bench.arns("uid-2") == [ARN]
    assert bench.woken == ["uid-2"]


def test_a_false_claim_takes_no_task_from_its_owner(bench: Bench) -> None:
    bench.tasks.claim("uid-2", [ARN])
    bench.tasks.observe(task())
    assert bench.arns("uid-1") == [ARN]
    assert "uid-1" in bench.woken


def test_claims_are_expected_until_they_are_dropped(bench: Bench) -> None:
    bench.tasks.claim("uid-1", [ARN, ""])
    assert bench.tasks.expected(MAIN) == [ARN]
    assert bench.tasks.expected(OTHER) == []
    bench.tasks.absent(ARN, START)
    bench.tasks.claim("uid-1", [])
    assert bench.tasks.expected(MAIN) == []
    assert bench.tasks.missing_of("uid-1") == {}
    assert bench.tasks.vanished(MAIN) == []


def test_a_dropped_claim_keeps_a_task_of_ours_in_sight(bench: Bench) -> None:
    bench.tasks.claim("uid-1", [ARN])
    bench.tasks.observe(task())
    bench.tasks.claim("uid-1", [])
    assert bench.arns("uid-1") == [ARN]
    assert bench.tasks.expected(MAIN) == [ARN]


@pytest.mark.parametrize(
    ("missing", "kept"),
    [(LOST_AFTER - timedelta(seconds=1), [ARN]), (LOST_AFTER, [])],
)
def test_a_task_given_up_as_lost_is_out_of_sight(
    bench: Bench, missing: timedelta, kept: list[TaskArn]
) -> None:
    bench.tasks.observe(task())
    bench.tasks.claim("uid-1", [ARN])
    missing_for(bench, ARN, missing)
    bench.tasks.claim("uid-1", [])
    assert bench.arns("uid-1") == kept
    assert bench.tasks.expected(MAIN) == kept


def test_a_claim_on_anothers_missing_task_does_not_hide_it(bench: Bench) -> None:
    bench.tasks.observe(task())
    bench.tasks.claim("uid-1", [ARN])
    bench.tasks.claim("uid-2", [ARN])
    missing_for(bench, ARN, LOST_AFTER)
    bench.tasks.claim("uid-2", [])
    assert bench.arns("uid-1") == [ARN]


# --- who is woken ---


def test_only_a_change_wakes(bench: Bench) -> None:
    bench.tasks.observe(task())
    bench.woken.clear()
    bench.tasks.observe(task(after=30))
    bench.tasks.observe(task(after=60, version=2))
    assert bench.woken == []
    assert bench.tasks.of("uid-1")[0].observed_at == START + timedelta(seconds=60)
    bench.tasks.observe(task(after=61, version=3, status="DEACTIVATING"))
    assert bench.woken == ["uid-1"]


def test_an_old_answer_changes_nothing(bench: Bench) -> None:
    bench.tasks.observe(task(version=5, status="STOPPED", after=10))
    bench.woken.clear()
    bench.tasks.observe(task(version=4, after=20))
    assert bench.tasks.of("uid-1")[0].stopped
    assert bench.woken == []


def test_missing_wakes_once_it_may_mean_lost_and_at_the_return(bench: Bench) -> None:
    bench.tasks.claim("uid-1", [ARN])
    bench.tasks.observe(task())
    bench.woken.clear()
    bench.tasks.absent(ARN, START)
    bench.tasks.absent(ARN, START + timedelta(seconds=30))
    assert bench.woken == []
    bench.tasks.absent(ARN, START + LOST_AFTER)
    assert bench.woken == ["uid-1"]
    bench.tasks.observe(task(after=400))
    assert bench.woken == ["uid-1", "uid-1"]
    assert bench.tasks.missing_of("uid-1") == {}


def test_a_claim_that_was_never_seen_wakes_its_object_too(bench: Bench) -> None:
    bench.tasks.claim("uid-1", [ARN])
    missing_for(bench, ARN, LOST_AFTER)
    assert bench.woken == ["uid-1"]
    assert bench.tasks.missing_of("uid-1")[ARN].count == 2


def test_missing_of_nobodys_task_wakes_nobody(bench: Bench) -> None:
    missing_for(bench, ARN, LOST_AFTER)
    assert bench.woken == []


# --- duplicates ---


def test_a_second_live_task_of_one_attempt_is_counted_once(bench: Bench) -> None:
    bench.tasks.observe(task("one"))
    bench.tasks.observe(task("two"))
    bench.tasks.observe(task("two", after=30))
    assert bench.duplicates == 1


@pytest.mark.parametrize(
    "second",
    [
        task("two", attempt=2),
        task("two", uid="uid-2"),
        task("two", status="STOPPED"),
        task("one", version=2),
    ],
    ids=["another attempt", "another object", "stopped", "the same"],
)
def test_what_is_not_a_duplicate_is_not_counted(bench: Bench, second: ObservedTask) -> None:
    bench.tasks.observe(task("one"))
    bench.tasks.observe(second)
    assert bench.duplicates == 0


def test_a_task_after_a_stopped_one_is_no_duplicate(bench: Bench) -> None:
    bench.tasks.observe(task("one", status="STOPPED"))
    bench.tasks.observe(task("two"))
    assert bench.duplicates == 0


# --- what is kept ---


def test_what_stopped_long_ago_is_pruned_unless_it_is_claimed(bench: Bench) -> None:
    for name in ("claimed", "old", "running"):
        status = "RUNNING" if name == "running" else "STOPPED"
        bench.tasks.observe(task(name, status=status, attempt=len(name)))
    bench.tasks.claim("uid-1", [task_arn("claimed")])
    bench.tasks.prune(START + KEPT_STOPPED)
    assert len(bench.arns("uid-1")) == 3
    bench.tasks.prune(START + KEPT_STOPPED + timedelta(seconds=1))
    assert bench.arns("uid-1") == [task_arn("claimed"), task_arn("running")]


def test_forgetting_an_object_keeps_only_live_tasks_of_ours(bench: Bench) -> None:
    orphan, ended, foreign = task("orphan"), task("ended", status="STOPPED"), task_arn("foreign")
    bench.tasks.observe(orphan)
    bench.tasks.observe(ended)
    bench.tasks.claim("uid-1", [foreign])
    bench.tasks.observe(replace(task("foreign"), started_by="service"))
    bench.tasks.watch_closely("uid-1", True)
    bench.tasks.forget("uid-1")
    assert bench.tasks.of("uid-1") == ()
    assert bench.tasks.expected(MAIN) == [orphan.arn]
    assert bench.tasks.lives(orphan.arn)
    assert not bench.tasks.lives(ended.arn)
    assert not bench.tasks.awaited(orphan)
    bench.tasks.forget("uid-1")


def test_moving_are_tasks_that_start_end_or_are_awaited(bench: Bench) -> None:
    bench.tasks.observe(task("running", attempt=1))
    bench.tasks.observe(task("starting", attempt=2, status="PENDING"))
    bench.tasks.observe(replace(task("ending", attempt=3), desired_status="STOPPED"))
    bench.tasks.observe(task("ended", attempt=4, status="STOPPED"))
    bench.tasks.claim("uid-2", [task_arn("unseen")])
    moving = [task_arn("ending"), task_arn("starting"), task_arn("unseen")]
    assert sorted(bench.tasks.moving(MAIN)) == moving
    assert bench.tasks.moving(OTHER) == []
    bench.tasks.watch_closely("uid-1", True)
    assert task_arn("running") in bench.tasks.moving(MAIN)


def test_a_task_is_shown_as_long_as_ecs_showed_of_late_that_it_lives(bench: Bench) -> None:
    assert not bench.tasks.shown(ARN, START)
    bench.tasks.observe(task())
    assert bench.tasks.shown(ARN, START)
    assert not bench.tasks.shown(ARN, START + LOST_AFTER)
    bench.tasks.observe(task(status="STOPPED"))
    assert not bench.tasks.shown(ARN, START)
