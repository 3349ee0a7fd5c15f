"""The story of the demo: what the operator promises, each promise played and then checked.

What is checked is counted where it happens: tasks at the ECS stand-in, writes at the Kubernetes
stand-in, rows in PostgreSQL. The operator's own word counts for nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fractal_dev.history import read_history
from fractal_dev.kubectl import Object
from fractal_dev.show import Show
from fractal_dev.stack import Stack

PATIENCE = 30.0
"""Seconds that anything may take before its promise counts as broken."""

_POLL = 0.1
_KILLED = "killed"


class Broken(Exception):
    """A promise did not hold; the text says in what way."""


class Story:
    """One run of the story; the chapters are played in order."""

    def __init__(self, stack: Stack, show: Show) -> None:
        self._stack, self._show = stack, show
        self._kubectl, self._ecs = stack.kubectl, stack.ecs
        self._uids: dict[str, str] = {}
        self._phases: dict[str, str] = {}
        self._running = [_name(each) for each in stack.manifests if _runs(each)]
        self._idle = [_name(each) for each in stack.manifests if not _runs(each)]
        self._quiet_since: Counter[str] = Counter()

    def chapters(self) -> Sequence[tuple[str, Callable[[], None]]]:
        """Return every promise with what plays and checks it."""
        return (
            ("Every object that shall run becomes Ready with one task", self._apply),
            ("An edit replaces the task, and the old one stops first", self._edit),
            ("A lost reply and a killed operator still make exactly one task", self._kill),
            ("What is as it should be costs no Kubernetes write", self._count_quiet_writes),
            ("An object goes only when its task has stopped", self._delete),
            ("PostgreSQL tells every task and every object to its end", self._tell_history),
            ("No task too many, and never two alive for one object", self._count_tasks),
        )

    # --- the chapters ---

    def _apply(self) -> None:
        pid = self._stack.start_operator()
        self._show.step(f"started the operator (process {pid})")
        for manifest in self._stack.manifests:
            self._create(manifest)
        self._show.step(f"applied {', '.join(self._uids)}")
        self._until("all are Ready or Suspended", self._all_settled)
        for name in self._running:
            self._expect_tasks(name, 1)
        for name in self._idle:
            self._expect_tasks(name, 0)
        self._show.step("kubectl get fractalcontainers")
        self._show.table(*self._kubectl.table())

    def _edit(self) -> None:
        name = self._running[-1]
        self._kubectl.patch(name, {"spec": {"dpi": 144}})
        self._show.step(f"edited {name}: spec.dpi is 144 now")
        self._until(f"{name} is Ready again", self._all_settled)
        self._until("an Event tells of it", lambda: self._told_ready(name) == 2)
        old, new = self._expect_tasks(name, 2)
        if old["live"] or not new["live"]:
            raise Broken(f"{name}: the old task is {old['lastStatus']}, the new one is not")
        gap = new["createdAt"] - old["stoppedAt"]
        if gap < 0:
            raise Broken(f"{name}: the new task was launched {-gap:.2f} s before the old one ended")
        self._show.step(f"task {_id(old)} stopped; task {_id(new)} was launched {gap:.1f} s later")

    def _kill(self) -> None:
        self._quiet_since = self._writes_elsewhere()
        self._ecs.hold_run_task("after")
        self._show.step("ECS will keep back its reply to the next RunTask")
        self._create(_renamed(self._stack.manifests, self._running[0], _KILLED))
        self._show.step(f"applied {_KILLED}")
        self._until("RunTask is held", lambda: bool(self._ecs.held()))
        (task,) = self._expect_tasks(_KILLED, 1)
        self._show.step(f"task {_id(task)} exists at ECS; the operator has not heard of it")
        self._stack.kill_operator()
        self._show.step("killed the operator with SIGKILL")
        self._ecs.release()
        pid = self._stack.start_operator()
        self._show.step(f"started another operator (process {pid})")
        self._running.append(_KILLED)
        self._until("it has looked at everything", self._stack.operator.ready)
        self._until(f"{_KILLED} is Ready", self._all_settled)
        (same,) = self._expect_tasks(_KILLED, 1)
        self._show.step(f"task {_id(same)} is still the only one")

    def _count_quiet_writes(self) -> None:
        more = self._writes_elsewhere() - self._quiet_since
        if more:
            listed = ", ".join(f"{number} of {what}" for what, number in more.most_common())
            raise Broken(f"writes about objects that did not change: {listed}")
        others = len(self._uids) - 1
        self._show.step(f"{others} other objects, a crash and a restart in between: 0 writes")

    def _delete(self) -> None:
        for name in self._uids:
            self._kubectl.delete(name)
        self._show.step(f"deleted {', '.join(self._uids)}")
        left = set(self._uids)

        def gone() -> bool:
            for name in left - self._kubectl.objects().keys():
                left.discard(name)
                for task in self._tasks(name):
                    if task["live"]:
                        raise Broken(f"{name} is gone, its task is {task['lastStatus']}")
            return not left

        self._until("all objects are gone", gone)
        alive = self._ecs.tasks(live=True)
        if alive:
            raise Broken(f"{len(alive)} tasks are still alive at ECS")
        self._show.step("every object is gone, every task is STOPPED at ECS")

    def _tell_history(self) -> None:
        with read_history(self._stack.database_url) as history:
            uids = self._uids.values()
            self._until("the last row of each object", lambda: all(map(history.ended, uids)))
            for name, uid in self._uids.items():
                at_ecs = {each["taskArn"] for each in self._tasks(name)}
                if history.stopped_tasks(uid) != at_ecs:
                    raise Broken(f"{name}: hardware.user_containers differs from the tasks of ECS")
            self._show.step("select … from logs.container_history order by at")
            self._show.table(*history.table(uids))

    def _count_tasks(self) -> None:
        tasks = self._ecs.tasks()
        wanted = len(self._running) + 1
        for name in self._uids:
            for old, new in pairwise(self._tasks(name)):
                if new["createdAt"] < old["stoppedAt"]:
                    raise Broken(f"{name} had two live tasks at once: {_id(old)} and {_id(new)}")
        if len(tasks) != wanted:
            raise Broken(f"{len(tasks)} tasks were launched, {wanted} were needed")
        calls = self._ecs.calls()
        self._show.step(
            f"counted at ECS: {len(tasks)} tasks launched by {calls['RunTask']} RunTask calls, "
            f"{calls['StopTask']} StopTask calls, {sum(calls.values())} calls in all"
        )
        kinds = Counter(_kind(each) for each in self._kubectl.operator_writes())
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        self._show.step(f"counted at Kubernetes: {kinds.total()} writes ({listed})")

    # --- what they share ---

    def _create(self, manifest: Mapping[str, Any]) -> None:
        created = self._kubectl.create(manifest)
        self._uids[_name(created)] = created["metadata"]["uid"]

    def _tasks(self, name: str) -> list[Any]:
        """Return all tasks there ever were of an object, oldest first."""
        return [each for each in self._ecs.tasks() if f"/{self._uids[name]}/" in each["startedBy"]]

    def _expect_tasks(self, name: str, number: int) -> list[Any]:
        tasks = self._tasks(name)
        if len(tasks) != number:
            raise Broken(f"{name} has had {len(tasks)} tasks at ECS instead of {number}")
        return tasks

    def _all_settled(self) -> bool:
        objects = self._kubectl.objects()
        ready = all(_ready(objects[name]) for name in self._running)
        return ready and all(_phase(objects[name]) == "Suspended" for name in self._idle)

    def _writes_elsewhere(self) -> Counter[str]:
        """Count the operator's writes, and the Events, about all objects but the killed one."""
        names = self._uids.keys() - {_KILLED}
        writes = [each for each in self._kubectl.operator_writes() if each["name"] in names]
        about = (each["involvedObject"]["name"] for each in self._kubectl.events())
        found = Counter(f"{_kind(each)} {each['name']}" for each in writes)
        return found + Counter(f"Event {name}" for name in about if name in names)

    def _told_ready(self, name: str) -> int:
        """How many Events tell that an object has become Ready: each is its change's last write."""
        told = (each for each in self._kubectl.events() if each["reason"] == "Ready")
        return sum(each["involvedObject"]["name"] == name for each in told)

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for ``condition`` and meanwhile show the phases as they change.

        Raises:
            Broken: it takes too long, or the operator has ended.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            code = self._stack.operator.ended()
            if code is not None:
                raise Broken(f"the operator ended by itself with exit code {code}")
            if time.monotonic() > deadline:
                raise Broken(f"{what}: not within {PATIENCE:.0f} s")
            self._show_phases()
            time.sleep(_POLL)
        self._show_phases()

    def _show_phases(self) -> None:
        objects = self._kubectl.objects()
        now = {name: phase for name, each in objects.items() if (phase := _phase(each))}
        now.update(dict.fromkeys(self._phases.keys() - now.keys(), "gone"))
        changed = [
            f"{name} {now[name]}" for name in sorted(now) if now[name] != self._phases.get(name)
        ]
        if changed:
            self._show.step("  " + ", ".join(changed))
        self._phases = now


def _name(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


def _runs(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["spec"].get("operatingMode") != "Suspended")


def _renamed(manifests: Sequence[Mapping[str, Any]], name: str, new: str) -> dict[str, Any]:
    (found,) = (each for each in manifests if _name(each) == name)
    return {**found, "metadata": {"name": new}}


def _phase(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))


def _ready(obj: Object) -> bool:
    """Whether the object is Ready, in its present generation, with no task but its current one."""
    status = obj.get("status", {})
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    latest = status.get("observedGeneration") == obj["metadata"]["generation"]
    return latest and conditions.get("Ready") == "True" and len(status.get("tasks", ())) == 1


def _id(task: Mapping[str, Any]) -> str:
    return str(task["taskArn"]).rsplit("/", 1)[-1][:8]


def _kind(request: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (request["resource"], request["subresource"])))
