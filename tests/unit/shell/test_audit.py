"""The auditor: what it closes, what it puts right, and what it leaves alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.shell.fakes import FakeKube
from tests.unit.shell.kube_world import KubeWorld
from tests.unit.shell.test_record import APP, TASK, Bench
from tests.unit.shell.wire import START, run

from fractal_models.container import Attempt, Role, Status, Task, Termination
from fractal_models.errors import AccessDenied
from fractal_models.kube import ObjectKey
from fractal_models.records import AppStateRecord, ContainerRecord, MirrorRecord
from fractal_operator.shell.audit import UNRECORDED, Audit, Auditor
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.objects import Known

RUNS = replace(TASK, state="RUNNING_AVAILABLE", version=5)
ENDED = START + timedelta(seconds=30)
END = Termination(attempt=1, stop_code="Replaced", reason="edited", finished_at=ENDED, exit_code=1)


def body(status: Status | None = None) -> dict[str, Any]:
    return {
        "metadata": {"uid": "uid-1", "namespace": "default", "name": "one"},
        "status": (status or Status()).to_json(),
    }


class Desk(Bench):
    """A recorder with its ledger, and an auditor over both; ``alive`` are tasks known to live."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[str] = set()
        self.bodies: Mapping[str, dict[str, Any]] = {"uid-1": body()}
        lives = self.alive.__contains__
        self.kube = KubeWorld(self.clock)
        self.clusters = Clusters()
        self.auditor = Auditor(
            FakeKube(self.kube, self.wire),
            self.ledger,
            self.recorder,
            self.clock,
            lives,
            lambda uid: Known.of(self.bodies[uid]) if uid in self.bodies else None,
            self.clusters,
        )

    def write(self, *rows: MirrorRecord) -> None:
        self.recorder.offer(rows)
        assert self.flush()

    def put(self, row: MirrorRecord) -> None:
        """A row as it came into the table in another way."""
        match row:
            case AppStateRecord():
                self.ledger.apps[row.task_id] = row
            case ContainerRecord():
                self.ledger.containers[row.container_id] = row

    def audit(self) -> Audit:
        done = run(self.auditor.audit())
        assert self.flush()
        return done


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_only_the_rows_of_objects_that_are_missing_are_closed(desk: Desk) -> None:
    rows = [replace(APP, task_id=uid) for uid in ("uid-1", "gone", "gone-too", "z")]
    desk.write(*rows, replace(APP, task_id="closed", deleted=True))
    desk.bodies = {**desk.bodies, "z": body(), "made-meanwhile": body()}
    assert desk.audit() == Audit(closed=2, corrected=0)
    assert desk.ledger.closed == ["gone", "gone-too"]
    assert desk.audit() == Audit(closed=0, corrected=0)
    assert len(desk.wire.of("close_missing")) == 1, "where nothing is to be closed, nobody asks"


def test_live_tasks_of_objects_that_were_closed_before_are_closed(desk: Desk) -> None:
    desk.write(replace(APP, task_id="gone", deleted=True), APP)
    desk.alive.add("task-1")
    desk.write(RUNS)
    desk.put(replace(RUNS, container_id="left", uid="gone"))
    assert desk.audit() == Audit(closed=0, corrected=0)
    assert [(uids, arns) for uids, arns, _ in desk.wire.of("close_missing")] == [([], ["left"])]
    assert {arn: row.state for arn, row in desk.ledger.containers.items()} == {
        "task-1": "RUNNING_AVAILABLE",
        "left": "STOPPED",
    }
    desk.audit()
    assert len(desk.wire.of("close_missing")) == 1


def test_rows_are_read_in_pages_and_all_are_compared(desk: Desk) -> None:
    uids = [f"uid-{number}" for number in range(5)]
    desk.bodies = {uid: body() for uid in uids}
    apps = [replace(APP, task_id=uid) for uid in uids]
    runs = [replace(RUNS, container_id=f"of-{uid}", uid=uid) for uid in uids]
    desk.alive |= {row.container_id for row in runs}
    desk.write(*apps, *runs)
    for uid in ("uid-0", "uid-3"):
        desk.put(replace(APP, task_id=uid, resource_version="9", deleted=True))
        desk.put(replace(RUNS, container_id=f"of-{uid}", uid=uid, generation=9, state="DELETING"))
    desk.put(replace(RUNS, container_id="of-uid-4", uid="uid-4", state="STOPPED"))
    assert desk.audit() == Audit(closed=0, corrected=5)
    assert [after for (after,) in desk.wire.of("live")] == ["", "uid-2"]
    assert desk.ledger.apps == {row.task_id: row for row in apps}
    assert desk.ledger.containers == {row.container_id: row for row in runs}
    assert desk.audit() == Audit(closed=0, corrected=0)
    assert [after for (after,) in desk.wire.of("live")][2:] == ["", "uid-1", "uid-3"]
    assert desk.wire.of("get") == [], "of objects that are known nobody asks"


