"""Faults of the leader: it is stopped, ends, or a call for its Lease is struck.

In all other plans there is one operator and no election.
"""

import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.faults.disturb import later
from tests.e2e.faults.parts import Parts, Stage, stage, until
from tests.e2e.faults.plans import Reference, Run, quiet, settle
from tests.e2e.faults.wire import Strike, Wire, send
from tests.e2e.faults.workloads import WORKLOADS, Play
from tests.e2e.stack import Operator

Runs = Callable[[str, Parts, Path, Reference, Run], None]
"""A run of a workload, which is named first."""
TERMS = {
    "leader_election": "true",
    "lease_seconds": "10",
    "lease_renew_seconds": "8",
    "lease_retry_seconds": "0.5",
}


def _pair(world: Stage, workload: str) -> tuple[Play, Wire, Operator, Operator]:
    """A leader, and a standby; the workload is prepared."""
    one = world.start(ready=True, **TERMS)
    until(lambda: _swept(one), "the first leads")
    two = world.start(ready=True, **TERMS)
    play = Play(world)
    WORKLOADS[workload].prepare(play)
    quiet(world)
    assert world.wire is not None
    return play, world.wire, one, two


def _leads(operator: Operator) -> bool:
    metric = 'leader_election_master_status{name="fractal-operator-leader"} 1.0'
    return metric in operator.get("/metrics")[1]


def _swept(operator: Operator) -> bool:
    return _leads(operator) and operator.get("/readyz")[0] == 200


def stopped(kind: str) -> Runs:
    """SIGSTOP of the leader within its launch, SIGCONT when the standby has led and gone on."""

    def run(workload: str, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire, one, two = _pair(world, workload)
            wire.open(Strike("run-task-1", "stop-before" if kind == "before" else "stop-after"))
            WORKLOADS[workload].act(play)
            assert wire.struck.is_set()
            assert _swept(two)
            send(one, signal.SIGCONT)
            wire.resume()
            until(lambda: one.ended is not None, "the former leader ends")
            settle(world, play, expected, done)

    return run


def handed_over(struck: Strike | None = None) -> Runs:
    """SIGTERM of the leader in the middle of the workload; the standby goes on.

    ``struck``: what befalls the call that gives up the Lease.
    """
    killed = struck is not None and struck.kind.startswith("kill")

    def run(workload: str, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire, one, two = _pair(world, workload)
            wire.open(struck)

            def stop() -> None:
                until(lambda: "patch-status-1" in wire.calls, "the workload has begun")
                assert one.stop() == (-signal.SIGKILL if killed else 0)

            with later(0, stop):
                WORKLOADS[workload].act(play)
            until(lambda: _swept(two), "the standby leads")
            settle(world, play, expected, done)
            assert wire.struck.is_set() is (struck is not None)

    return run


def renewal(struck: Strike) -> Runs:
    """A renewal of the Lease is struck in the middle of the workload; one of the two goes on."""

    def run(workload: str, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire, *_ = _pair(world, workload)
            wire.open(struck)
            WORKLOADS[workload].act(play)
            _one_leads(world)
            settle(world, play, expected, done)

    return run


def first_lease(struck: Strike) -> Runs:
    """The call that makes the Lease is struck; then there is a rival, and one of the two leads."""

    def run(workload: str, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            assert world.wire is not None
            world.wire.open(struck)
            world.start(ready=False, **TERMS)
            until(world.wire.struck.is_set, "the Lease is made")
            world.start(ready=False, **TERMS)
            play = Play(world)
            WORKLOADS[workload].prepare(play)
            WORKLOADS[workload].act(play)
            _one_leads(world)
            settle(world, play, expected, done)

    return run


def _one_leads(world: Stage) -> None:
    """Wait until the call was struck, all operators serve again, and one of them leads."""
    assert world.wire is not None
    until(world.wire.struck.is_set, "the call is struck")
    until(lambda: sorted(map(_leads, world.operators)) == [False, True], "one of two leads")


CALLS: tuple[tuple[str, str, Callable[[Strike], Runs]], ...] = (
    ("create", "post-lease-1", first_lease),
    ("update", "put-lease-1", renewal),
    ("update", "free-lease-1", handed_over),
)
"""Those for the Lease: a workload, the call, and the run."""
