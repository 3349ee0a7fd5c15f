"""What AWS says, in words: the real texts, and the tables that explain them."""

import re
from typing import Any

import pytest
from tests.unit.core.failure_texts import DENIED, ENDS, QUOTAS, REFUSALS
from tests.unit.core.world import stopped, task

from fractal_models.container import Termination
from fractal_models.observed import LaunchFailure, ObservedContainer
from fractal_operator.core import failures
from fractal_operator.core.failures import Explanation, Nature
from fractal_operator.core.words.explanation import MOST_SAID
from fractal_operator.core.words.placements import PASSING, PLACEMENT, UNPLACED
from fractal_operator.core.words.refusals import REJECTED, REJECTIONS, Refusal
from fractal_operator.core.words.stop_codes import EXIT_CODES, STOP_CODES
from fractal_operator.core.words.stop_texts import CODELESS, STOP_TEXTS, StopText

EXPLANATIONS = [
    *(row.words for row in STOP_TEXTS),
    *STOP_CODES.values(),
    *EXIT_CODES.values(),
    *(row.words for row in REJECTIONS),
    *(row.words for row in PLACEMENT),
    *PASSING.values(),
]


def end(code: str, text: str = "", exit_code: int | None = None) -> Termination:
    return Termination(attempt=1, stop_code=code, reason=text, exit_code=exit_code)


# --- the texts that AWS really says ---


@pytest.mark.parametrize(("code", "text", "reason"), ENDS)
def test_an_end_gets_its_reason_from_what_ecs_says(code: str, text: str, reason: str) -> None:
    gone = stopped(stop_code=code, stopped_reason=text, exit_code=None)
    words = failures.ended(end(failures.stop_code(gone), failures.stopped_text(gone)))
    assert words.reason == reason


@pytest.mark.parametrize(("code", "text", "reason"), REFUSALS)
def test_a_refusal_gets_its_reason_from_what_aws_says(code: str, text: str, reason: str) -> None:
    assert failures.rejection(code, text).reason == reason
    # The same words from what is recorded of it as from what was answered.
    recorded = end("LaunchRejected", f"RunTask: {code}: {text}")
    assert failures.ended(recorded).reason == reason


@pytest.mark.parametrize("code", DENIED)
def test_credentials_that_are_no_good_are_not_blamed_on_the_spec(code: str) -> None:
    assert failures.rejection(code, "no").reason == "AccessDenied"


@pytest.mark.parametrize(("text", "says"), QUOTAS)
def test_a_full_quota_is_named(text: str, says: str) -> None:
    words = failures.ended(end("CapacityUnavailable", text))
    assert words.reason == "QuotaExceeded"
    assert says in words.meaning


def test_pass_role_has_a_hint_of_its_own() -> None:
    assert "iam:PassRole" in failures.rejection("AccessDenied", "iam:PassRole").hint
    assert "iam:PassRole" not in failures.rejection("AccessDenied", "ecs:RunTask").hint


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        # "ENI" stands in "denied", "OOM" in "room", "IDP" in "InvalidParameter".
        ("TaskFailedToStart", "access denied", "TaskFailedToStart"),
        ("EssentialContainerExited", "container bedroom", "EssentialContainerExited"),
        ("TaskFailedToStart", "InsufficientFreeAddressesInSubnet", "NetworkInterfaceFailed"),
        ("StartTimeout", "Essential container in task exited", "StartTimeout"),
        ("StartTimeout", "CannotPullContainerError: not found", "ImagePullFailed"),
        ("LaunchFailed", "OutOfMemoryError", "LaunchFailed"),
        ("Unresolved", "OutOfMemoryError", "LaunchFailed"),
        ("Replaced", "OutOfMemoryError", "Replaced"),
        ("Lost", "OutOfMemoryError", "TaskLost"),
        ("RungTimeout", "OutOfMemoryError", "CapacityUnavailable"),
        ("ProvisioningTimeout", "OutOfMemoryError", "CapacityUnavailable"),
        ("", "", "TaskStopped"),
    ],
)
def test_what_only_looks_like_a_known_text(code: str, text: str, reason: str) -> None:
    assert failures.ended(end(code, text)).reason == reason


