"""Task events from the queue: what they may do, when they are deleted, and how rare looks get."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.shell.ecs_world import ACCOUNT, MAIN, OTHER, REGION, task_arn
from tests.unit.shell.event_queue import EventQueue, FakeEvents, event_of
from tests.unit.shell.process import INSTALL, KEY, Process, World, running, until
from tests.unit.shell.wire import Crash, Wire, run

from fractal_models.errors import AccessDenied, Rejected, Unavailable
from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_models.task_events import TaskEvent, Unreadable
from fractal_operator.core.tokens import started_by
from fractal_operator.shell.events import GATHER_SECONDS, Pollers
from fractal_operator.shell.objects import uid_of
from fractal_operator.shell.observe import QUIET, Pace

SPEC = {"taskDefinition": "web"}
PACE = Pace(60.0, 600.0, 5.0)
BROKEN = Unreadable("it is no JSON", "abc")


class Bench:
    """A process that has swept once and whose queue answers; tasks of ours, and what they tell."""

    def __init__(self) -> None:
        self.world = World()
        self.queue = EventQueue()
        self.process = self.start()

    def start(self, wire: Wire | None = None) -> Process:
        process = Process(self.world, wire, pace=PACE, events=self.queue)
        process.main()
        run(process.settle())
        return process

    def ours(self, number: int = 1, **facts: Any) -> TaskArn:
        """A task of ours that the process has seen."""
        arn = self.world.ecs.put(f"our-{number}", started_by(INSTALL, f"uid-{number}", 1), **facts)
        run(self.process.observer.sweep(self.process.main()))
        self.process.woken.clear()
        return arn

    def tell(self, arn: TaskArn, **envelope: str) -> str:
        """An event of how the task is now; its receipt."""
        event = event_of(self.world.ecs.tasks[arn], **envelope)
        return self.queue.send(event, sent_at=self.world.clock.now())

    def poll(self) -> float:
        assert self.process.shell.pollers is not None
        return run(self.process.shell.pollers.round())

    def confirm(self) -> None:
        """As the loop does: look at what events have told of that takes a call to take in."""
        observer, cluster = self.process.observer, self.process.main()
        if observer.unconfirmed(cluster):
            run(observer.confirm(cluster))
        if observer.locator.waits(cluster):
            run(observer.locator.take_in(cluster))

    def sight(self, arn: TaskArn) -> ObservedTask | None:
        return self.process.tasks.sight(arn)

    def counted(self, result: str) -> float | None:
        return self.process.value("fractal_events_total", result=result)


def ring(bench: Bench) -> None:
    """The next round of the ring."""
    bench.world.clock.advance(1)
    run(bench.process.observer.ring(bench.process.main()))


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- taking in ---


def test_an_end_is_known_at_once_and_its_object_woken(bench: Bench) -> None:
    arn = bench.ours()
    bench.world.ecs.end(arn, 3)
    receipt = bench.tell(arn)
    asked = bench.process.wire.counts()["describe_tasks"]
    assert bench.poll() == GATHER_SECONDS
    assert bench.queue.deleted == [receipt]
    assert bench.process.woken == []
    bench.confirm()
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.stopped
    assert seen.containers[0].exit_code == 3
    assert bench.process.woken == ["uid-1"]
    assert bench.process.wire.counts()["describe_tasks"] == asked + 1
    assert bench.counted("news") == 1


def test_an_event_is_deleted_only_once_it_has_been_taken_in(bench: Bench) -> None:
    arn = bench.ours()
    bench.world.ecs.end(arn)
    bench.tell(arn)
    bench.process.wire.suspends = True
    assert bench.process.shell.pollers is not None
    round_ = bench.process.shell.pollers.round()
    while bench.process.wire.next != "delete_messages":
        round_.send(None)
    seen = bench.process.observer.heard(arn)
    assert seen is not None
    assert seen.stopped
    assert bench.queue.deleted == []
    round_.close()


def test_an_event_whose_taker_dies_before_it_is_deleted_comes_again(bench: Bench) -> None:
    arn = bench.ours()
    bench.world.ecs.end(arn)
    receipt = bench.tell(arn)
    bench.process.wire.crash_at = len(bench.process.wire.calls) + 2
    with pytest.raises(Crash):
        bench.poll()
    assert bench.queue.deleted == []
    bench.queue.reappear()
    bench.process = bench.start()
    bench.poll()
    assert bench.queue.deleted == [receipt]


def test_of_several_events_the_newest_counts_in_whatever_order_they_come(bench: Bench) -> None:
    arn = bench.ours(last_status="PROVISIONING", started_at=None)
    told = []
    for status in ("PENDING", "ACTIVATING", "RUNNING"):
        bench.world.ecs.go(arn, status)
        told.append(event_of(bench.world.ecs.tasks[arn]))
    for event in (told[2], told[0], told[2], told[1]):
        bench.queue.send(event)
    bench.poll()
    seen = bench.sight(arn)
    assert seen is not None
    assert (seen.last_status, seen.version) == ("RUNNING", 4)
    assert len(bench.queue.deleted) == 4
    assert (bench.counted("news"), bench.counted("known")) == (1, 3)
    bench.process.woken.clear()
    bench.queue.send(told[0])  # another batch, later
    bench.poll()
    assert bench.sight(arn) == seen
    assert bench.process.woken == []
    assert (bench.counted("news"), bench.counted("known")) == (1, 4)


def test_nothing_follows_an_end(bench: Bench) -> None:
    arn = bench.ours()
    late = event_of(replace(bench.world.ecs.tasks[arn], version=99))
    bench.world.ecs.end(arn)
    bench.tell(arn)
    bench.poll()
    bench.queue.send(late)
    bench.poll()
    bench.confirm()
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.stopped


def test_tags_that_events_do_not_tell_are_kept(bench: Bench) -> None:
    arn = bench.ours()
    bench.world.ecs.tags[arn] = {"fractal.co/retained": "true"}
    run(bench.process.observer.sweep(bench.process.main()))
    bench.world.ecs.change(arn, health="HEALTHY")
    bench.tell(arn)
    bench.poll()
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.health == "HEALTHY"
    assert seen.tag("fractal.co/retained") == "true"


def test_a_task_of_ours_that_was_never_seen_is_found_by_its_started_by(bench: Bench) -> None:
    arn = bench.world.ecs.put("new", started_by(INSTALL, "uid-7", 2))
    bench.tell(arn)
    bench.poll()
    assert [task.arn for task in bench.process.tasks.of("uid-7")] == [arn]


def test_a_new_task_that_ecs_does_not_describe_yet_is_not_taken_for_vanished(bench: Bench) -> None:
    arns = [
        bench.world.ecs.put(f"n-{n}", started_by(INSTALL, f"uid-{n}", 1), created_at=None)
        for n in range(12)
    ]
    for arn in arns:
        bench.tell(arn)
    for _ in range(2):
        bench.poll()
    for arn in arns:
        del bench.world.ecs.tasks[arn]  # as if invisible
    run(bench.process.observer.sweep(bench.process.main()))
    assert bench.process.main().paused == ""


# --- whose it is ---


def ended(task: ObservedTask, **facts: Any) -> ObservedTask:
    return replace(task, **{"last_status": "STOPPED", "desired_status": "STOPPED", **facts})


def edited(**facts: Any) -> Callable[[TaskEvent], TaskEvent]:
    return lambda event: replace(event, task=replace(event.task, **facts))


@pytest.mark.parametrize(
    "forge",
    [
        edited(started_by=started_by("other", "uid-1", 1), arn=task_arn("x")),
        edited(started_by="ecs-svc/123", arn=task_arn("x")),
        edited(started_by="", arn=task_arn("x")),
        edited(started_by=started_by(INSTALL, "uid-2", 1)),
        edited(cluster_arn=ClusterArn(MAIN.replace(ACCOUNT, "999999999999"))),
        edited(cluster_arn=ClusterArn(f"{MAIN}-2")),
        edited(arn=task_arn("our-1", OTHER)),
        edited(arn=TaskArn("our-1")),
        lambda event: replace(event, region="eu-west-1"),
        lambda event: replace(event, account="999999999999"),
        lambda event: None,
    ],
)
def test_what_is_not_ours_changes_nothing_and_is_deleted(
    bench: Bench, forge: Callable[[TaskEvent], TaskEvent | None]
) -> None:
    arn = bench.ours()
    before = bench.sight(arn)
    ended = replace(
        bench.world.ecs.tasks[arn], last_status="STOPPED", desired_status="STOPPED", version=9
    )
    receipt = bench.queue.send(forge(event_of(ended)))
    bench.poll()
    assert bench.sight(arn) == before
    assert bench.process.woken == []
    assert bench.process.tasks.ours() == [before]
    assert bench.queue.deleted == [receipt]
    assert bench.counted("foreign") == 1


def test_a_cluster_that_is_not_swept_is_not_ours(bench: Bench) -> None:
    arn = bench.world.ecs.put("x", started_by(INSTALL, "uid-1", 1), OTHER)
    bench.tell(arn)
    bench.poll()
    assert bench.sight(arn) is None
    bench.process.clusters.of(REGION, "other")
    run(bench.process.settle())
    bench.world.ecs.end(arn)
    bench.tell(arn)
    bench.poll()
    run(bench.process.settle())
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.stopped


@pytest.mark.parametrize("reference", ["other", OTHER])
def test_a_cluster_that_was_never_looked_at_holds_up_only_its_own_events(
    bench: Bench, reference: str
) -> None:
    mine = bench.ours()
    theirs = bench.world.ecs.put("x", started_by(INSTALL, "uid-2", 1), OTHER)
    bench.process.clusters.of(REGION, reference, held=True)
    bench.world.ecs.go(mine, "DEACTIVATING")
    first, late = bench.tell(mine), bench.tell(theirs)
    assert bench.poll() == GATHER_SECONDS
    seen = bench.sight(mine)
    assert seen is not None
    assert seen.last_status == "DEACTIVATING"
    assert bench.queue.deleted == [first]
    run(bench.process.settle())
    bench.world.ecs.go(theirs, "DEACTIVATING")
    bench.tell(theirs)
    bench.queue.reappear()
    bench.poll()
    assert late in bench.queue.deleted
    seen = bench.sight(theirs)
    assert seen is not None
    assert seen.last_status == "DEACTIVATING"


def test_an_adopted_task_is_taken_in_should_a_rule_tell_of_it(bench: Bench) -> None:
    arn = bench.world.ecs.put("theirs", "somebody")
    bench.process.tasks.claim("uid-1", [arn])
    bench.world.ecs.end(arn)
    bench.tell(arn)
    bench.poll()
    bench.confirm()
    assert bench.process.woken == ["uid-1"]


# --- what goes wrong ---


def test_what_cannot_be_read_is_left_to_the_dead_letter_queue_and_blocks_nothing(
    bench: Bench,
) -> None:
    arn = bench.ours()
    bench.world.ecs.end(arn)
    poison = bench.queue.send(BROKEN)
    good = bench.tell(arn)
    bench.poll()
    assert bench.queue.deleted == [good]
    assert list(bench.queue.hidden) == [poison]
    assert bench.counted("unreadable") == 1
    bench.queue.reappear()
    bench.queue.waiting *= 3
    assert bench.poll() == GATHER_SECONDS
    assert bench.queue.deleted == [good]


def test_messages_that_sqs_does_not_delete_are_counted(bench: Bench) -> None:
    bench.tell(bench.ours())
    bench.process.wire.overtaken = bench.queue.hidden.clear
    bench.poll()
    assert bench.process.value("fractal_events_undeleted_total") == 1


def test_events_count_though_they_cannot_be_deleted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.process.wire.fail("delete_messages", AccessDenied("not allowed"), times=3)
    for number in range(4):
        arn = bench.ours(number)
        bench.world.ecs.end(arn)
        bench.tell(arn)
        assert bench.poll() == GATHER_SECONDS
        bench.confirm()
        seen = bench.sight(arn)
        assert seen is not None
        assert seen.stopped
    assert bench.process.shell.stream.healthy()
    assert bench.process.value("fractal_events_undeleted_total") == 3
    assert caplog.text.count("not allowed") == 1
    assert len(bench.queue.deleted) == 1


def test_a_standby_deletes_nothing(bench: Bench) -> None:
    bench.tell(bench.ours())
    shell = bench.process.shell
    standby = Pollers(
        queue=FakeEvents(bench.queue, bench.process.wire),
        clock=bench.process.clock,
        clusters=shell.clusters,
        observer=shell.observer,
        stream=shell.stream,
        metrics=bench.process.metrics,
        health=bench.process.health,
        leads=lambda: False,
    )
    run(standby.round())
    assert bench.queue.deleted == []


def test_nothing_is_received_before_the_first_sweep() -> None:
    bench = Bench.__new__(Bench)
    bench.world, bench.queue = World(), EventQueue()
    bench.process = Process(bench.world, events=bench.queue)
    bench.process.main()
    bench.tell(bench.world.ecs.put("x", started_by(INSTALL, "uid-1", 1)))
    assert bench.poll() > 0
    assert bench.queue.waiting
    run(bench.process.observer.sweep(bench.process.main()))
    assert bench.poll() == GATHER_SECONDS
    assert not bench.queue.waiting


@pytest.mark.parametrize(("messages", "pause"), [(0, 0.0), (1, GATHER_SECONDS), (10, 0.0)])
def test_after_few_messages_the_next_ones_may_come_together(
    bench: Bench, messages: int, pause: float
) -> None:
    for number in range(messages):
        bench.tell(bench.ours(number))
    assert bench.poll() == pause


def test_a_queue_that_fails_is_asked_less_and_less_often_and_told_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.queue.down = Unavailable("down")
    pauses = [bench.poll() for _ in range(8)]
    assert pauses[0] <= 2
    assert pauses[-1] > 25
    assert max(pauses) <= 60
    assert caplog.text.count("down") == 1
    bench.queue.down = None
    assert bench.poll() == 0.0
    bench.queue.down = Unavailable("down")
    assert bench.poll() <= 2


def test_a_queue_that_has_not_answered_yet_is_not_waited_for_long(bench: Bench) -> None:
    bench.poll()
    bench.poll()
    bench.queue.down = Unavailable("down")
    bench.poll()
    bench.queue.down = None
    bench.poll()
    bench.poll()
    assert [seconds for (seconds,) in bench.process.wire.of("receive")] == [1, 20, 20, 1, 20]


@pytest.mark.parametrize("error", [Rejected("no such queue"), AccessDenied("not yours")])
def test_sweeps_take_over_at_once_from_a_queue_that_is_gone(bench: Bench, error: Rejected) -> None:
    bench.poll()
    assert bench.process.shell.stream.healthy()
    bench.queue.down = error
    bench.poll()
    assert not bench.process.shell.stream.healthy()
    assert bench.process.value("fractal_events_healthy", queue="events") == 0


def test_a_crash_is_counted_and_the_poller_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arn = bench.ours()
    bench.world.ecs.go(arn, "DEACTIVATING")
    bench.tell(arn)
    with monkeypatch.context() as broken:
        broken.setattr(bench.process.tasks, "observe", None)
        assert bench.poll() > 0
    assert bench.process.value("fractal_events_crashes_total") == 1
    assert bench.queue.deleted == []
    caplog.clear()  # that it was logged is what makes a person look
    bench.queue.reappear()
    assert bench.poll() == GATHER_SECONDS
    assert len(bench.queue.deleted) == 1


# --- how rare looks get ---


def due(bench: Bench) -> bool:
    return bench.process.observer.due(bench.process.main())


def sweep(bench: Bench) -> None:
    assert run(bench.process.observer.sweep(bench.process.main()))


def later(bench: Bench, seconds: float) -> None:
    """Time passes, and the queue answers all the while."""
    while seconds > 0:
        bench.world.clock.advance(min(20.0, seconds))
        seconds -= 20.0
        bench.poll()


def test_an_answer_that_was_asked_for_before_the_queue_refused_does_not_outweigh_that(
    bench: Bench,
) -> None:
    """A queue that is deleted answers the long polls that are under way."""
    stream, pollers = bench.process.shell.stream, bench.process.shell.pollers
    assert pollers is not None
    bench.poll()
    assert stream.healthy()
    bench.process.wire.suspends = True
    early = pollers.round()
    early.send(None)
    bench.process.wire.suspends = False
    bench.world.clock.advance(1)
    bench.queue.down = Rejected("gone")
    bench.poll()
    assert not stream.healthy()
    bench.queue.down = None
    run(early)
    assert not stream.healthy()
    bench.poll()
    assert stream.healthy()


def test_while_events_are_relied_on_a_sweep_is_an_audit(bench: Bench) -> None:
    bench.poll()
    later(bench, 60)
    assert due(bench)  # one more, for what was lost while they were not relied on
    sweep(bench)
    later(bench, 599)
    assert not due(bench)
    later(bench, 1)
    assert due(bench)
    sweep(bench)
    bench.queue.down = Rejected("gone")
    bench.poll()
    assert not due(bench)
    bench.world.clock.advance(60)
    assert due(bench)
    sweep(bench)
    bench.queue.down = None
    bench.poll()
    later(bench, 60)
    assert due(bench)
    sweep(bench)
    later(bench, 300)
    assert not due(bench)


def test_a_wish_for_a_task_that_is_not_there_makes_no_sweep_more(bench: Bench) -> None:
    """Anybody may annotate an object with such an ARN."""
    bench.ours()
    bench.process.tasks.wish("uid-9", task_arn("of-nobody"))
    bench.poll()
    later(bench, 60)
    assert due(bench)  # one more, for what was lost while they were not relied on
    sweep(bench)
    ring(bench)
    later(bench, 590)
    assert not due(bench)


def test_a_task_that_ecs_does_not_know_is_looked_for_as_often_as_without_events(
    bench: Bench,
) -> None:
    arn = bench.ours()
    bench.poll()
    sweep(bench)
    bench.process.tasks.claim("uid-1", [arn])
    del bench.world.ecs.tasks[arn]
    sweep(bench)
    later(bench, 60)
    assert due(bench)


def test_a_sweep_takes_no_more_of_the_quota_than_its_share(bench: Bench) -> None:
    for number in range(1000):
        bench.world.ecs.put(f"many-{number}", started_by(INSTALL, f"uid-{number}", 1))
    sweep(bench)
    process = Process(bench.world, pace=Pace(1.0, calls_per_second=2.0))
    cluster = process.main()
    run(process.observer.sweep(cluster))
    bench.world.clock.advance(9.9)
    assert not process.observer.due(cluster)  # 10 calls list, 10 describe; 2 a second
    bench.world.clock.advance(0.1)
    assert process.observer.due(cluster)


def test_the_ring_leaves_to_events_what_they_have_told_of_late(bench: Bench) -> None:
    arn = bench.ours(last_status="PENDING", started_at=None)
    bench.poll()
    asked = bench.process.wire.counts()["describe_tasks"]
    run(bench.process.observer.ring(bench.process.main()))
    assert bench.process.wire.counts()["describe_tasks"] == asked
    later(bench, QUIET.total_seconds())
    run(bench.process.observer.ring(bench.process.main()))
    assert bench.process.wire.of("describe_tasks")[asked:] == [(MAIN, [arn])]


def test_what_events_cannot_tell_of_is_looked_at_as_often_as_without_them(bench: Bench) -> None:
    mine, theirs = bench.ours(), bench.world.ecs.put("theirs", "somebody")
    bench.process.tasks.claim("uid-2", [theirs])
    sweep(bench)
    bench.poll()
    asked = len(bench.process.wire.of("describe_tasks"))
    for _ in range(3):
        later(bench, 60)
        for _ in range(2):
            run(bench.process.observer.ring(bench.process.main()))
    looks = [arns for _, arns in bench.process.wire.of("describe_tasks")[asked:]]
    assert looks == [[theirs]] * 3
    assert mine not in looks


def test_a_rule_that_is_gone_is_noticed_by_what_the_ring_sees(bench: Bench) -> None:
    arn = bench.ours(last_status="PENDING", started_at=None)
    bench.poll()
    bench.world.ecs.go(arn, "RUNNING")
    later(bench, QUIET.total_seconds())
    run(bench.process.observer.ring(bench.process.main()))
    assert bench.process.shell.stream.healthy()
    later(bench, 60)
    assert not bench.process.shell.stream.healthy()
    assert bench.process.value("fractal_events_missed_total") == 1


def told_to_run(bench: Bench) -> TaskArn:
    """A task of an object, which awaits it: an event has told that it runs."""
    world = bench.world
    world.kube.create(KEY, SPEC)
    run(bench.process.settle())
    (arn,) = world.ecs.live()
    bench.poll()
    world.ecs.go(arn, "RUNNING")
    bench.tell(arn)
    bench.poll()
    return arn


@pytest.mark.parametrize("stops", [False, True])
def test_what_an_event_told_is_not_missed_while_its_address_is_asked_for(
    bench: Bench, stops: bool
) -> None:
    """At a mass launch addresses take long, and sweeps showed first what events had told."""
    world, process = bench.world, bench.process
    arn = told_to_run(bench)
    process.wire.suspends = True
    taking_in = process.observer.locator.take_in(process.main())
    while process.wire.next != "addresses":
        taking_in.send(None)
    process.wire.suspends = False
    if stops:
        world.ecs.go(arn, "DEACTIVATING")
        bench.tell(arn)
        bench.poll()
    run(process.observer.sweep(process.main()))
    run(taking_in)
    later(bench, 60)
    assert process.shell.stream.healthy()
    assert not process.value("fractal_events_missed_total")


def test_addresses_that_do_not_come_hold_up_no_event(bench: Bench) -> None:
    """An EC2 out of reach took each poller half a minute a message, and all events were late."""
    world, process = bench.world, bench.process
    arn = told_to_run(bench)
    assert process.wire.counts()["addresses"] == 0
    other = bench.ours(7)
    world.ecs.end(other)
    bench.tell(other)
    process.wire.fail("addresses", Unavailable("down"))
    bench.poll()
    bench.confirm()
    end = bench.sight(other)
    assert end is not None
    assert end.stopped
    told = bench.sight(arn)
    assert told is not None
    assert told.last_status == "RUNNING", "shown without an address, which the ring asks for"
    assert not process.observer.locator.waits(process.main())
    run(process.settle())
    assert running(world)


def test_tasks_that_nobody_waits_for_any_more_are_not_kept(bench: Bench) -> None:
    world, process = bench.world, bench.process
    arn = told_to_run(bench)
    assert process.observer.locator.of(arn) is not None
    process.tasks.watch_closely(uid_of(world.kube.objects[KEY]), False)
    run(process.observer.sweep(process.main()))
    assert process.observer.locator.of(arn) is None


def test_running_with_its_address_is_one_write(bench: Bench) -> None:
    world, process = bench.world, bench.process
    world.kube.create(KEY, SPEC)
    run(process.settle())
    (arn,) = world.ecs.live()
    bench.poll()
    writes = process.wire.counts()["write_status"]
    world.ecs.go(arn, "RUNNING")
    bench.tell(arn)
    bench.poll()
    run(process.settle())
    assert running(world)
    assert process.wire.counts()["write_status"] == writes + 1


def test_a_task_that_runs_before_its_launch_is_told_of_takes_no_write_more(bench: Bench) -> None:
    world, process = bench.world, bench.process
    run(process.settle())
    world.kube.create(KEY, SPEC)
    process.wire.suspends = True
    launching = process.settle()
    while process.wire.next != "run_task":
        launching.send(None)
    while process.wire.next != "write_status":
        launching.send(None)
    process.wire.suspends = False
    (arn,) = world.ecs.live()
    world.ecs.go(arn, "RUNNING")
    bench.tell(arn)
    bench.poll()
    bench.confirm()
    run(launching)
    run(process.settle())
    assert running(world)
    assert world.status().endpoint is not None
    counts = process.wire.counts()
    assert counts["set_finalizers"] + counts["write_status"] == 4


def test_a_whole_life_by_events_alone(bench: Bench) -> None:
    """What starts and stops is told by events; a task that runs is looked at until it is Ready."""
    world, process = bench.world, bench.process
    world.kube.create(KEY, SPEC)
    seen: dict[TaskArn, int | None] = {}
    asked = len(process.wire.of("describe_tasks"))

    def told(_: World) -> bool:
        for arn, task in world.ecs.tasks.items():
            if seen.get(arn) != task.version:
                seen[arn] = task.version
                bench.tell(arn)
        bench.poll()
        run(process.settle())
        return running(world)

    bench.poll()
    until(process, told)
    (first,) = world.ecs.live()
    world.ecs.end(first)
    until(process, lambda w: told(w) and w.ecs.live() != [first])
    (second,) = world.ecs.live()
    looks = [arns for _, arns in process.wire.of("describe_tasks")[asked:]]
    assert looks == [[first], [first], [second]]  # running, ended, running


def test_what_waits_for_its_health_is_looked_at_since_events_do_not_tell_of_it(
    bench: Bench,
) -> None:
    arn = bench.ours()
    bench.process.tasks.watch_closely("uid-1", True)
    bench.poll()
    asked = len(bench.process.wire.of("describe_tasks"))
    for _ in range(2):
        ring(bench)
    assert bench.process.wire.of("describe_tasks")[asked:] == [(MAIN, [arn])] * 2
    bench.world.ecs.change(arn, health="HEALTHY")
    ring(bench)
    bench.process.tasks.watch_closely("uid-1", False)
    asked += 3
    later(bench, 60)
    run(bench.process.observer.ring(bench.process.main()))
    assert bench.process.wire.of("describe_tasks")[asked:] == [(MAIN, [arn])]


def test_a_forged_end_never_makes_two_live_tasks(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    world, process = bench.world, bench.process
    world.kube.create(KEY, SPEC)
    until(process, running)
    (first,) = world.ecs.live()
    before = world.status()
    forged = event_of(ended(world.ecs.tasks[first], version=99))
    bench.queue.send(forged)
    bench.poll()
    for _ in range(120):
        run(process.settle())
        world.clock.advance(10)
        bench.poll()
    assert world.ecs.live() == [first]
    assert len(world.ecs.launches) == 1
    assert world.status() == before
    assert caplog.text.count("forged") == 1
    asked = len(process.wire.of("describe_tasks"))
    run(process.observer.ring(process.main()))
    assert len(process.wire.of("describe_tasks")) == asked, "asked about for ever"
    world.ecs.end(first)
    bench.tell(first)
    bench.poll()
    until(process, lambda w: w.ecs.live() != [first] and running(w), within=60)


def test_a_forged_end_of_a_task_that_ecs_does_not_show_yet_launches_nothing(bench: Bench) -> None:
    """RunTask's answer was lost, and the end of a task that never was is told under its name."""
    world, process = bench.world, bench.process
    world.kube.create(KEY, SPEC)
    process.wire.fail("run_task", Unavailable("lost"), after=True)
    run(process.settle())
    (first,) = world.ecs.live()
    ghost = replace(world.ecs.tasks[first], arn=task_arn("ghost"))
    bench.queue.send(event_of(ended(ghost)))
    bench.poll()
    until(process, running)
    assert world.ecs.live() == [first]
    assert len(world.ecs.launches) == 1


