"""``python -m fractal_dev.ecs``: the stand-in as a process of its own."""

import argparse
import os
import signal
import sys
from typing import NoReturn

from fractal_dev.ecs.plan import TaskPlan
from fractal_dev.ecs.server import EcsStandIn


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT; the one line on standard output is the endpoint URL."""
    parser = argparse.ArgumentParser(prog="python -m fractal_dev.ecs", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--cluster", action="append", default=[], help="create it; repeatable")
    parser.add_argument("--region", default="us-east-1", help="the clusters' region")
    parser.add_argument("--instances", type=int, default=0, help="container instances in each")
    parser.add_argument("--start-seconds", type=float, default=1.5, help="a task's way to RUNNING")
    parser.add_argument("--stop-seconds", type=float, default=1.0, help="its way to STOPPED")
    args = parser.parse_args()
    pace = {"start_seconds": args.start_seconds, "stop_seconds": args.stop_seconds}
    stand_in = EcsStandIn(TaskPlan().changed(pace))
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the threads, which inherit it
    url = stand_in.start(port=args.port)
    for cluster in args.cluster:
        stand_in.ensure_cluster(cluster, args.region, args.instances)
    print("A local stand-in for AWS ECS, not AWS. Control API: /_ecs/", file=sys.stderr)
    print(url, flush=True)
    signal.sigwait(signals)
    stand_in.stop()
    os._exit(0)  # taking thousands of tasks apart would keep the caller waiting for nothing


if __name__ == "__main__":
    main()
