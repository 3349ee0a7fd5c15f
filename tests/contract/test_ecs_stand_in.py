"""What the stand-in adds to ECS: plans for tasks, faults, held calls, counts, and its process."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError
from tests.contract.ecs_world import PATIENCE, REGION, Aws, StandIn, clients, refusal, until

from fractal_dev.ecs.client import EcsControl
from fractal_dev.ecs.server import EcsStandIn


class TestLifecycle:
    def test_a_task_passes_through_its_states(self, stand_in: StandIn) -> None:
        stand_in.control.set_plan(start_seconds=3, stop_seconds=3)
        seen = [task := stand_in.run()]
        for _ in range(3):
            stand_in.control.advance(1.001)
            seen.append(stand_in.task(task["taskArn"]))
        stopping = stand_in.ecs.stop_task(cluster=stand_in.cluster, task=task["taskArn"])["task"]
        assert (stopping["lastStatus"], stopping["desiredStatus"]) == ("RUNNING", "STOPPED")
        for _ in range(4):
            seen.append(stand_in.task(task["taskArn"]))
            stand_in.control.advance(1.001)
        assert [each["lastStatus"] for each in seen] == [
            *("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"),
            *("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"),
        ]
        versions = [each["version"] for each in seen]
        assert versions == sorted(set(versions))
        last = seen[-1]
        assert last["createdAt"] < last["startedAt"] < last["stoppingAt"] < last["stoppedAt"]
        assert last["stopCode"] == "UserInitiated"

    def test_a_new_task_is_complete(self, stand_in: StandIn) -> None:
        containers = [
            {"name": "app", "image": "app:1", "healthCheck": {"command": ["CMD", "true"]}},
            {"name": "log", "image": "log:2", "essential": False},
        ]
        task = stand_in.run(stand_in.define(containerDefinitions=containers))
        task_id = task["taskArn"].rsplit("/", 1)[-1]
        assert re.fullmatch("[0-9a-f]{32}", task_id)
        assert [each["name"] for each in task["containers"]] == ["app", "log"]
        assert {each["taskArn"] for each in task["containers"]} == {task["taskArn"]}
        assert f":container/{stand_in.cluster}/{task_id}/" in task["containers"][0]["containerArn"]
        assert (task["cpu"], task["memory"], task["version"]) == ("256", "512", 1)
        assert task["healthStatus"] == "UNKNOWN"
        stand_in.control.advance(5)
        running = stand_in.task(task["taskArn"])
        assert (running["healthStatus"], running["connectivity"]) == ("HEALTHY", "CONNECTED")
        assert "exitCode" not in running["containers"][0]
        stand_in.control.set_health("UNHEALTHY", task["taskArn"])
        assert stand_in.task(task["taskArn"])["healthStatus"] == "UNHEALTHY"

    def test_the_main_container_exits(self, stand_in: StandIn) -> None:
        stand_in.control.set_plan(exit_after=5, exit_code=3)
        arn = stand_in.run()["taskArn"]
        stand_in.control.advance(60)
        task = stand_in.task(arn)
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "EssentialContainerExited")
        assert task["containers"][0]["exitCode"] == 3

    def test_a_task_fails_to_start(self, stand_in: StandIn) -> None:
        reason = "CannotPullContainerError: no such image"
        stand_in.control.set_plan(match="pull", fail_to_start=reason)
        stand_in.control.set_plan(match="none", fail_to_start="ASG", empty_containers=True)
        definition = stand_in.define()
        arns = [stand_in.run(definition, startedBy=each)["taskArn"] for each in ("pull", "none")]
        stand_in.control.advance(60)
        pull, none = map(stand_in.task, arns)
        assert pull["stopCode"] == none["stopCode"] == "TaskFailedToStart"
        assert pull["stoppedReason"] == pull["containers"][0]["reason"] == reason
        assert "exitCode" not in pull["containers"][0]
        assert "startedAt" not in pull
        assert none["containers"] == []

    @pytest.mark.parametrize(
        ("how", "code"),
        [
            ("exit", "EssentialContainerExited"),
            ("spot", "SpotInterruption"),
            ("infrastructure", "InfrastructureHealth"),
            ("termination", "TerminationNotice"),
        ],
    )
    def test_a_task_is_ended_from_outside(self, stand_in: StandIn, how: Any, code: str) -> None:
        arn = stand_in.run(startedBy="fc/end/1")["taskArn"]
        stand_in.control.advance(5)
        assert stand_in.control.stop_task(started_by="fc/end/", how=how, exit_code=9) == [arn]
        stand_in.control.advance(5)
        task = stand_in.task(arn)
        assert (task["stopCode"], task["lastStatus"]) == (code, "STOPPED")
        assert task["containers"][0]["exitCode"] == (9 if how == "exit" else 143)

    def test_spot_can_be_planned_for_one_task(self, stand_in: StandIn) -> None:
        stand_in.control.set_plan(times=1, spot_after=10)
        definition = stand_in.define()
        arns = [stand_in.run(definition)["taskArn"] for _ in range(2)]
        stand_in.control.advance(60)
        first, second = map(stand_in.task, arns)
        assert (first["stopCode"], second["lastStatus"]) == ("SpotInterruption", "RUNNING")

    def test_a_container_that_ignores_sigterm_is_killed(self, stand_in: StandIn) -> None:
        stand_in.control.set_plan(ignores_sigterm=True)
        container = {"name": "app", "image": "app:1", "stopTimeout": 60}
        arn = stand_in.run(stand_in.define(containerDefinitions=[container]))["taskArn"]
        stand_in.control.advance(5)
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=arn)
        stand_in.control.advance(59)
        assert stand_in.task(arn)["lastStatus"] == "STOPPING"
        stand_in.control.advance(3)
        assert stand_in.task(arn)["containers"][0]["exitCode"] == 137

    def test_a_task_stopped_before_it_ran_has_no_exit_code(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=arn)
        stand_in.control.advance(5)
        task = stand_in.task(arn)
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "UserInitiated")
        assert "exitCode" not in task["containers"][0]

    def test_real_time_moves_tasks_too(self) -> None:
        server = EcsStandIn()
        url = server.start()
        try:
            server.ensure_cluster("main", REGION)
            ecs, ec2 = clients(url)
            subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
            EcsControl(url).set_plan(start_seconds=0.1, exit_after=0.1, stop_seconds=0.1)
            arn = Aws(ecs, ec2, "main", subnet, lambda _: None).run()["taskArn"]
            until(
                lambda: (
                    ecs.describe_tasks(cluster="main", tasks=[arn])["tasks"][0]["lastStatus"]
                    == "STOPPED"
                )
            )
        finally:
            server.stop()
        with pytest.raises(OSError, match=r"refused|reset"):
            urllib.request.urlopen(f"{url}/_ecs/calls", timeout=PATIENCE)


class TestFaults:
    def test_errors_hit_the_next_calls_of_one_operation(self, stand_in: StandIn) -> None:
        stand_in.control.throttle_next("ListTasks", times=2)
        listing = stand_in.ecs.list_tasks
        for _ in range(2):
            answer = refusal(listing, cluster=stand_in.cluster)
            assert answer == ("ThrottlingException", "Rate exceeded")
        assert listing(cluster=stand_in.cluster)["taskArns"] == []
        assert stand_in.control.errors() == {"ListTasks:ThrottlingException": 2}

    def test_faults_can_aim_at_one_task(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        arn = stand_in.run(definition, startedBy="fc/hit/1")["taskArn"]
        stand_in.control.fail_next("RunTask", match="fc/hit/")
        stand_in.control.fail_next("StopTask", match="fc/hit/")
        stand_in.run(definition, startedBy="fc/other/1")
        hit = stand_in.request(definition, startedBy="fc/hit/2")
        assert refusal(stand_in.ecs.run_task, **hit)[0] == "ServerException"
        code, _ = refusal(stand_in.ecs.stop_task, cluster=stand_in.cluster, task=arn)
        assert code == "ServerException"

    def test_a_launch_can_fail_with_a_200(self, stand_in: StandIn) -> None:
        stand_in.control.fail_next_launch("AGENT", match="one")
        stand_in.control.fail_next_launch(match="two")
        definition = stand_in.define()
        answers = [
            stand_in.ecs.run_task(**stand_in.request(definition, startedBy=each))
            for each in ("one", "two")
        ]
        assert [each["tasks"] for each in answers] == [[], []]
        assert [each["failures"] for each in answers] == [[{"reason": "AGENT"}], []]
        assert stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"] == []

    def test_a_failure_can_hide_a_task(self, stand_in: StandIn) -> None:
        stand_in.control.fail_next_launch("AGENT", launch_anyway=True)
        request = stand_in.request(stand_in.define(), startedBy="fc/ghost/1")
        assert stand_in.ecs.run_task(**request)["tasks"] == []
        found = stand_in.ecs.list_tasks(cluster=stand_in.cluster, startedBy="fc/ghost/1")
        assert len(found["taskArns"]) == 1

    def test_quotas_are_aws_s_when_turned_on(self, stand_in: StandIn) -> None:
        stand_in.control.set_throttle(1)
        for _ in range(20):
            stand_in.define()
        for _ in range(5):
            assert refusal(stand_in.define) == ("ThrottlingException", "Rate exceeded")
        stand_in.control.advance(1)
        assert stand_in.define()

    def test_calls_are_counted_where_they_arrive(self, stand_in: StandIn) -> None:
        stand_in.control.calls(clear=True)
        arn = stand_in.run(stand_in.define())["taskArn"]
        stand_in.task(arn)
        assert stand_in.control.calls(clear=True) == {
            "RegisterTaskDefinition": 1,
            "ec2:DescribeSecurityGroups": 1,
            "RunTask": 1,
            "DescribeTasks": 1,
        }
        assert stand_in.control.calls() == {}

    def test_the_control_api_refuses_what_makes_no_sense(self, stand_in: StandIn) -> None:
        with pytest.raises(ValueError, match="no colour"):
            stand_in.control.set_plan(colour="red")
        with pytest.raises(ValueError, match="no live task"):
            stand_in.control.stop_task("0" * 32)
        with pytest.raises(ValueError, match="cannot go back"):
            stand_in.control.advance(-1)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


class TestHolding:
    def call(self, server: StandIn, pool: ThreadPoolExecutor, **changes: Any) -> Future[Any]:
        request = server.request(server.define(), clientToken="t", startedBy="fc/h/1", **changes)
        return pool.submit(server.ecs.run_task, **request)

    def test_the_reply_waits_while_the_task_runs(
        self, stand_in: StandIn, pool: ThreadPoolExecutor
    ) -> None:
        stand_in.control.hold_run_task("after", match="fc/h/")
        reply = self.call(stand_in, pool)
        (held,) = until(stand_in.control.held)
        assert held == {"operation": "RunTask", "phase": "after", "startedBy": "fc/h/1"}
        (task,) = stand_in.control.tasks("fc/h/", live=True)
        assert not reply.done()
        assert stand_in.control.release() == 1
        assert reply.result()["tasks"][0]["taskArn"] == task["taskArn"]

    def test_a_call_held_before_does_nothing_yet(
        self, stand_in: StandIn, pool: ThreadPoolExecutor
    ) -> None:
        cluster = stand_in.cluster
        stand_in.control.hold_run_task("before")
        reply = self.call(stand_in, pool)
        until(stand_in.control.held)
        assert stand_in.ecs.list_tasks(cluster=cluster)["taskArns"] == []
        stand_in.control.release()
        reply.result()
        assert len(stand_in.ecs.list_tasks(cluster=cluster)["taskArns"]) == 1

    def test_a_dropped_reply_leaves_the_task_to_its_token(self, stand_in: StandIn) -> None:
        stand_in.control.hold("RunTask", "drop")
        request = stand_in.request(stand_in.define(), clientToken="t", startedBy="fc/drop/1")
        with pytest.raises(ConnectionClosedError):
            stand_in.ecs.run_task(**request)
        (replayed,) = stand_in.ecs.run_task(**request)["tasks"]
        (task,) = stand_in.control.tasks("fc/drop/", live=True)
        assert replayed["taskArn"] == task["taskArn"]

    def ask(self, server: StandIn, definition: str) -> http.client.HTTPConnection:
        """Send RunTask, as somebody who can hang up at any time; returns without an answer."""
        vpc = {"subnets": [server.subnet]}
        request = server.request(definition, networkConfiguration={"awsvpcConfiguration": vpc})
        scope = f"Credential=a/20260101/{REGION}/ecs/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}",
            "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.RunTask",
        }
        client = http.client.HTTPConnection(server.url.removeprefix("http://"))
        client.request("POST", "/", json.dumps(request), headers)
        return client

    @pytest.mark.parametrize(("late", "tasks"), [(False, 0), (True, 1)])
    def test_a_client_that_goes_away(self, stand_in: StandIn, late: bool, tasks: int) -> None:
        stand_in.control.hold_run_task("before", late=late)
        client = self.ask(stand_in, stand_in.define())
        until(stand_in.control.held)
        client.close()
        if late:
            assert stand_in.control.release() == 1
        until(lambda: not stand_in.control.held())
        stand_in.run()
        listing = stand_in.ecs.list_tasks
        until(lambda: len(listing(cluster=stand_in.cluster)["taskArns"]) == tasks + 1)

    def test_release_does_not_execute_for_a_client_that_has_just_gone(
        self, stand_in: StandIn
    ) -> None:
        definition = stand_in.define()
        stand_in.control.hold_run_task("before", times=5)
        gone = [self.ask(stand_in, definition) for _ in range(5)]
        until(lambda: len(stand_in.control.held()) == 5)
        for client in gone:
            client.close()
        stand_in.control.release()
        until(lambda: not stand_in.control.held())
        arn = stand_in.run(definition)["taskArn"]
        assert stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"] == [arn]

    def test_stopping_the_stand_in_cuts_held_calls(self, pool: ThreadPoolExecutor) -> None:
        server = EcsStandIn()
        url = server.start()
        control = EcsControl(url)
        control.hold("ListClusters", "after")
        reply = pool.submit(clients(url)[0].list_clusters)
        until(control.held)
        server.stop()
        with pytest.raises(ConnectionClosedError):
            reply.result()

    def test_any_operation_can_be_held(self, stand_in: StandIn, pool: ThreadPoolExecutor) -> None:
        stand_in.control.hold("RegisterTaskDefinition", "after")
        reply = pool.submit(stand_in.define)
        until(stand_in.control.held)
        stand_in.control.release()
        arns = [each["arn"] for each in stand_in.control.definitions()]
        assert reply.result() in arns


class TestProcess:
    def test_it_prints_its_url_and_ends_on_sigterm(self) -> None:
        command = [sys.executable, "-m", "fractal_dev.ecs", "--cluster", "main"]
        command += ["--region", REGION, "--instances", "1", "--start-seconds", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            ecs, _ = clients(url)
            instances = ecs.list_container_instances(cluster="main")["containerInstanceArns"]
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
            timer.cancel()
        assert url.startswith("http://127.0.0.1:")
        assert len(instances) == 1

    def test_it_stays_on_the_loopback_interface(self) -> None:
        with pytest.raises(ValueError, match="loopback"):
            EcsStandIn().start(host="0.0.0.0")
