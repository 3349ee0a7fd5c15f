"""From what ECS shows to what the status holds: which tasks, which attempt, which ends.

Theory. The status is a claim, which users can edit; ECS is the truth about tasks. A task is ours
only if its ``startedBy`` names this installation and this object's uid, or if it was adopted.
Merging
 1. drops claims on foreign tasks, and turns stopped or lost tasks into terminations;
 2. adopts every live task of ours that the status does not know: the newest becomes Current under
    its own number (Next, beside an older one, under Surge: surge.py), any other is Retiring or,
    beyond the two that the status holds, surplus;
 3. repairs the attempt so that its number is never below a task's that exists.
No launch happens while step 2 has anything to do, so a wiped status cannot cause a second task.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from fractal_models.container import Role, Task, Termination, UpdateStrategy
from fractal_models.observed import STATE_RANK, ObservedTask, TaskArn
from fractal_operator.core import claims, failures, losses, tokens
from fractal_operator.core.plan import Observation, Policy
from fractal_operator.core.state import State, with_end

LONG_PROVISIONING = timedelta(seconds=60)


def merge(seen: Observation, policy: Policy) -> State:
    """The state that follows from the status as claimed and the tasks as observed."""
    known = _ours(seen, policy)
    attempt = claims.repaired(claims.plausible(seen.status.attempt, seen.now), seen, known)
    ours = {arn: each for arn, each in known.items() if not losses.vanished(seen, attempt, *each)}
    state = State(
        seen=seen,
        policy=policy,
        attempt=attempt,
        entries=(),
        terminations=seen.status.last_terminations,
        surplus=(),
        highest=_highest(seen, known),
    )
    for entry in seen.status.tasks:
        state = _take(state, entry, ours)
    return _adopt(_end_unlisted(state, ours), ours)


def stranger(seen: Observation, policy: Policy) -> ObservedTask | None:
    """A live task that another installation launched for this very object, if there is one."""
    for task in seen.tasks:
        origin = tokens.parse_started_by(task.started_by)
        if origin is None or origin.uid != seen.uid or origin.install == policy.install:
            continue
        if task.live and number_of(task, seen, policy) is None:
            return task
    return None


def number_of(task: ObservedTask, seen: Observation, policy: Policy) -> int | None:
    """The attempt that stands for ``task``, or None if it is not this object's task."""
    origin = tokens.parse_started_by(task.started_by)
    if origin is not None and (origin.install, origin.uid) == (policy.install, seen.uid):
        return None if claims.given_away(task, seen, policy) else origin.attempt
    return claims.adopted(task, seen, policy)


def _ours(seen: Observation, policy: Policy) -> dict[TaskArn, tuple[int, ObservedTask]]:
    numbered = ((number_of(task, seen, policy), task) for task in seen.tasks)
    return {task.arn: (number, task) for number, task in numbered if number is not None}


def _highest(seen: Observation, known: Mapping[TaskArn, tuple[int, ObservedTask]]) -> int:
    numbers = [number for number, _ in known.values()]
    numbers += [entry.attempt for entry in seen.status.tasks]
    numbers += [ended.attempt for ended in seen.status.last_terminations]
    if seen.status.attempt:
        numbers.append(seen.status.attempt.number)
    return max((each for each in numbers if each <= tokens.MAX_ATTEMPT), default=0)


