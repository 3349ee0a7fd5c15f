"""``python -m benchmarks.scale``: what N objects cost, from apply to deletion, measured outside.

Requests are counted by the API server, AWS calls by the fake of ECS, CPU and memory are read from
/proc, and the time at which a status tells something is that of a watch of the benchmark's own.
Each run appends one JSON object to a file; benchmarks.report makes tables and plots of them. Runs
on the stand-in have a file of their own.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster, connect
from benchmarks.ecs_fake.server import QUEUE
from benchmarks.ecs_fake.world import ACCOUNT
from benchmarks.measured import Options, Result, quantile
from benchmarks.origin import REAL, STANDIN, commit
from benchmarks.processes import server
from benchmarks.steps import Run
from benchmarks.subjects import CLUSTER, REGION, World

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


def main() -> None:
    """Make one run and append it to the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--subject", choices=("operator", "peer"), default="operator")
    parser.add_argument(
        "--events", action="store_true", help="with the SQS queue, else sweeps only"
    )
    parser.add_argument("--hold", type=float, default=130, help="seconds to watch it converged")
    parser.add_argument("--settle", type=float, default=75, help="seconds before that")
    parser.add_argument("--stops", type=int, default=200, help="tasks to stop, for the lag")
    parser.add_argument("--stop-span", type=float, default=60, help="over so many seconds")
    parser.add_argument("--quotas", type=float, default=0, help="AWS's quotas times this; 0: none")
    parser.add_argument("--patience", type=float, default=1800, help="seconds for any one step")
    parser.add_argument("--set", action="append", default=[], help="NAME=value for the operator")
    parser.add_argument("--no-deletion", action="store_true", help="end after the restart")
    given = os.environ.get("E2E_KUBECONFIG", "")
    parser.add_argument("--out", type=Path, default=REAL if given else STANDIN)
    parser.add_argument("--profiles", type=Path, help="a folder for what cProfile sees")
    args = parser.parse_args()
    options = Options(
        subject=args.subject,
        objects=args.objects,
        events=args.events,
        hold=args.hold,
        settle=args.settle,
        stops=args.stops,
        stop_span=args.stop_span,
        quotas=args.quotas,
        patience=args.patience,
        deletion=not args.no_deletion,
        settings=dict(each.split("=", 1) for each in args.set),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then what it has made is taken away
    result = Result(options)
    try:
        asyncio.run(measure(result, Path(given) if given else None, args.profiles))
    finally:
        print(summary(result))
        if "hold" in result.phases:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with args.out.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")


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


async def measure(result: Result, kubeconfig: Path | None, profiles: Path | None = None) -> None:
    """Make one run on the API server of ``kubeconfig``, or on the stand-in."""
    options = result.options
    result.facts["commit"] = commit()  # as it begins: the code may be edited meanwhile
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
        world = World(where, url, folder, queue, settings=options.settings, profiles=profiles)
        async with connect(where, standin=kubeconfig is None) as cluster:
            result.facts["server"] = await _version(cluster)
            await cluster.install()
            await cluster.force_away()  # what a run that was broken off has left
            try:
                await Run(options, SPEC, world, cluster, result).all()
            finally:
                result.facts["left"] = await cluster.force_away()


async def _version(cluster: Cluster) -> str:
    """What the API server says it is, or that it is the stand-in."""
    if cluster.standin:
        return "stand-in"
    return str((await cluster.call("GET", "/version"))["gitVersion"])


if __name__ == "__main__":
    main()
