"""The HTTP server of the stand-in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from fractal_dev.kube import audit, errors, paths, routes
from fractal_dev.kube.lifecycle import Cascade
from fractal_dev.kube.registry import Registry

_LARGEST_BODY = 3 * 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

_KUBECONFIG = """\
# A stand-in for Kubernetes on this machine: no authentication, nothing is kept after it stops.
apiVersion: v1
kind: Config
clusters:
- name: fractal-standin
  cluster:
    server: {url}
users:
- name: anyone
  user: {{}}
contexts:
- name: fractal-standin
  context:
    cluster: fractal-standin
    user: anyone
    namespace: default
current-context: fractal-standin
"""


class KubeApi:
    """A stand-in for the Kubernetes API: CRDs, custom resources, namespaces, events, leases,
    config maps and secrets, in memory, for laptops and tests. Not for production.

    It has no authentication, so it binds to loopback and answers only requests addressed there.
    GET /_standin/requests tells every request so far, `?clear=1` also forgets them.
    """

    def __init__(self) -> None:
        self._cascade = Cascade()
        self._registry = Registry(self._cascade.wake)
        self._routes = routes.Routes(self._registry)
        self._log = audit.Log()
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._url = ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serves until `stop`; port 0 takes a free one. Returns the base URL.

        Raises OSError when the port is taken, ValueError when `host` is not loopback.
        """
        if host not in _LOOPBACK:
            raise ValueError(f"the stand-in has no authentication: {host} is not loopback")
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._sweeper = asyncio.create_task(self._cascade.run(self._registry))
        self._url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self._url

    async def stop(self) -> None:
        """Ends open watches at once, then the server."""
        self._registry.store.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    def write_kubeconfig(self, path: str | Path) -> None:
        """Writes a kubeconfig whose only context is this server; call it after `start`."""
        Path(path).write_text(_KUBECONFIG.format(url=self._url), encoding="utf-8")

    def requests(self, *, clear: bool = False) -> list[dict[str, Any]]:
        """What GET /_standin/requests answers; see audit.Request for the fields."""
        return self._log.read(clear=clear)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/_standin/requests":
            return routes.as_json(self.requests(clear=request.query.get("clear") == "1"))
        noted = audit.Request(
            verb=request.method.lower(),
            path=request.path_qs,
            user_agent=request.headers.get("User-Agent", ""),
        )
        self._log.add(noted)
        try:
            response = await self._route(request, noted)
        except errors.ApiError as error:
            response = routes.as_json(error.body(), error.code)
        noted.code = response.status
        return response

    async def _route(self, request: web.Request, noted: audit.Request) -> web.StreamResponse:
        if request.host.rsplit(":", 1)[0] not in _LOOPBACK:
            raise errors.ApiError(403, "Forbidden", "the Host header must name the loopback")
        parts = tuple(part for part in request.path.split("/") if part)
        target = paths.find(parts, self._registry.catalog)
        if target is None:
            return self._routes.discover(request, parts)
        noted.group, noted.resource = target.resource.group, target.resource.plural
        noted.namespace, noted.name = target.home, target.name
        noted.subresource = target.subresource
        if request.method == "GET":
            noted.verb = "get" if target.name else "list"
            if request.query.get("watch") in ("1", "true"):
                noted.verb, noted.code = "watch", 200
                return await self._routes.watch(request, target)
            return routes.as_json(self._routes.read(request, target))
        body = await _body(request)
        before = self._registry.store.version
        noted.verb = routes.verb(request.method, bool(target.name))
        response = self._routes.write(request, target, body)
        noted.changed = self._registry.store.version != before
        return response


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"Request entity too large: limit is {_LARGEST_BODY}"
        raise errors.ApiError(413, "RequestEntityTooLarge", message) from error
