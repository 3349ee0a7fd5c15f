"""Watch streams: events through selectors, bookmarks, resuming, and an end on shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from fractal_dev.kube import errors
from fractal_dev.kube.bodies import as_version
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import Resource
from fractal_dev.kube.selectors import Test
from fractal_dev.kube.store import Event, Store

BOOKMARK_SECONDS = 30.0
"""Between bookmarks. Clients take a stream without any for dead: kopf after 70 s."""


async def stream(
    store: Store,
    resource: Resource,
    namespace: str | None,
    selected: Test,
    since: int,
    seconds: float,
    *,
    bookmarks: bool,
) -> AsyncGenerator[tuple[str, Obj]]:
    """Yields (type, object) from `since` on, 0 meaning: first all that exist, then what happens.

    Ends after `seconds`, when the server stops, or when the kind is no longer defined.
    """

    def matches(obj: Obj) -> bool:
        home = obj["metadata"].get("namespace", "")
        return (namespace is None or home == namespace) and selected(obj)

    start = since or store.version
    for obj in store.list(resource.storage, namespace) if not since else ():
        if matches(obj):
            yield "ADDED", as_version(resource, obj)
    ends = time.monotonic() + seconds
    try:
        with store.watch(resource.storage, start) as queue:
            bookmark = time.monotonic() + BOOKMARK_SECONDS
            while (now := time.monotonic()) < ends:
                if now >= bookmark and queue.empty():
                    bookmark = now + BOOKMARK_SECONDS
                    if bookmarks:
                        yield "BOOKMARK", _bookmark(resource, store.version)
                try:
                    event = await asyncio.wait_for(queue.get(), min(ends, bookmark) - now)
                except TimeoutError:
                    continue
                if event is None:
                    return
                if seen := _seen(event, matches):
                    yield seen[0], as_version(resource, seen[1])
    except errors.ApiError as error:
        yield "ERROR", error.body()


def _seen(event: Event, matches: Test) -> tuple[str, Obj] | None:
    """The event as a selector shows it: an object that stops matching is deleted for it."""
    before = event.previous is not None and matches(event.previous)
    after = event.type != "DELETED" and matches(event.object)
    match before, after:
        case False, True:
            return "ADDED", event.object
        case True, True:
            return "MODIFIED", event.object
        case True, False:
            last = event.object if event.type == "DELETED" else event.previous
            assert last is not None
            version = {"resourceVersion": str(event.version)}
            return "DELETED", {**last, "metadata": {**last["metadata"], **version}}
        case _:
            return None


def _bookmark(resource: Resource, version: int) -> Obj:
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
