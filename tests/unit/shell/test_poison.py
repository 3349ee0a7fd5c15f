"""One object that breaks its reconcile: its own trouble, told in its own status, and no other's."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.shell.process import INSTALL, KEY, POLICY, Process, World, running, until
from tests.unit.shell.wire import Wire, run

from fractal_models.container import Status
from fractal_models.errors import Rejected, Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.core import rows
from fractal_operator.core.annotations import ABANDON
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import Observation, Plan, Policy, Resolve
from fractal_operator.shell import places, reconcile
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.poison import AGAIN_SECONDS, TRIES

OTHER = ObjectKey("default", "two")
SPEC = {"taskDefinition": "web"}
Planted = Callable[[], Plan]


class Real(Process):
    """A process whose reconciles are the workers' own."""

    async def _reconcile(self, key: ObjectKey) -> None:
        await self.shell.workers.reconcile(key)

    def passes(self, seconds: float) -> None:
        """Let it work for so long."""
        limit = self.clock.monotonic() + seconds
        until(self, lambda _: self.clock.monotonic() >= limit, within=2 * seconds)

    def panics(self) -> float:
        name = "controller_runtime_reconcile_panics_total"
        return self.value(name, controller="fractalcontainer") or 0.0


class Bug:
    """A bug of ours, planted: deciding on the object KEY ends as ``planted`` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.planted: Planted | None = None
        self.met = 0
        monkeypatch.setattr(reconcile, "decide", self._maybe)

    def _maybe(self, seen: Observation, policy: Policy) -> Plan:
        if self.planted is None or seen.name != KEY.name:
            return decide(seen, policy)
        self.met += 1
        return self.planted()


def oops() -> Plan:
    raise KeyError("a text that nobody foresaw\n\x1b[31m")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> Bug:
    return Bug(monkeypatch)


def stalled(world: World, key: ObjectKey = KEY) -> tuple[str, str]:
    """Reason and message of Stalled, while it is True."""
    for each in world.status(key).conditions:
        if each.type == "Stalled" and each.status == "True":
            return each.reason, each.message
    return "", ""


def writes(process: Process, key: ObjectKey = KEY) -> int:
    bodies = [args[0] for args in process.wire.of("write_status")]
    return sum(body["metadata"]["name"] == key.name for body in bodies)


def told(world: World) -> list[str]:
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    return [e.message for of, e in world.kube.events.values() if (of, e.reason) == (uid, BROKEN)]


BROKEN = "InternalError"


def test_it_says_so_after_some_tries_and_is_tried_slowly_then(world: World, bug: Bug) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC)
    process = Real(world)
    until(process, lambda _: stalled(world)[0] == BROKEN, within=120)
    assert (bug.met, process.panics()) == (TRIES, TRIES)
    _, message = stalled(world)
    assert "KeyError: 'a text that nobody foresaw" in message
    assert "test_poison.py, line" in message
    assert "\x1b" not in message
    process.passes(10 * AGAIN_SECONDS)
    assert TRIES + 9 <= bug.met <= TRIES + 11
    assert (writes(process), told(world)) == (1, [message])

    again = Real(world)
    again.passes(10 * AGAIN_SECONDS)
    assert (writes(again), told(world)) == (0, [message])


def test_its_neighbour_does_not_notice(world: World, bug: Bug) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC)
    world.kube.create(OTHER, SPEC)
    process = Real(world, workers=1)
    began = process.clock.monotonic()
    until(process, lambda _: running(world, OTHER))
    alone = World()
    alone.kube.create(OTHER, SPEC)
    until(Real(alone), lambda _: running(alone, OTHER))
    assert process.clock.monotonic() - began <= alone.clock.monotonic()
    assert len(world.ecs.launches) == 1


@pytest.mark.parametrize("change", ["edit", "reconcile-requested-at", "nothing"])
def test_it_goes_on_once_the_fault_is_gone(world: World, bug: Bug, change: str) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC)
    process = Real(world)
    until(process, lambda _: stalled(world)[0] == BROKEN)
    bug.planted = None
    if change == "edit":
        world.kube.edit(KEY, dpi=96)
    if change == "reconcile-requested-at":
        world.kube.annotate(KEY, reconcile_requested_at="now")
    until(
        process, lambda _: running(world), within=AGAIN_SECONDS + 60 if change == "nothing" else 60
    )
    assert stalled(world) == ("", "")
    bug.planted = oops
    world.kube.edit(KEY, dpi=97)
    run(process.settle())
    assert stalled(world) == ("", "")  # it counts from the beginning again


def test_what_runs_runs_on_and_is_not_forgotten(world: World, bug: Bug) -> None:
    world.kube.create(KEY, SPEC)
    process = Real(world)
    until(process, lambda _: running(world))
    before, live = world.status(), world.ecs.live()
    bug.planted = oops
    world.kube.edit(KEY, dpi=96)
    until(process, lambda _: stalled(world)[0] == BROKEN)
    after = world.status()
    assert (after.attempt, after.tasks, after.phase) == (before.attempt, before.tasks, before.phase)
    ready = [
        next(c for c in each.conditions if c.type == "Ready").status for each in (before, after)
    ]
    assert ready[0] == ready[1]
    assert (world.ecs.live(), len(world.ecs.launches)) == (live, 1)


def test_deleted_it_is_kept_until_somebody_gives_it_up(world: World, bug: Bug) -> None:
    world.kube.create(KEY, SPEC)
    process = Real(world)
    until(process, lambda _: running(world))
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    bug.planted = oops
    world.kube.delete(KEY)
    until(process, lambda _: stalled(world)[0] == BROKEN)
    assert f"{ABANDON}={uid}" in stalled(world)[1]
    gauges = Gauges(
        clock=process.clock,
        metrics=process.metrics,
        objects=process.objects,
        clusters=process.clusters,
        permits=process.permits,
        recorder=process.recorder,
        install=INSTALL,
    )
    gauges.look()
    assert process.value("fractal_stuck_deletions") == 1
    process.passes(AGAIN_SECONDS)
    assert KEY in world.kube.objects
    world.kube.annotate(KEY, abandon="another-uid")
    run(process.settle())
    assert KEY in world.kube.objects
    world.kube.annotate(KEY, abandon=uid)
    run(process.settle())
    assert KEY not in world.kube.objects
    assert len(world.ecs.live()) == 1  # the owner's from now on
    run(process.recorder.flush())
    assert [row.deleted for row in world.ledger.apps.values()] == [True]


def test_another_finalizer_stays_when_ours_is_given_up(world: World, bug: Bug) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC, finalizers=["fractal.co/ecs-task", "example.com/other"])
    world.kube.delete(KEY)
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    world.kube.annotate(KEY, abandon=uid)
    process = Real(world)
    run(process.start())
    run(process.settle())
    assert world.kube.objects[KEY]["metadata"]["finalizers"] == ["example.com/other"]


def test_an_outage_is_nobodys_poison(world: World) -> None:
    world.kube.create(KEY, SPEC)
    process = Real(world)
    process.wire.fail("set_finalizers", Unavailable("down"), times=10)
    until(process, lambda _: running(world))
    assert process.panics() == 0
    assert told(world) == []


def test_a_status_that_the_server_refuses_is_told_with_the_cause(world: World) -> None:
    world.kube.create(KEY, SPEC)
    process = Real(world)
    cause = "status.attempt.number: must be less than 1."
    process.wire.fail("write_status", Rejected(cause, code="Invalid"), times=TRIES)
    until(process, lambda _: stalled(world)[0] == BROKEN, within=120)
    assert f"on this object: {cause} Nothing" in stalled(world)[1]
    until(process, lambda _: running(world), within=AGAIN_SECONDS + 60)


def test_where_the_conditions_are_refused_too_an_event_tells_it(world: World) -> None:
    world.kube.create(KEY, SPEC)
    process = Real(world)
    process.wire.fail("write_status", Rejected("no", code="Invalid"), times=100)
    process.passes(3 * AGAIN_SECONDS)
    assert len(told(world)) == 1
    assert world.kube.objects[KEY].get("status") is None


def test_steps_without_end_are_a_fault_like_any_other(world: World, bug: Bug) -> None:
    bug.planted = lambda: Plan((Resolve("us-east-1", "web"),))
    world.kube.create(KEY, SPEC)
    process = Real(world)
    until(process, lambda _: stalled(world)[0] == BROKEN, within=120)
    assert "did not come to rest" in stalled(world)[1]


def test_a_lost_race_and_an_unreachable_server_only_put_it_off(world: World, bug: Bug) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC)
    process = Real(world)
    process.wire.fail("write_status", Unavailable("down"))
    until(process, lambda _: stalled(world)[0] == BROKEN, within=2 * AGAIN_SECONDS)


def test_who_does_not_lead_writes_nothing(world: World, bug: Bug) -> None:
    bug.planted = oops
    world.kube.create(KEY, SPEC)
    process = Real(world)
    process.shell.workers._poison._leads = lambda: False
    process.passes(300)
    assert bug.met >= TRIES
    assert process.wire.counts()["write_status"] == 0


# --- what is asked of all objects at once ---


def test_a_list_ends_well_whatever_one_object_breaks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster of one cannot be told, the end of another cannot be recorded."""
    home, app_state = places.home, rows.app_state

    def lost(status: Status) -> Any:
        if status.last_handled_reconcile_at == "boom":
            raise KeyError("home")
        return home(status)

    def unrecorded(body: Any, *args: Any, **kwargs: Any) -> Any:
        if body["metadata"]["name"] == "ended":
            raise KeyError("row")
        return app_state(body, *args, **kwargs)

    monkeypatch.setattr(places, "home", lost)
    monkeypatch.setattr(rows, "app_state", unrecorded)
    ended = ObjectKey("default", "ended")
    world.kube.create(ended, SPEC)
    world.kube.create(KEY, SPEC)
    world.kube.create(OTHER, SPEC)
    process = Real(world)
    run(process.news._list())
    world.kube.objects[KEY]["status"] = {"lastHandledReconcileAt": "boom"}
    del world.kube.objects[ended]
    run(process.news._list())
    assert process.objects.get(ended) is None
    assert process.news.listed
    until(process, lambda _: running(world, OTHER))


