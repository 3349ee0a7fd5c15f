"""What goes wrong around an operator, and what its users are told: one task at most, and the truth.

Each refusal ends in a condition whose message says what to do; each outage ends with everything
caught up.
"""

import json
import re
from typing import Any

import pytest
from tests.e2e.api import PATIENCE
from tests.e2e.stack import World, container, until, until_is

from fractal_dev.postgres import Postgres

OPERATIONS = (
    "RunTask",
    "StopTask",
    "ListTasks",
    "DescribeTasks",
    "DescribeClusters",
    "DescribeTaskDefinition",
    "RegisterTaskDefinition",
)


def stalled(world: World, name: str, reason: str, hint: str) -> None:
    """The object waits for a person, and says in kstatus's terms and in an Event what to do."""
    condition = world.until_condition(name, "Stalled", "True", reason)
    assert re.search(hint, condition["message"]), condition
    assert world.condition(name, "Ready")["status"] == "False"
    assert world.condition(name, "Reconciling")["status"] == "False"
    of_it = f"--field-selector=involvedObject.name={name},type=Warning"

    def told() -> bool:
        output = "jsonpath={.items[*].reason}"
        return reason in world.kubectl("get", "events", of_it, "-o", output).split()

    until(told, f"a warning {reason}")
    assert world.tasks(world.uid(name), live=True) == []


def good_again(world: World, name: str, **changes: Any) -> None:
    """After the correction the object becomes Ready without further help."""
    world.patch(name, spec=changes)
    world.until_condition(name, "Ready", "True")
    assert world.condition(name, "Stalled")["status"] == "False"


# --- refusals: somebody has to do something ---------------------------------------------------


def test_a_cluster_that_does_not_exist(world: World) -> None:
    world.start()
    world.apply("lost", container(cluster="no-such-cluster"))
    stalled(world, "lost", "ClusterNotFound", r"no-such-cluster .*Create the ECS cluster, or")
    good_again(world, "lost", cluster=world.name)


def test_a_task_definition_that_does_not_exist(world: World) -> None:
    world.start()
    family = f"absent-{world.name}"
    spec = {"taskDefinition": family, "placement": [{"launchType": "FARGATE"}]}
    world.apply("undefined", spec)
    stalled(world, "undefined", "TaskDefinitionNotFound", rf"{family}.*Register the task defini")
    # an annotation asks for another look at once, after a repair outside of Kubernetes
    arn = world.register(family)
    world.kubectl("annotate", "fc", "undefined", "fractal.co/reconcile-requested-at=now")
    world.until_condition("undefined", "Ready", "True")
    assert world.tasks()[0]["taskDefinitionArn"] == arn
    assert world.status("undefined")["lastHandledReconcileAt"] == "now"


def test_no_permission_to_launch(world: World) -> None:
    world.ecs.fail_next(
        "RunTask",
        code="AccessDeniedException",
        message="User: arn:aws:iam::123456789012:role/op is not authorized to perform: ecs:RunTask",
        status=400,
        match=f"fc/{world.name}/",
        times=3,
    )
    world.start()
    names = ["denied-1", "denied-2", "denied-3"]
    for name in names:
        world.create(name)
    # Whichever asks first is refused; the others are told of it, and do not ask.
    first = until(
        lambda: next(
            (n for n in names if world.condition(n, "Stalled").get("status") == "True"), ""
        ),
        "one of them waits for a person",
    )
    stalled(world, first, "AccessDenied", r"ecs:RunTask.*permissions")
    for name in names:
        world.until_condition(name, "Ready", "False", "AccessDenied")
    assert world.ecs.errors()["RunTask:AccessDeniedException"] <= 3  # a breaker, no storm


