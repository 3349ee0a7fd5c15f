"""What ECS says, in words: texts from the documentation and from trackers."""

import pytest
from tests.unit.core.world import stopped, task

from fractal_models.observed import LaunchFailure, ObservedContainer
from fractal_operator.core import failures
from fractal_operator.core.failures import Nature


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (
            "AccessDeniedException",
            "not authorized to perform: iam:PassRole on role",
            "AccessDenied",
        ),
        ("AccessDeniedException", "not authorized to perform: ecs:RunTask", "AccessDenied"),
        ("ExpiredTokenException", "The security token has expired", "AccessDenied"),
        ("UnrecognizedClientException", "invalid", "AccessDenied"),
        ("ClusterNotFoundException", "Cluster not found.", "ClusterNotFound"),
        ("InvalidParameterException", "The subnet ID 'subnet-1' does not exist", "InvalidNetwork"),
        ("InvalidParameterException", "Network Configuration must be provided", "InvalidNetwork"),
        ("InvalidParameterException", "The security group 'sg-1' does not exist", "InvalidNetwork"),
        ("ClientException", "TaskDefinition is inactive", "TaskDefinitionNotFound"),
        ("ClientException", "Unable to describe task definition.", "TaskDefinitionNotFound"),
        ("ClientException", "TaskDefinition not found.", "TaskDefinitionNotFound"),
        ("ClientException", "ECS was unable to assume the role 'arn:…'", "InvalidRole"),
        (
            "InvalidParameterException",
            "The specified capacity provider 'X' was not found",
            "InvalidPlacement",
        ),
        (
            "InvalidParameterException",
            "No Container Instances were found in your cluster.",
            "NoContainerInstances",
        ),
        ("BlockedException", "Your account has been blocked.", "AccountBlocked"),
        ("PlatformUnknownException", "The platform version does not exist", "PlatformUnsupported"),
        ("UnsupportedFeatureException", "not supported in region", "PlatformUnsupported"),
        ("InvalidParameterException", "Override for container named x", "LaunchRejected"),
        ("", "", "LaunchRejected"),
    ],
)
def test_rejections(code: str, text: str, reason: str) -> None:
    words = failures.rejection(code, text)
    assert words.reason == reason
    assert words.hint
    # The same words from what is recorded of it as from what was answered.
    assert failures.refusal(f"{code}: {text}").reason == reason


def test_pass_role_has_a_hint_of_its_own() -> None:
    assert "iam:PassRole" in failures.rejection("AccessDenied", "iam:PassRole").hint
    assert "iam:PassRole" not in failures.rejection("AccessDenied", "ecs:RunTask").hint


@pytest.mark.parametrize(
    ("reason", "detail", "nature", "word"),
    [
        ("RESOURCE:CPU", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:MEMORY", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("RESOURCE:ENI", "", Nature.CAPACITY, "CapacityUnavailable"),
        ("AGENT", "", Nature.CAPACITY, "CapacityUnavailable"),
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
        ("INACTIVE", "", Nature.SPEC, "TaskDefinitionNotFound"),
        ("MISSING", "", Nature.UNKNOWN, "LaunchFailed"),
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
    nature, _, text = failures.unplaced([])
    assert nature is Nature.UNKNOWN
    assert text == "RunTask answered with neither a task nor a failure"


def test_one_known_failure_among_others_decides() -> None:
    nature, _, text = failures.unplaced([LaunchFailure("odd"), LaunchFailure("AGENT", "down")])
    assert (nature, text) == (Nature.CAPACITY, "odd; AGENT down")


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("TaskFailedToStart", "CannotPullContainerError: manifest unknown", "ImagePullFailed"),
        (
            "TaskFailedToStart",
            "ResourceInitializationError: unable to pull secrets or registry auth",
            "ResourceInitializationFailed",
        ),
        ("EssentialContainerExited", "OutOfMemoryError: Container killed", "OutOfMemory"),
        ("TaskFailedToStart", "CannotStartContainerError: exec", "ContainerStartFailed"),
        ("TaskFailedToStart", "Timeout waiting for network interface", "NetworkInterfaceFailed"),
        ("TerminationNotice", "Host EC2 (instance i-1) terminated.", "HostTerminated"),
        ("TaskFailedToStart", "", "TaskFailedToStart"),
        (
            "EssentialContainerExited",
            "Essential container in task exited",
            "EssentialContainerExited",
        ),
        ("UserInitiated", "secret", "StoppedExternally"),
        ("ServiceSchedulerInitiated", "", "StoppedExternally"),
        ("SpotInterruption", "Your Spot Task was interrupted.", "SpotInterruption"),
        ("TerminationNotice", "", "TerminationNotice"),
        ("InfrastructureHealth", "", "InfrastructureHealth"),
        ("Lost", "secret", "TaskLost"),
        ("StartTimeout", "", "StartTimeout"),
        ("RungTimeout", "", "CapacityUnavailable"),
        ("Replaced", "secret", "Replaced"),
        ("NewCode", "", "NewCode"),
        ("", "", "TaskStopped"),
    ],
)
def test_ends(code: str, text: str, reason: str) -> None:
    words = failures.termination(code, text)
    assert words.reason == reason
    assert words.hint


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
        ("TaskFailedToStart", "CannotPull", "TaskFailedToStart"),
        ("EssentialContainerExited", "insufficient capacity", "EssentialContainerExited"),
        ("", "", "StopReasonUnknown"),
    ],
)
def test_the_stop_code_of_a_task(code: str, reason: str, found: str) -> None:
    assert failures.stop_code(stopped(stop_code=code, stopped_reason=reason)) == found


@pytest.mark.parametrize(
    ("said", "message"), [("No.", "No. Do it."), (" No ", "No. Do it."), ("", "Do it.")]
)
def test_a_message_is_what_was_said_and_what_to_do(said: str, message: str) -> None:
    assert failures.Explanation("X", "Do it.").message(said) == message
