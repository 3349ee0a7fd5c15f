"""The operator's only way to PostgreSQL, where transactions that write are told apart.

It speaks as much of the frontend/backend protocol (version 3) as that takes: the length of each
message, Query, and ReadyForQuery. The server is reached by its Unix socket, as the embedded one is.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.e2e.faults.wire import Kind, Wire
from tests.e2e.proxy import Cut

_NOT_HERE = {80877103, 80877104}  # SSLRequest, GSSENCRequest
_WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+(?P<what>\S+(\s+SET\s+\w+)?)")
_TOUCH = "hardware.user_containers SET last_pinged"


class PostgresWay:
    """Relays to the socket in ``directory``; ``port`` is its own."""

    def __init__(self, directory: Path, wire: Wire) -> None:
        self._socket = str(directory / ".s.PGSQL.5432")
        self._wire = wire
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._guard = asyncio.create_task(self._cut_when_down())

    async def stop(self) -> None:
        self._server.close()
        self._guard.cancel()
        self._cut()
        await asyncio.gather(*self._open, self._guard, return_exceptions=True)

    def _cut(self) -> None:
        for each in self._open:
            each.cancel()

    async def _cut_when_down(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if "postgres" in self._wire.down:
                self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._open.add(current)
        try:
            to, back = await asyncio.open_unix_connection(self._socket)
            try:
                await _Session(self._wire, (reader, writer), (to, back)).run()
            finally:
                back.transport.abort()
        except (Cut, OSError, EOFError, asyncio.CancelledError):
            pass  # the same happens to the client as did to the server's connection
        finally:
            writer.transport.abort()
            self._open.discard(current)


class _Session:
    """One connection."""

    def __init__(self, wire: Wire, front: Any, back: Any) -> None:
        self._wire = wire
        self._from_client, self._to_client = front
        self._from_server, self._to_server = back
        self._wrote = False
        self._fate: Kind | None = None

    async def run(self) -> None:
        await self._greet()
        both = [asyncio.create_task(each) for each in (self._forth(), self._back())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            for ended in await asyncio.gather(*both, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, Cut | OSError | EOFError):
                    raise ended

    async def _greet(self) -> None:
        """The messages before the first that has a type."""
        while True:
            size = await self._from_client.readexactly(4)
            body = await self._from_client.readexactly(int.from_bytes(size, "big") - 4)
            if int.from_bytes(body[:4], "big") not in _NOT_HERE:
                self._to_server.write(size + body)
                return
            self._to_client.write(b"N")

    async def _forth(self) -> None:
        while True:
            kind, body = await _message(self._from_client)
            if kind[:1] == b"Q":
                await self._query(body.rstrip(b"\0").decode())
            self._to_server.write(kind + body)

    async def _query(self, sql: str) -> None:
        found = _WRITES.search(sql)
        if found is not None and found["what"] != _TOUCH:
            self._wrote = True
        if sql.startswith(("COMMIT", "ROLLBACK")):
            wrote, self._wrote = self._wrote, False
            what = "commit" if wrote and sql.startswith("COMMIT") else ""
            self._fate = await self._wire.enter("postgres", what)

    async def _back(self) -> None:
        waiting = b""
        while True:
            kind, body = await _message(self._from_server)
            waiting += kind + body
            if self._fate is not None and kind[:1] == b"Z":
                fate, self._fate = self._fate, None
                await self._wire.leave("postgres", fate)
            if self._fate is None:
                self._to_client.write(waiting)
                waiting = b""


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A message's type and length, and its rest."""
    head = await reader.readexactly(5)
    return head, await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