JUNK: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, 10**30, "", "x", "a\0b", [], {}, [[]], [{}], {"a": 1}, ["x"],
    [None], "9999-12-31T23:59:59-14:00", "x" * 5000,
]  # fmt: skip
WHOLE: dict[str, Any] = {
    "spec": {
        "user": "ada",
        "dpi": 96,
        "template": {"image": "app:1", "ports": [{"name": "http", "containerPort": 80}]},
        "placement": [{"launchType": "FARGATE", "waitSeconds": 5}],
        "timeouts": {"lifetimeSeconds": 100},
        "tags": {"a": "b"},
        "region": "us-east-1",
    },
    "status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "reason": "TaskRunning"}],
        "attempt": {
            "number": 1,
            "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/main",
            "lastIssuedAt": "2026-05-04T11:00:00Z",
        },
        "tasks": [{"attempt": 1, "role": "Current", "arn": "arn:aws:ecs:task/main/abc"}],
        "endpoint": {"ip": "192.0.2.1", "ports": [{"containerPort": 80, "hostPort": 80}]},
        "lastTerminations": [{"attempt": 1, "stopCode": "Lost"}],
        "willStopAt": "2026-05-04T11:00:00Z",
    },
}


def spoiled(value: Any, chance: random.Random) -> Any:
    """``value`` with something in it replaced by junk."""
    if chance.random() < 0.2 or not value or not isinstance(value, dict | list):
        return chance.choice(JUNK)
    places: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = chance.choice(places)
    changed = spoiled(value[place], chance)
    if isinstance(value, dict):
        return {**value, place: changed}
    return [*value[:place], changed, *value[place + 1 :]]


