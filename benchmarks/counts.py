"""``python -m benchmarks.counts``: what one life and a thousand objects cost, counted outside.

Kubernetes writes are counted by the API server's stand-in, AWS calls by ECS's: never by the
operator. Prints a Markdown table; the exit code is 1 if a bound of the design is broken.
"""

import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.stack import OBJECTS, SWEEP_SECONDS, Stack, stack, until

OBJECT_COUNT = 1000
SWEEPS = 10
QUIET_SECONDS = 1.5
"""Between two sweeps, which are SWEEP_SECONDS apart, nothing is asked for longer than this."""
SPEC: dict[str, Any] = {
    "user": "ada@example.org",
    "template": {
        "image": "registry.example.com/app:1",
        "cpuUnits": 256,
        "memoryMiB": 512,
        "requiresCompatibilities": ["FARGATE"],
        "ports": [{"name": "http", "containerPort": 8080}],
    },
}


@dataclass(frozen=True)
class Line:
    """One line of the table; without a bound it is for information."""

    what: str
    measured: float
    bound: float | None = None
    detail: str = ""

    @property
    def kept(self) -> bool:
        """Whether the bound holds."""
        return self.bound is None or self.measured <= self.bound

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"{self.bound:g}"
        verdict = "" if self.bound is None else ("yes" if self.kept else "**no**")
        return f"| {self.what} | {self.measured:g} | {bound} | {verdict} | {self.detail} |"


def main() -> int:
    """Measure everything; the exit code."""
    print("| what | measured | at most | kept | how |")
    print("|---|---|---|---|---|")
    with stack() as parts:
        lines = []
        for line in (*one_life(parts), *many(parts)):
            print(line, flush=True)
            lines.append(line)
    return 0 if all(line.kept for line in lines) else 1


def one_life(parts: Stack) -> Iterator[Line]:
    """Kubernetes writes of one object, step by step."""
    kube, path = parts.kube, f"{OBJECTS}/life"
    kube.writes()
    kube.create("life", SPEC)
    until(lambda: kube.phase("life") == "Running", "the object runs")
    started = yield from _step(parts, "create to Running", 4)
    for name, change, phase in (
        ("edit that replaces the task", {"dpi": 200}, "Running"),
        ("suspend", {"operatingMode": "Suspended"}, "Suspended"),
        ("resume", {"operatingMode": "Running"}, "Running"),
    ):
        kube.call("PATCH", path, {"spec": change})
        until(lambda phase=phase: kube.phase("life") != phase, f"{name} begins")  # type: ignore[misc]
        until(lambda phase=phase: kube.phase("life") == phase, f"{name} ends")  # type: ignore[misc]
        yield from _step(parts, name, None, own=1)
    kube.call("DELETE", path)
    until(lambda: kube.call("GET", path) is None, "the object is gone")
    ended = yield from _step(parts, "delete", None)
    yield Line("Kubernetes writes: create to Running to deleted", started + ended, 7)


def _step(parts: Stack, what: str, bound: float | None, own: int = 0) -> Generator[Line, None, int]:
    """The writes since the last step, without ``own`` of ours; returns their number."""
    told = Counter(parts.kube.writes())
    events = told.pop("events", 0)
    told["fractalcontainers"] -= own
    detail = ", ".join(f"{count} {what}" for what, count in sorted(told.items()) if count)
    yield Line(f"Kubernetes writes: {what}", told.total(), bound, f"{detail}; {events} Events")
    return told.total()


def many(parts: Stack) -> Iterator[Line]:
    """What a thousand objects of one template cost, on the way up and converged."""
    kube, ecs = parts.kube, parts.ecs
    ecs.calls(clear=True)
    template = {**SPEC["template"], "image": "registry.example.com/app:2"}
    spec = {**SPEC, "template": template}
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: kube.create(f"many-{number}", spec), range(OBJECT_COUNT)))
    until(lambda: _running(parts) == OBJECT_COUNT, "all objects run")
    yield Line(f"seconds until {OBJECT_COUNT} objects run", round(time.monotonic() - began, 1))
    calls = ecs.calls()
    what = f"RegisterTaskDefinition calls for {OBJECT_COUNT} objects of one template"
    yield Line(what, calls["RegisterTaskDefinition"], 1)
    yield Line(f"RunTask calls for {OBJECT_COUNT} objects", calls["RunTask"], OBJECT_COUNT)
    live = len(ecs.tasks("fc/bench/", live=True))
    yield Line("live tasks at ECS, more or less than objects", abs(live - OBJECT_COUNT), 0)
    _sweep(parts)
    kube.writes()
    sweeps = [_sweep(parts) for _ in range(SWEEPS)]
    worst = max(sweeps, key=Counter.total)
    detail = ", ".join(f"{count} {name}" for name, count in sorted(worst.items()))
    # one more per 100 container instances; on Fargate there are none
    yield Line(f"AWS calls of the costliest of {SWEEPS} sweeps", worst.total(), 20, detail)
    writes = len(kube.writes())
    yield Line(f"Kubernetes writes over {SWEEPS} sweeps, Events included", writes, 0)


def _running(parts: Stack) -> int:
    listed = parts.kube.call("GET", OBJECTS)["items"]
    return sum(each.get("status", {}).get("phase") == "Running" for each in listed)


def _sweep(parts: Stack) -> Counter[str]:
    """Wait for the next sweep to begin and to be over; its calls."""
    until(lambda: parts.ecs.calls().get("ListTasks"), "a sweep begins", 10 * SWEEP_SECONDS)
    known, since = parts.ecs.calls(), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)
        if (now := parts.ecs.calls()) != known:
            known, since = now, time.monotonic()
    return Counter(parts.ecs.calls(clear=True))


if __name__ == "__main__":
    sys.exit(main())
