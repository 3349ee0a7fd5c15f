"""What Postgres is told of an object: rows projected from its status and its observed tasks."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from fractal_models.container import Phase, Role, Status, Task
from fractal_models.observed import ObservedTask
from fractal_models.records import AppStateRecord, ContainerRecord, HistoryRecord, Record
from fractal_operator.core import failures
from fractal_operator.core.events import Transition
from fractal_operator.core.events import retold as transitions_retold
from fractal_operator.core.merge import exit_code, number_of
from fractal_operator.core.plan import Observation, Policy

Value = TypeVar("Value", str, int)

_APP_STATES = {
    Phase.PENDING: "PENDING",
    Phase.PROVISIONING: "SPINNING_UP_NEW",
    Phase.UPDATING: "SPINNING_UP_NEW",
    Phase.STOPPING: "SPINNING_UP_NEW",
    Phase.FAILED: "FAILURE",
    Phase.SUSPENDED: "CANCELLED",
    Phase.SUCCEEDED: "CANCELLED",
    Phase.DELETING: "CANCELLED",
}


def current(
    body: Mapping[str, Any], seen: Observation, policy: Policy, *, gone: bool
) -> list[Record]:
    """All rows of an object and its tasks as they stand; with ``gone``, the last ones."""
    records: list[Record] = [app_state(body, seen.status, policy.install, seen.now, gone=gone)]
    for task in seen.tasks:
        number = number_of(task, seen, policy)
        if number is not None:
            records.append(container(body, seen.status, task, number))
    if gone:
        records.append(_farewell(body, seen))
    return records


def _farewell(body: Mapping[str, Any], seen: Observation) -> HistoryRecord:
    """The last row of an object's history; nothing in its status will tell of it."""
    key = f"{seen.uid}-end"
    end = Transition("Normal", "Deleted", "The object and its task are gone", 0, "", key)
    (row,) = history(body, seen.status, seen.status, [end], seen.now)
    return replace(row, phase_to="Deleted")


def app_state(
    body: Mapping[str, Any], status: Status, install: str, at: datetime, *, gone: bool
) -> AppStateRecord:
    """hardware.user_app_state's row of one object; ``gone`` makes it the terminal one."""
    meta, spec = body["metadata"], _spec(body)
    ports = {port.container_port: port.host_port for port in _ports(status)}
    return AppStateRecord(
        task_id=meta["uid"],
        install=install,
        namespace=meta["namespace"],
        name=meta["name"],
        user_id=_typed(spec, "user", str) or None,
        state="CANCELLED" if gone else _app_state(status, spec),
        ip=status.endpoint.ip if status.endpoint else "",
        port=ports.get(32262, -1),
        generation=meta.get("generation", 0),
        resource_version=meta.get("resourceVersion", ""),
        observed_at=at,
        deleted=gone,
    )


def _spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec, {} where it is none: under another schema anything can be stored."""
    spec = body.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _typed(spec: Mapping[str, Any], name: str, kind: type[Value]) -> Value | None:
    """A field, None where it is not of its type; true and false are no numbers."""
    value = spec.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _app_state(status: Status, spec: Mapping[str, Any]) -> str:
    if status.phase in (Phase.RUNNING, Phase.UPDATING) and _ready(status):
        return "READY"
    if status.phase is Phase.RUNNING:
        return "WAITING_FOR_CLIENT_APP"
    if status.phase is Phase.STOPPING and spec.get("operatingMode") == "Suspended":
        return "CANCELLED"
    return _APP_STATES.get(status.phase or Phase.PENDING, "PENDING")


def _ready(status: Status) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in status.conditions)


def _ports(status: Status) -> Iterable[Any]:
    return status.endpoint.ports if status.endpoint else ()


def container(
    body: Mapping[str, Any], status: Status, task: ObservedTask, attempt: int
) -> ContainerRecord:
    """hardware.user_containers' row of one task of the object."""
    meta, spec = body["metadata"], _spec(body)
    entry = next((each for each in status.tasks if each.arn == task.arn), None)
    ended = next((each for each in status.last_terminations if each.attempt == attempt), None)
    current = entry is not None and entry.role is Role.CURRENT
    stop_code = ""
    if task.stopped:
        stop_code = ended.stop_code if ended else (entry.reason if entry else "") or task.stop_code
    ports = {port.container_port: port.host_port for port in _ports(status)} if current else {}
    family, _, revision = task.definition_arn.rpartition("/")[2].partition(":")
    return ContainerRecord(
        container_id=task.arn,
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        attempt=attempt,
        user_id=_typed(spec, "user", str) or None,
        cluster=task.cluster_arn.rpartition("/")[2],
        location=_part(task.arn, 3),
        ip=status.endpoint.ip if current and status.endpoint else task.private_ip,
        state=_state(task, entry, current and _ready(status), stop_code),
        port_32262=ports.get(32262, -1),
        port_32263=ports.get(32263, -1),
        port_32273=ports.get(32273, -1),
        dpi=_typed(spec, "dpi", int),
        task_definition=family,
        task_version=int(revision) if revision.isdigit() else None,
        version=task.version or 0,
        generation=meta.get("generation", 0),
        observed_at=task.observed_at,
        created_at=task.created_at,
        started_at=task.started_at,
        # A replayed launch shows an ended task without its times; its row is to be pruned, too.
        stopped_at=task.stopped_at or (task.observed_at if task.stopped else None),
        stop_code=stop_code,
        stopped_reason=failures.stopped_text(task),
        exit_code=exit_code(task, status.attempt.container_name if status.attempt else ""),
    )


def _part(arn: str, index: int) -> str:
    parts = arn.split(":")
    return parts[index] if len(parts) > index else ""


def _state(task: ObservedTask, entry: Task | None, ready: bool, stop_code: str) -> str:
    if task.stopped:
        return "FAILED" if _failed(task, stop_code) else "STOPPED"
    if task.stopping or (entry is not None and entry.role is Role.RETIRING):
        return "DELETING"
    if task.last_status == "RUNNING":
        return "RUNNING_AVAILABLE" if ready else "RUNNING_UNAVAILABLE"
    return "CREATING"


def _failed(task: ObservedTask, stop_code: str) -> bool:
    """FAILED: it never started, or its containers ended with an error nobody asked for."""
    if stop_code in failures.OUR_STOPS or stop_code == "UserInitiated":
        return False
    return task.started_at is None or any(each.exit_code for each in task.containers)


def history(
    body: Mapping[str, Any], old: Status, new: Status, told: Iterable[Transition], at: datetime
) -> tuple[HistoryRecord, ...]:
    """logs.container_history's rows of the transitions of one status write."""
    meta = body["metadata"]
    return tuple(
        HistoryRecord(
            key=each.key,
            # A little later each, so that ordering by time keeps the order.
            at=at + timedelta(microseconds=place),
            uid=meta["uid"],
            namespace=meta["namespace"],
            name=meta["name"],
            attempt=each.attempt,
            container_id=each.task_arn,
            phase_from=str(old.phase or ""),
            phase_to=str(new.phase or ""),
            reason=each.reason,
            message=each.message,
        )
        for place, each in enumerate(told)
    )


def retold(body: Mapping[str, Any], status: Status, at: datetime) -> tuple[HistoryRecord, ...]:
    """The rows of history that a status still tells of; those that exist already stay as they are.

    ``at`` is the time of transitions whose own time the status does not tell.
    """
    told = transitions_retold(body["metadata"]["uid"], status)
    rows = history(body, Status(), status, told, at)
    return tuple(
        row if each.at is None else replace(row, at=each.at)
        for row, each in zip(rows, told, strict=True)
    )
