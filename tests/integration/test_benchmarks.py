"""The benchmarks run, on the stand-ins and a few objects, so that they do not rot."""

import asyncio
import json
import pstats
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks import report, scale
from benchmarks.ladder import UNBOUND
from benchmarks.measured import Options, Result
from benchmarks.origin import MEASURED, REAL, ROOT, STANDIN, commit
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
            settle=6,  # longer than anybody stands still who still has an event to post
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
    assert result.facts["server"] == "stand-in"
    assert re.fullmatch(r"([0-9a-f]{12}(-dirty)?)?", str(result.facts["commit"]))


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


def test_what_the_stand_in_gives_stays_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = [path.read_bytes() for path in (REAL, report.PAGE)]
    apart = tmp_path / "build" / "performance" / "results.jsonl"
    for module in (scale, report):
        monkeypatch.setattr(module, "STANDIN", apart)
    monkeypatch.delenv("E2E_KUBECONFIG", raising=False)
    few = ("--objects=3", "--settle=1", "--hold=1", "--stops=1", "--stop-span=1", "--events")
    monkeypatch.setattr("sys.argv", ["scale", *few, "--no-deletion", f"--profiles={tmp_path}"])
    scale.main()
    monkeypatch.setattr("sys.argv", ["report", "--standin"])
    report.main()
    for process in ("operator-0", "operator-1"):  # the one that launched, and the one restarted
        assert pstats.Stats(f"{tmp_path / process}.pstats").get_stats_profile().total_tt > 0
    page = (tmp_path / "build" / "performance.md").read_text()
    assert "| API server | stand-in |" in page
    assert [path.read_bytes() for path in (REAL, report.PAGE)] == committed
    folder = STANDIN.relative_to(ROOT).parts[0]
    assert f"{folder}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_records_without_commit_and_server_can_still_be_read(tmp_path: Path) -> None:
    lines = REAL.read_text().splitlines()
    old = [json.loads(each) for each in lines]
    for each in old:
        each["facts"] = {n: v for n, v in each["facts"].items() if not isinstance(v, str)}
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in old))
    runs = read(path)
    assert {(each.origin("commit"), each.origin("server")) for each in runs.values()} == {("", "")}
    assert any(line.startswith("| restart to ready, s |") for line in report.sizes(runs))
    assert not any(line.startswith("| code") for line in report.sizes(runs))


def test_a_run_that_was_broken_off_takes_no_other_ones_place(tmp_path: Path) -> None:
    first = json.loads(REAL.read_text().splitlines()[0])
    first["facts"].pop("commit", None)
    whole, later, broken = (json.loads(json.dumps(first)) for _ in range(3))
    later["facts"]["commit"] = "later"
    broken["phases"].pop("restart")
    path = tmp_path / "results.jsonl"
    for lines, told in (((whole, later, broken), "later"), ((broken,), "")):
        path.write_text("\n".join(json.dumps(each) for each in lines))
        (run,) = read(path).values()
        assert (run.complete, run.origin("commit")) == (told != "", told)


def test_the_commit_tells_whether_the_code_was_changed_since(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert commit(tmp_path) == ""
    git("init", "-q")
    for folder in MEASURED:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "README.md").write_text("not measured")
    assert commit(tmp_path) == head
    (tmp_path / "operator" / "a.py").write_text("1")
    assert commit(tmp_path) == f"{head}-dirty"
