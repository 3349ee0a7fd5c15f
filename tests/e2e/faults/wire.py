"""What happens to calls on their way: the nth call of a kind is struck, or calls by chance.

One ``Wire`` belongs to the operators of one world and to the three proxies in front of them, one in
front of each server. It names the calls that change anything by their order: ``patch-status-3`` is
the third status write since the wire was opened.
"""

import asyncio
import json
import queue
import re
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, get_args

from aiohttp import web
from tests.e2e.proxy import Cut
from tests.e2e.stack import Operator

Target = Literal["kubernetes", "ecs", "postgres"]
Kind = Literal[
    "kill-before",
    "kill-after",
    "answer-lost",
    "never-answered",
    "cut-before",
    "stop-before",
    "stop-after",
]
"""What becomes of a call. ``kill``: kill -9 of the operator. ``stop``: SIGSTOP; the call, or its
answer, goes on when the wire is told to ``resume``. ``after``: the server has done its work."""

KINDS: tuple[Kind, ...] = get_args(Kind)
NEVER = 60.0
"""Seconds without an answer: longer than any of the operator's timeouts."""

_OBJECT = re.compile(
    r"^/(?:api/v1|apis/[^/]+/[^/]+)/namespaces/[^/]+/"
    r"(?P<resource>[a-z]+)(?:/[^/?]+)?(?P<sub>/status)?(?:\?|$)"
)
_VERBS = {"PATCH": "patch", "POST": "post", "PUT": "put", "DELETE": "delete"}
_READS = ("List", "Describe", "Get")


@dataclass(frozen=True, slots=True)
class Strike:
    """The call that is struck, and how."""

    call: str
    kind: Kind


class Wire:
    """See the module. Proxies call it in their loops, a test from its own thread."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The calls since the wire was opened, in order."""
        self.changes = 0
        """How many calls have changed anything, or tried to."""
        self.opened = False
        self.strike: Strike | None = None
        self.struck = threading.Event()
        self.chance: Callable[[str], Kind | None] = lambda call: None
        """The fate of a call that no strike is meant for."""
        self.victim: Callable[[], Operator | None] = lambda: None
        self.killed: queue.Queue[Operator | None] = queue.Queue()
        self.down: set[Target] = set()
        """Servers that do not answer: connections to them are cut."""
        self.throttled = False
        self.gone = 0
        """So many of the next watches are answered 410."""
        self.doubled = False
        self.dropped = 0
        """So many of the next watch events are not delivered."""
        self.held = False
        """Watch events are delivered later, when this is False again."""
        self.fates: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._resumed = threading.Event()
        self._watches = 0

    def open(self, strike: Strike | None = None) -> None:
        """Name the calls from now on, and strike one of them."""
        self.strike, self.opened = strike, True

    def resume(self) -> None:
        """Let the call that a stopped operator made go on."""
        self._resumed.set()

    def cut_watches(self) -> None:
        """End the watches that are open now."""
        self._watches += 1

    async def enter(self, target: Target, what: str) -> Kind | None:
        """A call has arrived; what becomes of its answer."""
        if target in self.down:
            raise Cut
        if not what:
            return None
        self.changes += "lease" not in what  # those go on for ever
        if not self.opened:
            return None
        self._counts[what] += 1
        call = f"{what}-{self._counts[what]}"
        self.calls.append(call)
        struck = self.strike is not None and self.strike.call == call
        kind = self.strike.kind if self.strike is not None and struck else self.chance(call)
        if kind is None:
            return None
        self.fates[kind] += 1
        if struck:
            self.struck.set()
        match kind:
            case "kill-before":
                self._kill()
                raise Cut
            case "cut-before":
                raise Cut
            case "stop-before":
                await self._stop()
            case _:
                pass
        return kind

    async def leave(self, target: Target, kind: Kind | None) -> None:
        """The server has done its work; ``kind`` is what ``enter`` said."""
        match kind:
            case "kill-after":
                self._kill()
                raise Cut
            case "answer-lost":
                raise Cut
            case "never-answered":
                await asyncio.sleep(NEVER)
                raise Cut
            case "stop-after":
                await self._stop()
            case _:
                pass
        if target in self.down:
            raise Cut

    async def stream(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A watch on FractalContainers, as the operator sees it."""
        began = self._watches
        if self.gone:
            self.gone -= 1
            yield _GONE
            return
        pending = asyncio.ensure_future(anext(lines, None))
        try:
            while True:
                await asyncio.wait([pending], timeout=0.05)
                if self._watches != began or "kubernetes" in self.down:
                    raise Cut
                if not pending.done() or self.held:
                    continue
                line = pending.result()
                if line is None:
                    return
                if self.dropped and b'"type":"BOOKMARK"' not in line:
                    self.dropped -= 1
                else:
                    yield line
                    if self.doubled:
                        yield line
                pending = asyncio.ensure_future(anext(lines, None))
        finally:
            pending.cancel()

    def _kill(self) -> None:
        operator = self.victim()
        if operator is not None:
            operator.kill()
            self.killed.put(operator)

    async def _stop(self) -> None:
        operator = self.victim()
        if operator is not None:
            send(operator, signal.SIGSTOP)
        while not self._resumed.is_set():
            await asyncio.sleep(0.05)


def send(operator: Operator, number: signal.Signals) -> None:
    """Send a signal to an operator's process."""
    if operator._process is not None:
        operator._process.send_signal(number)


_GONE = (
    json.dumps(
        {
            "type": "ERROR",
            "object": {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "Expired",
                "message": "too old resource version",
                "code": 410,
            },
        }
    ).encode()
    + b"\n"
)


class KubernetesHand:
    """Names the calls to the API server that change anything."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def before(self, request: web.Request) -> web.Response | None:
        what = kubernetes_call(request)
        if what == "put-lease" and b'"holderIdentity"' not in await request.read():
            what = "free-lease"
        request["fate"] = await self._wire.enter("kubernetes", what)
        return None

    async def after(self, request: web.Request) -> None:
        await self._wire.leave("kubernetes", request["fate"])

    def watch(self, request: web.Request, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        ours = "/fractalcontainers" in request.raw_path
        return self._wire.stream(lines) if ours else lines


def kubernetes_call(request: web.Request) -> str:
    """``patch-status``, ``patch-object``, ``post-event``, ``put-lease``, …; "" for a read.

    A Lease that is given up is ``free-lease``, but not here: that takes the body.
    """
    found = _OBJECT.match(request.raw_path)
    verb = _VERBS.get(request.method)
    if found is None or verb is None:
        return ""
    kind = "object" if found["resource"] == "fractalcontainers" else found["resource"][:-1]
    return f"{verb}-status" if found["sub"] else f"{verb}-{kind}"


class EcsHand:
    """Names the calls to ECS that change anything."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def before(self, request: web.Request) -> web.Response | None:
        request["fate"] = await self._wire.enter("ecs", ecs_call(request))
        if self._wire.throttled and "X-Amz-Target" in request.headers:
            body = {"__type": "ThrottlingException", "message": "Rate exceeded"}
            return web.json_response(body, status=400, content_type="application/x-amz-json-1.1")
        return None

    async def after(self, request: web.Request) -> None:
        await self._wire.leave("ecs", request["fate"])

    def watch(self, request: web.Request, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return lines


def ecs_call(request: web.Request) -> str:
    """``run-task``, ``stop-task``, ``register-task-definition``, …; "" for a read."""
    operation = (request.headers.get("X-Amz-Target") or "").rpartition(".")[2]
    if not operation or operation.startswith(_READS):
        return ""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower()
