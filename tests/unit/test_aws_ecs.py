"""The ECS client's calls: what is sent, and what their answers mean."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from tests.unit.aws_wire import CLUSTER, Clock, Stubs, answer, clients, on_send, task_arn

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups
from fractal_models.errors import OutcomeUnknown, Rejected, Throttled, Unavailable
from fractal_models.observed import (
    ClusterArn,
    ClusterInfo,
    DescribeTasksResult,
    LaunchFailure,
    RunTaskResult,
    TaskArn,
)

SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HERE = ClusterArn(CLUSTER)
NOTHING = DescribeTasksResult((), ())
REQUEST: dict[str, Any] = {
    "cluster": CLUSTER,
    "taskDefinition": "arn:aws:ecs:eu-central-1:111122223333:task-definition/fc-1:1",
    "count": 1,
    "clientToken": "abc",
    "startedBy": "fc/i/u/1",
    "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
    "networkConfiguration": {
        "awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}
    },
    "overrides": {
        "containerOverrides": [
            {"name": "app", "environment": [{"name": "FRACTAL_SPEC_HASH", "value": "v1:a"}]}
        ]
    },
    "tags": [{"key": "fractal.co/uid", "value": "u"}],
    "enableExecuteCommand": True,
    "propagateTags": "TASK_DEFINITION",
}


def payload(number: int, status: str = "RUNNING") -> dict[str, Any]:
    return {"taskArn": task_arn(number), "clusterArn": CLUSTER, "lastStatus": status}


def client(stubs: Stubs, clock: Clock | None = None) -> EcsClient:
    clock = clock or Clock()
    quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
    return EcsClient(stubs.clients, quotas, now=lambda: SEEN, monotonic=clock.monotonic)


def numbered(first: int, last: int) -> list[TaskArn]:
    return [TaskArn(task_arn(number)) for number in range(first, last)]


class Strict:
    """A client of an ECS that shows every task of the cluster, and refuses all other ARNs."""

    def __init__(self) -> None:
        self.clock, made = Clock(), clients()
        on_send(made.ecs, "DescribeTasks", self._answer)
        quotas = QuotaGroups(monotonic=self.clock.monotonic, sleep=self.clock.sleep)
        self.client = EcsClient(made, quotas, now=lambda: SEEN, monotonic=self.clock.monotonic)
        self._calls = 0

    def take_calls(self) -> int:
        """How many calls there were since this was asked last."""
        calls, self._calls = self._calls, 0
        return calls

    def _answer(self, request: AWSRequest) -> AWSResponse:
        self._calls += 1
        asked = json.loads(request.body)
        place = asked["cluster"].replace(":cluster/", ":task/") + "/"
        if any(len(arn.removeprefix(place)) != 32 for arn in asked["tasks"]):
            text = "taskId length should be one of [32,36]"
            error = {"__type": "InvalidParameterException", "message": text}
            return answer(json.dumps(error).encode(), 400)
        return answer(json.dumps({"tasks": [{"taskArn": arn} for arn in asked["tasks"]]}).encode())


class TestRunTask:
    def test_the_body_is_sent_as_it_is(self) -> None:
        stubs = Stubs.active()
        stubs.once.add_response(
            "run_task", {"tasks": [payload(1, "PROVISIONING")], "failures": []}, REQUEST
        )
        result = client(stubs).run_task(REQUEST)
        assert [task.arn for task in result.tasks] == [task_arn(1)]
        assert result.tasks[0].last_status == "PROVISIONING"
        assert result.tasks[0].observed_at == SEEN
        assert result.failures == ()
        stubs.assert_all_sent()

    @pytest.mark.parametrize(
        ("reason", "detail"),
        [
            ("RESOURCE:CPU", ""),
            ("RESOURCE:MEMORY", ""),
            ("RESOURCE:PORTS", ""),
            ("RESOURCE:GPU", ""),
            ("RESOURCE:ENI", ""),
            ("AGENT", ""),
            ("ATTRIBUTE", "ecs.os-type"),
            ("LOCATION", ""),
            ("Capacity is unavailable at this time. Please try again later", ""),
            ("You've reached the limit on the number of tasks you can run concurrently", ""),
        ],
    )
    def test_failures_are_an_answer_and_no_error(self, reason: str, detail: str) -> None:
        stubs = Stubs.active()
        failure = {"arn": "arn:i", "reason": reason, "detail": detail}
        stubs.once.add_response("run_task", {"tasks": [], "failures": [failure]})
        assert client(stubs).run_task(REQUEST) == RunTaskResult(
            tasks=(), failures=(LaunchFailure(reason, detail, "arn:i"),)
        )

    def test_both_lists_may_be_filled_or_empty(self) -> None:
        stubs = Stubs.active()
        failures = [{"reason": "AGENT"}]
        stubs.once.add_response("run_task", {"tasks": [payload(1)], "failures": failures})
        stubs.once.add_response("run_task", {"tasks": [], "failures": []})
        ecs = client(stubs)
        both = ecs.run_task(REQUEST)
        assert (len(both.tasks), len(both.failures)) == (1, 1)
        assert ecs.run_task(REQUEST) == RunTaskResult((), ())

    @pytest.mark.parametrize(
        "answered", [{}, {"tasks": [{"lastStatus": "PENDING"}], "failures": []}]
    )
    def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(self, answered: Any) -> None:
        stubs = Stubs.active()
        stubs.once.add_response("run_task", answered)
        with pytest.raises(OutcomeUnknown):
            client(stubs).run_task(REQUEST)

    @pytest.mark.parametrize("change", [{"count": 2}, {"clientToken": ""}, {"count": None}])
    def test_it_launches_one_task_under_a_token_or_nothing(self, change: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="clientToken"):
            client(Stubs.active()).run_task(REQUEST | change)

    def test_it_takes_no_token_and_never_waits_for_one(self) -> None:
        stubs, clock = Stubs.active(), Clock()
        ecs = client(stubs, clock)
        for _ in range(200):
            stubs.once.add_response("run_task", {"tasks": [payload(1)], "failures": []})
            ecs.run_task(REQUEST)
        assert clock.slept == []


class TestTagTask:
    def test_the_tags_are_sent_in_order(self) -> None:
        stubs = Stubs.active()
        tags = [{"key": "a", "value": "1"}, {"key": "fractal.co/retained", "value": "true"}]
        params = {"resourceArn": task_arn(1), "tags": tags}
        stubs.ecs.add_response("tag_resource", {}, params)
        client(stubs).tag_task(TaskArn(task_arn(1)), {"fractal.co/retained": "true", "a": "1"})
        stubs.ecs.assert_no_pending_responses()


class TestStopTask:
    ARN = TaskArn(task_arn(1))

    def test_the_task_as_it_is_now(self) -> None:
        stubs = Stubs.active()
        params = {"cluster": CLUSTER, "task": self.ARN, "reason": "deleted"}
        stubs.ecs.add_response(
            "stop_task", {"task": payload(1) | {"desiredStatus": "STOPPED"}}, params
        )
        found = client(stubs).stop_task(HERE, self.ARN, "deleted")
        assert found
        assert found.stopping
        assert not found.stopped

    def test_a_long_reason_is_cut(self) -> None:
        stubs = Stubs.active()
        params = {"cluster": CLUSTER, "task": self.ARN, "reason": "é" * 255}
        stubs.ecs.add_response("stop_task", {"task": payload(1)}, params)
        assert client(stubs).stop_task(HERE, self.ARN, "é" * 3000)

    def test_a_task_that_ecs_does_not_know_is_none(self) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_client_error(
            "stop_task", "InvalidParameterException", "The referenced task was not found."
        )
        assert client(stubs).stop_task(HERE, self.ARN, "") is None

    @pytest.mark.parametrize(
        ("code", "text", "expected"),
        [
            ("InvalidParameterException", "taskId length should be one of [32,36]", Rejected),
            ("ClusterNotFoundException", "Cluster not found.", Rejected),
            ("InvalidParameterException", "Rate exceeded", Throttled),
        ],
    )
    def test_other_refusals_are_errors(self, code: str, text: str, expected: Any) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_client_error("stop_task", code, text)
        with pytest.raises(expected):
            client(stubs).stop_task(HERE, self.ARN, "")

    def test_an_answer_without_the_task_is_not_an_unknown_task(self) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_response("stop_task", {})
        with pytest.raises(OutcomeUnknown):
            client(stubs).stop_task(HERE, self.ARN, "")


class TestDescribeTasks:
    def test_no_tasks_no_call(self) -> None:
        result = client(Stubs.active()).describe_tasks(CLUSTER, [])
        assert (result.tasks, result.missing) == ((), ())

    def test_a_hundred_a_call_each_once(self) -> None:
        stubs = Stubs.active()
        arns = numbered(0, 250)
        for batch in (range(100), range(100, 200), range(200, 250)):
            stubs.ecs.add_response(
                "describe_tasks",
                {"tasks": [payload(number) for number in batch], "failures": []},
                {
                    "cluster": CLUSTER,
                    "tasks": [task_arn(number) for number in batch],
                    "include": ["TAGS"],
                },
            )
        result = client(stubs).describe_tasks(CLUSTER, arns + arns[:30])
        assert [task.arn for task in result.tasks] == arns
        assert result.missing == ()
        stubs.assert_all_sent()

    def test_missing_is_what_ecs_calls_so_and_what_it_passes_over(self) -> None:
        stubs = Stubs.active()
        failures = [{"arn": task_arn(1), "reason": "MISSING"}]
        stubs.ecs.add_response("describe_tasks", {"tasks": [payload(0)], "failures": failures})
        result = client(stubs).describe_tasks(CLUSTER, numbered(0, 3))
        assert [task.arn for task in result.tasks] == [task_arn(0)]
        assert result.missing == (task_arn(1), task_arn(2))

    def test_tasks_that_were_not_asked_for_are_left_out(self) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_response("describe_tasks", {"tasks": [payload(0), payload(9)]})
        result = client(stubs).describe_tasks(CLUSTER, numbered(0, 1))
        assert [task.arn for task in result.tasks] == [task_arn(0)]

    def test_a_failure_of_another_kind_is_neither_seen_nor_missing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        stubs = Stubs.active()
        failures = [{"arn": task_arn(1), "reason": "ACCESS_DENIED"}]
        stubs.ecs.add_response("describe_tasks", {"tasks": [payload(0)], "failures": failures})
        result = client(stubs).describe_tasks(CLUSTER, numbered(0, 2))
        assert [task.arn for task in result.tasks] == [task_arn(0)]
        assert result.missing == ()
        assert "ACCESS_DENIED" in caplog.text

    def test_one_refused_arn_does_not_fail_the_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        stubs = Stubs.active()
        bad = TaskArn(task_arn(9).replace("/main/", "/other/"))
        text = "Invalid identifier: Identifier is for other. Your cluster is main"

        def expect(*, refused: bool, arns: list[TaskArn], found: list[int]) -> None:
            params = {"cluster": CLUSTER, "tasks": arns, "include": ["TAGS"]}
            if refused:
                stubs.ecs.add_client_error(
                    "describe_tasks",
                    "InvalidParameterException",
                    text,
                    expected_params=params,
                )
            else:
                tasks = [payload(number) for number in found]
                stubs.ecs.add_response("describe_tasks", {"tasks": tasks}, params)

        zero, one, two = numbered(0, 3)
        expect(refused=True, arns=[zero, one, bad, two], found=[])
        expect(refused=False, arns=[zero, one], found=[0, 1])
        expect(refused=True, arns=[bad, two], found=[])
        expect(refused=True, arns=[bad], found=[])
        expect(refused=False, arns=[two], found=[])
        result = client(stubs).describe_tasks(CLUSTER, [zero, one, bad, two])
        assert [task.arn for task in result.tasks] == [zero, one]
        assert result.missing == (two,)
        assert bad in caplog.text
        stubs.assert_all_sent()

    def test_what_ecs_refuses_is_asked_for_once_in_ten_minutes(self) -> None:
        ecs = Strict()
        malformed = [TaskArn(f"{task_arn(0)[:-32]}bad-{number}") for number in range(5)]
        arns = [*malformed, *numbered(0, 95)]
        first = ecs.client.describe_tasks(CLUSTER, arns)
        assert len(first.tasks) == 95
        assert set(first.missing) == set(malformed)  # ECS never gives such ids
        assert 5 < ecs.take_calls() <= 1 + 2 * 5 * 7  # two halves at each of seven levels, for each
        for _ in range(100):
            ecs.clock.time += 5
            assert ecs.client.describe_tasks(CLUSTER, arns) == first
        assert ecs.take_calls() == 100
        ecs.client.describe_tasks(CLUSTER, malformed)
        assert ecs.take_calls() == 0
        ecs.clock.time += 101
        ecs.client.describe_tasks(CLUSTER, malformed)
        assert ecs.take_calls() == 9

    def test_a_real_id_that_is_refused_is_asked_for_again_after_a_minute(self) -> None:
        ecs = Strict()
        elsewhere = TaskArn(task_arn(9).replace("/main/", "/other/"))
        for seconds, calls in ((0, 1), (59, 0), (2, 1)):
            ecs.clock.time += seconds
            assert ecs.client.describe_tasks(CLUSTER, [elsewhere]) == NOTHING
            assert ecs.take_calls() == calls

    def test_a_refusal_counts_in_the_cluster_that_was_asked(self) -> None:
        ecs = Strict()
        elsewhere = TaskArn(task_arn(9).replace("/main/", "/other/"))
        ecs.client.describe_tasks(CLUSTER, [elsewhere])
        other = CLUSTER.replace("/main", "/other")
        (task,) = ecs.client.describe_tasks(other, [elsewhere]).tasks
        assert task.arn == elsewhere

    def test_a_cluster_that_is_gone_is_an_error_and_not_missing_tasks(self) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_client_error("describe_tasks", "ClusterNotFoundException", "Cluster …")
        with pytest.raises(Rejected) as caught:
            client(stubs).describe_tasks(CLUSTER, numbered(0, 2))
        assert caught.value.code == "ClusterNotFoundException"

    def test_an_unreadable_answer_is_not_a_hundred_missing_tasks(self) -> None:
        made = clients()
        on_send(made.ecs, "DescribeTasks", lambda _: answer(b'{"tasks": [{"taskArn":'))
        with pytest.raises(OutcomeUnknown):
            EcsClient(made, QuotaGroups()).describe_tasks(CLUSTER, numbered(0, 2))

    def test_a_thousand_tasks_cost_ten_calls_of_the_read_quota(self) -> None:
        stubs, clock = Stubs.active(), Clock()
        seen: list[str] = []
        quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
        ecs = EcsClient(stubs.clients, quotas, observe=lambda op, *_: seen.append(op))
        for _ in range(10):
            stubs.ecs.add_response("describe_tasks", {"tasks": []})
        assert len(ecs.describe_tasks(CLUSTER, numbered(0, 1000)).missing) == 1000
        assert seen == ["DescribeTasks"] * 10
        assert [quotas.draw("ListTasks") for _ in range(40)] == [0.0] * 40
        assert quotas.draw("ListTasks")


class TestListTasks:
    @pytest.mark.parametrize(
        ("options", "sent"),
        [
            ({}, {"desiredStatus": "RUNNING"}),
            ({"stopped": True}, {"desiredStatus": "STOPPED"}),
            ({"started_by": "fc/i/u/1"}, {"startedBy": "fc/i/u/1"}),
        ],
    )
    def test_one_filter_is_sent(self, options: dict[str, Any], sent: dict[str, str]) -> None:
        stubs = Stubs.active()
        arns = numbered(0, 2)
        stubs.ecs.add_response("list_tasks", {"taskArns": arns}, {"cluster": CLUSTER, **sent})
        assert client(stubs).list_tasks(CLUSTER, **options) == tuple(arns)

    def test_two_filters_are_refused(self) -> None:
        with pytest.raises(ValueError, match="filter"):
            client(Stubs.active()).list_tasks(CLUSTER, started_by="fc/i/u/1", stopped=True)

    def test_all_pages_each_task_once(self) -> None:
        stubs = Stubs.active()
        params = {"cluster": CLUSTER, "desiredStatus": "RUNNING"}
        pages = [numbered(0, 100), numbered(99, 150), []]
        for index, arns in enumerate(pages):
            page: dict[str, Any] = {"taskArns": arns}
            if index < 2:
                page["nextToken"] = f"page {index + 1}"
            cursor = {"nextToken": f"page {index}"} if index else {}
            stubs.ecs.add_response("list_tasks", page, params | cursor)
        assert client(stubs).list_tasks(CLUSTER) == tuple(numbered(0, 150))
        stubs.assert_all_sent()

    def test_a_page_token_that_comes_back_ends_it(self) -> None:
        stubs = Stubs.active()
        for token in ("a", "b", "a"):
            stubs.ecs.add_response("list_tasks", {"taskArns": [], "nextToken": token})
        with pytest.raises(Unavailable, match="do not end"):
            client(stubs).list_tasks(CLUSTER)
        stubs.assert_all_sent()

    def test_an_unreadable_page_is_not_an_empty_one(self) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_response("list_tasks", {})
        with pytest.raises(OutcomeUnknown):
            client(stubs).list_tasks(CLUSTER)


class TestDescribeCluster:
    @pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE"])
    def test_a_cluster_in_any_status(self, status: str) -> None:
        stubs = Stubs.active()
        stubs.ecs.add_response(
            "describe_clusters",
            {"clusters": [{"clusterArn": CLUSTER, "clusterName": "main", "status": status}]},
            {"clusters": ["main"]},
        )
        assert client(stubs).describe_cluster("main") == ClusterInfo(HERE, "main", status)

    def test_missing_is_none(self) -> None:
        stubs = Stubs.active()
        failures = [{"arn": CLUSTER, "reason": "MISSING"}]
        stubs.ecs.add_response("describe_clusters", {"clusters": [], "failures": failures})
        assert client(stubs).describe_cluster("main") is None

    def test_any_other_failure_is_an_error(self) -> None:
        stubs = Stubs.active()
        failures = [{"arn": CLUSTER, "reason": "OTHER"}]
        stubs.ecs.add_response("describe_clusters", {"clusters": [], "failures": failures})
        stubs.ecs.add_response("describe_clusters", {"clusters": [], "failures": []})
        ecs = client(stubs)
        with pytest.raises(Rejected) as caught:
            ecs.describe_cluster("main")
        assert caught.value.code == "OTHER"
        with pytest.raises(OutcomeUnknown):
            ecs.describe_cluster("main")


def test_the_clients_have_bounded_timeouts_and_one_attempt_where_the_retry_is_ours() -> None:
    made = clients()
    for each, attempts in ((made.ecs, 3), (made.ecs_once, 1), (made.ec2, 3)):
        config = each.meta.config
        assert config.retries == {"mode": "standard", "total_max_attempts": attempts}
        assert (config.connect_timeout, config.read_timeout) == (3, 15)
        assert each.meta.region_name == "eu-central-1"


def test_nothing_is_logged_of_ordinary_calls(caplog: pytest.LogCaptureFixture) -> None:
    stubs = Stubs.active()
    stubs.once.add_response("run_task", {"tasks": [payload(1)], "failures": []})
    with caplog.at_level(logging.DEBUG, logger="fractal_helpers"):
        client(stubs).run_task(REQUEST)
    assert caplog.records == []
