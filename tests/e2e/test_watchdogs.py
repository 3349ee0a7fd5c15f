"""What stands still in a process ends it, with its cause; what is only down or silent does not.

The bounds are shorter than the product's, so that nobody waits for minutes; the process is the real
one, and what holds it up is outside of it.
"""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Self

import pytest
from aiohttp import web
from tests.e2e.proxy import Relay, serving
from tests.e2e.stack import Operator, World, until

BOUNDS = """
import fractal_helpers.aws.session as aws
from fractal_operator import deadman
from fractal_operator.shell import hearing, news, watchdogs
deadman.DeadMan.__init__.__defaults__ = ({loop}, 120)
hearing.SILENT_SECONDS = watchdogs.SILENT_SECONDS = {silent}
hearing.LOOK_SECONDS = 0.5
watchdogs.SWEEP_SECONDS = {sweep}
watchdogs.WORKER_SECONDS = {worker}
watchdogs.GRACE_SECONDS = 10
news.RESYNC_SECONDS = {resync}
news.EMPTY_SECONDS = min(news.EMPTY_SECONDS, {resync})
config = aws.Config
aws.Config = lambda **given: config(**given | {{"read_timeout": {read}}})
from fractal_operator.cli import app
app(["run"])
"""


USUAL = {"loop": 60, "sweep": 900, "worker": 600, "silent": 60, "resync": 600, "read": 15}


class Impatient(Operator):
    """The operator with shorter bounds, in seconds."""

    bounds: dict[str, float]

    def start(self) -> Self:
        code = BOUNDS.format(**USUAL | self.bounds)
        self._began = self.logfile.stat().st_size if self.logfile.exists() else 0
        with self.logfile.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=dict(self.environ),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self


def start(world: World, environ: dict[str, str] | None = None, **bounds: float) -> Impatient:
    made = Impatient(
        world.environ() | (environ or {}), world.folder / f"operator-{len(world.operators)}.log"
    )
    made.bounds = bounds
    world.operators.append(made)
    return made.start()


def ends(operator: Operator, cause: str) -> None:
    """It says what stands still, in /healthz and metrics, and ends with that."""
    code, told = until(lambda: faulty(operator.get("/healthz")), "it says so")
    assert code == 503
    assert cause in told
    assert "; the limit is " in told
    until(lambda: longest(operator) > 5, "its metrics say so")  # which are set each second
    until(lambda: operator.ended is not None, "it ends")
    assert operator.ended == 1
    assert cause in operator.log().splitlines()[-1]
    assert not operator.log().splitlines()[-1].startswith("{"), "the cause, for people"


def longest(operator: Operator) -> float:
    """For how many seconds anything has stood still, by its metrics."""
    lines = operator.get("/metrics")[1].splitlines()
    found = [each for each in lines if each.startswith("fractal_watchdog_seconds{")]
    return max((float(each.rpartition(" ")[2]) for each in found), default=0.0)


def faulty(answer: tuple[int, str]) -> tuple[int, str] | None:
    return answer if answer[0] not in (0, 200) else None