def test_an_end_that_is_said_to_be_yet_to_come_is_not_asked_about_for_ever(bench: Bench) -> None:
    arn = bench.ours()
    future = bench.world.clock.now() + timedelta(days=365)
    tasks = [bench.world.ecs.tasks[arn], replace(bench.world.ecs.tasks[arn], arn=task_arn("ghost"))]
    for each in tasks:
        bench.queue.send(event_of(replace(ended(each, version=99), stopped_at=future)))
    bench.poll()
    bench.confirm()
    bench.world.clock.advance(301)
    for _ in range(2):
        asked = len(bench.process.wire.of("describe_tasks"))
        run(bench.process.observer.ring(bench.process.main()))
    assert len(bench.process.wire.of("describe_tasks")) == asked
    assert bench.process.observer.heard(arn) == bench.sight(arn)


def test_an_end_in_a_cluster_that_is_gone_is_not_remembered_for_ever(bench: Bench) -> None:
    arn = bench.ours()
    bench.queue.send(event_of(ended(bench.world.ecs.tasks[arn])))
    bench.poll()
    gone = Rejected("no such cluster", code="ClusterNotFoundException")
    bench.process.wire.fail("list_tasks", gone, times=2)
    run(bench.process.observer.sweep(bench.process.main()))
    end = bench.process.observer.heard(arn)
    assert end is not None
    assert end.stopped
    bench.world.clock.advance(3601)
    run(bench.process.observer.sweep(bench.process.main()))
    assert bench.process.observer.heard(arn) == bench.sight(arn)


