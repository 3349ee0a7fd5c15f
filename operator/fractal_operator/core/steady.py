"""The current task: is it the wanted one, is it in time, is it ready."""

from dataclasses import replace
from datetime import datetime, timedelta

from fractal_models.container import ConditionStatus, Role, Spec, Task
from fractal_models.observed import STATE_RANK, ObservedTask, TaskArn
from fractal_operator.core import (
    adoption,
    begin,
    claims,
    definitions,
    draining,
    ending,
    failures,
    lifetime,
    losses,
    merge,
    permits,
    phases,
    request,
    rest,
    tokens,
)
from fractal_operator.core.phases import Situation
from fractal_operator.core.plan import Action, DefinitionView
from fractal_operator.core.state import State
from fractal_operator.core.verdict import Verdict

LOOK_AGAIN = timedelta(seconds=10)
"""How soon a task past its deadline is looked at again, until ECS shows how it stands."""


def keep(state: State, spec: Spec, current: Task) -> Verdict:
    """Replace, time out, or show the current task; and stop every other."""
    attempt = state.unresolved
    reads: tuple[Action, ...] = ()
    again_at: datetime | None = None
    if attempt is not None and draining.drained(state, attempt):
        state = state.ended(attempt.number, "Superseded", "an earlier task lives on")
    elif attempt is not None:
        # A newer attempt was armed when this task counted as ended; it may have landed.
        reads, again_at = draining.look(state, attempt)
    why = leaves(state, current)
    refused = permits.asked(state.policy, state.seen.namespace, spec) if why else ""
    if why and not refused:
        return replacing(ending.retire(state, current, why))
    late = overdue(state, spec, current)
    if late:
        return replacing(ending.retire(state, current, late))
    deadline = deadline_of(state, spec, current)
    verdict = shown(state, spec, current)
    if refused:  # better the task that runs than none
        situation = verdict.situation.but_stalled("NotAllowed", refused)
        verdict = replace(verdict, situation=situation)
    if attempt is None:  # one lookup at a time: the answer to one takes the place of the last one's
        if deadline is not None and deadline[1] == "Expired":
            reads = _look_once(state, current, deadline[0])
        reads = reads or ending.lookups(state)
    times = [verdict.again_at, again_at]
    if deadline is not None:
        times.append(max(deadline[0], state.now + LOOK_AGAIN))
    calls = (*ending.stop_calls(state), *adoption.retag(state, current))
    if len(state.entries) > 1 or state.surplus:
        times.append(state.now + ending.STOP_AGAIN)
    return replace(
        verdict,
        reads=(*reads, *verdict.reads),
        calls=calls,
        again_at=min((each for each in times if each is not None), default=None),
    )


def spec_hash(state: State, current: Task) -> str:
    """The hash of the spec that the task was launched from, "" if nobody knows."""
    task, attempt = state.task(current.arn), state.attempt
    told = claims.launched_hash(task, state.seen.uid) if task is not None else ""
    if told:
        return told
    return attempt.spec_hash if attempt and state.latest == current.attempt else ""


def outdated(state: State, entry: Task) -> str:
    """The stop code with which a task makes way for another, "" if it is as wished."""
    if begin.spec_changed(state, spec_hash(state, entry)):
        return "Replaced"
    latest = state.latest == entry.attempt
    return "Restarted" if latest and begin.restart_wanted(state) else ""


def leaves(state: State, current: Task) -> str:
    """The stop code with which the current task makes way for another, "" if it stays.

    A surge that was begun goes on, unless the task is certainly the wanted one again.
    """
    why = outdated(state, current)
    if why or current.reason not in ("Replaced", "Restarted"):
        return why
    known = tokens.spec_hash(state.seen.spec_json, spec_hash(state, current)) is not None
    return "" if known and current.reason == "Replaced" else current.reason


def shown(state: State, spec: Spec, current: Task) -> Verdict:
    """How the current task stands: on its way, running, Ready, or ending. Without calls."""
    rank, task = STATE_RANK.get(current.last_status, 0), state.task(current.arn)
    if losses.cluster_gone(state.seen, state.attempt):
        words = failures.rejection("ClusterNotFound", "")
        text = words.after("The ECS cluster of the task does not exist any more")
        return Verdict(state, phases.refused(words.reason, text))
    if rank > STATE_RANK["RUNNING"] or (task is not None and task.stopping):
        return Verdict(state, _stopping(task))
    if rank < STATE_RANK["RUNNING"]:
        return Verdict(state, phases.starting(current.attempt, rest.before(state)))
    return _running(state, spec, current)


def _stopping(task: ObservedTask | None) -> Situation:
    """ECS is stopping the task. Of Spot capacity it says so two minutes before the end."""
    code = failures.stop_code(task) if task is not None else ""
    if task is None or code not in failures.INFRASTRUCTURE_STOPS:
        return phases.stopping("Stopping", "The ECS task is stopping.")
    words = failures.termination(code, task.stopped_reason)
    return phases.stopping(words.reason, words.message(task.stopped_reason))


def replacing(state: State) -> Verdict:
    """Stop what is retiring (Recreate: the new task is launched once nothing is alive)."""
    retiring = state.entries[0]
    situation = phases.replacing(retiring.attempt)
    if retiring.reason == "Expired":
        situation = phases.stopping("Expiring", "Stopping the ECS task: its lifetime is over.")
    return Verdict(
        state,
        ending.refused_stop(state, situation),
        reads=ending.lookups(state),
        calls=ending.stop_calls(state),
        again_at=ending.look_again(state),
    )


