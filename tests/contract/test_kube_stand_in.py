"""What only the stand-in for the Kubernetes API has: a record of requests, limits, an end."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.contract.kube_cluster import (
    CRDS,
    MERGE,
    NAMESPACES,
    PATIENCE,
    TABLE,
    Cluster,
    Kind,
    Obj,
    stand_in_process,
)

from fractal_dev.kube import KubeApi, store, watches

MAPS = f"{NAMESPACES}/default/configmaps"


def config_map(name: str, **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[KubeApi, aiohttp.ClientSession]]:
    api = KubeApi()
    url = await api.start()
    headers = {"User-Agent": "tester/1"}
    try:
        async with aiohttp.ClientSession(url, headers=headers) as session:
            yield api, session
    finally:
        await api.stop()


def run(scenario: Callable[[KubeApi, aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with serving() as (api, session):
            await scenario(api, session)

    asyncio.run(asyncio.wait_for(whole(), PATIENCE))


async def next_event(response: aiohttp.ClientResponse) -> Any:
    return json.loads(await response.content.readline())


def test_requests_are_counted() -> None:
    async def scenario(api: KubeApi, http: aiohttp.ClientSession) -> None:
        path = f"{MAPS}/a"
        headers = {"Content-Type": MERGE}
        await http.post(MAPS, json=config_map("a", k="v"))
        await http.post(MAPS, json=config_map("a", k="v"))
        await http.patch(path, json={"data": {"k": "v"}}, headers=headers)
        await http.patch(path, json={"data": {"k": "w"}}, headers=headers)
        await http.patch(path, json={"data": {"k": "x"}}, headers=headers, params={"dryRun": "All"})
        await http.get(path)
        await http.get(MAPS)
        await http.delete(path)
        await http.get("/apis")
        async with http.get("/_standin/requests", params={"clear": "1"}) as response:
            told = await response.json()
        assert [(entry["verb"], entry["code"], entry["changed"]) for entry in told] == [
            ("create", 201, True),
            ("create", 409, False),
            ("patch", 200, False),
            ("patch", 200, True),
            ("patch", 200, False),
            ("get", 200, False),
            ("list", 200, False),
            ("delete", 200, True),
            ("get", 200, False),
        ]
        assert told[3] == {
            "verb": "patch",
            "path": path,
            "group": "",
            "resource": "configmaps",
            "subresource": "",
            "namespace": "default",
            "name": "a",
            "code": 200,
            "changed": True,
            "user_agent": "tester/1",
        }
        assert api.requests() == []

    run(scenario)


def test_status_writes_and_watches_are_counted() -> None:
    async def scenario(api: KubeApi, http: aiohttp.ClientSession) -> None:
        kind = Kind.fresh()
        await http.post(CRDS, json=kind.definition())
        await http.post(kind.path("default"), json=kind.make("a"))
        api.requests(clear=True)
        async with http.get(kind.path("default"), params={"watch": "1"}) as response:
            await next_event(response)
            body = {"status": {"phase": "Running"}}
            path = kind.path("default", "a", "status")
            await http.patch(path, json=body, headers={"Content-Type": MERGE})
            told = [(r["verb"], r["subresource"], r["name"], r["code"]) for r in api.requests()]
            assert told == [("watch", "", "", 200), ("patch", "status", "a", 200)]

    run(scenario)


def test_idle_watch_gets_bookmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watches.BOOKMARK_SECONDS <= 45
    monkeypatch.setattr(watches, "BOOKMARK_SECONDS", 0.01)

    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        query = {"watch": "1", "allowWatchBookmarks": "true"}
        async with http.get(MAPS, params=query) as response:
            first = await next_event(response)
            async with http.post(MAPS, json=config_map("a")) as made:
                version = (await made.json())["metadata"]["resourceVersion"]
            while (event := await next_event(response))["type"] != "ADDED":
                assert event == first
            later = await next_event(response)
        assert (later["type"], later["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
        assert later["object"]["metadata"]["resourceVersion"] == version
        assert first["object"]["metadata"]["resourceVersion"] < version

    run(scenario)


def test_version_past_the_kept_history_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HISTORY", 3)

    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        versions = []
        for name in "abcde":
            async with http.post(MAPS, json=config_map(name)) as made:
                versions.append((await made.json())["metadata"]["resourceVersion"])
        got = []
        for version in versions[:2]:
            query = {"watch": "1", "resourceVersion": version}
            async with http.get(MAPS, params=query) as response:
                event = await next_event(response)
                got.append((event["type"], event["object"].get("code")))
        assert got == [("ERROR", 410), ("ADDED", None)]

    run(scenario)


def test_version_of_an_earlier_run_is_too_old() -> None:
    async def version() -> str:
        async with serving() as (_, http), http.get(MAPS) as response:
            listed = await response.json()
            return str(listed["metadata"]["resourceVersion"])

    earlier = asyncio.run(version())

    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        query = {"watch": "1", "resourceVersion": earlier}
        async with http.get(MAPS, params=query) as response:
            event = await next_event(response)
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)

    run(scenario)


def test_stop_ends_open_watches() -> None:
    async def scenario(api: KubeApi, http: aiohttp.ClientSession) -> None:
        async with http.get(MAPS, params={"watch": "1"}) as response:
            await api.stop()
            assert await response.content.read() == b""

    run(scenario)


def test_watch_ends_when_its_kind_goes() -> None:
    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        kind = Kind.fresh()
        await http.post(CRDS, json=kind.definition())
        async with http.get(kind.path("default"), params={"watch": "1"}) as response:
            await http.delete(kind.crd_path)
            assert await response.content.read() == b""

    run(scenario)


def test_process_ends_on_a_signal_with_a_watch_open(tmp_path: Path) -> None:
    with stand_in_process(tmp_path) as kubeconfig:
        kube = Cluster(kubeconfig, tmp_path, stand_in=True)
        assert kube.call("GET", "/version").body["gitVersion"].endswith("-fractal-standin")
        watching = kube.watching(MAPS)
        kube.run(watching.__aenter__())
    kube.run(watching.__aexit__(None, None, None))
    kube.__exit__()


def test_only_loopback() -> None:
    with pytest.raises(ValueError, match="is not loopback"):
        asyncio.run(KubeApi().start(host="0.0.0.0"))

    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        # A page that a browser loaded from elsewhere may not reach it by a name of its own...
        async with http.get(MAPS, headers={"Host": "evil.example.com"}) as response:
            assert response.status == 403
        # ...nor with a form.
        async with http.post(MAPS, data={"kind": "ConfigMap"}) as response:
            assert response.status == 415

    run(scenario)


def test_body_that_is_too_large() -> None:
    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        body = io.BytesIO(b" " * 3 * 1024 * 1024 + b"{}")
        headers = {"Content-Type": "application/json"}
        async with http.post(MAPS, data=body, headers=headers) as response:
            assert response.status == 413
            assert (await response.json())["reason"] == "RequestEntityTooLarge"

    run(scenario)


def test_tables_of_built_in_kinds() -> None:
    async def scenario(_: KubeApi, http: aiohttp.ClientSession) -> None:
        await http.post(MAPS, json=config_map("a", k="v"))
        secret = {"metadata": {"name": "s"}, "stringData": {"k": "v"}}
        await http.post(f"{NAMESPACES}/default/secrets", json=secret)
        cells = {}
        for path in (MAPS, f"{NAMESPACES}/default/secrets", NAMESPACES):
            async with http.get(path, headers={"Accept": TABLE}) as response:
                cells[path.rsplit("/", 1)[1]] = (await response.json())["rows"][0]["cells"][:-1]
        assert cells == {
            "configmaps": ["a", 1],
            "secrets": ["s", "Opaque", 1],
            "namespaces": ["default", "Active"],
        }

    run(scenario)
