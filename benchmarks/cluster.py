"""A Kubernetes API server, real or the stand-in: objects in bulk, a watch, requests counted."""

import asyncio
import base64
import json
import re
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from fractal_models.crd import crd, strip_cel
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

NAMESPACE = "default"
OBJECTS = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AT_ONCE = 24
"""Requests of the benchmark's own under way."""

Obj = dict[str, Any]
Requests = Counter[tuple[str, str]]
"""Requests by (verb in lower case, resource or resource/subresource)."""

_COUNTED = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<count>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = ("post", "put", "patch", "delete", "create", "update")


def writes(requests: Requests) -> Requests:
    """Those that write."""
    return Counter({key: count for key, count in requests.items() if key[0] in _WRITES})


class Cluster:
    """A client of the server. ``standin``: it is the stand-in, which keeps a record of requests."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, standin: bool) -> None:
        self.standin = standin
        self._url, self._session = url, session
        self._own: Requests = Counter()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer; None for 404, and for a thing to be made that is there already."""
        kind = "merge-patch+json" if method == "PATCH" else "json"
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": f"application/{kind}"}
        async with (
            self._room,
            self._session.request(method, self._url + path, data=data, headers=headers) as answer,
        ):
            if answer.status in (404, 409):
                return None
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def install(self) -> None:
        """Make the CRD, or put it in an older one's place, and wait until objects can be listed."""
        wanted = strip_cel(crd()) if self.standin else crd()
        if await self.call("POST", CRDS, wanted) is None:
            path = f"{CRDS}/{wanted['metadata']['name']}"
            await self.call("PATCH", path, {"spec": wanted["spec"]})
        for _ in range(200):
            try:
                if await self.call("GET", OBJECTS) is not None:
                    return
            except RuntimeError:  # 429: its storage begins
                pass
            await asyncio.sleep(0.1)
        raise TimeoutError("the CRD is not served")

    async def create(self, name: str, spec: Obj) -> None:
        """Create a FractalContainer."""
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        self._own["post", PLURAL] += 1
        if await self.call("POST", OBJECTS, body) is None:
            raise RuntimeError(f"{name} is there already")

    async def delete(self, name: str) -> None:
        """Ask for the deletion of a FractalContainer."""
        self._own["delete", PLURAL] += 1
        await self.call("DELETE", f"{OBJECTS}/{name}")

    async def force_away(self) -> int:
        """Drop every object that is left, finalizer and all; returns how many."""
        items = (await self.call("GET", OBJECTS))["items"]
        await asyncio.gather(*(self._force_away(each["metadata"]["name"]) for each in items))
        return len(items)

    async def _force_away(self, name: str) -> None:
        path = f"{OBJECTS}/{name}"
        await self.call("PATCH", path, {"metadata": {"finalizers": None}})
        await self.call("DELETE", path)

    async def requests(self) -> Requests:
        """Requests about FractalContainers and Events so far, but those made through this client.

        Counted by the API server: apiserver_request_total, or the stand-in's record.
        """
        found: Requests = Counter()
        if self.standin:
            for each in await self.call("GET", "/_standin/requests"):
                parts = filter(None, (each["resource"], each["subresource"]))
                verb = {"create": "post", "update": "put"}.get(each["verb"], each["verb"])
                found[verb, "/".join(parts)] += 1
        else:
            async with self._session.get(f"{self._url}/metrics") as answer:
                text = await answer.text()
            for line in _COUNTED.finditer(text):
                labels = dict(_LABEL.findall(line["labels"]))
                parts = filter(None, (labels["resource"], labels["subresource"]))
                found[labels["verb"].lower(), "/".join(parts)] += int(float(line["count"]))
        kept = {key: count for key, count in found.items() if _ours(key[1])}
        return Counter(kept) - self._own

    async def watch(self, tell: Callable[[str, Obj, float], None]) -> None:
        """Tell (event type, object, time) of every change from now on, until cancelled."""
        version = (await self.call("GET", f"{OBJECTS}?limit=1"))["metadata"]["resourceVersion"]
        while True:
            try:
                async for event in self._events(version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        tell(event["type"], event["object"], time.time())
            except aiohttp.ClientError as error:  # what came meanwhile is told by the next one
                print(f"the watch begins again: {error!r}", file=sys.stderr)

    async def _events(self, version: str) -> AsyncIterator[Obj]:
        """The events of one connection. RuntimeError for one that the server refuses."""
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url + OBJECTS + query, timeout=timeout) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if answer.status != 200 or event["type"] == "ERROR":
                    raise RuntimeError(f"the watch broke: {answer.status} {event}")
                yield event


@asynccontextmanager
async def connect(kubeconfig: Path, *, standin: bool) -> AsyncIterator[Cluster]:
    """A client by the current context of a kubeconfig."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = _named(config, "context", config["current-context"])
    where, who = (_named(config, each, context[each]) for each in ("cluster", "user"))
    headers = {"Authorization": f"Bearer {who['token']}"} if who.get("token") else {}
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0, ssl=_tls(where, who) or True)
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=timeout, read_bufsize=2**22
    ) as session:
        yield Cluster(where["server"].rstrip("/"), session, standin=standin)


def _ours(resource: str) -> bool:
    return resource.split("/")[0] in (PLURAL, "events")


def _named(config: Mapping[str, Any], kind: str, name: str) -> Obj:
    items: Iterable[Obj] = config[f"{kind}s"]
    return next(dict(each[kind]) for each in items if each["name"] == name)


def _tls(where: Obj, who: Obj) -> ssl.SSLContext | None:
    if not where["server"].startswith("https"):
        return None
    context = ssl.create_default_context(cadata=_pem(where, "certificate-authority"))
    if certificate := _pem(who, "client-certificate"):
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate + "\n" + (_pem(who, "client-key") or ""))
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(part: Obj, name: str) -> str | None:
    if data := part.get(f"{name}-data"):
        return base64.b64decode(data).decode()
    return Path(part[name]).read_text() if name in part else None
