"""The command line, in-process: what is printed where, and the exit codes."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from fractal_models import crd
from fractal_operator import uninstall
from fractal_operator.cli import app
from fractal_operator.core.selector import Selector, parse

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: x, user: x}}]
clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: x, user: {}}]
"""


def call(*args: str, **environ: str) -> Result:
    clean = {"FRACTAL_DATABASE_URL": None} | environ
    return CliRunner().invoke(app, args, env=clean)


def test_version_is_the_installed_one() -> None:
    assert call("version").stdout == version("fractal-operator") + "\n"


def test_crds_prints_the_definition() -> None:
    assert call("crds").stdout == crd.render_yaml()


def test_crds_for_old_servers_has_no_cel() -> None:
    text = call("crds", "--no-cel").stdout
    assert "x-kubernetes-validations" not in text
    assert yaml.safe_load(text) == crd.strip_cel(crd.crd())


@pytest.mark.parametrize("command", ["run", "migrate", "uninstall-check"])
def test_wrong_settings_are_one_line_each_and_exit_code_2(command: str) -> None:
    result = call(command, FRACTAL_WORKERS="many", FRACTAL_LOG_FORMAT="xml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "FRACTAL_WORKERS",
        "FRACTAL_LOG_FORMAT",
    ]


def test_migrate_needs_a_database() -> None:
    result = call("migrate")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("FRACTAL_DATABASE_URL: not set")


def test_a_database_that_is_not_there_is_one_line_without_the_password() -> None:
    result = call("migrate", FRACTAL_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def test_an_uninstallation_is_not_let_through_where_nobody_can_tell(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    result = call("uninstall-check", KUBECONFIG=str(kubeconfig))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1:1" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_refusal_of_an_uninstallation_names_some_and_says_what_to_do() -> None:
    def body(name: str, *finalizers: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "a", "name": name, "finalizers": [*finalizers]}}

    ours = [body(f"c{number:02}", "x/y", "fractal.co/ecs-task") for number in range(11)]
    names = uninstall.held([*ours, body("other", "x/y"), {"metadata": {**body("z")["metadata"]}}])
    assert names == [f"a/c{number:02}" for number in range(11)]
    text = uninstall.refusal(names, Selector())
    assert text.startswith("11 FractalContainers need this operator to be deleted: a/c00, ")
    assert "a/c09, …. Delete them first" in text
    assert "a/c10" not in text
    assert "kubectl delete fractalcontainers --all --all-namespaces" in text
    assert uninstall.refusal(["a/b"], Selector()).startswith(
        "1 FractalContainer needs this operator"
    )
    of_a_shard = uninstall.refusal(["a/b"], parse("team=a"))
    assert of_a_shard.startswith("1 FractalContainer with labels team=a needs this operator")
    assert "kubectl delete fractalcontainers -l 'team=a' --all-namespaces" in of_a_shard


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fractal_operator", "version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == version("fractal-operator") + "\n"
