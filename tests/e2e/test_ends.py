"""How tasks end, and what follows: seen by kubectl, at ECS and in PostgreSQL; and two regions."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import boto3
import pytest
from tests.e2e.api import PATIENCE
from tests.e2e.regions import RegionalWay, regional_way
from tests.e2e.stack import AWS, REGION, Obj, World, container, until

ABROAD = "eu-west-1"
LIFETIME = 60
"""Seconds. The warning comes a tenth of it before the end: time enough on a busy machine."""


def events(world: World, name: str, kind: str = "") -> list[str]:
    """The reasons of the object's Events of a type, sorted."""
    fields = f"involvedObject.name={name}" + (f",type={kind}" if kind else "")
    path = "-o=jsonpath={.items[*].reason}"
    return sorted(world.kubectl("get", "events", f"--field-selector={fields}", path).split())


def messages(world: World, name: str, reason: str) -> list[str]:
    """What the object's Events of that reason say."""
    fields = f"--field-selector=involvedObject.name={name},reason={reason}"
    path = "-o=jsonpath={range .items[*]}{.message}{'\\n'}{end}"
    return world.kubectl("get", "events", fields, path).splitlines()


def ended(world: World, uid: str) -> list[tuple[str, str]]:
    """State and stop code of the object's tasks that have ended, in PostgreSQL."""
    rows = world.containers(uid)
    return [(row["state"], row["stop_code"]) for row in rows if row["stop_code"]]


def terminations(world: World, name: str) -> list[tuple[int, str, int | None]]:
    kept = world.status(name).get("lastTerminations", [])
    return [(each["attempt"], each["stopCode"], each.get("exitCode")) for each in kept]


@pytest.mark.parametrize(
    ("policy", "exit_code", "phase"),
    [
        ("OnFailure", 0, "Succeeded"),
        ("Never", 3, "Failed"),
    ],
)
def test_an_end_that_is_final(world: World, policy: str, exit_code: int, phase: str) -> None:
    world.start()
    world.create("job", container(restartPolicy=policy))
    world.wait_ready("job")
    uid = world.uid("job")
    world.ecs.stop_task(started_by=f"fc/{world.name}/", exit_code=exit_code)
    world.until_phase("job", phase)
    assert terminations(world, "job") == [(1, "EssentialContainerExited", exit_code)]
    failed = phase == "Failed"
    assert world.condition("job", "Stalled")["status"] == ("True" if failed else "False")
    world.sweeps(2)
    assert len(world.tasks(uid)) == 1
    state = "FAILED" if failed else "STOPPED"
    until(lambda: ended(world, uid) == [(state, "EssentialContainerExited")], "the task's row")
    world.kubectl("delete", "fc", "job", PATIENCE)


def test_a_container_that_always_fails_is_given_up(world: World) -> None:
    world.start()
    world.ecs.set_plan(exit_after=0.2, exit_code=1, match=f"fc/{world.name}/")
    world.create("loop", container(backoffLimit=1))
    status = world.until_phase("loop", "Failed")
    uid = world.uid("loop")
    assert len(world.tasks(uid)) == 2
    assert status["attempt"]["failures"] == 2
    assert [each["attempt"] for each in status["lastTerminations"]] == [2, 1]
    assert "more than spec.backoffLimit 1" in status["message"]
    assert world.condition("loop", "Stalled")["status"] == "True"
    until(lambda: "EssentialContainerExited" in events(world, "loop", "Warning"), "a warning")


def test_a_spot_interruption_is_named_and_does_not_count(world: World) -> None:
    world.start()
    spot = [{"capacityProvider": "FARGATE_SPOT"}]
    world.create("cheap", container(backoffLimit=0, placement=spot, restartPolicy="OnFailure"))
    world.wait_ready("cheap")
    uid = world.uid("cheap")
    world.ecs.stop_task(started_by=f"fc/{world.name}/", how="spot")
    world.until_told("cheap", "Your Spot Task was interrupted")
    until(lambda: len(world.tasks(uid)) == 2, "another task")
    world.wait_ready("cheap")
    status = world.status("cheap")
    assert "failures" not in status["attempt"] or status["attempt"]["failures"] == 0
    assert terminations(world, "cheap")[0][1] == "SpotInterruption"
    until(lambda: "SpotInterruption" in events(world, "cheap", "Warning"), "a warning")
    until(lambda: [code for _, code in ended(world, uid)] == ["SpotInterruption"], "the task's row")


