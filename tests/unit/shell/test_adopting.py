"""Adoption through the shell: what is observed for a wish, who gets the task, what is counted."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.shell.ecs_world import MAIN, OTHER, WEB, task_arn
from tests.unit.shell.process import INSTALL, KEY, POLICY, Process, World, until
from tests.unit.shell.wire import START, Crash, Wire, run

from fractal_models.container import Phase
from fractal_models.errors import OutcomeUnknown
from fractal_models.kube import ObjectKey
from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.plan import Policy
from fractal_operator.shell.tasks import Tasks
from fractal_operator.shell.wishes import Wishes

SPEC = {"taskDefinition": "web"}
RULE = Rule(namespaces=("*",), images=("*",), adoptable=("*",))
ALLOWED = replace(POLICY, allow=Allow((RULE,)))
EVE = ObjectKey("default", "eve")


def theirs(world: World) -> TaskArn:
    return world.ecs.put("theirs", "deploy-tool", last_status="RUNNING", definition_arn=WEB)


def well(world: World) -> bool:
    return world.status().phase is Phase.RUNNING and world.status().endpoint is not None


def owner(world: World, arn: TaskArn) -> str:
    return world.ecs.tags[arn][tokens.TAG_UID]


def test_a_task_is_taken_over_without_a_launch() -> None:
    world = World()
    arn = theirs(world)
    process = Process(world, policy=ALLOWED)
    run(process.start())
    uid = world.kube.create(KEY, SPEC, annotations={ADOPT: arn})["metadata"]["uid"]
    until(process, well)
    assert (world.ecs.launches, owner(world, arn)) == ([], uid)
    assert [each.arn for each in world.status().tasks] == [arn]
    assert process.wire.counts()["tag_task"] == 1
    run(process.recorder.flush())
    assert world.ledger.containers[arn].state == "RUNNING_AVAILABLE"
    world.kube.delete(KEY)
    until(process, lambda it: not it.kube.objects)
    assert not world.ecs.tasks[arn].live
    run(process.recorder.flush())
    row = world.ledger.containers[arn]
    assert (row.state, row.stop_code) == ("STOPPED", "Deleted")
    assert process.wire.counts()["stop_task"] == 1


@pytest.mark.parametrize(
    ("policy", "asked"), [(ALLOWED, task_arn("th!eirs")), (POLICY, task_arn("theirs"))]
)
def test_ecs_is_not_asked_of_what_is_refused_anyway(policy: Policy, asked: str) -> None:
    world = World()
    theirs(world)
    process = Process(world, policy=policy)
    run(process.start())
    world.kube.create(KEY, SPEC, annotations={ADOPT: asked})
    until(process, lambda it: "AdoptionRefused" in str(it.status().conditions))
    later = world.clock.monotonic() + 1800
    until(process, lambda it: it.clock.monotonic() >= later)
    assert process.wire.counts()["describe_tasks"] == 1  # of what the first list shows
    world.kube.delete(KEY)
    until(process, lambda it: not it.kube.objects)


def test_its_end_is_heard_though_a_stop_takes_its_tags_away() -> None:
    world = World()
    arn = theirs(world)
    process = Process(world, policy=ALLOWED)
    run(process.start())
    world.kube.create(KEY, SPEC, annotations={ADOPT: arn})
    until(process, well)
    world.ecs.tags.pop(arn)
    world.ecs.change(
        arn, last_status="STOPPED", desired_status="STOPPED", stop_code="UserInitiated"
    )
    until(process, lambda it: len(it.ecs.launches) == 1 and well(it))
    assert [each.attempt for each in world.status().last_terminations] == [1]


def test_two_objects_that_ask_for_one_task_never_both_have_it() -> None:
    world = World()
    arn = theirs(world)
    process = Process(world, policy=ALLOWED)
    run(process.start())
    for key in (KEY, EVE):
        world.kube.create(key, SPEC, annotations={ADOPT: arn})

    def settled(it: World) -> bool:
        return {it.status(key).phase for key in (KEY, EVE)} == {Phase.RUNNING, Phase.FAILED}

    until(process, settled)
    winner, loser = sorted((KEY, EVE), key=lambda key: str(world.status(key).phase), reverse=True)
    assert owner(world, arn) == world.kube.objects[winner]["metadata"]["uid"]
    assert world.ecs.launches == []
    world.kube.delete(loser)
    until(process, lambda it: len(it.kube.objects) == 1)
    assert world.ecs.tasks[arn].live


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_of_an_adoption_launches_and_stops_nothing(after: bool) -> None:
    crashes = 0
    while crashed(crashes + 1, after=after):
        crashes += 1
    assert crashes > 8  # it is a list, a finalizer, sweeps, writes, the tag and more


def crashed(call: int, *, after: bool) -> bool:
    """An adoption whose first process dies at a call; False if it makes fewer calls."""
    world = World()
    arn = theirs(world)
    world.kube.create(KEY, SPEC, annotations={ADOPT: arn})
    first = Process(world, Wire(crash_at=call, crash_after=after), policy=ALLOWED)
    try:
        run(first.start())
        until(first, well)
    except Crash:
        second = Process(world, policy=ALLOWED)
        run(second.start())
        until(second, well)
        return True
    finally:
        assert (world.ecs.launches, world.ecs.live()) == ([], [arn])
    return False


def test_tags_that_land_after_the_list_was_narrowed_leave_no_task_beside_a_new_one() -> None:
    """The process that asked for them is gone, and so is the annotation."""
    world = World()
    arn = theirs(world)
    world.kube.create(KEY, SPEC, annotations={ADOPT: arn})
    first = Process(world, policy=ALLOWED)
    first.wire.fail("tag_task", OutcomeUnknown("no answer"))
    run(first.start())
    until(first, lambda it: it.status().attempt is not None)
    assert first.wire.counts()["tag_task"] == 1
    uid = world.kube.objects[KEY]["metadata"]["uid"]
    world.kube.annotate(KEY, **{ADOPT: ""})
    second = Process(world)
    run(second.start())
    later = world.clock.monotonic() + 35
    until(second, lambda it: it.clock.monotonic() >= later)
    world.ecs.tag_task(arn, tokens.owner_tags(INSTALL, KEY.namespace, KEY.name, uid))
    until(second, well)
    assert (world.ecs.launches, world.ecs.live()) == ([], [arn])
    assert second.wire.counts()["tag_task"] == 0


# --- the store ---


def store() -> tuple[Tasks, list[str]]:
    woken: list[str] = []
    return Tasks("ins", woken.append, lambda: None), woken


def foreign(**changes: object) -> ObservedTask:
    arn = task_arn("theirs")
    made = ObservedTask(arn, ClusterArn(MAIN), START, "RUNNING", started_by="deploy-tool")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_wished_task_is_observed_for_all_who_wish() -> None:
    tasks, woken = store()
    for uid in ("a", "b"):
        tasks.wish(uid, foreign().arn)
    tasks.observe(foreign())
    assert woken == ["a", "b"]
    assert tasks.of("a") == tasks.of("b") == (foreign(),)
    assert tasks.wished(MAIN) == [foreign().arn]
    assert tasks.wished(OTHER) == []
    assert tasks.wished(MAIN, closely=True) == []
    tasks.watch_closely("a", True)
    assert tasks.wished(MAIN, closely=True) == [foreign().arn]


def test_a_wish_withdrawn_leaves_nothing_behind() -> None:
    tasks, _ = store()
    tasks.wish("a", foreign().arn)
    tasks.wish("b", foreign().arn)
    tasks.observe(foreign())
    tasks.wish("a", "")
    assert (tasks.of("a"), tasks.of("b")) == ((), (foreign(),))
    tasks.forget("b")
    assert (tasks.wished(MAIN), tasks.lives(foreign().arn)) == ([], False)


def test_a_task_that_is_only_wished_for_counts_neither_as_expected_nor_as_lost() -> None:
    tasks, woken = store()
    tasks.wish("a", foreign().arn)
    tasks.observe(foreign())
    assert tasks.expected(MAIN) == []
    tasks.absent(foreign().arn, START)
    tasks.absent(foreign().arn, START + timedelta(hours=1))
    assert (tasks.vanished(MAIN), tasks.of("a")) == ([], ())
    assert list(tasks.missing_of("a")) == [foreign().arn]
    assert woken == ["a", "a"]
    tasks.observe(foreign())
    assert (tasks.missing_of("a"), woken) == ({}, ["a", "a", "a"])


def test_an_adopted_task_belongs_to_whom_its_tags_name() -> None:
    tasks, woken = store()
    mine = tuple(tokens.owner_tags("ins", "default", "one", "a").items())
    old = tokens.started_by("ins", "before", 3)
    tasks.observe(foreign(started_by=old, tags=mine))
    assert (woken, tasks.owner(foreign(started_by=old, tags=mine))) == (["a"], "a")
    assert tasks.expected(MAIN) == [foreign().arn]


def test_the_end_of_an_adopted_task_is_heard_though_nothing_tells_whose_it_was() -> None:
    """Another process noted its end first, so no status claimed it: it was asked for again and
    again, and an audit soon after took its row back from STOPPED."""
    tasks, _ = store()
    mine = tuple(tokens.owner_tags("ins", "default", "one", "a").items())
    tasks.observe(foreign(tags=mine))
    later = START + timedelta(seconds=10)
    tasks.observe(foreign(tags=(), desired_status="STOPPED", observed_at=later))
    assert tasks.moving(MAIN) == [foreign().arn]
    tasks.observe(foreign(tags=(), last_status="STOPPED", desired_status="STOPPED"))
    assert (tasks.shown(foreign().arn, later), tasks.expected(MAIN)) == (False, [])


def test_wishes() -> None:
    wishes = Wishes()
    assert wishes.put("a", "x") is None
    assert wishes.put("a", "x") is None
    assert wishes.put("b", "x") is None
    assert wishes.of("a") == TaskArn("x")
    assert sorted(wishes.by(TaskArn("x"))) == ["a", "b"]
    assert wishes.put("a", "y") == "x"
    assert sorted(wishes.by(TaskArn("x"))) == ["b"]
    assert wishes.put("b", "") == "x"
    assert sorted(wishes.under("")) == ["y"]
