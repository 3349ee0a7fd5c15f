"""Every situation that a FractalContainer can be in, and how the status shows it.

    situation                    phase         Ready   Reconciling  Stalled
    waits (gate, backoff)        Pending       False   True         False
    launching                    Pending       False   True         False
    starting                     Provisioning  False   True         False
    running and reachable        Running       True    False        False
    the same, lifetime nearly up Running       True    False        False
    running, not ready yet       Running       False   True         False
    running, unhealthy           Running       False   False        False
    being replaced               Updating      False   True         False
    runs until another is Ready  Updating      True    True         False
    the same, that one refused   Updating      True    False        True
    task is ending               Stopping      False   True         False
    refused, needs a person      Failed        False   False        True
    suspending                   Stopping      False   True         False
    suspended                    Suspended     absent  False        False
    ended well, not relaunched   Succeeded     absent  False        False
    ended badly, not relaunched  Failed        False   False        True
    being deleted                Deleting      False   True         False
    deletion cannot be confirmed Deleting      False   False        True
    read-only, to be deleted     Deleting      False   False        True
    paused, something undone     any           as is   True         False

The phase is for people and derived; tools read the conditions. Reconciling and Stalled follow
kstatus: at most one of them is True, and they are never True once there is nothing left to do.
Where nothing shall run Ready is absent: kstatus waits for ever for a Ready that is False, and True
would promise an endpoint to `kubectl wait --for=condition=Ready`.
Messages hold no time that moves, or every look would be a write.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from fractal_models.container import Phase


@dataclass(frozen=True, slots=True)
class Situation:
    """What the status says of an object: ``reason`` is Ready's, in one CamelCase word.

    ``reconciling`` and ``stalled`` hold their condition's reason while it is True, else "".
    """

    phase: Phase
    reason: str
    message: str
    ready: bool = False
    reconciling: str = ""
    stalled: str = ""

    @property
    def at_rest(self) -> bool:
        """Whether nothing runs and nothing shall: Ready is no question then."""
        return self.phase in (Phase.SUSPENDED, Phase.SUCCEEDED)

    def but_stalled(self, reason: str, message: str) -> "Situation":
        """The same, with somebody needed: the task goes on, the wish cannot be followed."""
        return replace(self, stalled=reason, reconciling="", message=message)

    def until(self, update: "Situation") -> "Situation":
        """The same, until another task is ready (Surge), of which ``update`` tells."""
        text = f"{self.message} It is to be replaced once another is ready: {update.message}"
        return replace(
            self,
            phase=Phase.UPDATING,
            message=text,
            reconciling="" if update.stalled else update.reconciling or "Progressing",
            stalled=update.stalled,
        )


def waiting(reason: str, message: str) -> Situation:
    return Situation(Phase.PENDING, reason, message, reconciling=reason)


def retrying(reason: str, message: str) -> Situation:
    return Situation(Phase.PENDING, reason, message, reconciling="Retrying")


def launching(attempt: int, before: str = "") -> Situation:
    message = f"Asking ECS for a task (attempt {attempt}). {before}".rstrip()
    return Situation(Phase.PENDING, "Launching", message, reconciling="Progressing")


def starting(attempt: int, before: str = "") -> Situation:
    message = f"The ECS task of attempt {attempt} is starting. {before}".rstrip()
    return Situation(Phase.PROVISIONING, "Provisioning", message, reconciling="Progressing")


def running() -> Situation:
    return Situation(Phase.RUNNING, "TaskRunning", "The ECS task is running.", ready=True)


def expiring(end: datetime) -> Situation:
    at = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"The ECS task is running; spec.timeouts.lifetimeSeconds ends it at {at}."
    return Situation(Phase.RUNNING, "Expiring", message, ready=True)


def settling(reason: str, message: str) -> Situation:
    return Situation(Phase.RUNNING, reason, message, reconciling="Progressing")


def unhealthy() -> Situation:
    message = "The main container's health check fails. See the application's log."
    return Situation(Phase.RUNNING, "Unhealthy", message)


def replacing(attempt: int) -> Situation:
    message = f"Stopping the ECS task of attempt {attempt}; a new one follows."
    return Situation(Phase.UPDATING, "Replacing", message, reconciling="Progressing")


def stopping(reason: str, message: str) -> Situation:
    return Situation(Phase.STOPPING, reason, message, reconciling="Progressing")


def refused(reason: str, message: str) -> Situation:
    return Situation(Phase.FAILED, reason, message, stalled=reason)


def suspended() -> Situation:
    return Situation(Phase.SUSPENDED, "Suspended", "No task runs: spec.operatingMode is Suspended.")


def succeeded(message: str) -> Situation:
    return Situation(Phase.SUCCEEDED, "Succeeded", message)


def expired(message: str) -> Situation:
    return Situation(Phase.SUCCEEDED, "Expired", message)


def deleting(message: str) -> Situation:
    return Situation(Phase.DELETING, "Deleting", message, reconciling="Progressing")


def held(message: str) -> Situation:
    return Situation(Phase.DELETING, "ReadOnly", message, stalled="ReadOnly")


def stuck(message: str) -> Situation:
    return Situation(Phase.DELETING, "Deleting", message, stalled="DeletionStuck")
