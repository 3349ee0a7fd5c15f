"""boto3 clients for one region, with explicit timeouts and retries.

Endpoints and credentials are boto3's own business (``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, a role of
the pod, …).
"""

import threading
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from fractal_helpers.aws.quick import read_quickly


@dataclass(frozen=True, slots=True)
class RegionClients:
    """boto3 clients of one region. ``ecs_once`` makes one attempt per call: its retry is ours."""

    ecs: Any
    ecs_once: Any
    ec2: Any
    sts: Any = None


class Sessions:
    """Makes the clients of all regions from one session. Thread-safe.

    A session holds what botocore has loaded of each service: 26 MB, where a region's clients take
    2 MB (boto3 1.44). It is made with the first clients, so that a bad profile is an error of them.
    """

    def __init__(self, *, max_pool_connections: int) -> None:
        self._max_pool_connections = max_pool_connections
        self._session: boto3.Session | None = None
        self._lock = threading.Lock()  # neither sessions nor the making of clients are thread-safe

    def clients(self, region: str) -> RegionClients:
        """New clients of ``region``; raises what boto3 raises for a bad profile or region."""
        with self._lock:
            self._session = self._session or boto3.Session()
            return make_clients(region, self._session, self._max_pool_connections)

    def queue(self, region: str, pollers: int) -> Any:
        """A new client of SQS for so many threads; raises what boto3 raises, as ``clients``."""
        with self._lock:
            self._session = self._session or boto3.Session()
            return make_queue_client(region, self._session, pollers)


def make_clients(
    region: str, session: boto3.Session, max_pool_connections: int = 32
) -> RegionClients:
    """Make the clients of ``region``; ``max_pool_connections`` should cover the calling threads.

    A read timeout of 15 s bounds how long a call can hold its thread. The retry mode is explicit
    because botocore's default depends on its version and on AWS_NEW_RETRIES_2026.
    """

    def client(service: str, attempts: int) -> Any:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=3,
            read_timeout=15,
            max_pool_connections=max_pool_connections,
        )
        make: Any = session.client
        return make(service, region_name=region, config=config)

    ecs = client("ecs", 3)
    read_quickly(ecs)
    return RegionClients(
        ecs=ecs, ecs_once=client("ecs", 1), ec2=client("ec2", 3), sts=client("sts", 3)
    )


def make_queue_client(region: str, session: boto3.Session, pollers: int) -> Any:
    """Make a client of SQS. ReceiveMessage may take 20 s, and its reply has to be waited for.

    One attempt a call: a poller comes again by itself, and so does what it did not delete.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=3,
        read_timeout=35,
        max_pool_connections=pollers,
    )
    make: Any = session.client
    return make("sqs", region_name=region, config=config)
