"""The Grafana dashboard and the Prometheus alerts, made from code; a test compares the files.

``python -m fractal_operator.observability charts/fractal-operator/files`` writes them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fractal_operator.observability.dashboard import dashboard_json
from fractal_operator.observability.rules import rules_yaml

FILES: Mapping[str, Callable[[], str]] = {
    "dashboard.json": dashboard_json,
    "rules.yaml": rules_yaml,
}
"""The name of each file, and what makes it."""


def write(folder: Path) -> None:
    """Write every file into ``folder``."""
    for name, make in FILES.items():
        (folder / name).write_text(make(), encoding="utf-8")
