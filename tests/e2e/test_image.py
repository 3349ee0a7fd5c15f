"""The image: what it holds, and that it does the operator's whole job as the chart runs it.

Collected only where an image can be built: by root, with buildah and debootstrap.
"""

import ast
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from sqlalchemy import text
from tests.e2e.api import PATIENCE
from tests.e2e.image import ROOT, Image, Pod, base, buildah, built, container
from tests.e2e.stack import World, until

from fractal_dev.postgres import Postgres
from fractal_helpers.sql import create_engine
from fractal_models.crd import crd, render_yaml

HOME = "opt/fractal-operator"
REVISION = "0123456789abcdef0123456789abcdef01234567"
SOURCE = "https://example.org/fractal-operator"
CHART = ROOT / "charts" / "fractal-operator"

Obj = dict[str, Any]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built(VERSION=version("fractal-operator"), REVISION=REVISION, SOURCE=SOURCE) as made:
        base_size, ours = sum(base().layers), made.layers[len(base().layers) :]
        print(f"\nimage: {sum(ours) / 1e6:.0f} MB on a base of {base_size / 1e6:.0f} MB")
        yield made


@pytest.fixture(scope="module")
def tree(image: Image) -> Iterator[Path]:
    with container(image.name) as (_, mounted):
        yield mounted


@pytest.fixture
def pod(image: Image, tree: Path, tmp_path: Path) -> Pod:
    """Without settings: for one command."""
    return Pod(image, tree, tmp_path / "pod.log", {})


@pytest.fixture(scope="module")
def chart() -> list[Obj]:
    """The pods' specs in the chart: the operator's, and that of the migration."""
    values = {"database": {"existingSecret": "db"}}
    with helm.Chart.load(CHART) as loaded:
        rendered = loaded.render(values=values, name="fractal-operator", namespace="fractal-system")
    texts = (text for path, text in rendered.items() if path.endswith(".yaml"))
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    return [
        each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in ("Deployment", "Job")
    ]


def files(tree: Path) -> set[str]:
    """Every path below, relative; links are not followed."""
    return {
        os.path.relpath(os.path.join(folder, name), tree)
        for folder, folders, names in os.walk(tree)
        for name in (*folders, *names)
    }


def test_the_configuration_says_what_it_is_and_asks_for_no_rights(image: Image) -> None:
    config = image.config
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert (config["Entrypoint"], config["Cmd"]) == (["fractal-operator"], ["run"])
    assert not {"ExposedPorts", "Volumes", "StopSignal", "Healthcheck"} & config.keys()
    prefix = "org.opencontainers.image."
    ours = {
        name.removeprefix(prefix): value
        for name, value in config["Labels"].items()
        if name.startswith(prefix)
    }
    assert ours.pop("description")
    assert ours == {
        "title": "fractal-operator",
        "licenses": "Apache-2.0",
        "version": version("fractal-operator"),
        "revision": REVISION,
        "source": SOURCE,
    }


def test_it_adds_one_folder_of_what_runs_and_nothing_that_built_it(tree: Path) -> None:
    with container(base().name) as (_, below):
        before = files(below)
    added = files(tree) - before
    assert {each for each in added if not each.startswith(f"{HOME}/")} == {HOME}
    assert "usr/bin/python3" in before
    compilers = {"cc", "gcc", "g++", "c++", "clang", "ld", "make"}
    assert not {each for each in files(tree) if Path(each).name in compilers and "/bin/" in each}

    (site,) = tree.glob(f"{HOME}/lib/python3*/site-packages")
    installed = {each.name.lower() for each in distributions(path=[str(site)])}
    assert {"fractal-operator", "kopf", "boto3", "sqlalchemy"} <= installed
    assert not {"pip", "setuptools", "hatchling", "moto", "flask", "pytest", "uv"} & installed
    for each in sorted(added):
        found = (tree / each).lstat()
        assert (found.st_uid, found.st_gid) == (0, 0), each
        assert stat.S_ISLNK(found.st_mode) or not found.st_mode & 0o022, each


def test_it_knows_every_aws_service_that_the_code_calls(tree: Path) -> None:
    called = {
        node.args[0].value
        for module in (ROOT / "helpers").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "client"
        and isinstance(node.args[0], ast.Constant)
    }
    assert {"ecs", "ec2", "sts"} <= called
    (data,) = tree.glob(f"{HOME}/lib/python3*/site-packages/botocore/data")
    assert called <= {each.name for each in data.iterdir()}


