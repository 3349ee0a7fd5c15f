"""What ECS refuses, and where it finds room: the stand-in against the API reference."""

import json
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.ecs_world import REGION, StandIn, refusal

TOO_LONG = {"containerOverrides": [{"name": "app", "command": ["x" * 8192]}]}
REFUSED: dict[str, dict[str, Any]] = {
    "more than ten": {"count": 11},
    "startedBy too long": {"startedBy": "x" * 129},
    "startedBy with a colon": {"startedBy": "a:b"},
    "token too long": {"clientToken": "x" * 65},
    "overrides too long": {"overrides": TOO_LONG},
    "override of no container": {"overrides": {"containerOverrides": [{"name": "other"}]}},
    "too many tags": {"tags": [{"key": f"k{n}", "value": ""} for n in range(51)]},
    "a key of AWS's": {"tags": [{"key": "aws:x", "value": ""}]},
    "a key too long": {"tags": [{"key": "k" * 129, "value": ""}]},
    "a value too long": {"tags": [{"key": "k", "value": "v" * 257}]},
    "a key twice": {"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]},
    "a provider of another cluster": {
        "launchType": None,
        "capacityProviderStrategy": [{"capacityProvider": "other"}],
    },
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_run_task_refuses(self, stand_in: StandIn, case: str) -> None:
        request = stand_in.request(stand_in.define(), **REFUSED[case])
        assert refusal(stand_in.ecs.run_task, **request)[0] == "InvalidParameterException"
        assert stand_in.ecs.list_tasks(cluster=stand_in.cluster)["taskArns"] == []

    def test_the_limits_themselves_are_accepted(self, stand_in: StandIn) -> None:
        longest: dict[str, Any] = {"containerOverrides": [{"name": "app", "command": [""]}]}
        room = 8192 - len(json.dumps(longest, separators=(",", ":")))
        longest["containerOverrides"][0]["command"] = ["x" * room]
        tags = [{"key": f"{n:0128}", "value": "v" * 256} for n in range(50)]
        task = stand_in.run(startedBy="x" * 128, clientToken="x" * 64, overrides=longest, tags=tags)
        assert len(task["tags"]) == 50

    def test_an_inactive_definition_cannot_be_run(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        stand_in.ecs.deregister_task_definition(taskDefinition=definition)
        request = stand_in.request(definition)
        assert refusal(stand_in.ecs.run_task, **request)[0] == "ClientException"

    def test_a_family_means_its_latest_active_revision(self, stand_in: StandIn) -> None:
        family = f"f-{uuid4().hex}"
        arns = [stand_in.define(family=family) for _ in range(3)]
        stand_in.ecs.deregister_task_definition(taskDefinition=arns[2])
        assert stand_in.run(family)["taskDefinitionArn"] == arns[1]

    def test_network_errors_are_worded_as_by_aws(self, stand_in: StandIn) -> None:
        definition = stand_in.define()
        for vpc, part in (
            ({"subnets": ["subnet-0"]}, "(ErrorCode: InvalidSubnetID.NotFound)"),
            (
                {"subnets": [stand_in.subnet], "securityGroups": ["sg-0"]},
                "(ErrorCode: InvalidGroup.NotFound)",
            ),
        ):
            network = {"awsvpcConfiguration": vpc}
            request = stand_in.request(definition, networkConfiguration=network)
            code, message = refusal(stand_in.ecs.run_task, **request)
            assert (code, part in message) == ("InvalidParameterException", True)

    def test_network_configuration_is_for_awsvpc_only(self, stand_in: StandIn) -> None:
        request = stand_in.request(stand_in.define_on_ec2(containerPort=80), launchType="EC2")
        code, message = refusal(stand_in.ecs.run_task, **request)
        assert (code, "networkMode" in message) == ("InvalidParameterException", True)

    def test_security_groups_may_be_left_out(self, stand_in: StandIn) -> None:
        network = {"awsvpcConfiguration": {"subnets": [stand_in.subnet]}}
        assert stand_in.run(networkConfiguration=network)["lastStatus"] == "PROVISIONING"

    @pytest.mark.parametrize(
        ("cpu", "memory", "fits"),
        [
            *[("256", "512", True), ("512", "3 GB", True), ("1 vCPU", "8192", True)],
            *[("256", "4096", False), ("300", "512", False), ("1024", "2500", False)],
            *[("8192", "18432", False), (None, "512", False), ("256", None, False)],
        ],
    )
    def test_fargate_sizes(
        self, stand_in: StandIn, cpu: str | None, memory: str | None, fits: bool
    ) -> None:
        if fits:
            assert stand_in.define(cpu=cpu, memory=memory)
        else:
            code, _ = refusal(stand_in.define, cpu=cpu, memory=memory)
            assert code == "ClientException"

    def test_fargate_needs_awsvpc(self, stand_in: StandIn) -> None:
        assert refusal(stand_in.define, networkMode="bridge")[0] == "ClientException"
        request = stand_in.request(
            stand_in.define_on_ec2(containerPort=80), networkConfiguration=None
        )
        assert refusal(stand_in.ecs.run_task, **request)[0] == "InvalidParameterException"


class TestCapacity:
    def test_a_cluster_without_instances(self, stand_in: StandIn) -> None:
        request = stand_in.request(
            stand_in.define_on_ec2(containerPort=80), launchType="EC2", networkConfiguration=None
        )
        assert refusal(stand_in.ecs.run_task, **request) == (
            "InvalidParameterException",
            "No Container Instances were found in your cluster.",
        )

    def test_what_does_not_fit_is_a_failure(self, stand_in: StandIn) -> None:
        stand_in.control.ensure_cluster(stand_in.cluster, REGION, instances=1)
        definition = stand_in.define_on_ec2(memory=4000, containerPort=80)
        request = stand_in.request(definition, launchType="EC2", networkConfiguration=None, count=2)
        answer = stand_in.ecs.run_task(**request)
        assert len(answer["tasks"]) == 1
        assert [each["reason"] for each in answer["failures"]] == ["RESOURCE:MEMORY"]
        assert "containerInstanceArn" in answer["tasks"][0]
        stand_in.control.stop_task(answer["tasks"][0]["taskArn"])
        stand_in.control.advance(5)
        assert len(stand_in.ecs.run_task(**request)["tasks"]) == 1

    def test_dynamic_host_ports_and_the_hosts_address(self, stand_in: StandIn) -> None:
        stand_in.control.ensure_cluster(stand_in.cluster, REGION, instances=1)
        request = stand_in.request(
            stand_in.define_on_ec2(containerPort=80, hostPort=0),
            **{"launchType": "EC2", "networkConfiguration": None, "count": 2},
        )
        arns = [task["taskArn"] for task in stand_in.ecs.run_task(**request)["tasks"]]
        assert stand_in.task(arns[0])["containers"][0]["networkBindings"] == []
        stand_in.control.advance(5)
        tasks = [stand_in.task(arn) for arn in arns]
        bindings = [task["containers"][0]["networkBindings"][0] for task in tasks]
        assert [each["containerPort"] for each in bindings] == [80, 80]
        assert len({each["hostPort"] for each in bindings} - {80}) == 2
        (instance,) = stand_in.ecs.describe_container_instances(
            cluster=stand_in.cluster, containerInstances=[tasks[0]["containerInstanceArn"]]
        )["containerInstances"]
        (reservation,) = stand_in.ec2.describe_instances(InstanceIds=[instance["ec2InstanceId"]])[
            "Reservations"
        ]
        assert reservation["Instances"][0]["PrivateIpAddress"].startswith("10.")

    def test_host_mode_takes_the_hosts_ports(self, stand_in: StandIn) -> None:
        stand_in.control.ensure_cluster(stand_in.cluster, REGION, instances=1)
        definition = stand_in.define_on_ec2("host", containerPort=8080)
        changes: dict[str, Any] = {"launchType": "EC2", "networkConfiguration": None}
        arn = stand_in.run(definition, **changes)["taskArn"]
        refused = stand_in.ecs.run_task(**stand_in.request(definition, **changes))
        assert [each["reason"] for each in refused["failures"]] == ["RESOURCE:PORTS"]
        stand_in.control.advance(5)
        (binding,) = stand_in.task(arn)["containers"][0]["networkBindings"]
        assert binding["hostPort"] == 8080

    def test_public_addresses_are_told_by_ec2(self, stand_in: StandIn) -> None:
        vpc = {"subnets": [stand_in.subnet], "assignPublicIp": "ENABLED"}
        arn = stand_in.run(networkConfiguration={"awsvpcConfiguration": vpc})["taskArn"]
        stand_in.control.advance(5)
        task = stand_in.task(arn)
        details = {each["name"]: each["value"] for each in task["attachments"][0]["details"]}
        (interface,) = stand_in.ec2.describe_network_interfaces(
            NetworkInterfaceIds=[details["networkInterfaceId"]]
        )["NetworkInterfaces"]
        assert interface["Association"]["PublicIp"]
        shown = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        assert shown == details["privateIPv4Address"]

    def test_a_fargate_provider_is_named(self, stand_in: StandIn) -> None:
        strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        task = stand_in.run(launchType=None, capacityProviderStrategy=strategy)
        assert (task["launchType"], task["capacityProviderName"]) == ("FARGATE", "FARGATE_SPOT")

    def test_a_scaling_provider_keeps_the_task_waiting(self, stand_in: StandIn) -> None:
        provider = f"p-{uuid4().hex}"
        arn = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:1:autoScalingGroupName/a"
        stand_in.ecs.create_capacity_provider(
            name=provider, autoScalingGroupProvider={"autoScalingGroupArn": arn}
        )
        stand_in.ecs.put_cluster_capacity_providers(
            cluster=stand_in.cluster,
            capacityProviders=[provider],
            defaultCapacityProviderStrategy=[{"capacityProvider": provider}],
        )
        definition = stand_in.define_on_ec2(containerPort=80)
        changes: dict[str, Any] = {"launchType": None, "networkConfiguration": None}
        lucky, unlucky = (stand_in.run(definition, **changes)["taskArn"] for _ in range(2))
        stand_in.control.advance(60)
        waiting = stand_in.task(lucky)
        assert (waiting["lastStatus"], waiting["containers"]) == ("PROVISIONING", [])
        stand_in.ecs.stop_task(cluster=stand_in.cluster, task=unlucky)
        stand_in.control.ensure_cluster(stand_in.cluster, REGION, instances=1)
        stand_in.control.advance(5)
        running = stand_in.task(lucky)
        assert (running["lastStatus"], running["capacityProviderName"]) == ("RUNNING", provider)

    def test_waiting_for_an_instance_ends_after_half_an_hour(self, stand_in: StandIn) -> None:
        provider = f"p-{uuid4().hex}"
        stand_in.ecs.put_cluster_capacity_providers(
            cluster=stand_in.cluster,
            capacityProviders=[provider],
            defaultCapacityProviderStrategy=[{"capacityProvider": provider}],
        )
        definition = stand_in.define_on_ec2(containerPort=80)
        arn = stand_in.run(definition, launchType=None, networkConfiguration=None)["taskArn"]
        stand_in.control.advance(1900)
        task = stand_in.task(arn)
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
        assert task["containers"] == []
