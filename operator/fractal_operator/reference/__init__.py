"""The reference pages in docs/, made from the code that they describe.

``python -m fractal_operator.reference docs`` writes them; a test compares.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fractal_operator.reference.alerts import alerts_page
from fractal_operator.reference.api import api_page
from fractal_operator.reference.conditions import conditions_page
from fractal_operator.reference.failures import failures_page
from fractal_operator.reference.metrics import metrics_page
from fractal_operator.reference.settings import settings_page

PAGES: Mapping[str, Callable[[], str]] = {
    "alerts.md": alerts_page,
    "api.md": api_page,
    "conditions.md": conditions_page,
    "failures.md": failures_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}
"""The name of each page, and what makes it."""


def write(folder: Path) -> None:
    """Write every page into ``folder``."""
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")
