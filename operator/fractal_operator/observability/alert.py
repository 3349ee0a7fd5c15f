"""What an alert is: when to wake somebody, and when to tell somebody in the morning.

Thresholds follow prometheus-operator's own alerts where it has such a one: 10 % of errors for 10
minutes. Each alert has a page in docs/runbooks/. Rules are by ``job`` and
``namespace``, so that several installations may share a Prometheus: with the chart, ``job`` is the
name of the Service, which is the same in each namespace.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. ``lasting``: for how long ``expr`` must hold; "": it fires at once.

    ``critical`` pages, ``warning`` does not.
    """

    name: str
    severity: Literal["critical", "warning"]
    lasting: str
    expr: str
    summary: str
    description: str


def share(part: str, whole: str, window: str, above: float, by: str = "job, namespace") -> str:
    """Whether more than ``above`` of the counted ``whole`` is ``part``, within ``window``."""
    return (
        f"sum by ({by}) (rate({part}[{window}]))\n"
        f"  / sum by ({by}) (rate({whole}[{window}])) > {above:g}"
    )
