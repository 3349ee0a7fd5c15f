"""Defects that were found once in the shell, each kept away by the scene that showed it."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.aws_wire import answer, clients, on_send
from tests.unit.shell.ecs_world import ARN, MAIN, REGION, WEB
from tests.unit.shell.process import KEY, Process, World, running, until
from tests.unit.shell.test_record import APP, TASK
from tests.unit.shell.test_run import Live, started
from tests.unit.shell.wire import Wire, run

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups, Quotas
from fractal_models.errors import OutcomeUnknown, Rejected, Throttled, Unavailable
from fractal_models.kube import ObjectKey
from fractal_models.observed import ClusterInfo
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.shell.aws import AwsEcs
from fractal_operator.shell.objects import Known, older
from fractal_operator.shell.reconcile import Rest
from fractal_operator.shell.record import ROWS_KEPT, Recorder
from fractal_operator.shell.refusals import Refusals

SPEC = {"taskDefinition": "web"}


@pytest.fixture
def world() -> World:
    return World()


def started_process(world: World, wire: Wire | None = None) -> Process:
    process = Process(world, wire)
    run(process.start())
    return process


def spend(process: Process, seconds: float, *, step: float = 5.0) -> None:
    """Let the process work while time passes."""
    end = process.clock.monotonic() + seconds
    while process.clock.monotonic() < end:
        run(process.settle())
        process.clock.advance(step)
        process.world.ecs.settle()


def on_a_loop(coro: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coro, 120))


# --- what a status may hold ---

BAD_ARNS = [
    "arn:aws:ecs:bad region!:123456789012:cluster/main",
    "arn:aws:ecs:us-east-1\n:123456789012:cluster/main",
    "arn:aws:ecs:us-east-1:123456789012:cluster/ma in",
    "arn:aws:ecs:us-east-1:1:cluster/main",
]


@pytest.mark.parametrize("arn", BAD_ARNS)
def test_a_status_names_no_cluster_that_cannot_be(world: World, arn: str) -> None:
    body = world.kube.create(KEY, SPEC)
    body["status"] = {"attempt": {"number": 1, "clusterArn": arn}}
    process = started_process(world)
    process.objects.read(body)
    assert process.reconciler.clusters(Known.of(body)) == [(REGION, "main")]
    assert process.reconciler.observe(body).home is None


def test_a_spec_names_no_region_that_cannot_be(world: World) -> None:
    body = world.kube.create(KEY, {**SPEC, "region": "bad region!"})
    process = started_process(world)
    assert process.reconciler.clusters(Known.of(body)) == []
    spend(process, 20)
    assert world.ecs.launches == []


@pytest.mark.parametrize("error", [ValueError("Invalid endpoint: foo"), KeyError("profile")])
def test_a_client_that_cannot_be_made_is_rejected_in_plain_words(
    world: World, error: Exception
) -> None:
    def make(region: str) -> EcsClient:
        raise error

    ecs = AwsEcs(make, 1, world.clock, lambda: True, Quotas())
    words = "cannot make AWS clients for region 'eu-north-1'"
    with pytest.raises(Rejected, match=words):
        asyncio.run(asyncio.wait_for(ecs.account("eu-north-1"), 120))
    ecs.forget_definition("eu-north-1", "web")  # nothing can be remembered there


def test_a_client_whose_making_failed_is_made_later(world: World) -> None:
    failures = [ValueError("no profile")]

    def make(region: str) -> EcsClient:
        if failures:
            raise failures.pop()
        made = clients()
        on_send(made.ecs, "DescribeClusters", lambda _: answer(b'{"clusters": []}'))
        return EcsClient(made, QuotaGroups())

    ecs = AwsEcs(make, 1, world.clock, lambda: True, Quotas())

    def looked() -> ClusterInfo | None:
        return asyncio.run(asyncio.wait_for(ecs.describe_cluster(REGION, "main"), 120))

    with pytest.raises(Rejected):
        looked()
    with pytest.raises(OutcomeUnknown):  # of ECS, which said nothing
        looked()


def test_a_sweep_that_breaks_ends_nothing_and_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.kube.create(KEY, SPEC)
    wire = Wire()
    wire.fail("list_tasks", ValueError("a bug"))  # type: ignore[arg-type]
    process = started_process(world, wire)
    run(process.settle())
    assert process.main().problem is not None
    assert "a bug" in caplog.text
    until(process, running)


# --- a CRD that is older than the operator ---


class OldCrd:
    """An API server that prunes one field of the status, as its schema lacks it."""

    def __init__(self, world: World, field: str) -> None:
        self._write, self._field = world.kube.write_status, field
        world.kube.write_status = self  # type: ignore[method-assign]

    def __call__(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        return self._write(body, {k: v for k, v in status.items() if k != self._field})


def test_a_status_that_is_not_kept_whole_is_written_ever_more_rarely(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.kube.create(KEY, SPEC)
    OldCrd(world, "readyAt")
    process = started_process(world)
    with caplog.at_level(logging.ERROR):
        spend(process, 600)
    before = process.wire.counts()["write_status"]
    spend(process, 600)
    assert process.wire.counts()["write_status"] - before <= 6
    assert len(world.ecs.live()) == 1
    told = [line for line in caplog.messages if "the CRD is older than the operator" in line]
    assert len(told) == 1


# --- losses ---


def test_the_row_of_a_lost_task_is_closed(world: World) -> None:
    world.kube.create(KEY, SPEC)
    process = started_process(world)
    until(process, running)
    run(process.recorder.flush())
    (lost,) = world.ecs.live()
    del world.ecs.tasks[lost]
    spend(process, LOST_AFTER.total_seconds() * 3)
    run(process.recorder.flush())
    (end,) = world.status().last_terminations
    row = world.ledger.containers[lost]
    assert (row.state, row.stop_code, row.stopped_reason) == ("STOPPED", "Lost", end.reason)
    assert row.stopped_at is not None


def test_the_row_of_a_task_lost_across_a_restart_is_closed(world: World) -> None:
    world.kube.create(KEY, SPEC)
    until(started_process(world), running)
    (lost,) = world.ecs.live()
    del world.ecs.tasks[lost]
    process = started_process(world)
    spend(process, LOST_AFTER.total_seconds() * 3)
    run(process.recorder.flush())
    row = world.ledger.containers[lost]
    assert (row.state, row.stop_code, row.task_definition) == ("STOPPED", "Lost", "web")
    assert (row.cluster, row.location) == ("main", REGION)


def test_an_earlier_sight_of_a_task_does_not_reopen_its_row(world: World) -> None:
    recorder = Recorder(world.ledger, world.clock, refused=lambda _: None)
    world.clock.advance(5)
    recorder.offer([replace(TASK, state="STOPPED", observed_at=world.clock.now())])
    recorder.offer([TASK])
    run(recorder.flush())
    recorder.offer([TASK])
    assert recorder.depth() == 0
    assert world.ledger.containers[TASK.container_id].state == "STOPPED"


def test_tasks_too_new_to_be_shown_do_not_pause_launches(world: World) -> None:
    world.ecs.lag = 90
    process = started_process(world)
    for number in range(30):
        world.kube.create(ObjectKey("default", f"o{number}"), SPEC)
    for _ in range(24):
        spend(process, 5)
        assert process.main().paused == ""
    spend(process, 60)
    assert len(world.ecs.live()) == len(world.ecs.launches) == 30


def test_tasks_that_were_shown_and_vanish_pause_launches_at_once(world: World) -> None:
    process = started_process(world)
    for number in range(12):
        world.kube.create(ObjectKey("default", f"o{number}"), SPEC)
    spend(process, 120)
    world.ecs.tasks.clear()
    spend(process, 60)
    assert "launches are paused" in process.main().paused


def test_tasks_whose_objects_are_gone_do_not_count_as_vanished(world: World) -> None:
    process = started_process(world)
    keys = [ObjectKey("default", f"o{number}") for number in range(12)]
    for key in keys:
        world.kube.create(key, {**SPEC, "deletionPolicy": "Retain"})
    spend(process, 120)
    for key in keys:
        world.kube.delete(key)
    spend(process, 120)
    assert not world.kube.objects
    assert len(world.ecs.live()) == 12
    world.ecs.tasks.clear()
    spend(process, 120)
    assert process.main().paused == ""
    assert process.tasks.expected(MAIN) == []


# --- resourceVersions ---


def test_a_restored_etcd_is_believed_once_it_is_read(world: World) -> None:
    async def restore() -> None:
        process = Live(world)
        world.kube.create(KEY, SPEC)
        api = f"{ARN}:task-definition/api:1"
        world.ecs.definitions[api] = replace(world.ecs.definitions[WEB], arn=api)
        async with started(process):
            await process.until(lambda: running(world))
            world.kube._version = 10
            process.watching = False
            world.kube.edit(KEY, taskDefinition="api")
            await process.until(lambda: running(world), passing=5)
            assert [world.ecs.tasks[arn].definition_arn for arn in world.ecs.live()] == [api]

    on_a_loop(restore())


def test_a_late_body_of_a_namesake_is_known_by_its_age_where_versions_are_no_numbers() -> None:
    def body(uid: str, made: str) -> dict[str, Any]:
        meta = {"uid": uid, "resourceVersion": "x7", "creationTimestamp": made}
        return {"metadata": {"namespace": "default", "name": "one", **meta}}

    first, second = body("a", "2026-01-01T00:00:00Z"), body("b", "2026-01-01T00:00:01Z")
    assert older(first, Known.of(second))
    assert not older(second, Known.of(first))
    assert not older(first, Known.of(first))


# --- the recorder ---


def test_rows_of_ended_tasks_are_not_remembered_for_ever(world: World) -> None:
    recorder = Recorder(world.ledger, world.clock, refused=lambda _: None)
    for number in range(10 * ROWS_KEPT):
        recorder.offer([APP, replace(TASK, container_id=f"task-{number}", state="STOPPED")])
        run(recorder.flush())
    assert sum(map(len, recorder._written.values())) <= ROWS_KEPT
    recorder.offer([APP])
    assert recorder.depth() == 0, "what is offered again and again stays known"


def test_a_database_that_comes_back_is_told_everything_again(world: World) -> None:
    replays: list[int] = []

    def replay() -> None:
        replays.append(recorder.depth())
        recorder.offer([APP, TASK])

    recorder = Recorder(world.ledger, world.clock, refused=lambda _: None, replay=replay)
    recorder.offer([APP, TASK])
    assert run(recorder.flush())
    assert replays == []
    world.ledger.down = True
    recorder.offer([replace(APP, state="READY")])
    assert not run(recorder.flush())
    world.ledger.containers.clear()  # the standby that takes over had not got this row yet
    world.ledger.down = False
    world.clock.advance(60)
    assert run(recorder.flush())
    assert replays == [0]
    assert run(recorder.flush())
    assert list(world.ledger.containers) == [TASK.container_id]
    assert len(replays) == 1


def test_a_record_that_is_refused_is_told_to_its_object_once(world: World) -> None:
    process = Process(world)
    body = world.kube.create(KEY, SPEC)
    process.objects.read(body)
    app = replace(APP, task_id=body["metadata"]["uid"])
    world.ledger.poison = [app.task_id, "stranger"]

    async def refuse() -> None:
        refusals = Refusals(process.kube, process.objects, process.metrics)
        recorder = Recorder(world.ledger, world.clock, refused=refusals)
        process.wire.fail("post_event", Unavailable("down"))
        for state in ("PENDING", "READY", "FAILURE"):
            recorder.offer([replace(app, state=state), replace(app, task_id="stranger")])
            assert await recorder.flush()
            await asyncio.gather(*refusals._posting)

    on_a_loop(refuse())
    ((uid, event),) = world.kube.events.values()
    assert (uid, event.type, event.reason) == (app.task_id, "Warning", "RecordRefused")
    assert event.message == (
        "hardware.user_app_state does not show this object as it is: a value that cannot be stored"
    )
    assert process.wire.counts() == {"post_event": 3}
    assert process.value("fractal_db_refused_records_total") == 4
    assert process.value("fractal_db_errors_total") == 0


# --- launch permits ---


@pytest.mark.parametrize("error", [Throttled("Rate exceeded"), OutcomeUnknown("timeout")])
def test_every_call_of_run_task_takes_a_permit(world: World, error: Throttled) -> None:
    world.ecs.permits["RunTask"] = 1000
    wire = Wire()
    wire.fail("run_task", error, times=1000)
    process = started_process(world, wire)
    for number in range(20):
        world.kube.create(ObjectKey("default", f"o{number}"), SPEC)
    spend(process, 120)
    calls = wire.counts()["run_task"]
    assert calls > 20
    assert 1000 - world.ecs.permits["RunTask"] == calls


def test_a_permit_whose_intent_lost_a_race_serves_the_next_intent(world: World) -> None:
    world.ecs.permits["RunTask"] = 1
    world.kube.create(KEY, SPEC)
    wire = Wire()
    process = started_process(world, wire)
    wire.fail("write_status", Unavailable("down"))
    until(process, running)
    assert world.ecs.permits["RunTask"] == 0


def test_who_waits_for_a_permit_is_not_looked_at_again_and_again(world: World) -> None:
    """Once when it asks, once to tell of the wait; and nobody asks the rate limit for it."""
    drawn: list[str] = []

    def refuse(region: str, operation: str) -> float:
        drawn.append(operation)
        return 1.0

    process = started_process(world)
    process.ecs.draw = refuse  # type: ignore[method-assign]
    count = 400
    for number in range(count):
        world.kube.create(ObjectKey("default", f"o{number}"), SPEC)
    spend(process, 30, step=0.5)
    drawn.clear()
    looks: list[ObjectKey] = []
    look = process.reconciler.reconcile

    async def counted(key: ObjectKey) -> Rest:
        looks.append(key)
        return await look(key)

    process.reconciler.reconcile = counted  # type: ignore[method-assign]
    spend(process, 60, step=1.0)
    assert looks == []
    assert len(drawn) <= 130, "one for the line, whenever it is served"


def test_who_waits_alone_is_launched_as_soon_as_there_is_a_permit(world: World) -> None:
    world.ecs.permits["RunTask"] = 0
    world.kube.create(KEY, SPEC)
    process = started_process(world)
    spend(process, 5, step=0.5)
    world.ecs.permits["RunTask"] = 1
    until(process, running, within=30)


def test_a_take_over_and_back_leaves_nothing_certain() -> None:
    """Else an edit of the cluster launches a second task: the other's call may have landed."""
    world = World()
    world.ecs.lag = 300.0
    first, second = Process(world), Process(world)
    uid = world.kube.create(KEY, SPEC)["metadata"]["uid"]
    first.wire.fail("run_task", Unavailable("refused"), times=9)
    run(first.start())
    run(first.settle())
    known = first.memories.of(uid).launch
    assert known is not None
    assert known.certain
    second.wire.fail("run_task", OutcomeUnknown("lost"), after=True)
    run(second.start())
    run(second.settle())
    assert len(world.ecs.launches) == 1
    world.clock.advance(5)
    run(first.settle())
    attempt = world.status().attempt
    known = first.memories.of(uid).launch
    assert attempt is not None
    assert known is not None
    assert (attempt.issued_by, known.certain) == ("process-1", False)
