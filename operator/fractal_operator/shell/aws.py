"""The ``Ecs`` port over the synchronous ECS client helper: a bounded pool of threads, by region.

A region's clients are made when it is first needed, and dropped when it is no longer. Calls run in
daemon threads, so that a stop of the process does not wait for AWS. A launch that would have to
queue is not sent at all: the bounds of a drain count from the write of the intent.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import QuotaGroups, Quotas
from fractal_models.errors import FractalError, Rejected, Unavailable
from fractal_models.observed import (
    Address,
    ClusterArn,
    ClusterInfo,
    DescribeTasksResult,
    ObservedTask,
    RunTaskResult,
    TaskArn,
    TaskDefinition,
)
from fractal_operator.ports import Clock
from fractal_operator.shell.leader import NOT_LEADING

Answer = TypeVar("Answer")

SEND_SECONDS = 5.0
"""How long a call may wait to be sent; together with the core's 30 s a RunTask is drained yet."""

REGION_SHARE = 4
"""One region gets this part of the threads: another's silence leaves it its own, and workers."""


class Rank(IntEnum):
    """How long the rate limit may keep a call waiting in its thread: each rank gets at most half
    the threads of the one before, so that it cannot hold that up."""

    DRAWN = 0  # launches and stops: their tokens were drawn before, without a thread
    LOOK = 1
    RESOLVE = 2  # one a new task definition
    REGISTER = 3  # the same, of ECS's scarcest quota: each may wait for ten seconds


IDLE_SECONDS = 900.0
"""A region without a call for so long is in no cluster's use: those are swept more often."""

SILENT_REGIONS = 8
"""For how many regions that never answered clients are kept: names can be made up without end."""


def made(what: str, make: Callable[[], Answer]) -> Answer:
    """The client or clients that ``make`` builds; raises Rejected where it fails."""
    try:
        return make()
    except FractalError:
        raise
    except Exception as error:  # boto3 raises a bad profile, endpoint or region as anything
        raise Rejected(f"cannot make {what}: {error}", code=type(error).__name__) from error


