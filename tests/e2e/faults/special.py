"""Plans that strike no call of their reference: disturbances, outages, a change of the leader."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.faults import disturb, leading
from tests.e2e.faults.disturb import Disturbance
from tests.e2e.faults.leading import Runs
from tests.e2e.faults.parts import Parts, Stage, postgres_server, stage
from tests.e2e.faults.plans import STRUCK, Reference, Run, quiet, settle
from tests.e2e.faults.wire import Kind, Strike, Wire
from tests.e2e.faults.workloads import WORKLOADS, Play

from fractal_dev.postgres import Postgres

KINDS: tuple[Kind, ...] = (*STRUCK, "never-answered")
"""What each call for the Lease goes through."""


@dataclass(frozen=True, slots=True)
class Special:
    """``workload/name``. ``alone``: no other run may go on meanwhile."""

    name: str
    workload: str
    run: Runs
    alone: bool = False


def disturbed(disturbance: Disturbance) -> Runs:
    """A run in which the whole of the workload is disturbed."""

    def run(workload: str, given: Parts, folder: Path, expected: Reference, done: Run) -> None:
        with stage(given, folder) as world:
            play, wire = _prepared(world, workload)
            with disturbance(wire):
                WORKLOADS[workload].act(play)
            settle(world, play, expected, done)

    return run


def _prepared(world: Stage, workload: str) -> tuple[Play, Wire]:
    play = Play(world)
    world.start()
    WORKLOADS[workload].prepare(play)
    quiet(world)
    assert world.wire is not None
    return play, world.wire


def without_postgres(
    workload: str, given: Parts, folder: Path, expected: Reference, done: Run
) -> None:
    """PostgreSQL is stopped before the workload begins, and started when it has ended."""
    with ExitStack() as stack:
        server: Postgres = stack.enter_context(postgres_server())
        world = stack.enter_context(stage(given, folder, postgres=server))
        play, _ = _prepared(world, workload)
        world.engine.dispose()
        server.stop()
        WORKLOADS[workload].act(play)
        server.start()
        settle(world, play, expected, done)


def specials() -> list[Special]:
    """All of them, as far as the API server allows."""
    several = ("create", "update", "surge", "delete", "recreate")
    found = [
        Special(f"{workload}/{call}:{kind}", workload, run(Strike(call, kind)))
        for workload, call, run in leading.CALLS
        for kind in KINDS
    ]
    found += [
        Special("update/leader-sigstop-before", "update", leading.stopped("before")),
        Special("update/leader-sigstop-after", "update", leading.stopped("after")),
    ]
    found += [
        Special(f"{workload}/leader-sigterm", workload, leading.handed_over())
        for workload in ("update", "surge", "delete")
    ]
    found += [Special(f"{each}/postgres-stopped", each, without_postgres) for each in several]
    found += [
        Special(f"{workload}/{name}", workload, disturbed(disturbance))
        for name, disturbance in disturb.DISTURBANCES.items()
        for workload in several
    ]
    if disturb.api_server_pid() is not None:
        found += [
            Special(f"{each}/api-server-restarted", each, disturbed(disturb.restarted), alone=True)
            for each in ("update", "surge", "delete", "recreate")
        ]
    return found
