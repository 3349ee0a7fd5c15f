"""The end of a run as three witnesses tell it, without what differs from run to run."""

import json
import re
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from tests.e2e.stack import World

Obj = dict[str, Any]

_DROPPED = re.compile(
    r"(At|Time|Arn|Hash|^usedSeconds|^arn|^attempt|^number|^uid|^ip|^privateIp|^issuedBy|resourceVersion)$"
)
"""Names of members whose values are a run's own; that they are there is kept."""
_OWN = re.compile(r"w-[0-9a-f]{10}|arn:\S+|\b[0-9a-f]{32}\b|\d[\d.:T+-]*Z?")
_END: tuple[str, ...] = ("stop_code", "exit_code")
_ROW = ("state", "stop_code", "exit_code", "dpi", "user_id", "name")


def snapshot(world: World, uids: Mapping[str, str]) -> Obj:
    """What is, of the objects made so far: ``uids`` by label, as in {"ada": …, "ada again": …}.

    Spec, status and finalizers by Kubernetes; tasks, launches and stops by ECS; rows by PostgreSQL.
    What belongs to no object is told under "".
    """
    where: Any = world.objects.list_namespaced_custom_object(
        "fractal.co", "v1alpha1", world.namespace, "fractalcontainers"
    )
    objects = {each["metadata"]["uid"]: each for each in where["items"]}
    found = {label: _one(world, objects.get(uid), uid) for label, uid in uids.items()}
    known = {f"fc/{world.name}/{uid}" for uid in uids.values()}
    strangers = [x for x in world.tasks() if x["startedBy"].rpartition("/")[0] not in known]
    return found | {"": {"tasks": [_task(each) for each in strangers]}}


def _one(world: World, found: Obj | None, uid: str) -> Obj:
    tasks = world.tasks(uid)
    # Who dies between the end of the finalizer and the last row leaves that row to the auditor,
    # which knows that the task has stopped and not how.
    unknown = _END if found is None else ()
    if found is None and any(each["live"] for each in tasks):
        # A retained task has no observer: the next audit, be it that of a restart, closes its row.
        unknown = (*_END, "state")
    known = tuple(name for name in _ROW if name not in unknown)
    return {
        "object": None if found is None else _object(found),
        "tasks": [_task(each) for each in tasks],
        "launches": len(tasks),
        "stops": sum(each.get("stopCode") == "UserInitiated" for each in tasks),
        "rows": [_plain({k: row[k] for k in known}) for row in world.containers(uid)],
        "app": {k: v for k, v in world.app_state(uid).items() if k in ("state", "deleted")},
    }


def _object(found: Obj) -> Obj:
    meta = found["metadata"]
    return {
        "generation": meta["generation"],
        "finalizers": meta.get("finalizers", []),
        "deleting": "deletionTimestamp" in meta,
        "spec": _plain(found["spec"]),
        "status": _plain(found.get("status")),
    }


def _task(task: Obj) -> Obj:
    return {
        "live": task["live"],
        "lastStatus": task["lastStatus"],
        "stopCode": task.get("stopCode"),
        "retained": any(each["key"] == "fractal.co/retained" for each in task.get("tags", ())),
    }


def _plain(value: Any, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _plain(each, key) for key, each in sorted(value.items())}
        case list():
            return [_plain(each, name) for each in value]
        case _ if value is not None and _DROPPED.search(name):
            return "…"
        case str():
            return _OWN.sub("…", value)
        case _:
            return value


def live(state: Obj) -> int:
    """How many tasks run."""
    return sum(task["live"] for each in state.values() for task in each["tasks"])


def difference(expected: Obj, found: Obj) -> str:
    """What differs, as a diff of a few lines; "" if nothing does."""
    lines = unified_diff(_lines(expected), _lines(found), "reference", "this run", "", "", 1, "")
    return "\n".join(lines)


def _lines(state: Obj) -> list[str]:
    return json.dumps(state, indent=1, sort_keys=True, default=str).splitlines()


def summed(state: Obj, name: str) -> int:
    """The sum of ``launches`` or ``stops``."""
    return sum(each.get(name, 0) for each in state.values())
