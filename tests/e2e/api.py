"""A Kubernetes API for each worker: the one that E2E_KUBECONFIG names, or the stand-in."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client, config

from fractal_models.crd import crd, render_yaml, strip_cel
from fractal_models.kube import GROUP, PLURAL, VERSION

GIVEN = os.environ.get("E2E_KUBECONFIG", "")
DEADLINE = 150.0
"""Seconds that anything may take here before the test fails."""
PATIENCE = f"--timeout={DEADLINE:.0f}s"
"""The same for a kubectl that waits."""


@dataclass(frozen=True)
class Api:
    """A Kubernetes API: its admin kubeconfig, its version, and whether it evaluates CEL rules.

    ``home`` is kubectl's HOME: it keeps its cache there, and would find a decoy's address there.
    """

    kubeconfig: str
    home: Path
    version: tuple[int, int] = (0, 0)
    cel: bool = False
    name: str = ""

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [os.environ.get("KUBECTL") or "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )

    def client(self) -> client.ApiClient:
        connection: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            self.kubeconfig
        )
        return connection


@contextmanager
def standin(directory: Path) -> Iterator[str]:
    """The stand-in as a process of its own; gives its kubeconfig."""
    if GIVEN:
        raise AssertionError("with E2E_KUBECONFIG set no other API server may be used")
    kubeconfig = directory / "kubeconfig"
    command = [sys.executable, "-m", "fractal_dev.kube", "--kubeconfig", str(kubeconfig)]
    with served(command):
        yield str(kubeconfig)


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """A server as a process that prints its URL once it serves, and ends on SIGTERM."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), url
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0


def describe(kubeconfig: str, home: Path) -> Api:
    told = json.loads(Api(kubeconfig, home).kubectl("get", "--raw", "/version").stdout)
    version = (int(told["major"]), int(re.sub(r"\D", "", told["minor"])))
    cel = version >= (1, 25) and "standin" not in told["gitVersion"]
    return Api(kubeconfig, home, version, cel, told["gitVersion"])


def retried(api: Api, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """kubectl until it succeeds or the deadline is over: workers install one CRD side by side."""
    end = time.monotonic() + DEADLINE
    while True:
        done = api.kubectl(*arguments, stdin=stdin)
        if done.returncode == 0 or time.monotonic() > end:
            return done
        time.sleep(0.1)  # between two tries


def install_crd(api: Api) -> None:
    """Install the CRD of this checkout and wait until it is served."""
    manifest = render_yaml(crd() if api.cel else strip_cel(crd()))
    applied = retried(api, "apply", "-f", "-", stdin=manifest)
    assert applied.returncode == 0, applied.stderr
    served = retried(api, "get", f"{PLURAL}.{VERSION}.{GROUP}", "--all-namespaces")
    assert served.returncode == 0, served.stderr