@pytest.mark.parametrize("seed", range(8))
def test_no_junk_in_spec_or_status_breaks_anything(world: World, seed: int) -> None:
    """As an object stored under a CRD without our schema may be; also in its deletion."""
    chance = random.Random(seed)
    for number in range(40):
        body: Any = world.kube.create(ObjectKey("default", f"junk-{number}"), SPEC)
        whole = spoiled(WHOLE, chance)
        body.pop("status", None)
        body.update(whole if isinstance(whole, dict) else {})
        if chance.random() < 0.3:
            body["metadata"]["finalizers"] = ["fractal.co/ecs-task"]
            world.kube.delete(ObjectKey("default", f"junk-{number}"))
    process = Real(world)
    run(process.start())
    process.passes(30)
    run(process.news._list())
    Gauges(
        clock=process.clock,
        metrics=process.metrics,
        objects=process.objects,
        clusters=process.clusters,
        permits=process.permits,
        recorder=process.recorder,
        install=INSTALL,
    ).look()
    for known in process.objects.all():
        process.actor.vanished(known.body())
    assert process.panics() == 0
    assert [e for _, e in world.kube.events.values() if e.reason == BROKEN] == []


def test_a_wire_that_fails_is_no_bug() -> None:
    world = World()
    world.kube.create(KEY, SPEC)
    process = Real(world, Wire(), policy=POLICY)
    process.wire.fail("post_event", Rejected("namespace is terminating", code="Forbidden"), times=9)
    until(process, lambda _: running(world))
    assert process.panics() == 0


def test_what_another_installation_looks_after_is_told_nothing(world: World, bug: Bug) -> None:
    world.kube.write_status(world.kube.create(KEY, SPEC), {"installation": "other"})
    process = Real(world)
    run(process.start())
    bug.planted = oops
    writes = world.kube.writes
    process.passes(60)
    assert bug.met >= TRIES
    assert (world.kube.writes, world.kube.events) == (writes, {})
