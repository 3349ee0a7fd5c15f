"""Failures in plain words: what ECS said -> a reason, a sentence, and what to do about it.

ECS's texts are free text and no closed list: they choose the words shown to people and, for
RunTask's ``failures[]``, the retry; never whether a task exists. Sources: the ECS developer guide
("Stopped tasks error messages", "API failure reasons") and the trackers named in the tests.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from fractal_models.observed import LaunchFailure, ObservedTask


class Nature(Enum):
    """What an unlaunched attempt's failure is about; decides how the next try goes."""

    CAPACITY = auto()  # no room now: one lookup, then the next attempt
    SPEC = auto()  # will fail until somebody changes something: one lookup, then Stalled
    UNKNOWN = auto()  # a task may exist all the same: drain first


_MOVING = re.compile(
    r"\s*\(?(aws )?request ?id:? [0-9a-f-]{8,}\)?"  # one for each call
    r"|\b\d{8}T\d{6}Z\b|\b\d{4}-\d\d-\d\dT[\d:.]+Z?",  # signatures name the time
    re.IGNORECASE,
)


def stable(text: str) -> str:
    """The text without what differs from call to call: else every call would be a status write."""
    return _MOVING.sub("", text)


@dataclass(frozen=True, slots=True)
class Explanation:
    """``reason`` is one CamelCase word for conditions; ``hint`` says what a person should do."""

    reason: str
    hint: str

    def message(self, text: str) -> str:
        """The sentence for people: what ECS said, then what to do."""
        said = stable(text).strip().rstrip(".")
        return f"{said}. {self.hint}" if said else self.hint


_REJECTIONS: tuple[tuple[str, str, Explanation], ...] = (
    # error code pattern, message pattern (both searched, case-insensitive), explanation
    (
        r"AccessDenied",
        r"iam:PassRole",
        Explanation(
            "AccessDenied",
            "Allow the operator's role iam:PassRole on the task and execution roles of this "
            "container, or name roles that it may pass.",
        ),
    ),
    (
        r"AccessDenied|Unauthorized|UnrecognizedClient|ExpiredToken|InvalidSignature"
        r"|MissingAuthentication|NoCredentials|SignatureDoesNotMatch|InvalidClientTokenId",
        r"",
        Explanation(
            "AccessDenied",
            "Check the operator's AWS credentials and give its role the permissions that the "
            "documentation lists.",
        ),
    ),
    (
        r"ClusterNotFound",
        r"",
        Explanation(
            "ClusterNotFound", "Create the ECS cluster, or correct spec.cluster and spec.region."
        ),
    ),
    (
        r"",
        r"subnet|security ?group|networkConfiguration|network configuration",
        Explanation(
            "InvalidNetwork",
            "Correct spec.network: subnets and security groups must exist, in the VPC and region "
            "of the cluster.",
        ),
    ),
    (
        r"",
        r"task ?definition.*(inactive|not found|unable to describe|does not exist)"
        r"|(inactive|unable to describe).*task ?definition",
        Explanation(
            "TaskDefinitionNotFound",
            "Register the task definition, or correct spec.taskDefinition.",
        ),
    ),
    (
        r"",
        r"\brole\b",
        Explanation(
            "InvalidRole",
            "Name task and execution roles that exist and that ecs-tasks.amazonaws.com may assume.",
        ),
    ),
    (
        r"",
        r"capacity ?provider",
        Explanation(
            "InvalidPlacement",
            "Use capacity providers that are associated with the cluster in spec.placement.",
        ),
    ),
    (
        r"",
        r"No Container Instances were found",
        Explanation(
            "NoContainerInstances",
            "Register container instances in the cluster, or set spec.placement to FARGATE or to "
            "a capacity provider.",
        ),
    ),
    (
        r"Blocked",
        r"",
        Explanation("AccountBlocked", "AWS blocked this account; contact AWS Support."),
    ),
    (
        r"Platform|Unsupported",
        r"",
        Explanation(
            "PlatformUnsupported",
            "Choose a launch type and runtime platform that the region and the task definition "
            "support.",
        ),
    ),
)
_REJECTED = Explanation("LaunchRejected", "Correct the spec; ECS refused the request as it is.")

QUOTA = Explanation("QuotaExceeded", "Raise the account's Fargate quota, or stop other tasks.")

_PLACEMENT: tuple[tuple[str, Nature, Explanation], ...] = (
    (
        r"^RESOURCE|capacity is unavailable|insufficient|^AGENT|empty capacity provider",
        Nature.CAPACITY,
        Explanation("CapacityUnavailable", "It is tried again; add capacity if this persists."),
    ),
    (r"limit on the number of (tasks|vcpus)|concurrent(ly)? run", Nature.CAPACITY, QUOTA),
    (
        r"^ATTRIBUTE|^LOCATION|MemberOf placement constraint",
        Nature.SPEC,
        Explanation(
            "PlacementImpossible",
            "No container instance has the attributes or zone that the task definition needs.",
        ),
    ),
    (
        r"INACTIVE",
        Nature.SPEC,
        Explanation("TaskDefinitionNotFound", "Register the task definition again."),
    ),
)
_UNPLACED = Explanation("LaunchFailed", "It is tried again under a new attempt.")

