"""The vocabulary of the core: what was observed, what the operator is set to, what is to be done.

``decide(Observation, Policy) -> Plan``. Everything here is a frozen value. All times are aware UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from fractal_models.container import Spec, Status, clip
from fractal_models.observed import (
    Address,
    ClusterArn,
    ClusterInfo,
    LaunchFailure,
    ObservedTask,
    TaskArn,
    TaskDefinition,
)
from fractal_operator.core.allow import Allow
from fractal_operator.core.annotations import RECONCILE_REQUESTED, RESTART_REQUESTED
from fractal_operator.core.selector import Selector

FINALIZER = "fractal.co/ecs-task"

Permit = Literal["RunTask", "StopTask"]
"""The calls that need a permit of the rate limit each."""


class Queued(NamedTuple):
    """The object stands in a region's line for a permit, since ``since``."""

    region: str
    permit: Permit
    since: datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide: which installation this is, and what empty spec fields mean.

    ``process`` names this process among all that ever ran; an attempt says which one issued it.
    ``selector`` says which objects are this installation's to look after.
    """

    install: str
    process: str = ""
    region: str = ""
    cluster: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    assign_public_ip: str = ""
    allow: Allow = field(default_factory=Allow)
    selector: Selector = field(default_factory=Selector)


@dataclass(frozen=True, slots=True)
class Problem:
    """A call that failed, and what that means (a name of the error tree), as seen at ``at``."""

    kind: str
    message: str
    at: datetime
    code: str = ""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What this process knows of one ECS cluster.

    ``swept_since`` is when its newest complete sweep of tasks began, None before the first one.
    ``paused`` says in words why launches are paused there, "" if they are not. ``account`` is the
    AWS account of the credentials in use, "" while unknown.
    """

    region: str
    reference: str
    info: ClusterInfo | None = None
    problem: Problem | None = None
    known: bool = False
    swept_since: datetime | None = None
    paused: str = ""
    account: str = ""

    @property
    def gone(self) -> bool:
        """Whether ECS says that there is no such cluster (never, or no longer).

        Asked under another account's credentials, ECS knows none of our clusters: that proves
        nothing, so the account must be known, and be the one that the cluster's ARN names.
        """
        if not self.known or not self.account:
            return False
        parts = self.reference.split(":")
        if len(parts) > 5 and parts[4] != self.account:
            return False
        return self.info is None or self.info.status == "INACTIVE"


@dataclass(frozen=True, slots=True)
class DefinitionView:
    """The answer for one task definition reference: found, unknown to ECS (None), or a problem.

    ``request`` is the reconcile-requested-at that was unhandled when it was asked for.
    """

    reference: str
    at: datetime
    result: TaskDefinition | None = None
    problem: Problem | None = None
    request: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """ECS answered MISSING for a task: when first, when last, how often."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """A completed ListTasks(startedBy) for one attempt that began at ``began``; ``found`` ARNs."""

    attempt: int
    began: datetime
    found: tuple[TaskArn, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What this process knows of its RunTask calls for one attempt.

    ``certain``: this process armed the attempt first and every call so far was answered for
    certain, so that no task can exist that no answer told of. ``at`` is the last call's end, None
    before the first call. Then one of: ``failures`` (HTTP 200 without a task) or ``problem``.
    """

    attempt: int
    certain: bool
    calls: int = 0
    at: datetime | None = None
    failures: tuple[LaunchFailure, ...] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """This process's last StopTask (or TagResource) of one task, and why it failed if it did.

    ``turn`` is when it could be asked for at last, if it had to wait for its turn. ``released``:
    the tag was to say that the object's installation lets go of the task, not that it is retained.
    """

    at: datetime
    problem: Problem | None = None
    turn: datetime | None = None
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that one decision looks at."""

    now: datetime
    namespace: str
    name: str
    uid: str
    generation: int
    deleting_since: datetime | None
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    spec: Spec | None
    spec_errors: tuple[str, ...]
    spec_json: Mapping[str, Any]
    status: Status
    target: ClusterView | None
    home: ClusterView | None
    tasks: tuple[ObservedTask, ...] = ()
    missing: Mapping[TaskArn, Missing] = field(default_factory=dict)
    addresses: Mapping[TaskArn, Address] = field(default_factory=dict)
    definition: DefinitionView | None = None
    lookup: Lookup | None = None
    launch: Launch | None = None
    stops: Mapping[TaskArn, Stop] = field(default_factory=dict)
    retained: Mapping[TaskArn, Stop] = field(default_factory=dict)
    adopted: Mapping[TaskArn, Stop] = field(default_factory=dict)
    created_at: datetime | None = None
    selected: bool = True
    """Whether the object's labels make it this installation's."""
    bare_since: datetime | None = None
    highest: int = 0
    """The highest attempt that this process has seen in the status."""
    breaker: Problem | None = None
    queued: tuple[Queued, ...] = ()

    @property
    def requested(self) -> str:
        """The value of fractal.co/reconcile-requested-at that is not handled yet, else ""."""
        value = self.annotations.get(RECONCILE_REQUESTED, "")
        return value if clip(value, 128) != self.status.last_handled_reconcile_at else ""

    @property
    def restart(self) -> str:
        """The value of fractal.co/restart-requested-at as an attempt keeps it, else ""."""
        return clip(self.annotations.get(RESTART_REQUESTED, ""), 128)


@dataclass(frozen=True, slots=True)
class Resolve:
    """Read: find out what a task definition reference (family, family:revision, ARN) stands for."""

    region: str
    reference: str


@dataclass(frozen=True, slots=True)
class Ensure:
    """Find or register the task definition that an inline template stands for."""

    region: str
    registration: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Find:
    """Read: ListTasks(startedBy) and describe what it finds."""

    region: str
    cluster: ClusterArn
    attempt: int
    started_by: str


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Write: put our finalizer on, and nothing else."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Write: take our finalizer off; the object goes."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write: replace the status. ``arms`` an attempt (else 0): that needs a launch permit."""

    status: Status
    region: str = ""
    arms: int = 0


@dataclass(frozen=True, slots=True)
class RunTask:
    """Call RunTask, for an attempt that the status already holds."""

    region: str
    attempt: int
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StopTask:
    """Call StopTask, for a task that the status already calls Retiring (or that is surplus)."""

    region: str
    cluster: ClusterArn
    arn: TaskArn
    reason: str


@dataclass(frozen=True, slots=True)
class TagTask:
    """Call TagResource, for a task that is adopted, or kept beyond its object (Retain)."""

    region: str
    arn: TaskArn
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Write: delete the object itself (ttlSecondsAfterFinished)."""


Action = (
    Resolve
    | Ensure
    | Find
    | AddFinalizer
    | RemoveFinalizer
    | DeleteObject
    | WriteStatus
    | RunTask
    | StopTask
    | TagTask
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again if nothing else happens.

    The actions never cross a write-ahead barrier: a plan that writes to Kubernetes does only that,
    once, and is followed by a fresh decision. No actions and no ``again_at``: converged. ``waits``
    are the lines (region, permit) in which the object stands rightly. ``parted``: the object is not
    this installation's any more, and is to be forgotten.
    """

    actions: tuple[Action, ...] = ()
    again_at: datetime | None = None
    wants_sweep: bool = False
    waits: tuple[tuple[str, Permit], ...] = ()
    parted: bool = False