def test_all_ends_of_a_moment_are_confirmed_a_hundred_a_call(bench: Bench) -> None:
    for number in range(150):
        bench.world.ecs.put(f"many-{number}", started_by(INSTALL, f"uid-{number}", 1))
    sweep(bench)
    arns = [*bench.world.ecs.tasks]
    for arn in arns:
        bench.world.ecs.end(arn)
        bench.tell(arn)
    for _ in range(15):
        bench.poll()
    asked = len(bench.process.wire.of("describe_tasks"))
    bench.confirm()
    looks = [told for _, told in bench.process.wire.of("describe_tasks")[asked:]]
    assert [len(each) for each in looks] == [100, 50]
    assert {arn for each in looks for arn in each} == {*arns}
    assert bench.process.tasks.ours() == []
    assert not bench.process.observer.unconfirmed(bench.process.main())


def test_one_call_that_fails_ends_a_round_of_confirming(bench: Bench) -> None:
    """Each may take as long to fail: 20 in a row looked like a loop that stands still."""
    for number in range(250):
        bench.world.ecs.put(f"many-{number}", started_by(INSTALL, f"uid-{number}", 1))
    sweep(bench)
    for arn in [*bench.world.ecs.tasks]:
        bench.world.ecs.end(arn)
        bench.tell(arn)
    for _ in range(25):
        bench.poll()
    asked = len(bench.process.wire.of("describe_tasks"))
    bench.process.wire.fail("describe_tasks", Unavailable("down"))
    bench.confirm()
    assert len(bench.process.wire.of("describe_tasks")) == asked + 1
    bench.confirm()
    assert len(bench.process.wire.of("describe_tasks")) == asked + 3
    run(bench.process.observer.ring(bench.process.main()))
    assert bench.process.tasks.ours() == [], "the ring asks again about the first hundred"


