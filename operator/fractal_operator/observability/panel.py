"""What a panel and a row of the dashboard are."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and its legend; each ``{`` of a selector gets the dashboard's variables."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's name of a base unit; from ``alarming`` on a value is red."""

    title: str
    description: str
    unit: Literal["short", "s", "ops", "reqps", "percentunit", "bytes", "bool"]
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    alarming: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def one(expr: str, legend: str = "") -> tuple[Query, ...]:
    """The queries of a panel that has one."""
    return (Query(expr, legend),)


def quantiles(histogram: str, by: str = "") -> tuple[Query, ...]:
    """Median, 95th and 99th percentile of a histogram, its selector included."""
    name, brace, selector = histogram.partition("{")
    rate = f"sum by (le) (rate({name}_bucket{brace}{selector}[$__rate_interval]))"
    if by:
        rate = rate.replace("sum by (le)", f"sum by (le, {by})")
        return (Query(f"histogram_quantile(0.95, {rate})", f"{{{{{by}}}}}"),)
    return tuple(
        Query(f"histogram_quantile({share}, {rate})", f"p{100 * share:g}")
        for share in (0.5, 0.95, 0.99)
    )
