"""The control API under /_ecs/: JSON in, JSON out. It is the stand-in's own and no part of AWS."""

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dev.ecs.engine import TaskEngine
from fractal_dev.ecs.events import Rule
from fractal_dev.ecs.faults import Fault, Faults
from fractal_dev.ecs.holds import Hold, Holds
from fractal_dev.ecs.plan import Plans
from fractal_dev.ecs.task import Task
from fractal_dev.ecs.throttle import Throttle
from fractal_dev.ecs.wsgi import Calls

Values = dict[str, Any]

_ENDS: Mapping[str, tuple[str, str]] = {
    "exit": ("EssentialContainerExited", "Essential container in task exited"),
    "spot": ("SpotInterruption", "Your Spot Task was interrupted."),
    "infrastructure": ("InfrastructureHealth", "The underlying infrastructure is impaired."),
    "termination": ("TerminationNotice", "Host EC2 instance was terminated."),
}


class ControlApi:
    """Answers (method, path below /_ecs/, values of query and body together)."""

    def __init__(
        self,
        engine: TaskEngine,
        plans: Plans,
        faults: Faults,
        holds: Holds,
        throttle: Throttle,
        calls: Calls,
    ) -> None:
        self._engine, self._plans, self._faults = engine, plans, faults
        self._holds, self._throttle, self._calls = holds, throttle, calls
        self._routes: dict[tuple[str, str], Callable[[Values], Any]] = {
            ("GET", ""): lambda _: {"standIn": "ecs", "note": "not AWS: a local stand-in"},
            ("GET", "tasks"): self._list_tasks,
            ("GET", "calls"): lambda v: calls.take(clear=v.get("clear") in ("1", True)),
            ("GET", "definitions"): self._definitions,
            ("GET", "holds"): lambda _: holds.waiting(),
            ("GET", "clock"): lambda _: {"now": engine.clock.now()},
            ("POST", "clock"): self._advance,
            ("POST", "clusters"): self._ensure_cluster,
            ("POST", "plan"): self._set_plan,
            ("POST", "faults"): lambda v: faults.add(Fault(**v)),
            ("POST", "holds"): lambda v: holds.arm(Hold(**v)),
            ("POST", "release"): lambda _: {"released": holds.release()},
            ("POST", "events"): lambda v: {"path": engine.events.put_rule(Rule(**v))},
            ("POST", "events/delete"): lambda v: engine.events.delete_rule(v["name"]),
            ("POST", "throttle"): lambda v: throttle.set_scale(float(v["scale"])),
            ("POST", "tasks/stop"): self._stop,
            ("POST", "tasks/vanish"): self._vanish,
            ("POST", "tasks/health"): self._set_health,
            ("POST", "reset"): lambda _: self._reset(),
        }

    def __call__(self, method: str, path: str, values: Values) -> Any:
        """Answer one control request.

        Raises:
            LookupError: no such path or task.
            TypeError, ValueError: values that make no sense.
        """
        route = self._routes.get((method, path.rstrip("/")))
        if route is None:
            raise LookupError(f"no {method} /_ecs/{path}")
        with self._engine.lock:
            self._engine.settle()
            return route(values) or {}

    def _list_tasks(self, values: Values) -> Any:
        prefix = values.get("started_by_prefix", "")
        tasks = [each for each in self._engine.all() if each.started_by.startswith(prefix)]
        return {"tasks": [self._shown(task) for task in tasks]}

    def _shown(self, task: Task) -> dict[str, Any]:
        return {
            **task.json(tags=True),
            "clientToken": task.client_token,
            "region": task.region,
            "live": not task.stopped,
            "visible": self._engine.visible(task),
        }

    def _definitions(self, _: Values) -> Any:
        return {
            "definitions": [
                {"arn": each.arn, "status": each.status, "region": region}
                for region in self._engine.account.regions()
                for family in self._engine.account.ecs(region).task_definitions.values()
                for each in family.values()
            ]
        }

    def _advance(self, values: Values) -> Any:
        self._engine.clock.advance(float(values["advance"]))
        self._engine.settle()
        return {"now": self._engine.clock.now()}

    def _ensure_cluster(self, values: Values) -> Any:
        instances = int(values.get("instances", 0))
        name, region = values["name"], values["region"]
        return {"clusterArn": self._engine.account.ensure_cluster(name, region, instances)}

    def _set_plan(self, values: Values) -> None:
        self._plans.set(values["plan"], values.get("match", ""), values.get("times"))

    def _stop(self, values: Values) -> Any:
        code, reason = _ENDS[values.get("how", "exit")]
        tasks = self._chosen(values)
        for task in tasks:
            exit_code = int(values.get("exit_code", 0)) if code.startswith("Essential") else None
            self._engine.stop(task, code, values.get("reason") or reason, exit_code)
        return {"stopped": [task.arn for task in tasks]}

    def _vanish(self, values: Values) -> Any:
        tasks = self._chosen(values)
        for task in tasks:
            self._engine.vanish(task)
        return {"vanished": [task.arn for task in tasks]}

    def _set_health(self, values: Values) -> Any:
        tasks = self._chosen(values)
        for task in tasks:
            self._engine.set_health(task, values["health"])
        return {"changed": [task.arn for task in tasks]}

    def _chosen(self, values: Values) -> list[Task]:
        """Return the live tasks of ARN or id ``task``, or whose startedBy begins with
        ``started_by``."""
        task_id = values.get("task", "").rsplit("/", 1)[-1]
        prefix = values.get("started_by")
        chosen = [
            task
            for task in self._engine.all()
            if not task.stopped
            and (task.id == task_id or (prefix is not None and task.started_by.startswith(prefix)))
        ]
        if not chosen:
            raise LookupError(f"no live task {task_id or prefix!r}")
        return chosen

    def _reset(self) -> None:
        """Forget plans, faults, holds, throttling and counts; tasks and clusters stay."""
        self._plans.reset()
        self._faults.clear()
        self._holds.release()
        self._throttle.set_scale(0)
        self._calls.take(clear=True)
