"""The operator's only way to a server, where its requests are counted; and a trap.

Reverse proxies without authentication of their own: that to the API server adds the credentials of
the kubeconfig that it is given. The trap listens where an operator that ignored its KUBECONFIG
would go. A ``Hand`` may reach into each request on its way.
"""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiohttp
import yaml
from aiohttp import web
from kubernetes import client, config
from yarl import URL

_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}
_READS = ("GET", "HEAD", "OPTIONS")


@dataclass(slots=True)
class Request:
    """One request; ``code`` is 0 until it is answered. ``body`` is kept of what may be a write."""

    method: str
    path: str
    code: int = 0
    body: bytes = b""

    @property
    def written(self) -> bool:
        """Whether it was a write, and the server accepted it."""
        return self.method not in _READS and 200 <= self.code < 300


class Cut(Exception):
    """The connection is to be broken off without an answer."""


class Hand(Protocol):
    """What may reach into a request. Each method may raise ``Cut``."""

    async def before(self, request: web.Request) -> web.Response | None:
        """The request has arrived; an answer returned here is given instead of passing it on."""

    async def after(self, request: web.Request) -> None:
        """The server has answered a request other than a watch; nothing was passed back yet."""

    def watch(self, request: web.Request, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The lines of a watch, as the client shall see them."""


class Relay:
    """Relays to the server at ``url`` and notes each request in ``requests``."""

    def __init__(self, url: str, hand: Hand | None = None) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self.broken = ""
        """Requests whose path contains this are answered 503, and not passed on."""
        self.hand = hand
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    def _headers(self) -> dict[str, str]:
        return {}

    def _tls(self) -> ssl.SSLContext | bool:
        return True

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls()),
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

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._handled(request)
        except (Cut, aiohttp.ClientError, ConnectionError):
            # The same happens to the client as did to the server's connection.
            if request.transport is not None:
                request.transport.abort()
            await asyncio.Event().wait()  # until this handler is cancelled for its lost client
            raise

    async def _handled(self, request: web.Request) -> web.StreamResponse:
        noted = Request(request.method, request.raw_path)
        self.requests.append(noted)
        if self.broken and self.broken in noted.path:
            noted.code = 503
            return web.Response(status=503)
        body = await request.read() or None  # of an empty one aiohttp would tell a content type
        if noted.method not in _READS:
            noted.body = body or b""
        instead = await self.hand.before(request) if self.hand is not None else None
        if instead is not None:
            noted.code = instead.status
            return instead
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = URL(self._url + request.raw_path, encoded=True)
        assert self._session is not None
        async with self._session.request(
            request.method, url, data=body, headers=headers | self._headers(), allow_redirects=False
        ) as answer:
            noted.code = answer.status
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            chunks: AsyncIterator[bytes] = answer.content.iter_any()
            if self.hand is not None:
                if "watch=" in noted.path:
                    chunks = self.hand.watch(request, _lines(chunks))
                else:
                    await answer.read()
                    await self.hand.after(request)
                    return web.Response(status=answer.status, headers=kept, body=answer._body)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        return response


class Proxy(Relay):
    """Relays to the server of ``kubeconfig``, and listens as the trap."""

    def __init__(self, kubeconfig: str, hand: Hand | None = None) -> None:
        self._to: Any = client.Configuration()
        load: Any = config.load_kube_config
        load(kubeconfig, client_configuration=self._to)
        super().__init__(self._to.host, hand)
        self._as = _impersonated(Path(kubeconfig))
        self.strangers: list[str] = []
        """What came to the trap."""
        self.trap_port = 0

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for the proxy."""
        return _kubeconfig(path, self.url)

    def trap_home(self, home: Path) -> Path:
        """Make ``home`` a home directory whose ~/.kube/config leads into the trap."""
        (home / ".kube").mkdir(parents=True, exist_ok=True)
        _kubeconfig(home / ".kube" / "config", f"http://127.0.0.1:{self.trap_port}")
        return home

    def _headers(self) -> dict[str, str]:
        own = {each["key"]: each["value"] for each in self._to.auth_settings().values()}
        return own | ({"Impersonate-User": self._as} if self._as else {})

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._to.host.startswith("https"):
            return True
        tls = ssl.create_default_context(cafile=self._to.ssl_ca_cert)
        if self._to.cert_file:
            tls.load_cert_chain(self._to.cert_file, self._to.key_file)
        return tls

    async def start(self) -> None:
        await super().start()
        self._trap = await asyncio.start_server(self._caught, "127.0.0.1", 0)
        self.trap_port = self._trap.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._trap.close()
        await super().stop()

    async def _caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.strangers.append((await reader.read(200)).decode(errors="replace"))
        writer.close()


class Startable(Protocol):
    """What runs in an event loop of its own thread."""

    async def start(self) -> None:
        """Serve."""

    async def stop(self) -> None:
        """Serve no more."""


Server = TypeVar("Server", bound=Startable)


@contextmanager
def serving(made: Server) -> Iterator[Server]:
    """The server, running in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(made.start(), loop).result(30)
        try:
            yield made
        finally:
            asyncio.run_coroutine_threadsafe(made.stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # A watch that was given up waits for the other side's TLS goodbye, for up to 30 s.
        for transport in list(vars(loop)["_transports"].values()):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@contextmanager
def proxy(kubeconfig: str, hand: Hand | None = None) -> Iterator[Proxy]:
    """A running way to the API server of ``kubeconfig``."""
    with serving(Proxy(kubeconfig, hand)) as made:
        yield made


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines, with their ends."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


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


def _impersonated(kubeconfig: Path) -> str:
    """The user as whom the current context acts; "" for itself. The client library ignores it."""
    body = yaml.safe_load(kubeconfig.read_text())
    context = next(x for x in body["contexts"] if x["name"] == body["current-context"])
    user = next(x for x in body["users"] if x["name"] == context["context"]["user"])
    return str(user["user"].get("as", ""))
