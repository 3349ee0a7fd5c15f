"""The two things the operator asks of EC2: the addresses of interfaces and of instances."""

from collections.abc import Iterable

from fractal_helpers.aws.calls import Api, batches
from fractal_models.observed import Address

_BATCH = 100


class Ec2Client:
    """EC2 of one region. Ids go in as filters: an id that is gone is then left out, no error."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def public_ips(self, eni_ids: Iterable[str]) -> dict[str, str]:
        """The public IPv4 address of each network interface that exists, "" without one."""
        found: dict[str, str] = {}
        for batch in batches(sorted(set(eni_ids)), _BATCH):
            params = {"Filters": [{"Name": "network-interface-id", "Values": batch}]}
            for page in self._api.pages("DescribeNetworkInterfaces", params, "NextToken"):
                for item in page.get("NetworkInterfaces", ()):
                    public_ip = item.get("Association", {}).get("PublicIp", "")
                    found[item["NetworkInterfaceId"]] = public_ip
        return found

    def instance_addresses(self, instance_ids: Iterable[str]) -> dict[str, Address]:
        """The addresses of each instance that exists, over all reservations."""
        found: dict[str, Address] = {}
        for batch in batches(sorted(set(instance_ids)), _BATCH):
            params = {"Filters": [{"Name": "instance-id", "Values": batch}]}
            for page in self._api.pages("DescribeInstances", params, "NextToken"):
                for reservation in page.get("Reservations", ()):
                    for item in reservation.get("Instances", ()):
                        found[item["InstanceId"]] = Address(
                            public_ip=item.get("PublicIpAddress", ""),
                            private_ip=item.get("PrivateIpAddress", ""),
                        )
        return found