def test_no_permission_to_pass_a_role(world: World) -> None:
    role = "arn:aws:iam::123456789012:role/app"
    world.ecs.fail_next(
        "RunTask",
        code="AccessDeniedException",
        message=f"not authorized to perform: iam:PassRole on resource: {role}",
        status=400,
        match=f"fc/{world.name}/",
    )
    world.start()
    world.apply("roleless", container())
    stalled(world, "roleless", "AccessDenied", r"Allow the operator's role iam:PassRole")


def test_a_subnet_that_does_not_exist(world: World) -> None:
    world.start()
    world.apply("offline", container(network={"subnets": ["subnet-0123456789abcdef0"]}))
    stalled(world, "offline", "InvalidNetwork", r"subnet-0123456789abcdef0.*Correct spec\.network")
    good_again(world, "offline", network={"subnets": world.subnets[:1]})


# --- launches that fail -----------------------------------------------------------------------


def test_an_image_that_cannot_be_pulled_is_tried_again(world: World) -> None:
    reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
    world.ecs.set_plan(match=f"fc/{world.name}/", times=1, fail_to_start=reason)
    world.start()
    world.apply("imageless")
    (end,) = until(lambda: world.status("imageless").get("lastTerminations"), "a termination")
    world.until_told("imageless", "Check the image's name and tag", "not found")
    of_it = "--field-selector=involvedObject.name=imageless,reason=ImagePullFailed,type=Warning"
    until(lambda: "not found" in world.kubectl("get", "events", of_it, "-o", "yaml"), "an Event")
    assert (end["attempt"], end["stopCode"]) == (1, "TaskFailedToStart")
    world.until_condition("imageless", "Ready", "True")
    assert [task["live"] for task in world.tasks()] == [False, True]
    uid = world.uid("imageless")
    until(
        lambda: [row["state"] for row in world.containers(uid)] == ["FAILED", "RUNNING_AVAILABLE"],
        "PostgreSQL knows",
    )


def test_no_capacity_and_then_some(world: World) -> None:
    world.ecs.fail_next_launch("RESOURCE:MEMORY", match=f"fc/{world.name}/")
    world.start()
    world.apply("patient")
    world.until_told("patient", "RESOURCE:MEMORY")
    of_it = "--field-selector=involvedObject.name=patient,reason=CapacityUnavailable"
    until(lambda: "RESOURCE" in world.kubectl("get", "events", of_it, "-o", "yaml"), "an Event")
    world.until_condition("patient", "Ready", "True")
    (task,) = world.tasks()
    assert task["startedBy"].endswith("/2")


def test_a_task_that_never_comes_up_is_stopped_and_launched_again(world: World) -> None:
    world.ecs.set_plan(match=f"fc/{world.name}/", times=1, provisioning=3600)
    world.start()
    world.apply("sleepy", container(timeouts={"provisioningSeconds": 2}))
    waiting = until(
        lambda: (world.status("sleepy").get("lastTerminations") or [None])[0], "a termination"
    )
    assert (waiting["attempt"], waiting["stopCode"]) == (1, "ProvisioningTimeout")
    world.until_condition("sleepy", "Ready", "True")
    first, second = world.tasks()
    assert (first["live"], second["live"]) == (False, True)
    assert "found no capacity within" in first["stoppedReason"]


def test_a_spot_interruption_is_named_everywhere(world: World) -> None:
    world.start()
    world.apply("spotty")
    world.wait_ready("spotty")
    world.ecs.stop_task(started_by=f"fc/{world.name}/", how="spot")
    (end,) = until(lambda: world.status("spotty").get("lastTerminations"), "a termination")
    assert end["stopCode"] == "SpotInterruption"
    of_it = "--field-selector=involvedObject.name=spotty,reason=SpotInterruption"
    hint = "put a rung that is not Spot into spec.placement"
    until(lambda: hint in world.kubectl("get", "events", of_it, "-o", "yaml"), "an Event with hint")
    uid = world.uid("spotty")
    until(lambda: "SpotInterruption" in world.history(uid), "a row of history")
    world.until_condition("spotty", "Ready", "True")


