"""Which tasks move: only what has changed is looked at, and what is found is the same."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.shell.ecs_world import MAIN, OTHER, task_arn
from tests.unit.shell.wire import START

from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_operator.shell.tasks import Tasks

UIDS = [f"4a1f0c7e-0000-4000-8000-{number:012}" for number in range(3)]
ARNS = [task_arn(f"{number:032x}", cluster) for number in range(3) for cluster in (MAIN, OTHER)]


def task(arn: TaskArn, uid: str, **facts: Any) -> ObservedTask:
    cluster = ClusterArn(arn.rpartition("/")[0].replace(":task/", ":cluster/"))
    started_by = f"fc/ins/{uid}/1" if uid else "somebody"
    return ObservedTask(arn, cluster, START, "RUNNING", started_by=started_by, **facts)


def known(count: int) -> Tasks:
    """So many tasks that run, each claimed by an object."""
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    for number in range(count):
        arn, uid = task_arn(f"{number:032x}"), f"4a1f0c7e-0000-4000-8000-{number:012}"
        tasks.claim(uid, [arn])
        tasks.observe(task(arn, uid))
    return tasks


arns = st.sampled_from(ARNS)
uids = st.sampled_from(UIDS)
steps = st.one_of(
    st.tuples(st.just("claim"), uids, st.lists(arns, max_size=2)),
    st.tuples(st.just("wish"), uids, st.one_of(st.just(""), arns)),
    st.tuples(st.just("watch_closely"), uids, st.booleans()),
    st.tuples(st.just("forget"), uids),
    st.tuples(st.just("take_back"), arns),
    st.tuples(st.just("absent"), arns, st.sampled_from([START, START.replace(hour=13)])),
    st.tuples(
        st.just("observe"),
        st.builds(
            task,
            arns,
            st.sampled_from([*UIDS, ""]),
            version=st.integers(1, 4),
            desired_status=st.sampled_from(["RUNNING", "STOPPED"]),
            tags=st.sampled_from([None, (), (("fractal.co/install", "ins"),)]),
        ),
        st.sampled_from(["PROVISIONING", "RUNNING", "RUNNING", "STOPPED"]),
    ),
    st.tuples(st.just("moving"), st.sampled_from([MAIN, OTHER])),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_what_moves_is_what_is_expected_and_not_at_rest(history: list[tuple[Any, ...]]) -> None:
    tasks = Tasks("ins", lambda uid: None, lambda: None)
    for method, *arguments in [*history, ("moving", MAIN), ("moving", OTHER)]:
        if method == "observe":
            sight, status = arguments
            tasks.observe(replace(sight, last_status=status))
        elif method == "moving":
            (cluster,) = arguments
            expected = [arn for arn in tasks.expected(cluster) if tasks._moves(arn)]
            assert sorted(tasks.moving(cluster)) == sorted(expected)
        else:
            getattr(tasks, method)(*arguments)


@pytest.mark.parametrize("count", [10, 1000])
def test_a_round_of_the_ring_looks_at_no_task_that_rests(count: int) -> None:
    tasks = known(count)
    tasks.moving(MAIN)  # the first round has seen that they run
    looked: list[TaskArn] = []
    moves = tasks._moves
    tasks._moves = lambda arn: bool(looked.append(arn)) or moves(arn)  # type: ignore[method-assign,func-returns-value]
    assert tasks.moving(MAIN) == []
    assert looked == []
    uid = "4a1f0c7e-0000-4000-8000-000000000003"
    tasks.observe(replace(task(task_arn(f"{3:032x}"), uid, version=9), last_status="STOPPING"))
    assert tasks.moving(MAIN) == [task_arn(f"{3:032x}")]
    assert len(looked) == 1
