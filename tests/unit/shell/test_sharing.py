"""Two installations on the fakes: what each does with what is, was, or becomes the other's."""

from contextlib import suppress
from dataclasses import replace

import pytest
from tests.unit.shell.ecs_world import REGION
from tests.unit.shell.process import INSTALL, KEY, POLICY, Process, World, running
from tests.unit.shell.wire import run

from fractal_models.errors import AccessDenied, Unavailable
from fractal_models.kube import ObjectKey
from fractal_operator.core import orphans
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.plan import FINALIZER
from fractal_operator.core.selector import parse
from fractal_operator.shell.bystander import TELL_SECONDS
from fractal_operator.shell.gauges import Gauges
from fractal_operator.shell.hearing import SILENT_SECONDS, Hearing
from fractal_operator.shell.permits import Waiter
from fractal_operator.shell.reap import PERIOD_SECONDS

OTHER = "other"
A = replace(POLICY, selector=parse("team=a"))
B = replace(POLICY, install=OTHER, selector=parse("team!=a"))
SPEC = {"taskDefinition": "web"}


@pytest.fixture
def world() -> World:
    made = World()
    made.kube.create(KEY, SPEC, labels={"team": "a"})
    return made


def started(world: World, policy: object = A) -> Process:
    process = Process(world, policy=policy)  # type: ignore[arg-type]
    run(process.start())
    return process


def go_on(*processes: Process, seconds: float = 30.0) -> None:
    """Both work, ECS moves on and time passes."""
    world = processes[0].world
    end = world.clock.monotonic() + seconds
    while world.clock.monotonic() < end:
        for process in processes:
            run(process.settle())
        world.ecs.settle()
        world.clock.advance(1.0)
    for process in processes:
        run(process.settle())


def look(process: Process, install: str) -> float | None:
    Gauges(
        clock=process.clock,
        metrics=process.metrics,
        objects=process.objects,
        clusters=process.clusters,
        permits=process.permits,
        recorder=process.recorder,
        install=install,
    ).look()
    return process.value("fractal_objects_elsewhere")


def test_what_is_relabelled_changes_hands_with_its_task(world: World) -> None:
    a, b = started(world), started(world, B)
    go_on(a, b)
    assert running(world)
    assert world.status().installation == INSTALL
    (task,) = world.ecs.live(world.kube.objects[KEY]["metadata"]["uid"])
    world.kube.label(KEY, team="b")
    go_on(a, b)
    assert world.status().installation == OTHER
    assert running(world)
    assert world.ecs.live(world.kube.objects[KEY]["metadata"]["uid"]) == [task]
    assert world.ecs.tags[task]["fractal.co/install"] == OTHER
    assert world.ecs.tags[task]["fractal.co/retained"] == "false"
    assert (len(a.wire.of("run_task")), len(b.wire.of("run_task"))) == (1, 0)
    assert a.objects.get(KEY) is None
    assert world.ledger.apps == {} or not any(x.deleted for x in world.ledger.apps.values())
    for each in (a, b):
        each.wire.calls.clear()
    writes = world.kube.writes
    go_on(a, b, seconds=120)
    assert world.kube.writes == writes
    assert a.wire.of("get") == []
    assert a.tasks.ours() == []


def test_an_object_that_cannot_be_let_go_of_says_why_until_it_can(world: World) -> None:
    a, b = started(world), started(world, B)
    go_on(a, b)
    a.wire.fail("tag_task", AccessDenied("ecs:TagResource is not allowed"), times=4)
    world.kube.label(KEY, team="b")
    go_on(a, b, seconds=100)
    status = world.status()
    (stalled,) = (each for each in status.conditions if each.type == "Stalled")
    assert (status.installation, stalled.reason) == (INSTALL, "TaggingFailed")
    assert "ecs:TagResource" in stalled.message
    assert running(world)
    told = [event for _, event in world.kube.events.values() if event.reason == "TaggingFailed"]
    assert [(each.type, each.message) for each in told] == [("Warning", stalled.message)]
    go_on(a, b, seconds=60)
    assert world.status().installation == OTHER
    assert [each.reason for each in world.status().conditions if each.type == "Stalled"] == [
        "NotStalled"
    ]


