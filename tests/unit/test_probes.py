"""The probes over real sockets."""

import asyncio
import http.client
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from fractal_operator.health import Health
from fractal_operator.metrics import Metrics
from fractal_operator.probes import Probes


@dataclass
class Time:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reply:
    status: int
    body: str
    headers: dict[str, str]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health(time, steps=["first_list", "first_sweep"])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of these tests is not dropped because the machine stands still."""
    monkeypatch.setattr("fractal_operator.probes._REQUEST_SECONDS", 60.0)


def with_server(
    health: Health, client: Callable[[int], object], registry: CollectorRegistry | None = None
) -> object:
    """Run the blocking ``client(port)`` in a thread while the probes are served."""

    async def main() -> object:
        probes = Probes(health, registry or CollectorRegistry())
        port = await probes.start("127.0.0.1", 0)
        try:
            return await asyncio.to_thread(client, port)
        finally:
            await probes.stop()

    return asyncio.run(main())


def ask(
    health: Health,
    path: str,
    *,
    method: str = "GET",
    accept: str = "",
    registry: CollectorRegistry | None = None,
) -> Reply:
    def client(port: int) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        reply = Reply(response.status, response.read().decode(), dict(response.getheaders()))
        connection.close()
        return reply

    reply = with_server(health, client, registry)
    assert isinstance(reply, Reply)
    return reply


def say(health: Health, request: bytes) -> bytes:
    """Send ``request`` as it is and return all that comes back."""

    async def main() -> bytes:
        probes = Probes(health, CollectorRegistry())
        port = await probes.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        await probes.stop()
        return answer

    return asyncio.run(main())


def test_ready_only_when_every_step_is_done(health: Health) -> None:
    reply = ask(health, "/readyz")
    assert (reply.status, reply.body) == (503, "waiting for first_list\nwaiting for first_sweep\n")
    health.set("first_list")
    assert ask(health, "/readyz").body == "waiting for first_sweep\n"
    health.set("first_sweep")
    assert (ask(health, "/readyz").status, ask(health, "/readyz").body) == (200, "ok\n")
    health.set("first_list", done=False)
    assert ask(health, "/readyz").status == 503


def test_a_step_that_nobody_waits_for_is_a_bug(health: Health) -> None:
    with pytest.raises(KeyError):
        health.set("first_lsit")


def test_alive_while_the_beats_come(health: Health, time: Time) -> None:
    assert ask(health, "/healthz").status == 200
    health.beat("sweeps", 60)
    health.beat("lists", 300)
    time.now = 60
    assert ask(health, "/healthz").status == 200
    time.now = 61
    reply = ask(health, "/healthz")
    assert reply.status == 503
    assert reply.body == ("the loop of the sweeps has not come round for 61 s; the limit is 60 s\n")
    health.beat("sweeps", 60)
    assert ask(health, "/healthz").status == 200


def test_what_stands_still_is_told_with_its_limit(health: Health) -> None:
    found = {"worker": 0.0, "sweep": 0.0}
    health.watch("worker", 600, lambda: (found["worker"], "the reconcile of a/b has not ended"))
    health.watch("sweep", 900, lambda: (found["sweep"], "the look at c has not ended"))
    assert ask(health, "/healthz").status == 200
    found |= {"worker": 601.0, "sweep": 900.0}
    reply = ask(health, "/healthz")
    assert (reply.status, reply.body) == (
        503,
        "the reconcile of a/b has not ended for 601 s; the limit is 600 s\n",
    )
    assert [tuple(each)[:3] for each in health.standing()] == [
        ("worker", 601.0, 600),
        ("sweep", 900.0, 900),
    ]


def test_liveness_does_not_wait_for_readiness(health: Health) -> None:
    assert ask(health, "/healthz").status == 200
    assert ask(health, "/readyz").status == 503


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")],
)
def test_metrics_are_served_in_the_format_asked_for(
    health: Health, accept: str, content_type: str
) -> None:
    registry = CollectorRegistry()
    Metrics(registry).duplicate_tasks.inc(3)
    reply = ask(health, "/metrics?name[]=x", accept=accept, registry=registry)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith(content_type)
    assert "fractal_duplicate_tasks_total 3.0\n" in reply.body


def test_a_head_request_gets_the_headers_only(health: Health) -> None:
    reply = ask(health, "/healthz", method="HEAD")
    assert (reply.status, reply.body) == (200, "")
    assert reply.headers["Content-Length"] == "3"


def test_other_paths_and_methods_are_refused(health: Health) -> None:
    assert ask(health, "/").status == 404
    reply = ask(health, "/metrics", method="POST")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "request_bytes", [b"hello\r\n\r\n", b"GET /healthz SPDY/3\r\n\r\n", b"x" * 20_000]
)
def test_nonsense_is_a_bad_request(health: Health, request_bytes: bytes) -> None:
    assert say(health, request_bytes).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_says_nothing_is_dropped(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_operator.probes._REQUEST_SECONDS", 0.05)
    assert say(health, b"GET /healthz HTTP/1.1\r\n") == b""


def test_a_port_in_use_is_an_error(health: Health) -> None:
    async def main() -> None:
        first, second = (Probes(health, CollectorRegistry()) for _ in range(2))
        port = await first.start("127.0.0.1", 0)
        with pytest.raises(OSError, match="in use"):
            await second.start("127.0.0.1", port)
        await first.stop()
        assert await second.start("127.0.0.1", port) == port
        await second.stop()

    asyncio.run(main())
