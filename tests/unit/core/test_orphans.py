"""Which tasks are orphans, and which of these are stopped: when in doubt, none."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_operator.core import orphans, tokens
from fractal_operator.core.orphans import APART, MIN_AGE, Census, Judgement, Kind, Reaping

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CLUSTER = ClusterArn("arn:aws:ecs:us-east-1:123456789012:cluster/main")
REAPING = Reaping("ins")
OLD = NOW - timedelta(hours=1)


def task(number: int = 1, *, install: str = "ins", **facts: Any) -> ObservedTask:
    """A live task of the object ``uid-<number>``."""
    uid = f"uid-{number}"
    made = ObservedTask(
        arn=TaskArn(f"{tokens.task_prefix(CLUSTER)}{number:032x}"),
        cluster_arn=CLUSTER,
        observed_at=NOW,
        last_status="RUNNING",
        started_by=tokens.started_by(install, uid, 1),
        created_at=OLD,
        tags=tagged(tokens.owner_tags(install, "team", f"fc-{number}", uid)),
    )
    return replace(made, **facts)


def tagged(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(tags.items()))


def body(uid: str, **status: Any) -> Mapping[str, Any]:
    return {"metadata": {"uid": uid}, "status": status}


def judge(
    *tasks: ObservedTask, seen: timedelta = APART, objects: int = 5, ours: int = 20, **rest: Any
) -> Judgement:
    """The judgement over orphans that were sighted first ``seen`` ago."""
    first = {each.arn: NOW - seen for each in tasks}
    return orphans.judge(Census(NOW, ours, objects, tasks, **rest), first, REAPING)


# --- what is an orphan ---


def test_a_task_whose_object_exists_is_the_reconcilers_whatever_its_number() -> None:
    late = task(1, started_by=tokens.started_by("ins", "uid-1", 7))
    assert orphans.unclaimed([task(1), late], [body("uid-1")], "ins") == ()


def test_a_task_whose_object_is_gone_is_an_orphan() -> None:
    assert orphans.unclaimed([task(1), task(2)], [body("uid-2")], "ins") == (task(1),)
    assert orphans.unclaimed([task(1)], [], "ins") == (task(1),)


def test_an_object_without_a_status_stands_for_its_task() -> None:
    assert orphans.unclaimed([task(1)], [{"metadata": {"uid": "uid-1"}}], "ins") == ()


@pytest.mark.parametrize(
    "status",
    [
        {"tasks": [{"attempt": 1, "arn": task(1).arn}]},
        {"attempt": {"number": 2, "adopts": task(1).arn}},
    ],
)
def test_a_task_that_any_status_names_is_none(status: Mapping[str, Any]) -> None:
    assert orphans.unclaimed([task(1)], [body("uid-9", **status)], "ins") == ()


def test_an_adopted_task_belongs_to_who_launched_it_and_who_adopted_it() -> None:
    given = task(1, tags=tagged(tokens.owner_tags("ins", "team", "fc-2", "uid-2")))
    assert orphans.uids(given, "ins") == {"uid-1", "uid-2"}
    for alive in ("uid-1", "uid-2"):
        assert orphans.unclaimed([given], [body(alive)], "ins") == ()
    assert orphans.unclaimed([given], [body("uid-3")], "ins") == (given,)


def test_another_installations_words_count_for_nothing() -> None:
    assert orphans.uids(task(1, install="other"), "ins") == frozenset()
    assert orphans.uids(task(1, started_by="somebody", tags=None), "ins") == frozenset()


# --- of which kind ---

ADOPTED = task(1, started_by="deploy-tool")


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (task(1), Kind.TASK),
        (task(1, desired_status="STOPPED", tags=()), Kind.TASK),
        (task(1, tags=None), Kind.UNPROVEN),
        (task(1, tags=()), Kind.UNPROVEN),
        (task(1, tags=tagged({tokens.TAG_INSTALL: "ins"})), Kind.UNPROVEN),
        (task(1, tags=tagged(tokens.owner_tags("ins", "team", "", "uid-1"))), Kind.UNPROVEN),
        (task(1, tags=tagged(tokens.owner_tags("other", "team", "fc", "uid-1"))), Kind.UNPROVEN),
        (ADOPTED, Kind.UNPROVEN),
        (replace(ADOPTED, desired_status="STOPPED"), Kind.UNPROVEN),
        (task(1, started_by="fc/other/uid-1/1"), Kind.UNPROVEN),
    ],
)
def test_only_what_proves_itself_is_stopped(what: ObservedTask, kind: Kind) -> None:
    assert orphans.kind(what, REAPING) is kind


@pytest.mark.parametrize("what", [task(1), ADOPTED])
def test_a_retained_task_is_kept_by_whomever_it_was_launched(what: ObservedTask) -> None:
    kept = replace(what, tags=tagged({**dict(what.tags or ()), tokens.TAG_RETAINED: "true"}))
    assert orphans.kind(kept, REAPING) is Kind.RETAINED
    taken = replace(what, tags=tagged({**dict(what.tags or ()), tokens.TAG_RETAINED: "false"}))
    assert orphans.kind(taken, REAPING) is not Kind.RETAINED


def test_nobody_here_knows_the_objects_of_other_namespaces() -> None:
    assert orphans.kind(task(1), Reaping("ins", ("team", "more"))) is Kind.TASK
    assert orphans.kind(task(1), Reaping("ins", ("more",))) is Kind.UNWATCHED
    assert orphans.kind(task(1, tags=()), Reaping("ins", ("more",))) is Kind.UNPROVEN


# --- which are stopped ---


def test_an_old_orphan_that_was_one_before_is_stopped() -> None:
    said = judge(task(1))
    assert (said.stop, said.held) == ((task(1),), "")
    assert said.kinds == {task(1).arn: Kind.TASK}


def test_one_sighting_is_not_enough() -> None:
    said = orphans.judge(Census(NOW, 20, 5, [task(1)]), {}, REAPING)
    assert said.stop == ()
    assert said.first == {task(1).arn: NOW}
    later = Census(NOW + APART, 20, 5, [task(1)])
    assert orphans.judge(later, said.first, REAPING).stop == (task(1),)
    assert judge(task(1), seen=APART - timedelta(seconds=1)).stop == ()


def test_a_sighting_in_between_without_the_orphan_begins_anew() -> None:
    said = orphans.judge(Census(NOW, 20, 5, []), {task(1).arn: OLD}, REAPING)
    assert said.first == {}


def test_what_ecs_gave_no_answer_about_is_not_forgotten() -> None:
    census = Census(NOW, 20, 5, [], frozenset({task(1).arn, task(2).arn}))
    said = orphans.judge(census, {task(1).arn: OLD}, REAPING)
    assert said.first == {task(1).arn: OLD}
    assert said.stop == ()


def test_a_young_task_is_left_alone() -> None:
    assert judge(task(1, created_at=NOW - MIN_AGE + timedelta(seconds=1))).stop == ()
    assert judge(task(1, created_at=NOW - MIN_AGE)).stop != ()


def test_a_task_of_unknown_age_is_as_old_as_its_first_sighting() -> None:
    assert judge(task(1, created_at=None)).stop == ()
    assert judge(task(1, created_at=None), seen=MIN_AGE).stop != ()


def test_what_is_stopping_is_not_stopped_again() -> None:
    said = judge(task(1, desired_status="STOPPED"))
    assert (said.stop, said.held) == ((), "")
    assert said.kinds == {task(1).arn: Kind.TASK}, "and counts until it has ended"


def test_of_many_at_once_none_is_stopped() -> None:
    ten = [task(number) for number in range(10)]
    assert len(judge(*ten).stop) == 10
    said = judge(*ten, task(10))
    assert said.stop == ()
    assert "11 tasks" in said.held
    assert "more than 10" in said.held


def test_many_are_more_than_a_tenth_of_all() -> None:
    twenty = [task(number) for number in range(20)]
    assert len(judge(*twenty, ours=200).stop) == 20
    assert judge(*twenty, ours=199).stop == ()


def test_also_the_young_and_the_unanswered_count_as_many() -> None:
    young = [task(number, created_at=NOW) for number in range(10)]
    assert judge(task(11), *young).held
    silent = frozenset(each.arn for each in young)
    assert judge(task(11), unanswered=silent).held
    assert not judge(*young, unanswered=frozenset()).held


def test_what_is_left_alone_does_not_count_as_many() -> None:
    kept = [task(number, tags=()) for number in range(50)]
    said = judge(task(99), *kept)
    assert (said.stop, said.held) == ((task(99),), "")


def test_without_any_object_nothing_is_stopped() -> None:
    said = judge(task(1), objects=0)
    assert said.stop == ()
    assert "none at all" in said.held
    assert judge(objects=0).held == "", "nor is anything held"
    assert judge(task(1, tags=()), objects=0).held == ""