# --- the tables ---


@pytest.mark.parametrize("row", STOP_TEXTS, ids=lambda row: row.words.reason)
def test_each_text_of_an_end_is_reached_by_its_own_example(row: StopText) -> None:
    words = failures.termination("EssentialContainerExited", row.example)
    assert words is row.words


@pytest.mark.parametrize("code", sorted(STOP_CODES))
def test_each_stop_code_is_reached(code: str) -> None:
    assert failures.termination(code, "") is STOP_CODES[code]


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_each_exit_code_is_reached(code: int) -> None:
    assert failures.ended(end("EssentialContainerExited", "", code)) is EXIT_CODES[code]


@pytest.mark.parametrize(("pattern", "code", "example"), CODELESS)
def test_each_text_without_a_stop_code_is_reached(pattern: str, code: str, example: str) -> None:
    assert re.search(pattern, example)
    assert failures.stop_code(stopped(stop_code="", stopped_reason=example)) == code


@pytest.mark.parametrize("row", REJECTIONS, ids=lambda row: row.words.meaning)
def test_each_refusal_is_reached_by_its_own_example(row: Refusal) -> None:
    code, text = row.example
    assert failures.rejection(code, text) is row.words
    assert failures.refusal(f"RunTask: {code}: {text}") is row.words


@pytest.mark.parametrize("row", PLACEMENT, ids=lambda row: row.words.meaning)
def test_each_failure_is_reached_by_its_own_example(row: Any) -> None:
    assert failures.unplaced([LaunchFailure(row.example)]) == (row.nature, row.words, row.example)


@pytest.mark.parametrize("words", EXPLANATIONS, ids=lambda words: words.reason)
def test_every_explanation_is_a_word_a_sentence_and_a_hint(words: Explanation) -> None:
    assert re.fullmatch(r"([A-Z][a-z0-9]+)+", words.reason)
    assert words.meaning[0].isupper()
    assert not words.meaning.endswith(".")
    assert words.hint[0].isupper()
    assert words.hint.endswith(".")


@pytest.mark.parametrize("words", EXPLANATIONS, ids=lambda words: words.reason)
def test_what_to_do_is_never_cut_off(words: Explanation) -> None:
    # 1024 is the most of a message, in a status and in an Event; others stand around this one.
    message = words.message("x" * 5000)
    assert len(message) <= MOST_SAID + 300
    assert message.startswith(words.meaning)
    assert message.endswith(words.hint)


@pytest.mark.parametrize(
    ("said", "message"),
    [("No.", "It broke: No. Do it."), (" No ", "It broke: No. Do it."), ("", "It broke. Do it.")],
)
def test_a_message_is_what_happened_what_was_said_and_what_to_do(said: str, message: str) -> None:
    assert Explanation("X", "It broke", "Do it.").message(said) == message


# --- failures[] of RunTask ---


