"""The status that says what was judged: conditions, endpoint, placement, times."""

from datetime import timedelta

from fractal_models.container import (
    Condition,
    ConditionStatus,
    Endpoint,
    EndpointPort,
    PlacementStatus,
    Role,
    Status,
    Task,
)
from fractal_models.observed import TaskArn
from fractal_operator.core import conditions, doubt, draining, failures, lifetime, merge, sharing
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

OVERDUE = timedelta(seconds=60)
PORTS = range(1, 65536)
MOST_PORTS = 100


def moving(state: State) -> list[Task]:
    """The tasks that are expected to change soon: everything but a settled current task."""
    return [
        entry
        for entry in state.entries
        if entry.last_status != "RUNNING" or entry.role is Role.RETIRING
    ]


def compose(verdict: Verdict) -> Status:
    """The status that says what was judged."""
    state, situation = verdict.state, verdict.situation
    seen = state.seen
    before = seen.status
    current = state.current
    endpoint = _endpoint(state, current) if situation.ready and current is not None else None
    was_ready = any(
        each.type == "Ready" and each.status is ConditionStatus.TRUE for each in before.conditions
    )
    ready_at = (before.ready_at if was_ready else None) or state.now
    return Status(
        observed_generation=seen.generation,
        phase=situation.phase,
        conditions=conditions.conditions(
            situation,
            synced=_synced(verdict),
            before=before.conditions,
            generation=seen.generation,
            now=state.now,
        ),
        attempt=state.attempt,
        never_launched=True if doubt.never_launched(state) else None,
        tasks=state.entries,
        placement=_placement(state, current),
        endpoint=endpoint,
        ready_at=ready_at if situation.ready else None,
        will_stop_at=lifetime.ends_at(state, seen.spec, current) if current and seen.spec else None,
        last_terminations=state.terminations,
        last_handled_reconcile_at=seen.requested or before.last_handled_reconcile_at,
        message=situation.message,
        installation=sharing.claimant(state, merge.stranger(seen, state.policy)),
    )


def _synced(verdict: Verdict) -> Condition:
    state = verdict.state
    attempt = state.unresolved
    stale = (
        attempt is not None
        and not draining.unsent(state, attempt)
        and state.now - draining.first_issued(state, attempt) > OVERDUE
    )
    for entry in moving(state):
        task = state.task(entry.arn)
        when = task.observed_at if task is not None else entry.since
        stale = stale or (when is not None and state.now - when > OVERDUE)
    home = state.seen.home or state.seen.target
    if state.seen.tasks or (home is not None and home.swept_since is not None):
        return conditions.synced(stale)
    said = (each for each in state.seen.status.conditions if each.type == "Synced")
    return next(said, conditions.NOT_OBSERVED)  # no look yet is no news


def _endpoint(state: State, current: Task) -> Endpoint | None:
    task, address = state.task(current.arn), state.seen.addresses.get(TaskArn(current.arn))
    if task is None or address is None:
        return state.seen.status.endpoint
    spec = state.seen.spec
    names = {
        (port.container_port, str(port.protocol)): port.name
        for port in (spec.template.ports if spec is not None and spec.template else ())
    }
    bound = [
        binding
        for each in task.containers
        for binding in each.bindings
        if binding.container_port in PORTS and binding.host_port in (0, *PORTS)
    ]
    ports = [
        EndpointPort(
            name=names.get((each.container_port, each.protocol)) or "",
            container_port=each.container_port,
            host_port=each.host_port,
            protocol=each.protocol,
        )
        for each in bound
    ] or [
        EndpointPort(name=name or "", container_port=port, host_port=port, protocol=protocol)
        for (port, protocol), name in names.items()
    ]
    ports.sort(key=lambda each: (each.container_port, each.protocol))
    return Endpoint(
        ip=address.public_ip or address.private_ip,
        private_ip=address.private_ip,
        ports=tuple(ports[:MOST_PORTS]),
    )


def _placement(state: State, current: Task | None) -> PlacementStatus | None:
    if current is None or state.attempt is None:
        return None
    task = state.task(current.arn)
    used = (task.capacity_provider or task.launch_type) if task is not None else ""
    before = state.seen.status.placement or PlacementStatus()
    placement = before.model_copy(update={"capacity_provider": used or before.capacity_provider})
    if current.attempt != state.attempt.number:
        return placement  # the attempt is another's, which is to take its place
    rung = state.attempt.rung
    return placement.model_copy(update={"rung": rung, "reason": _why(state) if rung else ""})


def _why(state: State) -> str:
    ends = (each for each in state.terminations if each.stop_code in failures.CAPACITY_STOPS)
    return next((f"attempt {end.attempt}: {end.reason}" for end in ends), "")