def overdue(state: State, spec: Spec, entry: Task) -> str:
    """The stop code of a task that ECS shows too far behind, or too old; "" if it is neither."""
    task, deadline = state.task(entry.arn), deadline_of(state, spec, entry)
    over = deadline is not None and task is not None and deadline[0] <= task.observed_at
    return deadline[1] if deadline is not None and over else ""


def deadline_of(state: State, spec: Spec, current: Task) -> tuple[datetime, str] | None:
    """When this task has to have got further, and the stop code if it has not."""
    since, limits, task = current.since, spec.timeouts, state.task(current.arn)
    if task is None or since is None:
        return None
    match current.last_status:
        case "RUNNING" if current.role is Role.NEXT:  # else it would be the current one
            return since + timedelta(seconds=limits.start_seconds), "StartTimeout"
        case "RUNNING":
            end = lifetime.ends_at(state, spec, current)
            return (end, "Expired") if end is not None else None
        case "PROVISIONING" if task.last_status == "PROVISIONING":
            wait = _rung_wait(state, spec, current)
            if wait is not None:
                return wait, "RungTimeout"
            return since + timedelta(seconds=limits.provisioning_seconds), "ProvisioningTimeout"
        case "PROVISIONING":
            # Provisioned within a minute, which is not told apart: never too early, then.
            late = since + merge.LONG_PROVISIONING
            return late + timedelta(seconds=limits.start_seconds), "StartTimeout"
        case "PENDING" | "ACTIVATING":
            return since + timedelta(seconds=limits.start_seconds), "StartTimeout"
        case _:
            return None


def _look_once(state: State, current: Task, deadline: datetime) -> tuple[Action, ...]:
    """A look at a running task when its time is over: the sweep may come a minute later."""
    found, attempt = state.seen.lookup, state.attempt
    looked = found is not None and found.attempt == current.attempt and found.began >= deadline
    if attempt is None or looked or state.now < deadline:
        return ()
    return (draining.find(state, current.attempt, attempt.cluster_arn),)


def _rung_wait(state: State, spec: Spec, entry: Task) -> datetime | None:
    """When the time on the attempt's rung of spec.placement is over, if it has a limit."""
    attempt = state.attempt
    if attempt is None or attempt.number != entry.attempt or attempt.first_issued_at is None:
        return None
    if attempt.rung >= len(spec.placement):
        return None
    seconds = spec.placement[attempt.rung].wait_seconds
    return attempt.first_issued_at + timedelta(seconds=seconds) if seconds else None


def _running(state: State, spec: Spec, current: Task) -> Verdict:
    """RUNNING is Ready once it is healthy, where that can be known, and its address is known."""
    if current.health_status == "UNHEALTHY":
        return Verdict(state, phases.unhealthy())
    if still_ready(state, current):
        return _ready(state, spec, current)
    if current.health_status != "HEALTHY":
        pending = _health_pending(state, spec, current)
        if pending is not None:
            return pending
    address = state.seen.addresses.get(TaskArn(current.arn))
    if address is None or not (address.public_ip or address.private_ip):
        text = "The ECS task is running; its address is not known yet."
        return Verdict(state, phases.settling("EndpointPending", text))
    return _ready(state, spec, current)


def _ready(state: State, spec: Spec, current: Task) -> Verdict:
    """Ready; shortly before spec.timeouts.lifetimeSeconds ends the task, with a warning of that."""
    end = lifetime.ends_at(state, spec, current)
    if end is None:
        return Verdict(state, phases.running())
    warning = lifetime.warns_at(spec, end)
    if warning <= state.now:
        return Verdict(state, phases.expiring(end))
    return Verdict(state, phases.running(), again_at=warning)


def still_ready(state: State, current: Task) -> bool:
    """Whether the status says Ready of this very task already; then nothing needs to be asked."""
    if current.last_status != "RUNNING" or current.health_status == "UNHEALTHY":
        return False
    status = state.seen.status
    ready = any(
        each.type == "Ready" and each.status is ConditionStatus.TRUE for each in status.conditions
    )
    listed = any(each.arn == current.arn and each.role is Role.CURRENT for each in status.tasks)
    return ready and listed and status.endpoint is not None


def _from_spec(state: State, current: Task) -> bool:
    """Whether the task was launched from the spec, and not adopted."""
    task = state.task(current.arn)
    return task is None or claims.launched_hash(task, state.seen.uid) != ""


def _health_pending(state: State, spec: Spec, current: Task) -> Verdict | None:
    """The wait for a health check that the main container has, or may have."""
    text = "The ECS task is running; its health check has not passed yet."
    pending = Verdict(state, phases.settling("HealthCheckPending", text))
    if spec.template is not None and _from_spec(state, current):
        return pending if spec.template.health_check is not None else None
    region = tokens.region_of(current.arn)
    answer = definitions.revision(state, region, current.definition_arn)
    if not isinstance(answer, DefinitionView):
        return replace(pending, reads=(answer,))
    if answer.problem is not None:
        return replace(pending, again_at=definitions.retry_at(state, answer))
    if answer.result is None:
        return None
    name = request.main_container(spec, answer.result)
    checked = any(each.has_health_check for each in answer.result.containers if each.name == name)
    return pending if checked else None
