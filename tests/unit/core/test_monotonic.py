"""Rule 18: which of two sights of a task is believed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.world import NOW, stopped, task

from fractal_models.observed import STATE_RANK, ObservedContainer, ObservedTask
from fractal_operator.core.monotonic import LATEST, changed, newer
from fractal_operator.shell import watchdogs

TAG = ("fractal.co/uid", "new")


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        (task(version=2), task(version=1), False),
        (task(version=1), task(version=2), True),
        (task(version=2, observed_at=NOW + timedelta(1)), task(version=2), False),
        (task(version=None), task(version=1), True),
        (task(version=1), task(version=None), False),
        (task(1, "RUNNING"), task(1, "PENDING"), False),
        (task(1, "PENDING"), task(1, "RUNNING"), True),
        (task(1, "PENDING", observed_at=NOW + timedelta(1)), task(1, "PENDING"), False),
        (stopped(version=1), task(version=9), False),
        (task(version=9), stopped(version=1), True),
        (stopped(version=None), task(1, "RUNNING", observed_at=NOW + timedelta(1)), False),
        (task(1, "STRANGE"), task(1, "PROVISIONING"), True),
    ],
)
def test_which_sight_is_kept(old: ObservedTask, new: ObservedTask, taken: bool) -> None:
    assert (newer(old, new) is old) is not taken


@pytest.mark.parametrize(
    ("earlier", "tags", "taken"),
    [
        (timedelta(seconds=1), (TAG,), False),
        (LATEST, (TAG,), False),
        (LATEST + timedelta(seconds=1), (TAG,), True),
        (LATEST + timedelta(seconds=1), (), True),
        (timedelta(days=3), None, False),  # an event that waited in the queue
    ],
)
def test_a_clock_that_was_set_back_hides_no_tags(
    earlier: timedelta, tags: tuple[tuple[str, str], ...] | None, taken: bool
) -> None:
    """ECS raises no version for them, so only the time tells which of two sights to believe."""
    old = task(version=2, tags=(("fractal.co/old", ""),))
    new = task(version=2, tags=tags, observed_at=NOW - earlier)
    assert newer(old, new).tags == (tags if taken else old.tags)
    assert newer(replace(old, version=3), new).version == 3


def test_no_answer_of_ecs_is_so_late_as_to_look_like_a_clock_that_was_set_back() -> None:
    assert LATEST.total_seconds() >= watchdogs.SWEEP_SECONDS + watchdogs.GRACE_SECONDS


def test_the_first_sight_is_kept_whatever_it_is() -> None:
    assert newer(None, task()) == task()


def test_a_sparse_sight_loses_no_detail() -> None:
    full = task(version=3, private_ip="10.0.0.1")
    sparse = ObservedTask(full.arn, full.cluster_arn, NOW, "STOPPED", "STOPPED")
    kept = newer(full, sparse)
    assert kept.stopped
    for name in ("version", "definition_arn", "started_by", "spec_hash", "created_at"):
        assert getattr(kept, name) == getattr(full, name)
    for name in ("started_at", "containers", "private_ip"):
        assert getattr(kept, name) == getattr(full, name)


def test_a_health_that_a_sight_does_not_tell_is_the_one_before() -> None:
    def containers(main: str, side: str) -> tuple[ObservedContainer, ...]:
        return ObservedContainer("main", health=main), ObservedContainer("side", health=side)

    old = task(version=1, health="HEALTHY", containers=containers("HEALTHY", "UNKNOWN")[:1])
    kept = newer(old, task(version=2, health="", containers=containers("", "")))
    assert kept.health == "HEALTHY"
    assert kept.containers == containers("HEALTHY", "")
    kept = newer(kept, task(version=3, health="UNKNOWN", containers=containers("", "UNHEALTHY")))
    assert kept.health == "UNKNOWN"
    assert kept.containers == containers("HEALTHY", "UNHEALTHY")


sights = st.builds(
    lambda status, version, late: task(
        1, status, version=version, observed_at=NOW + timedelta(seconds=late), started_at=None
    ),
    st.sampled_from([*STATE_RANK, "STRANGE"]),
    st.none() | st.integers(1, 5),
    st.integers(0, 5),
)


@given(st.lists(sights, min_size=1, max_size=6))
def test_stopped_is_absorbing_and_versions_never_go_back(seen: list[ObservedTask]) -> None:
    kept: ObservedTask | None = None
    over, version = False, 0
    for sight in seen:
        kept = newer(kept, sight)
        over = over or sight.stopped
        assert kept.stopped is over
        if not over and kept.version is not None:
            assert kept.version >= version
            version = kept.version


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({}, False),
        ({"observed_at": NOW + timedelta(1)}, False),
        ({"version": 7}, False),
        ({"health": "HEALTHY"}, True),
        ({"desired_status": "STOPPED"}, True),
        ({"last_status": "STOPPED"}, True),
    ],
)
def test_what_an_object_is_woken_for(change: dict[str, Any], matters: bool) -> None:
    assert changed(task(), task(**change)) is matters
    assert changed(None, task(**change))
