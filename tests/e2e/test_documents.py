"""The commands of docs/troubleshooting.md and docs/gitops.md, run by bash as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.api import DEADLINE
from tests.e2e.stack import AWS, World, until, until_is

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text()
BLOCK = re.compile(r"^( *)```console\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TOOLS = Path(__file__).parent / "tools.py"
RELEASE = "fractal-system"
"""Commands about the operator's own pods need a cluster that runs pods."""


def blocks() -> list[str]:
    """The commands of each block that can run here: those about objects, tasks and rows."""
    every = []
    for _, text in BLOCK.findall(PAGE):
        lines = [line.strip() for line in text.splitlines()]
        assert all(line.startswith("$ ") for line in lines), text
        every.append("\n".join(line[2:] for line in lines if RELEASE not in line))
    return [each for each in every if each]


def bash(world: World, script: str, folder: Path) -> str:
    """What the commands print; fails if one of them fails."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    found = shutil.which(os.environ.get("KUBECTL") or "kubectl")
    assert found
    wrappers = {"kubectl": found}
    wrappers |= {name: f"{sys.executable} {TOOLS} {name}" for name in ("aws", "psql")}
    for name, command in wrappers.items():
        path = tools / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
    environ = {
        **AWS,
        "AWS_DEFAULT_REGION": AWS["AWS_REGION"],
        "AWS_ENDPOINT_URL": world.ecs_url,
        "FRACTAL_DATABASE_URL": world.database_url,
        "KUBECONFIG": world.api.kubeconfig,
        "HOME": str(world.api.home),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def settled(world: World) -> bool:
    """Whether every restart that was asked for has happened, the object is Ready, and its rows say
    so."""
    found = world.get("ada-browser")
    assert found is not None
    asked = found["metadata"].get("annotations", {}).get("fractal.co/restart-requested-at", "")
    status = found.get("status", {})
    if status.get("attempt", {}).get("restartRequestedAt", "") != asked:
        return False
    ready = any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in status.get("conditions", ())
    )
    return ready and world.containers(world.uid("ada-browser"))[-1]["state"] == "RUNNING_AVAILABLE"


@pytest.fixture
def lived(world: World) -> World:
    """A world whose object runs, and has a past: ECS, Events and PostgreSQL know of it."""
    operator = world.start()
    world.apply("ada-browser")
    world.wait_ready("ada-browser")
    uid = world.uid("ada-browser")
    until_is(lambda: [row["state"] for row in world.containers(uid)], ["RUNNING_AVAILABLE"])
    until_is(lambda: world.app_state(uid).get("state"), "READY")
    until(lambda: "Ready" in world.history(uid), "its history")
    assert operator.port()
    return world


def test_every_command_of_the_page_works(lived: World, tmp_path: Path) -> None:
    names = {
        "team-a": lived.namespace,
        "--cluster apps": f"--cluster {lived.name}",
        "--clusters apps": f"--clusters {lived.name}",
        "localhost:8080": f"127.0.0.1:{lived.operators[0].port()}",
    }
    printed, before = "", ""
    for block in blocks():
        for there, here in names.items():
            block = block.replace(there, here)
        # A block may use the variables of the one before it.
        assignments = [line for line in before.splitlines() if re.match(r"[a-z_]+=\$\(", line)]
        printed += bash(lived, "\n".join([*assignments, block]), tmp_path)
        before = "\n".join([*assignments, block])
        until(lambda: settled(lived), "the object is Ready again")
    uid = lived.uid("ada-browser")
    shown = (
        f"\n{lived.namespace}/ada-browser",  # from the task to its object
        f"fc/{lived.name}/{uid}/",  # from the object to its task
        "| TaskLaunched |",  # the history
        "RUNNING_AVAILABLE",  # the tasks' rows
        "Running TaskRunning",  # all objects by reason
        "fractal_db_lag_seconds",  # the operator's metrics
        "Normal   TaskLaunched",  # Events
    )
    print(printed)
    for text in shown:
        assert text in printed, text


def test_kubectl_waits_for_a_container_as_gitops_md_says(lived: World, tmp_path: Path) -> None:
    section = (DOCS / "gitops.md").read_text().partition("## kubectl\n")[2]
    [(_, block), *_] = BLOCK.findall(section)
    here = f"kubectl -n {lived.namespace}"
    commands = [line[2:].replace("kubectl", here) for line in block.splitlines()]
    ready, address, suspended, deleted = commands
    assert "condition met" in bash(lived, ready, tmp_path)
    assert bash(lived, address, tmp_path) == lived.status("ada-browser")["endpoint"]["ip"]
    lived.patch("ada-browser", spec={"operatingMode": "Suspended"})
    assert "condition met" in bash(lived, suspended, tmp_path)
    lived.kubectl("delete", "fractalcontainer", "ada-browser", "--wait=false")
    bash(lived, deleted, tmp_path)
    assert lived.get("ada-browser") is None


def test_the_page_names_the_release_as_the_chart_does() -> None:
    chart = Path(__file__).parents[2] / "charts" / "fractal-operator" / "Chart.yaml"
    assert "\nname: fractal-operator\n" in chart.read_text()
    told = [line for line in PAGE.splitlines() if line.startswith("$ ") and RELEASE in line]
    assert told
    names = (
        "deployment/fractal-operator",
        "-l app.kubernetes.io/name=fractal-operator",
        "lease fractal-operator-leader",
        'port-forward "pod/',
        "get pods",
        "auth can-i",
    )
    for line in told:
        assert any(name in line for name in names), line
