"""The command line, in-process: what is printed where, and the exit codes."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from typer.testing import CliRunner, Result

from fractal_models import crd
from fractal_operator.cli import app


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


@pytest.mark.parametrize("command", ["run", "migrate"])
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


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fractal_operator", "version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == version("fractal-operator") + "\n"
