"""The benchmarks run, on the stand-ins and a few objects, so that they do not rot."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks import report
from benchmarks.ladder import UNBOUND
from benchmarks.measured import Options, Result
from benchmarks.results import read
from benchmarks.scale import measure

OBJECTS = 20
SETTINGS = dict(each.split("=", 1) for each in UNBOUND[1::2])


def run(subject: str, *, events: bool = False) -> Result:
    result = Result(
        Options(
            subject=subject,
            objects=OBJECTS,
            events=events,
            hold=3,
            stops=3,
            stop_span=1,
            quotas=0,
            settings={**SETTINGS, "FRACTAL_SWEEP_SECONDS": "5", "FRACTAL_FAST_SWEEP_SECONDS": "1"},
            settle=1,
            linger=1,
            patience=120,
            start_seconds=0.3,
            stop_seconds=0.3,
        )
    )
    asyncio.run(measure(result, None))
    return result


@pytest.mark.parametrize("events", [True, False])
def test_the_operator_keeps_what_can_be_counted(events: bool) -> None:
    result = run("operator", events=events)
    apply, restart = result.phases["apply"], result.phases["restart"]
    assert apply.aws["RunTask"] == OBJECTS
    assert apply.aws["RegisterTaskDefinition"] == 1
    assert ("sqs:ReceiveMessage" in apply.aws) is events
    assert apply.kube_writes["patch fractalcontainers"] == OBJECTS
    assert apply.kube_writes["patch fractalcontainers/status"] <= 3 * OBJECTS
    assert result.phases["hold"].kube_writes == {}
    assert restart.kube_writes == {}
    assert result.facts["most_live_of_one"] == 1
    assert (result.facts["live"], result.facts["left"]) == (0, 0)


def test_results_become_tables_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run("peer")
    assert result.phases["apply"].aws["RegisterTaskDefinition"] == OBJECTS
    results, page = tmp_path / "results.jsonl", tmp_path / "performance.md"
    results.write_text(json.dumps(asdict(result)) + "\n")
    assert read(results)["peer", OBJECTS].objects == OBJECTS
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr("sys.argv", ["report", "--results", str(results), "--page", str(page)])
    report.main()
    assert f"peer {OBJECTS}" in page.read_text()
    assert (tmp_path / "performance" / "lag.png").read_bytes().startswith(b"\x89PNG")
    assert "| promise |" in capsys.readouterr().out
