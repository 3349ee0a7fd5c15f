"""What the words of a status mean: phases, conditions, reasons and Events.

tests/unit/test_reference.py finds the words that the code can say and fails if one is missing here,
or if one stands here that nothing says any more.
"""

from collections.abc import Mapping

from fractal_models.container import Phase

PHASES: Mapping[Phase, str] = {
    Phase.PENDING: "No task yet: something is waited for, or ECS is being asked for a task.",
    Phase.PROVISIONING: "The task exists and starts: ECS's PROVISIONING, PENDING and ACTIVATING.",
    Phase.RUNNING: "The task runs. Whether it can be used is what Ready says.",
    Phase.UPDATING: "The task is being stopped, another one follows; with `updateStrategy: Surge` "
    "it runs on until the other one is ready.",
    Phase.STOPPING: "The task is being stopped, or ends by itself.",
    Phase.SUSPENDED: "No task runs, because `spec.operatingMode` is `Suspended`.",
    Phase.SUCCEEDED: "Done: the main container exited with code 0 and is not started again, or the "
    "lifetime is over.",
    Phase.FAILED: "It does not run, and trying on without a change makes little sense.",
    Phase.DELETING: "The object is being deleted; it goes when its task has stopped.",
}

CONDITIONS: Mapping[str, tuple[str, str, str]] = {
    # type: True, False, absent or Unknown
    "Ready": (
        "The task is RUNNING, healthy where the main container has a health check, and "
        "`status.endpoint` is set.",
        "It is not; the reason says why.",
        "Absent while nothing runs and nothing shall: `Suspended`, `Succeeded`.",
    ),
    "Reconciling": (
        "The operator has something left to do, or waits for it.",
        "Nothing is left to do, or only a person can go on.",
        "",
    ),
    "Stalled": (
        "A person is needed; the message says what for. What a repair outside can mend is tried "
        "again every 10 minutes, and at once when the spec or `fractal.co/reconcile-requested-at` "
        "changes.",
        "Nobody is needed.",
        "",
    ),
    "Synced": (
        "ECS shows what was last done for this object.",
        "It has not for more than 60 seconds.",
        "Unknown until ECS has been looked at once.",
    ),
}

SITUATIONS: Mapping[str, str] = {
    # function of core/phases.py: what it stands for
    "waiting": "waits for something",
    "retrying": "an attempt failed, another one follows",
    "launching": "ECS is asked for a task",
    "starting": "the task starts",
    "settling": "the task runs, but is not ready yet",
    "running": "the task runs and is ready",
    "expiring": "the same, its lifetime is nearly over",
    "unhealthy": "the health check fails",
    "replacing": "the task is being replaced",
    "stopping": "the task ends",
    "refused": "a person is needed",
    "suspended": "suspended, nothing runs",
    "succeeded": "ended with code 0",
    "expired": "ended after its lifetime",
    "deleting": "being deleted",
    "stuck": "the deletion cannot be confirmed",
    "held": "deleted, but read-only",
}