def test_a_task_that_stops_is_launched_again_after_a_pause(world: World) -> None:
    world.start()
    world.apply("mortal")
    world.wait_ready("mortal")
    (arn,) = world.ecs.stop_task(started_by=f"fc/{world.name}/", exit_code=3)
    (end,) = until(lambda: world.status("mortal").get("lastTerminations"), "a termination")

    def taken_back() -> bool:
        return any(each.get("endpoint", "") is None for each in world.statuses("mortal"))

    until(taken_back, "the endpoint is taken back")
    assert (end["stopCode"], end["exitCode"]) == ("EssentialContainerExited", 3)
    world.until_condition("mortal", "Ready", "True")
    first, second = world.tasks()
    assert (first["taskArn"], first["live"], second["live"]) == (arn, False, True)
    # Half of the first back-off, from an end that the status tells in whole seconds.
    assert second["createdAt"] - first["stoppedAt"] >= 4


@pytest.mark.parametrize("code", [0, 1])
def test_a_finished_task_is_not_launched_again_if_nobody_wants_it(world: World, code: int) -> None:
    world.ecs.set_plan(match=f"fc/{world.name}/", exit_after=1.0, exit_code=code)
    world.start()
    world.apply("job", container(restartPolicy="Never"))
    world.until_phase("job", "Failed" if code else "Succeeded")
    mark = world.mark()
    world.sweeps(2)
    assert world.writes(since=mark) == []
    assert len(world.tasks()) == 1


def test_a_health_check_that_fails_later_takes_ready_away_and_no_task(world: World) -> None:
    spec = container()
    spec["template"]["healthCheck"] = {"command": ["CMD-SHELL", "true"]}
    world.start()
    world.apply("ill", spec)
    world.wait_ready("ill")
    (task,) = world.tasks()
    world.ecs.set_health("UNHEALTHY", task["taskArn"])
    world.until_condition("ill", "Ready", "False", "Unhealthy")
    uid = world.uid("ill")
    until_is(lambda: [row["state"] for row in world.containers(uid)], ["RUNNING_UNAVAILABLE"])
    world.ecs.set_health("", task["taskArn"])
    world.until_condition("ill", "Ready", "True")
    assert [each["taskArn"] for each in world.tasks()] == [task["taskArn"]]


# --- answers that get lost ----------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_lost_answers_to_a_launch_do_not_make_a_second_task(world: World, times: int) -> None:
    world.ecs.hold("RunTask", "drop", match=f"fc/{world.name}/", times=times)
    world.start()
    world.apply("unheard")
    world.wait_ready("unheard")
    (task,) = world.tasks()
    assert task["startedBy"].endswith("/1")


def test_an_answer_that_is_very_late_does_not_make_a_second_task(world: World) -> None:
    """It is held beyond the client's patience; meanwhile the call is repeated."""
    world.ecs.hold("RunTask", "after", match=f"fc/{world.name}/")
    world.start()
    world.apply("late")
    until(world.ecs.held, "RunTask is called")
    world.until_condition("late", "Ready", "True")
    assert len(world.tasks()) == 1
    world.ecs.release()


def test_an_empty_answer_is_not_believed_while_a_task_may_exist(world: World) -> None:
    """200 without tasks and without failures, although the task was launched."""
    match = f"fc/{world.name}/"
    world.ecs.fail_next_launch(match=match, launch_anyway=True)
    world.start()
    world.apply("silent")
    world.wait_ready("silent")
    (task,) = world.tasks()
    assert world.status("silent")["tasks"][0]["arn"] == task["taskArn"]


def test_throttled_launches_come_through_later(world: World) -> None:
    world.ecs.throttle_next("RunTask", match=f"fc/{world.name}/", times=3)
    world.start()
    world.apply("slow")
    world.wait_ready("slow")
    (task,) = world.tasks()
    assert task["startedBy"].endswith("/1")


