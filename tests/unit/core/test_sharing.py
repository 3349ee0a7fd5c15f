"""Whose an object is, and how it changes hands between two installations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core.world import (
    NOW,
    POLICY,
    SPEC,
    UID,
    ago,
    arn,
    attempt,
    entry,
    observation,
    retiring,
    running,
    settled,
    started_by,
    stopped,
    task,
    written,
)

from fractal_models.container import Status
from fractal_models.observed import ObservedTask
from fractal_operator.core import tokens
from fractal_operator.core.annotations import ABANDON, PAUSED
from fractal_operator.core.decide import decide
from fractal_operator.core.ending import STOP_AGAIN
from fractal_operator.core.events import transitions
from fractal_operator.core.plan import (
    AddFinalizer,
    Launch,
    Lookup,
    Observation,
    Plan,
    Policy,
    Problem,
    RemoveFinalizer,
    Stop,
    StopTask,
    TagTask,
)

OTHER = replace(POLICY, install="other")


def tagged(install: str, uid: str = UID, **more: str) -> tuple[tuple[str, str], ...]:
    tags = tokens.owner_tags(install, "default", "box", uid)
    return tuple(sorted({**tags, **{f"fractal.co/{k}": v for k, v in more.items()}}.items()))


def ours(**changes: Any) -> Observation:
    """A running object, claimed by "ins", and seen again by its own operator."""
    return running(**changes)


def released(**changes: Any) -> ObservedTask:
    """The task of "ins" that was let go of."""
    return replace(task(tags=tagged("ins", retained="released")), **changes)


def handed_over(policy: Policy = OTHER) -> tuple[Observation, Plan]:
    """What the other installation makes of an object that "ins" has let go of."""
    before = ours()
    seen = replace(
        before,
        status=before.status.model_copy(update={"installation": ""}),
        tasks=(released(),),
    )
    return settled(seen, policy)


# --- the claim ---


def test_every_status_says_which_installation_wrote_it() -> None:
    assert ours().status.installation == "ins"
    assert written(decide(observation(), POLICY)).installation == "ins"


def test_what_another_installation_looks_after_is_left_alone() -> None:
    assert decide(ours(), OTHER) == Plan()
    assert decide(ours(selected=False), OTHER) == Plan(parted=True)
    assert decide(ours(finalizers=()), OTHER) == Plan()
    assert decide(ours(deleting_since=ago(9999)), OTHER) == Plan()


def test_but_it_may_be_given_up_with_what_runs_for_it() -> None:
    seen = ours(deleting_since=ago(60), annotations={ABANDON: UID})
    assert decide(seen, OTHER).actions == (RemoveFinalizer(),)
    assert decide(replace(seen, annotations={ABANDON: "another"}), OTHER) == Plan()
    assert decide(replace(seen, deleting_since=None), OTHER) == Plan()


def test_who_has_not_seen_the_task_does_not_claim_the_object() -> None:
    """It may be the other's: an object whose status tells of no installation yet (an upgrade)."""
    status = Status(attempt=attempt(), tasks=(entry(),))
    unseen = observation(status=status)
    for policy in (POLICY, OTHER):
        assert settled(unseen, policy)[0].status.installation == ""
    shown = replace(unseen, tasks=(task(),))
    assert settled(shown, POLICY)[0].status.installation == "ins"
    other, _ = settled(shown, OTHER)
    assert other.status.installation == ""
    assert other.status.message.startswith("Task ")
    known = replace(unseen, status=status.model_copy(update={"installation": "ins"}))
    assert settled(known, POLICY)[0].status.installation == "ins"


# --- letting go ---


def test_the_task_is_tagged_first_and_the_claim_goes_once_ecs_shows_that() -> None:
    seen = ours(selected=False)
    (tag,) = decide(seen, POLICY).actions
    assert isinstance(tag, TagTask)
    assert tag.arn == arn()
    assert dict(tag.tags) == dict(tagged("ins", retained="released"))
    asked = replace(seen, retained={arn(): Stop(ago(1))})
    plan = decide(asked, POLICY)
    assert (plan.actions, plan.wants_sweep) == ((), True)
    assert plan.again_at is not None
    late = replace(seen, retained={arn(): Stop(ago(30))})
    assert decide(late, POLICY).actions == (tag,)
    failed = replace(seen, retained={arn(): Stop(ago(1), Problem("Unavailable", "no", NOW))})
    assert decide(failed, POLICY).wants_sweep is False
    shown = replace(seen, tasks=(released(),))
    status = written(decide(shown, POLICY))
    assert status == seen.status.model_copy(update={"installation": ""})
    assert decide(replace(shown, status=status), POLICY) == Plan(parted=True)


