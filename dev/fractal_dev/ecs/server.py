"""Runs the stand-in on a port of the loopback interface."""

import contextlib
import ipaddress
import itertools
import socket
import threading
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

from fractal_dev.ecs.account import Account
from fractal_dev.ecs.api import TaskApi
from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.control import ControlApi
from fractal_dev.ecs.engine import TaskEngine
from fractal_dev.ecs.events import quicken
from fractal_dev.ecs.faults import Faults
from fractal_dev.ecs.holds import Holds
from fractal_dev.ecs.plan import Plans, TaskPlan
from fractal_dev.ecs.throttle import Throttle
from fractal_dev.ecs.wsgi import Calls, StandInApp

_TICK_SECONDS = 0.02

_accounts = itertools.count(123456789012)
"""moto keeps its state per account for the whole process: an account each keeps stand-ins apart."""


class EcsStandIn:
    """One stand-in, with an AWS account of its own (:attr:`account_id`).

    Any credentials are accepted. Args: ``plan``: what becomes of tasks by default; ``clock``: its
    time.
    """

    def __init__(self, plan: TaskPlan | None = None, clock: StandInClock | None = None) -> None:
        quicken()
        self.account_id = str(next(_accounts))
        self._engine = TaskEngine(clock or StandInClock(), Account(self.account_id))
        plans, faults = Plans(plan or TaskPlan()), Faults()
        self._holds, throttle, calls = Holds(), Throttle(self._engine.clock), Calls()
        api = TaskApi(self._engine, plans, faults)
        control = ControlApi(self._engine, plans, faults, self._holds, throttle, calls)
        self._app = StandInApp(api, self._engine, calls, faults, self._holds, throttle, control)
        self._server: _Server | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve until :meth:`stop`. Returns the endpoint URL; port 0 takes a free one.

        Raises:
            ValueError: ``host`` is no loopback address.
        """
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the stand-in listens on the loopback interface only, not on {host}")
        self._server = _Server(host, port, self._app, _Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="ecs-stand-in", daemon=True
        )
        self._thread.start()
        self._stopped.clear()
        threading.Thread(target=self._tick, name="ecs-stand-in-events", daemon=True).start()
        return f"http://{host}:{self._server.port}"

    def ensure_cluster(self, name: str, region: str, instances: int = 0) -> str:
        """Create the cluster unless it is there, with at least so many container instances.

        Returns its ARN.
        """
        with self._engine.lock:
            return self._engine.account.ensure_cluster(name, region, instances)

    def _tick(self) -> None:
        """While there are rules, let happen what is due, though nobody looks: events tell of it."""
        while not self._stopped.wait(_TICK_SECONDS):
            if self._engine.events.active:
                with self._engine.lock:
                    self._engine.settle()

    def stop(self) -> None:
        """Stop serving and cut every connection, held calls included."""
        self._stopped.set()
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.cut_all()
        self._holds.release()
        self._server = self._thread = None


class _Handler(MotoRequestHandler):
    """Names itself, keeps connections open, and does not log every request."""

    server_version = "fractal-dev-ecs-stand-in"
    protocol_version = "HTTP/1.1"

    def version_string(self) -> str:
        return self.server_version

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the control API counts calls."""


class _Server(ThreadedWSGIServer):
    """Knows its connections, so that stopping ends those that clients keep open."""

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Cut the connections that are still open."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # its client closed it first
                connection.shutdown(socket.SHUT_RDWR)
