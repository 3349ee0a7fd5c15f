"""``python -m benchmarks.storm``: two thousand objects at once, against an ECS that throttles.

Several teams' objects are applied at once; half of them are edited while they still start, and half
are deleted. Then all has to be as it was asked for, and what happened on the way is counted where
it happened: calls, throttles and tasks by ECS. The exit code is 1 if a promise is broken.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
from benchmarks.cluster import Cluster, Obj, connect
from benchmarks.processes import Child, server
from benchmarks.scale import SPEC
from benchmarks.subjects import CLUSTER, REGION, Operator, World

from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

MOST_THROTTLED = 0.01
MOST_GROWTH = 0.05
OVERTAKERS = 100
"""So many may be launched before an object of another team that was made after them: a burst, what
is under way, and a turn of each team at the queue and at the line."""
EDIT = {"spec": {"dpi": 200}}
"""Replaces the task."""

Name = tuple[str, str]


@dataclass(frozen=True)
class Options:
    """``idle`` seconds are watched after the storm; ``patience`` bounds each of its steps."""

    objects: int
    teams: int
    idle: float
    patience: float
    standin: bool


@dataclass(frozen=True)
class Line:
    """One line of the report; without a bound it is for information."""

    what: str
    measured: float
    bound: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.bound is None or self.measured <= self.bound

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"{self.bound:g}"
        verdict = "" if self.bound is None else ("yes" if self.kept else "**no**")
        return f"| {self.what} | {self.measured:g} | {bound} | {verdict} |"


class Ecs:
    """What ECS counted, by its control API: the fake's and the stand-in's are alike in this."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, path: str, body: Any = None) -> Any:
        """One request; in a thread, since all else goes on meanwhile."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/_ecs/{path}", data, headers)

        def send() -> Any:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)

        return await asyncio.to_thread(send)

    async def throttled(self) -> tuple[int, int]:
        """How many calls of ECS there were, and how many of them were throttled."""
        told = await self.ask("calls")
        calls = sum(count for name, count in told["calls"].items() if ":" not in name)
        errors = told["errors"].items()
        return calls, sum(count for name, count in errors if name.endswith("ThrottlingException"))

    async def tasks(self) -> Mapping[str, list[Obj]]:
        """All tasks that there ever were, by the uid of their object, in the order of creation."""
        found: defaultdict[str, list[Obj]] = defaultdict(list)
        for task in (await self.ask("tasks"))["tasks"]:
            found[task["startedBy"].split("/")[2]].append(task)
        return {uid: sorted(tasks, key=_created) for uid, tasks in found.items()}


def together(tasks: Mapping[str, list[Obj]]) -> int:
    """How many objects ever had two live tasks at a time."""
    return sum(
        any(_ended(one) > _created(next_one) for one, next_one in pairwise(own))
        for own in tasks.values()
    )


def _created(task: Obj) -> float:
    return _time(task["createdAt"])


def _ended(task: Obj) -> float:
    return float("inf") if task["live"] else _time(task["stoppedAt"])


def _time(told: float | str) -> float:
    return datetime.fromisoformat(told).timestamp() if isinstance(told, str) else float(told)


class Storm:
    """The steps, on an operator that runs already."""

    def __init__(self, options: Options, cluster: Cluster, ecs: Ecs, child: Child) -> None:
        self._options, self._cluster, self._ecs, self._child = options, cluster, ecs, child
        self._teams = teams(options)
        self._names = [
            (self._teams[number % options.teams], f"storm-{number:05}")
            for number in range(options.objects)
        ]
        self._lone: Name = (self._teams[-1], "lone")

    async def run(self) -> list[Line]:
        """Make the storm; what was measured."""
        await self._ecs.ask("throttle", {"scale": 1})
        began = time.monotonic()
        await asyncio.gather(*(self._create(each) for each in self._names))
        lone_at = time.time()
        await self._create(self._lone)
        await self._until(lambda up: len(up) > len(self._names) // 2, "half of them run")
        half = self._names[::2]
        await asyncio.gather(*(self._call("PATCH", each, EDIT) for each in half))
        everybody = {*self._names, self._lone}
        await self._until(lambda up: up.keys() == everybody, "all run as they were edited")
        up = time.monotonic() - began
        gone = set(self._names[: len(self._names) // 2])
        await asyncio.gather(*(self._call("DELETE", each) for each in gone))
        left = everybody - gone
        await self._until(lambda up: up.keys() == left, "the deleted ones are gone", exact=True)
        down = time.monotonic() - began - up
        lines = [
            Line(f"seconds until {len(everybody)} objects run, half of them edited", round(up)),
            Line(f"seconds until {len(gone)} deleted objects are gone", round(down)),
        ]
        return [*lines, *await self._counted(left, lone_at), await self._idle()]

    async def _counted(self, left: Collection[Name], lone_at: float) -> list[Line]:
        """What ECS counted."""
        uids = {name: each["metadata"]["uid"] for name, each in (await self._listed()).items()}
        tasks = await self._ecs.tasks()
        calls, throttled = await self._ecs.throttled()
        live = {uid: sum(task["live"] for task in own) for uid, own in tasks.items()}
        wrong = sum(live.get(uid, 0) != 1 for uid in uids.values())
        wrong += sum(count for uid, count in live.items() if uid not in uids.values())
        first = _created(tasks[uids[self._lone]][0])
        overtakers = sum(lone_at < _created(task) < first for own in tasks.values() for task in own)
        return [
            Line("objects that did not converge", len(set(uids) ^ set(left)), 0),
            Line("live tasks at ECS, more or less than objects", wrong, 0),
            Line("objects that ever had two live tasks at a time", together(tasks), 0),
            Line("AWS calls", calls),
            Line("AWS calls that were throttled", throttled, int(MOST_THROTTLED * calls)),
            Line(
                "launches of the storm before the one of a team that came last",
                overtakers,
                OVERTAKERS,
            ),
        ]

    async def _idle(self) -> Line:
        """By how much the memory grows when nothing happens any more, in parts of it."""
        before = self._child.usage().rss
        await asyncio.sleep(self._options.idle)
        after = self._child.usage().rss
        what = f"growth of the operator's memory ({after:.0f} MiB) in {self._options.idle:g} s idle"
        return Line(what, round(max(0.0, after / before - 1), 3), MOST_GROWTH)

    async def _create(self, name: Name) -> None:
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name[1]}}
        await self._cluster.call("POST", _path(name[0]), {**body, "spec": SPEC})

    async def _call(self, method: str, name: Name, body: Any = None) -> None:
        await self._cluster.call(method, f"{_path(name[0])}/{name[1]}", body)

    async def _listed(self) -> dict[Name, Obj]:
        """Every object of the storm."""
        lists = await asyncio.gather(
            *(self._cluster.call("GET", _path(team)) for team in self._teams)
        )
        items = (item for each in lists for item in each["items"])
        return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in items}

    async def _until(
        self, done: Callable[[Mapping[Name, Obj]], bool], what: str, *, exact: bool = False
    ) -> None:
        """Wait for the objects that run as their specs say; with ``exact`` there are no others."""
        end = time.monotonic() + self._options.patience
        while True:
            self._child.alive()
            asked = time.monotonic()
            listed = await self._listed()
            up = {name: each for name, each in listed.items() if _settled(each)}
            if done(up) and (not exact or len(listed) == len(up)):
                print(f"{what}: {len(up)} of {len(listed)} run", file=sys.stderr)
                return
            if time.monotonic() > end:
                raise TimeoutError(f"not within {self._options.patience:.0f} s: {what}: {len(up)}")
            await asyncio.sleep(max(2.0, 5 * (time.monotonic() - asked)))  # to be no load itself


def _path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"


def _settled(body: Obj) -> bool:
    status, meta = body.get("status", {}), body["metadata"]
    current = status.get("observedGeneration") == meta["generation"]
    return status.get("phase") == "Running" and current and "deletionTimestamp" not in meta


def teams(options: Options) -> list[str]:
    """The namespaces, the one of the lone object last; no other run's."""
    run = f"storm-{os.getpid()}"
    return [*(f"{run}-{number}" for number in range(options.teams)), f"{run}-lone"]


