"""What was seen in AWS ECS, as frozen values. Times are aware UTC datetimes; no I/O here."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

ClusterArn = NewType("ClusterArn", str)
TaskArn = NewType("TaskArn", str)

STATE_RANK = {
    "PROVISIONING": 1,
    "PENDING": 2,
    "ACTIVATING": 3,
    "RUNNING": 4,
    "DEACTIVATING": 5,
    "STOPPING": 6,
    "DEPROVISIONING": 7,
    "STOPPED": 8,
}
"""ECS's task lifecycle in order (developer guide, "Task lifecycle"); states may be skipped."""


@dataclass(frozen=True, slots=True)
class PortBinding:
    """One published port: ``host_port`` on the task's address reaches ``container_port``."""

    container_port: int
    host_port: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One container of a task. ``exit_code`` is None until it exits, always if it never ran.

    ``health`` is "" in a sight that does not tell of it.
    """

    name: str
    last_status: str = ""
    exit_code: int | None = None
    reason: str = ""
    health: str = "UNKNOWN"
    bindings: tuple[PortBinding, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedTask:
    """One ECS task as an answer or a task event showed it at ``observed_at``.

    ``version`` grows with each change of the task (None where an emulator does not tell).
    ``spec_hash`` is the override environment FRACTAL_SPEC_HASH, "" where there is none.
    ``tags`` are those that begin with ``fractal.co/``; None: this sight does not tell of tags.
    ``health`` is "" in a sight that does not tell of it.
    Unknown values of ECS's enumerations are kept as they are.
    """

    arn: TaskArn
    cluster_arn: ClusterArn
    observed_at: datetime
    last_status: str
    desired_status: str = "RUNNING"
    definition_arn: str = ""
    started_by: str = ""
    spec_hash: str = ""
    version: int | None = None
    health: str = "UNKNOWN"
    launch_type: str = ""
    capacity_provider: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    stopping_at: datetime | None = None
    stopped_at: datetime | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    containers: tuple[ObservedContainer, ...] = ()
    container_instance_arn: str = ""
    eni_id: str = ""
    private_ip: str = ""
    tags: tuple[tuple[str, str], ...] | None = None

    def tag(self, key: str) -> str:
        """The value of one of our tags, "" if the task has none or that was not told."""
        for name, value in self.tags or ():
            if name == key:
                return value
        return ""

    @property
    def stopped(self) -> bool:
        """Whether the task has ended for good."""
        return self.last_status == "STOPPED"

    @property
    def live(self) -> bool:
        """Whether the task may still run or cost anything (anything but STOPPED)."""
        return not self.stopped

    @property
    def stopping(self) -> bool:
        """Whether ECS already means to stop the task, or has stopped it."""
        return self.desired_status == "STOPPED" or STATE_RANK.get(self.last_status, 0) > 4


@dataclass(frozen=True, slots=True)
class LaunchFailure:
    """One of RunTask's ``failures[]``; a task may exist all the same (apache/airflow#16150)."""

    reason: str
    detail: str = ""
    arn: str = ""


@dataclass(frozen=True, slots=True)
class RunTaskResult:
    """RunTask's answer: 200 is not success; both lists may be empty, or both filled."""

    tasks: tuple[ObservedTask, ...]
    failures: tuple[LaunchFailure, ...]


@dataclass(frozen=True, slots=True)
class DescribeTasksResult:
    """``missing`` are the ARNs that ECS answered as MISSING (unknown, expired, too new)."""

    tasks: tuple[ObservedTask, ...]
    missing: tuple[TaskArn, ...]


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """An ECS cluster: ``status`` is ACTIVE, PROVISIONING, DEPROVISIONING, FAILED or INACTIVE."""

    arn: ClusterArn
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class DefinitionContainer:
    """What the operator needs to know of a container definition."""

    name: str
    essential: bool = True
    has_health_check: bool = False
    image: str = ""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task definition: ``arn`` always holds the revision; ``status`` ACTIVE, INACTIVE, …

    The roles are as registered, ARNs or bare names; "" where there is none.
    """

    arn: str
    status: str
    network_mode: str
    containers: tuple[DefinitionContainer, ...]
    requires_compatibilities: tuple[str, ...] = ()
    task_role: str = ""
    execution_role: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a task is reached: addresses "" while unknown or absent."""

    public_ip: str = ""
    private_ip: str = ""