def test_what_is_deleted_while_it_is_let_go_of_is_retained_all_the_same(world: World) -> None:
    key = replace(KEY, name="kept")
    world.kube.create(key, {**SPEC, "deletionPolicy": "Retain"}, labels={"team": "a"})
    a = started(world)
    go_on(a)
    (task,) = world.ecs.live(world.kube.objects[key]["metadata"]["uid"])
    world.kube.label(key, team="b")
    run(a.settle())
    assert world.ecs.tags[task]["fractal.co/retained"] == "released"
    world.kube.delete(key)
    go_on(a)
    assert key not in world.kube.objects
    assert world.ecs.tags[task]["fractal.co/retained"] == "true"


def test_what_is_gone_is_told_apart_from_what_left(world: World) -> None:
    a = started(world)
    go_on(a)
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    world.kube.force_delete(KEY)
    go_on(a, seconds=2)
    assert a.objects.get(KEY) is None
    run(a.recorder.flush())
    assert world.ledger.apps[uid].deleted


def test_of_what_is_gone_no_doubt_is_kept(world: World) -> None:
    a = started(world)
    go_on(a)
    world.kube.delete(KEY)
    go_on(a, seconds=60)
    assert KEY not in world.kube.objects
    assert a.reconciler._doubtful == set()
    world.kube.create(KEY, SPEC, labels={"team": "a"})
    go_on(a, seconds=5)
    standby = started(world)
    standby.agenda.led.clear()
    world.kube.force_delete(KEY)
    standby._hear()
    assert standby.reconciler._doubtful
    run(standby.news._list())
    assert standby.reconciler._doubtful == set()


def test_a_doubt_that_comes_during_a_read_is_another(world: World) -> None:
    a = started(world)
    go_on(a)
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    a.reconciler.doubt(uid)
    a.wire.suspends = True
    first = a.reconciler.reconcile(KEY)
    while a.wire.next != "get":
        first.send(None)
    a.reconciler.doubt(uid)
    a.wire.suspends = False
    a.wire.calls.clear()
    with suppress(StopIteration):
        first.send(None)
    for _ in range(2):
        run(a.reconciler.reconcile(KEY))
    assert len(a.wire.of("get")) == 2


def test_what_comes_back_is_stopped_once_its_object_is_gone(world: World) -> None:
    world.kube.create(ObjectKey("default", "stays"), SPEC, labels={"team": "a"})
    a = started(world)
    go_on(a)
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    (task,) = world.ecs.live(uid)
    world.kube.label(KEY, team="b")
    go_on(a, seconds=60)
    assert world.status().installation == ""
    assert world.ecs.tags[task]["fractal.co/retained"] == "released"
    world.kube.label(KEY, team="a")
    go_on(a, seconds=60)
    assert world.status().installation == INSTALL
    assert world.ecs.tags[task]["fractal.co/retained"] == "false"
    assert world.ecs.live(uid) == [task]
    world.kube.label(KEY, team="b")  # and once more: each time it is tagged anew
    go_on(a, seconds=60)
    assert world.status().installation == ""
    assert world.ecs.tags[task]["fractal.co/retained"] == "released"
    world.kube.label(KEY, team="a")
    go_on(a, seconds=60)
    world.kube.force_delete(KEY)
    world.clock.advance(orphans.MIN_AGE.total_seconds())
    rounds(a)
    assert len(a.wire.of("stop_task")) == 1


def test_who_leaves_an_object_alone_stands_in_no_line_for_it(world: World) -> None:
    a = started(world, POLICY)
    go_on(a)
    body = world.kube.objects[KEY]
    waiter = Waiter(KEY.namespace, body["metadata"]["uid"])
    world.ecs.permits["RunTask"] = 0
    assert not a.permits.ask(REGION, "RunTask", waiter)
    world.kube.write_status(body, {"installation": OTHER})
    a._hear()
    run(a.reconciler.reconcile(KEY))
    assert a.permits.queued(waiter) == ()


