"""A Kubernetes API for each worker: the one that E2E_KUBECONFIG names, or the stand-in."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from kubernetes import client, config

from fractal_dev.kube import KubeApi
from fractal_models.crd import crd, render_yaml, strip_cel
from fractal_models.kube import GROUP, PLURAL, VERSION

DEADLINE = 30.0
"""Seconds that anything may take here before the test fails."""


@dataclass(frozen=True)
class Api:
    """A Kubernetes API: its admin kubeconfig, its version, and whether it evaluates CEL rules."""

    kubeconfig: str
    version: tuple[int, int]
    cel: bool

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def client(self) -> client.ApiClient:
        connection: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            self.kubeconfig
        )
        return connection


@contextmanager
def standin(directory: Path) -> Iterator[str]:
    """The stand-in in a thread of its own; gives its kubeconfig."""
    loop, api = asyncio.new_event_loop(), KubeApi()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(api.start(), loop).result(DEADLINE)
        api.write_kubeconfig(directory / "kubeconfig")
        yield str(directory / "kubeconfig")
        asyncio.run_coroutine_threadsafe(api.stop(), loop).result(DEADLINE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def describe(kubeconfig: str) -> Api:
    told = json.loads(Api(kubeconfig, (0, 0), False).kubectl("get", "--raw", "/version").stdout)
    version = (int(told["major"]), int(told["minor"].rstrip("+")))
    return Api(kubeconfig, version, version >= (1, 25) and "standin" not in told["gitVersion"])


@pytest.fixture(scope="session")
def bare_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API, whatever is installed in it."""
    if given := os.environ.get("E2E_KUBECONFIG"):
        yield describe(given)
    else:
        with standin(tmp_path_factory.mktemp("standin")) as kubeconfig:
            yield describe(kubeconfig)


@pytest.fixture(scope="session")
def api(bare_api: Api) -> Api:
    """The API with the CRD of this checkout installed and served."""
    manifest = render_yaml(crd() if bare_api.cel else strip_cel(crd()))
    applied = retried(bare_api, "apply", "-f", "-", stdin=manifest)
    assert applied.returncode == 0, applied.stderr
    served = retried(bare_api, "get", f"{PLURAL}.{VERSION}.{GROUP}", "--all-namespaces")
    assert served.returncode == 0, served.stderr
    return bare_api


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid4().hex[:10]}"
    # from a manifest: `create namespace` speaks protobuf, which the stand-in does not
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    made = api.kubectl("create", "-f", "-", stdin=json.dumps(body))
    assert made.returncode == 0, made.stderr
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


def retried(api: Api, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """kubectl until it succeeds or the deadline is over: workers install one CRD side by side."""
    end = time.monotonic() + DEADLINE
    while True:
        done = api.kubectl(*arguments, stdin=stdin)
        if done.returncode == 0 or time.monotonic() > end:
            return done
        time.sleep(0.1)
