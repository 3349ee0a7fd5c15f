"""What disturbs a whole workload, not a single call: watches, outages, throttling."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.e2e.api import GIVEN
from tests.e2e.faults.parts import until
from tests.e2e.faults.wire import Wire

FOR = 4.0
"""Seconds for which a disturbance lasts."""
THROTTLED_FOR = 8.0
GRACE = 2.0

Disturbance = Callable[[Wire], AbstractContextManager[None]]


@contextmanager
def later(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Do something so much later; it has been done, without an error, at the end of the block."""

    def act() -> None:
        pause(seconds)
        do()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        yield
        done.result()


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
    with later(FOR, partial(setattr, wire, "held", False)):
        yield


@contextmanager
def dropped(wire: Wire) -> Iterator[None]:
    """A watch event never arrives, and then the watch is too old to go on."""

    def relist() -> None:
        wire.dropped = 0
        wire.gone = 1
        wire.cut_watches()

    wire.dropped = 1
    with later(FOR, relist):
        yield


@contextmanager
def throttled(wire: Wire) -> Iterator[None]:
    """Every call to ECS is throttled."""
    wire.throttled = True
    with later(THROTTLED_FOR, partial(setattr, wire, "throttled", False)):
        yield


@contextmanager
def unreachable(wire: Wire) -> Iterator[None]:
    """The operator's connections to the API server break, and no new ones can be made."""
    wire.down.add("kubernetes")
    with later(FOR, partial(wire.down.discard, "kubernetes")):
        yield


@contextmanager
def restarted(wire: Wire) -> Iterator[None]:
    """The API server is stopped a moment after the workload has begun, and started again."""
    with later(0.1, restart_api_server):
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
    pause(GRACE)
    if process.exists():  # it waits for its watches to end, for up to a minute
        os.kill(pid, signal.SIGKILL)
    until(lambda: _ended(process), "the API server has ended")
    pause(down)
    with Path(directory, "apiserver.log").open("ab") as log:
        # It outlives this process: whoever started the server stops it.
        again = subprocess.Popen(
            command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    file.write_text(f"{again.pid}\n")
    until(_serves, "the API server serves again")


def pause(seconds: float) -> None:
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


DISTURBANCES: dict[str, Disturbance] = {
    "watch-gone": gone,
    "watch-doubled": doubled,
    "watch-held": held,
    "watch-dropped": dropped,
    "kubernetes-unreachable": unreachable,
    "ecs-throttled": throttled,
}
