"""What is measured: the operator, and the one that most people would write."""

import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ecs_fake.asked import SUBNET
from benchmarks.processes import Child, child

REGION, CLUSTER, INSTALL = "us-east-1", "bench", "bench"
PEER = Path(__file__).parent / "peers" / "plain_kopf.py"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PORT = re.compile(r"serving /metrics, /healthz and /readyz on port (\d+)")


@dataclass(frozen=True)
class World:
    """What surrounds the measured process, and the settings that differ from the defaults. Into
    ``profiles`` each process of the operator writes at its end what cProfile has seen of its main
    thread (pstats)."""

    kubeconfig: Path
    aws: str
    folder: Path
    queue: str = ""
    database: str = ""
    settings: Mapping[str, str] | None = None
    profiles: Path | None = None

    def environ(self) -> dict[str, str]:
        """The environment of any subject."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
            "AWS_EC2_METADATA_DISABLED": "true",
            "FRACTAL_CLUSTER": CLUSTER,
            "FRACTAL_SUBNETS": SUBNET,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }


class Operator:
    """The operator of this repository."""

    name = "operator"

    @contextmanager
    def run(self, world: World) -> Iterator[Child]:
        """A process of it, not ready yet."""
        environ = {
            **world.environ(),
            "FRACTAL_INSTALL_ID": INSTALL,
            "FRACTAL_LEADER_ELECTION": "false",
            "FRACTAL_METRICS_HOST": "127.0.0.1",
            "FRACTAL_METRICS_PORT": "0",
            **(world.settings or {}),
        }
        if world.queue:
            environ["FRACTAL_SQS_QUEUE_URL"] = world.queue
        if world.database:
            environ["FRACTAL_DATABASE_URL"] = world.database
        log = _new_log(world, self.name)
        command = ["-m", "fractal_operator", "run"]
        if world.profiles is not None:
            into = world.profiles / f"{log.stem}.pstats"
            command = ["-m", "cProfile", "-o", str(into), *command]
        with child(command, environ, log) as made:
            yield made

    def ready(self, made: Child) -> bool:
        """Whether /readyz answers 200."""
        made.alive()
        url = self._url(made)
        return bool(url and _answers(f"{url}/readyz"))

    def metrics(self, made: Child) -> str:
        """Its metrics, in Prometheus's text format."""
        with _OPENER.open(f"{self._url(made)}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def _url(self, made: Child) -> str:
        found = _PORT.search(made.log.read_text(errors="replace"))
        return f"http://127.0.0.1:{found[1]}" if found else ""


class Peer:
    """benchmarks/peers/plain_kopf.py, run as kopf's documentation says."""

    name = "peer"

    def __init__(self) -> None:
        self._port = _free_port()

    @contextmanager
    def run(self, world: World) -> Iterator[Child]:
        """A process of it, not ready yet."""
        liveness = f"--liveness=http://127.0.0.1:{self._port}/healthz"
        command = ["-m", "kopf", "run", "--standalone", "--all-namespaces", liveness, str(PEER)]
        with child(command, world.environ(), _new_log(world, self.name)) as made:
            yield made

    def ready(self, made: Child) -> bool:
        """Whether its liveness endpoint answers: kopf has no readiness."""
        made.alive()
        return _answers(f"http://127.0.0.1:{self._port}/healthz")

    def metrics(self, made: Child) -> str:
        """None are told."""
        made.alive()
        return ""


Subject = Operator | Peer


def _answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _new_log(world: World, name: str) -> Path:
    number = len(list(world.folder.glob(f"{name}-*.log")))
    return world.folder / f"{name}-{number}.log"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
