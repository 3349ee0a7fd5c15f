"""``python -m benchmarks.report``: the tables and plots of docs/performance.md from the results.

The text around them is written by hand. The exit code is 1 if a promise is not kept by a run that
could have kept it.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plots
from benchmarks.results import READ_QUOTA, Run, read
from benchmarks.scale import RESULTS

PAGE = RESULTS.parent.parent / "performance.md"
WAYS = ("events", "sweeps", "peer")
LIFE = ("apply", "hold", "stops", "delete")
PROMISED = 10_000
"""Objects that the promises are about."""
Runs = dict[tuple[str, int], Run]


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
    Promise("AWS reads with events", "events", lambda r: _share(r), 10, " % of the quota"),
    Promise("AWS reads without", "sweeps", lambda r: _share(r), 25, " % of the quota"),
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


def main() -> int:
    """Write the page; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    runs = read(args.results)
    lines, kept = promises(runs)
    ratios, better = against_peer(runs)
    parts = {
        "promises": lines,
        "sizes": sizes(runs),
        "growth": growth(runs),
        "peer": ratios,
        "plots": plots.draw(runs, args.page.parent / "performance"),
    }
    text = args.page.read_text()
    for name, part in parts.items():
        text = _put(text, name, part)
    args.page.write_text(text)
    print("\n".join([*lines, "", *ratios]))
    return 0 if kept and better else 1


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
            f"{_number(value)}{each.unit}",
            f"{each.bound:g}{each.unit}",
            _verdict(run, kept=value <= each.bound),
        )
        lines.append(_row(cells))
    return lines, kept


def _verdict(run: Run, *, kept: bool) -> str:
    """The promises are about ten thousand objects: fewer cannot show that they are kept."""
    if run.objects >= PROMISED:
        return "yes" if kept else "**no**"
    return "at this size" if kept else "**not even at this size**"


def sizes(runs: Runs) -> list[str]:
    """Everything that was measured, a column a run."""
    chosen = sorted(runs.values(), key=lambda run: (WAYS.index(run.way), run.objects))
    lines = [_row(["", *(f"{run.way} {run.objects:,}" for run in chosen)])]
    lines.append("|---|" + "---:|" * len(chosen))
    for what, tell in _rows():
        lines.append(_row([what, *(_told(tell, run) for run in chosen)]))
    return lines


def _rows() -> Iterator[tuple[str, Callable[[Run], str]]]:
    def lag(name: str) -> Callable[[Run], str]:
        return lambda run: " / ".join(_number(run.lag(name, share)) for share in (0.5, 0.99))

    def a_minute(run: Run) -> str:
        groups = run.phase("hold")["aws_groups"]
        minutes = run.phase("hold")["seconds"] / 60
        return "; ".join(f"{name} {_number(count / minutes)}" for name, count in groups.items())

    yield "apply to Running: seconds for all", lambda r: _number(r.facts["apply_seconds"])
    yield "objects a second", lambda r: _number(r.objects / r.facts["apply_seconds"])
    yield "RUNNING to status, p50 / p99 s", lag("RUNNING to status")
    yield "stopping to status, p50 / p99 s", lag("stopping to status")
    yield "STOPPED to status, p50 / p99 s", lag("STOPPED to status")
    yield "CPU ms an object: apply to Running", lambda r: _number(r.cpu_ms("apply"))
    yield "CPU ms an object: deletion", lambda r: _number(r.cpu_ms("delete"))
    yield (
        "Kubernetes writes an object: apply to Running (and Events)",
        lambda r: f"{r.writes('apply') / r.objects:g} ({r.events('apply') / r.objects:g})",
    )
    yield (
        "Kubernetes requests an object, by the operator's own count",
        lambda r: _number(r.phase("apply")["own_requests"] / r.objects) if r.way != "peer" else "",
    )
    yield (
        "AWS calls an object: apply to Running (and to SQS)",
        lambda r: f"{_number(r.aws('apply'))} ({_number(r.sqs('apply'))})",
    )
    yield "converged: CPU, % of a core", lambda r: _number(100 * r.converged_cpu)
    yield "converged: Kubernetes writes", lambda r: f"{r.writes('hold') + r.events('hold')}"
    yield "converged: AWS calls a minute by group", a_minute
    yield "AWS reads, % of the quota", lambda r: _number(_share(r))
    yield (
        "RSS, MiB: converged / peak",
        lambda r: f"{r.phase('hold')['rss']:.0f} / {r.facts['peak_rss']:.0f}",
    )
    yield "restart to ready, s", lambda r: _number(r.facts["restart_ready"])
    yield "restart: CPU s", lambda r: _number(r.phase("restart")["cpu"])
    yield "restart: Kubernetes writes", lambda r: f"{r.writes('restart')}"
    yield "task definitions registered", lambda r: f"{r.facts['definitions']:g}"
    yield "most live tasks of one object", lambda r: f"{r.facts['most_live_of_one']:g}"
    yield "deletion: seconds for all", lambda r: _number(r.facts["delete_seconds"])
    yield (
        "load of the machine: applied / held",
        lambda r: f"{_load(r, 'apply')} / {_load(r, 'hold')}",
    )


