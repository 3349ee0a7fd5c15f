"""The parts of a benchmark, each a process of its own: stand-ins, PostgreSQL, the operator."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3

from fractal_dev.ecs.client import EcsControl
from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_models.crd import crd, strip_cel
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

REGION, CLUSTER = "us-east-1", "bench"
SWEEP_SECONDS = 5
OBJECTS = f"/apis/{GROUP}/{VERSION}/namespaces/default/{PLURAL}"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
Found = TypeVar("Found")


def until(look: Callable[[], Found | None], what: str, seconds: float = 600) -> Found:
    """The first result that is true; TimeoutError after ``seconds`` without one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds:.0f} s: {what}")


@dataclass(frozen=True)
class Kube:
    """The stand-in of the Kubernetes API, and its record of what reached it."""

    url: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the JSON answer, None for 404."""
        kind = "merge-patch+json" if method == "PATCH" else "json"
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": f"application/{kind}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
        return None

    def create(self, name: str, spec: Any) -> None:
        """Create a FractalContainer."""
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        self.call("POST", OBJECTS, body)

    def phase(self, name: str) -> str:
        """The object's phase, "" without one."""
        found = self.call("GET", f"{OBJECTS}/{name}") or {}
        return str(found.get("status", {}).get("phase", ""))

    def writes(self) -> list[str]:
        """What anybody has written to existing objects since the last call, and new Events."""
        told = self.call("GET", "/_standin/requests?clear=1")
        return [
            "/".join(filter(None, (each["resource"], each["subresource"])))
            for each in told
            if each["changed"] and (each["verb"] == "patch" or each["resource"] == "events")
        ]


@dataclass(frozen=True)
class Stack:
    """Everything that runs."""

    kube: Kube
    ecs: EcsControl
    log: Path


@contextmanager
def stack() -> Iterator[Stack]:
    """All parts, with an operator that is ready."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="fractal-bench-")))
        kubeconfig, log = folder / "kubeconfig", folder / "operator.log"
        kube = Kube(parts.enter_context(_served("kube", "--kubeconfig", str(kubeconfig))))
        pace = ("--start-seconds", "0.6", "--stop-seconds", "0.3")
        url = parts.enter_context(_served("ecs", "--cluster", CLUSTER, "--region", REGION, *pace))
        database = parts.enter_context(Postgres(folder / "pg" / "data"))
        migrate.upgrade(database.url())
        kube.call("POST", CRDS, strip_cel(crd()))
        until(lambda: kube.call("GET", OBJECTS), "the CRD is served")
        aws = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
        }
        settings = {
            "FRACTAL_DATABASE_URL": database.url(),
            "FRACTAL_INSTALL_ID": "bench",
            "FRACTAL_LEADER_ELECTION": "false",
            "FRACTAL_CLUSTER": CLUSTER,
            "FRACTAL_SUBNETS": _subnet(url),
            "FRACTAL_METRICS_HOST": "127.0.0.1",
            "FRACTAL_METRICS_PORT": "0",
            "FRACTAL_SWEEP_SECONDS": str(SWEEP_SECONDS),
            "FRACTAL_FAST_SWEEP_SECONDS": "1",
            "FRACTAL_QUOTA_SHARE": "1",
        }
        environ = {**os.environ, **aws, **settings, "KUBECONFIG": str(kubeconfig)}
        parts.enter_context(_operator(environ, log))
        made = Stack(kube, EcsControl(url, timeout=60), log)
        until(lambda: made.ecs.calls().get("ListTasks"), "the operator sweeps", 60)
        yield made


def _subnet(url: str) -> str:
    make: Any = boto3.client
    keys = {"aws_access_key_id": "stand-in", "aws_secret_access_key": "stand-in"}
    ec2 = make("ec2", endpoint_url=url, region_name=REGION, **keys)
    return str(ec2.describe_subnets()["Subnets"][0]["SubnetId"])


@contextmanager
def _served(name: str, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", f"fractal_dev.{name}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def _operator(environ: dict[str, str], log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "fractal_operator", "run"]
    with (
        log.open("wb") as file,
        subprocess.Popen(command, env=environ, stdout=file, stderr=file) as process,
    ):
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