REASONS: Mapping[str, str] = {
    "Adopting": "The task that `fractal.co/adopt` names is being taken over.",
    "AdoptionRefused": "The object may not have the task that `fractal.co/adopt` names; the "
    "message says why.",
    "AttemptsExhausted": "The status claims the highest attempt number there is: it was edited. "
    "Delete the object and create it anew.",
    "Deleting": "The object is being deleted: its task is stopped, or retained, first.",
    "DeletionStuck": "For five minutes ECS has not confirmed that the task has stopped; the "
    "message says why, and how to give the object up.",
    "Draining": "An earlier launch has no certain end yet: it is made sure that it left no task "
    "behind, for at most seven minutes.",
    "EndpointPending": "The task runs; its address is not known yet.",
    "Expired": "The task reached `timeouts.lifetimeSeconds` and is not launched again.",
    "Expiring": "The task runs, but its lifetime is nearly over; or it is being stopped for that.",
    "HealthCheckPending": "The task runs; its health check has not passed yet.",
    "InternalError": "Reconciling the object failed three times in a row in a way that nobody "
    "foresaw; the message says how. What runs is left alone. In a deletion the message says how "
    "to give the object up.",
    "InvalidSpec": "The spec cannot be used as it is; the message names the field.",
    "Launching": "RunTask is called, or is about to be.",
    "LaunchesPaused": "Launches are paused in this cluster, because too many tasks vanished at "
    "once.",
    "NotAllowed": "The spec names something that the operator's allow-list does not give to this "
    "namespace; the message says what.",
    "NotObserved": "ECS has not been looked at yet, or does not show the last change.",
    "NotStalled": "Nobody is needed.",
    "OtherInstallation": "A task of this object belongs to another installation of the operator, "
    "which has not let go of it.",
    "Paused": "The annotation `fractal.co/paused` holds up what is left to do.",
    "Pending": "Waiting for the first launch.",
    "Progressing": "Work is under way.",
    "Provisioning": "The task exists and starts.",
    "ReadOnly": "The annotation `fractal.co/read-only` holds up what is left to do, deletion "
    "included.",
    "ReconcileSuccess": "ECS shows what was last done.",
    "Released": "The object's labels are not selected any more: it is let go of, and waits for the "
    "installation that selects it.",
    "Replacing": "The task is being stopped, another one follows.",
    "Retrying": "An attempt failed; another one follows after a pause.",
    "Settled": "Nothing is left to do.",
    "Stopping": "The task is stopping, without our doing.",
    "Succeeded": "The main container exited with code 0 and is not started again.",
    "Suspended": "`spec.operatingMode` is `Suspended`, and no task runs.",
    "Suspending": "The task is being stopped, because `spec.operatingMode` is `Suspended`.",
    "TaggingFailed": "The task cannot be tagged: as this object's, which adopts it, or as "
    "released, so that another installation may have it (docs/splitting.md). It is tried again.",
    "RateLimited": "The object waits for its turn: AWS limits how many tasks may be launched or "
    "stopped in a second (docs/quotas.md).",
    "TaskRunning": "The task runs and is ready.",
    "Unhealthy": "The health check of the main container fails. The task is left alone.",
    "WaitingForSweep": "Before the first launch the operator looks once at all tasks of the "
    "cluster.",
}
"""Reasons of conditions, but for those of failures, which docs/failures.md explains."""

EVENTS: Mapping[str, tuple[str, str]] = {
    # reason: type, when
    "Launching": ("Normal", "RunTask is about to be called for a new attempt."),
    "TaskLaunched": ("Normal", "ECS answered a launch with a task."),
    "Adopting": ("Normal", "The task that `fractal.co/adopt` names is about to be taken over."),
    "TaskAdopted": ("Normal", "A task of this object was found in ECS and taken over."),
    "Ready": ("Normal", "Ready turned True."),
    "Unhealthy": ("Warning", "The health check of the main container began to fail."),
    "Expiring": ("Warning", "The task's lifetime is nearly over; `status.willStopAt` says when."),
    "StoppingTask": (
        "Normal",
        "A task is about to be stopped; a Warning if that was not asked for.",
    ),
    "TaskStopped": ("Normal", "A task ended because the operator stopped it on purpose."),
    "Suspended": ("Normal", "The phase became Suspended."),
    "Succeeded": ("Normal", "The phase became Succeeded."),
    "LeaderElection": ("Normal", "On the operator's Lease: this process leads from now on."),
    "OtherInstallation": (
        "Warning",
        "Another installation looks after the object, and this one selects it, too, for more than "
        "a minute (docs/splitting.md).",
    ),
    "RecordRefused": ("Warning", "PostgreSQL refuses a record of the object; it runs on."),
}
"""Events by reason, but for those whose reason is a failure's, or that of Stalled."""
