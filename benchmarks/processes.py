"""Processes of a benchmark: started, measured through /proc, and ended."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_FOREIGN = ("FRACTAL_", "AWS_", "KUBERNETES_", "KUBECONFIG")
"""Variables of the caller that would send a child elsewhere."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, MiB of memory now, and the most that it ever was."""

    cpu: float
    rss: float
    peak: float


class Child:
    """A process that runs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self.log = process, log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def usage(self) -> Usage:
        """What all its threads have used (proc(5): stat, status)."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss, peak = (int(_field(status, name)) / 1024 for name in ("VmRSS", "VmHWM"))
        return Usage((int(stat[11]) + int(stat[12])) / _TICKS, rss, peak)

    def alive(self) -> None:
        """RuntimeError, with the end of its log, if it has ended."""
        if self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self._process.args!r} has ended: {tail}")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 20 s."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def child(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[Child]:
    """Run ``python`` with the arguments ``command``, its output appended to ``log``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**own, **environ},
            stdout=file,
            stderr=file,
            text=True,
        )
    made = Child(process, log)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def server(command: Sequence[str], log: Path) -> Iterator[tuple[str, Child]]:
    """A child whose log's first line that begins with http:// is where it serves."""
    began = log.stat().st_size if log.exists() else 0
    with child(command, {}, log) as made:

        def url() -> str | None:
            made.alive()
            with log.open("rb") as file:
                file.seek(began)
                found = re.search(r"^(http://\S+)$", file.read().decode(), re.MULTILINE)
            return found[1] if found else None

        yield until(url, f"{command} serves", 240), made


def until(look: Callable[[], Found | None], what: str, seconds: float) -> Found:
    """The first result that is true; TimeoutError after ``seconds`` without one."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return found


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, f"no {name} in /proc/…/status"
    return found[1]