def _take(state: State, entry: Task, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """One task that the status claims: kept and refreshed, ended, or dropped as not ours."""
    arn, seen = TaskArn(entry.arn), state.seen
    if any(each.arn == entry.arn for each in state.entries):
        return state  # claimed twice: by somebody's edit
    times = {
        name: claims.not_later(getattr(entry, name), seen.now) for name in ("since", "started_at")
    }
    entry = entry.model_copy(update=times)
    if arn in ours:
        number, task = ours[arn]
        entry = entry.model_copy(update={"attempt": number})
        if task.stopped:
            return _stopped(state, entry, task)
        main = state.attempt.container_name if state.attempt else ""
        return replace(state, entries=(*state.entries, refreshed(entry, task, main)))
    task_seen = state.task(arn)
    if task_seen is not None and claims.given_away(task_seen, seen, state.policy):
        return state.ended(entry.attempt, "Superseded", "another FractalContainer has adopted it")
    if task_seen is not None and number_of(task_seen, seen, state.policy) is None:
        return state  # somebody else's task: a forged or stale claim, never touched
    if not claims.claimable(state.attempt, arn):
        return state
    if losses.lost(seen, state.attempt, entry):
        retiring = entry.role is Role.RETIRING and entry.reason
        ended = Termination(
            attempt=entry.attempt,
            stop_code=entry.reason if retiring else "Lost",
            reason="ECS no longer knows the task and its end was not seen",
            finished_at=state.now,
        )
        absent = seen.missing.get(arn)  # nobody knows how long it ran after that
        until = absent.first if absent is not None else state.now
        return with_end(state, ended, ran=_ran(state, entry, entry.started_at, until))
    return replace(state, entries=(*state.entries, entry))


def _ran(state: State, entry: Task, started: datetime | None, stopped: datetime) -> timedelta:
    began = claims.runs_from(state.attempt, entry.attempt, started)
    return stopped - began if began is not None else timedelta(0)


def _stopped(state: State, entry: Task, task: ObservedTask) -> State:
    retiring = entry.role is Role.RETIRING and entry.reason
    if retiring == "Superseded" and any(e.attempt == entry.attempt for e in state.terminations):
        return state  # how it really ended is told already
    stopped = task.stopped_at or task.observed_at
    record = Termination(
        attempt=entry.attempt,
        stop_code=entry.reason if retiring else failures.stop_code(task),
        reason=failures.stopped_text(task),
        exit_code=exit_code(task, state.attempt.container_name if state.attempt else ""),
        finished_at=stopped,
    )
    ran = _ran(state, entry, task.started_at or entry.started_at, stopped)
    return with_end(state, record, ran=ran)


def exit_code(task: ObservedTask, main_container: str) -> int | None:
    """The main container's exit code; None: it never ran, or nobody knows which one that is.

    Windows counts beyond 31 bits (0xC000013A); such a code is cut to the greatest that fits.
    """
    for container in task.containers:
        if container.name == main_container or len(task.containers) == 1:
            code = container.exit_code
            return code if code is None else max(-(2**31), min(code, 2**31 - 1))
    return None


def _end_unlisted(state: State, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """A task of the unresolved attempt that ended before anybody could note its ARN."""
    attempt = state.unresolved
    if attempt is None:
        return state
    tasks = [task for number, task in ours.values() if number == attempt.number]
    if not tasks or any(task.live for task in tasks):
        return state
    return _stopped(state, _entry(attempt.number, tasks[0]), tasks[0])


def _entry(number: int, task: ObservedTask) -> Task:
    return refreshed(Task(attempt=number, role=Role.CURRENT, arn=task.arn), task)


def refreshed(entry: Task, task: ObservedTask, main_container: str = "") -> Task:
    """The entry with what ECS shows now; PROVISIONING to ACTIVATING is one stage, one write.

    But for a task that was long in PROVISIONING: what follows has a time limit of its own.
    A task that has started never starts again: a process that has just begun may see it as it was.
    """
    stage = entry
    late = entry.started_at is not None and _group(entry.last_status) > _group(task.last_status)
    waited = entry.since is not None and task.observed_at - entry.since > LONG_PROVISIONING
    slow = waited and entry.last_status == "PROVISIONING" != task.last_status
    other = not entry.last_status or _group(entry.last_status) != _group(task.last_status)
    if slow or (other and not late):
        update = {"last_status": task.last_status, "since": task.observed_at}
        stage = entry.model_copy(update=update)
    return stage.model_copy(
        update={
            "definition_arn": task.definition_arn or entry.definition_arn,
            "health_status": _health(task, main_container),
            "started_at": task.started_at or entry.started_at,
        }
    )


def _health(task: ObservedTask, main_container: str) -> str:
    """The main container's health, "" while nothing is known of it."""
    own = [each.health for each in task.containers if each.name == main_container]
    health = own[0] if own and len(task.containers) > 1 else task.health
    return "" if health == "UNKNOWN" else health


def _group(status: str) -> int:
    """0: starting (or unknown to us), 1: RUNNING, 2: ending."""
    rank = STATE_RANK.get(status, 0)
    return (rank >= STATE_RANK["RUNNING"]) + (rank > STATE_RANK["RUNNING"])


def _adopt(state: State, ours: Mapping[TaskArn, tuple[int, ObservedTask]]) -> State:
    """Take in live tasks that the status does not list; at most one Current, two entries in all.

    Only the newest may become Current: of the listed ones that ECS shows, too, even if they retire.
    A task that is only claimed never displaces one that ECS shows. Under Surge the newest becomes
    Next, where an older one goes on.
    """
    listed = {entry.arn for entry in state.entries}
    # Its end was seen: what shows it alive is an old sight, or a status that somebody edited.
    seen_ends = {
        end.attempt for end in state.terminations if end.stop_code not in failures.UNSEEN_STOPS
    }
    newest = max((each.attempt for each in state.entries if each.arn in ours), default=0)
    entries = list(state.entries)
    for number, task in ours.values():
        if task.live and task.arn not in listed:
            entry = _entry(number, task)
            late = number <= newest or number in seen_ends
            entries.append(_superseded(entry) if late else entry)
    if not entries:
        return state
    heads = _heads(state, entries, ours)
    numbers = {each.attempt for each in heads}
    rest = sorted(entries, key=lambda each: each.attempt, reverse=True)
    kept = [*heads, *(_superseded(each) for each in rest if each.attempt not in numbers)]
    shown = {entry.arn for entry in kept[:2]}
    surplus = {entry.arn: state.task(entry.arn) for entry in entries if entry.arn not in shown}
    return replace(
        state,
        entries=tuple(kept[:2]),
        surplus=tuple(task for task in surplus.values() if task is not None),
    )


def _heads(
    state: State, entries: list[Task], ours: Mapping[TaskArn, tuple[int, ObservedTask]]
) -> tuple[Task, ...]:
    """The entries that stay: the current task and, if it is to be replaced by it, the next one."""
    head = max(entries, key=lambda each: _precedence(each, shown=each.arn in ours))
    pair = [each for each in (state.current, state.coming) if each is not None]
    if len(pair) == 2 and pair[0].attempt < pair[1].attempt and head in pair:
        return tuple(pair)
    older = [each for each in entries if each.attempt < head.attempt and _goes_on(state, each)]
    spec = state.seen.spec
    if older and spec is not None and spec.update_strategy is UpdateStrategy.SURGE:
        first = max(older, key=lambda each: (each in pair[:1], each.attempt))
        return _as(first, Role.CURRENT), _as(head, Role.NEXT)
    return (_as(head, Role.CURRENT) if head.role is Role.NEXT else head,)


def _goes_on(state: State, entry: Task) -> bool:
    task = state.task(entry.arn)
    return entry.role is not Role.RETIRING and not (task is not None and task.stopping)


def _as(entry: Task, role: Role) -> Task:
    return entry if entry.role is role else entry.model_copy(update={"role": role})


def _precedence(entry: Task, *, shown: bool) -> tuple[bool, bool, int]:
    stays = entry.role is not Role.RETIRING
    return stays and shown, stays, entry.attempt


def _superseded(entry: Task) -> Task:
    if entry.role is Role.RETIRING:
        return entry
    return entry.model_copy(update={"role": Role.RETIRING, "reason": "Superseded"})
