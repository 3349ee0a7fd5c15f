"""``python -m benchmarks.ecs_fake``: the fake as a process of its own."""

import argparse
import asyncio
import signal
import sys

from aiohttp import web
from benchmarks.ecs_fake.server import QUEUE, EcsFake
from benchmarks.ecs_fake.world import ACCOUNT

from fractal_dev.ecs.plan import TaskPlan


def main() -> None:
    """Serve until SIGTERM or SIGINT; the one line on standard output is the endpoint URL."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ecs_fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--cluster", action="append", default=[], help="create it; repeatable")
    parser.add_argument("--start-seconds", type=float, default=1.5, help="a task's way to RUNNING")
    parser.add_argument("--stop-seconds", type=float, default=1.0, help="its way to STOPPED")
    parser.add_argument(
        "--quotas", type=float, default=0.0, help="1: AWS's request quotas; 0: none"
    )
    parser.add_argument("--events", action="store_true", help=f"tell events to SQS queue {QUEUE}")
    asyncio.run(serve(parser.parse_args()))


async def serve(args: argparse.Namespace) -> None:
    """Serve on 127.0.0.1 until a signal comes."""
    pace = {"start_seconds": args.start_seconds, "stop_seconds": args.stop_seconds}
    fake = EcsFake(args.region, plan=TaskPlan().changed(pace), events=args.events)
    for name in args.cluster:
        fake.world.ensure_cluster(name)
    fake.set_quotas(args.quotas)
    runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", args.port).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    print(f"A fake of AWS ECS, not AWS. SQS queue: {url}/{ACCOUNT}/{QUEUE}", file=sys.stderr)
    print(url, flush=True)
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
