"""What is said of an object that the operator breaks on, whatever stands in its status."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_models.container import Phase, Status
from fractal_operator.core import broken
from fractal_operator.core.annotations import ABANDON

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
META: dict[str, Any] = {"namespace": "team-a", "name": "ada", "uid": "u-1", "generation": 3}
GOING = META | {"deletionTimestamp": "2026-05-04T11:00:00Z"}

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
CONDITION = st.dictionaries(
    st.sampled_from(["type", "status", "reason", "lastTransitionTime"]),
    JUNK | st.sampled_from(["Ready", "Stalled", "Synced", "True"]),
)
STATUS = JUNK | st.fixed_dictionaries(
    {},
    optional={
        "conditions": JUNK | st.lists(CONDITION | JUNK, max_size=4),
        "phase": JUNK,
        "observedGeneration": JUNK,
        "attempt": JUNK,
    },
)


def told(status: Any, meta: dict[str, Any] = META) -> dict[str, Any]:
    return broken.status({"metadata": meta, "status": status}, "it broke", NOW)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_a_fresh_object_says_that_nothing_is_known_of_it() -> None:
    made = told(None)
    assert conditions(made) == {
        "Ready": ("Unknown", "InternalError"),
        "Reconciling": ("False", "InternalError"),
        "Stalled": ("True", "InternalError"),
        "Synced": ("Unknown", "InternalError"),
    }
    assert (made["phase"], made["observedGeneration"]) == ("Failed", 3)
    assert "it broke" in made["message"]
    assert "abandon" not in made["message"]


def test_what_else_the_status_holds_stays_and_ready_with_it() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "TaskRunning"}
    ready |= {"lastTransitionTime": "2026-05-01T00:00:00Z"}
    kept = {"attempt": {"number": 7}, "tasks": [{"arn": "a"}], "phase": "Running"}
    made = told({**kept, "conditions": [ready]})
    assert {name: made[name] for name in kept} == kept
    assert made["conditions"][0] == {**ready, "observedGeneration": 3}


def test_times_move_with_the_status_only() -> None:
    first = told({"conditions": [{"type": "Stalled", "status": "False"}]})
    assert {each["lastTransitionTime"] for each in first["conditions"]} == {"2026-05-04T12:00:00Z"}
    again = broken.status({"metadata": META, "status": first}, "it broke", NOW.replace(hour=13))
    assert again == first


@pytest.mark.parametrize("at", ["Ready", {}, "2026-05-01"])
def test_a_condition_that_cannot_be_read_is_told_anew(at: Any) -> None:
    forged = [
        {"type": kind, "status": "True", "reason": "Mine", "lastTransitionTime": at}
        for kind in ("Ready", "Stalled", "Synced")
    ]
    read = Status.from_json(told({"conditions": forged}))
    states = {each.type: (str(each.status), each.reason) for each in read.conditions}
    assert states == {
        "Ready": ("Unknown", "InternalError"),
        "Reconciling": ("False", "InternalError"),
        "Stalled": ("True", "InternalError"),
        "Synced": ("Unknown", "InternalError"),
    }


def test_a_deletion_is_told_how_to_be_given_up() -> None:
    made = told({"phase": "Running"}, GOING)
    assert made["phase"] == "Deleting"
    command = "kubectl annotate fractalcontainer ada -n team-a fractal.co/abandon=u-1"
    assert command in made["message"]


@pytest.mark.parametrize(
    ("meta", "given_up"),
    [
        (GOING | {"annotations": {ABANDON: "u-1"}}, True),
        (GOING | {"annotations": {ABANDON: "u-2"}}, False),
        (GOING | {"annotations": None}, False),
        (META | {"annotations": {ABANDON: "u-1"}}, False),
    ],
)
def test_only_this_very_object_is_given_up_and_only_in_its_deletion(
    meta: dict[str, Any], given_up: bool
) -> None:
    assert broken.abandoned(meta) is given_up


def test_a_long_cause_leaves_room_for_what_to_do() -> None:
    text = broken.message(GOING, "x" * 5000)
    assert len(text) <= broken.MESSAGE_LIMIT
    assert text.endswith("fractal.co/abandon=u-1")


@given(STATUS)
def test_any_status_can_be_told_and_can_be_read_again(status: Any) -> None:
    made = told(status)
    read = Status.from_json(made)
    (stalled,) = [each for each in read.conditions if each.type == "Stalled"]
    assert (str(stalled.status), stalled.reason) == ("True", "InternalError")
    assert read.phase in list(Phase)
    assert told(made) == made
