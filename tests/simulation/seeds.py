"""Many seeds, or one to look at: ``python -m tests.simulation.seeds [--seed N] [--seeds N]``."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.runs import Result, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.seed is not None:
        return replay(given.seed)
    return many(range(given.first, given.first + given.seeds), given.jobs)


def replay(seed: int) -> int:
    """One run as a timeline."""
    result = run_seed(seed, keep=0)
    for line in result.tail:
        print(line)
    print(f"seed {seed}: {result.chaos.told()}")
    print(result.failure or "nothing wrong")
    return 1 if result.failure else 0


def many(seeds: range, jobs: int) -> int:
    """All runs; prints each failure, and what was reached."""
    began = time.monotonic()
    failed: list[Result] = []
    sometimes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    calls, seconds, launches = 0, 0.0, 0
    with ProcessPoolExecutor(jobs) as pool:
        for result in pool.map(run_seed, seeds, chunksize=10):
            sometimes.update(result.sometimes)
            faults.update(result.faults)
            calls += result.calls
            seconds += result.seconds
            launches += result.launches
            if result.failure:
                failed.append(result)
                tell(result, full=len(failed) <= 3)
    took = time.monotonic() - began
    print(
        f"{len(seeds)} seeds, {len(failed)} failed; {len(seeds) / took * 60:.0f} seeds a minute "
        f"({jobs} processes); {calls} calls, {launches} launches, {seconds / 3600:.0f} simulated hours"
    )
    print("faults:", dict(sorted(faults.items())))
    for name, count in sorted(sometimes.items()):
        if " of " not in name:
            print(f"  sometimes {name}: {count}")
    return 1 if failed else 0


def tell(result: Result, *, full: bool) -> None:
    """A failure, with what led to it."""
    print(f"seed {result.seed}: {result.failure}")
    if full:
        print(f"  faults: {result.chaos.told()}")
        for line in result.tail:
            print("  " + line)


if __name__ == "__main__":
    sys.exit(main())
