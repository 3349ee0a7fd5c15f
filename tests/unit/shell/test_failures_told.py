"""Whatever goes wrong is told in the status, in an Event and in the history: all three, alike.

Counted at the far ends: what the Kubernetes API and Postgres hold after the operator has worked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.core.failure_texts import ENDS, QUOTAS, REFUSALS
from tests.unit.shell.process import KEY, Process, World, running, until
from tests.unit.shell.wire import Wire, run

from fractal_models.container import Condition, Termination
from fractal_models.errors import QuotaReached, Rejected
from fractal_models.observed import LaunchFailure, ObservedContainer
from fractal_operator.core import failures
from fractal_operator.core.failures import Explanation

SPEC = {"taskDefinition": "web"}


@dataclass(frozen=True)
class Told:
    """What the three places say of the end of an attempt."""

    ready: Condition
    end: Termination
    events: list[tuple[str, str, str]]
    history: list[tuple[str, str]]


def told(world: World, process: Process) -> Told:
    """Read all three; the recorder writes on its own time."""
    run(process.recorder.flush())
    status = world.status()
    ready = next(each for each in status.conditions if each.type == "Ready")
    events = [(each.type, each.reason, each.message) for _, each in world.kube.events.values()]
    history = [(row.reason, row.message) for row in world.ledger.history.values()]
    return Told(ready, status.last_terminations[0], events, history)


def seen(process: Process) -> None:
    """ECS's sight of now reaches the operator, before any pause after an end is over."""
    run(process.observer.sweep(process.main()))
    run(process.settle())


def ended(world: World) -> bool:
    return bool(world.status().last_terminations)


def launched(spec: Mapping[str, Any], wire: Wire | None = None) -> tuple[World, Process]:
    world = World()
    world.kube.create(KEY, spec)
    process = Process(world, wire)
    run(process.start())
    return world, process


def check(found: Told, words: Explanation, text: str) -> None:
    """The same reason, sentence and hint, and AWS's own text, in all three places."""
    said = words.message(text)
    assert found.ready.reason == words.reason
    assert found.ready.message.startswith(words.meaning)
    assert text.strip(".") in found.ready.message
    assert words.hint in found.ready.message
    (event,) = [each for each in found.events if each[2].startswith("Attempt 1 ended")]
    assert event[1] == words.reason
    assert said in event[2]
    assert (event[1], event[2]) in found.history


@pytest.mark.parametrize(("code", "text", "reason"), ENDS)
def test_the_end_of_a_task(code: str, text: str, reason: str) -> None:
    world, process = launched(SPEC)
    until(process, running)
    (arn,) = world.ecs.live()
    world.ecs.change(
        arn,
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code=code,
        stopped_reason=text,
        stopped_at=world.clock.now(),
        containers=(ObservedContainer("app", "STOPPED"),),
    )
    seen(process)
    found = told(world, process)
    assert found.ready.reason == reason
    check(found, failures.ended(found.end), text)
    assert [kind for kind, _, message in found.events if "Attempt 1 ended" in message] == [
        "Warning"
    ]


@pytest.mark.parametrize(("code", "text", "reason"), [each for each in REFUSALS if each[0]])
def test_a_refused_launch(code: str, text: str, reason: str) -> None:
    wire = Wire()
    wire.fail("run_task", Rejected(f"RunTask: {code}: {text}", code=code))
    world, process = launched(SPEC, wire)
    until(process, ended)
    found = told(world, process)
    check(found, failures.rejection(code, text), f"RunTask: {code}: {text}")
    stalled = next(each for each in world.status().conditions if each.type == "Stalled")
    assert (stalled.status, stalled.reason, stalled.message) == (
        "True",
        reason,
        found.ready.message,
    )
    assert ("Warning", reason, stalled.message) in found.events


