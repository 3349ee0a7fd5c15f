"""``python -m benchmarks.report``: the tables and plots of docs/performance.md from the results.

The text around them is written by hand. With ``--standin`` it is build/performance.md, tables and
plots alone, from the runs on the stand-in: no number of those gets among the others. The exit code
is 1 if a promise is not kept by a run that could have kept it.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks import plots
from benchmarks.cells import number, row
from benchmarks.origin import REAL, STANDIN
from benchmarks.promises import promises, share
from benchmarks.results import Run, read

PAGE = REAL.parent.parent / "performance.md"
WAYS = ("events", "sweeps", "peer")
LIFE = ("apply", "hold", "stops", "delete")
Runs = dict[tuple[str, int], Run]


def main() -> int:
    """Write the page; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--standin", action="store_true", help="those of the stand-in")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    usual = STANDIN if args.standin else REAL
    page: Path = args.page or usual.parent.parent / PAGE.name
    runs = read(args.results or usual)
    lines, kept = promises(runs)
    ratios, better = against_peer(runs)
    parts = {
        "promises": lines,
        "sizes": sizes(runs),
        "growth": growth(runs),
        "peer": ratios,
        "plots": plots.draw(runs, page.parent / "performance"),
    }
    text = page.read_text() if page.exists() else _blank(parts)
    for name, part in parts.items():
        text = _put(text, name, part)
    page.write_text(text)
    print("\n".join([*lines, "", *ratios]))
    return 0 if kept and better else 1


def sizes(runs: Runs) -> list[str]:
    """Everything that was measured, a column a run."""
    chosen = sorted(runs.values(), key=lambda run: (WAYS.index(run.way), run.objects))
    lines = [row(["", *(f"{run.way} {run.objects:,}" for run in chosen)])]
    lines.append("|---|" + "---:|" * len(chosen))
    for what, tell in _rows():
        cells = [_told(tell, run) for run in chosen]
        if any(cells):
            lines.append(row([what, *cells]))
    return lines


def _rows() -> Iterator[tuple[str, Callable[[Run], str]]]:
    def lag(name: str) -> Callable[[Run], str]:
        return lambda run: " / ".join(number(run.lag(name, share)) for share in (0.5, 0.99))

    def a_minute(run: Run) -> str:
        groups = run.phase("hold")["aws_groups"]
        minutes = run.phase("hold")["seconds"] / 60
        return "; ".join(f"{name} {number(count / minutes)}" for name, count in groups.items())

    yield "code: commit", lambda r: r.origin("commit")
    yield "API server", lambda r: r.origin("server")
    yield "apply to Running: seconds for all", lambda r: number(r.facts["apply_seconds"])
    yield "objects a second", lambda r: number(r.objects / r.facts["apply_seconds"])
    yield "RUNNING to status, p50 / p99 s", lag("RUNNING to status")
    yield "stopping to status, p50 / p99 s", lag("stopping to status")
    yield "STOPPED to status, p50 / p99 s", lag("STOPPED to status")
    yield "CPU ms an object: apply to Running", lambda r: number(r.cpu_ms("apply"))
    yield "CPU ms an object: deletion", lambda r: number(r.cpu_ms("delete"))
    yield (
        "Kubernetes writes an object: apply to Running (and Events)",
        lambda r: f"{r.writes('apply') / r.objects:g} ({r.events('apply') / r.objects:g})",
    )
    yield (
        "Kubernetes requests an object, by the operator's own count",
        lambda r: number(r.phase("apply")["own_requests"] / r.objects) if r.way != "peer" else "",
    )
    yield (
        "AWS calls an object: apply to Running (and to SQS)",
        lambda r: f"{number(r.aws('apply'))} ({number(r.sqs('apply'))})",
    )
    yield "converged: CPU, % of a core", lambda r: number(100 * r.converged_cpu)
    yield "converged: Kubernetes writes", lambda r: f"{r.writes('hold') + r.events('hold')}"
    yield "converged: AWS calls a minute by group", a_minute
    yield "AWS reads, % of the quota", lambda r: number(share(r))
    yield (
        "RSS, MiB: converged / peak",
        lambda r: f"{r.phase('hold')['rss']:.0f} / {r.facts['peak_rss']:.0f}",
    )
    yield "restart to ready, s", lambda r: number(r.facts["restart_ready"])
    yield "restart: CPU s", lambda r: number(r.phase("restart")["cpu"])
    yield "restart: Kubernetes writes", lambda r: f"{r.writes('restart')}"
    yield "task definitions registered", lambda r: f"{r.facts['definitions']:g}"
    yield "most live tasks of one object", lambda r: f"{r.facts['most_live_of_one']:g}"
    yield "deletion: seconds for all", lambda r: number(r.facts["delete_seconds"])
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
    lines = [row(["", *(f"{b.way}: {b.objects:,} by {a.objects:,}" for a, b in pairs)])]
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
        lines.append(row([what, *(_ratio(_value(tell, b), _value(tell, a)) for a, b in pairs)]))
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
            cells = [f"{objects:,}", what, number(_value(tell, peer))]
            for run in ours:
                cells += [number(_value(tell, run)), _ratio(_value(tell, peer), _value(tell, run))]
            lines.append(row(cells))
        if objects == 1000:
            better = better and all(
                peer.hour_of(peer.aws) >= 5 * run.hour_of(run.aws)
                and peer.hour_of(peer.cpu_ms) >= 2 * run.hour_of(run.cpu_ms)
                for run in ours
            )
    return lines, better


def _load(run: Run, phase: str) -> str:
    return number(run.phase(phase)["load"])


def _minutes(run: Run) -> float:
    return float(run.phase("hold")["seconds"]) / 60


def _ratio(one: float, other: float) -> str:
    return f"{number(one / other)}x" if other and math.isfinite(one / other) else ""


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


def _blank(names: Iterable[str]) -> str:
    """A page without any text."""
    places = "\n\n".join(f"<!-- {name} -->\n<!-- /{name} -->" for name in names)
    return f"# Performance\n\n{places}\n"


def _put(text: str, name: str, lines: list[str]) -> str:
    found = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"the page has no place for {name}")
    body = "\n".join(lines)
    return found.sub(lambda place: f"{place[1]}{body}\n{place[2]}", text)


if __name__ == "__main__":
    sys.exit(main())
