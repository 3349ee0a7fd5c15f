"""The steps of one run of a benchmark: apply, hold, stop some tasks, restart, delete."""

import asyncio
import json
import os
import random
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.cluster import Cluster, Obj, writes
from benchmarks.measured import Options, Phase, Result, quantiles
from benchmarks.processes import Child
from benchmarks.subjects import Operator, Peer, Subject, World
from benchmarks.watching import Watching

_KUBE = re.compile(r"^fractal_kube_requests_total\{.*?\} (\S+)$", re.MULTILINE)


class Run:
    """One run on objects of one ``spec``; ``result`` holds what has been measured so far."""

    def __init__(
        self, options: Options, spec: Obj, world: World, cluster: Cluster, result: Result
    ) -> None:
        self.result = result
        self._options, self._spec, self._world, self._cluster = options, spec, world, cluster
        self._subject: Subject = Operator() if options.subject == "operator" else Peer()
        self._seen = Watching()
        self._names = [f"bench-{number:05}" for number in range(options.objects)]

    async def all(self) -> None:
        """Apply, hold, stop some tasks, restart, delete."""
        watch = self._watch = asyncio.create_task(self._cluster.watch(self._seen.tell))
        try:
            with self._subject.run(self._world) as child:
                await self._ready(child, "start")
                async with self._phase("apply", child):
                    await self._apply()
                await asyncio.sleep(self._options.settle)
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
                if self._options.deletion:
                    async with self._phase("delete", child):
                        await self._delete()
        finally:
            watch.cancel()
            await self._tell_of_tasks()

    async def _ready(self, child: Child, name: str) -> None:
        began = time.monotonic()
        await self._until(lambda: self._subject.ready(child), "ready", 0.1)
        self.result.facts[f"{name}_ready"] = time.monotonic() - began

    async def _apply(self) -> None:
        self._began = time.time()
        await asyncio.gather(*(self._cluster.create(each, self._spec) for each in self._names))
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
            load=os.getloadavg()[0],
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
            if self._watch.done():
                await self._watch  # it never ends but by an error
            if time.monotonic() > end:
                states = Counter(each.phase for each in self._seen.objects.values())
                raise TimeoutError(f"not within {self._options.patience:.0f} s: {what}: {states}")
            await asyncio.sleep(pause)


def _started_by(uid: str, number: int) -> str:
    return f"fc/bench/{uid}/{number}"


def _uid(started_by: str) -> str:
    return started_by.split("/")[2] if "/" in started_by else started_by