@pytest.mark.parametrize(("text", "says"), QUOTAS)
def test_a_full_quota(text: str, says: str) -> None:
    wire = Wire()
    wire.fail("run_task", QuotaReached(text))
    world, process = launched(SPEC, wire)
    until(process, ended)
    found = told(world, process)
    assert says in found.ready.message
    check(found, failures.full(text), text)


@pytest.mark.parametrize("text", ["RESOURCE:MEMORY", "AGENT", "LOCATION", "nobody knows"])
def test_a_launch_without_a_task(text: str) -> None:
    world, process = launched(SPEC)
    world.ecs.unplaced.append((LaunchFailure(text),))
    until(process, ended)
    found = told(world, process)
    check(found, failures.unplaced([LaunchFailure(text)])[1], text)


@pytest.mark.parametrize("code", ["EssentialContainerExited", "SpotInterruption"])
def test_an_end_that_is_seen_late_is_told_while_the_next_task_is_on_its_way(code: str) -> None:
    world, process = launched(SPEC)
    until(process, running)
    (arn,) = world.ecs.live()
    world.ecs.end(arn, 139, code)
    world.clock.advance(3600)  # the pause before the next attempt is over
    seen(process)
    found = told(world, process)
    assert (found.ready.reason, found.end.attempt) == ("Provisioning", 1)
    words = failures.ended(found.end)
    assert f"Attempt 1 ended: {words.meaning}" in found.ready.message
    assert words.hint in found.ready.message
    until(process, running)
    assert "ended" not in told(world, process).ready.message


@pytest.mark.parametrize("code", ["SpotInterruption", "TerminationNotice", ""])
def test_the_notice_of_a_spot_interruption_is_named_as_such(code: str) -> None:
    world, process = launched(SPEC)
    until(process, running)
    (arn,) = world.ecs.live()
    said = "Your Spot Task was interrupted."
    world.ecs.change(arn, desired_status="STOPPED", stop_code=code, stopped_reason=said)
    seen(process)
    ready = next(each for each in world.status().conditions if each.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "SpotInterruption")
    assert "AWS took back the Spot capacity" in ready.message


LONG = "CannotPullContainerError: " + "x" * 4000


def test_what_to_do_is_told_however_much_ecs_has_to_say() -> None:
    world, process = launched(SPEC)
    until(process, running)
    (arn,) = world.ecs.live()
    world.ecs.change(arn, stop_code="TaskFailedToStart", stopped_reason=LONG)
    world.ecs.end(arn)
    seen(process)
    found = told(world, process)
    hint = failures.termination("TaskFailedToStart", LONG).hint
    assert hint in found.ready.message
    (event,) = [message for _, _, message in found.events if "Attempt 1 ended" in message]
    assert len(event) <= 1024
    assert event.endswith(hint)
    assert hint in dict(found.history)["ImagePullFailed"]


def crash(world: World, process: Process, exit_code: int) -> None:
    until(process, running)
    (arn,) = world.ecs.live()
    world.ecs.end(arn, exit_code)
    seen(process)


def test_a_container_that_ends_again_and_again_is_said_to_do_so() -> None:
    world, process = launched(SPEC)
    for _ in range(failures.CRASHES - 1):
        crash(world, process, 127)
        assert "again and again" not in told(world, process).ready.message
    crash(world, process, 127)
    found = told(world, process)
    says = "The container's command was not found in the image, again and again"
    assert found.ready.message.startswith(says)
    assert "(exit code 127)" in found.ready.message
    last = f"Attempt {failures.CRASHES} ended"
    (event,) = [message for _, _, message in found.events if message.startswith(last)]
    assert says in event
    assert (found.ready.reason, event) in found.history


def test_an_application_that_is_done_is_told_how_to_stay_done() -> None:
    world, process = launched(SPEC)
    for _ in range(failures.CRASHES):
        crash(world, process, 0)
    found = told(world, process)
    assert "with success, again and again" in found.ready.message
    assert "set spec.restartPolicy to OnFailure or Never" in found.ready.message
