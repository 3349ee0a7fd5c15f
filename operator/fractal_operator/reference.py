"""The reference pages docs/settings.md and docs/metrics.md, made from the code that they describe.

``python -m fractal_operator.reference docs`` writes them; a test compares.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from fractal_operator.metrics import Metrics
from fractal_operator.settings import describe

_MADE = "<!-- Made by `python -m fractal_operator.reference docs`; do not edit. -->"


def settings_page() -> str:
    """Return docs/settings.md."""
    rows = (
        (
            f"`{row.variable}`",
            f"`{row.default}`" if row.default else "",
            row.allowed,
            row.description,
        )
        for row in describe()
    )
    intro = (
        "The operator reads environment variables, once, at its start. Lists are comma-separated; "
        "an empty\nvalue counts as unset. A wrong value or an unknown `FRACTAL_*` variable ends the"
        " start with one line\neach and exit code 2."
    )
    return _page("Settings", intro, ("Variable", "Default", "Allowed", "Meaning"), rows)


def metrics_page() -> str:
    """Return docs/metrics.md."""
    rows = (
        (f"`{row.name}`", row.type, ", ".join(f"`{label}`" for label in row.labels), row.help)
        for row in Metrics(CollectorRegistry()).rows
    )
    intro = (
        "Served at `/metrics` on `FRACTAL_METRICS_PORT`. Durations are seconds. No label holds the "
        "name of a\nuser or an object."
    )
    return _page("Metrics", intro, ("Name", "Type", "Labels", "Meaning"), rows)


def write(folder: Path) -> None:
    """Write both pages into ``folder``."""
    (folder / "settings.md").write_text(settings_page(), encoding="utf-8")
    (folder / "metrics.md").write_text(metrics_page(), encoding="utf-8")


def _page(title: str, intro: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    table = [head, ("---",) * len(head), *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([f"# {title}", _MADE, "", intro, "", *lines, ""])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