class DaemonPool:
    """``size`` daemon threads that run functions for coroutines."""

    def __init__(self, size: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._work, name=f"aws-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    async def run(self, function: Callable[[], Answer]) -> Answer:
        """The function's result, or what it raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def settle(set_it: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                set_it(value)

        def job() -> None:
            try:
                result = function()
            except BaseException as error:  # it belongs to the coroutine that waits for it
                outcome: tuple[Callable[[Any], None], Any] = (future.set_exception, error)
            else:
                outcome = (future.set_result, result)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, *outcome)

        self._jobs.put(job)
        return await future


@dataclass(slots=True, eq=False)
class _Region:
    """``calls`` wait or run; only their threads make the client, and only the loop all else."""

    quotas: QuotaGroups
    shares: Sequence[asyncio.Semaphore]
    used_at: float
    client: EcsClient | None = None
    calls: int = 0
    answered: bool = False


class AwsEcs:
    """See :class:`fractal_operator.ports.Ecs`. ``make`` builds the client of a region.

    A call that changes something is sent only if ``leads`` says so in its thread, just before.
    ``quotas`` are those that the clients draw on, too.
    """

    def __init__(
        self,
        make: Callable[[str], EcsClient],
        threads: int,
        clock: Clock,
        leads: Callable[[], bool],
        quotas: Quotas,
    ) -> None:
        self._quotas = quotas
        self._make = make
        self._regions: dict[str, _Region] = {}
        self._lock = threading.Lock()
        self._pool = DaemonPool(threads)
        self._share = max(1, threads // REGION_SHARE)
        self._clock = clock
        self._leads = leads

    def _region(self, name: str) -> _Region:
        """What is kept of a region; what is kept of others for nothing is dropped."""
        now = self._clock.monotonic()
        region = self._regions.get(name)
        if region is None:
            region = self._regions[name] = _Region(
                self._quotas.of(name),
                [asyncio.Semaphore(max(1, self._share >> rank)) for rank in Rank],
                now,
            )
        region.used_at = now
        idle = [(key, each) for key, each in self._regions.items() if each.calls == 0]
        silent = [(each.used_at, key) for key, each in idle if not each.answered and key != name]
        dropped = {key for _, key in sorted(silent, reverse=True)[SILENT_REGIONS - 1 :]}
        dropped |= {key for key, each in idle if now - each.used_at > IDLE_SECONDS}
        for key in dropped:
            del self._regions[key]
        return region

    def _client(self, name: str, region: _Region) -> EcsClient:
        if region.client is not None:  # no lock: the event loop must not wait for other regions
            return region.client
        with self._lock:
            if region.client is None:
                region.client = made(f"AWS clients for region {name!r}", lambda: self._make(name))
            return region.client

    async def _run(
        self, name: str, call: Callable[[EcsClient], Answer], rank: Rank = Rank.LOOK
    ) -> Answer:
        region = self._region(name)
        region.calls += 1
        try:
            async with AsyncExitStack() as shares:
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        for share in region.shares[rank::-1]:  # who waits here holds no wider one
                            await shares.enter_async_context(share)
                except TimeoutError:
                    text = f"too many calls to AWS in {name} are unanswered: this one was not sent"
                    raise Unavailable(text) from None
                answer = await self._pool.run(lambda: call(self._client(name, region)))
        finally:
            region.calls -= 1
        region.answered = True
        return answer

    async def _change(
        self, region: str, call: Callable[[EcsClient], Answer], rank: Rank = Rank.LOOK
    ) -> Answer:
        def send(client: EcsClient) -> Answer:
            if not self._leads():
                raise Unavailable(NOT_LEADING)
            return call(client)

        return await self._run(region, send, rank)

    def draw(self, region: str, operation: str) -> float:
        return self._region(region).quotas.draw(operation)

    def forget_definition(self, region: str, reference: str) -> None:
        known = self._regions.get(region)
        if known is not None and known.client is not None:  # else nothing is remembered there
            known.client.forget_definition(reference)

    async def account(self, region: str) -> str:
        return await self._run(region, lambda client: client.account())

    async def describe_cluster(self, region: str, cluster: str) -> ClusterInfo | None:
        return await self._run(region, lambda client: client.describe_cluster(cluster))

    async def resolve_definition(self, region: str, reference: str) -> TaskDefinition | None:
        return await self._run(
            region, lambda client: client.resolve_definition(reference), Rank.RESOLVE
        )

    async def ensure_definition(
        self, region: str, registration: Mapping[str, Any]
    ) -> TaskDefinition:
        return await self._change(
            region, lambda client: client.ensure_definition(registration), Rank.REGISTER
        )

    async def run_task(self, region: str, request: Mapping[str, Any]) -> RunTaskResult:
        asked = self._clock.monotonic()

        def send(client: EcsClient) -> RunTaskResult:
            if self._clock.monotonic() - asked > SEND_SECONDS:
                raise Unavailable("RunTask was not sent: no thread was free in time")
            return client.run_task(request)

        return await self._change(region, send, Rank.DRAWN)

    async def stop_task(
        self, region: str, cluster: ClusterArn, arn: TaskArn, reason: str
    ) -> ObservedTask | None:
        def send(client: EcsClient) -> ObservedTask | None:
            return client.stop_task(cluster, arn, reason)

        return await self._change(region, send, Rank.DRAWN)

    async def tag_task(self, region: str, arn: TaskArn, tags: Mapping[str, str]) -> None:
        await self._change(region, lambda client: client.tag_task(arn, tags))

    async def list_tasks(
        self, region: str, cluster: str, *, started_by: str = "", stopped: bool = False
    ) -> Sequence[TaskArn]:
        return await self._run(
            region,
            lambda client: client.list_tasks(cluster, started_by=started_by, stopped=stopped),
        )

    async def describe_tasks(
        self, region: str, cluster: str, arns: Sequence[TaskArn]
    ) -> DescribeTasksResult:
        return await self._run(region, lambda client: client.describe_tasks(cluster, arns))

    async def addresses(
        self, region: str, tasks: Sequence[ObservedTask]
    ) -> Mapping[TaskArn, Address]:
        return await self._run(region, lambda client: client.addresses(tasks))
