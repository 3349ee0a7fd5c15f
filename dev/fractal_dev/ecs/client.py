"""A client of the stand-in's control API, on the standard library alone."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode


class EcsControl:
    """Drives a stand-in at ``url``, as printed or returned when it started.

    Every method raises ``ValueError`` with the stand-in's message if it refuses. ``match`` is a
    substring of startedBy, "" for all; ``times`` counts the calls or tasks concerned.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        # Proxies of the environment are for the world outside, not for the loopback interface.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ensure_cluster(self, name: str, region: str, instances: int = 0) -> str:
        """Create the cluster unless it is there; returns its ARN."""
        values = {"name": name, "region": region, "instances": instances}
        return str(self._post("clusters", values)["clusterArn"])

    def tasks(self, started_by_prefix: str = "", *, live: bool | None = None) -> list[Any]:
        """Return all tasks there ever were, invisible ones included, oldest first.

        Each is DescribeTasks' JSON plus clientToken, region, live and visible. ``live`` filters.
        """
        answer = self._get("tasks", {"started_by_prefix": started_by_prefix})
        return [each for each in answer["tasks"] if live is None or each["live"] == live]

    def calls(self, *, clear: bool = False) -> dict[str, int]:
        """Return how often each ECS operation was called; of other services ``ec2:<Action>``, …"""
        return dict(self._get("calls", {"clear": int(clear)})["calls"])

    def errors(self) -> dict[str, int]:
        """Return the errors that ECS calls were answered, as ``<Operation>:<code>``."""
        return dict(self._get("calls", {})["errors"])

    def definitions(self) -> list[Any]:
        """Return all task definitions as {arn, status, region}."""
        return list(self._get("definitions", {})["definitions"])

    def set_plan(self, *, match: str = "", times: int | None = None, **plan: Any) -> None:
        """Change what becomes of new tasks; see :class:`fractal_dev.ecs.plan.TaskPlan`, plus
        ``start_seconds`` and ``stop_seconds`` for the whole ways."""
        self._post("plan", {"plan": plan, "match": match, "times": times})

    def hold_run_task(self, phase: Literal["before", "after"] = "after", **options: Any) -> None:
        """Hold the next RunTask before its execution, or its reply after it; see :meth:`hold`."""
        self.hold("RunTask", phase, **options)

    def hold(
        self,
        operation: str,
        phase: Literal["before", "after", "drop"],
        *,
        match: str = "",
        times: int = 1,
        late: bool = False,
    ) -> None:
        """Hold the next calls, or with ``drop`` execute them and cut the connection.

        A call held before its execution is not executed once its client went away, unless
        ``late``: then it is, on release.
        """
        values = {"operation": operation, "phase": phase, "match": match}
        self._post("holds", {**values, "times": times, "late": late})

    def held(self) -> list[Any]:
        """Return the calls held now as {operation, phase, startedBy}."""
        return list(self._get("holds", {}))

    def release(self) -> int:
        """Let held calls go on and disarm the rest; returns how many were held."""
        return int(self._post("release", {})["released"])

    def fail_next(
        self,
        operation: str = "RunTask",
        *,
        code: str = "ServerException",
        message: str = "Service Unavailable. Please try again later.",
        status: int = 500,
        match: str = "",
        times: int = 1,
    ) -> None:
        """Answer the next calls with an error instead of executing them."""
        values = {"operation": operation, "code": code, "message": message, "status": status}
        self._post("faults", {**values, "match": match, "times": times})

    def throttle_next(self, operation: str = "RunTask", *, match: str = "", times: int = 1) -> None:
        """Answer the next calls with ThrottlingException."""
        self.fail_next(
            operation,
            code="ThrottlingException",
            message="Rate exceeded",
            status=400,
            match=match,
            times=times,
        )

    def fail_next_launch(
        self,
        *reasons: str,
        match: str = "",
        times: int = 1,
        launch_anyway: bool = False,
    ) -> None:
        """Answer the next RunTask calls 200 with these ``failures[]`` and no task.

        Without reasons both lists are empty; with ``launch_anyway`` the task exists nevertheless.
        """
        failures: Sequence[Mapping[str, str]] = [{"reason": reason} for reason in reasons]
        values = {"operation": "RunTask", "failures": failures, "launch_anyway": launch_anyway}
        self._post("faults", {**values, "match": match, "times": times})

    def set_throttle(self, scale: float) -> None:
        """Turn on AWS's request quotas, ``scale`` times as large; 0 turns them off."""
        self._post("throttle", {"scale": scale})

    def stop_task(
        self,
        task: str = "",
        *,
        started_by: str | None = None,
        how: Literal["exit", "spot", "infrastructure", "termination"] = "exit",
        exit_code: int = 0,
        reason: str = "",
    ) -> list[str]:
        """End live tasks, by ARN or by a prefix of startedBy; returns their ARNs."""
        values = {**_selector(task, started_by), "how": how, "exit_code": exit_code}
        return list(self._post("tasks/stop", {**values, "reason": reason})["stopped"])

    def vanish_task(self, task: str = "", *, started_by: str | None = None) -> list[str]:
        """Lose live tasks: AWS answers MISSING from now on."""
        return list(self._post("tasks/vanish", _selector(task, started_by))["vanished"])

    def set_health(self, health: str, task: str = "", *, started_by: str | None = None) -> None:
        """Set the main containers' health: HEALTHY, UNHEALTHY, or "" as defined."""
        self._post("tasks/health", {**_selector(task, started_by), "health": health})

    def put_rule(self, name: str, queue: str, region: str, **options: Any) -> str:
        """Have events of tasks put into an SQS queue, made if there is none; returns its URL.

        Again with other ``options``, it changes the rule: see :class:`fractal_dev.ecs.events.Rule`.
        """
        values = {"name": name, "queue": queue, "region": region, **options}
        return self._url + str(self._post("events", values)["path"])

    def delete_rule(self, name: str) -> None:
        """Delete a rule of events; its queue stays."""
        self._post("events/delete", {"name": name})

    def now(self) -> float:
        """Return the stand-in's time in seconds since the epoch."""
        return float(self._get("clock", {})["now"])

    def advance(self, seconds: float) -> None:
        """Push the stand-in's clock forward."""
        self._post("clock", {"advance": seconds})

    def reset(self) -> None:
        """Forget plans, faults, holds, throttling and counts; tasks and clusters stay."""
        self._post("reset", {})

    def _get(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._send(urllib.request.Request(f"{self._url}/_ecs/{path}?{urlencode(query)}"))  # noqa: S310

    def _post(self, path: str, values: Mapping[str, Any]) -> Any:
        data = json.dumps(values).encode()
        headers = {"Content-Type": "application/json"}
        url = f"{self._url}/_ecs/{path}"
        return self._send(urllib.request.Request(url, data, headers, method="POST"))  # noqa: S310

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with self._opener.open(request, timeout=self._timeout) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None


def _selector(task: str, started_by: str | None) -> dict[str, str]:
    return {"task": task} if started_by is None else {"task": task, "started_by": started_by}
