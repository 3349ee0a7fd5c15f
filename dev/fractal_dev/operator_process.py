"""The operator as a child process, started as its user would start it."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_PORT = re.compile(r"serving /metrics, /healthz and /readyz on port (\d+)")
_STOP_SECONDS = 15.0
_FOREIGN = ("FRACTAL_", "AWS_", "KUBERNETES_", "KUBECONFIG")
"""Variables of the caller that would send the operator elsewhere."""


class OperatorProcess:
    """One operator at a time, with ``settings`` as environment variables.

    Its output is appended to the file ``log``.
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self._environment = {**own, **settings}
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self) -> int:
        """Start it and return its process id."""
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fractal_operator", "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the parent, which ends the child in order
            )
        return self._process.pid

    def kill(self) -> None:
        """Kill it with SIGKILL: it gets no chance to do anything more."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL after 15 s; one that has ended is left as it is."""
        self._end(signal.SIGTERM)

    def ended(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._process.poll() if self._process else None

    def url(self) -> str | None:
        """Return where it serves /metrics and the probes, once it has logged that."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            found = _PORT.search(log.read().decode(errors="replace"))
        return f"http://127.0.0.1:{found[1]}" if found else None

    def ready(self) -> bool:
        """Whether its readiness probe succeeds."""
        url = self.url()
        if url is None:
            return False
        try:
            with self._opener.open(f"{url}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError):
            return False

    def tail(self, lines: int) -> list[str]:
        """Return the last lines of its log."""
        return (
            self._log.read_text(errors="replace").splitlines()[-lines:]
            if self._log.exists()
            else []
        )

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