def test_a_lifetime_is_told_warned_of_and_ended(world: World) -> None:
    world.start()
    world.create("brief", container(timeouts={"lifetimeSeconds": LIFETIME}))
    world.wait_ready("brief")
    uid, status = world.uid("brief"), world.status("brief")
    (task,) = world.tasks(uid)
    end = datetime.fromisoformat(status["willStopAt"]).timestamp()
    assert end == int(task["startedAt"]) + LIFETIME

    over = world.until_phase("brief", "Succeeded")
    assert "willStopAt" not in over
    assert "lifetimeSeconds" in over["message"]
    until(lambda: events(world, "brief", "Warning") == ["Expiring"], "one warning")
    (warning,) = messages(world, "brief", "Expiring")
    assert f"ends it at {status['willStopAt']}" in warning  # told while it was Ready
    world.until_told("brief", f"ends it at {status['willStopAt']}")
    (task,) = world.tasks(uid)
    assert task["stoppedReason"] == "reached spec.timeouts.lifetimeSeconds"
    assert task["stoppingAt"] >= end
    world.sweeps(2)
    assert len(world.tasks(uid)) == 1
    assert events(world, "brief", "Warning") == ["Expiring"]
    until(lambda: ended(world, uid) == [("STOPPED", "Expired")], "the task's row")
    until(lambda: world.history(uid).count("Expiring") == 1, "a row of history")

    world.patch("brief", spec={"timeouts": {"lifetimeSeconds": 3600}})
    world.wait_ready("brief")
    assert len(world.tasks(uid)) == 2
    used = world.status("brief")["attempt"]["usedSeconds"]
    assert LIFETIME <= used <= task["stoppedAt"] - task["startedAt"] + 1


def test_a_suspension_stops_the_clock_and_a_killed_operator_forgets_nothing(world: World) -> None:
    operator = world.start()
    world.create("long", container(timeouts={"lifetimeSeconds": 3600}))
    world.wait_ready("long")
    uid = world.uid("long")
    world.patch("long", spec={"operatingMode": "Suspended"})
    status = world.until_phase("long", "Suspended")
    (first,) = world.tasks(uid)
    used = int(first["stoppedAt"] - first["startedAt"])
    assert status["attempt"].get("usedSeconds", 0) in (used, used + 1, used - 1)
    assert "willStopAt" not in status
    operator.kill()
    operator.start()
    world.patch("long", spec={"operatingMode": "Running"})
    world.wait_ready("long")
    _, second = world.tasks(uid)
    status = world.status("long")
    left = 3600 - status["attempt"].get("usedSeconds", 0)
    end = datetime.fromisoformat(status["willStopAt"]).timestamp()
    assert end == int(second["startedAt"]) + left


def test_a_finished_object_goes_after_its_time(world: World) -> None:
    world.start()
    limits = {"ttlSecondsAfterFinished": 2}
    world.create("gone", container(restartPolicy="Never", timeouts=limits))
    world.wait_ready("gone")
    uid = world.uid("gone")
    world.ecs.stop_task(started_by=f"fc/{world.name}/", exit_code=0)
    world.until_gone("gone")
    assert len(world.tasks(uid)) == 1
    until(lambda: world.history(uid)[-2:] == ["Succeeded", "Deleted"], "the end of its history")
    until(lambda: world.app_state(uid).get("deleted"), "the last row of the object")


# --- regions ---


