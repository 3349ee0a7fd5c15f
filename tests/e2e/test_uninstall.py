"""What is deleted in the wrong order: the namespace, the CRD, the operator itself."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import helm_python as helm
import pytest
from tests.e2e.api import DEADLINE, PATIENCE, Api, install_crd
from tests.e2e.rights import CHART, RELEASE, TIMEOUT, UNCHECKED, Obj, credentials, get
from tests.e2e.stack import World, container, until

from fractal_models.kube import GROUP, PLURAL

pytestmark = pytest.mark.alone  # some take the CRD away

JOB = f"{RELEASE}-uninstall"
QUIET = 5.0
"""Seconds in which an operator without work is counted on."""


def requests(world: World, seconds: float) -> int:
    """How many requests the operators make within so many seconds."""
    mark = world.mark()
    time.sleep(seconds)  # the time itself is what is counted in
    return len(world.proxy.requests) - mark


def live(world: World) -> list[Obj]:
    return world.tasks(live=True)


# --- the namespace ---


def test_a_namespace_that_is_deleted_goes_and_takes_its_tasks_along(world: World) -> None:
    operator = world.start()
    for name in ("ada", "eve"):
        world.create(name, container())
    world.wait_ready("ada", "eve")
    world.create("new", container())
    mark = world.mark()
    gone = world.api.kubectl("delete", "namespace", world.namespace, "--timeout=150s")
    assert gone.returncode == 0, gone.stderr
    assert live(world) == []
    refused = [each for each in world.proxy.requests[mark:] if each.code == 403]
    assert all("/events" in each.path for each in refused), refused
    assert len(refused) <= 6  # an Event each, and none of them twice
    assert operator.ended is None
    assert operator.get("/healthz")[0] == 200
    until(lambda: requests(world, QUIET) <= QUIET, "it is quiet")


# --- the CRD ---


@pytest.fixture
def crd(api: Api) -> Iterator[str]:
    """The name of the CRD, which is there again afterwards."""
    yield f"{PLURAL}.{GROUP}"
    install_crd(api)


def test_a_crd_that_is_deleted_takes_its_tasks_along_and_may_come_back(
    world: World, crd: str
) -> None:
    operator = world.start()
    world.create("ada", container())
    world.wait_ready("ada")
    deleted = world.api.kubectl("delete", "crd", crd, PATIENCE)
    assert deleted.returncode == 0, deleted.stderr
    assert live(world) == []
    until(lambda: get(world.api, "crd", crd) is None, "the CRD is gone")
    until(lambda: operator.get("/metrics")[0] == 200, "it goes on")
    assert operator.ended is None
    assert operator.get("/healthz")[0] == 200
    until(lambda: requests(world, QUIET) <= 4 * QUIET, "it is nearly quiet")
    install_crd(world.api)
    world.create("eve", container())
    world.wait_ready("eve")
    assert operator.ended is None


def test_an_operator_that_starts_without_the_crd_says_so_and_waits(world: World, crd: str) -> None:
    assert world.api.kubectl("delete", "crd", crd, PATIENCE).returncode == 0
    operator = world.start(ready=False)
    until(lambda: "is the CustomResourceDefinition installed?" in operator.log(), "a clear log")
    assert operator.get("/healthz")[0] == 200
    assert operator.get("/readyz") == (503, operator.get("/readyz")[1])
    install_crd(world.api)
    operator.wait_ready()
    world.create("ada", container())
    world.wait_ready("ada")


def test_a_crd_deleted_while_nobody_runs_goes_once_somebody_does(world: World, crd: str) -> None:
    operator = world.start()
    world.create("ada", container())
    world.wait_ready("ada")
    operator.kill()
    assert world.api.kubectl("delete", "crd", crd, "--wait=false").returncode == 0
    assert len(live(world)) == 1
    operator.start()
    until(lambda: get(world.api, "crd", crd) is None, "the CRD is gone")
    assert live(world) == []


# --- the operator ---


def helm_at(world: World) -> helm.Config:
    return helm.Config(kubeconfig_path=world.api.kubeconfig, namespace=world.namespace)


class Uninstall(threading.Thread):
    """helm uninstall, which runs the hook; where no controller runs Jobs, the test does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._world = world
        self.start()

    def run(self) -> None:
        with helm_at(self._world) as config:
            try:
                config.uninstall(RELEASE, timeout=TIMEOUT)
            except helm.HelmError as error:
                self.error = error

    def answer(self) -> subprocess.CompletedProcess[str]:
        """Run the Job's command with the rights that its account has; then say how it ended."""
        world = self._world
        job = until(self._fresh, "the Job is made")
        spec = job["spec"]["template"]["spec"]
        assert spec["serviceAccountName"] == RELEASE
        [hook] = spec["containers"]
        environ = {each["name"]: each["value"] for each in hook.get("env", ())}
        with credentials(world) as kubeconfig:
            done = subprocess.run(
                [sys.executable, "-m", "fractal_operator", *hook["args"]],
                env={**world.environ(), **environ, "KUBECONFIG": str(kubeconfig)},
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        end = "Complete" if done.returncode == 0 else "Failed"
        condition = {"type": end, "status": "True", "reason": "BackoffLimitExceeded"}
        status = {"conditions": [condition], "succeeded": int(end == "Complete")}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        world.kubectl("patch", "job", JOB, *patch)
        self.join(2 * TIMEOUT)
        return done

    def _fresh(self) -> Obj | None:
        found = get(self._world.api, "-n", self._world.namespace, "job", JOB)
        return found if found is not None and not found.get("status") else None


@pytest.fixture
def released(world: World) -> Iterator[World]:
    """A world with the chart installed for its namespace."""
    with helm_at(world) as config:
        values = {"crds": {"enabled": False}, "watch": {"namespaces": [world.namespace]}}
        config.install(CHART, RELEASE, values, timeout=TIMEOUT)
        yield world
        if config.list():
            config.upgrade(CHART, RELEASE, values | UNCHECKED, timeout=TIMEOUT)
            config.uninstall(RELEASE, timeout=TIMEOUT)


def test_the_operator_is_not_uninstalled_while_objects_need_it(released: World) -> None:
    world = released
    world.start()
    world.create("ada", container())
    world.wait_ready("ada")

    first = Uninstall(world)
    refused = first.answer()
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"1 FractalContainer needs this operator to be deleted: {world.namespace}/ada."
    )
    assert len(refused.stderr.splitlines()) == 1
    assert isinstance(first.error, helm.HelmError)
    assert JOB in str(first.error)
    assert get(world.api, "-n", world.namespace, "deployment", RELEASE) is not None
    assert len(live(world)) == 1

    world.kubectl("delete", "fc", "ada", PATIENCE)
    assert live(world) == []
    second = Uninstall(world)
    allowed = second.answer()
    assert (allowed.returncode, allowed.stderr, second.error) == (0, "", None)
    assert get(world.api, "-n", world.namespace, "deployment", RELEASE) is None
    assert get(world.api, "-n", world.namespace, "job", JOB) is None


def test_without_the_crd_there_is_nothing_to_refuse(released: World, crd: str) -> None:
    world = released
    assert world.api.kubectl("delete", "crd", crd, PATIENCE).returncode == 0
    last = Uninstall(world)
    assert last.answer().returncode == 0
    assert last.error is None
