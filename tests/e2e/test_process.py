"""The operator as a process: start, stop, probes, settings, upgrade."""

import json
import subprocess
import time

import pytest
from tests.e2e.api import DEADLINE, PATIENCE, install_crd
from tests.e2e.stack import OPERATOR, World, until

from fractal_models.kube import GROUP, PLURAL, VERSION

SHUTDOWN = 25.0
"""Seconds: its own bounds add up to 15, and Kubernetes kills it after 30."""


def test_sigterm_ends_it_and_a_restart_changes_nothing(world: World) -> None:
    operator = world.start()
    names = [f"kept-{number}" for number in range(5)]
    for name in names:
        world.create(name)
    world.wait_ready(*names)
    until(lambda: len(world.writes(events=True)) >= 3 * len(names), "three Events of each")
    world.sweeps(1)
    tasks, mark = world.tasks(), world.mark()
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < SHUTDOWN
    operator.start().wait_ready()
    world.sweeps(2)
    assert world.writes(since=mark) == []
    assert world.writes(since=mark, events=True) == []
    assert world.tasks() == tasks


def test_sigterm_in_the_middle_of_everything_loses_nothing(world: World) -> None:
    """One object waits for RunTask, one is starting, one stops, one has just ended."""
    world.ecs.set_plan(match=f"fc/{world.name}/", start_seconds=3)
    operator = world.start()
    world.create("stopping")
    world.until_condition("stopping", "Ready", "True")
    world.create("starting")
    until(lambda: world.status("starting").get("tasks"), "it is starting")
    world.ecs.hold("StopTask", "after", times=100)  # a call that takes too long is made again
    world.kubectl("delete", "fc", "stopping", "--wait=false")
    world.ecs.hold("RunTask", "after", match=f"fc/{world.name}/", times=100)
    uid = world.create("launching")["metadata"]["uid"]
    until(lambda: len(world.ecs.held()) == 2, "StopTask and RunTask are called")
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < SHUTDOWN
    until(lambda: not world.ecs.held(), "the connections are cut")
    world.ecs.release()
    operator.start()
    world.until_condition("starting", "Ready", "True")
    world.until_condition("launching", "Ready", "True")
    world.until_gone("stopping")
    assert len(world.tasks(uid)) == 1
    assert len(world.tasks()) == 3
    told = ["Launching", "TaskLaunched", "Ready"]
    until(lambda: "Ready" in world.history(uid), "the history")
    # what was found after the restart may be called adopted instead of launched
    assert len(world.history(uid)) == len(told)


def test_sigterm_during_start_up(world: World) -> None:
    operator = world.start(ready=False)
    until(operator.port, "it serves its probes")
    assert operator.stop() == 0