def test_a_tag_that_aws_refuses_is_told_until_it_is_accepted() -> None:
    seen = ours(selected=False)
    problem = Problem("AccessDenied", "no ecs:TagResource" + "!" * 5000, NOW)
    refused = replace(seen, retained={arn(): Stop(ago(1), problem)})
    status = written(decide(refused, POLICY))
    said = {each.type: each for each in status.conditions}
    assert (said["Stalled"].status, said["Stalled"].reason) == ("True", "TaggingFailed")
    assert "no ecs:TagResource" in said["Stalled"].message
    assert status.message == said["Stalled"].message
    assert said["Ready"] == seen.status.conditions[0]
    assert [each.reason for each in transitions(UID, seen.status, status)] == ["TaggingFailed"]
    told = replace(refused, status=Status.from_json(status.to_json()))
    assert decide(told, POLICY).actions == ()
    assert decide(told, POLICY).again_at == ago(1) + STOP_AGAIN
    for asked in ({}, {arn(): Stop(ago(30), problem)}):  # another process; or once more
        (tag,) = decide(replace(told, retained=asked), POLICY).actions
        assert isinstance(tag, TagTask)
    accepted = written(decide(replace(told, retained={arn(): Stop(NOW)}), POLICY))
    assert accepted.to_json() == seen.status.to_json()
    gone = written(decide(replace(told, tasks=(released(),)), POLICY))
    let_go = seen.status.model_copy(update={"installation": ""})
    assert gone.to_json() == let_go.to_json()


def test_what_passes_by_itself_is_not_told() -> None:
    seen = ours(selected=False)
    throttled = Stop(ago(1), Problem("Throttled", "slow down", NOW))
    assert decide(replace(seen, retained={arn(): throttled}), POLICY).actions == ()


def test_what_needs_a_person_is_not_reconciling() -> None:
    seen = ours(selected=False)
    waiting = tuple(
        each.model_copy(update={"status": "True"}) if each.type == "Reconciling" else each
        for each in seen.status.conditions
    )
    status = seen.status.model_copy(update={"conditions": waiting})
    refused = {arn(): Stop(ago(1), Problem("Rejected", "no", NOW))}
    after = written(decide(replace(seen, status=status, retained=refused), POLICY))
    true = [each.type for each in after.conditions if each.status == "True"]
    assert "Stalled" in true
    assert "Reconciling" not in true


def test_without_a_task_the_claim_goes_at_once() -> None:
    suspended, _ = settled(observation({**SPEC, "operatingMode": "Suspended"}))
    assert suspended.status.installation == "ins"
    status = written(decide(replace(suspended, selected=False), POLICY))
    assert status.installation == ""
    assert status.conditions == suspended.status.conditions


def test_nothing_is_begun_for_an_object_that_is_not_selected() -> None:
    assert decide(observation(selected=False, finalizers=()), POLICY) == Plan(parted=True)
    assert decide(observation(selected=False), POLICY) == Plan(parted=True)
    # But what it still looks after has its finalizer, until it is let go of.
    assert decide(ours(selected=False, finalizers=()), POLICY).actions == (AddFinalizer(),)
    status = Status(attempt=attempt(), installation="ins")
    refused = Launch(1, certain=True, calls=1, at=NOW, problem=Problem("Rejected", "no", NOW))
    seen, plan = settled(observation(status=status, launch=refused, selected=False))
    assert plan == Plan(parted=True)
    assert seen.status.installation == ""
    assert seen.status.attempt is not None
    assert seen.status.attempt.number == 1
    assert [each.stop_code for each in seen.status.last_terminations] == ["LaunchRejected"]
    assert [each.reason for each in seen.status.conditions if each.type == "Ready"] == ["Released"]


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": {PAUSED: "true"}},  # it would be an edit of what is to be left as it is
        {"tasks": ()},  # not seen yet
        {"tasks": (task(desired_status="STOPPED"),)},  # ECS ends it: that is to be recorded first
        {"deleting_since": NOW},  # carried through
    ],
)
def test_until_it_can_be_let_go_of_it_is_looked_after_as_ever(changes: Mapping[str, Any]) -> None:
    seen = ours(**changes)
    here, there = settled(seen), settled(replace(seen, selected=False))
    assert replace(there[0], selected=True) == here[0]
    assert there[1] == here[1]


def test_what_is_being_stopped_is_stopped_first() -> None:
    status = Status(attempt=attempt(2), tasks=(entry(2), retiring(1)), installation="ins")
    seen = observation(status=status, tasks=(task(1), task(2)), selected=False)
    _, plan = settled(seen)
    assert [type(each) for each in plan.actions] == [StopTask]
    alone = Status(attempt=attempt(1), tasks=(retiring(1),), installation="ins")
    _, plan = settled(observation(status=alone, tasks=(task(1),), selected=False))
    assert [type(each) for each in plan.actions] == [StopTask]
    seen, plan = settled(observation(status=alone, tasks=(stopped(1),), selected=False))
    assert plan == Plan(parted=True)
    assert seen.status.installation == ""


