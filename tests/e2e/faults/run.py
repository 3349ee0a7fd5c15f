"""``make faults``: every plan, a line each; or those that ``--plan`` names."""

import argparse
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from tests.e2e.faults import plans, special
from tests.e2e.faults.parts import Parts, parts
from tests.e2e.faults.plans import Plan, Reference, Result
from tests.e2e.faults.wire import Strike
from tests.e2e.faults.workloads import WORKLOADS

SHOWN = 120
"""Lines shown of what is wrong with a plan."""


def main() -> int:
    """Run the plans; 0 if all are as their references."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults.run", description=__doc__)
    parser.add_argument("--plan", default="*", help="a plan's name, or a pattern of names")
    parser.add_argument("--jobs", type=int, default=8, help="plans at a time; they mostly wait")
    parser.add_argument("--list", action="store_true", help="name the plans, run none")
    args = parser.parse_args()
    pattern = args.plan if "/" in args.plan else f"*/{args.plan}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fractal-faults-") as home,
        parts(Path(home)) as given,
        _pool(args.jobs, given) as pool,
    ):
        print(f"Kubernetes API server {given.api.name}", flush=True)
        try:
            results = _all(pool, pattern, listed=args.list)
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()  # what they started goes with them
            raise
    if args.list:
        return 0
    wrong = [each for each in results if each.wrong]
    launches, stops = sum(r.launches for r in results), sum(r.stops for r in results)
    print(
        f"{len(results)} plans: {len(results) - len(wrong)} ok, {len(wrong)} differ; "
        f"{launches} launches and {stops} stops as in the references; "
        f"{time.monotonic() - began:.0f} s"
    )
    for each in wrong:
        print(f"  replay: make faults PLAN='{each.name}'")
    return 1 if wrong or not results else 0


def _all(pool: ProcessPoolExecutor, pattern: str, *, listed: bool) -> "list[Result]":
    names = [each for each in WORKLOADS if _concerns(each, pattern)]
    waiting = {name: pool.submit(_reference, name) for name in names}
    references = {name: each.result() for name, each in waiting.items()}
    struck = [
        plan
        for name, found in references.items()
        for plan in plans.plans_of(name, found.calls)
        if fnmatch(plan.name, pattern)
    ]
    others = [each for each in special.specials() if fnmatch(each.name, pattern)]
    if not struck and not others and ":" in pattern and "*" not in pattern:
        struck = [_named(pattern)]  # a call that this reference run did not make
    if listed:
        print("\n".join([plan.name for plan in struck] + [each.name for each in others]))
        return []
    together = [each for each in others if not each.alone]
    futures: list[Future[Result]] = [
        pool.submit(_special, each.name, references[each.workload]) for each in together
    ]
    futures += [pool.submit(_struck, each, references[each.workload]) for each in struck]
    results = [_told(each.result()) for each in as_completed(futures)]
    for each in others:
        if each.alone:
            done = pool.submit(_special, each.name, references[each.workload])
            results.append(_told(done.result()))
    return results


def _concerns(workload: str, pattern: str) -> bool:
    return fnmatch(workload, pattern.partition("/")[0])


def _named(name: str) -> Plan:
    workload, _, rest = name.partition("/")
    call, _, kind = rest.partition(":")
    return Plan(workload, Strike(call, kind))  # type: ignore[arg-type]


def _told(result: Result) -> Result:
    verdict = "DIFFERS" if result.wrong else "ok"
    print(f"{verdict:8}{result.name:55}{result.seconds:6.1f} s", flush=True)
    for line in result.wrong.splitlines()[:SHOWN]:
        print(f"        {line}", flush=True)
    return result


# --- in the processes that run the plans ---

_given: Parts


def _pool(jobs: int, given: Parts) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, _begin, (given, os.getpid()))


def _begin(given: Parts, parent: int) -> None:
    global _given
    _given = given
    # What runs a plan ends when its parent does, and the operators with it.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _reference(workload: str) -> Reference:
    return plans.reference(_given, workload)


def _struck(plan: Plan, expected: Reference) -> Result:
    return plans.run(_given, plan, expected)


def _special(name: str, expected: Reference) -> Result:
    found = next(each for each in special.specials() if each.name == name)

    def play(folder: Path, done: plans.Run) -> None:
        found.run(found.workload, _given, folder, expected, done)

    return plans.judged(name, play)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
