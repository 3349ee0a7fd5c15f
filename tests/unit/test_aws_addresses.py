"""Where tasks are reached: own interfaces, EC2 hosts, hosts elsewhere; batched and remembered."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.aws_wire import CLUSTER, Clock, Stubs, task_arn

from fractal_helpers.aws.cache import Cache
from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups
from fractal_models.errors import Throttled
from fractal_models.observed import Address, ClusterArn, ObservedTask, TaskArn

SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def task(number: int, **values: Any) -> ObservedTask:
    defaults: dict[str, Any] = {
        "arn": TaskArn(task_arn(number)),
        "cluster_arn": ClusterArn(CLUSTER),
        "observed_at": SEEN,
        "last_status": "RUNNING",
    }
    return ObservedTask(**defaults | values)


def awsvpc(number: int, **values: Any) -> ObservedTask:
    return task(
        number, **{"eni_id": f"eni-{number:04}", "private_ip": f"10.0.{number // 250}.1"} | values
    )


def instance_arn(number: int, cluster: str = "main") -> str:
    return f"arn:aws:ecs:eu-central-1:111122223333:container-instance/{cluster}/{number:032x}"


def hosted(number: int, host: int, **values: Any) -> ObservedTask:
    return task(number, **{"container_instance_arn": instance_arn(host)} | values)


def interfaces(stubs: Stubs, numbers: list[int], public: dict[int, str]) -> None:
    stubs.ec2.add_response(
        "describe_network_interfaces",
        {
            "NetworkInterfaces": [
                {"NetworkInterfaceId": f"eni-{number:04}"}
                | ({"Association": {"PublicIp": public[number]}} if number in public else {})
                for number in numbers
            ]
        },
        {
            "Filters": [
                {
                    "Name": "network-interface-id",
                    "Values": [f"eni-{number:04}" for number in numbers],
                }
            ]
        },
    )


def container_instances(stubs: Stubs, hosts: dict[int, str], cluster: str = CLUSTER) -> None:
    stubs.ecs.add_response(
        "describe_container_instances",
        {
            "containerInstances": [
                {"containerInstanceArn": instance_arn(host), "ec2InstanceId": id_}
                for host, id_ in hosts.items()
            ]
        },
        {"cluster": cluster, "containerInstances": [instance_arn(host) for host in hosts]},
    )


def instances(stubs: Stubs, addresses: dict[str, Address]) -> None:
    stubs.ec2.add_response(
        "describe_instances",
        {
            "Reservations": [  # one a reservation: all of them must be read
                {
                    "Instances": [
                        {"InstanceId": id_, "PrivateIpAddress": address.private_ip}
                        | ({"PublicIpAddress": address.public_ip} if address.public_ip else {})
                    ]
                }
                for id_, address in addresses.items()
            ]
        },
        {"Filters": [{"Name": "instance-id", "Values": sorted(addresses)}]},
    )


def client(stubs: Stubs, clock: Clock | None = None) -> EcsClient:
    clock = clock or Clock()
    quotas = QuotaGroups(monotonic=clock.monotonic, sleep=clock.sleep)
    return EcsClient(stubs.clients, quotas, monotonic=clock.monotonic)


def test_tasks_without_any_trace_of_an_address_are_absent_and_cost_nothing() -> None:
    stopped = awsvpc(2, last_status="STOPPED")
    assert client(Stubs.active()).addresses([task(1, last_status="PROVISIONING"), stopped]) == {}


def test_an_interface_has_its_private_address_from_ecs_and_its_public_one_from_ec2() -> None:
    stubs = Stubs.active()
    interfaces(stubs, [1, 2], {1: "203.0.113.1"})
    found = client(stubs).addresses([awsvpc(1), awsvpc(2), task(3, private_ip="10.1.1.1")])
    assert found == {
        task_arn(1): Address("203.0.113.1", "10.0.0.1"),
        task_arn(2): Address("", "10.0.0.1"),
        task_arn(3): Address("", "10.1.1.1"),
    }


def test_a_public_address_is_asked_for_once_and_a_lack_of_one_again_later() -> None:
    stubs, clock = Stubs.active(), Clock()
    ecs = client(stubs, clock)
    tasks = [awsvpc(1), awsvpc(2)]
    interfaces(stubs, [1, 2], {1: "203.0.113.1"})
    ecs.addresses(tasks)
    assert ecs.addresses(tasks)[tasks[1].arn] == Address("", "10.0.0.1")
    clock.time += 20
    interfaces(stubs, [2], {2: "203.0.113.2"})
    assert ecs.addresses(tasks)[tasks[1].arn] == Address("203.0.113.2", "10.0.0.1")
    clock.time += 86_400
    assert ecs.addresses(tasks)[tasks[0].arn] == Address("203.0.113.1", "10.0.0.1")
    stubs.assert_all_sent()


def test_interfaces_are_asked_for_a_hundred_a_call() -> None:
    stubs = Stubs.active()
    for batch in (range(100), range(100, 200), range(200, 201)):
        interfaces(stubs, list(batch), {})
    assert len(client(stubs).addresses([awsvpc(number) for number in range(201)])) == 201
    stubs.assert_all_sent()


def test_a_host_is_found_through_its_container_instance_once_for_all_its_tasks() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    public, private = Address("203.0.113.1", "10.0.0.1"), Address("", "10.0.0.2")
    container_instances(stubs, {1: "i-1", 2: "i-2"})
    instances(stubs, {"i-1": public, "i-2": private})
    tasks = [hosted(1, 1), hosted(2, 1), hosted(3, 2)]
    expected = {tasks[0].arn: public, tasks[1].arn: public, tasks[2].arn: private}
    assert ecs.addresses(tasks) == expected
    assert ecs.addresses(tasks) == expected
    stubs.assert_all_sent()


def test_a_host_is_looked_at_again_after_an_hour() -> None:
    stubs, clock = Stubs.active(), Clock()
    ecs = client(stubs, clock)
    container_instances(stubs, {1: "i-1"})
    for ip in ("203.0.113.1", "203.0.113.2"):
        instances(stubs, {"i-1": Address(ip, "10.0.0.1")})
        assert ecs.addresses([hosted(1, 1)]) == {task_arn(1): Address(ip, "10.0.0.1")}
        clock.time += 3600
    stubs.assert_all_sent()


def test_container_instances_are_asked_for_by_cluster_and_a_hundred_a_call() -> None:
    stubs = Stubs.active()
    other = CLUSTER.replace("main", "other")
    for cluster, batch in ((CLUSTER, range(100)), (CLUSTER, range(100, 101)), (other, [500])):
        container_instances(stubs, {host: f"i-{host:04}" for host in batch}, cluster)
    everything = [*range(101), 500]
    for part in (everything[:100], everything[100:]):
        instances(stubs, {f"i-{host:04}": Address("", "10.0.0.1") for host in part})
    tasks = [hosted(host, host) for host in range(101)]
    elsewhere = hosted(500, 500, cluster_arn=ClusterArn(other))
    assert len(client(stubs).addresses([*tasks, elsewhere])) == 102
    stubs.assert_all_sent()


def test_instances_outside_ec2_are_not_asked_for_and_stay_unknown() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    container_instances(stubs, {1: "mi-0123", 2: "i-2"})
    instances(stubs, {"i-2": Address("203.0.113.2", "10.0.0.2")})
    tasks = [hosted(1, 1), hosted(2, 2)]
    expected = {task_arn(2): Address("203.0.113.2", "10.0.0.2")}
    assert [ecs.addresses(tasks), ecs.addresses(tasks)] == [expected, expected]
    stubs.assert_all_sent()


def test_an_instance_that_ec2_does_not_show_is_asked_for_again() -> None:
    stubs = Stubs.active()
    ecs = client(stubs)
    container_instances(stubs, {1: "i-1"})
    for shown in (False, True):
        answered = {"InstanceId": "i-1", "PrivateIpAddress": "10.0.0.1"}
        stubs.ec2.add_response(
            "describe_instances", {"Reservations": [{"Instances": [answered]}] if shown else []}
        )
        assert bool(ecs.addresses([hosted(1, 1)])) is shown
    stubs.assert_all_sent()


def test_all_pages_of_ec2_are_read() -> None:
    stubs = Stubs.active()
    for number, token in ((1, "more"), (2, "")):
        interface = {
            "NetworkInterfaceId": f"eni-{number:04}",
            "Association": {"PublicIp": f"203.0.113.{number}"},
        }
        stubs.ec2.add_response(
            "describe_network_interfaces", {"NetworkInterfaces": [interface], "NextToken": token}
        )
    found = client(stubs).addresses([awsvpc(1), awsvpc(2)])
    assert [address.public_ip for address in found.values()] == ["203.0.113.1", "203.0.113.2"]


def test_without_permission_what_is_known_is_returned_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubs, clock = Stubs.active(), Clock()
    ecs = client(stubs, clock)
    tasks = [awsvpc(1), hosted(2, 1)]

    def denied() -> None:
        stubs.ec2.add_client_error(
            "describe_network_interfaces", "UnauthorizedOperation", "You may not.", 403
        )
        stubs.ec2.add_client_error(
            "describe_instances", "UnauthorizedOperation", "You may not.", 403
        )

    container_instances(stubs, {1: "i-1"})
    denied()
    assert ecs.addresses(tasks) == {tasks[0].arn: Address("", "10.0.0.1")}
    assert ecs.addresses(tasks) == {tasks[0].arn: Address("", "10.0.0.1")}
    clock.time += 60
    denied()
    assert ecs.addresses(tasks) == {tasks[0].arn: Address("", "10.0.0.1")}
    stubs.assert_all_sent()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "ec2:DescribeNetworkInterfaces" in warnings[0]
    assert "ec2:DescribeInstances" in warnings[1]
    clock.time += 60
    interfaces(stubs, [1], {1: "203.0.113.1"})
    instances(stubs, {"i-1": Address("203.0.113.9", "10.0.0.9")})
    assert ecs.addresses(tasks) == {
        tasks[0].arn: Address("203.0.113.1", "10.0.0.1"),
        tasks[1].arn: Address("203.0.113.9", "10.0.0.9"),
    }


def test_a_passing_trouble_of_ec2_is_an_error() -> None:
    stubs = Stubs.active()
    stubs.ec2.add_client_error("describe_network_interfaces", "RequestLimitExceeded", "", 503)
    with pytest.raises(Throttled):
        client(stubs).addresses([awsvpc(1)])


def test_a_cache_keeps_what_was_used_last_and_nothing_too_old() -> None:
    clock = Clock()
    cache: Cache[str, int] = Cache(2, monotonic=clock.monotonic)
    cache.put("a", 1)
    cache.put("b", 2, seconds=10)
    assert cache.get("a") == 1
    cache.put("c", 3, seconds=10)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    clock.time += 10
    assert [cache.get(key) for key in "ac"] == [1, None]
    cache.drop("a")
    cache.drop("never there")
    assert cache.get("a") is None


def test_without_permission_to_see_container_instances_ec2_is_not_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubs = Stubs.active()
    stubs.ecs.add_client_error("describe_container_instances", "AccessDeniedException", "no")
    ecs = client(stubs)
    assert [ecs.addresses([hosted(1, 1)]) for _ in range(2)] == [{}, {}]
    assert len(caplog.records) == 1
