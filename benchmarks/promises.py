"""What the work on scale was to show, and whether the largest runs show it."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cells import number, row
from benchmarks.results import READ_QUOTA, Run

Runs = dict[tuple[str, int], Run]
PROMISED = 10_000
"""Objects that the promises are about."""


def share(run: Run) -> float:
    """The reads while nothing changes, in % of AWS's quota."""
    return 100 * run.reads_a_minute / READ_QUOTA


@dataclass(frozen=True)
class Promise:
    """What the work was to show: a number of a run, and what it must not exceed (or be below)."""

    what: str
    way: str
    measured: Callable[[Run], float]
    bound: float
    unit: str = ""


PROMISES = (
    Promise("CPU converged, sweep every 60 s", "sweeps", lambda r: 100 * r.converged_cpu, 5, " %"),
    Promise("RSS at its peak", "events", lambda r: r.facts["peak_rss"], 400, " MiB"),
    Promise("AWS reads with events", "events", share, 10, " % of the quota"),
    Promise("AWS reads without", "sweeps", share, 25, " % of the quota"),
    Promise(
        "ECS change to status with events, p99",
        "events",
        lambda r: r.lag("stopping to status", 0.99),
        2,
        " s",
    ),
    Promise("restart to ready", "events", lambda r: r.facts["restart_ready"], 60, " s"),
    Promise("writes of a restart", "events", lambda r: r.writes("restart"), 0),
    Promise(
        "RegisterTaskDefinition",
        "events",
        lambda r: r.phase("apply")["aws"].get("RegisterTaskDefinition", 0),
        1,
    ),
    Promise(
        "writes from apply to Running, an object",
        "events",
        lambda r: r.writes("apply") / r.objects,
        4,
    ),
    Promise("writes of converged objects", "events", lambda r: r.writes("hold"), 0),
    Promise(
        "live tasks of one object, the most ever",
        "events",
        lambda r: r.facts["most_live_of_one"],
        1,
    ),
)


def promises(runs: Runs) -> tuple[list[str], bool]:
    """The promises at the largest size of each way, and whether all are kept."""
    lines = ["| promise | objects | measured | at most | kept |", "|---|---|---|---|---|"]
    kept = True
    for each in PROMISES:
        found = [run for (way, _), run in runs.items() if way == each.way]
        if not found:
            continue
        run = max(found, key=lambda run: run.objects)
        value = each.measured(run)
        kept = kept and value <= each.bound
        cells = (
            each.what,
            f"{run.objects:,}",
            f"{number(value)}{each.unit}",
            f"{each.bound:g}{each.unit}",
            _verdict(run, kept=value <= each.bound),
        )
        lines.append(row(cells))
    return lines, kept


def _verdict(run: Run, *, kept: bool) -> str:
    """The promises are about ten thousand objects: fewer cannot show that they are kept."""
    if run.objects >= PROMISED:
        return "yes" if kept else "**no**"
    return "at this size" if kept else "**not even at this size**"