_STOPS: tuple[tuple[str, Explanation], ...] = (
    (
        r"CannotPull|pull image|manifest|ImagePull|repository does not exist",
        Explanation(
            "ImagePullFailed",
            "Check the image's name and tag, and that the execution role and the network can "
            "reach its registry.",
        ),
    ),
    (
        r"ResourceInitializationError|secret|ssm|registry auth",
        Explanation(
            "ResourceInitializationFailed",
            "Check the secrets' ARNs, the execution role's permissions, the log group, and that "
            "the subnets can reach them.",
        ),
    ),
    (
        r"OutOfMemory|OOM",
        Explanation("OutOfMemory", "Raise memoryMiB, or make the application use less."),
    ),
    (
        r"CannotStart|CannotCreate|ContainerRuntime|DockerTimeout",
        Explanation("ContainerStartFailed", "Check the command, the image and the host."),
    ),
    (
        r"network interface|ENI",
        Explanation(
            "NetworkInterfaceFailed", "Check the subnets' free addresses and the ENI quota."
        ),
    ),
    (
        r"Host EC2|instance .*(terminated|stopped)",
        Explanation("HostTerminated", "The EC2 instance went away; see spec.restartPolicy."),
    ),
)

_STOP_CODES: dict[str, Explanation] = {
    "TaskFailedToStart": Explanation("TaskFailedToStart", "See the reason; fix the definition."),
    "EssentialContainerExited": Explanation(
        "EssentialContainerExited", "See the application's log for why it ended."
    ),
    "UserInitiated": Explanation("StoppedExternally", "Somebody stopped the task in ECS."),
    "ServiceSchedulerInitiated": Explanation(
        "StoppedExternally", "The ECS service scheduler stopped the task."
    ),
    "SpotInterruption": Explanation(
        "SpotInterruption", "AWS reclaimed the Spot capacity; see spec.restartPolicy."
    ),
    "TerminationNotice": Explanation(
        "TerminationNotice", "The host is being retired; see spec.restartPolicy."
    ),
    "InfrastructureHealth": Explanation(
        "InfrastructureHealth", "The host was unhealthy; see spec.restartPolicy."
    ),
    "Lost": Explanation("TaskLost", "ECS no longer knows the task; its end was not seen."),
    "CapacityUnavailable": Explanation(
        "CapacityUnavailable", "It is tried again; add capacity if this persists."
    ),
    "RungTimeout": Explanation(
        "CapacityUnavailable", "No capacity within waitSeconds of its rung of spec.placement."
    ),
    "StartTimeout": Explanation(
        "StartTimeout", "The task did not start in time; see spec.timeouts and the task's events."
    ),
}


def rejection(code: str, message: str) -> Explanation:
    """Words for a request that AWS refused with an error ``code`` and ``message``."""
    for code_pattern, text_pattern, explanation in _REJECTIONS:
        if re.search(code_pattern, code, re.IGNORECASE) and re.search(
            text_pattern, message, re.IGNORECASE | re.DOTALL
        ):
            return explanation
    return _REJECTED


def refusal(text: str) -> Explanation:
    """Words for an attempt that ended as LaunchRejected, from all that was recorded of it."""
    nature, words, _ = unplaced([LaunchFailure(text)])
    return words if nature is Nature.SPEC else rejection(text, text)


def unplaced(failures: Sequence[LaunchFailure]) -> tuple[Nature, Explanation, str]:
    """What RunTask's ``failures[]`` mean, in words; no entries or unknown ones: Nature.UNKNOWN."""
    text = "; ".join(f"{f.reason} {f.detail}".strip() for f in failures)
    for entry in failures:
        for pattern, nature, explanation in _PLACEMENT:
            if re.search(pattern, entry.reason, re.IGNORECASE):
                return nature, explanation, text
    return Nature.UNKNOWN, _UNPLACED, text or "RunTask answered with neither a task nor a failure"


def stopped_text(task: ObservedTask) -> str:
    """All that ECS says about why a task stopped, its containers' reasons included."""
    reasons = [task.stopped_reason, *(c.reason for c in task.containers)]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def stop_code(task: ObservedTask) -> str:
    """ECS's stopCode, but for tasks that never got any capacity (Fargate says so in the reason)."""
    if task.stop_code == "TaskFailedToStart" and _NO_CAPACITY.search(stopped_text(task)):
        return "CapacityUnavailable"
    return task.stop_code or "StopReasonUnknown"


_NO_CAPACITY = re.compile(r"capacity is unavailable|insufficient capacity", re.IGNORECASE)


def termination(stop_code: str, text: str) -> Explanation:
    """Words for how a task or an attempt ended; known texts say more than the stop code."""
    if stop_code not in ("Lost", "SpotInterruption", "UserInitiated", *OUR_STOPS):
        for pattern, explanation in _STOPS:
            if re.search(pattern, text, re.IGNORECASE):
                return explanation
    return _STOP_CODES.get(stop_code) or Explanation(
        stop_code or "TaskStopped", "See the reason that ECS gives."
    )


OUR_STOPS = frozenset({"Deleted", "Suspended", "Replaced", "Superseded", "Expired", "Finished"})
"""Stop codes of ends that the operator itself brought about, on purpose; they count for nothing."""

CAPACITY_STOPS = frozenset({"CapacityUnavailable", "RungTimeout"})
"""Ends for want of capacity: the next rung of spec.placement follows."""

INFRASTRUCTURE_STOPS = frozenset({"SpotInterruption", "TerminationNotice", "InfrastructureHealth"})
"""Ends that the infrastructure brought about, whatever exit code the container had then."""

UNCOUNTED_STOPS = OUR_STOPS | {
    *INFRASTRUCTURE_STOPS,
    *CAPACITY_STOPS,
    "LaunchFailed",
    "LaunchRejected",
    "Unresolved",
}
"""Ends that never count against backoffLimit: nothing that the container did."""