def test_a_read_that_fails_is_made_again_before_anything_else(world: World) -> None:
    a = started(world)
    go_on(a)
    world.kube.label(KEY, team="b")
    a.wire.fail("get", Unavailable("down"), times=3)
    go_on(a, seconds=1)
    assert a.objects.get(KEY) is not None
    assert world.status().installation == INSTALL
    go_on(a, seconds=60)
    assert world.status().installation == ""


def test_another_selector_after_a_restart_finds_what_left_meanwhile(world: World) -> None:
    go_on(started(world))
    changed = replace(A, selector=parse("team=x"))
    a = started(world, changed)
    go_on(a)
    assert world.status().installation == INSTALL  # nobody has told it of the object
    run(a.news._list())
    assert a.wire.of("claimed") == [(INSTALL,)]
    go_on(a)
    assert world.status().installation == ""
    assert a.objects.get(KEY) is None
    run(a.news._list())
    assert len(a.wire.of("claimed")) == 1


def test_without_a_selector_nothing_more_is_asked(world: World) -> None:
    process = started(world, POLICY)
    run(process.news._list())
    go_on(process)
    world.kube.force_delete(KEY)
    go_on(process, seconds=2)
    assert process.wire.of("claimed") == process.wire.of("get") == []


def test_of_two_that_select_an_object_the_second_leaves_it_alone_and_says_so(world: World) -> None:
    a, b = started(world, POLICY), started(world, replace(B, selector=POLICY.selector))
    go_on(a, b)
    owner, other = (a, b) if world.status().installation == INSTALL else (b, a)
    name = INSTALL if other is a else OTHER
    assert len(owner.wire.of("run_task")) == 1
    assert other.wire.of("run_task") == other.wire.of("stop_task") == []
    assert look(other, name) == 1
    assert look(owner, world.status().installation) == 0
    assert not [x for _, x in world.kube.events.values() if x.reason == "OtherInstallation"]
    writes = world.kube.writes
    go_on(a, b, seconds=TELL_SECONDS + 5)
    assert world.kube.writes == writes
    (told,) = [x for _, x in world.kube.events.values() if x.reason == "OtherInstallation"]
    assert told.type == "Warning"
    assert world.status().installation in told.message
    posts = len(other.wire.of("post_event"))
    world.kube.annotate(KEY, paused="true")
    go_on(a, b, seconds=TELL_SECONDS + 5)
    assert len(other.wire.of("post_event")) == posts
    rows = [row for (batch,) in other.world.ledger_wire.of("write") for row in batch]
    assert {getattr(x, "install", world.status().installation) for x in rows} <= {
        world.status().installation
    }
    world.kube.force_delete(KEY)
    other.wire.calls.clear()
    go_on(other, seconds=2)
    assert other.recorder.depth() == 0  # its end is recorded by whose it was


def test_an_event_that_is_lost_stops_nothing(world: World) -> None:
    body = world.kube.objects[KEY]
    body["metadata"]["finalizers"] = [FINALIZER]
    world.kube.write_status(body, {"installation": "gone"})
    b = started(world, replace(B, selector=POLICY.selector))
    b.wire.fail("post_event", Unavailable("down"))
    go_on(b, seconds=TELL_SECONDS + 5)
    assert len(b.wire.of("post_event")) == 1
    assert b.wire.of("write_status") == []
    assert [each.reference for each in b.clusters.all()] == ["main"]


def test_of_what_left_the_selector_the_watch_owes_nothing(world: World) -> None:
    a = started(world)
    world.kube.annotate(KEY, paused="true")
    go_on(a)
    hearing = Hearing(
        kube=a.kube, clock=a.clock, objects=a.objects, by_namespace=False, selector=A.selector
    )
    hearing.listed([world.kube.objects[KEY]])
    hearing.heard("ADDED", world.kube.objects[KEY])
    for labels, owed in (({"team": "a"}, True), ({"team": "b"}, False)):
        a.objects.read(world.kube.label(KEY, **labels))
        hearing.look()
        a.clock.advance(2 * SILENT_SECONDS)
        assert (hearing.standing()[0] > SILENT_SECONDS) is owed


