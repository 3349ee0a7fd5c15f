"""Faults that strike no single call: watches, outages, throttling, and a change of the leader."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.e2e.api import GIVEN
from tests.e2e.faults.parts import Parts, Stage, postgres_server, stage, until
from tests.e2e.faults.plans import Reference, Run, quiet, settle
from tests.e2e.faults.wire import Strike, Wire, send
from tests.e2e.faults.workloads import WORKLOADS, Play
from tests.e2e.stack import Operator

from fractal_dev.postgres import Postgres

FOR = 4.0
"""Seconds for which a disturbance lasts."""
THROTTLED_FOR = 8.0
GRACE = 2.0
TERMS = {
    "leader_election": "true",
    "lease_seconds": "10",
    "lease_renew_seconds": "8",
    "lease_retry_seconds": "0.5",
}


@dataclass(frozen=True, slots=True)
class Special:
    """``workload/name``. ``alone``: no other run may go on meanwhile."""

    name: str
    workload: str
    run: Callable[["Special", Parts, Path, Reference, Run], None]
    alone: bool = False


Disturbance = Callable[[Wire], AbstractContextManager[None]]


def disturbed(disturbance: Disturbance) -> Callable[..., None]:
    """A run in which the whole of the workload is disturbed."""

    def run(plan: Special, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire = _prepared(world, plan)
            with disturbance(wire):
                WORKLOADS[plan.workload].act(play)
            settle(world, play, expected, done)

    return run


def _prepared(world: Stage, plan: Special) -> tuple[Play, Wire]:
    play = Play(world)
    world.start()
    WORKLOADS[plan.workload].prepare(play)
    quiet(world)
    assert world.wire is not None
    return play, world.wire


@contextmanager
def _later(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Do something so much later; it has been done at the end of the block."""
    timer = threading.Timer(seconds, do)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def gone(wire: Wire) -> Iterator[None]:
    """The watch ends, and the next one is answered 410: the operator lists again."""
    wire.gone = 1
    wire.cut_watches()
    until(lambda: wire.gone == 0, "the next watch has begun")
    yield


@contextmanager
def doubled(wire: Wire) -> Iterator[None]:
    """Each watch event arrives twice."""
    wire.doubled = True
    yield


@contextmanager
def held(wire: Wire) -> Iterator[None]:
    """Watch events arrive late."""
    wire.held = True
    with _later(FOR, partial(setattr, wire, "held", False)):
        yield


@contextmanager
def dropped(wire: Wire) -> Iterator[None]:
    """A watch event never arrives, and then the watch is too old to go on."""

    def relist() -> None:
        wire.dropped = 0
        wire.gone = 1
        wire.cut_watches()

    wire.dropped = 1
    with _later(FOR, relist):
        yield


@contextmanager
def throttled(wire: Wire) -> Iterator[None]:
    """Every call to ECS is throttled."""
    wire.throttled = True
    with _later(THROTTLED_FOR, partial(setattr, wire, "throttled", False)):
        yield


@contextmanager
def unreachable(wire: Wire) -> Iterator[None]:
    """The operator's connections to the API server break, and no new ones can be made."""
    wire.down.add("kubernetes")
    with _later(FOR, partial(wire.down.discard, "kubernetes")):
        yield


@contextmanager
def restarted(wire: Wire) -> Iterator[None]:
    """The API server is stopped a moment after the workload has begun, and started again."""
    with _later(0.1, restart_api_server):
        yield


def api_server_pid() -> Path | None:
    """The file with the API server's process id, as ../shared/kube's scripts leave it."""
    found = Path(GIVEN).parent / "apiserver.pid"
    return found if GIVEN and found.exists() else None


