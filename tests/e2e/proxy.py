"""The operator's only way to the API server, where its requests are counted; and a trap.

A reverse proxy without authentication of its own: it adds the credentials of the kubeconfig that it
is given. The trap listens where an operator that ignored its KUBECONFIG would go.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from kubernetes import client, config
from yarl import URL

_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}
_READS = ("GET", "HEAD", "OPTIONS")


@dataclass(slots=True)
class Request:
    """One request; ``code`` is 0 until it is answered."""

    method: str
    path: str
    code: int = 0

    @property
    def written(self) -> bool:
        """Whether it was a write, and the server accepted it."""
        return self.method not in _READS and 200 <= self.code < 300


class Proxy:
    """Relays to the server of ``kubeconfig`` and notes each request in ``requests``."""

    def __init__(self, kubeconfig: str) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self.strangers: list[str] = []
        """What came to the trap."""
        self.broken = ""
        """Requests whose path contains this are answered 503, and not passed on."""
        self.trap_port = 0
        self._to: Any = client.Configuration()
        load: Any = config.load_kube_config
        load(kubeconfig, client_configuration=self._to)
        self._session: aiohttp.ClientSession | None = None

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for the proxy."""
        return _kubeconfig(path, self.url)

    def trap_home(self, home: Path) -> Path:
        """Make ``home`` a home directory whose ~/.kube/config leads into the trap."""
        (home / ".kube").mkdir(parents=True, exist_ok=True)
        _kubeconfig(home / ".kube" / "config", f"http://127.0.0.1:{self.trap_port}")
        return home

    async def start(self) -> None:
        tls: ssl.SSLContext | bool = True
        if self._to.host.startswith("https"):
            tls = ssl.create_default_context(cafile=self._to.ssl_ca_cert)
            if self._to.cert_file:
                tls.load_cert_chain(self._to.cert_file, self._to.key_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._relay)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._trap = await asyncio.start_server(self._caught, "127.0.0.1", 0)
        self.trap_port = self._trap.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._trap.close()
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.strangers.append((await reader.read(200)).decode(errors="replace"))
        writer.close()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        noted = Request(request.method, request.raw_path)
        self.requests.append(noted)
        if self.broken and self.broken in noted.path:
            noted.code = 503
            return web.Response(status=503)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        headers |= {each["key"]: each["value"] for each in self._to.auth_settings().values()}
        url = URL(self._to.host + request.raw_path, encoded=True)
        body = await request.read() or None  # of an empty one aiohttp would tell a content type
        assert self._session is not None
        async with self._session.request(
            request.method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            noted.code = answer.status
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response


@contextmanager
def proxy(kubeconfig: str) -> Iterator[Proxy]:
    """A running proxy, in a thread of its own."""
    loop, made = asyncio.new_event_loop(), Proxy(kubeconfig)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(made.start(), loop).result(30)
        yield made
        asyncio.run_coroutine_threadsafe(made.stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # A watch that was given up waits for the other side's TLS goodbye, for up to 30 s.
        for transport in list(vars(loop)["_transports"].values()):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _kubeconfig(path: Path, server: str) -> Path:
    named = {"cluster": "it", "user": "operator"}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "operator", "user": {}}],
        "contexts": [{"name": "it", "context": named}],
        "current-context": "it",
    }
    path.write_text(yaml.safe_dump(body))
    return path
