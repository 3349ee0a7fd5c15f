"""What must hold in the end of a random run, by Kubernetes, ECS and PostgreSQL together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.e2e.faults.parts import Stage

Obj = dict[str, Any]

AT_REST = {"Suspended", "Succeeded", "Failed"}
LIVE_ROWS = {"CREATING", "RUNNING_AVAILABLE", "RUNNING_UNAVAILABLE", "DELETING"}


@dataclass
class Truth:
    """``wrong`` is what has to go away by itself; ``owed`` are the reaper's tasks."""

    wrong: list[str] = field(default_factory=list)
    owed: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    launches: int = 0
    live: int = 0
    stops: int = 0
    rows: int = 0


def look(world: Stage, forced: set[str], retained: set[str]) -> Truth:
    """Compare the three.

    ``forced``: uids whose finalizer a user took off; ``retained``: uids whose tasks may live on.
    """
    listed: Any = world.objects.list_namespaced_custom_object(
        "fractal.co", "v1alpha1", world.namespace, "fractalcontainers"
    )
    objects = {each["metadata"]["uid"]: each for each in listed["items"]}
    tasks: dict[str, list[Obj]] = {}
    for each in world.tasks():
        tasks.setdefault(each["startedBy"].split("/")[2], []).append(each)
    found = Truth(duplicates=duplicates(tasks.values()))
    found.launches = sum(map(len, tasks.values()))
    found.stops = sum(t.get("stopCode") == "UserInitiated" for ts in tasks.values() for t in ts)
    rows: dict[str, list[Obj]] = {}
    for row in world.rows("SELECT uid, container_id, state FROM hardware.user_containers"):
        rows.setdefault(row["uid"], []).append(row)
        found.rows += 1
    apps = {row["task_id"]: row for row in world.rows("SELECT * FROM hardware.user_app_state")}
    found.rows += len(apps)
    for uid in objects.keys() | tasks.keys() | apps.keys():
        live = [each["taskArn"] for each in tasks.get(uid, ()) if each["live"]]
        found.live += len(live)
        body = objects.get(uid)
        if body is None:
            _gone(found, uid, live, forced, retained)
        else:
            _there(found, body, live)
        _rows(found, uid, body, live, rows.get(uid, []), apps.get(uid), uid in forced | retained)
    return found


def _gone(found: Truth, uid: str, live: list[str], forced: set[str], retained: set[str]) -> None:
    if uid in retained:
        return
    (found.owed if uid in forced else found.leaked).extend(live)


def _there(found: Truth, body: Obj, live: list[str]) -> None:
    name, status = body["metadata"]["name"], body.get("status") or {}
    phase = status.get("phase", "")
    ready = any(
        each["type"] == "Ready"
        and each["status"] == "True"
        and each["observedGeneration"] == body["metadata"]["generation"]
        for each in status.get("conditions", ())
    )
    known = [each["arn"] for each in status.get("tasks", ())]
    if "deletionTimestamp" in body["metadata"]:
        found.wrong.append(f"{name} is being deleted")
    elif phase == "Running" and ready:
        if live != known:
            found.wrong.append(f"{name} has the tasks {live}, and says {known}")
    elif phase in AT_REST:
        if live:
            found.wrong.append(f"{name} is {phase} and has the tasks {live}")
    else:
        found.wrong.append(f"{name} is {phase}: {status.get('message', '')}")


def _rows(
    found: Truth,
    uid: str,
    body: Obj | None,
    live: list[str],
    rows: list[Obj],
    app: Obj | None,
    loose: bool,
) -> None:
    """``loose``: its tasks may live on without an object, and then without an observer."""
    if app is None:
        if body is not None:
            found.wrong.append(f"{uid} has no row")
        return
    if app["deleted"] is not (body is None):
        found.wrong.append(f"{uid}: the row says deleted={app['deleted']}")
    if body is not None:
        phase = body.get("status", {}).get("phase")
        expected = {"Running": "READY", "Failed": "FAILURE"}.get(phase, "CANCELLED")
        if app["state"] != expected:
            found.wrong.append(f"{uid} is {phase}: the row says {app['state']}")
    shown = sorted(row["container_id"] for row in rows if row["state"] in LIVE_ROWS)
    if shown != sorted(live) and not loose:
        found.wrong.append(f"{uid}: rows show {shown} live, ECS {live}")


def duplicates(tasks: Iterable[list[Obj]]) -> list[str]:
    """Pairs of one object's tasks that lived at the same time, by ECS's own times."""
    found = []
    for ones in tasks:
        ordered = sorted(ones, key=lambda each: float(each["createdAt"]))
        for before, after in pairwise(ordered):
            if before["live"] or before["stoppedAt"] > after["createdAt"]:
                found.append(f"{before['taskArn']} and {after['taskArn']}")
    return found
