"""Many seeds, or one to look at: ``python -m tests.simulation.seeds [--seed N] [--seeds N]``."""

import argparse
import gc
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.runs import Result, run_seed
from tests.simulation.sometimes import SOMETIMES
from tests.simulation.sweep import WORKLOADS, Plan, plans, run_plan

ENOUGH = 500
"""From how many seeds on all of SOMETIMES must have been reached."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--until", action="store_true", help="end with the first that fails")
    parser.add_argument("--sweep", action="store_true", help="each call by each kind of fault")
    given = parser.parse_args()
    if given.sweep:
        return sweep(given.jobs)
    if given.until:
        return until(range(given.first, given.first + given.seeds))
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


def until(seeds: range) -> int:
    """The first run that fails."""
    for seed in seeds:
        result = run_seed(seed)
        if result.failure:
            tell(result, full=False)
            return 1
    return 0


def many(seeds: range, jobs: int) -> int:
    """All runs; prints each failure, and what was reached."""
    began = time.monotonic()
    failed: list[Result] = []
    sometimes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    calls, seconds, launches = 0, 0.0, 0
    with ProcessPoolExecutor(jobs, initializer=_collect_rarely) as pool:
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
        f"({jobs} processes); {calls} calls, {launches} launches, {seconds / 3600:.0f} hours"
    )
    print("faults:", dict(sorted(faults.items())))
    never = [name for name in SOMETIMES if not sometimes[name]]
    for name in SOMETIMES:
        print(f"  sometimes {name}: {sometimes[name]}")
    if never and len(seeds) >= ENOUGH:
        print(f"never reached, so nothing is proven of it: {', '.join(never)}")
    return 1 if failed or (never and len(seeds) >= ENOUGH) else 0


def sweep(jobs: int) -> int:
    """Every call of the reference workloads by every kind of fault."""
    began = time.monotonic()
    failed = 0
    with ProcessPoolExecutor(jobs, initializer=_collect_rarely) as pool:
        for workload in WORKLOADS:
            reference = run_plan(Plan(workload))
            todo = [Plan(workload), *plans(workload, reference.called)]
            run = partial(run_plan, launches=reference.launches)
            for plan, outcome in zip(todo, pool.map(run, todo, chunksize=20), strict=True):
                if outcome.failure:
                    failed += 1
                    print(f"{plan}: {outcome.failure}")
                    for line in outcome.tail if failed <= 3 else ():
                        print("  " + line)
            print(f"{workload}: {len(todo) - 1} plans, {reference.launches} launches each")
    print(f"{failed} failed; {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _collect_rarely() -> None:
    """A run makes few cycles, and what was imported stays: looking for garbage costs a tenth."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def tell(result: Result, *, full: bool) -> None:
    """A failure, with what led to it."""
    print(f"seed {result.seed}: {result.failure}")
    if full:
        print(f"  faults: {result.chaos.told()}")
        for line in result.tail:
            print("  " + line)


if __name__ == "__main__":
    sys.exit(main())
