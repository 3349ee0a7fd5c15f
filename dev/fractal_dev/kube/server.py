"""The HTTP server of the stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from aiohttp import web

from fractal_dev.kube import answers, audit, discovery, errors, patches, paths, watches
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.lifecycle import Cascade
from fractal_dev.kube.paths import Target
from fractal_dev.kube.registry import Options, Registry
from fractal_dev.kube.resources import NAMESPACES

_LARGEST_BODY = 3 * 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_WATCH_SECONDS = 1800
_HEADERS = {"Cache-Control": "no-cache, private"}

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
            return _json(self.requests(clear=request.query.get("clear") == "1"))
        noted = audit.Request(
            verb=request.method.lower(),
            path=request.path_qs,
            user_agent=request.headers.get("User-Agent", ""),
        )
        self._log.add(noted)
        try:
            response = await self._route(request, noted)
        except errors.ApiError as error:
            response = _json(error.body(), error.code)
        noted.code = response.status
        return response

    async def _route(self, request: web.Request, noted: audit.Request) -> web.StreamResponse:
        if request.host.rsplit(":", 1)[0] not in _LOOPBACK:
            raise errors.ApiError(403, "Forbidden", "the Host header must name the loopback")
        parts = tuple(part for part in request.path.split("/") if part)
        target = paths.find(parts, self._registry.catalog)
        if target is None:
            return self._discover(request, parts)
        noted.group, noted.resource = target.resource.group, target.resource.plural
        noted.namespace, noted.name = target.home, target.name
        noted.subresource = target.subresource
        if request.method == "GET":
            noted.verb = "get" if target.name else "list"
            if request.query.get("watch") in ("1", "true"):
                noted.verb, noted.code = "watch", 200
                return await self._watch(request, target)
            return _json(self._read(request, target))
        body = await _body(request)
        before = self._registry.store.version
        noted.verb = _verb(request.method, bool(target.name))
        response = self._write(request, target, body)
        noted.changed = self._registry.store.version != before
        return response

    def _discover(self, request: web.Request, parts: tuple[str, ...]) -> web.Response:
        if parts in (("healthz",), ("livez",), ("readyz",)):
            return web.Response(text="ok")
        if parts == ("openapi", "v2"):
            headers = {"Content-Type": discovery.OPENAPI_V2_TYPE}
            return web.Response(body=discovery.OPENAPI_V2, headers=headers)
        found = discovery.document(parts, self._registry.catalog.all())
        if found is not None and request.method == "GET":
            return _json(found)
        if parts[:2] == ("api", "v1"):
            raise errors.unknown_path()
        return web.Response(text="404 page not found\n", status=404)

    def _read(self, request: web.Request, target: Target) -> Obj:
        accept, query = request.headers.get("Accept", ""), request.query
        if target.name:
            obj = self._registry.get(target.resource, target.home, target.name)
            return answers.as_one(target, obj, accept, query)
        objects, meta = answers.page(self._registry, target, query)
        return answers.as_list(target, objects, meta, accept, query)

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        query, accept = request.query, request.headers.get("Accept", "")
        if "sendInitialEvents" in query:
            message = "sendInitialEvents is forbidden for watch: list, then watch"
            cause = errors.Cause("FieldValueForbidden", "sendInitialEvents", message)
            raise errors.invalid("meta.k8s.io", "ListOptions", "", [cause])
        events = watches.stream(
            self._registry.store,
            target.resource,
            target.namespace,
            answers.selected(target, query),
            answers.number(query, "resourceVersion"),
            answers.number(query, "timeoutSeconds") or _WATCH_SECONDS,
            bookmarks=query.get("allowWatchBookmarks") in ("1", "true"),
        )
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "application/json"})
        await response.prepare(request)
        heads = True
        async with aclosing(events):
            async for kind, obj in events:
                if kind != "ERROR":
                    obj = answers.as_one(target, obj, accept, query, heads=heads)
                    heads = False
                line = _dumps({"type": kind, "object": obj}) + "\n"
                try:
                    await response.write(line.encode())
                except ConnectionResetError:
                    return response
        await response.write_eof()
        return response

    def _write(self, request: web.Request, target: Target, body: bytes) -> web.Response:
        query, media = request.query, request.content_type
        options = Options(query.get("fieldValidation") or "Warn", query.get("dryRun") == "All")
        resource, home, name = target.resource, target.home, target.name
        registry, place = self._registry, (resource, target.subresource, home, name)
        complete = target.namespace is not None or not resource.namespaced
        match request.method, bool(name):
            case "POST", False if complete:
                written = registry.create(resource, home, _parsed(body, media), options)
                code = 201
            case "PUT", True:
                written = registry.replace(*place, _parsed(body, media), options)
                code = 200
            case "PATCH", True:
                kinds = _patch_types(resource.custom)
                patch = _parsed(body, media, kinds)
                written = registry.patch(*place, media, patch, options)
                code = 200
            case "DELETE", _:
                return self._delete(target, query, _parsed(body, media) if body else {}, options)
            case _:
                raise errors.not_allowed()
        response = _json(
            answers.as_one(target, written.object, request.headers.get("Accept", ""), query), code
        )
        for warning in written.warnings:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        return response

    def _delete(self, target: Target, query: Any, body: Any, options: Options) -> web.Response:
        given = body if isinstance(body, dict) else {}
        options = Options(dry_run=options.dry_run or "All" in (given.get("dryRun") or ()))
        resource = target.resource
        if not target.name:
            objects, meta = answers.page(self._registry, target, query)
            for obj in objects:
                home, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
                self._registry.delete(resource, home, name, {}, options)
            return _json(answers.as_list(target, objects, meta, "", {}))
        preconditions = given.get("preconditions") or {}
        last, gone = self._registry.delete(
            resource, target.home, target.name, preconditions, options
        )
        if not gone or resource is NAMESPACES:
            return _json(last)
        details = {"name": target.name, "kind": resource.plural, "uid": last["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _json({**status, "details": details})


def _verb(method: str, named: bool) -> str:
    """The request's verb as audit logs name it."""
    match method:
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "DELETE":
            return "delete" if named else "deletecollection"
        case _:
            return method.lower()


def _patch_types(custom: bool) -> tuple[str, ...]:
    return (
        (patches.JSON, patches.MERGE)
        if custom
        else (patches.JSON, patches.MERGE, patches.STRATEGIC)
    )


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"Request entity too large: limit is {_LARGEST_BODY}"
        raise errors.ApiError(413, "RequestEntityTooLarge", message) from error


def _parsed(body: bytes, media: str, accepted: tuple[str, ...] = ("application/json",)) -> Any:
    """The JSON body. Raises ApiError: 415 for another media type, 400 for what is no JSON."""
    if media not in accepted:
        raise errors.unsupported_media(accepted)
    whole: Callable[[str], float] = lambda text: (  # noqa: E731
        int(number) if (number := float(text)).is_integer() else number
    )
    try:
        return json.loads(body, parse_float=whole)
    except ValueError as error:
        raise errors.bad_request(f"json parse error: {error}") from error


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _json(value: Any, code: int = 200) -> web.Response:
    text = _dumps(value) + "\n"
    return web.Response(text=text, status=code, content_type="application/json", headers=_HEADERS)
