"""``python -m benchmarks.ladder 100 1000``: a run of benchmarks.scale for each size and way.

The operator with events and with sweeps only at each size; the peer at those up to a thousand,
where its calls are still answered. Results are appended to docs/performance/results.jsonl, those on
the stand-in to build/performance/results.jsonl.
"""

import argparse
import os
import subprocess
import sys
import time

PEER_AT_MOST = 1000
STANDIN_AT_MOST = 100
"""More than that is for a real API server."""
UNBOUND = ("--set", "FRACTAL_QUOTAS=cluster-modify=20000/4000,fargate-launch=20000/4000")
"""So that the operator is measured, not AWS's rate of launches: ten thousand at the documented one
take 8 minutes whoever asks. The quota of reads stays as it is."""


def main() -> None:
    """Make all runs, one after another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--hold", type=float, default=130)
    parser.add_argument("--pause", type=float, default=5, help="between two runs")
    args = parser.parse_args()
    sizes = [n for n in args.sizes if os.environ.get("E2E_KUBECONFIG") or n <= STANDIN_AT_MOST]
    for objects in sizes:
        for options in ways(objects):
            command = ["-m", "benchmarks.scale", "--objects", f"{objects}", *options]
            subprocess.run([sys.executable, *command, "--hold", f"{args.hold}"], check=True)
            time.sleep(args.pause)


def ways(objects: int) -> list[tuple[str, ...]]:
    """The options of each run at a size."""
    found = [(*UNBOUND, "--events"), UNBOUND]
    return [*found, ("--subject", "peer")] if objects <= PEER_AT_MOST else found


if __name__ == "__main__":
    main()
