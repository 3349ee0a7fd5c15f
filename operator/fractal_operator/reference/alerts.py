"""docs/alerts.md: every alert, when it fires, and its page."""

from fractal_operator.observability.rules import ALERTS
from fractal_operator.reference.markdown import code, page, table

_INTRO = """
The rules stand in `charts/fractal-operator/files/rules.yaml`; how to install them:
[monitoring.md](monitoring.md). `critical` is to wake somebody, `warning` is for the morning.
"""


def alerts_page() -> str:
    """Return docs/alerts.md."""
    head = ("Alert", "Severity", "Lasting", "Meaning", "Condition")
    rows = (
        (
            f"[{alert.name}](runbooks/{alert.name}.md)",
            alert.severity,
            alert.lasting,
            alert.summary,
            code(" ".join(alert.expr.split())),
        )
        for alert in ALERTS
    )
    return page("Alerts", _INTRO, table(head, rows))
