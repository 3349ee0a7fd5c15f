"""What KubeClient makes of answers, and of none, from a server that says one thing."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.ports import closed_port

from fractal_helpers.kube import KubeClient
from fractal_models.errors import (
    AccessDenied,
    Conflict,
    FractalError,
    Gone,
    NotServed,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
)
from fractal_models.kube import KubeEvent, ObjectKey

KEY = ObjectKey("team", "one")
BODY = {"metadata": {"namespace": "team", "name": "one", "uid": "u-1", "resourceVersion": "7"}}
HANG = b"hang"
HANG_UP = b""


def http(code: int, body: str) -> bytes:
    head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n{body}".encode()


def status(code: int, reason: str, message: str, **details: Any) -> bytes:
    return http(
        code,
        json.dumps(
            {"kind": "Status", "code": code, "reason": reason, "message": message}
            | {"details": details}
        ),
    )


async def write(kube: KubeClient) -> None:
    await kube.write_status(BODY, {"phase": "Pending"})


async def read(kube: KubeClient) -> None:
    await kube.get(KEY)


async def post(kube: KubeClient) -> None:
    await kube.post_event(BODY, KubeEvent("Normal", "Launched", "m", "u-1.launched"))


async def list_all(kube: KubeClient) -> None:
    await kube.list()


Call = Callable[[KubeClient], Awaitable[None]]


def kubeconfig(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}},
                ],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


async def talk(
    tmp_path: Path, replies: list[bytes], call: Call, namespaces: Sequence[str] = ()
) -> list[tuple[str, str, str]]:
    """Run ``call`` against a server with these replies, the last for ever; return the requests."""
    left = list(replies)
    seen: list[tuple[str, str, str]] = []
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        reply = left.pop(0) if len(left) > 1 else left[0]
        if reply == HANG:
            await reader.read()  # ends when the client gives up
        writer.write(reply if reply != HANG else b"")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        kube = await KubeClient.connect(
            kubeconfig=kubeconfig(tmp_path, port),
            namespaces=namespaces,
            observe=lambda *what: seen.append(what),
        )
        try:
            await call(kube)
        finally:
            await kube.close()
            await asyncio.gather(*filter(None, answering))
    return seen


@pytest.mark.parametrize(
    ("reply", "call", "error"),
    [
        (status(429, "TooManyRequests", "slow down"), write, Throttled),
        (status(429, "TooManyRequests", "storage is (re)initializing"), list_all, Throttled),
        (status(401, "Unauthorized", "who?"), write, AccessDenied),
        (status(403, "Forbidden", "no"), write, AccessDenied),
        (status(403, "Forbidden", "no"), read, AccessDenied),
        (
            status(403, "Forbidden", "no", causes=[{"reason": "NamespaceTerminating"}]),
            post,
            Gone,
        ),
        (status(400, "BadRequest", "what?"), write, Rejected),
        (status(409, "Conflict", "moved on"), write, Conflict),
        (status(500, "InternalError", "etcd"), write, OutcomeUnknown),
        (status(503, "ServiceUnavailable", "busy"), post, OutcomeUnknown),
        (status(503, "ServiceUnavailable", "busy"), read, Unavailable),
        (http(502, "<html>bad gateway</html>"), list_all, Unavailable),
        (http(404, "404 page not found"), read, NotServed),
        (http(404, "404 page not found"), list_all, NotServed),
        (http(404, "404 page not found"), write, NotServed),
        (HANG_UP, write, OutcomeUnknown),
        (HANG_UP, read, Unavailable),
        (HANG, write, OutcomeUnknown),
        (HANG, read, Unavailable),
    ],
)
def test_an_answer_becomes_an_error_of_its_meaning(
    reply: bytes,
    call: Call,
    error: type[FractalError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reply == HANG:
        monkeypatch.setattr("fractal_helpers.kube.TIMEOUT", 0.2)
    with pytest.raises(FractalError) as caught:
        asyncio.run(talk(tmp_path, [reply], call))
    assert type(caught.value) is error


def test_a_refused_connection_was_not_executed(tmp_path: Path) -> None:
    async def scenario() -> None:
        with closed_port() as port:
            kube = await KubeClient.connect(kubeconfig=kubeconfig(tmp_path, port))
            try:
                with pytest.raises(Unavailable):
                    await write(kube)
            finally:
                await kube.close()

    asyncio.run(scenario())


def test_another_uid_is_a_conflict_and_other_causes_are_told(tmp_path: Path) -> None:
    causes = [{"field": "metadata.uid", "message": "field is immutable"}]
    with pytest.raises(Conflict):
        asyncio.run(talk(tmp_path, [status(422, "Invalid", "m", causes=causes)], write))
    causes = [
        {"field": "status.phase", "message": "Unsupported value"},
        {"field": "status.message", "message": "Too long"},
    ]
    with pytest.raises(Rejected) as caught:
        asyncio.run(talk(tmp_path, [status(422, "Invalid", "m", causes=causes)], write))
    assert "status.phase: Unsupported value; status.message: Too long" in str(caught.value)
    assert "team/one" in str(caught.value)
    assert caught.value.code == "Invalid"


def page(names: list[str], token: str) -> bytes:
    return http(
        200,
        json.dumps(
            {"metadata": {"continue": token}, "items": [{"metadata": {"name": n}} for n in names]}
        ),
    )


def test_a_list_whose_token_expired_begins_again(tmp_path: Path) -> None:
    found: list[str] = []

    async def names(kube: KubeClient) -> None:
        found.extend(body["metadata"]["name"] for body in await kube.list())

    expired = status(410, "Expired", "too old")
    replies = [page(["a"], "t"), expired, page(["a", "b"], "t"), page(["c"], "")]
    seen = asyncio.run(talk(tmp_path, replies, names))
    assert found == ["a", "b", "c"]
    assert [code for _, _, code in seen] == ["200", "410", "200", "200"]


def test_a_list_that_always_expires_gives_up(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="expired 3 times"):
        asyncio.run(talk(tmp_path, [status(410, "Expired", "too old")], list_all))


FORBIDDEN = status(403, "Forbidden", "no Role here")


def test_a_refused_namespace_does_not_hide_the_others_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[list[str]] = []

    async def names(kube: KubeClient) -> None:
        for _ in range(4):
            found.append([body["metadata"]["name"] for body in await kube.list()])

    a, b = page(["a"], ""), page(["b"], "")
    replies = [a, FORBIDDEN, a, FORBIDDEN, a, b, status(404, "NotFound", "m", name="team-a"), b]
    with caplog.at_level("WARNING"):
        asyncio.run(talk(tmp_path, replies, names, ["team-a", "team-b"]))
    assert found == [["a"], ["a"], ["a", "b"], ["b"]]
    left_out, back, other = caplog.messages
    assert "namespace team-b is left out" in left_out
    assert "no Role here" in left_out
    assert "helm upgrade" in left_out
    assert "team-b can be listed again" in back
    assert "namespace team-a is left out" in other


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([FORBIDDEN], AccessDenied),
        ([FORBIDDEN, status(503, "ServiceUnavailable", "busy")], Unavailable),
        ([page(["a"], ""), http(404, "404 page not found")], NotServed),
    ],
    ids=["both refused", "one refused, one unanswered", "no definition"],
)
def test_a_list_of_nothing_and_one_that_is_cut_short_are_errors(
    tmp_path: Path, replies: list[bytes], error: type[FractalError]
) -> None:
    with pytest.raises(error):
        asyncio.run(talk(tmp_path, replies, list_all, ["team-a", "team-b"]))


def test_no_server_uid_is_no_error(tmp_path: Path) -> None:
    uids: list[str | None] = []

    async def ask(kube: KubeClient) -> None:
        uids.append(await kube.server_uid())

    asyncio.run(talk(tmp_path, [status(403, "Forbidden", "no")], ask))
    assert uids == [None]