def growth(runs: Runs) -> list[str]:
    """What an object costs at 10 N objects, divided by what it costs at N: 1 is linear."""
    pairs = [
        (runs[way, n], runs[way, 10 * n])
        for way in WAYS
        for n in (100, 1000)
        if (way, n) in runs and (way, 10 * n) in runs
    ]
    if not pairs:
        return ["Not measured yet: it takes a size and ten times as many."]
    lines = [_row(["", *(f"{b.way}: {b.objects:,} by {a.objects:,}" for a, b in pairs)])]
    lines.append("|---|" + "---:|" * len(pairs))
    measures: tuple[tuple[str, Callable[[Run], float]], ...] = (
        ("CPU, apply to Running", lambda r: r.cpu_ms("apply")),
        ("CPU, deletion", lambda r: r.cpu_ms("delete")),
        ("CPU, converged", lambda r: r.converged_cpu / r.objects),
        ("Kubernetes writes, apply to Running", lambda r: r.writes("apply") / r.objects),
        ("AWS calls, apply to Running", lambda r: r.aws("apply")),
        ("restart to ready", lambda r: r.facts["restart_ready"] / r.objects),
    )
    for what, tell in measures:
        lines.append(_row([what, *(_ratio(_value(tell, b), _value(tell, a)) for a, b in pairs)]))
    return lines


def against_peer(runs: Runs) -> tuple[list[str], bool]:
    """The peer beside the operator, and whether it is beaten as promised at 1,000 objects: five
    times fewer AWS calls and half the CPU, of an object that lives for an hour."""
    lines = [
        "| objects | | peer | with events | ratio | with sweeps only | ratio |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    measures: tuple[tuple[str, Callable[[Run], float]], ...] = (
        ("AWS calls an object, an hour's life", lambda r: r.hour_of(r.aws)),
        ("CPU ms an object, an hour's life", lambda r: r.hour_of(r.cpu_ms)),
        ("AWS calls an object, the run of minutes", lambda r: r.aws(*LIFE)),
        ("AWS calls a minute, converged", lambda r: r.aws("hold") * r.objects / _minutes(r)),
        ("CPU ms an object, the run of minutes", lambda r: r.cpu_ms(*LIFE)),
        ("CPU ms an object, apply to Running", lambda r: r.cpu_ms("apply")),
        ("CPU ms an object: deletion", lambda r: r.cpu_ms("delete")),
        ("CPU, converged, % of a core", lambda r: 100 * r.converged_cpu),
        ("ECS change to status, p99 s", lambda r: r.lag("STOPPED to status", 0.99)),
        ("task definitions registered", lambda r: r.facts["definitions"]),
    )
    better = True
    for objects in (100, 1000):
        if any((way, objects) not in runs for way in WAYS):
            continue
        ours = [runs[way, objects] for way in ("events", "sweeps")]
        peer = runs["peer", objects]
        for what, tell in measures:
            cells = [f"{objects:,}", what, _number(_value(tell, peer))]
            for run in ours:
                cells += [_number(_value(tell, run)), _ratio(_value(tell, peer), _value(tell, run))]
            lines.append(_row(cells))
        if objects == 1000:
            better = better and all(
                peer.hour_of(peer.aws) >= 5 * run.hour_of(run.aws)
                and peer.hour_of(peer.cpu_ms) >= 2 * run.hour_of(run.cpu_ms)
                for run in ours
            )
    return lines, better


def _load(run: Run, phase: str) -> str:
    return _number(run.phase(phase)["load"])


def _minutes(run: Run) -> float:
    return float(run.phase("hold")["seconds"]) / 60


def _share(run: Run) -> float:
    return 100 * run.reads_a_minute / READ_QUOTA


def _ratio(one: float, other: float) -> str:
    return f"{_number(one / other)}x" if other and math.isfinite(one / other) else ""


def _told(tell: Callable[[Run], str], run: Run) -> str:
    try:
        return tell(run)
    except KeyError:  # a run without that phase
        return ""


def _value(tell: Callable[[Run], float], run: Run) -> float:
    try:
        return tell(run)
    except KeyError:
        return math.nan


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _put(text: str, name: str, lines: list[str]) -> str:
    found = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"{PAGE} has no place for {name}")
    body = "\n".join(lines)
    return found.sub(lambda place: f"{place[1]}{body}\n{place[2]}", text)


if __name__ == "__main__":
    sys.exit(main())
