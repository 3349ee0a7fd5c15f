"""The plots of docs/performance.md."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from benchmarks.results import READ_QUOTA, Run
from matplotlib import pyplot

COLOURS = {"events": "#1b7f5c", "sweeps": "#2b5fa8", "peer": "#b5482a"}
LABELS = {"events": "with events", "sweeps": "with sweeps only", "peer": "plain kopf operator"}
Runs = dict[tuple[str, int], Run]


def draw(runs: Runs, folder: Path) -> list[str]:
    """Write every plot as PNG into ``folder``; the lines of Markdown that show them."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = (
        ("reads.png", "Calls of DescribeTasks and ListTasks a minute, by objects", _reads),
        ("lag.png", "From a task's end to the status that tells it", _lag),
        ("cpu.png", "CPU converged, by objects", _cpu),
        ("memory.png", "Memory at its peak, by objects", _memory),
    )
    for name, _, plot in plots:
        plot(runs, folder / name)
    return [f"![{text}]({folder.name}/{name})" for name, text, _ in plots]


def _series(runs: Runs, way: str) -> list[Run]:
    return sorted((run for run in runs.values() if run.way == way), key=lambda run: run.objects)


def _axes(title: str, y: str, x: str = "FractalContainers") -> Any:
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), dpi=120)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, which="major", alpha=0.3)
    return figure, axes


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.legend(frameon=False)
    figure.tight_layout()
    # the software's version would make every new release of it a change of the file
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _lines(axes: Any, runs: Runs, value: Any) -> None:
    for way, colour in COLOURS.items():
        series = _series(runs, way)
        points = [(run.objects, max(value(run), 1e-3)) for run in series]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=LABELS[way])


def _reads(runs: Runs, path: Path) -> None:
    figure, axes = _axes("Calls of DescribeTasks and ListTasks, converged", "calls a minute")
    _lines(axes, runs, lambda run: run.reads_a_minute)
    axes.axhline(READ_QUOTA, color="#444", linestyle="--", linewidth=1, label="AWS's quota")
    axes.set(xscale="log", yscale="log")
    _finish(figure, axes, path)


def _cpu(runs: Runs, path: Path) -> None:
    figure, axes = _axes("CPU, converged", "% of one core")
    _lines(axes, runs, lambda run: 100 * run.converged_cpu)
    axes.set(xscale="log", yscale="log")
    _finish(figure, axes, path)


def _lag(runs: Runs, path: Path) -> None:
    objects = max((n for way, n in runs if way == "peer"), default=max(n for _, n in runs))
    title = f"From a task's end to the status that tells it, {objects:,} objects"
    figure, axes = _axes(title, "share of the tasks", "seconds")
    for way, colour in COLOURS.items():
        if run := runs.get((way, objects)):
            points = run.raw["lags"]["STOPPED to status"]
            shares = [number / (len(points) - 1) for number in range(len(points))]
            seconds = [max(each, 1e-2) for each in points]
            axes.plot(seconds, shares, color=colour, label=LABELS[way])
    axes.set(xscale="log")
    _finish(figure, axes, path)


def _memory(runs: Runs, path: Path) -> None:
    figure, axes = _axes("Memory at its peak", "MiB resident")
    _lines(axes, runs, lambda run: run.facts["peak_rss"])
    axes.set_ylim(bottom=0)
    _finish(figure, axes, path)