def test_a_launch_under_way_is_carried_through_and_no_other_begun() -> None:
    status = Status(attempt=attempt(issued_by="p"), installation="ins")
    seen = observation(status=status, selected=False)
    seen, plan = settled(seen, replace(POLICY, process="p"))
    assert plan.actions
    assert seen.status.installation == "ins"


# --- taking over ---


def test_who_selects_it_goes_on_with_the_task_under_its_number() -> None:
    seen, plan = handed_over()
    assert seen.status.installation == "other"
    assert [(each.attempt, each.arn) for each in seen.status.tasks] == [(1, arn())]
    assert any(each.type == "Ready" and each.status == "True" for each in seen.status.conditions)
    (tag,) = plan.actions
    assert isinstance(tag, TagTask)
    assert dict(tag.tags) == dict(tagged("other", retained="false"))
    taken = replace(seen, tasks=(task(tags=tagged("other", retained="false")),))
    assert settled(taken, OTHER) == (taken, Plan())
    # And its number is never given again, though the status should lose it.
    for wiped in (Status(), Status(attempt=attempt(3), installation="other")):
        found, _ = settled(replace(taken, status=wiped, lookup=Lookup(3, NOW)), OTHER)
        assert [(each.attempt, each.arn) for each in found.status.tasks] == [(1, arn())]


def test_back_in_the_first_hands_it_is_the_same_task() -> None:
    seen, _ = handed_over()
    back = replace(
        seen,
        status=seen.status.model_copy(update={"installation": ""}),
        tasks=(task(tags=tagged("other", retained="released")),),
    )
    again, plan = settled(back, POLICY)
    assert again.status.installation == "ins"
    assert [(each.attempt, each.arn) for each in again.status.tasks] == [(1, arn())]
    (tag,) = plan.actions
    assert isinstance(tag, TagTask)
    assert dict(tag.tags) == dict(tagged("ins", retained="false"))


@pytest.mark.parametrize("installation", ["ins", ""])
def test_what_comes_back_before_anybody_took_it_is_no_longer_kept_beyond_its_object(
    installation: str,
) -> None:
    before = ours()
    status = before.status.model_copy(update={"installation": installation})
    again, plan = settled(replace(before, status=status, tasks=(released(),)))
    assert again.status == before.status
    (tag,) = plan.actions
    assert isinstance(tag, TagTask)
    assert dict(tag.tags) == dict(tagged("ins", retained="false"))
    # Until ECS shows that, it may not count as let go of.
    tagged_since = replace(again, adopted={arn(): Stop(ago(1))}, selected=False)
    (tag,) = decide(tagged_since, POLICY).actions
    assert isinstance(tag, TagTask)
    assert dict(tag.tags) == dict(tagged("ins", retained="released"))


def test_who_still_sees_an_object_that_is_gone_takes_its_retained_task_not_back() -> None:
    """A process that begins on an old list does (seed 92): the task was nobody's, and kept."""
    kept = task(tags=tagged("ins", retained="true"))
    assert settled(replace(ours(), tasks=(kept,)))[1] == Plan()


@pytest.mark.parametrize(
    "foreign",
    [
        released(tags=None),
        released(tags=tagged("ins")),
        released(tags=tagged("ins", retained="false")),
        released(tags=tagged("ins", uid="another", retained="released")),
        released(tags=tagged("ins", retained="true")),
    ],
)
def test_what_was_not_let_go_of_is_never_taken(foreign: ObservedTask) -> None:
    before = ours()
    seen = replace(
        before, status=before.status.model_copy(update={"installation": ""}), tasks=(foreign,)
    )
    seen, plan = settled(seen, OTHER)
    assert plan.actions == ()
    assert [each.reason for each in seen.status.conditions if each.type == "Stalled"] == [
        "OtherInstallation"
    ]


def test_a_deletion_stops_what_was_let_go_of() -> None:
    before = ours(deleting_since=ago(1))
    seen = replace(
        before,
        status=before.status.model_copy(update={"installation": ""}),
        tasks=(released(),),
    )
    seen, plan = settled(seen, OTHER)
    assert [type(each) for each in plan.actions] == [StopTask]
    gone = replace(seen, tasks=(stopped(tags=None, started_by=started_by(1)),))
    assert settled(gone, OTHER)[1].actions == (RemoveFinalizer(),)