def test_buildah_runs_its_commands(image: Image) -> None:
    def run(*arguments: str) -> str:
        entrypoint = image.config["Entrypoint"]
        return buildah("run", "--isolation=chroot", name, "--", *entrypoint, *arguments)

    with container(image.name) as (name, _):
        assert "migrate" in run("--help")
        assert run("version") == version("fractal-operator")
        assert run("crds") == render_yaml(crd()).strip()


def test_the_chart_runs_it_as_its_own_user_and_by_commands_it_has(
    image: Image, pod: Pod, chart: list[Obj]
) -> None:
    run: list[list[str]] = []
    for spec in chart:
        (one,) = spec["containers"]
        user = spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]
        assert image.config["User"] == "{}:{}".format(*user)
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert [each["mountPath"] for each in one["volumeMounts"]] == ["/tmp"]
        run.append([*one["command"], *one["args"]])
    assert [*image.config["Entrypoint"], *image.config["Cmd"]] in run
    assert ["fractal-operator", "migrate"] in run
    for command in run:
        assert pod.run(*command, "--help").returncode == 0


def test_the_pod_of_these_tests_is_as_restricted_as_the_charts(pod: Pod) -> None:
    written = pod.run("touch", "/opt/fractal-operator/x")
    assert "Read-only file system" in written.stderr
    assert pod.run("touch", "/tmp/x").returncode == 0
    assert pod.run("sh", "-c", "echo $$ $(id -u) $(id -g)").stdout.split() == [
        "1",
        "65532",
        "65532",
    ]


def test_without_settings_it_says_what_is_wrong(pod: Pod) -> None:
    done = pod.run("fractal-operator", "migrate")
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "FRACTAL_DATABASE_URL: not set, so there is nothing to migrate",
    )


def test_it_lives_an_objects_whole_life(
    world: World, postgres: Postgres, image: Image, tree: Path, tmp_path: Path
) -> None:
    """Migrate, run, apply, Running, delete, SIGTERM: restricted as the chart restricts its pods."""
    environ = world.environ()
    kubeconfig = shutil.copy(environ["KUBECONFIG"], tmp_path / "pod-kubeconfig")
    os.chmod(kubeconfig, 0o644)
    url = postgres.create_database(f"image_{world.name.replace('-', '_')}")
    outside = create_engine(url)
    sockets = Path(str(outside.url.query["host"]))
    inside = outside.url.update_query_dict({"host": "/mnt"})
    for name in ("PATH", "PYTHONPATH", "HOME"):
        environ.pop(name, None)
    environ["KUBECONFIG"] = "/mnt/pod-kubeconfig"
    environ["FRACTAL_DATABASE_URL"] = inside.render_as_string(hide_password=False)
    mounts = [Path(kubeconfig), *sockets.glob(".s.PGSQL.*[0-9]")]
    pod = Pod(image, tree, tmp_path / "pod.log", environ, mounts)

    migrated = pod.run("fractal-operator", "migrate")
    assert migrated.returncode == 0, migrated.stderr

    world.operators.append(pod)
    pod.start().wait_ready()
    status = Path(f"/proc/{pod.first}/status").read_text()
    told = dict(line.split(":\t", 1) for line in status.splitlines())
    assert told["Uid"].split() == ["65532"] * 4
    assert told["NSpid"].split()[-1] == "1"
    assert (int(told["CapEff"], 16), int(told["CapBnd"], 16), told["NoNewPrivs"]) == (0, 0, "1")

    world.apply("ada")
    world.wait_ready("ada")
    world.until_phase("ada", "Running")
    uid = world.uid("ada")
    assert len(world.tasks(uid, live=True)) == 1
    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert world.tasks(uid, live=True) == []

    def recorded() -> bool:
        with outside.connect() as connection:
            rows = connection.execute(text("SELECT state FROM hardware.user_containers")).all()
        return [row.state for row in rows] == ["STOPPED"]

    until(recorded, "the row of the stopped task")
    written = subprocess.run(
        ["find", f"/proc/{pod.first}/root/tmp", "-mindepth", "1"], capture_output=True, check=True
    )
    assert written.stdout == b""
    assert pod.stop() == 0, pod.log()
    outside.dispose()