def test_a_lost_answer_to_a_stop_does_not_keep_the_object(world: World) -> None:
    world.start()
    world.apply("mute")
    world.wait_ready("mute")
    world.ecs.hold("StopTask", "drop", match=f"fc/{world.name}/", times=5)
    world.kubectl("delete", "fc", "mute", PATIENCE)
    assert world.tasks(live=True) == []


# --- outages --------------------------------------------------------------------------------------


def test_ecs_down_for_a_while_costs_nothing_and_all_is_caught_up(world: World) -> None:
    world.start()
    world.apply("old")
    world.wait_ready("old")
    mark = world.mark()
    for operation in OPERATIONS:
        world.ecs.fail_next(operation, status=503, times=100_000)
    world.sweeps(3)
    assert world.writes(since=mark) == []  # an outage is a metric, not a write an object
    assert world.condition("old", "Ready")["status"] == "True"
    world.apply("new")
    world.until_condition("new", "Reconciling", "True")
    world.kubectl("delete", "fc", "old", "--wait=false")
    world.until_phase("old", "Deleting")
    world.sweeps(1)
    assert len(world.tasks(live=True)) == 1
    world.ecs.reset()
    world.until_condition("new", "Ready", "True")
    world.until_gone("old")
    assert [task["live"] for task in world.tasks()] == [False, True]


def test_postgres_down_for_a_while_stops_nothing_and_no_history_is_lost(
    world: World, postgres: Postgres
) -> None:
    operator = world.start()
    world.apply("before")
    world.wait_ready("before")
    uids = {"before": world.uid("before")}
    until(lambda: len(world.history(uids["before"])) == 3, "the history so far")
    postgres.stop()
    try:
        world.apply("during")
        world.wait_ready("during")
        uids["during"] = world.uid("during")
        world.patch("before", spec={"dpi": 200})
        until(
            lambda: world.status("before").get("attempt", {}).get("number") == 2, "the replacement"
        )
        world.until_condition("before", "Ready", "True")
        world.kubectl("delete", "fc", "during", PATIENCE)
        assert (operator.get("/readyz")[0], operator.get("/healthz")[0]) == (200, 200)
    finally:
        postgres.start()
    launch = ["Launching", "TaskLaunched", "Ready"]
    replaced = [*launch, "StoppingTask", "TaskStopped", *launch]
    until(lambda: len(world.history(uids["before"])) == len(replaced), "the history of one")
    assert sorted(world.history(uids["before"])) == sorted(replaced)
    until(lambda: "Deleted" in world.history(uids["during"]), "the history of the other")
    assert sorted(world.history(uids["during"])) == sorted([*launch, "StoppingTask", "Deleted"])
    until_is(
        lambda: {n: [row["state"] for row in world.containers(uid)] for n, uid in uids.items()},
        {"before": ["STOPPED", "RUNNING_AVAILABLE"], "during": ["STOPPED"]},
    )
    until_is(lambda: world.app_state(uids["before"]).get("state"), "READY")
    until(lambda: world.app_state(uids["during"]).get("deleted"), "the last row of the other")


def test_no_postgres_at_all_is_no_hindrance(world: World) -> None:
    world.start(database_url="")
    world.apply("unrecorded")
    world.wait_ready("unrecorded")
    world.kubectl("delete", "fc", "unrecorded", PATIENCE)
    assert world.rows("SELECT * FROM logs.container_history") == []


# --- a status that somebody else wrote ------------------------------------------------------------


def set_status(world: World, name: str, patch: Any) -> None:
    """As a user with access to the status subresource would."""
    text = json.dumps({"status": patch})
    world.kubectl("patch", "fc", name, "--subresource=status", "--type=merge", "-p", text)


def test_a_wiped_status_is_written_again_without_a_second_task(world: World) -> None:
    world.start()
    world.apply("wiped")
    world.wait_ready("wiped")
    (task,) = world.tasks()
    set_status(world, "wiped", None)
    world.until_condition("wiped", "Ready", "True")
    world.sweeps(1)
    assert [each["taskArn"] for each in world.tasks()] == [task["taskArn"]]
    assert world.status("wiped")["tasks"][0]["arn"] == task["taskArn"]


