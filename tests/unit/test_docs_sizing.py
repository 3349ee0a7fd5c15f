"""docs/sizing.md and docs/splitting.md: their arithmetic, and their values."""

import re
from pathlib import Path

import helm_python as helm
import pytest
import yaml

from fractal_helpers.aws.limits import QUOTAS, QuotaGroups
from fractal_operator.settings import Settings
from fractal_operator.shell.observe import Pace

DOCS = Path(__file__).parents[2] / "docs"
SIZING = (DOCS / "sizing.md").read_text()
SPLITTING = (DOCS / "splitting.md").read_text()
CHART = Path(__file__).parents[2] / "charts" / "fractal-operator"


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins so, as texts."""
    lines = SIZING.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading}"))
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def number(text: str) -> float:
    return float(re.sub(r"[^\d.]", "", text))


def seconds(text: str) -> float:
    return number(text) * (60 if text.endswith("min") else 1)


def test_the_quotas_are_those_that_the_operator_keeps() -> None:
    rows = table("group | calls")
    assert len(rows) == 5
    for group, _, *numbers in rows:
        quota = QUOTAS[group.strip("`")]
        minute = quota.per_second * 60
        share = Settings.model_fields["quota_share"].default
        assert [number(each) for each in numbers] == [
            quota.burst,
            quota.per_second,
            minute,
            share * minute,
        ]


def launch_rate(share: float) -> float:
    """Launches a second that the buckets give in the long run."""
    rates = {(each.group, each.reserve): each.per_second for each in QuotaGroups(share).standings()}
    return min(rates["fargate-launch", ""], rates["cluster-modify", "launches"])


def test_a_change_of_everything_takes_as_long_as_it_says() -> None:
    for objects, half, most in table("N | s = 0.5"):
        for share, told in ((0.5, half), (0.9, most)):
            takes = number(objects) / launch_rate(share)
            assert seconds(told) == pytest.approx(takes, rel=0.05)


def test_the_calls_to_read_are_counted_rightly() -> None:
    quota = QUOTAS["cluster-read"].per_second * 60
    pace = Pace(60.0)
    for objects, sweep, *rest in table("N | calls of a sweep"):
        calls, minute, used, audits, audited = (number(each) for each in (sweep, *rest))
        assert calls == number(objects) / 50
        assert minute == min(calls, pace.calls_per_second * 60)
        assert audits == calls * 60 / pace.audit_seconds
        assert used == pytest.approx(100 * minute / quota, abs=0.51)
        assert audited == pytest.approx(100 * audits / quota, abs=0.51)


def test_the_plans_fit_into_the_quotas() -> None:
    rows = table("objects | installations")
    assert len(rows) == 4
    for row in rows:
        objects, installations, places, share, read, launch = row
        n, count, where = number(objects), number(installations), number(places)
        together = number(share) * count / where
        assert together <= 0.9 + 1e-9
        calls = n / where / 50 * 60 / Pace(60.0).audit_seconds
        quota = QUOTAS["cluster-read"].per_second * 60
        assert number(read) == pytest.approx(100 * calls / quota, abs=0.51)
        takes = n / where / (launch_rate(1.0) * together)
        assert seconds(launch) == pytest.approx(takes, rel=0.05)


def test_the_rows_are_counted_rightly() -> None:
    [apps, tasks, history] = table("table | rows")
    days = 90
    for column, n in ((2, 10_000), (3, 100_000)):
        assert number(apps[column]) == n
        assert number(tasks[column]) == n * (1 + days)
        assert number(history[column]) == 8 * n * (1 + days)


def test_the_two_releases_of_the_example_share_nothing() -> None:
    first, second = (
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", SPLITTING, re.DOTALL)
    )
    found: list[set[tuple[str, str, str]]] = []
    for values, name in ((first, "a"), (second, "rest")):
        with helm.Chart.load(CHART) as chart:
            files = chart.render(values, name=name, namespace="fractal-system")
        every = [
            x
            for path, text in files.items()
            if path.endswith(".yaml")
            for x in yaml.safe_load_all(text)
        ]
        named = [x for x in every if x]
        found.append(
            {(x["kind"], x["metadata"].get("namespace", ""), x["metadata"]["name"]) for x in named}
        )
    assert found[0]
    assert found[0].isdisjoint(found[1])
    assert first["settings"]["quotaShare"] + second["settings"]["quotaShare"] <= 0.9
