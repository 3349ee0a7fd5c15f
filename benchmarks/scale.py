"""``python -m benchmarks.scale``: what N objects cost, from apply to deletion, measured outside.

Requests are counted by the API server, AWS calls by the fake of ECS, CPU and memory are read from
/proc, and the time at which a status tells something is that of a watch of the benchmark's own.
Each run appends one JSON object to a file; benchmarks.report makes tables and plots of them.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster, connect, writes
from benchmarks.ecs_fake.server import QUEUE
from benchmarks.ecs_fake.world import ACCOUNT
from benchmarks.processes import Child, server
from benchmarks.subjects import CLUSTER, REGION, Operator, Peer, Subject, World
from benchmarks.watching import Watching

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
RESULTS = Path(__file__).parent.parent / "docs" / "performance" / "results.jsonl"
_KUBE = re.compile(r"^fractal_kube_requests_total\{.*?\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """One run. ``quotas`` scales AWS's buckets in the fake, 0: none; ``settings`` are added to the
    operator's environment; times in seconds: ``hold`` converged, ``linger`` after the restart."""

    subject: str
    objects: int
    events: bool
    hold: float
    stops: int
    stop_span: float
    quotas: float
    settings: dict[str, str]
    linger: float = 10.0
    patience: float = 1800.0
    start_seconds: float = 1.5
    stop_seconds: float = 1.0


@dataclass
class Phase:
    """What one phase of a run took of everything."""

    seconds: float
    cpu: float
    rss: float
    kube_writes: dict[str, int]
    own_requests: int
    aws: dict[str, int]
    aws_groups: dict[str, int]
    throttled: int


