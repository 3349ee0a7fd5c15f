"""Planted bugs: what the simulation would let through, it does not prove. Each must be caught.

Every bug is a change of a line or two of the product's own source, made in a copy of the packages;
the runs that catch it are runs of that copy. ``old`` has to stand in the file exactly once: where
it does not any more, the code has moved, and so has to move the bug.

    python -m tests.simulation.bugs [NAME …] [--seeds N]     tell the first seed that catches each
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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("operator", "helpers", "models")
CORE, SHELL = "operator/fractal_operator/core", "operator/fractal_operator/shell"


@dataclass(frozen=True)
class Bug:
    """``seed`` is one that catches it, ``says`` is the invariant that it breaks."""

    name: str
    file: str
    old: str
    new: str
    seed: int
    says: str


BUGS = (
    Bug(
        "a task that runs is adopted by nobody",
        f"{CORE}/merge.py",
        "if task.live and task.arn not in listed:",
        "if False:",
        1,
        "L",
    ),
    Bug(
        "a deletion stops nothing",
        f"{CORE}/ending.py",
        "    for entry in state.entries:\n        if entry.role is not Role.RETIRING:\n"
        "            state = retire(state, entry, reason)\n",
        "",
        1,
        "L2",
    ),
    Bug(
        "a new token for each call",
        f"{SHELL}/launches.py",
        "result = await self._ecs.run_task(action.region, action.request)",
        "token = f'{action.request[\"clientToken\"]}{self._clock.monotonic()}'\n"
        "            request = {**action.request, 'clientToken': token}\n"
        "            result = await self._ecs.run_task(action.region, request)",
        2,
        "S1",
    ),
    Bug(
        "RunTask without a recorded intent",
        f"{CORE}/begin.py",
        "return Verdict(armed, situation, arms=attempt.number)",
        "from fractal_operator.core.plan import RunTask\n"
        "    call = RunTask(tokens.region_of(cluster_arn), attempt.number, rendered)\n"
        "    return Verdict(armed, situation, calls=(call,), quiet=True)",
        2,
        "S2",
    ),
    Bug(
        "the finalizer comes after the task",
        f"{CORE}/decide.py",
        "if FINALIZER not in seen.finalizers:",
        "if FINALIZER not in seen.finalizers and (seen.deleting_since or seen.status.tasks):",
        1,
        "S2",
    ),
    Bug(
        "a call that this process does not remember arming",
        f"{CORE}/launch.py",
        "if again != attempt or late or known is None:",
        "if again != attempt or late:",
        396,
        "S2",
    ),
    Bug(
        "no drain",
        f"{CORE}/draining.py",
        "DRAIN = timedelta(seconds=420)",
        "DRAIN = timedelta(seconds=1)",
        2,
        "S",
    ),
    Bug(
        "missing once is gone",
        f"{CORE}/losses.py",
        "if absent is None or absent.count < 2 or absent.last - absent.first < LOST_AFTER:",
        "if absent is None:",
        2,
        "[SL]",
    ),
    Bug(
        "writes without the fence of the version",
        f"{SHELL}/act.py",
        "after = await self._kube.write_status(body, new.to_json())",
        "body = await self._kube.get(self._objects.key(seen.uid)) or body\n"
        "        after = await self._kube.write_status(body, new.to_json())",
        6,
        "S5",
    ),
    Bug(
        "no order of versions",
        f"{CORE}/monotonic.py",
        "if _order(new) < _order(old):",
        "if False:",
        5,
        "S5",
    ),
    Bug(
        "a lost answer counts as a refusal",
        f"{SHELL}/launches.py",
        "certain = known.certain and not isinstance(error, OutcomeUnknown | TokenConflict)",
        "certain = known.certain and not isinstance(error, TokenConflict)",
        2,
        "S",
    ),
    Bug(
        "the finalizer goes when the stop was asked for",
        f"{CORE}/ending.py",
        "    if not state.entries:\n        return None\n    return Verdict(",
        "    if not state.entries or all(each.arn in state.seen.stops for each in state.entries):\n"
        "        return None\n    return Verdict(",
        1,
        "S4",
    ),
    Bug(
        "the number of an attempt is used again",
        f"{CORE}/begin.py",
        "number=state.highest + 1,",
        "number=state.highest or 1,",
        2,
        "L1",
    ),
    Bug(
        "whoever deletes forgets an attempt without a task",
        f"{CORE}/ending.py",
        "if attempt is not None and not draining.drained(state, attempt):\n"
        "        return replace(draining.drain(state, attempt, waiting), calls=stop_calls(state))\n"
        "    if not",
        "if not",
        2,
        "S",
    ),
    Bug(
        "the periodic list is gone",
        f"{SHELL}/news.py",
        "pause = RESYNC_SECONDS\n            try:",
        "pause = 1e9\n            try:",
        17,
        "L",
    ),
    Bug(
        "what the database does not take is not offered again",
        f"{SHELL}/record.py",
        "self._retry_at = self._clock.monotonic() + pause.total_seconds()",
        "self._retry_at = self._clock.monotonic() + 1e9",
        9,
        "L4",
    ),
    Bug(
        "an edit replaces nothing",
        f"{CORE}/begin.py",
        "return now is not None and now != recorded",
        "return False",
        2,
        "L1",
    ),
    Bug(
        "a surge that does not wait until the new task is ready",
        f"{CORE}/surge.py",
        "if beside and not steady.shown(state, spec, coming).situation.ready:",
        "if False:",
        57,
        "S3",
    ),
    Bug(
        "a surge that makes a third task",
        f"{CORE}/surge.py",
        "if len(state.entries) > 1 or state.surplus:",
        "if False:",
        76,
        "S1",
    ),
    Bug(
        "a surge whose new task, found, displaces the old one",
        f"{CORE}/merge.py",
        "if older and spec is not None and spec.update_strategy is UpdateStrategy.SURGE:",
        "if False:",
        57,
        "S3",
    ),
    Bug(
        "a surge for every object",
        f"{CORE}/surge.py",
        "if spec.update_strategy is not UpdateStrategy.SURGE or ",
        "if ",
        3,
        "S1",
    ),
)


@contextmanager
def planted(bug: Bug) -> Iterator[dict[str, str]]:
    """The environment of a process that runs the product with this bug."""
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=skip)
        file = Path(folder) / bug.file
        text = file.read_text()
        if text.count(bug.old) != 1:
            raise ValueError(f"{bug.name}: {bug.file} holds the code {text.count(bug.old)} times")
        file.write_text(text.replace(bug.old, bug.new))
        paths = [*(str(Path(folder) / package) for package in PACKAGES), str(ROOT)]
        yield {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def run_planted(bug: Bug, module: str, *arguments: str) -> tuple[bool, str]:
    """Whether a program of the simulation failed with the bug, and all that it said."""
    with planted(bug) as environment:
        command = [sys.executable, "-m", module, *arguments]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    return ended.returncode == 1, ended.stdout + ended.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description="the first seed that catches each planted bug")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=200)
    given = parser.parse_args()
    chosen = [bug for bug in BUGS if not given.names or any(n in bug.name for n in given.names)]

    def hunt(bug: Bug) -> str:
        seeds = ("--seeds", str(given.seeds), "--jobs", "1")
        _, told = run_planted(bug, "tests.simulation.seeds", *seeds)
        caught = re.findall(r"^seed (\d+): (.*)$", told, re.MULTILINE)
        share = f"{len(caught) / given.seeds:5.1%}"
        first = f"seed {caught[0][0]}: {caught[0][1][:90]}" if caught else "not caught"
        return f"{share}  {bug.name}: {first}"

    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(hunt, chosen):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