@pytest.fixture
def aws_way(world: World) -> Iterator[RegionalWay]:
    """The way to AWS of this world's operators."""
    with regional_way(world.ecs_url) as made:
        world.ecs_url = made.url
        yield made
        for operator in world.operators:
            operator.kill()


def subnets(world: World, region: str) -> list[str]:
    make: Any = boto3.client
    ec2 = make(
        "ec2",
        endpoint_url=world.ecs_url,
        region_name=region,
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
    )
    return [str(each["SubnetId"]) for each in ec2.describe_subnets()["Subnets"][:1]]


def in_region(world: World, region: str) -> int:
    """How many tasks were ever launched in a region."""
    return sum(task["region"] == region for task in world.tasks())


def test_two_regions(world: World, aws_way: RegionalWay) -> None:
    """Each object in its own; the other is asked for nothing, and may go dark."""
    cluster = f"{world.name}-abroad"
    arn = world.ecs.ensure_cluster(cluster, ABROAD)
    abroad: Obj = container(
        region=ABROAD, cluster=cluster, network={"subnets": subnets(world, ABROAD)}
    )
    aws_way.calls.clear()
    world.start()
    world.create("home")
    world.wait_ready("home")
    world.sweeps(1)
    assert aws_way.regions() == {REGION}

    world.create("away", abroad)
    world.wait_ready("away")
    placed = {
        name: (task["region"], task["clusterArn"])
        for name in ("home", "away")
        for task in world.tasks(world.uid(name))
    }
    assert placed == {"home": (REGION, world.cluster_arn), "away": (ABROAD, arn)}
    assert world.status("away")["attempt"]["clusterArn"] == arn
    launches = {region: aws_way.count(region, "RunTask") for region in (REGION, ABROAD)}
    assert launches == {REGION: 1, ABROAD: 1}
    assert aws_way.regions() == {REGION, ABROAD}

    uid = world.uid("away")
    aws_way.dark.add(ABROAD)
    world.create("away-2", abroad)
    world.patch("away", spec={"dpi": 120})
    world.create("home-2")
    world.wait_ready("home-2")
    world.patch("home", spec={"dpi": 120})
    until(lambda: len(world.tasks(world.uid("home"), live=None)) == 2, "home's second task")
    world.wait_ready("home", "home-2")
    world.kubectl("delete", "fc", "home", "home-2", PATIENCE)
    assert [each["startedBy"].split("/")[2] for each in world.tasks(live=True)] == [uid]
    assert in_region(world, ABROAD) == 1

    aws_way.light(ABROAD)
    until(lambda: len(world.tasks(uid)) == 2, "the edit is followed")
    world.wait_ready("away", "away-2")
    assert {task["region"] for task in world.tasks(live=True)} == {ABROAD}
    assert in_region(world, ABROAD) == 3
    world.kubectl("delete", "fc", "away", "away-2", PATIENCE)
    assert world.tasks(live=True) == []
    assert in_region(world, REGION) == 3


def test_an_object_moves_to_another_region(world: World, aws_way: RegionalWay) -> None:
    """The old task is stopped where it runs before the new one is launched elsewhere."""
    cluster = f"{world.name}-abroad"
    arn = world.ecs.ensure_cluster(cluster, ABROAD)
    world.start()
    world.create("mover")
    world.wait_ready("mover")
    uid = world.uid("mover")
    network = {"subnets": subnets(world, ABROAD)}
    world.patch("mover", spec={"region": ABROAD, "cluster": cluster, "network": network})
    until(lambda: len(world.tasks(uid)) == 2, "the task abroad")
    world.wait_ready("mover")
    first, second = world.tasks(uid)
    assert (first["region"], first["lastStatus"]) == (REGION, "STOPPED")
    assert (second["region"], second["clusterArn"]) == (ABROAD, arn)
    stops = {region: aws_way.count(region, "StopTask") for region in (REGION, ABROAD)}
    assert stops == {REGION: 1, ABROAD: 0}
    world.kubectl("delete", "fc", "mover", PATIENCE)
    assert world.tasks(live=True) == []
