"""The pruner: what is over for long enough goes, in batches, whatever goes wrong at times."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.shell.fakes import FakeLedger
from tests.unit.shell.test_record import APP, TASK, told
from tests.unit.shell.wire import START, FakeClock, Wire

from fractal_models.errors import Unavailable
from fractal_operator.metrics import Metrics
from fractal_operator.shell.prune import BATCH, FIRST_SECONDS, PERIOD_SECONDS, Pruner

KEEP = timedelta(days=30)
TABLES = ("container_history", "user_app_state", "user_containers")


class Bench:
    """A pruner on a ledger, ``KEEP`` after START but for the time until its first round."""

    def __init__(self) -> None:
        self.wire, self.clock = Wire(), FakeClock()
        self.ledger = FakeLedger(self.wire)
        self.registry = CollectorRegistry()
        self.clock.advance(KEEP.total_seconds() - FIRST_SECONDS)
        self.pruner = Pruner(self.ledger, self.clock, Metrics(self.registry), KEEP)

    def play(self, seconds: float) -> None:
        """Start its loop, and let so many seconds pass."""

        async def go() -> None:
            loop = asyncio.create_task(self.pruner.prune())
            for _ in range(int(seconds) + 1):
                for _ in range(5):
                    await asyncio.sleep(0)
                self.clock.advance(1.0)
            assert not loop.done()
            loop.cancel()
            await asyncio.wait([loop])

        asyncio.run(go())

    def batches(self) -> int:
        return len(self.wire.of("prune"))

    def pruned(self) -> list[float | None]:
        name = "fractal_db_pruned_rows_total"
        return [self.registry.get_sample_value(name, {"table": table}) for table in TABLES]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_what_was_over_for_long_enough_goes_and_is_counted(bench: Bench) -> None:
    old, later = START, START + timedelta(hours=1)
    ended = replace(TASK, state="STOPPED", stopped_at=old - timedelta(seconds=1))
    bench.ledger.containers = {
        "old": ended,
        "live": TASK,
        "young": replace(ended, stopped_at=later),
    }
    gone = replace(APP, deleted=True, observed_at=old - timedelta(seconds=1))
    bench.ledger.apps = {"old": gone, "live": APP, "young": replace(gone, observed_at=later)}
    bench.ledger.history = {str(number): told(number) for number in (-2, -1, 0, 1)}
    bench.play(FIRST_SECONDS + 1)
    assert bench.batches() == 1
    assert bench.ledger.containers.keys() == bench.ledger.apps.keys() == {"live", "young"}
    assert bench.ledger.history.keys() == {"0", "1"}
    assert bench.pruned() == [2, 1, 1]


def test_nothing_is_pruned_at_first_and_then_every_hour(bench: Bench) -> None:
    bench.play(FIRST_SECONDS - 1)
    assert bench.batches() == 0
    bench = Bench()
    bench.play(FIRST_SECONDS + 2 * PERIOD_SECONDS + 1)
    assert bench.batches() == 3
    assert bench.pruned() == [0, 0, 0]


def test_much_goes_in_batches_with_pauses(bench: Bench) -> None:
    rows = 2 * BATCH + 7
    bench.ledger.history = {str(number): told(-number) for number in range(1, rows + 1)}
    bench.play(FIRST_SECONDS)
    assert bench.batches() == 1
    assert len(bench.ledger.history) == rows - BATCH
    bench = Bench()
    bench.ledger.history = {str(number): told(-number) for number in range(1, rows + 1)}
    bench.play(FIRST_SECONDS + 10)
    assert bench.batches() == 3
    assert bench.ledger.history == {}
    assert bench.pruned() == [rows, 0, 0]


def test_a_database_that_is_down_ends_nothing(bench: Bench) -> None:
    bench.ledger.history = {"old": told(-1)}
    bench.wire.fail("prune", Unavailable("the database is down"))
    bench.play(FIRST_SECONDS + PERIOD_SECONDS + 1)
    assert bench.batches() == 2
    assert bench.ledger.history == {}