def test_an_unknown_object_is_closed_only_if_a_read_shows_that_it_is_gone(desk: Desk) -> None:
    unlisted = [
        replace(APP, task_id=f"{namespace}-{name}", namespace=namespace, name=name)
        for namespace in ("barred", "open")
        for name in ("gone", "namesake", "there")
    ]
    there = desk.kube.create(ObjectKey("open", "there"), {})["metadata"]["uid"]
    desk.kube.create(ObjectKey("open", "namesake"), {})
    desk.write(*unlisted[:5], replace(unlisted[5], task_id=there))
    desk.wire.fail("get", AccessDenied("the Role is gone", code="Forbidden"), nth=2)
    assert desk.audit() == Audit(closed=2, corrected=0)
    assert desk.ledger.closed == ["open-gone", "open-namesake"]
    assert [key.namespace for (key,) in desk.wire.of("get")] == ["open", "barred", "open", "open"]
    assert desk.audit() == Audit(closed=3, corrected=0), "the rights are back, the objects are not"


@pytest.mark.parametrize(
    "stored",
    [
        replace(APP, resource_version="9", state="CANCELLED", deleted=True),
        replace(APP, resource_version="9", state="READY"),
        replace(RUNS, state="STOPPED"),
        replace(RUNS, generation=9, state="CREATING"),
    ],
    ids=["closed", "newer by its version", "ended", "newer by its generation"],
)
def test_what_stands_otherwise_than_it_was_written_is_written_again(
    desk: Desk, stored: MirrorRecord
) -> None:
    desk.alive.add("task-1")
    desk.write(APP, RUNS)
    desk.put(stored)
    assert desk.audit() == Audit(closed=0, corrected=1)
    assert desk.ledger.apps == {"uid-1": APP}
    assert desk.ledger.containers == {"task-1": RUNS}
    assert desk.audit() == Audit(closed=0, corrected=0)


def test_an_end_that_was_written_stands_though_the_database_lost_it(desk: Desk) -> None:
    end = replace(RUNS, state="STOPPED")
    desk.write(APP, end)
    desk.put(RUNS)
    assert desk.audit().corrected == 1
    assert desk.ledger.containers == {"task-1": end}


def test_an_end_that_another_one_wrote_stands_where_the_task_is_not_known_to_live(
    desk: Desk,
) -> None:
    end = replace(RUNS, state="STOPPED", stop_code="TheirWords")
    desk.write(RUNS)
    desk.put(end)
    assert desk.audit().corrected == 0
    assert desk.ledger.containers == {"task-1": end}


def test_a_row_that_changes_while_it_is_looked_at_is_left_alone(desk: Desk) -> None:
    desk.write(APP)
    desk.put(replace(APP, resource_version="9", deleted=True))
    later = replace(APP, resource_version="10", state="READY")
    desk.wire.overtaken = lambda: desk.recorder.offer([later])
    assert desk.audit().corrected == 0
    assert desk.ledger.apps == {"uid-1": later}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status(last_terminations=(END,)), (ENDED, "Replaced", "edited", 1)),
        (Status(), (START, "", UNRECORDED, None)),
        (Status(attempt=Attempt(number=2)), (START, "", UNRECORDED, None)),
    ],
)
def test_the_row_of_a_task_that_ended_unrecorded_is_closed(
    desk: Desk, status: Status, told: tuple[object, ...]
) -> None:
    desk.put(APP)
    desk.put(RUNS)
    desk.bodies = {"uid-1": body(status)}
    assert desk.audit() == Audit(closed=0, corrected=1)
    row = desk.ledger.containers["task-1"]
    assert row.state == "STOPPED"
    assert (row.stopped_at, row.stop_code, row.stopped_reason, row.exit_code) == told
    assert desk.audit() == Audit(closed=0, corrected=0)


def test_a_cluster_that_only_a_row_names_is_looked_at_before_the_row_is_closed(desk: Desk) -> None:
    """An etcd restored to before a move: no object names the place of the task that lives there."""
    there = replace(RUNS, container_id="arn:aws:ecs:eu-west-1:123456789012:task/other/1")
    desk.put(APP)
    desk.put(there)
    assert desk.audit() == Audit(closed=0, corrected=0)
    (cluster,) = desk.clusters.all()
    arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/other"
    assert (cluster.region, cluster.reference, cluster.held) == ("eu-west-1", arn, True)
    assert desk.audit().corrected == 0, "nobody has looked yet"
    cluster.swept_since = START
    assert desk.audit().corrected == 1
    assert desk.ledger.containers[there.container_id].state == "STOPPED"


def test_the_row_of_a_task_in_a_cluster_that_is_none_any_more_is_closed(desk: Desk) -> None:
    desk.put(APP)
    desk.put(replace(RUNS, container_id="arn:aws:ecs:eu-west-1:123456789012:task/other/1"))
    assert desk.audit().corrected == 0
    (cluster,) = desk.clusters.all()
    cluster.known = True
    assert desk.audit().corrected == 1


@pytest.mark.parametrize(
    ("status", "alive"),
    [
        (Status(), True),
        (Status(attempt=Attempt(number=1)), False),
        (Status(tasks=(Task(attempt=1, role=Role.CURRENT, arn="task-1"),)), False),
    ],
    ids=["it lives", "its attempt is not resolved", "the status claims it"],
)
def test_the_row_of_a_task_that_may_live_stays(desk: Desk, status: Status, alive: bool) -> None:
    if alive:
        desk.alive.add("task-1")
    desk.put(APP)
    desk.put(RUNS)
    desk.bodies = {"uid-1": body(status)}
    assert desk.audit().corrected == 0
    assert desk.ledger.containers == {"task-1": RUNS}
