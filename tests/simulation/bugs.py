"""The test of the test: every planted bug has to be caught, by the invariant that is to catch it.

What the simulation would let through, it does not prove. Each bug of planted.py is made in a copy
of the packages, and runs of that copy have to fail.

    python -m tests.simulation.bugs [NAME …]              bug -> seed or test that catches it
    python -m tests.simulation.bugs [NAME …] --hunt N     the share of N seeds that catches it
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.simulation.planted import BUGS, Bug

ROOT = Path(__file__).parents[2]
PACKAGES = ("operator", "helpers", "models")
TRIED = 150
"""When the code around a bug changes, other seeds may catch it: so many next ones are tried."""


def changed(bug: Bug, text: str) -> str:
    """The source with the bug in it; ValueError where the code has moved."""
    for old, new in ((bug.old, bug.new), *bug.also):
        if text.count(old) != 1:
            raise ValueError(f"{bug.name}: {bug.file} holds {old!r} {text.count(old)} times")
        text = text.replace(old, new)
    return text


@contextmanager
def planted(bug: Bug) -> Iterator[dict[str, str]]:
    """The environment of a process that runs the product with this bug."""
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=skip)
        file = Path(folder) / bug.file
        file.write_text(changed(bug, file.read_text()))
        paths = [*(str(Path(folder) / package) for package in PACKAGES), str(ROOT)]
        yield {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def run_planted(bug: Bug, module: str, *arguments: str) -> tuple[bool, str]:
    """Whether a program failed with the bug, and all that it said."""
    with planted(bug) as environment:
        command = [sys.executable, "-m", module, *arguments]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    return ended.returncode == 1, ended.stdout + ended.stderr


def caught(bug: Bug) -> str:
    """What catches a bug: a seed with what it says, or a test; "" if nothing does."""
    if bug.test:
        quiet = (
            "-o",
            "pythonpath=dev .",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--no-header",
        )
        failed, told = run_planted(bug, "pytest", *quiet, bug.test)
        by = re.search(r"^FAILED (\S+)", told, re.MULTILINE)
        return by.group(1) if failed and by else ""
    for tried in (1, TRIED):
        seeds = ("--until", "--first", str(bug.seed), "--seeds", str(tried))
        _, told = run_planted(bug, "tests.simulation.seeds", *seeds)
        by = re.search(rf"^(seed \d+: .*\b{bug.says}.*)$", told, re.MULTILINE)
        if by:
            return by.group(1)
    return ""


def _told(bug: Bug) -> tuple[str, str]:
    """What catches a bug, and what to print of it."""
    try:
        by = caught(bug)
    except ValueError as moved:
        return "", f"NOT PLANTED: {moved}"
    return by, by[:110] or "NOTHING CATCHES IT"


def table(bugs: list[Bug]) -> int:
    """Print what catches each bug; 1 if nothing catches one of them."""
    missed = 0
    with ThreadPoolExecutor(2) as pool:
        for bug, (by, shown) in zip(bugs, pool.map(_told, bugs), strict=True):
            missed += not by
            print(f"{bug.name:62} -> {shown}", flush=True)
    print(f"{len(bugs)} planted bugs, {missed} not caught")
    return 1 if missed else 0


def share(seeds: int, bug: Bug) -> str:
    """How many of the first ``seeds`` catch a bug, and the first that does."""
    _, told = run_planted(bug, "tests.simulation.seeds", "--seeds", str(seeds), "--jobs", "1")
    found = re.findall(r"^seed (\d+): (.*)$", told, re.MULTILINE)
    first = f"seed {found[0][0]}: {found[0][1][:90]}" if found else "not caught"
    return f"{len(found) / seeds:5.1%}  {bug.name}: {first}"


def main() -> int:
    parser = argparse.ArgumentParser(description="what catches each planted bug")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--hunt", type=int, help="the share of so many seeds that catches each")
    given = parser.parse_args()
    chosen = [bug for bug in BUGS if not given.names or any(n in bug.name for n in given.names)]
    if not given.hunt:
        return table(chosen)
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(partial(share, given.hunt), chosen):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
