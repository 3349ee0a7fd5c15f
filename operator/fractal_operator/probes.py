"""Liveness, readiness and metrics over HTTP, served by the event loop that does the work.

That is on purpose: a loop that hangs cannot answer, so the kubelet's probe sees what a thread of
its own would hide. The database is part of neither probe: with it down everything else goes on.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

FIRST_LIST = "the first list of FractalContainers"
ELECTION = "the leader election"
FIRST_SWEEP = "the first sweep of ECS tasks"
STEPS = (FIRST_LIST, ELECTION, FIRST_SWEEP)
"""What has to be done before a process is ready."""

BEAT_SECONDS = 60.0
"""How old the beat of a loop may be."""

_REQUEST_SECONDS = 5.0
_REQUEST_BYTES = 16 * 1024
_TEXT = "text/plain; charset=utf-8"


class Health:
    """What is known of the operator's own state; other parts set it, the probes read it.

    Readiness is a set of named steps, all of which must be done. Liveness is a set of named beats,
    each of which must come again within its maximum age. ``monotonic`` tells the time in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], *, steps: Iterable[str]) -> None:
        self._monotonic = monotonic
        self._steps = dict.fromkeys(steps, False)
        self._beats: dict[str, tuple[float, float]] = {}

    def set(self, step: str, done: bool = True) -> None:
        """Mark a step of readiness as done, or as to be done again; KeyError for an unknown one."""
        if step not in self._steps:
            raise KeyError(step)
        self._steps[step] = done

    def beat(self, name: str, max_age: float) -> None:
        """Say that ``name`` is alive, and will say so again within ``max_age`` seconds."""
        self._beats[name] = (self._monotonic(), max_age)

    def end(self, name: str) -> None:
        """Expect no more beats of ``name``: it ended as it should."""
        self._beats.pop(name, None)

    def not_ready(self) -> list[str]:
        """Return the steps that are not done, in order; empty: ready."""
        return [step for step, done in self._steps.items() if not done]

    def not_alive(self) -> list[str]:
        """Return a line for each beat that is overdue; empty: alive."""
        now = self._monotonic()
        return [
            f"{name}: last seen {now - at:.0f} s ago, allowed are {max_age:.0f} s"
            for name, (at, max_age) in self._beats.items()
            if now - at > max_age
        ]


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
