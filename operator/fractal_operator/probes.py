"""Liveness, readiness and metrics over HTTP, served by the event loop that does the work.

That is on purpose: a loop that hangs cannot answer, so the kubelet's probe sees what a thread of
its own would hide.
"""

import asyncio
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from fractal_operator.health import Health

_REQUEST_SECONDS = 5.0
_REQUEST_BYTES = 16 * 1024
_TEXT = "text/plain; charset=utf-8"


class _Answer(NamedTuple):
    status: str
    body: bytes
    content_type: str = _TEXT
    header: str = ""


class Probes:
    """An HTTP server for /healthz, /readyz and /metrics: GET and HEAD, one request a connection."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._registry = registry
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (for ``port`` 0: a free one). OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_REQUEST_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening; requests being answered end by themselves within seconds."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    head = b""
                method, _, _ = head.partition(b" ")
                answer = self._answer(head.decode("latin-1"))
                writer.write(_encode(answer, with_body=method != b"HEAD"))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # the client's loss
        finally:
            writer.close()

    def _answer(self, head: str) -> _Answer:
        lines = head.split("\r\n")
        match lines[0].split(" "):
            case ["GET" | "HEAD", target, "HTTP/1.0" | "HTTP/1.1"]:
                pass
            case [_, _, "HTTP/1.0" | "HTTP/1.1"]:
                return _Answer(
                    "405 Method Not Allowed", b"GET or HEAD\n", header="Allow: GET, HEAD"
                )
            case _:
                return _Answer("400 Bad Request", b"not an HTTP/1.1 request\n")
        match target.partition("?")[0]:
            case "/healthz":
                return _verdict(self._health.not_alive())
            case "/readyz":
                return _verdict([f"waiting for {step}" for step in self._health.not_ready()])
            case "/metrics":
                encode, content_type = choose_encoder(_header(lines, "accept"))
                return _Answer("200 OK", encode(self._registry), content_type)
            case _:
                return _Answer("404 Not Found", b"/healthz, /readyz or /metrics\n")


def _verdict(faults: list[str]) -> _Answer:
    if not faults:
        return _Answer("200 OK", b"ok\n")
    return _Answer("503 Service Unavailable", "".join(f"{each}\n" for each in faults).encode())


def _header(lines: list[str], name: str) -> str:
    for line in lines[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


def _encode(answer: _Answer, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
        *filter(None, [answer.header]),
    ]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + answer.body if with_body else head