def restart_api_server(down: float = 2.0) -> None:
    """End the API server's process, and start it again as it was started."""
    file = api_server_pid()
    assert file is not None
    pid = int(file.read_text())
    process = Path(f"/proc/{pid}")
    command = process.joinpath("cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    directory = os.readlink(process / "cwd")
    os.kill(pid, signal.SIGTERM)
    _pause(GRACE)
    if process.exists():  # it waits for its watches to end, for up to a minute
        os.kill(pid, signal.SIGKILL)
    until(lambda: _ended(process), "the API server has ended")
    _pause(down)
    with Path(directory, "apiserver.log").open("ab") as log:
        # It outlives this process: whoever started the server stops it.
        again = subprocess.Popen(
            command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    file.write_text(f"{again.pid}\n")
    until(_serves, "the API server serves again")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _ended(process: Path) -> bool:
    """Whether it is gone, or nothing but its entry is left until its parent looks."""
    try:
        return process.joinpath("cmdline").read_bytes() == b""
    except OSError:
        return True


def _serves() -> bool:
    command = [os.environ.get("KUBECTL") or "kubectl", "--kubeconfig", GIVEN]
    asked = [*command, "get", "--raw", "/readyz"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


# --- PostgreSQL ---


def without_postgres(
    plan: Special, given: Parts, folder: Path, expected: Reference, done: Run
) -> None:
    """PostgreSQL is stopped before the workload begins, and started when it has ended."""
    with ExitStack() as stack:
        server: Postgres = stack.enter_context(postgres_server())
        world = stack.enter_context(stage(given, folder, postgres=server))
        play, _ = _prepared(world, plan)
        world.engine.dispose()
        server.stop()
        WORKLOADS[plan.workload].act(play)
        server.start()
        settle(world, play, expected, done)


# --- the leader ---


def _pair(world: Stage, plan: Special) -> tuple[Play, Wire, Operator, Operator]:
    """A leader, and a standby; the workload is prepared."""
    one = world.start(ready=True, **TERMS)
    until(lambda: _swept(one), "the first leads")
    two = world.start(ready=True, **TERMS)
    play = Play(world)
    WORKLOADS[plan.workload].prepare(play)
    quiet(world)
    assert world.wire is not None
    return play, world.wire, one, two


def _swept(operator: Operator) -> bool:
    metric = 'leader_election_master_status{name="fractal-operator-leader"} 1.0'
    return metric in operator.get("/metrics")[1] and operator.get("/readyz")[0] == 200


def stopped_leader(kind: str) -> Callable[..., None]:
    """SIGSTOP of the leader within its launch, SIGCONT when the standby has led and gone on."""

    def run(plan: Special, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire, one, two = _pair(world, plan)
            wire.open(Strike("run-task-1", "stop-before" if kind == "before" else "stop-after"))
            WORKLOADS[plan.workload].act(play)
            assert wire.struck.is_set()
            assert _swept(two)
            send(one, signal.SIGCONT)
            wire.resume()
            until(lambda: one.ended is not None, "the former leader ends")
            settle(world, play, expected, done)

    return run


def handed_over(plan: Special, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
    """SIGTERM of the leader in the middle of the workload; the standby goes on."""
    with stage(given, folder) as world:
        play, wire, one, two = _pair(world, plan)
        wire.open()

        def stop() -> None:
            until(lambda: "patch-status-1" in wire.calls, "the workload has begun")
            assert one.stop() == 0

        with _later(0, stop):
            WORKLOADS[plan.workload].act(play)
        until(lambda: _swept(two), "the standby leads")
        settle(world, play, expected, done)


def specials() -> list[Special]:
    """All of them, as far as the API server allows."""
    several = ("create", "update", "delete", "recreate")
    watches: dict[str, Disturbance] = {
        "watch-gone": gone,
        "watch-doubled": doubled,
        "watch-held": held,
        "watch-dropped": dropped,
        "kubernetes-unreachable": unreachable,
        "ecs-throttled": throttled,
    }
    found = [
        Special(f"{workload}/{name}", workload, disturbed(disturbance))
        for name, disturbance in watches.items()
        for workload in several
    ]
    found += [Special(f"{each}/postgres-stopped", each, without_postgres) for each in several]
    found += [
        Special("update/leader-sigstop-before", "update", stopped_leader("before")),
        Special("update/leader-sigstop-after", "update", stopped_leader("after")),
        Special("update/leader-sigterm", "update", handed_over),
        Special("delete/leader-sigterm", "delete", handed_over),
    ]
    if api_server_pid() is not None:
        found += [
            Special(f"{each}/api-server-restarted", each, disturbed(restarted), alone=True)
            for each in ("update", "delete", "recreate")
        ]
    return found
