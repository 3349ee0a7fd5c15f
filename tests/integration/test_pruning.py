"""What leaves the database when it is old, and what never does."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Engine
from tests.integration.test_ledger import APP_STATE, CONTAINER, HISTORY, T0, statements

from fractal_helpers.ledger import PostgresLedger
from fractal_models.records import AppStateRecord, ContainerRecord

DAY = timedelta(days=1)
NOTHING = {"container_history": 0, "user_containers": 0, "user_app_state": 0}


def ended(arn: str, uid: str, days_ago: float) -> ContainerRecord:
    return replace(
        CONTAINER, container_id=arn, uid=uid, state="STOPPED", stopped_at=T0 - days_ago * DAY
    )


def gone(uid: str, days_ago: float, install: str = "lab") -> AppStateRecord:
    at = T0 - days_ago * DAY
    return replace(APP_STATE, task_id=uid, install=install, deleted=True, observed_at=at)


def pruned(ledger: PostgresLedger, install: str = "lab", limit: int = 100) -> dict[str, int]:
    return ledger.prune(install, T0 - 30 * DAY, limit)


def test_transitions_and_ended_tasks_go_when_they_are_old(ledger: PostgresLedger) -> None:
    ledger.write([APP_STATE, CONTAINER, ended("old", "uid-1", 31), ended("young", "uid-1", 29)])
    ledger.write([replace(HISTORY, key=f"k{n}", at=T0 - n * DAY) for n in (29, 31, 60)])
    assert pruned(ledger) == {"container_history": 2, "user_containers": 1, "user_app_state": 0}
    assert [row["key"] for row in ledger.history("uid-1")] == ["k29"]
    assert [row["container_id"] for row in ledger.containers("uid-1")] == [
        CONTAINER.container_id,
        "young",
    ]
    assert pruned(ledger) == NOTHING


def test_what_lives_stays_however_old_it_is(ledger: PostgresLedger) -> None:
    ages = T0 - 900 * DAY
    ledger.write([replace(APP_STATE, observed_at=ages), replace(CONTAINER, observed_at=ages)])
    assert pruned(ledger) == NOTHING
    assert len(ledger.live("lab").rows) == 2


def test_an_object_that_is_gone_goes_after_all_that_is_told_of_it(ledger: PostgresLedger) -> None:
    ledger.write([gone("uid-1", 31), ended("t", "uid-1", 20), gone("uid-2", 31), gone("uid-3", 9)])
    ledger.write([replace(HISTORY, uid="uid-2", at=T0 - 20 * DAY)])
    assert pruned(ledger) == NOTHING, "its task, or its history, is young"
    assert ledger.prune("lab", T0 - 15 * DAY, 100) == {
        "container_history": 1,
        "user_containers": 1,
        "user_app_state": 2,
    }
    left = [ledger.app_state(uid) is not None for uid in ("uid-1", "uid-2", "uid-3")]
    assert left == [False, False, True]


def test_what_another_installation_keeps_is_left_to_it(ledger: PostgresLedger) -> None:
    theirs = gone("uid-2", 60, install="other")
    ledger.write([theirs, ended("t", "uid-2", 60), replace(HISTORY, uid="uid-2", at=T0 - 60 * DAY)])
    ledger.write([replace(HISTORY, key="gap", uid="", at=T0 - 60 * DAY)])
    assert pruned(ledger) == NOTHING | {"container_history": 1}, "a gap's mark is nobody's"
    assert pruned(ledger, "other") == dict.fromkeys(NOTHING, 1)


def test_a_batch_is_bounded_one_transaction_and_takes_the_oldest(
    engine: Engine, ledger: PostgresLedger
) -> None:
    ledger.write([replace(HISTORY, key=f"k{n}", at=T0 - n * DAY) for n in range(31, 51)])
    with statements(engine) as sent:
        assert pruned(ledger, limit=7) == NOTHING | {"container_history": 7}
    assert len(sent) == 3
    assert ledger.history("uid-1")[0]["key"] == "k43"
    assert [pruned(ledger, limit=7)["container_history"] for _ in range(3)] == [7, 6, 0]