def test_an_end_that_ecs_does_not_show_yet_is_asked_about_by_the_ring_until_it_does(
    bench: Bench,
) -> None:
    arn = bench.ours()
    bench.queue.send(event_of(ended(bench.world.ecs.tasks[arn])))
    bench.poll()
    bench.process.wire.fail("describe_tasks", Unavailable("down"))
    bench.confirm()
    asked = len(bench.process.wire.of("describe_tasks"))
    for _ in range(3):
        ring(bench)
    bench.world.ecs.end(arn)
    for _ in range(3):
        ring(bench)
    assert bench.process.wire.of("describe_tasks")[asked:] == [(MAIN, [arn])] * 4
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.stopped
    later(bench, 120)
    assert bench.process.shell.stream.healthy(), "an event has told of what ECS shows"
    assert bench.process.value("fractal_events_missed_total") == 0


def test_an_old_end_that_ecs_knows_nothing_of_any_more_is_asked_about_once(bench: Bench) -> None:
    arn = bench.ours()
    old = ended(bench.world.ecs.tasks[arn], arn=task_arn("old"))
    bench.queue.send(event_of(replace(old, stopped_at=bench.world.clock.now())))
    bench.world.clock.advance(3600)
    bench.poll()
    asked = len(bench.process.wire.of("describe_tasks"))
    bench.confirm()
    for _ in range(3):
        run(bench.process.observer.ring(bench.process.main()))
    looks = bench.process.wire.of("describe_tasks")[asked:]
    assert [told for _, told in looks if task_arn("old") in told] == [[task_arn("old")]]


def test_a_forged_version_hides_what_ecs_shows_for_minutes_only(bench: Bench) -> None:
    arn = bench.ours()
    truth = bench.world.ecs.tasks[arn]
    bench.queue.send(event_of(replace(truth, desired_status="STOPPED", version=10**9)))
    bench.poll()
    bench.world.clock.advance(299)
    sweep(bench)
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.version == 10**9  # ECS may yet show the past
    bench.process.woken.clear()
    bench.world.clock.advance(2)
    sweep(bench)
    seen = bench.sight(arn)
    assert seen is not None
    assert (seen.desired_status, seen.version) == ("RUNNING", truth.version)
    assert bench.process.woken == ["uid-1"]


def test_an_end_that_ecs_confirms_is_final(bench: Bench) -> None:
    arn = bench.ours()
    bench.world.ecs.end(arn)
    bench.tell(arn)
    bench.poll()
    bench.confirm()
    bench.world.clock.advance(600)
    sweep(bench)
    seen = bench.sight(arn)
    assert seen is not None
    assert seen.stopped
