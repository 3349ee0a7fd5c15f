"""docs/metrics.md: every metric, from the class that registers them."""

from prometheus_client import CollectorRegistry

from fractal_operator.metrics import Metrics
from fractal_operator.reference.markdown import code, page, table

_INTRO = """
Served at `/metrics` on `FRACTAL_METRICS_PORT`. Durations are seconds. No label holds the name of a
user or an object.
"""


def metrics_page() -> str:
    """Return docs/metrics.md."""
    head = ("Name", "Type", "Labels", "Meaning")
    rows = (
        (code(row.name), row.type, ", ".join(map(code, row.labels)), row.help)
        for row in Metrics(CollectorRegistry()).rows
    )
    return page("Metrics", _INTRO, table(head, rows))
