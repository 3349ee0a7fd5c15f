"""The ends of tasks and attempts in words: by ECS's stop code or ours, and by exit code.

Sources: TaskStopCode in the ECS API reference, "Stopped tasks error messages" in the developer
guide, and for the exit codes AWS re:Post, "Why is my Amazon ECS task stopped".
"""

from collections.abc import Mapping

from fractal_operator.core.words.explanation import Explanation

SPOT = Explanation(
    "SpotInterruption",
    "AWS took back the Spot capacity under the task",
    "Nothing is wrong with the container. For capacity that stays, put a rung that is not Spot "
    "into spec.placement.",
)
RETIRED = Explanation(
    "TerminationNotice",
    "The host under the task is taken away or maintained",
    "Nothing is wrong with the container; the next task gets another host.",
)
HOST = Explanation(
    "HostTerminated",
    "The EC2 instance under the task was stopped, terminated or deregistered",
    "Nothing is wrong with the container; see why the instance left the cluster.",
)
CAPACITY = Explanation(
    "CapacityUnavailable",
    "AWS has no room for the task now",
    "It is tried again; add capacity, subnets in other zones or rungs to spec.placement if this "
    "goes on.",
)
STARTED_NOTHING = Explanation(
    "TaskFailedToStart",
    "The task stopped before it ran",
    "See ECS's reason, and correct the template or task definition.",
)
EXITED = Explanation(
    "EssentialContainerExited",
    "The container ended by itself",
    "See the application's log for why it ended.",
)
AGAIN = ", again and again, each time within 10 minutes of its start"
"""What is added to the meaning of an end that is one of many in a row."""

_EXTERNAL = (
    "It is followed by another as spec.restartPolicy says; to keep it stopped, set "
    "spec.operatingMode to Suspended."
)
_OURS = "Nothing needs to be done."

STOP_CODES: Mapping[str, Explanation] = {
    # ECS's own (TaskStopCode)
    "TaskFailedToStart": STARTED_NOTHING,
    "EssentialContainerExited": EXITED,
    "UserInitiated": Explanation(
        "StoppedExternally", "Somebody stopped the task in ECS", _EXTERNAL
    ),
    "ServiceSchedulerInitiated": Explanation(
        "StoppedExternally", "The ECS service scheduler stopped the task", _EXTERNAL
    ),
    "SpotInterruption": SPOT,
    "TerminationNotice": RETIRED,
    "InfrastructureHealth": Explanation(
        "InfrastructureHealth",
        "The host under the task was unhealthy",
        "Nothing is wrong with the container; the next task gets another host.",
    ),
    "StopReasonUnknown": Explanation(
        "StopReasonUnknown", "The task stopped, and ECS does not say why", "See the task in ECS."
    ),
    # what the operator found out
    "Lost": Explanation(
        "TaskLost",
        "ECS no longer knows the task, and its end was not seen",
        "See the application's log for how it went.",
    ),
    "CapacityUnavailable": CAPACITY,
    "RungTimeout": Explanation(
        "CapacityUnavailable",
        "There was no capacity within waitSeconds of the rung of spec.placement",
        "It is tried on the next rung; add capacity if this goes on.",
    ),
    "ProvisioningTimeout": Explanation(
        "CapacityUnavailable",
        "There was no capacity within spec.timeouts.provisioningSeconds",
        "It is tried again; add capacity if this goes on.",
    ),
    "StartTimeout": Explanation(
        "StartTimeout",
        "The task did not start in time and was stopped",
        "See ECS's events for what it waited for, or raise spec.timeouts.",
    ),
    "LaunchRejected": Explanation(
        "LaunchRejected",
        "ECS refused to launch the task",
        "Correct the spec; it is tried again every 10 minutes.",
    ),
    "LaunchFailed": Explanation(
        "LaunchFailed",
        "ECS launched no task and did not say why",
        "It is tried again under a new attempt.",
    ),
    "Unresolved": Explanation(
        "LaunchFailed",
        "The answer to the launch was lost, and no task of it was found",
        "It is tried again under a new attempt.",
    ),
    "AdoptionFailed": Explanation(
        "AdoptionFailed",
        "The task that was to be adopted could not be had",
        "Correct the annotation fractal.co/adopt, or remove it to have a task launched.",
    ),
    # what the operator did itself, on purpose
    "Deleted": Explanation("Deleted", "The object was deleted", _OURS),
    "Suspended": Explanation("Suspended", "The task was suspended (spec.operatingMode)", _OURS),
    "Replaced": Explanation("Replaced", "The spec was edited; a new task follows", _OURS),
    "Restarted": Explanation("Restarted", "A restart was asked for; a new task follows", _OURS),
    "Superseded": Explanation("Superseded", "A newer task of the object took its place", _OURS),
    "Finished": Explanation("Finished", "It was one task too many of the object", _OURS),
    "Expired": Explanation(
        "Expired",
        "The task reached spec.timeouts.lifetimeSeconds",
        "To run it again, raise or remove the limit.",
    ),
}

EXIT_CODES: Mapping[int, Explanation] = {
    0: Explanation(
        EXITED.reason,
        "The container ended by itself, with success",
        "If it is meant to end, set spec.restartPolicy to OnFailure or Never.",
    ),
    126: Explanation(
        EXITED.reason,
        "The container's command is no program that can be run",
        "Correct command, or the image's permissions.",
    ),
    127: Explanation(
        EXITED.reason,
        "The container's command was not found in the image",
        "Correct command, or the image.",
    ),
    137: Explanation(
        EXITED.reason,
        "The container was killed (SIGKILL), mostly for want of memory",
        "Raise template.memoryMiB, or see the application's log.",
    ),
    139: Explanation(
        EXITED.reason,
        "The container crashed (SIGSEGV, a forbidden memory access)",
        "See the application's log, and that the image is built for the task's processor.",
    ),
    143: Explanation(
        EXITED.reason,
        "The container was asked to end (SIGTERM)",
        "See in ECS who stopped it.",
    ),
}
"""Exit codes of the main container that say more than that it ended (Docker's convention)."""
