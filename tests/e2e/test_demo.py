"""The demo keeps what it promises, notices what is broken, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from fractal_dev import landscape, story
from fractal_dev.quickstart import run_demo
from fractal_dev.stack import Stack

ROOT = Path(__file__).parents[2]
PATIENCE = 150.0
"""Seconds that a step of a demo may take here: the machine is busy with other tests."""
CODE = f"from fractal_dev import cli, story; story.PATIENCE = {PATIENCE}; cli.main()"
DEMO = [sys.executable, "-c", CODE, "demo"]
DEADLINE = 400.0
"""Seconds that a demo may take before the test fails; alone it needs about 20."""

PROMISES = (
    "Every object that shall run becomes Ready with one task",
    "An edit replaces the task, and the old one stops first",
    "A lost reply and a killed operator still make exactly one task",
    "What is as it should be costs no Kubernetes write",
    "An object goes only when its task has stopped",
    "PostgreSQL tells every task and every object to its end",
    "No task too many, and never two alive for one object",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files that nobody else uses; its path names all processes."""
    # Not under tmp_path: pytest closes that to other users, and as root PostgreSQL runs as one.
    with tempfile.TemporaryDirectory(prefix="fractal-test-") as folder:
        yield Path(folder)


def environment(place: Path, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("FRACTAL_")}
    return {**own, "TMPDIR": str(place), **more}


def left(place: Path) -> list[object]:
    """What is left of a demo: its processes and its files, but for the PostgreSQL wheel's lock."""
    files = [each for each in place.iterdir() if each.name != ".lockfile"]
    return [*processes_of(place), *files]


def processes_of(place: Path) -> list[bytes]:
    """The command lines of the processes that have ``place`` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if str(place).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
    return found


def test_every_promise_holds(place: Path) -> None:
    demo = subprocess.run(
        DEMO,
        cwd=ROOT,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert [f"PASS  {each}" for each in PROMISES] == demo.stdout.splitlines()[-len(PROMISES) :]
    assert "counted at ECS: 5 tasks launched" in demo.stdout
    assert demo.stderr == ""
    assert "\x1b" not in demo.stdout
    assert left(place) == []


def test_an_operator_that_dies_fails_the_first_promise(place: Path) -> None:
    broken = place / "path" / "fractal_operator"
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()
    (broken / "__main__.py").write_text("raise SystemExit('no cloud today')\n")
    scratch = place / "scratch"
    scratch.mkdir()
    paths = os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])
    demo = subprocess.run(
        DEMO,
        cwd=ROOT,
        env=environment(scratch, PYTHONPATH=paths),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert demo.returncode == 1, demo.stdout + demo.stderr
    verdicts = demo.stdout.splitlines()[-len(PROMISES) :]
    assert verdicts[0] == f"FAIL  {PROMISES[0]}: the operator ended by itself with exit code 1"
    assert verdicts[1:] == [f"--    {each} (not reached)" for each in PROMISES[1:]]
    assert "  no cloud today" in demo.stdout.splitlines()
    assert left(scratch) == []


class LaunchesTwice(Stack):
    """A world in which a second task comes of the call whose reply was lost."""

    def kill_operator(self) -> None:
        (held,) = self.ecs.held()
        super().kill_operator()
        (task,) = self.ecs.tasks(held["startedBy"])
        session = boto3.session.Session("test", "test", region_name=landscape.REGION)
        session.client("ecs", endpoint_url=self.ecs_url).run_task(
            cluster=task["clusterArn"],
            taskDefinition=task["taskDefinitionArn"],
            startedBy=task["startedBy"],
            launchType="EC2",
        )


def test_a_second_task_fails_the_promise_of_exactly_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "PATIENCE", PATIENCE)
    assert not run_demo(ROOT / "examples", None, LaunchesTwice)
    verdicts = capsys.readouterr().out.splitlines()[-len(PROMISES) :]
    assert verdicts[:2] == [f"PASS  {each}" for each in PROMISES[:2]]
    assert verdicts[2] == f"FAIL  {PROMISES[2]}: killed has had 2 tasks at ECS instead of 1"
    assert verdicts[3:] == [f"--    {each} (not reached)" for each in PROMISES[3:]]


@pytest.mark.parametrize(
    ("after", "number"),
    [
        ("starting stand-ins", signal.SIGINT),
        ("applied batch", signal.SIGINT),
        ("killed the operator", signal.SIGTERM),
    ],
)
def test_an_interrupted_demo_leaves_nothing_behind(
    place: Path, after: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        assert any(after in line for line in demo.stdout)
        os.killpg(demo.pid, number)  # as a terminal does: to all that it knows of
        rest, _ = demo.communicate(timeout=DEADLINE)
    assert demo.returncode == 130, rest
    assert rest.endswith("interrupted\n")
    assert left(place) == []
