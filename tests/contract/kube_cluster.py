"""A Kubernetes API to test: the stand-in as a process, or the server that E2E_KUBECONFIG names."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

Obj = dict[str, Any]
T = TypeVar("T")

GROUP = "standin.example.com"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMESPACES = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
PATIENCE = 120.0
"""Seconds after which what should have happened counts as not happening."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `body` is the JSON value, or the text where it is none."""

    code: int
    body: Any
    warnings: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        return str(self.body["message"])

    @property
    def meta(self) -> Obj:
        meta: Obj = self.body["metadata"]
        return meta

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.body["items"]]


def eventually(look: Callable[[], T | None]) -> T:
    """Returns the first result that is true; fails after PATIENCE seconds without one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)  # between two looks
    raise AssertionError(f"not within {PATIENCE} s")


class Cluster:
    """Requests to one API server, through kubernetes.aio's HTTP client and through kubectl."""

    def __init__(self, kubeconfig: Path, scratch: Path, *, stand_in: bool) -> None:
        self.kubeconfig = kubeconfig
        self.scratch = scratch
        self.stand_in = stand_in
        self._runner = asyncio.Runner()
        self._client = self.run(_client(kubeconfig))
        self.version = _version(self.call("GET", "/version").body["gitVersion"])
        self.kubectl_path = os.environ.get("KUBECTL") or shutil.which("kubectl") or "kubectl"
        client = json.loads(self.kubectl("version", "--client", "-o", "json").stdout)
        self.kubectl_version = _version(client["clientVersion"]["gitVersion"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._client.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        media: str = "application/json",
        accept: str = "application/json",
        **query: Any,
    ) -> Answer:
        return self.run(self.call_async(method, path, body, media=media, accept=accept, **query))

    async def call_async(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        media: str = "application/json",
        accept: str = "application/json",
        **query: Any,
    ) -> Answer:
        response = await self._client.rest_client.request(
            method,
            self._url(path, query),
            headers={"Accept": accept, "Content-Type": media},
            body=body,
        )
        text = await response.read()
        try:
            value = json.loads(text)
        except ValueError:
            value = text.decode()
        warnings = response.headers.getall("Warning", [])
        return Answer(response.status, value, tuple(warnings))

    def patch(self, path: str, body: Any, **query: Any) -> Answer:
        media = JSON_PATCH if isinstance(body, list) else MERGE
        return self.call("PATCH", path, body, media=media, **query)

    def watch(
        self, path: str, count: int, *, accept: str = "application/json", **query: Any
    ) -> list[Obj]:
        """The first `count` events of a watch; fails when there are fewer within PATIENCE."""

        async def read() -> list[Obj]:
            async with self.watching(path, accept=accept, **query) as events:
                return [await anext(events) for _ in range(count)]

        return self.run(asyncio.wait_for(read(), PATIENCE))

    @asynccontextmanager
    async def watching(
        self, path: str, *, accept: str = "application/json", **query: Any
    ) -> AsyncIterator[AsyncIterator[Obj]]:
        """The events of a watch that is open when this is entered."""
        pool = self._client.rest_client.pool_manager
        url = self._url(path, {"watch": "1", **query})
        async with pool.get(url, headers={"Accept": accept}) as response:

            async def lines() -> AsyncIterator[Obj]:
                async for line in response.content:
                    yield json.loads(line)

            yield lines()

    def kubectl(
        self, *arguments: str, stdin: str = "", ok: bool | None = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl to its end; fails unless it succeeds, with `ok` False: unless it fails."""
        done = subprocess.run(
            self.kubectl_command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, **env},
            check=False,
        )
        assert ok is None or (done.returncode == 0) is ok, (
            f"kubectl {arguments}: {done.stdout}{done.stderr}"
        )
        return done

    def kubectl_command(self, *arguments: str) -> list[str]:
        # A cache of its own: kubectl trusts what it once learned about an address for hours.
        own = ("--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.scratch / "cache"))
        return [self.kubectl_path, *own, *arguments]

    def _url(self, path: str, query: Obj) -> str:
        return f"{self._client.configuration.host}{path}" + (
            f"?{urlencode(query)}" if query else ""
        )


async def _client(kubeconfig: Path) -> Any:
    configuration = Configuration()
    load: Any = config.load_kube_config  # untyped
    await load(str(kubeconfig), client_configuration=configuration)
    return ApiClient(configuration=configuration)


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"v(\d+)\.(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


@contextmanager
def cluster(scratch: Path) -> Iterator[Cluster]:
    if given := os.environ.get("E2E_KUBECONFIG"):
        with Cluster(Path(given), scratch, stand_in=False) as real:
            yield real
        return
    with stand_in_process(scratch) as kubeconfig, Cluster(kubeconfig, scratch, stand_in=True) as it:
        yield it


@contextmanager
def stand_in_process(scratch: Path) -> Iterator[Path]:
    kubeconfig = scratch / "kubeconfig"
    command = [sys.executable, "-m", "fractal_dev.kube", "--kubeconfig", str(kubeconfig)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        yield kubeconfig
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 0
        if process.stdout is not None:
            process.stdout.close()


@dataclass(frozen=True, slots=True)
class Kind:
    """The sample kind, under names of its own so that servers may be shared."""

    plural: str
    kind: str

    @classmethod
    def fresh(cls) -> Self:
        suffix = uuid4().hex[:8]
        return cls(f"gadgets{suffix}", f"Gadget{suffix}")

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"

    @property
    def crd_path(self) -> str:
        return f"{CRDS}/{self.crd_name}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        whole = f"/apis/{GROUP}/v1/namespaces/{namespace}/{self.plural}"
        return "/".join(part for part in (whole, name, subresource) if part)

    def make(self, name: str, spec: Any = None, **metadata: Any) -> Obj:
        return {
            "apiVersion": f"{GROUP}/v1",
            "kind": self.kind,
            "metadata": {"name": name, **metadata},
            "spec": {"image": "nginx"} if spec is None else spec,
        }

    def definition(self) -> Obj:
        """Enums, bounds, lists that are maps and sets, defaults, columns and a status."""
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "additionalPrinterColumns": _COLUMNS,
            "schema": {"openAPIV3Schema": deepcopy(_SCHEMA)},  # a test may change it
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.crd_name},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "plural": self.plural,
                    "kind": self.kind,
                    "shortNames": [f"g{self.plural[7:]}"],
                    "categories": [f"all{self.plural[7:]}"],
                },
                "versions": [version],
            },
        }


_COLUMNS = [
    {
        "name": "Ready",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
    },
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
_SPEC = {
    "type": "object",
    "required": ["image"],
    "not": {"required": ["forbidden"]},
    "anyOf": [{"required": ["image"]}, {"required": ["mode"]}],
    "properties": {
        "image": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z/]+$"},
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "mode": {"type": "string", "enum": ["Always", "Never"], "default": "Always"},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "tags": {
            "type": "object",
            "maxProperties": 2,
            "additionalProperties": {"type": "string", "maxLength": 5},
        },
        "zones": {
            "type": "array",
            "maxItems": 2,
            "minItems": 1,
            "x-kubernetes-list-type": "set",
            "items": {"type": "string"},
        },
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "protocol": {"type": "string", "default": "tcp"},
                },
            },
        },
        "note": {"type": "string", "nullable": True},
        "plain": {"type": "string"},
        "when": {"type": "string", "format": "date-time"},
        "forbidden": {"type": "string"},
        "choice": {
            "type": "object",
            "oneOf": [{"required": ["left"]}, {"required": ["right"]}],
            "allOf": [{"properties": {"left": {"minLength": 2}}}],
            "properties": {"left": {"type": "string"}, "right": {"type": "string"}},
        },
    },
}
_STATUS = {
    "type": "object",
    "properties": {
        "phase": {"type": "string"},
        "conditions": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    "type": {"type": "string"},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                },
            },
        },
    },
}
_SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {"spec": _SPEC, "status": _STATUS},
}
