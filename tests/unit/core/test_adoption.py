"""fractal.co/adopt: an object takes over a task that somebody else launched, without a restart."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core import world
from tests.unit.core.loop import World
from tests.unit.core.world import ELSEWHERE, NOW, POLICY, SPEC, UID, arn, cluster, observation

from fractal_models.container import Phase, Role, Status, Termination
from fractal_models.observed import ClusterInfo, ObservedContainer, ObservedTask
from fractal_operator.core import adoption, events, tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.decide import decide
from fractal_operator.core.plan import (
    Missing,
    Observation,
    Problem,
    RemoveFinalizer,
    Stop,
    StopTask,
    TagTask,
)

ARN = arn("theirs")
RULE = Rule(
    namespaces=("default",), images=("*",), adoptable=("arn:aws:ecs:us-east-1:*:task/main/*",)
)
ALLOWED = replace(POLICY, allow=Allow((RULE,)))
MINE = tuple(sorted(tokens.owner_tags("ins", "default", "box", UID).items()))


def theirs(**changes: Any) -> ObservedTask:
    fields: dict[str, Any] = {
        "arn": ARN,
        "started_by": "deploy-tool",
        "spec_hash": "",
        "tags": (),
    }
    return world.task(**fields | changes)


def there(task: ObservedTask | None = None, **changes: Any) -> World:
    """A world with a running task that is to be adopted."""
    fields: dict[str, Any] = {"policy": ALLOWED, "annotations": {ADOPT: ARN}}
    it = World(SPEC, **fields | changes)
    it.tasks[ARN] = task or theirs()
    return it


def adopted(**changes: Any) -> World:
    it = there(**changes)
    it.run(120)
    assert it.phase() is Phase.RUNNING
    return it


def asking(**changes: Any) -> Observation:
    fields: dict[str, Any] = {"annotations": {ADOPT: ARN}}
    return observation(**fields | changes)


def said(seen: Observation, policy: Any = ALLOWED) -> tuple[str, str]:
    """The reason and the message that the object shows; nothing is called for it."""
    after, plan = world.settled(seen, policy)
    assert not plan.actions
    ready = next(each for each in after.status.conditions if each.type == "Ready")
    return ready.reason, ready.message


# --- looked for ---


@pytest.mark.parametrize(
    ("wish", "namespace", "found"),
    [
        (ARN, "default", ARN),
        (ARN, "elsewhere", ""),
        (arn("theirs", ELSEWHERE), "default", ""),
        (f"{ARN}!", "default", ""),
        (f"{ARN}/more", "default", ""),
        ("", "default", ""),
    ],
)
def test_only_what_may_be_adopted_is_looked_for(wish: str, namespace: str, found: str) -> None:
    assert adoption.sought({ADOPT: wish}, Status(), ALLOWED, namespace) == found


# --- taken over ---


def test_a_running_task_is_taken_over_and_not_restarted() -> None:
    it = adopted()
    status = Status.from_json(it.status)
    assert (it.calls, [each.arn for each in it.alive]) == (0, [ARN])
    assert [(each.arn, each.attempt, each.role) for each in status.tasks] == [
        (ARN, 1, Role.CURRENT)
    ]
    assert status.endpoint is not None
    assert dict(it.tasks[ARN].tags or ()) | dict(MINE) == dict(it.tasks[ARN].tags or ())
    writes = len(it.writes)
    it.run(3600, every=60)
    assert (it.calls, len(it.writes)) == (0, writes)


def test_the_annotation_may_go_once_it_is_done() -> None:
    it = adopted()
    it.annotations = {}
    it.run(600)
    assert (it.calls, [each.arn for each in it.alive]) == (0, [ARN])


def test_a_wiped_status_finds_it_again_by_its_tags() -> None:
    it = adopted()
    it.status, it.annotations = {}, {}
    it.crash()
    it.run(600)
    assert (it.calls, it.phase(), [each.arn for each in it.alive]) == (0, Phase.RUNNING, [ARN])


def test_a_crash_after_any_step_takes_it_over_all_the_same() -> None:
    for steps in range(8):
        it = there()
        it.sweep()
        for _ in range(steps):
            it.step()
        it.crash()
        it.run(120)
        assert (it.calls, it.phase(), len(it.alive)) == (0, Phase.RUNNING, 1)


def test_an_edit_replaces_it_from_the_spec() -> None:
    it = adopted()
    it.edit(dpi=96)
    it.run(300)
    assert (it.calls, it.launched, len(it.alive), it.most_alive) == (1, 2, 1, 1)
    attempt = Status.from_json(it.status).attempt
    assert attempt is not None
    assert attempt.number == 2


def test_its_end_is_told_and_followed_by_a_launch() -> None:
    it = adopted()
    it.exits(3)
    it.run(300)
    status = Status.from_json(it.status)
    assert [(each.attempt, each.exit_code) for each in status.last_terminations] == [(1, 3)]
    assert (it.calls, it.phase(), len(it.alive)) == (1, Phase.RUNNING, 1)


def test_a_deletion_stops_it() -> None:
    it = adopted()
    it.delete()
    it.run(120)
    assert (it.gone, it.alive) == (True, [])


def test_a_retained_deletion_leaves_it_and_the_next_object_can_have_it() -> None:
    it = adopted()
    it.edit(deletionPolicy="Retain")
    it.delete()
    it.run(120)
    assert (it.gone, [each.arn for each in it.alive]) == (True, [ARN])
    kept = it.tasks[ARN]
    assert kept.tag(tokens.TAG_RETAINED) == "true"
    others = {**dict(kept.tags or ()), tokens.TAG_UID: "another"}
    following = adopted(task=replace(kept, tags=tuple(sorted(others.items()))))
    assert following.tasks[ARN].tag(tokens.TAG_RETAINED) == "false"
    assert following.tasks[ARN].tag(tokens.TAG_UID) == UID


def test_a_task_of_another_object_is_not_replaced_for_that_ones_spec() -> None:
    old = world.started_by(4, uid="4a1f0c7e-0000-4000-8000-00000000000f")
    retained = ((tokens.TAG_RETAINED, "true"),)
    it = adopted(task=theirs(started_by=old, spec_hash="v1:other", tags=retained))
    it.run(600)
    assert (it.calls, len(it.alive)) == (0, 1)


def test_suspending_stops_it_and_resuming_launches() -> None:
    it = adopted()
    it.edit(operatingMode="Suspended")
    it.run(120)
    assert (it.phase(), it.alive) == (Phase.SUSPENDED, [])
    it.edit(operatingMode="Running")
    it.run(120)
    assert (it.calls, it.phase()) == (1, Phase.RUNNING)


@pytest.mark.parametrize("template", [False, True])
def test_what_the_spec_says_of_its_own_containers_is_not_asked_of_it(template: bool) -> None:
    check = {"command": ["CMD", "true"]}
    spec = {"template": {**world.TEMPLATE, "healthCheck": check}} if template else SPEC
    main = ObservedContainer("theirs", "RUNNING")
    it = World(spec, policy=ALLOWED, annotations={ADOPT: ARN})
    it.tasks[ARN] = theirs(containers=(main,))
    it.run(120)
    attempt = Status.from_json(it.status).attempt
    assert attempt is not None
    assert (it.phase(), it.calls, attempt.container_name) == (Phase.RUNNING, 0, "theirs")


# --- refused ---


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        replace(POLICY, allow=Allow((replace(RULE, namespaces=("other",)),))),
        replace(
            POLICY,
            allow=Allow((replace(RULE, adoptable=("arn:aws:ecs:us-east-1:*:task/other/*",)),)),
        ),
    ],
    ids=["no rule", "another namespace", "another cluster"],
)
def test_only_what_the_allow_list_names(policy: Any) -> None:
    reason, message = said(asking(tasks=(theirs(),)), policy)
    assert reason == "AdoptionRefused"
    assert "FRACTAL_ALLOW" in message
    mine = asking(tasks=(theirs(tags=MINE),), status=held())
    after = decide(mine, policy)
    assert not any(isinstance(each, TagTask) for each in after.actions)


def held() -> Status:
    return Status(tasks=(world.entry(arn=ARN),))


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (theirs(last_status="STOPPED", desired_status="STOPPED"), "has stopped"),
        (theirs(desired_status="STOPPED"), "is stopping"),
        (
            theirs(tags=tuple(tokens.owner_tags("ins", "b", "a", "c").items())),
            "belongs to the FractalContainer b/a",
        ),
        (
            theirs(started_by=world.started_by(1, uid="4a1f0c7e-0000-4000-8000-00000000000f")),
            "launched for another FractalContainer",
        ),
    ],
)
def test_a_task_that_is_not_to_be_had(task: ObservedTask, told: str) -> None:
    reason, message = said(asking(tasks=(task,)))
    assert reason == "AdoptionRefused"
    assert told in message
    assert ADOPT in message


def test_a_task_that_ecs_does_not_know() -> None:
    seen = asking(missing={ARN: Missing(NOW, NOW, 1)})
    assert said(seen) == (
        "AdoptionRefused",
        f"ECS does not know the task {ARN}. Correct or remove the annotation {ADOPT}.",
    )


def test_a_task_of_another_cluster() -> None:
    name = arn("x", ELSEWHERE)
    rule = replace(RULE, adoptable=("*",))
    seen = asking(annotations={ADOPT: name})
    reason, message = said(seen, replace(POLICY, allow=Allow((rule,))))
    assert reason == "AdoptionRefused"
    assert "is not in the object's cluster" in message


def test_removing_the_annotation_launches() -> None:
    it = there(policy=POLICY)
    it.run(120)
    assert (it.phase(), it.calls) == (Phase.FAILED, 0)
    it.annotations = {}
    it.run(120)
    assert (it.phase(), it.calls) == (Phase.RUNNING, 1)


def test_an_object_that_has_launched_before_adopts_nothing() -> None:
    it = World(SPEC, policy=ALLOWED)
    it.run(120)
    it.tasks[ARN] = theirs()
    it.annotations = {ADOPT: ARN}
    it.run(600)
    assert (it.calls, len(it.alive)) == (1, 2)
    assert ARN not in str(it.status)


# --- waiting ---


def test_an_unknown_cluster_is_told_as_always() -> None:
    seen = asking(target=None)
    assert said(seen)[0] == "InvalidSpec"


def test_a_task_not_seen_yet_is_looked_for() -> None:
    after, plan = world.settled(asking(), ALLOWED)
    assert (plan.actions, plan.wants_sweep) == ((), False)  # the ring looks, without a sweep
    assert str(after.status.phase) == "Pending"


def test_a_paused_cluster_is_no_bar() -> None:
    _, plan = world.settled(asking(tasks=(theirs(),), target=cluster(paused="many lost")), ALLOWED)
    assert [type(each) for each in plan.actions] == [TagTask]


def test_tags_that_do_not_show_are_put_on_again_after_a_while() -> None:
    seen, plan = world.settled(asking(tasks=(theirs(),)), ALLOWED)
    assert [type(each) for each in plan.actions] == [TagTask]
    waits = decide(replace(seen, adopted={ARN: Stop(NOW)}), ALLOWED)
    assert waits.actions == ()
    assert waits.again_at is not None
    again = decide(replace(seen, now=waits.again_at, adopted={ARN: Stop(NOW)}), ALLOWED)
    assert [type(each) for each in again.actions] == [TagTask]


def test_tags_that_cannot_be_put_on_are_told() -> None:
    failed = Stop(NOW, Problem("AccessDenied", "not authorized: ecs:TagResource", NOW))
    reason, message = said(asking(tasks=(theirs(),), adopted={ARN: failed}))
    assert reason == "TaggingFailed"
    assert "ecs:TagResource" in message


def test_a_foreign_task_is_never_stopped_whatever_the_status_claims() -> None:
    it = World({**SPEC, "operatingMode": "Suspended"})
    it.tasks[ARN] = theirs()
    it.status = held().to_json()
    it.run(600)
    assert [each.arn for each in it.alive] == [ARN]
    it.delete()
    it.run(600)
    assert (it.gone, [each.arn for each in it.alive]) == (True, [ARN])


def test_a_list_that_is_narrowed_takes_no_adopted_task_away() -> None:
    it = adopted()
    it.policy = POLICY
    it.run(600)
    assert (it.calls, it.phase(), [each.arn for each in it.alive]) == (0, Phase.RUNNING, [ARN])
    it.delete()
    it.run(600)
    assert (it.gone, it.alive) == (True, [])


def test_an_adoption_that_has_begun_is_carried_through_without_its_annotation() -> None:
    others: tuple[dict[str, str], ...] = ({}, {ADOPT: arn("another")})
    for other in others:
        it = there()
        it.sweep()
        while not any(task.tags for task in it.tasks.values()):
            it.step()
        it.annotations = other
        it.crash()
        it.run(300)
        assert (it.calls, it.phase(), [each.arn for each in it.alive]) == (0, Phase.RUNNING, [ARN])


NARROWED = replace(POLICY, process="second")


def narrowed(**changes: Any) -> World:
    """An adoption whose tags may be on their way when a list that does not name it takes over."""
    it = there(**changes)
    it.sweep()
    while Status.from_json(it.status).attempt is None:
        it.step()
    it.crash()
    it.policy, it.annotations = NARROWED, {}
    return it


def test_a_list_narrowed_in_the_middle_of_an_adoption_loses_no_task() -> None:
    """It ended at once, with its tags on their way: a task was launched beside the adopted one."""
    it = narrowed()
    it.run(60)
    assert (it.calls, it.phase()) == (0, Phase.PENDING)
    assert "taken over all the same" in str(it.status)
    it.change(ARN, tags=MINE)
    it.run(600)
    assert (it.calls, it.phase(), [each.arn for each in it.alive]) == (0, Phase.RUNNING, [ARN])


@pytest.mark.parametrize("crashes", [False, True])
def test_what_was_not_tagged_before_the_list_was_narrowed_is_let_go_in_time(crashes: bool) -> None:
    it = narrowed()
    it.run(400)
    if crashes:  # who looked is gone, and another one may have tagged it meanwhile
        it.crash()
        it.policy = replace(NARROWED, process="third")
        it.run(400)
    assert (it.calls, Status.from_json(it.status).last_terminations) == (0, ())
    it.run(120)
    status = Status.from_json(it.status)
    assert [each.stop_code for each in status.last_terminations] == ["AdoptionFailed"]
    assert "FRACTAL_ALLOW" in status.last_terminations[0].reason
    assert (it.phase(), it.calls, len(it.alive), it.tasks[ARN].tags) == (Phase.RUNNING, 1, 2, ())


def test_an_adoption_that_the_list_does_not_name_ends_with_its_cluster() -> None:
    begun, _ = world.settled(asking(tasks=(theirs(),)), ALLOWED)
    gone = cluster(info=ClusterInfo(world.CLUSTER, "main", "INACTIVE"))
    seen = replace(begun, tasks=(), target=gone, home=gone, deleting_since=NOW)
    _, plan = world.settled(seen, NARROWED)
    assert [type(each) for each in plan.actions] == [RemoveFinalizer]


def test_a_forged_adoption_delays_a_deletion_and_tags_nothing() -> None:
    it = narrowed()
    it.status["attempt"]["issuedBy"] = "second"
    it.delete()
    it.run(400)
    assert (it.gone, "Deleting") == (False, str(it.phase()))
    it.run(200)
    assert (it.gone, it.tasks[ARN].tags, len(it.alive)) == (True, (), 1)


def test_an_edit_of_the_cluster_ends_no_adoption_that_has_begun() -> None:
    """Its tags were under way: a second task was launched beside it, or it outlived its object."""
    policy = replace(POLICY, allow=Allow((replace(RULE, clusters=("*",)),)))
    begun, _ = world.settled(asking(tasks=(theirs(),)), policy)
    other = cluster(reference="other", info=ClusterInfo(ELSEWHERE, "other", "ACTIVE"))
    moved = asking(
        spec={**SPEC, "cluster": "other"}, tasks=(theirs(),), status=begun.status, target=other
    )
    for seen in (moved, replace(moved, deleting_since=NOW)):
        pending, plan = world.settled(seen, policy)
        assert pending.status.last_terminations == ()
        assert [type(each) for each in plan.actions] == [TagTask]
        shown = replace(pending, tasks=(theirs(tags=MINE),))
        ending, plan = world.settled(shown, policy)
        assert [(each.arn, each.role) for each in ending.status.tasks] == [(ARN, Role.RETIRING)]
        assert [type(each) for each in plan.actions] == [StopTask]


@pytest.mark.parametrize("change", ["delete", "suspend", "retain"])
def test_what_was_tagged_is_stopped_or_retained_whenever_the_object_goes(change: str) -> None:
    for steps in range(7):
        it = there()
        it.sweep()
        for _ in range(steps):
            it.step()
        begun = Status.from_json(it.status).attempt is not None
        if change == "retain":
            it.edit(deletionPolicy="Retain")
        if change == "suspend":
            it.edit(operatingMode="Suspended")
        else:
            it.delete()
        it.run(300)
        assert it.calls == 0
        assert len(it.alive) == (change == "retain" or not begun)
        kept = it.tasks[ARN]
        if change == "retain" and begun:
            assert kept.tag(tokens.TAG_RETAINED) == "true"
        if kept.live and change != "retain":
            assert not kept.tags


def test_a_task_that_goes_before_it_is_had_ends_the_attempt_and_nothing_is_launched() -> None:
    it = there()
    it.sweep()
    while Status.from_json(it.status).attempt is None:
        it.step()
    it.exits(0)
    it.run(300)
    status = Status.from_json(it.status)
    assert (it.calls, it.phase()) == (0, Phase.FAILED)
    assert [each.stop_code for each in status.last_terminations] == ["AdoptionFailed"]
    it.tasks[arn("second")] = theirs(arn=arn("second"))
    it.annotations = {ADOPT: arn("second")}
    it.run(300)
    assert (it.calls, it.phase(), len(it.alive)) == (0, Phase.RUNNING, 1)
    attempt = Status.from_json(it.status).attempt
    assert attempt is not None
    assert attempt.number == 2


def test_without_its_annotation_a_failed_adoption_is_followed_by_a_launch() -> None:
    it = there()
    it.sweep()
    while Status.from_json(it.status).attempt is None:
        it.step()
    it.exits(0)
    it.annotations = {}
    it.run(300)
    assert (it.calls, it.phase(), len(it.alive)) == (1, Phase.RUNNING, 1)


def test_tags_that_somebody_takes_away_are_put_on_again() -> None:
    it = adopted()
    it.change(ARN, tags=())
    it.run(120)
    assert (it.calls, len(it.alive)) == (0, 1)
    assert it.tasks[ARN].tag(tokens.TAG_UID) == UID
    it.change(ARN, tags=())
    it.delete()
    it.run(120)
    assert (it.gone, it.alive) == (True, [])


def test_a_task_that_another_object_has_adopted_is_not_this_ones_any_more() -> None:
    it = World(SPEC, policy=ALLOWED)
    it.run(120)
    (mine,) = it.alive
    taken = {**tokens.owner_tags("ins", "b", "a", "c"), tokens.TAG_RETAINED: "false"}
    it.change(mine.arn, tags=tuple(sorted(taken.items())))
    it.delete()
    it.run(600)
    assert (it.gone, [each.arn for each in it.alive]) == (True, [mine.arn])


@pytest.mark.parametrize("text", ["hello", f"{ARN} ", f"{ARN}/x", "arn:aws:ecs", "x" * 2000])
def test_what_is_no_arn_of_a_task_is_told(text: str) -> None:
    seen = asking(annotations={ADOPT: text})
    reason, message = said(seen)
    assert reason == "AdoptionRefused"
    assert "is not the ARN of an ECS task" in message


def test_no_number_is_left_for_an_adoption() -> None:
    ended = Termination(attempt=tokens.MAX_ATTEMPT, stop_code="Lost", finished_at=NOW)
    seen = asking(status=Status(last_terminations=(ended,)), tasks=(theirs(),))
    assert said(seen)[0] == "AttemptsExhausted"


def test_what_is_told_of_an_adoption() -> None:
    it = there()
    before = Status.from_json(it.status)
    told: list[events.Transition] = []
    for _ in range(12):
        it.sweep()
        it.step()
        after = Status.from_json(it.status)
        told += events.transitions(UID, before, after)
        before = after
    assert [(each.type, each.reason) for each in told] == [
        ("Normal", "Adopting"),
        ("Normal", "TaskAdopted"),
        ("Normal", "Ready"),
    ]
    assert {each.task_arn for each in told} == {ARN}


def test_an_adoption_that_is_only_claimed_gives_way_to_the_task_that_runs() -> None:
    later = world.attempt(2, adopts=arn("later"))
    seen = observation(
        status=Status(attempt=later, tasks=(world.entry(1),)),
        tasks=(world.task(1), theirs(arn=arn("later"))),
    )
    after, plan = world.settled(seen, ALLOWED)
    assert [each.stop_code for each in after.status.last_terminations] == ["Superseded"]
    assert not any(isinstance(each, TagTask) for each in plan.actions)
