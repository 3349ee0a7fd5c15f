"""The alerts as a Prometheus rule file, which a PrometheusRule's spec is as well."""

from dataclasses import dataclass
from typing import Any

import yaml

from fractal_operator.observability.alert import Alert
from fractal_operator.observability.container_alerts import CONTAINERS
from fractal_operator.observability.event_parts import EVENT_ALERTS
from fractal_operator.observability.outside_alerts import OUTSIDE
from fractal_operator.observability.process_alerts import PROCESS
from fractal_operator.observability.quota_parts import QUOTA_ALERTS

ALERTS = (*PROCESS, *CONTAINERS, *OUTSIDE, *EVENT_ALERTS, *QUOTA_ALERTS)

RUNBOOKS = "docs/runbooks"
"""Where the pages are, seen from the root of the repository; the chart puts a URL in its place."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that YAML shows as a block of lines: expressions are to be read."""

    text: str


class _Dumper(yaml.SafeDumper):
    pass


def _block(dumper: yaml.SafeDumper, value: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value.text, style="|")


_Dumper.add_representer(_Text, _block)


def rules_yaml() -> str:
    """Return charts/fractal-operator/files/rules.yaml."""
    rules = [_rule(alert) for alert in ALERTS]
    body: str = yaml.dump(
        {"groups": [{"name": "fractal-operator", "rules": rules}]},
        Dumper=_Dumper,
        sort_keys=False,
        width=1_000,
        allow_unicode=True,
    )
    return "# Made by `make docs` from fractal_operator/observability/*_alerts.py.\n" + body


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": _Text(alert.expr),
        **({"for": alert.lasting} if alert.lasting else {}),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOKS}/{alert.name}.md",
        },
    }