# --- the reaper ---


@pytest.fixture
def left(world: World) -> Process:
    """A process whose task runs for an object that exists, and that it does not select."""
    world.kube.create(ObjectKey("default", "stays"), SPEC, labels={"team": "a"})
    go_on(started(world))
    world.kube.label(KEY, team="b")
    world.clock.advance(orphans.MIN_AGE.total_seconds())
    process = started(world)
    go_on(process)
    return process


def rounds(process: Process, count: int = 3) -> None:
    for _ in range(count):
        process.clock.advance(PERIOD_SECONDS)
        for cluster in process.clusters.all():
            run(process.observer.sweep(cluster))
        run(process.shell.reaper.round())


def kinds(process: Process) -> dict[str, float | None]:
    kinds = ("task", "unselected", "unproven")
    return {kind: process.value("fractal_orphans", kind=kind) for kind in kinds}


def test_the_task_of_an_object_that_is_not_selected_is_no_orphan(left: Process) -> None:
    rounds(left)
    assert left.wire.of("stop_task") == []
    assert kinds(left) == {"task": 0, "unselected": 1, "unproven": 0}


def test_nor_while_nobody_can_tell(left: Process) -> None:
    left.wire.fail("get", Unavailable("down"), times=3)
    rounds(left)
    assert left.wire.of("stop_task") == []
    assert kinds(left) == {"task": 0, "unselected": 0, "unproven": 0}


def test_but_that_of_an_object_that_is_gone_is(left: Process) -> None:
    left.world.kube.force_delete(KEY)
    rounds(left)
    assert len(left.wire.of("stop_task")) == 1


def test_an_inherited_task_whose_object_is_gone_is_reported_and_stopped_by_nobody(
    world: World,
) -> None:
    world.kube.create(ObjectKey("default", "stays"), SPEC, labels={"team": "b"})
    a, b = started(world), started(world, B)
    go_on(a, b)
    (task,) = world.ecs.live(world.kube.objects[KEY]["metadata"]["uid"])
    world.kube.label(KEY, team="b")
    go_on(a, b)
    world.kube.force_delete(KEY)
    go_on(a, b, seconds=orphans.MIN_AGE.total_seconds())
    for each in (a, b):
        rounds(each)
        assert each.wire.of("stop_task") == []
    assert world.ecs.tasks[task].live
    assert kinds(a) == {"task": 0, "unselected": 0, "unproven": 0}
    assert kinds(b) == {"task": 0, "unselected": 0, "unproven": 1}


@pytest.mark.parametrize(("adoptable", "ends"), [(("*",), 0), ((), 1)])
def test_an_adopted_task_changes_hands_if_the_list_of_the_new_ones_names_it(
    world: World, adoptable: tuple[str, ...], ends: int
) -> None:
    task = world.ecs.put("theirs", "deploy-tool")
    world.kube.annotate(KEY, adopt=task)
    rule = Rule(namespaces=("*",), images=("*",), adoptable=("*",))
    a = started(world, replace(A, allow=Allow((rule,))))
    b = started(world, replace(B, allow=Allow((replace(rule, adoptable=adoptable),))))
    go_on(a, b)
    assert [each.arn for each in world.status().tasks] == [task]
    world.kube.label(KEY, team="b")
    go_on(a, b, seconds=900)
    assert world.status().installation == OTHER
    assert [each.stop_code for each in world.status().last_terminations] == [
        "AdoptionFailed"
    ] * ends
    assert [each.arn for each in world.status().tasks] == [task] * (1 - ends)
    assert world.ecs.tags[task]["fractal.co/retained"] == ("released" if ends else "false")
    assert world.ecs.live() == [task], "nothing is launched while the annotation stands"
    assert a.wire.of("stop_task") + b.wire.of("stop_task") == []