@pytest.mark.parametrize(
    ("reason", "detail", "nature", "word"),
    [
        # developer guide, "API failure reasons"
        ("RESOURCE:CPU", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:MEMORY", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:PORTS", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:GPU", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:ENI", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("AGENT", "", Nature.CAPACITY, "CapacityUnavailable"),
        # a container instance that was deregistered
        ("INACTIVE", "", Nature.CAPACITY, "CapacityUnavailable"),
        (
            "Capacity is unavailable at this time. Please try again later or in a different "
            "availability zone",
            "",
            Nature.CAPACITY,
            "CapacityUnavailable",
        ),
        (
            "You've reached the limit on the number of tasks you can run concurrently",
            "",
            Nature.CAPACITY,
            "QuotaExceeded",
        ),
        (
            "You’ve reached the limit on the number of vCPUs you can run concurrently",
            "",
            Nature.CAPACITY,
            "QuotaExceeded",
        ),
        ("ATTRIBUTE", "ecs.capability", Nature.SPEC, "PlacementImpossible"),
        ("LOCATION", "", Nature.SPEC, "PlacementImpossible"),
        ("MISSING", "", Nature.UNKNOWN, "LaunchFailed"),
        ("resourceful", "", Nature.UNKNOWN, "LaunchFailed"),
        ("", "RESOURCE:CPU", Nature.UNKNOWN, "LaunchFailed"),
    ],
)
def test_failures_of_a_launch(reason: str, detail: str, nature: Nature, word: str) -> None:
    found, words, text = failures.unplaced([LaunchFailure(reason, detail)])
    assert (found, words.reason) == (nature, word)
    assert text == f"{reason} {detail}".strip()
    recorded = failures.unplaced([LaunchFailure(text)])
    assert detail == "RESOURCE:CPU" or recorded[:2] == (found, words)


def test_an_empty_answer_is_said_to_be_one() -> None:
    nature, words, text = failures.unplaced([])
    assert (nature, words) == (Nature.UNKNOWN, UNPLACED)
    assert text == "RunTask answered with neither a task nor a failure"


def test_one_known_failure_among_others_decides_and_is_known_from_the_record() -> None:
    nature, words, text = failures.unplaced([LaunchFailure("odd"), LaunchFailure("AGENT", "down")])
    assert (nature, text) == (Nature.CAPACITY, "odd; AGENT down")
    assert failures.ended(end("CapacityUnavailable", text)) is words


def test_a_want_of_capacity_is_named_whatever_was_said_of_it() -> None:
    assert failures.full("full").reason == "CapacityUnavailable"
    assert failures.full("ATTRIBUTE").reason == "CapacityUnavailable"


def test_a_placement_that_cannot_be_is_refused_for_that() -> None:
    assert failures.refusal("ATTRIBUTE zone").reason == "PlacementImpossible"
    assert failures.refusal("no") is REJECTED


# --- what is recorded of a stopped task ---


def test_all_reasons_of_a_stopped_task_are_told_once() -> None:
    containers = (
        ObservedContainer("a", reason="OOM"),
        ObservedContainer("b", reason="Essential"),
        ObservedContainer("c"),
    )
    gone = stopped(stopped_reason="Essential", containers=containers)
    assert failures.stopped_text(gone) == "Essential; OOM"
    assert failures.stopped_text(task()) == ""


@pytest.mark.parametrize(
    ("code", "reason", "found"),
    [
        ("TaskFailedToStart", "Capacity is unavailable at this time.", "CapacityUnavailable"),
        ("TaskFailedToStart", "RESOURCE:CPU", "CapacityUnavailable"),
        ("TaskFailedToStart", "TaskFailedToStart: AGENT", "CapacityUnavailable"),
        ("TaskFailedToStart", "InsufficientFreeAddressesInSubnet", "TaskFailedToStart"),
        ("TaskFailedToStart", "CannotPull", "TaskFailedToStart"),
        ("EssentialContainerExited", "insufficient capacity", "EssentialContainerExited"),
        ("EssentialContainerExited", "Your Spot Task was interrupted", "EssentialContainerExited"),
        ("InfrastructureHealth", "Your Spot Task was interrupted", "SpotInterruption"),
        ("InfrastructureHealth", "Host EC2 (instance i-1) stopped", "InfrastructureHealth"),
        ("", "", "StopReasonUnknown"),
    ],
)
def test_the_stop_code_of_a_task(code: str, reason: str, found: str) -> None:
    assert failures.stop_code(stopped(stop_code=code, stopped_reason=reason)) == found


@pytest.mark.parametrize(
    ("exit_code", "in_a_row", "says"),
    [
        (None, 0, "The container ended by itself"),
        (3, 2, "The container ended by itself"),
        (3, 3, "The container ended by itself, again and again, each time within 10 minutes"),
        (0, 3, "The container ended by itself, with success, again and again"),
        (127, 9, "The container's command was not found in the image, again and again"),
    ],
)
def test_ends_in_a_row_are_said_to_be_that(exit_code: int | None, in_a_row: int, says: str) -> None:
    words = failures.ended(end("EssentialContainerExited", "", exit_code), in_a_row)
    assert words.meaning.startswith(says)
    assert ("again" in words.meaning) is (in_a_row >= failures.CRASHES)
    assert words.reason == "EssentialContainerExited"


def test_only_ends_of_the_container_itself_are_a_row() -> None:
    assert "again" not in failures.ended(end("Lost"), 9).meaning