async def measure(options: Options, kubeconfig: Path | None) -> list[Line]:
    """Make a storm on the API server of ``kubeconfig``, or on the stand-in."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="fractal-storm-")))
        where = kubeconfig or folder / "kubeconfig"
        if kubeconfig is None:
            command = ["-m", "fractal_dev.kube", "--kubeconfig", str(where)]
            parts.enter_context(server(command, folder / "kube.log"))
        module = "fractal_dev.ecs" if options.standin else "benchmarks.ecs_fake"
        command = ["-m", module, "--cluster", CLUSTER, "--region", REGION]
        url, _ = parts.enter_context(server(command, folder / "ecs.log"))
        settings = {
            "FRACTAL_INSTALL_ID": "storm",
            "FRACTAL_NAMESPACES": ",".join(teams(options)),
            **(_subnets(url) if options.standin else {}),
        }
        async with connect(where, standin=kubeconfig is None) as cluster:
            await cluster.install()
            await _namespaces(cluster, teams(options))
            with _operator(World(where, url, folder, settings=settings)) as child:
                storm = Storm(options, cluster, Ecs(url), child)
                try:
                    return await storm.run()
                finally:
                    await _cleared(cluster, teams(options))


@contextmanager
def _operator(world: World) -> Iterator[Child]:
    """The operator, ready."""
    subject = Operator()
    with subject.run(world) as child:
        end = time.monotonic() + 300
        while not subject.ready(child):
            if time.monotonic() > end:
                raise TimeoutError(f"not ready: {child.log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield child


def _subnets(url: str) -> dict[str, str]:
    make: Any = boto3.client
    keys = {"aws_access_key_id": "stand-in", "aws_secret_access_key": "stand-in"}
    ec2 = make("ec2", endpoint_url=url, region_name=REGION, **keys)
    return {"FRACTAL_SUBNETS": str(ec2.describe_subnets()["Subnets"][0]["SubnetId"])}


async def _namespaces(cluster: Cluster, names: list[str]) -> None:
    for name in names:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await cluster.call("POST", "/api/v1/namespaces", body)


async def _cleared(cluster: Cluster, names: list[str]) -> None:
    """Leave nothing behind on a server that goes on."""
    for team in names:
        items = (await cluster.call("GET", _path(team)))["items"]
        for each in items:
            path = f"{_path(team)}/{each['metadata']['name']}"
            await cluster.call("PATCH", path, {"metadata": {"finalizers": None}})
            await cluster.call("DELETE", path)
        await cluster.call("DELETE", f"/api/v1/namespaces/{team}")


def main() -> int:
    """Make a storm, and print what was measured; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--teams", type=int, default=5, help="namespaces that they are in")
    parser.add_argument("--idle", type=float, default=60, help="seconds watched afterwards")
    parser.add_argument("--patience", type=float, default=1800, help="seconds for each step")
    parser.add_argument("--standin", action="store_true", help="moto's ECS instead of the fast one")
    options = Options(**vars(parser.parse_args()))
    given = os.environ.get("E2E_KUBECONFIG", "")
    lines = asyncio.run(measure(options, Path(given) if given else None))
    print("| what | measured | at most | kept |\n|---|---|---|---|")
    for line in lines:
        print(line)
    return 0 if all(line.kept for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