def test_a_status_wiped_while_the_operator_is_down(world: World) -> None:
    operator = world.start()
    world.apply("wiped")
    world.wait_ready("wiped")
    (task,) = world.tasks()
    operator.kill()
    set_status(world, "wiped", None)
    operator.start()
    world.until_condition("wiped", "Ready", "True")
    world.sweeps(1)
    assert [each["taskArn"] for each in world.tasks()] == [task["taskArn"]]


def test_a_wiped_status_of_an_object_that_is_deleted_hides_no_task(world: World) -> None:
    operator = world.start()
    world.apply("wiped")
    world.wait_ready("wiped")
    operator.kill()
    set_status(world, "wiped", None)
    world.kubectl("delete", "fc", "wiped", "--wait=false")
    operator.start()
    world.until_gone("wiped")
    assert world.tasks(live=True) == []


@pytest.mark.parametrize("end", ["delete", "suspend", "edit"])
def test_a_forged_status_does_not_make_the_operator_stop_a_foreign_task(
    world: World, end: str
) -> None:
    foreign = world.run_foreign_task()
    world.start()
    world.apply("forged")
    world.wait_ready("forged")
    (own,) = world.tasks()
    claim = {"attempt": 1, "role": "Current", "arn": foreign, "lastStatus": "RUNNING"}
    set_status(world, "forged", {"tasks": [claim]})
    match end:
        case "delete":
            world.kubectl("delete", "fc", "forged", PATIENCE)
        case "suspend":
            world.patch("forged", spec={"operatingMode": "Suspended"})
            world.until_phase("forged", "Suspended")
        case _:
            world.patch("forged", spec={"dpi": 200})
            until(lambda: len(world.tasks(live=True)) == 1 and len(world.tasks()) == 2, "a new one")
            world.until_condition("forged", "Ready", "True")
    until(lambda: not world.task(own["taskArn"])["live"], "the own task is stopped")
    world.sweeps(1)
    assert world.task(foreign)["desiredStatus"] == "RUNNING"
    assert world.task(foreign)["live"]


KEPT = {
    "no-attempt": {"attempt": None},
    "next-number": {"attempt": {"number": 2}},
    "huge-number": {"attempt": {"number": 899_999_999}},
    "cluster": {"attempt": {"clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/elsewhere"}},
    "times": {"attempt": {"firstIssuedAt": "2999-01-01T00:00:00Z", "lastIssuedAt": None}},
    "no-tasks": {"tasks": [], "phase": "Suspended", "conditions": []},
    "ended": {"lastTerminations": [{"attempt": 1, "stopCode": "Expired", "reason": "forged"}]},
}


@pytest.mark.parametrize("forged", KEPT.values(), ids=KEPT.keys())
def test_a_forged_status_changes_nothing_about_the_task(world: World, forged: Any) -> None:
    world.start()
    world.apply("forged")
    world.wait_ready("forged")
    (task,) = world.tasks()
    set_status(world, "forged", forged)
    world.sweeps(1)
    world.until_condition("forged", "Ready", "True")
    assert [each["taskArn"] for each in world.tasks()] == [task["taskArn"]]
    assert task["live"]
    assert world.status("forged")["tasks"][0]["arn"] == task["taskArn"]


def test_another_installations_task_of_the_same_object_is_left_alone(world: World) -> None:
    """A namesake's startedBy differs in the installation only: it is not ours to adopt or stop."""
    world.start()
    world.apply("mine")
    world.wait_ready("mine")
    foreign = world.run_foreign_task(f"fc/other-install/{world.uid('mine')}/7")
    world.sweeps(2)
    world.kubectl("delete", "fc", "mine", PATIENCE)
    assert world.tasks(live=True) == []
    assert world.task(foreign)["live"]
