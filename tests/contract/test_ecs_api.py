"""ECS's contract about tasks, as boto3 sees it over HTTP.

Where plain moto is right too, the same test runs against it; what moto lacks is tested against
the stand-in alone. Its clock is frozen and pushed by the tests.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.ecs_world import HOUR, REGION, Aws, StandIn, refusal


class TestWhatMotoKnowsToo:
    def test_definitions_are_numbered_and_retired(self, aws: Aws) -> None:
        family = f"f-{uuid4().hex}"
        first, second = aws.define(family=family), aws.define(family=family)
        assert (first[-2:], second[-2:]) == (":1", ":2")
        aws.ecs.deregister_task_definition(taskDefinition=second)
        shown = aws.ecs.describe_task_definition(taskDefinition=second)["taskDefinition"]
        assert (shown["status"], shown["networkMode"]) == ("INACTIVE", "awsvpc")

    def test_run_task_echoes_the_request(self, aws: Aws) -> None:
        definition = aws.define()
        environment = [{"name": "A", "value": "1"}]
        override = {"containerOverrides": [{"name": "app", "environment": environment}]}
        task = aws.run(definition, startedBy="fc/x/1", overrides=override)
        assert f":task/{aws.cluster}/" in task["taskArn"]
        assert task["clusterArn"].endswith(f":cluster/{aws.cluster}")
        assert (task["taskDefinitionArn"], task["startedBy"]) == (definition, "fc/x/1")
        assert task["overrides"]["containerOverrides"][0]["environment"] == environment
        assert task["launchType"] == "FARGATE"

    def test_an_unknown_cluster_is_an_error(self, aws: Aws) -> None:
        requests: list[tuple[Any, dict[str, Any]]] = [
            (aws.ecs.run_task, aws.request("f", cluster="nowhere")),
            (aws.ecs.list_tasks, {"cluster": "nowhere"}),
            (aws.ecs.describe_tasks, {"cluster": "nowhere", "tasks": ["a" * 32]}),
        ]
        for call, request in requests:
            assert refusal(call, **request)[0] == "ClusterNotFoundException"

    def test_an_unknown_definition_is_an_error(self, aws: Aws) -> None:
        assert refusal(aws.ecs.run_task, **aws.request("none"))[0] == "ClientException"

    def test_describing_no_task_is_an_error(self, aws: Aws) -> None:
        answer = refusal(aws.ecs.describe_tasks, cluster=aws.cluster, tasks=[])
        assert answer == ("InvalidParameterException", "Tasks cannot be empty.")

    def test_launch_type_and_strategy_exclude_each_other(self, aws: Aws) -> None:
        strategy = [{"capacityProvider": "FARGATE"}]
        request = aws.request(aws.define(), capacityProviderStrategy=strategy)
        assert refusal(aws.ecs.run_task, **request)[0] == "InvalidParameterException"

    def test_awsvpc_needs_a_network_configuration(self, aws: Aws) -> None:
        request = aws.request(aws.define(), networkConfiguration=None)
        code, message = refusal(aws.ecs.run_task, **request)
        assert code == "InvalidParameterException"
        assert "Network Configuration must be provided" in message

    def test_started_by_finds_exactly_its_tasks(self, aws: Aws) -> None:
        definition = aws.define()
        wanted = aws.run(definition, startedBy="fc/x/1")
        aws.run(definition, startedBy="fc/x/12")
        found = aws.ecs.list_tasks(cluster=aws.cluster, startedBy="fc/x/1")["taskArns"]
        assert found == [wanted["taskArn"]]

    def test_tags_are_shown_on_demand_and_can_be_added(self, aws: Aws) -> None:
        arn = aws.run(tags=[{"key": "a", "value": "1"}])["taskArn"]
        aws.ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
        tags = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
        answer = aws.ecs.describe_tasks(cluster=aws.cluster, tasks=[arn], include=["TAGS"])
        assert sorted(answer["tasks"][0]["tags"], key=lambda tag: tag["key"]) == tags
        assert not aws.task(arn).get("tags")
        aws.ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
        assert aws.ecs.list_tags_for_resource(resourceArn=arn)["tags"] == tags[1:]

    def test_the_interface_in_the_attachment_is_known_to_ec2(self, aws: Aws) -> None:
        arn = aws.run()["taskArn"]
        aws.settle(5)
        (attachment,) = aws.task(arn)["attachments"]
        details = {each["name"]: each["value"] for each in attachment["details"]}
        answer = aws.ec2.describe_network_interfaces(
            NetworkInterfaceIds=[details["networkInterfaceId"]]
        )
        (interface,) = answer["NetworkInterfaces"]
        assert attachment["status"] == "ATTACHED"
        assert interface["PrivateIpAddress"] == details["privateIPv4Address"]
        assert interface["SubnetId"] == details["subnetId"] == aws.subnet

    def test_stop_task_wants_the_task_stopped_for_a_reason(self, aws: Aws) -> None:
        arn = aws.run()["taskArn"]
        task = aws.ecs.stop_task(cluster=aws.cluster, task=arn, reason="enough")["task"]
        assert (task["taskArn"], task["desiredStatus"]) == (arn, "STOPPED")
        assert task["stoppedReason"] == "enough"


class TestTags:
    def test_tags_come_from_the_definition_and_from_ecs_too(self, stand_in: StandIn) -> None:
        definition = stand_in.define(tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "1"}])
        task = stand_in.run(
            definition,
            tags=[{"key": "b", "value": "2"}],
            propagateTags="TASK_DEFINITION",
            enableECSManagedTags=True,
        )
        assert {tag["key"]: tag["value"] for tag in task["tags"]} == {
            "a": "1",
            "b": "2",
            "aws:ecs:clusterName": stand_in.cluster,
        }

    def test_a_stopped_task_cannot_be_tagged(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        stand_in.control.stop_task(arn)
        stand_in.control.advance(5)
        tags = [{"key": "a", "value": "1"}]
        code, _ = refusal(stand_in.ecs.tag_resource, resourceArn=arn, tags=tags)
        assert code == "InvalidParameterException"


class TestTokens:
    def test_a_replay_launches_nothing(self, stand_in: StandIn) -> None:
        request = stand_in.request(stand_in.define(), clientToken="t", startedBy="fc/token/1")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: stand_in.ecs.run_task(**request), range(8)))
        assert len({answer["tasks"][0]["taskArn"] for answer in answers}) == 1
        assert len(stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"]) == 1

    def test_tokens_are_apart_by_cluster(self, stand_in: StandIn) -> None:
        definition, other = stand_in.define(), f"c-{uuid4().hex}"
        stand_in.control.ensure_cluster(other, REGION)
        here = stand_in.run(definition, clientToken="t")
        there = stand_in.run(definition, clientToken="t", cluster=other)
        assert here["taskArn"] != there["taskArn"]

    def test_another_body_conflicts_and_names_the_task(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        first = stand_in.run(definition, clientToken="t", startedBy="a")
        with pytest.raises(stand_in.ecs.exceptions.ConflictException) as caught:
            stand_in.run(definition, clientToken="t", startedBy="b")
        conflict: dict[str, Any] = {**caught.value.response}
        assert conflict["resourceIds"] == [first["taskArn"]]

    def test_a_stopped_task_is_replayed_in_short_for_an_hour(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        first = stand_in.run(definition, clientToken="t")
        stand_in.control.stop_task(first["taskArn"])
        stand_in.control.advance(HOUR - 1)
        replayed = stand_in.run(definition, clientToken="t")
        assert replayed == {
            "taskArn": first["taskArn"],
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
        }
        stand_in.control.advance(2)
        assert stand_in.run(definition, clientToken="t")["taskArn"] != first["taskArn"]

    def test_the_token_of_a_running_task_dies_after_a_day(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        first = stand_in.run(definition, clientToken="t")
        stand_in.control.advance(24 * HOUR - 1)
        assert stand_in.run(definition, clientToken="t")["taskArn"] == first["taskArn"]
        stand_in.control.advance(1)
        assert stand_in.run(definition, clientToken="t")["taskArn"] != first["taskArn"]

    def test_failures_are_replayed_later_as_a_count(self, stand_in: StandIn) -> None:
        stand_in.control.fail_next_launch("RESOURCE:MEMORY")
        request = stand_in.request(stand_in.define(), clientToken="t")
        answers = [stand_in.ecs.run_task(**request) for _ in range(2)]
        stand_in.control.advance(HOUR)
        answers.append(stand_in.ecs.run_task(**request))
        assert [each["tasks"] for each in answers] == [[], [], []]
        failures = [{"reason": "RESOURCE:MEMORY"}]
        assert [each["failures"] for each in answers] == [failures, failures, [{}]]

    def test_an_error_does_not_use_up_the_token(self, stand_in: StandIn) -> None:
        request = stand_in.request(stand_in.define(), clientToken="t")
        stand_in.control.fail_next(code="ServerException", status=500)
        assert refusal(stand_in.ecs.run_task, **request)[0] == "ServerException"
        assert len(stand_in.ecs.run_task(**request)["tasks"]) == 1


class TestSeeing:
    def test_what_is_not_there_is_missing(self, stand_in: StandIn) -> None:
        other = f"c-{uuid4().hex}"
        stand_in.control.ensure_cluster(other, REGION)
        elsewhere = stand_in.run(cluster=other)["taskArn"]
        assert stand_in.missing("0" * 32)
        assert stand_in.missing(elsewhere)
        assert stand_in.missing(elsewhere.rsplit("/", 1)[-1])

    def test_describe_takes_ids_and_at_most_100(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        assert stand_in.task(arn.rsplit("/", 1)[-1])["taskArn"] == arn
        ids = [f"{number:032x}" for number in range(101)]
        code, _ = refusal(stand_in.ecs.describe_tasks, cluster=stand_in.cluster, tasks=ids)
        assert code == "InvalidParameterException"
        answer = stand_in.ecs.describe_tasks(cluster=stand_in.cluster, tasks=ids[:100])
        assert len(answer["failures"]) == 100

    def test_lists_come_in_pages_of_100(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        for _ in range(12):
            stand_in.ecs.run_task(**stand_in.request(definition, count=10))
        pages = list(stand_in.ecs.get_paginator("list_tasks").paginate(cluster=stand_in.cluster))
        assert [len(page["taskArns"]) for page in pages] == [100, 20]
        assert len({arn for page in pages for arn in page["taskArns"]}) == 120
        first = stand_in.ecs.list_tasks(cluster=stand_in.cluster, maxResults=7)
        assert (len(first["taskArns"]), "nextToken" in first) == (7, True)
        code, _ = refusal(stand_in.ecs.list_tasks, cluster=stand_in.cluster, nextToken="x")
        assert code == "InvalidParameterException"

    def test_stopping_tasks_are_listed_on_demand_only(self, stand_in: StandIn) -> None:
        arn = stand_in.run(startedBy="a")["taskArn"]
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=arn)
        cluster = stand_in.cluster
        assert stand_in.ecs.list_tasks(cluster=cluster)["taskArns"] == []
        assert stand_in.ecs.list_tasks(cluster=cluster, startedBy="a")["taskArns"] == []
        stopped = stand_in.ecs.list_tasks(cluster=cluster, desiredStatus="STOPPED")["taskArns"]
        assert stopped == [arn]

    def test_a_list_is_of_one_cluster(self, stand_in: StandIn) -> None:
        longer = f"{stand_in.cluster}-b"
        stand_in.control.ensure_cluster(longer, REGION)
        stand_in.run(cluster=longer)
        assert stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"] == []

    def test_lists_are_filtered(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        arn = stand_in.run(definition)["taskArn"]
        family = definition.rsplit("/", 1)[-1].partition(":")[0]
        listing = stand_in.ecs.list_tasks
        assert listing(cluster=stand_in.cluster, family=family)["taskArns"] == [arn]
        assert listing(cluster=stand_in.cluster, family="other")["taskArns"] == []
        assert listing(cluster=stand_in.cluster, launchType="EC2")["taskArns"] == []

    @pytest.mark.parametrize("other", [{"desiredStatus": "STOPPED"}, {"family": "f"}])
    def test_started_by_must_be_the_only_filter(
        self, stand_in: StandIn, other: dict[str, str]
    ) -> None:
        request = {"cluster": stand_in.cluster, "startedBy": "a", **other}
        assert refusal(stand_in.ecs.list_tasks, **request)[0] == "InvalidParameterException"

    def test_stopped_tasks_are_forgotten_after_an_hour(self, stand_in: StandIn) -> None:
        arn = stand_in.run(startedBy="fc/old/1")["taskArn"]
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=arn)
        stand_in.control.advance(HOUR)
        assert stand_in.task(arn)["lastStatus"] == "STOPPED"
        stand_in.control.advance(5)
        assert stand_in.missing(arn)
        stopped = stand_in.ecs.list_tasks(cluster=stand_in.cluster, desiredStatus="STOPPED")
        assert stopped["taskArns"] == []
        (kept,) = stand_in.control.tasks("fc/old/")
        assert (kept["taskArn"], kept["live"], kept["visible"]) == (arn, False, False)

    def test_new_tasks_can_be_invisible_for_a_while(self, stand_in: StandIn) -> None:
        stand_in.control.set_plan(visibility_lag=60)
        arn = stand_in.run(startedBy="fc/lag/1", clientToken="lag")["taskArn"]
        assert stand_in.missing(arn)
        assert stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"] == []
        (hidden,) = stand_in.control.tasks("fc/lag/", live=True)
        assert (hidden["visible"], hidden["clientToken"]) == (False, "lag")
        stand_in.control.advance(60)
        assert stand_in.task(arn)["lastStatus"] == "RUNNING"

    def test_a_task_can_be_lost(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        assert stand_in.control.vanish_task(arn) == [arn]
        assert stand_in.missing(arn)


class TestStopping:
    def test_stopping_twice_changes_nothing(self, stand_in: StandIn) -> None:
        arn = stand_in.run(tags=[{"key": "a", "value": "1"}])["taskArn"]
        stop = stand_in.ecs.stop_task
        first = stop(cluster=stand_in.cluster, task=arn, reason="one")["task"]
        second = stop(cluster=stand_in.cluster, task=arn, reason="two")["task"]
        stand_in.control.advance(5)
        third = stop(cluster=stand_in.cluster, task=arn, reason="three")["task"]
        assert {each["stoppedReason"] for each in (first, second, third)} == {"one"}
        assert (third["lastStatus"], third["tags"]) == ("STOPPED", [])

    def test_an_unknown_task_cannot_be_stopped(self, stand_in: StandIn) -> None:
        answer = refusal(stand_in.ecs.stop_task, cluster=stand_in.cluster, task="0" * 32)
        assert answer == ("InvalidParameterException", "The referenced task was not found.")

    def test_the_interface_goes_with_the_task(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        stand_in.control.advance(5)
        details = stand_in.task(arn)["attachments"][0]["details"]
        (eni,) = [each["value"] for each in details if each["name"] == "networkInterfaceId"]
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=arn)
        stand_in.control.advance(5)
        code, _ = refusal(stand_in.ec2.describe_network_interfaces, NetworkInterfaceIds=[eni])
        assert code == "InvalidNetworkInterfaceID.NotFound"

    def test_creating_a_cluster_twice_changes_nothing(self, stand_in: StandIn) -> None:
        arn = stand_in.run()["taskArn"]
        created = stand_in.ecs.create_cluster(clusterName=stand_in.cluster)["cluster"]
        assert created["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
        stand_in.control.advance(5)
        (shown,) = stand_in.ecs.describe_clusters(clusters=[stand_in.cluster])["clusters"]
        assert (shown["clusterArn"], shown["runningTasksCount"]) == (created["clusterArn"], 1)
        assert stand_in.task(arn)["clusterArn"] == created["clusterArn"]

    def test_a_cluster_with_tasks_cannot_be_deleted(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        arn = stand_in.run(definition)["taskArn"]
        code, _ = refusal(stand_in.ecs.delete_cluster, cluster=stand_in.cluster)
        assert code == "ClusterContainsTasksException"
        stand_in.control.stop_task(arn)
        stand_in.control.advance(5)
        stand_in.ecs.delete_cluster(cluster=stand_in.cluster)
        (shown,) = stand_in.ecs.describe_clusters(clusters=[stand_in.cluster])["clusters"]
        assert shown["status"] == "INACTIVE"
        code, _ = refusal(stand_in.ecs.run_task, **stand_in.request(definition))
        assert code == "ClusterNotFoundException"
