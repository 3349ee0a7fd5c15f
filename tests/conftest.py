"""What a run on a real API server (E2E_KUBECONFIG) accounts for: which, how many, no skips."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, however busy the machine: a failure is a change's, not chance's.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

GIVEN = os.environ.get("E2E_KUBECONFIG", "")

STANDIN_ONLY = (
    "test_demo.py",
    "test_iam.py",
    "test_iam_needed.py",
    "test_image.py",
    "test_monitoring.py",
)
"""Modules of tests/e2e that say nothing about the API server, or bring one of their own."""
MONITORING = ("integration/test_alert_rules.py", "e2e/test_monitoring.py")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was asked for but not run, for want of programs."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    here = Path(__file__).parent
    asked = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    left = [each for each in MONITORING if any((here / each).is_relative_to(a) for a in asked)]
    if missing and left:
        told = f"not run: {', '.join(left)}; no {' and no '.join(missing)} is installed"
        terminalreporter.write_line(f"{told} (Debian's package prometheus)", yellow=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "alone: takes the CRD away for a while, or acts in all namespaces"
    )
    if GIVEN and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Account())


class Account:
    """Counts tests where their results arrive; fails the run if none ran or any was skipped."""

    def __init__(self) -> None:
        self.ran = 0
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call" and not report.skipped
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped or not self.ran:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        say = terminalreporter.write_line
        say(f"{_server()}: {self.ran} tests run, {len(self.skipped)} skipped")
        say(f"run on the stand-in only, by make test: {', '.join(STANDIN_ONLY)}")
        for nodeid in self.skipped:
            say(f"skipped, which fails a run on a real server: {nodeid}", red=True)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself fails the run, too."""
    if GIVEN and report.skipped:
        report.outcome = "failed"


def _server() -> str:
    command = [os.environ.get("KUBECTL") or "kubectl", "--kubeconfig", GIVEN]
    asked = [*command, "get", "--raw", "/version"]
    told = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    return f"Kubernetes API server {told['gitVersion']} of {GIVEN}"


@contextmanager
def crd_kept(*, alone: bool = False) -> Iterator[None]:
    """Workers share a real server, and with it the CRD: as long as this is entered nobody takes it
    away, or with ``alone`` nobody else relies on it.

    A stand-in belongs to one worker, whose tests run one after the other.
    """
    if not GIVEN:
        yield
        return
    server = hashlib.sha256(os.path.realpath(GIVEN).encode()).hexdigest()[:12]
    with (Path(tempfile.gettempdir()) / f"fractal-e2e-{server}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture(autouse=True)
def crd_lock(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test relies on the CRD, but for those marked ``alone``."""
    with crd_kept(alone=request.node.get_closest_marker("alone") is not None):
        yield
