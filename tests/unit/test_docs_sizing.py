"""docs/sizing.md, events.md and splitting.md: their arithmetic, values, and what was measured."""

import re
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from benchmarks.origin import REAL
from benchmarks.results import Run, read

from fractal_helpers.aws.limits import QUOTAS, QuotaGroups
from fractal_operator.core import queueing
from fractal_operator.settings import Settings
from fractal_operator.shell.observe import Pace

DOCS = Path(__file__).parents[2] / "docs"
SIZING = (DOCS / "sizing.md").read_text()
EVENTS = (DOCS / "events.md").read_text()
SPLITTING = (DOCS / "splitting.md").read_text()
CHART = Path(__file__).parents[2] / "charts" / "fractal-operator"


MEASURED = read(REAL)
SPARE = 0.1
"""Of what was measured: the pages round, and two runs are not alike."""


def measured(objects: int) -> list[Run]:
    """The operator's runs of a size."""
    found = [MEASURED[way, objects] for way in ("events", "sweeps") if (way, objects) in MEASURED]
    assert found
    return found


def between(text: str, value: float) -> bool:
    """Whether a value fits into a range, such as ``170 to 175``."""
    low, high = (number(each) for each in text.split(" to "))
    return low * (1 - SPARE) <= value <= high * (1 + SPARE)


def said(page: str, words: str) -> list[str]:
    """What stands in the one place of a page that reads so, for each ``(…)``; any white space."""
    (found,) = re.finditer(words.replace(" ", r"\s+"), page, re.DOTALL)
    return list(found.groups())


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins so, as texts."""
    lines = [line.strip() for line in SIZING.splitlines()]
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


def test_stops_alone_take_half_as_long() -> None:
    told, objects, share = said(SIZING, r"N / \(40 s\), (\d+ min) for ([\d,]+) with s = ([\d.]+)\.")
    groups = QuotaGroups(float(share)).standings()
    rate = sum(each.per_second for each in groups if each.group == "cluster-modify")
    assert rate == pytest.approx(40 * float(share))
    assert seconds(told) == pytest.approx(number(objects) / rate, rel=0.05)


def test_a_launch_takes_as_many_writes_as_it_says() -> None:
    most, after, events = said(
        SIZING, r"At most (\d) writes from .*? for more than (\d) s takes .*? apart: (\d) from"
    )
    for run in MEASURED.values():
        if run.way != "peer":
            assert run.writes("apply") <= int(most) * run.objects
            assert run.events("apply") <= int(events) * run.objects
    assert queueing.TOLD_AFTER.total_seconds() == int(after)


def test_memory_is_what_was_measured() -> None:
    rows = table("objects | converged")
    assert [number(row[0]) for row in rows] == [1_000, 5_000, 10_000]
    for objects, converged, peak, restarted in rows:
        for run in measured(int(number(objects))):
            assert between(converged, run.phase("hold")["rss"])
            assert between(peak, run.facts["peak_rss"])
            assert between(restarted, run.phase("restart")["rss"])


def test_a_start_takes_what_was_measured() -> None:
    cpu, ready = said(SIZING, r"(\d+ to \d+) s at 10,000, ready after (\d+ to \d+) s")
    for run in measured(10_000):
        assert between(cpu, run.phase("restart")["cpu"])
        assert between(ready, run.facts["restart_ready"])


def test_so_many_receives_were_counted() -> None:
    launches = {
        SIZING: said(SIZING, r"at once (0\.\d to 1\.\d)\."),
        EVENTS: said(EVENTS, r"at once took (0\.\d to 1\.\d) an object"),
    }
    for page, (launch,) in launches.items():
        (each,) = said(page, r"took (2\.6 to 6\.5) (?:of each|receives each)")
        for (way, objects), run in MEASURED.items():
            if way == "events":
                stops = min(run.raw["options"]["stops"], objects)
                assert between(each, run.phase("stops")["aws"]["sqs:ReceiveMessage"] / stops)
                if objects >= 1000 or page is SIZING:
                    received = run.phase("apply")["aws"]["sqs:ReceiveMessage"]
                    assert between(launch, received / objects)


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
