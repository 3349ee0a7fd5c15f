"""What shall become of a task: how long each state lasts, and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The script of one task. Times are seconds.

    The first three fields are the time spent in each state on the way to RUNNING, the next three
    on the way to STOPPED. ``visibility_lag`` is how long DescribeTasks, ListTasks and StopTask do
    not know the task after RunTask answered. ``fail_to_start`` is a stoppedReason: the task ends
    with TaskFailedToStart instead of RUNNING, and without any containers if ``empty_containers``.
    ``exit_after`` is the time in RUNNING until the main container exits with ``exit_code``,
    ``spot_after`` until a Spot interruption. Containers that are stopped exit with
    ``sigterm_exit_code``, or, if they ignore SIGTERM, with 137 after their stopTimeout.
    ``health`` replaces the health that follows from the container definition.
    """

    provisioning: float = 0.5
    pending: float = 0.5
    activating: float = 0.5
    deactivating: float = 0.1
    stopping: float = 0.5
    deprovisioning: float = 0.4
    visibility_lag: float = 0.0
    fail_to_start: str = ""
    empty_containers: bool = False
    exit_after: float | None = None
    exit_code: int = 0
    spot_after: float | None = None
    sigterm_exit_code: int = 143
    ignores_sigterm: bool = False
    health: str = ""

    def changed(self, values: Mapping[str, Any]) -> "TaskPlan":
        """Return the plan with ``values`` set.

        Besides the fields, ``start_seconds`` and ``stop_seconds`` set the whole way to RUNNING
        and to STOPPED, shared evenly among their states.

        Raises:
            ValueError: a name is no field of a plan.
        """
        known = dict(values)
        for total, parts in (
            ("start_seconds", ("provisioning", "pending", "activating")),
            ("stop_seconds", ("deactivating", "stopping", "deprovisioning")),
        ):
            if total in known:
                share = float(known.pop(total)) / len(parts)
                known = {**dict.fromkeys(parts, share), **known}
        if unknown := set(known) - {field.name for field in fields(self)}:
            raise ValueError(f"a task plan has no {', '.join(sorted(unknown))}")
        return replace(self, **known)


@dataclass(slots=True)
class _Rule:
    match: str
    plan: TaskPlan
    remaining: int | None


class Plans:
    """Chooses the plan of a new task: the first rule that matches its startedBy, or the default."""

    def __init__(self, default: TaskPlan) -> None:
        self._initial = default
        self.default = default
        self._rules: list[_Rule] = []

    def set(self, values: Mapping[str, Any], match: str = "", times: int | None = None) -> None:
        """Change the default plan; with ``match`` (a substring of startedBy) or ``times`` add a
        rule instead, which is based on the default and serves the next ``times`` tasks."""
        if not match and times is None:
            self.default = self.default.changed(values)
        else:
            self._rules.append(_Rule(match, self.default.changed(values), times))

    def choose(self, started_by: str) -> TaskPlan:
        """Return the plan for a new task, using up one turn of a counted rule."""
        for rule in self._rules:
            if rule.match in started_by:
                if rule.remaining is not None:
                    rule.remaining -= 1
                    if rule.remaining <= 0:
                        self._rules.remove(rule)
                return rule.plan
        return self.default

    def reset(self) -> None:
        """Forget the rules and go back to the default that the stand-in started with."""
        self.default = self._initial
        self._rules.clear()
