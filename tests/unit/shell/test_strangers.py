"""Tasks that another installation launched for an object of ours: seen, and never doubled."""

from dataclasses import replace
from datetime import UTC, datetime

from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_operator.shell.tasks import Tasks

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/main"


def task(name: str, started_by: str, last_status: str = "RUNNING") -> ObservedTask:
    arn = CLUSTER.replace(":cluster/", ":task/") + f"/{name}"
    return ObservedTask(TaskArn(arn), ClusterArn(CLUSTER), NOW, last_status, started_by=started_by)


def test_they_are_shown_to_the_object_until_a_list_shows_them_no_more() -> None:
    woken: list[str] = []
    tasks = Tasks("ins", woken.append, lambda: None)
    other = task("x", "fc/other/uid-1/1")
    tasks.observe(other)
    assert tasks.of("uid-1") == (other,)
    assert woken == ["uid-1"]

    tasks.keep_strangers(CLUSTER, [other.arn])
    assert tasks.of("uid-1") == (other,)
    tasks.keep_strangers(CLUSTER.replace("main", "elsewhere"), [])
    assert tasks.of("uid-1") == (other,)
    tasks.keep_strangers(CLUSTER, [])
    assert tasks.of("uid-1") == ()
    assert woken == ["uid-1", "uid-1"]


def test_neither_stopped_ones_nor_tasks_of_nobody_are_kept() -> None:
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    tasks.observe(task("x", "fc/other/uid-1/1", "STOPPED"))
    tasks.observe(task("y", "ecs-svc/1"))
    assert tasks.of("uid-1") == ()


def test_a_claimed_one_is_shown_once() -> None:
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    other = task("x", "fc/other/uid-1/1")
    tasks.observe(other)
    tasks.claim("uid-1", [other.arn])
    tasks.observe(replace(other, version=2))
    assert [each.arn for each in tasks.of("uid-1")] == [other.arn]


def test_those_of_our_objects_are_looked_at_again_and_a_claim_wants_a_fresh_sight() -> None:
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    other, elsewhere = task("x", "fc/other/uid-1/1"), task("y", "fc/other/uid-2/1")
    for each in (other, elsewhere):
        tasks.observe(each)
    assert tasks.barring(CLUSTER) == set()
    tasks.claim("uid-1", [])
    assert tasks.barring(CLUSTER) == {other.arn}
    assert tasks.barring(CLUSTER.replace("main", "elsewhere")) == set()
    tasks.claim("uid-1", [other.arn])
    assert tasks.of("uid-1") == ()
    assert tasks.moving(CLUSTER) == [other.arn]


def test_what_another_installation_has_taken_over_is_not_ours_any_more() -> None:
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    mine = task("x", "fc/ins/uid-1/1")
    tasks.observe(mine)
    assert tasks.ours() == [mine]
    held = {"fractal.co/install": "other", "fractal.co/uid": "uid-1"}
    tasks.observe(replace(mine, version=2, tags=tuple(sorted(held.items()))))
    assert len(tasks.ours()) == 1  # somebody's tags alone
    held["fractal.co/retained"] = "false"
    tasks.observe(replace(mine, version=3, tags=tuple(sorted(held.items()))))
    assert tasks.ours() == []
    assert [each.version for each in tasks.of("uid-1")] == [3]