@pytest.mark.parametrize(
    ("faults", "lines"),
    [
        ({"workers": "many"}, ["FRACTAL_WORKERS"]),
        (
            {"sweep_seconds": "1", "log_format": "xml"},
            ["FRACTAL_SWEEP_SECONDS", "FRACTAL_LOG_FORMAT"],
        ),
        ({"clutser": "x"}, ["FRACTAL_CLUTSER"]),
        ({"database_url": "mysql://u:hunter2@h/d"}, ["FRACTAL_DATABASE_URL"]),
    ],
)
def test_bad_settings_end_it_with_one_line_each(
    world: World, faults: dict[str, str], lines: list[str]
) -> None:
    done = subprocess.run(
        OPERATOR, env=world.environ(**faults), capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == lines
    assert "hunter2" not in done.stdout + done.stderr


def test_no_kubernetes_credentials_end_it_with_one_line(world: World) -> None:
    environ = world.environ() | {"KUBECONFIG": str(world.folder / "absent")}
    done = subprocess.run(OPERATOR, env=environ, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1
    (line,) = (each for each in done.stderr.splitlines() if not each.startswith("{"))
    assert "Kubernetes credentials" in line


def test_probes_and_metrics(world: World) -> None:
    operator = world.start()
    assert operator.get("/healthz")[0] == 200
    assert operator.get("/readyz")[0] == 200
    assert operator.get("/nothing")[0] == 404
    world.apply("measured")
    world.wait_ready("measured")

    def sample(name: str) -> float | None:
        for line in operator.get("/metrics")[1].splitlines():
            if line.startswith(name):
                return float(line.rpartition(" ")[2])
        return None

    assert sample("fractal_duplicate_tasks_total") == 0
    assert sample('fractal_launches_total{result="launched"}') == 1
    counted = 'controller_runtime_reconcile_total{controller="fractalcontainer",result="success"}'
    until(lambda: sample(counted), "a reconcile that ended in rest")
    until(lambda: sample('fractal_containers{phase="Running"}') == 1, "the gauge")
    text = operator.get("/metrics")[1]
    for private in (world.namespace, "measured", "ada@example.org", world.uid("measured")):
        assert private not in text


def test_not_ready_before_the_first_sweep(world: World) -> None:
    world.ecs.hold("ListTasks", "before", times=100)  # a call that takes too long is made again
    operator = world.start(ready=False)
    until(world.ecs.held, "the first sweep")
    until(lambda: operator.get("/readyz")[0] == 503, "it is not ready")
    assert "the first sweep of ECS tasks" in operator.get("/readyz")[1]
    assert operator.get("/healthz")[0] == 200
    world.create("patient")
    until(lambda: world.status("patient").get("conditions") or world.get("patient"), "it is seen")
    assert world.tasks() == []  # no launch before one full look at the cluster
    world.ecs.release()
    operator.wait_ready()
    world.until_condition("patient", "Ready", "True")


def test_logs_are_json_and_hold_no_secret(world: World) -> None:
    operator = world.start(log_level="DEBUG")
    world.apply("logged")
    world.wait_ready("logged")
    assert operator.stop() == 0
    for line in operator.log().splitlines():
        assert {"ts", "level", "logger", "message"} <= set(json.loads(line))
    assert world.database_url not in operator.log()


def release_all(world: World) -> None:
    """Take the finalizers of what other tests have left: the CRD goes only after its objects."""
    for item in world.objects.list_cluster_custom_object(GROUP, VERSION, PLURAL)["items"]:  # type: ignore[index]
        meta = item["metadata"]
        patch = ("patch", "fc", meta["name"], "-n", meta["namespace"], "--type=merge", "-p")
        world.api.kubectl(*patch, '{"metadata":{"finalizers":null}}')


@pytest.mark.alone
def test_started_before_the_crd_exists_it_waits_and_then_works(world: World) -> None:
    name = f"{PLURAL}.{GROUP}"
    release_all(world)
    deleted = world.api.kubectl("delete", "crd", name, PATIENCE)
    assert deleted.returncode == 0, deleted.stderr
    try:
        operator = world.start(ready=False)
        until(lambda: operator.get("/healthz")[0] == 200, "it lives")
        until(lambda: "again" in operator.log() or "404" in operator.log(), "it says so")
        assert operator.get("/readyz")[0] == 503
        assert operator.ended is None
    finally:
        install_crd(world.api)
    operator.wait_ready()
    world.apply("early")
    world.wait_ready("early")
    assert len(world.tasks()) == 1


def test_an_upgrade_with_other_defaults_launches_nothing(world: World) -> None:
    """Settings count at the next attempt; the recorded hash knows nothing of them."""
    operator = world.start()
    names = ["one", "two"]
    for name in names:
        world.apply(name)
    world.wait_ready(*names)
    tasks, mark = world.tasks(), world.mark()
    assert operator.stop() == 0
    world.start(subnets=world.subnets[1], assign_public_ip="Enabled", release_name="newer")
    world.sweeps(2)
    assert world.tasks() == tasks
    assert world.writes(since=mark) == []
    world.patch("one", spec={"dpi": 200})
    until(lambda: len(world.tasks(live=True)) == 2 and len(world.tasks()) == 3, "a replacement")
    world.until_condition("one", "Ready", "True")
    details = {
        each["name"]: each["value"] for each in world.tasks()[-1]["attachments"][0]["details"]
    }
    assert details["subnetId"] == world.subnets[1]


def test_an_upgrade_with_other_defaults_in_the_middle_of_a_launch(world: World) -> None:
    """The call was executed, its answer lost; the replay's body differs: ECS says Conflict."""
    operator = world.start()
    world.ecs.hold("RunTask", "after", match=f"fc/{world.name}/")
    world.create("caught")
    until(world.ecs.held, "RunTask is called")
    operator.kill()
    (task,) = world.tasks()
    world.start(subnets=world.subnets[1])
    world.until_condition("caught", "Ready", "True")
    assert [each["taskArn"] for each in world.tasks()] == [task["taskArn"]]


def test_it_forgets_nothing_that_happened_while_it_was_down(world: World) -> None:
    operator = world.start()
    for name in ("edited", "deleted", "died", "suspended"):
        world.create(name)
    for name in ("edited", "deleted", "died", "suspended"):
        world.until_condition(name, "Ready", "True")
    uids = {name: world.uid(name) for name in ("edited", "deleted", "died", "suspended")}
    assert operator.stop() == 0
    world.patch("edited", spec={"dpi": 200})
    world.patch("suspended", spec={"operatingMode": "Suspended"})
    world.kubectl("delete", "fc", "deleted", "--wait=false")
    world.ecs.stop_task(started_by=f"fc/{world.name}/{uids['died']}/", exit_code=9)
    world.create("new")
    until(lambda: not world.tasks(uids["died"], live=True), "it has died")
    operator.start()
    world.until_gone("deleted")
    world.until_phase("suspended", "Suspended")
    until(lambda: world.status("edited").get("attempt", {}).get("number") == 2, "the edit is seen")
    until(lambda: world.status("died").get("lastTerminations"), "the end is seen")
    assert world.status("died")["lastTerminations"][0]["exitCode"] == 9
    for name in ("edited", "died", "new"):
        world.until_condition(name, "Ready", "True")
    live = {name: len(world.tasks(uid, live=True)) for name, uid in uids.items()}
    assert live == {"edited": 1, "deleted": 0, "died": 1, "suspended": 0}
