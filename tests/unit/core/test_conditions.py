"""Every situation as conditions; times that move only with the status."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.world import NOW, ago

from fractal_models.container import Condition, Phase
from fractal_operator.core import conditions, phases
from fractal_operator.core.phases import Situation

SITUATIONS: dict[str, tuple[Situation, Phase, str, str, str]] = {
    "waiting": (phases.waiting("Throttled", "m"), Phase.PENDING, "False", "Throttled", ""),
    "retrying": (phases.retrying("TaskLost", "m"), Phase.PENDING, "False", "Retrying", ""),
    "launching": (phases.launching(1), Phase.PENDING, "False", "Progressing", ""),
    "starting": (phases.starting(1), Phase.PROVISIONING, "False", "Progressing", ""),
    "running": (phases.running(), Phase.RUNNING, "True", "", ""),
    "settling": (
        phases.settling("EndpointPending", "m"),
        Phase.RUNNING,
        "False",
        "Progressing",
        "",
    ),
    "unhealthy": (phases.unhealthy(), Phase.RUNNING, "False", "", ""),
    "replacing": (phases.replacing(1), Phase.UPDATING, "False", "Progressing", ""),
    "stopping": (phases.stopping("Stopping", "m"), Phase.STOPPING, "False", "Progressing", ""),
    "refused": (phases.refused("InvalidSpec", "m"), Phase.FAILED, "False", "", "InvalidSpec"),
    "suspended": (phases.suspended(), Phase.SUSPENDED, "", "", ""),
    "succeeded": (phases.succeeded("m"), Phase.SUCCEEDED, "", "", ""),
    "expired": (phases.expired("m"), Phase.SUCCEEDED, "", "", ""),
    "held": (phases.held("m"), Phase.DELETING, "False", "", "ReadOnly"),
    "deleting": (phases.deleting("m"), Phase.DELETING, "False", "Progressing", ""),
    "stuck": (phases.stuck("m"), Phase.DELETING, "False", "", "DeletionStuck"),
    "running, but": (
        phases.running().but_stalled("InvalidSpec", "m"),
        Phase.RUNNING,
        "True",
        "",
        "InvalidSpec",
    ),
}


def shown(situation: Situation, **changes: Any) -> dict[str, Condition]:
    fields: dict[str, Any] = {
        "synced": conditions.synced(overdue=False),
        "before": (),
        "generation": 3,
        "now": NOW,
    }
    made = conditions.conditions(situation, **fields | changes)
    always = ["Reconciling", "Stalled", "Synced"]
    assert [each.type for each in made] in (["Ready", *always], always)
    return {each.type: each for each in made}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_conditions_of_a_situation(name: str) -> None:
    situation, phase, ready, reconciling, stalled = SITUATIONS[name]
    found = shown(situation)
    assert situation.phase is phase
    if ready:
        assert (str(found["Ready"].status), found["Ready"].reason) == (ready, situation.reason)
        assert found["Ready"].message == situation.message
    else:
        assert "Ready" not in found  # kstatus would wait for it
    settled = "Settled" if ready else situation.reason
    for kind, reason, off in (
        ("Reconciling", reconciling, settled),
        ("Stalled", stalled, "NotStalled"),
    ):
        told = reason or (kind == "Reconciling" and not ready)
        assert str(found[kind].status) == str(bool(reason))
        assert found[kind].reason == (reason or off)
        assert found[kind].message == (situation.message if told else "")
    assert not (reconciling and stalled)


def test_times_move_with_the_status_only() -> None:
    first = shown(phases.launching(1), now=ago(60))
    second = shown(phases.starting(1), before=first.values(), generation=4)
    assert {each.last_transition_time for each in second.values()} == {ago(60)}
    assert {each.observed_generation for each in second.values()} == {4}
    third = shown(phases.running(), before=second.values())
    assert third["Ready"].last_transition_time == NOW
    assert third["Reconciling"].last_transition_time == NOW
    assert third["Stalled"].last_transition_time == ago(60)


def test_a_condition_without_a_time_gets_one() -> None:
    old = shown(phases.running())["Ready"].model_copy(update={"last_transition_time": None})
    assert shown(phases.running(), before=[old])["Ready"].last_transition_time == NOW


def test_synced() -> None:
    assert str(conditions.synced(overdue=True).status) == "False"
    assert str(conditions.synced(overdue=False).status) == "True"
    assert str(conditions.NOT_OBSERVED.status) == "Unknown"


def test_messages_hold_no_time_that_moves() -> None:
    for situation, *_ in SITUATIONS.values():
        later = shown(situation, now=NOW + timedelta(days=1), before=shown(situation).values())
        assert later == shown(situation)
    assert replace(phases.launching(1)) == phases.launching(1)