class Deaf:
    """A hand that lets watches of FractalContainers stand, and swallows what they tell."""

    def __init__(self, world: World) -> None:
        self.deaf = False
        self.told: set[str] = set()
        """The versions of objects that were passed on."""
        self._path = f"/namespaces/{world.namespace}/fractalcontainers"

    async def before(self, request: web.Request) -> web.Response | None:
        return None

    async def after(self, request: web.Request) -> None:
        pass

    async def watch(
        self, request: web.Request, lines: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        async for line in lines:
            if self._path not in request.raw_path:
                yield line
            elif not self.deaf:
                self.told.add(json.loads(line)["object"]["metadata"].get("resourceVersion", ""))
                yield line


@pytest.fixture
def hand(world: World) -> Iterator[Deaf]:
    made = world.proxy.hand = Deaf(world)
    yield made
    world.proxy.hand = None


def test_a_deaf_watch_is_noticed_and_what_it_missed_is_found_by_a_list(
    world: World, hand: Deaf
) -> None:
    operator = start(world, silent=10, resync=3).wait_ready()
    world.create("heard")
    world.until_condition("heard", "Ready", "True")
    hand.deaf = True
    world.create("unheard")
    world.until_condition("unheard", "Ready", "True")
    ends(operator, "the watch has not told of version ")
    hand.deaf = False
    operator.bounds = {}
    operator.start().wait_ready()
    world.patch("unheard", spec={"dpi": 200})
    until(lambda: len(world.tasks(world.uid("unheard"))) == 2, "it hears again")
    world.until_condition("unheard", "Ready", "True")
    assert operator.get("/healthz")[0] == 200


def test_an_idle_watch_is_not_deaf(world: World, hand: Deaf) -> None:
    """Nothing changes, and nothing is told, for longer than any bound."""
    operator = start(world, silent=10, resync=2).wait_ready()
    world.create("idle")
    world.until_condition("idle", "Ready", "True")
    world.sweeps(2)  # nothing is left to be written
    until(lambda: version(world, "idle") in hand.told, "the last write is heard")
    hand.deaf = True
    listed = len(lists(world))
    until(lambda: len(lists(world)) > listed + 8, "time passes: a list each 2 s")
    assert operator.get("/healthz") == (200, "ok\n")
    assert operator.ended is None


def version(world: World, name: str) -> str:
    found = world.get(name)
    assert found is not None
    return str(found["metadata"]["resourceVersion"])


def lists(world: World) -> list[str]:
    path = f"/namespaces/{world.namespace}/fractalcontainers?"
    paths = [each.path for each in world.proxy.requests if each.method == "GET"]
    return [each for each in paths if path in each and "watch=" not in each]


class Dribble:
    """A hand that answers one operation of ECS a byte at a time: no time-out ends such a call."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.on = True

    async def before(self, request: web.Request) -> web.Response | None:
        if not self.on or not request.headers.get("X-Amz-Target", "").endswith(self.operation):
            return None
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.2)

    async def after(self, request: web.Request) -> None:
        pass

    def watch(self, request: web.Request, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return lines


@contextmanager
def dribbling(world: World, operation: str) -> Iterator[tuple[Dribble, dict[str, str]]]:
    hand = Dribble(f".{operation}")
    with serving(Relay(world.ecs_url, hand)) as relay:
        yield hand, {"AWS_ENDPOINT_URL": relay.url}


def test_a_call_that_never_returns_ends_the_process_and_names_the_object(world: World) -> None:
    with dribbling(world, "RunTask") as (hand, environ):
        operator = start(world, environ, worker=6, read=1).wait_ready()
        world.create("held")
        ends(operator, f"the reconcile of {world.namespace}/held has not ended")
        hand.on = False
        operator.bounds = {}
        operator.start().wait_ready()
        world.until_condition("held", "Ready", "True")
        assert len(world.tasks()) == 1


def test_a_sweep_that_never_ends_ends_the_process(world: World) -> None:
    with dribbling(world, "DescribeTasks") as (hand, environ):
        hand.on = False
        operator = start(world, environ, sweep=10, read=1).wait_ready()
        world.create("swept")
        world.until_condition("swept", "Ready", "True")
        hand.on = True
        ends(operator, f"the look at ECS cluster {world.name} in us-east-1 has not ended")


def test_an_ecs_that_never_answers_is_no_reason_to_restart(world: World) -> None:
    with create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        operator = start(world, {"AWS_ENDPOINT_URL": url}, sweep=20, worker=20, read=0.3)
        world.create("waiting")
        failed = f"sweep of ECS cluster {world.name} in us-east-1 failed"
        until(lambda: operator.log().count(failed) >= 5, "five sweeps have failed")
        assert operator.get("/healthz") == (200, "ok\n")
        assert operator.ended is None
    assert world.tasks() == []


def test_a_log_that_nobody_reads_blocks_the_loop_and_the_process_ends(world: World) -> None:
    """A full pipe blocks whoever writes to it, and that is the event loop."""
    code = BOUNDS.format(**USUAL | {"loop": 4})
    read, write = os.pipe()
    size = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
    os.write(write, b" " * (size - 500))  # the next lines fill it
    with Path(os.devnull).open("rb") as nothing:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=world.environ(),
            stdout=write,
            stderr=write,
            stdin=nothing,
        )
    os.close(write)
    try:
        until(lambda: process.poll() is not None, "it ends")
        assert process.returncode == 1
    finally:
        os.close(read)
        process.kill()
        process.wait()


@pytest.mark.parametrize("value", ["{", "[]", "null", '{"spec": 1}'])
def test_no_annotation_of_kopf_hides_an_object_from_the_watch(world: World, value: str) -> None:
    world.start()
    body = world.create("before")
    world.until_condition("before", "Ready", "True")
    kopfs = {
        "kopf.zalando.org/last-handled-configuration": value,
        "kopf.dev/last-handled-configuration": value,
        "kopf.zalando.org/changed": value,
    }
    world.patch("before", metadata={"annotations": kopfs}, spec={"dpi": 200})
    until(lambda: len(world.tasks(body["metadata"]["uid"])) == 2, "the edit is seen")
    world.until_condition("before", "Ready", "True")