@dataclass
class Result:
    """One run."""

    options: Options
    phases: dict[str, Phase] = field(default_factory=dict)
    lags: dict[str, list[float]] = field(default_factory=dict)
    """Quantiles of each lag in seconds: see ``quantiles``."""
    facts: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Make one run and append it to the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--subject", choices=("operator", "peer"), default="operator")
    parser.add_argument(
        "--events", action="store_true", help="with the SQS queue, else sweeps only"
    )
    parser.add_argument("--hold", type=float, default=130, help="seconds to watch it converged")
    parser.add_argument("--stops", type=int, default=200, help="tasks to stop, for the lag")
    parser.add_argument("--stop-span", type=float, default=60, help="over so many seconds")
    parser.add_argument("--quotas", type=float, default=0, help="AWS's quotas times this; 0: none")
    parser.add_argument("--patience", type=float, default=1800, help="seconds for any one step")
    parser.add_argument("--set", action="append", default=[], help="NAME=value for the operator")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    options = Options(
        subject=args.subject,
        objects=args.objects,
        events=args.events,
        hold=args.hold,
        stops=args.stops,
        stop_span=args.stop_span,
        quotas=args.quotas,
        patience=args.patience,
        settings=dict(each.split("=", 1) for each in args.set),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then what it has made is taken away
    given = os.environ.get("E2E_KUBECONFIG", "")
    result = asyncio.run(measure(options, Path(given) if given else None))
    with args.out.open("a") as file:
        file.write(json.dumps(asdict(result)) + "\n")
    print(summary(result))


def summary(result: Result) -> str:
    """The run in a few lines."""
    lines = [f"{result.options}"]
    for name, phase in result.phases.items():
        lines.append(
            f"{name:8} {phase.seconds:7.1f} s  cpu {phase.cpu:7.2f} s  rss {phase.rss:.0f}"
        )
        lines.append(f"         kube {phase.kube_writes}  own {phase.own_requests}")
        lines.append(f"         aws {phase.aws}  throttled {phase.throttled}")
    for name, lag in result.lags.items():
        lines.append(f"{name}: p50 {quantile(lag, 0.5):.2f} p99 {quantile(lag, 0.99):.2f} s")
    return "\n".join([*lines, f"{result.facts}"])


POINTS = 201
"""How many quantiles are kept of a lag."""


def quantiles(values: Iterable[float]) -> list[float]:
    """The values at evenly spaced shares, from the least to the greatest, to the millisecond."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [round(ordered[round(last * n / (POINTS - 1))], 3) for n in range(POINTS)]


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed; NaN for none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")


async def measure(options: Options, kubeconfig: Path | None) -> Result:
    """Make one run on the API server of ``kubeconfig``, or on the stand-in."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="fractal-scale-")))
        if kubeconfig is None:
            made = folder / "kubeconfig"
            command = ["-m", "fractal_dev.kube", "--kubeconfig", str(made)]
            parts.enter_context(server(command, folder / "kube.log"))
        command = ["-m", "benchmarks.ecs_fake", "--cluster", CLUSTER, "--region", REGION]
        command += ["--quotas", f"{options.quotas}", "--start-seconds", f"{options.start_seconds}"]
        command += ["--stop-seconds", f"{options.stop_seconds}"]
        command += ["--events"] if options.events else []
        url, _ = parts.enter_context(server(command, folder / "ecs.log"))
        queue = f"{url}/{ACCOUNT}/{QUEUE}" if options.events else ""
        where = kubeconfig or folder / "kubeconfig"
        world = World(where, url, folder, queue=queue, settings=options.settings)
        async with connect(where, standin=kubeconfig is None) as cluster:
            await cluster.install()
            await cluster.force_away()  # what a run that was broken off has left
            run = Run(options, world, cluster)
            try:
                return await run.all()
            finally:
                run.result.facts["left"] = await cluster.force_away()


class Run:
    """The steps of one run."""

    def __init__(self, options: Options, world: World, cluster: Cluster) -> None:
        self.result = Result(options)
        self._options, self._world, self._cluster = options, world, cluster
        self._subject: Subject = Operator() if options.subject == "operator" else Peer()
        self._seen = Watching()
        self._names = [f"bench-{number:05}" for number in range(options.objects)]

    async def all(self) -> Result:
        """Apply, hold, stop some tasks, restart, delete."""
        watch = asyncio.create_task(self._cluster.watch(self._seen.tell))
        try:
            with self._subject.run(self._world) as child:
                await self._ready(child, "start")
                async with self._phase("apply", child):
                    await self._apply()
                await asyncio.sleep(5)
                async with self._phase("hold", child):
                    await asyncio.sleep(self._options.hold)
                async with self._phase("stops", child):
                    await self._stop_some()
                await self._settled(len(self._names))
                self.result.facts["peak_rss"] = child.usage().peak
            with self._subject.run(self._world) as child:
                async with self._phase("restart", child):
                    await self._ready(child, "restart")
                    await asyncio.sleep(self._options.linger)
                async with self._phase("delete", child):
                    await self._delete()
        finally:
            watch.cancel()
            await self._tell_of_tasks()
        return self.result

    async def _ready(self, child: Child, name: str) -> None:
        began = time.monotonic()
        await self._until(lambda: self._subject.ready(child), "ready", 0.1)
        self.result.facts[f"{name}_ready"] = time.monotonic() - began

    async def _apply(self) -> None:
        self._began = time.time()
        await asyncio.gather(*(self._cluster.create(each, SPEC) for each in self._names))
        self.result.facts["posted_seconds"] = time.time() - self._began
        await self._settled(len(self._names))
        last = max(self._seen.objects[each].running_at[1] for each in self._names)
        self.result.facts["apply_seconds"] = last - self._began
        self.result.lags["apply to Running"] = quantiles(
            each.running_at[1] - each.created_at for each in self._seen.objects.values()
        )
        started = {task["startedBy"]: task["startedAt"] for task in await self._live()}
        self.result.lags["RUNNING to status"] = quantiles(
            each.running_at[1] - at
            for each in self._seen.objects.values()
            if (at := started.get(_started_by(each.uid, 1)) or started.get(each.uid)) is not None
        )

    async def _settled(self, objects: int) -> None:
        await self._until(lambda: self._seen.running == objects, "all objects run", 0.05)

    async def _stop_some(self) -> None:
        """Stop random tasks one after another; how long until the status tells each."""
        live = await self._live()
        chosen = random.Random(1).sample(live, min(self._options.stops, len(live)))
        pause = self._options.stop_span / len(chosen)
        for task in chosen:
            await self._control("tasks/stop", {"task": task["id"], "exit_code": 1})
            await asyncio.sleep(pause)
        by_uid = {each.uid: each for each in self._seen.objects.values()}
        waited = [(by_uid[_uid(task["startedBy"])], task["id"]) for task in chosen]
        await self._until(lambda: all(1 in each.ended_at for each, _ in waited), "told", 0.05)
        times = {task["id"]: task for task in (await self._control("times"))["tasks"]}
        for name, at, told in (
            ("stopping to status", "stoppingAt", "not_running_at"),
            ("STOPPED to status", "stoppedAt", "ended_at"),
        ):
            self.result.lags[name] = quantiles(
                getattr(each, told)[1] - times[task][at] for each, task in waited
            )

    async def _delete(self) -> None:
        began = time.time()
        await asyncio.gather(*(self._cluster.delete(each) for each in self._names))
        await self._until(lambda: self._seen.gone == len(self._names), "all objects gone", 0.05)
        self.result.facts["delete_seconds"] = time.time() - began

    @asynccontextmanager
    async def _phase(self, name: str, child: Child) -> AsyncIterator[None]:
        requests, own = await self._cluster.requests(), self._own_requests(child)
        before, began = child.usage().cpu if name != "restart" else 0.0, time.monotonic()
        await self._control("calls?clear=1")
        yield
        seconds, usage = time.monotonic() - began, child.usage()
        told = await self._control("calls?clear=1")
        made = writes(await self._cluster.requests() - requests)
        print(f"{self._subject.name} {len(self._names)}: {name} {seconds:.0f} s", file=sys.stderr)
        self.result.phases[name] = Phase(
            seconds=seconds,
            cpu=usage.cpu - before,
            rss=usage.rss,
            kube_writes={" ".join(key): count for key, count in sorted(made.items())},
            own_requests=self._own_requests(child) - own,
            aws=told["calls"],
            aws_groups=told["groups"],
            throttled=sum(told["throttled"].values()),
        )

    def _own_requests(self, child: Child) -> int:
        if isinstance(self._subject, Peer) or not self._subject.ready(child):
            return 0
        return int(sum(float(each) for each in _KUBE.findall(self._subject.metrics(child))))

    async def _tell_of_tasks(self) -> None:
        told = await self._control("metrics")
        facts = {"live": told["live"], "most_live_of_one": told["most_live"]}
        facts |= {"definitions": told["definitions"], "tasks": sum(told["tasks"].values())}
        self.result.facts |= facts

    async def _live(self) -> list[Any]:
        return [each for each in (await self._control("times"))["tasks"] if each["live"]]

    async def _control(self, path: str, body: Any = None) -> Any:
        """Ask the fake's control API; in a thread, for the watch must go on meanwhile."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._world.aws}/_ecs/{path}", data, headers)

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)

    async def _until(self, look: Callable[[], bool], what: str, pause: float) -> None:
        end = time.monotonic() + self._options.patience
        while not look():
            if time.monotonic() > end:
                states = Counter(each.phase for each in self._seen.objects.values())
                raise TimeoutError(f"not within {self._options.patience:.0f} s: {what}: {states}")
            await asyncio.sleep(pause)


def _started_by(uid: str, number: int) -> str:
    return f"fc/bench/{uid}/{number}"


def _uid(started_by: str) -> str:
    return started_by.split("/")[2] if "/" in started_by else started_by


if __name__ == "__main__":
    main()
