"""boto3 clients for one region, with explicit timeouts and retries.

Endpoints and credentials are boto3's own business (``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, a role of
the pod, …).
"""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config


@dataclass(frozen=True, slots=True)
class RegionClients:
    """boto3 clients of one region. ``ecs_once`` makes one attempt per call: its retry is ours."""

    ecs: Any
    ecs_once: Any
    ec2: Any
    sts: Any = None


def make_clients(
    region: str, *, session: boto3.Session | None = None, max_pool_connections: int = 32
) -> RegionClients:
    """Make the clients of ``region``; ``max_pool_connections`` should cover the calling threads.

    A read timeout of 15 s bounds how long a call can hold its thread. The retry mode is explicit
    because botocore's default depends on its version and on AWS_NEW_RETRIES_2026.
    """
    session = session or boto3.Session()

    def client(service: str, attempts: int) -> Any:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=3,
            read_timeout=15,
            max_pool_connections=max_pool_connections,
        )
        make: Any = session.client
        return make(service, region_name=region, config=config)

    return RegionClients(
        ecs=client("ecs", 3), ecs_once=client("ecs", 1), ec2=client("ec2", 3), sts=client("sts", 3)
    )
