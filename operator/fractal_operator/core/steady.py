"""The current task: is it the wanted one, is it in time, is it ready."""

from dataclasses import replace
from datetime import datetime, timedelta

from fractal_models.container import ConditionStatus, Spec, Task
from fractal_models.observed import STATE_RANK, ObservedTask, TaskArn
from fractal_operator.core import begin, ending, launch, phases
from fractal_operator.core.launch import Verdict
from fractal_operator.core.merge import State
from fractal_operator.core.plan import Action, DefinitionView


def keep(state: State, spec: Spec, current: Task) -> Verdict:
    """Replace, time out, or show the current task."""
    if state.unresolved is not None:
        # A newer attempt was armed when this task counted as ended; it may have landed.
        retired = ending.retire(state, current, "Superseded")
        return replacing(retired)
    if begin.spec_changed(state, state.attempt):
        return replacing(ending.retire(state, current, "Replaced"))
    task = state.task(current.arn)
    rank = STATE_RANK.get(current.last_status, 0)
    if rank > STATE_RANK["RUNNING"]:
        situation = phases.stopping("Stopping", "The ECS task is stopping.")
        return Verdict(state, situation, reads=ending.lookups(state))
    deadline = _deadline(spec, current, task)
    if deadline is not None and task is not None and deadline[0] <= task.observed_at:
        return replacing(ending.retire(state, current, deadline[1]))
    again = deadline[0] if deadline else None
    reads = ending.lookups(state)
    if rank == STATE_RANK["RUNNING"]:
        verdict = _running(state, spec, current, task)
        return replace(verdict, reads=(*reads, *verdict.reads), again_at=again)
    return Verdict(state, phases.starting(current.attempt), reads=reads, again_at=again)


def replacing(state: State) -> Verdict:
    """Stop what is retiring (Recreate: the new task is launched once nothing is alive)."""
    retiring = state.entries[0]
    situation = phases.replacing(retiring.attempt)
    return Verdict(
        state,
        situation,
        reads=ending.lookups(state),
        calls=ending.stop_calls(state),
        again_at=state.now + ending.STOP_AGAIN,
    )


def _deadline(spec: Spec, current: Task, task: ObservedTask | None) -> tuple[datetime, str] | None:
    """When this task has to have got further, and the stop code if it has not."""
    since, limits = current.since, spec.timeouts
    if task is None:
        return None
    status = task.last_status
    if status == "RUNNING":
        started = current.started_at or since
        if limits.lifetime_seconds is None or started is None:
            return None
        return started + timedelta(seconds=limits.lifetime_seconds), "Expired"
    if since is None or STATE_RANK.get(status, 0) > STATE_RANK["RUNNING"]:
        return None
    if status == "PROVISIONING":
        return since + timedelta(seconds=limits.provisioning_seconds), "StartTimeout"
    pending = task.created_at or since
    return max(pending, since) + timedelta(seconds=limits.start_seconds), "StartTimeout"


def _running(state: State, spec: Spec, current: Task, task: ObservedTask | None) -> Verdict:
    """RUNNING is Ready once it is healthy, where that can be known, and its address is known."""
    if current.health_status == "UNHEALTHY":
        return Verdict(state, phases.unhealthy())
    if _was_ready(state, current):
        return Verdict(state, phases.running())
    reads, checked = _has_health_check(state, spec, current)
    if reads:
        return Verdict(state, phases.settling("HealthCheckPending", _SETTLING), reads=reads)
    if checked and current.health_status != "HEALTHY":
        text = "The ECS task is running; its health check has not passed yet."
        return Verdict(state, phases.settling("HealthCheckPending", text))
    address = state.seen.addresses.get(TaskArn(current.arn))
    if address is None or not (address.public_ip or address.private_ip):
        text = "The ECS task is running; its address is not known yet."
        return Verdict(state, phases.settling("EndpointPending", text))
    return Verdict(state, phases.running())


_SETTLING = "The ECS task is running."


def _was_ready(state: State, current: Task) -> bool:
    """Whether the status already says Ready of this very task; then nothing needs to be asked."""
    status = state.seen.status
    ready = any(
        each.type == "Ready" and each.status == ConditionStatus.TRUE for each in status.conditions
    )
    listed = any(each.arn == current.arn for each in status.tasks)
    return ready and listed and status.endpoint is not None


def _has_health_check(state: State, spec: Spec, current: Task) -> tuple[tuple[Action, ...], bool]:
    """Whether the main container has a health check; a HEALTHY one evidently has."""
    if current.health_status == "HEALTHY":
        return (), True
    if spec.template is not None:
        return (), spec.template.health_check is not None
    region = launch.region_of(current.arn)
    answer = launch.definition(state, spec, region, current.definition_arn)
    if not isinstance(answer, DefinitionView):
        return (answer,), False
    name = state.attempt.container_name if state.attempt else ""
    containers = answer.result.containers if answer.result else ()
    return (), any(each.has_health_check for each in containers if each.name == name)
