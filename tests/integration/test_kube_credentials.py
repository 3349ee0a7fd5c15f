"""Credentials that a kubeconfig's plugin obtains: they expire, and are obtained again."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from fractal_helpers.kube import KubeClient
from fractal_models.errors import AccessDenied
from fractal_models.kube import ObjectKey

PLUGIN = """
import json, pathlib, sys
here = pathlib.Path({here!r})
runs = here / "runs"
runs.write_text(runs.read_text() + "x")
token = (here / "token").read_text()
if not token:
    sys.exit("the login has expired")
status = {{"token": token}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1",
                   "kind": "ExecCredential", "status": status}}))
"""


class Api:
    """A Kubernetes API that knows one token, and what it answers; the plugin's side is in files."""

    def __init__(self, here: Path) -> None:
        self.here, self.valid, self.answers = here, "first", [0, 0]
        self.issue("first")
        (here / "runs").write_text("")
        (here / "plugin.py").write_text(PLUGIN.format(here=str(here)))

    def issue(self, token: str) -> None:
        (self.here / "token").write_text(token)

    def runs(self) -> int:
        return len((self.here / "runs").read_text())

    async def answer(self, request: web.Request) -> web.Response:
        good = request.headers.get("Authorization") == f"Bearer {self.valid}"
        self.answers[good] += 1
        if good:
            return web.json_response({"metadata": {"name": "one"}})
        return web.json_response({"kind": "Status", "reason": "Unauthorized"}, status=401)

    def kubeconfig(self, port: int) -> str:
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(self.here / "plugin.py")],
            "interactiveMode": "Never",
        }
        document: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "c", "user": {"exec": plugin}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }
        path = self.here / "config"
        path.write_text(yaml.safe_dump(document))
        return str(path)


async def calls(api: Api, *tokens: tuple[str, str], at_once: int = 1) -> None:
    """Call ``at_once`` times with each token that the API knows, and the plugin issues."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        kube = await KubeClient.connect(kubeconfig=api.kubeconfig(runner.addresses[0][1]))
        try:
            for api.valid, issued in tokens:
                api.issue(issued)
                key = ObjectKey("default", "one")
                found = await asyncio.gather(*(kube.get(key) for _ in range(at_once)))
                assert found == [{"metadata": {"name": "one"}}] * at_once
        finally:
            await kube.close()
    finally:
        await runner.cleanup()


def test_an_expired_token_is_obtained_again_once_for_all_callers(tmp_path: Path) -> None:
    api = Api(tmp_path)
    asyncio.run(calls(api, ("first", "first"), ("second", "second"), at_once=8))
    assert api.runs() == 2
    assert api.answers[True] == 16


@pytest.mark.parametrize("issued", ["first", "", "stranger"])
def test_credentials_that_stay_refused_are_an_error_and_no_loop(
    tmp_path: Path, issued: str
) -> None:
    api = Api(tmp_path)
    with pytest.raises(AccessDenied):
        asyncio.run(calls(api, ("second", issued)))
    assert api.answers[False] <= 2
    assert api.runs() == 2
