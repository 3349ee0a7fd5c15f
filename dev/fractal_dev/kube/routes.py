"""Requests and answers: what each method on each path does, and the form of what it answers."""

from __future__ import annotations

import json
import math
from contextlib import aclosing
from typing import Any

from aiohttp import web

from fractal_dev.kube import answers, discovery, errors, patches, watches
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.paths import Target
from fractal_dev.kube.registry import Options, Registry
from fractal_dev.kube.resources import NAMESPACES

_WATCH_SECONDS = 1800
_HEADERS = {"Cache-Control": "no-cache, private"}


class Routes:
    """Answers requests from a registry. Every method may raise ApiError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def discover(self, request: web.Request, parts: tuple[str, ...]) -> web.Response:
        if parts in (("healthz",), ("livez",), ("readyz",)):
            return web.Response(text="ok")
        if parts == ("openapi", "v2"):
            headers = {"Content-Type": discovery.OPENAPI_V2_TYPE}
            return web.Response(body=discovery.OPENAPI_V2, headers=headers)
        found = discovery.document(parts, self._registry.catalog.all())
        if found is not None and request.method == "GET":
            return as_json(found)
        if parts[:2] == ("api", "v1"):
            raise errors.unknown_path()
        return web.Response(text="404 page not found\n", status=404)

    def read(self, request: web.Request, target: Target) -> Obj:
        accept, query = request.headers.get("Accept", ""), request.query
        if target.name:
            obj = self._registry.get(target.resource, target.home, target.name)
            return answers.as_one(target, obj, accept, query)
        objects, meta = answers.page(self._registry, target, query)
        return answers.as_list(target, objects, meta, accept, query)

    async def watch(self, request: web.Request, target: Target) -> web.StreamResponse:
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

    def write(self, request: web.Request, target: Target, body: bytes) -> web.Response:
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
            case "DELETE", _ if not target.subresource:
                return self._delete(target, query, _parsed(body, media) if body else {}, options)
            case _:
                raise errors.not_allowed()
        response = as_json(
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
            return as_json(answers.as_list(target, objects, meta, "", {}))
        preconditions = given.get("preconditions") or {}
        last, gone = self._registry.delete(
            resource, target.home, target.name, preconditions, options
        )
        if not gone or resource is NAMESPACES:
            return as_json(last)
        details = {"name": target.name, "kind": resource.plural, "uid": last["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return as_json({**status, "details": details})


def verb(method: str, named: bool) -> str:
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


def _parsed(body: bytes, media: str, accepted: tuple[str, ...] = ("application/json",)) -> Any:
    """The JSON body. Raises ApiError: 415 for another media type, 400 for what is no JSON."""
    if media not in accepted:
        raise errors.unsupported_media(accepted)
    try:
        parsed = json.loads(body, parse_float=_number)
    except ValueError as error:
        raise errors.bad_request(f"json parse error: {error}") from error
    if b"\\ud" not in body.lower():
        return parsed
    # As Go reads them, escaped surrogates without their other half become U+FFFD.
    text = _dumps(parsed).encode("utf-16", "surrogatepass")
    return json.loads(text.decode("utf-16", "replace"))


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is beyond any number")
    return int(number) if number.is_integer() else number


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_json(value: Any, code: int = 200) -> web.Response:
    text = _dumps(value) + "\n"
    return web.Response(text=text, status=code, content_type="application/json", headers=_HEADERS)
