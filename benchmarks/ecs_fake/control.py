"""The control API under /_ecs/: what of the stand-in's own the benchmarks need, and metrics.

:class:`fractal_dev.ecs.client.EcsControl` drives it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.ecs_fake.queue import Queue
from benchmarks.ecs_fake.quotas import Quotas
from benchmarks.ecs_fake.task import Task
from benchmarks.ecs_fake.world import World

from fractal_dev.ecs.faults import Fault, Faults
from fractal_dev.ecs.plan import Plans

Values = Mapping[str, Any]

_ENDS: Mapping[str, tuple[str, str]] = {
    "exit": ("EssentialContainerExited", "Essential container in task exited"),
    "spot": ("SpotInterruption", "Your Spot Task was interrupted."),
    "fail": ("TaskFailedToStart", "CannotPullContainerError: no such image"),
    "infrastructure": ("InfrastructureHealth", "The underlying infrastructure is impaired."),
}


class Control:
    """Answers (method, path below /_ecs/, values of query and body together)."""

    def __init__(
        self, world: World, plans: Plans, faults: Faults, quotas: Quotas, queue: Queue
    ) -> None:
        self._world, self._plans, self._faults = world, plans, faults
        self._quotas, self._queue = quotas, queue
        self._routes: dict[tuple[str, str], Callable[[Values], Any]] = {
            ("GET", "metrics"): self._metrics,
            ("GET", "tasks"): self._tasks,
            ("GET", "times"): self._times,
            ("GET", "calls"): lambda v: quotas.told(clear=v.get("clear") in ("1", True)),
            ("GET", "clock"): lambda _: {"now": world.clock.now()},
            ("POST", "clock"): lambda v: world.clock.advance(float(v["advance"])),
            ("POST", "clusters"): lambda v: {"clusterArn": world.ensure_cluster(v["name"]).arn},
            ("POST", "plan"): lambda v: plans.set(v["plan"], v.get("match", ""), v.get("times")),
            ("POST", "faults"): lambda v: faults.add(Fault(**v)),
            ("POST", "throttle"): lambda v: quotas.set_scale(float(v["scale"])),
            ("POST", "tasks/stop"): self._stop,
            ("POST", "tasks/vanish"): self._lose,
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
        self._world.settle()
        answer = route(values) or {}
        self._world.settle()
        return answer

    def _metrics(self, values: Values) -> Any:
        """Counts of calls and tasks; ``doubled`` are the uids that more than one task lived for at
        once, with the most that ever did, and ``most_live`` is the most for any."""
        world = self._world
        states: dict[str, int] = {}
        for task in world.tasks.values():
            states[task.last_status] = states.get(task.last_status, 0) + 1
        ready, flying = self._queue.depth()
        return {
            **self._quotas.told(clear=values.get("clear") in ("1", True)),
            "tasks": states,
            "live": sum(world.live.values()),
            "uids": sum(count > 0 for count in world.live.values()),
            "most_live": max(world.most.values(), default=0),
            "doubled": {uid: most for uid, most in world.most.items() if most > 1},
            "definitions": sum(map(len, world.definitions.values())),
            "queue": {"sent": self._queue.sent, "ready": ready, "flying": flying},
        }

    def _tasks(self, values: Values) -> Any:
        prefix = values.get("started_by_prefix", "")
        tasks = self._world.tasks.values()
        return {
            "tasks": [self._shown(each) for each in tasks if each.started_by.startswith(prefix)]
        }

    def _times(self, _: Values) -> Any:
        """Of each task what it is of, and when it changed, in seconds since the epoch."""
        return {
            "tasks": [
                {
                    "id": each.id,
                    "startedBy": each.started_by,
                    "live": not each.stopped,
                    **each.times,
                }
                for each in self._world.tasks.values()
            ]
        }

    def _shown(self, task: Task) -> dict[str, Any]:
        return {
            **task.json(tags=True),
            "clientToken": task.request.get("clientToken", ""),
            "region": task.region,
            "live": not task.stopped,
            "visible": self._world.visible(task),
        }

    def _stop(self, values: Values) -> Any:
        code, reason = _ENDS[values.get("how", "exit")]
        tasks = self._chosen(values)
        for task in tasks:
            exit_code = int(values.get("exit_code", 0)) if code.startswith("Essential") else None
            self._world.stop(task, code, values.get("reason") or reason, exit_code)
        return {"stopped": [task.arn for task in tasks]}

    def _lose(self, values: Values) -> Any:
        tasks = self._chosen(values)
        for task in tasks:
            self._world.lose(task)
        return {"vanished": [task.arn for task in tasks]}

    def _chosen(self, values: Values) -> list[Task]:
        """The live tasks of ARN or id ``task``, or whose startedBy begins with ``started_by``."""
        task_id, prefix = values.get("task", "").rsplit("/", 1)[-1], values.get("started_by")
        one = self._world.tasks.get(task_id)
        tasks = [one] if one else self._world.tasks.values() if prefix is not None else []
        chosen = [each for each in tasks if not each.stopped]
        if prefix is not None:
            chosen = [each for each in chosen if each.started_by.startswith(prefix)]
        if not chosen:
            raise LookupError(f"no live task {task_id or prefix!r}")
        return chosen

    def _reset(self) -> None:
        """Forget plans, faults, throttling and counts; tasks and clusters stay."""
        self._plans.reset()
        self._faults.clear()
        self._quotas.set_scale(0)
        self._quotas.told(clear=True)
