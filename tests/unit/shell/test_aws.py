"""AWS calls from coroutines: in daemon threads; and a launch is sent in time or not at all."""

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from typing import Any, TypeVar

import boto3
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import EndpointConnectionError
from tests.unit.aws_wire import CLUSTER, REGION, answer, clients, on_send, task_arn
from tests.unit.shell.wire import FakeClock

from fractal_helpers.aws.ecs import EcsClient
from fractal_helpers.aws.limits import Quotas
from fractal_helpers.aws.session import Sessions
from fractal_models.errors import Unavailable
from fractal_models.observed import ClusterArn, ClusterInfo, TaskArn
from fractal_operator.shell.aws import (
    IDLE_SECONDS,
    SEND_SECONDS,
    SILENT_REGIONS,
    AwsEcs,
    DaemonPool,
)

Answer = TypeVar("Answer")

REQUEST = {"cluster": CLUSTER, "taskDefinition": "web:1", "count": 1, "clientToken": "token"}
SHOWN = {"clusterArn": CLUSTER, "clusterName": "main", "status": "ACTIVE"}


PATIENCE = 60.0
"""Seconds after which what is waited for counts as hanging; a busy machine may stand still."""


def run(coro: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of a coroutine that must not hang."""
    return asyncio.run(asyncio.wait_for(coro, 2 * PATIENCE))


# --- the pool ---


def test_a_function_runs_in_a_daemon_thread_and_its_result_comes_back() -> None:
    pool = DaemonPool(1)
    thread = run(pool.run(threading.current_thread))
    assert thread.daemon
    assert thread is not threading.main_thread()


def test_what_a_function_raises_is_raised_where_it_is_awaited() -> None:
    pool = DaemonPool(1)

    def fail() -> None:
        raise Unavailable("down")

    with pytest.raises(Unavailable, match="down"):
        run(pool.run(fail))
    assert run(pool.run(lambda: 1)) == 1, "the thread lives on"


def test_many_calls_share_the_threads_and_none_is_lost() -> None:
    pool = DaemonPool(3)
    busy, most, lock = [0], [0], threading.Lock()

    def work(number: int) -> int:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        with lock:
            busy[0] -= 1
        return number * number

    async def many() -> list[int]:
        return await asyncio.gather(*(pool.run(partial(work, number)) for number in range(500)))

    assert run(many()) == [number * number for number in range(500)]
    assert most[0] <= 3


def test_as_many_run_at_once_as_there_are_threads() -> None:
    pool = DaemonPool(3)
    together = threading.Barrier(3)

    async def three() -> list[int]:
        return await asyncio.gather(*(pool.run(lambda: together.wait(PATIENCE)) for _ in range(3)))

    assert sorted(run(three())) == [0, 1, 2]


def test_a_result_that_nobody_awaits_any_more_harms_nothing() -> None:
    pool = DaemonPool(1)
    entered, release = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        release.wait(PATIENCE)

    errors: list[object] = []

    async def cancelled() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        waiting = asyncio.create_task(pool.run(wait))
        await asyncio.to_thread(entered.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        return await pool.run(lambda: 1)

    assert run(cancelled()) == 1
    assert errors == []


def test_a_call_may_outlive_its_event_loop() -> None:
    pool = DaemonPool(1)
    entered, release = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        release.wait(PATIENCE)

    async def leave() -> None:
        task = asyncio.create_task(pool.run(wait))
        await asyncio.to_thread(entered.wait, PATIENCE)
        task.cancel()

    run(leave())  # ends although the thread is still at it
    release.set()
    assert run(pool.run(lambda: 1)) == 1, "the thread serves the next loop"


# --- the port ---


class Aws:
    """AwsEcs over real boto3 clients; the network is played by methods of this class."""

    def __init__(self, threads: int = 2) -> None:
        self.clock = FakeClock()
        self.made: list[str] = []
        self.silent = ""  # a region that does not answer until released
        self.dead = "-"  # what regions are called that there are not
        self.alive: list[weakref.ref[EcsClient]] = []
        self.sent: list[str] = []
        self.entered, self.release = threading.Event(), threading.Event()
        self.release.set()
        self.leads_until = inf
        self.quotas = Quotas(1.0, monotonic=self.clock.monotonic)
        self.ecs = AwsEcs(self._make, threads, self.clock, self._leads, self.quotas)

    def _leads(self) -> bool:
        return self.clock.monotonic() < self.leads_until

    def _make(self, region: str) -> EcsClient:
        self.made.append(region)
        wire = clients()
        on_send(wire.ecs, "DescribeClusters", partial(self._describe, region))
        on_send(wire.ecs, "DescribeTaskDefinition", self._define)
        on_send(wire.ecs, "StopTask", self._stop)
        on_send(wire.ecs_once, "RunTask", self._launch)
        client = EcsClient(wire, self.quotas.of(region))
        self.alive.append(weakref.ref(client))
        return client

    def _reply(self, operation: str, body: Any) -> AWSResponse:
        self.sent.append(operation)
        return answer(json.dumps(body).encode())

    def _describe(self, region: str, request: AWSRequest) -> AWSResponse:
        self.entered.set()
        if region.startswith(self.dead):
            raise EndpointConnectionError(endpoint_url=region)
        if self.silent in ("", region):
            assert self.release.wait(PATIENCE)
        return self._reply("DescribeClusters", {"clusters": [SHOWN]})

    def _define(self, request: AWSRequest) -> AWSResponse:
        name = json.loads(request.body)["taskDefinition"]
        if name.startswith("slow"):
            self.entered.set()
            assert self.release.wait(PATIENCE)
        arn = f"arn:aws:ecs:{REGION}:111122223333:task-definition/{name}:1"
        shown = {"taskDefinitionArn": arn, "family": name, "revision": 1, "status": "ACTIVE"}
        return self._reply("DescribeTaskDefinition", {"taskDefinition": shown})

    def _stop(self, request: AWSRequest) -> AWSResponse:
        task = {"taskArn": task_arn(1), "clusterArn": CLUSTER, "lastStatus": "RUNNING"}
        return self._reply("StopTask", {"task": {**task, "desiredStatus": "STOPPED"}})

    def _launch(self, request: AWSRequest) -> AWSResponse:
        task = {"taskArn": task_arn(1), "clusterArn": CLUSTER, "lastStatus": "PROVISIONING"}
        return self._reply("RunTask", {"tasks": [task], "failures": []})

    async def launch_behind(self, seconds: float) -> Any:
        """RunTask while the only thread is busy for ``seconds``."""
        self.release.clear()
        blocking = asyncio.create_task(self.ecs.describe_cluster(REGION, CLUSTER))
        await asyncio.to_thread(self.entered.wait, PATIENCE)
        launching = asyncio.create_task(self.ecs.run_task(REGION, REQUEST))
        await asyncio.sleep(0)  # it is queued now
        self.clock.advance(seconds)
        self.release.set()
        await blocking
        return await launching


def test_a_region_gets_one_client_when_it_is_first_needed() -> None:
    aws = Aws()

    async def calls() -> list[ClusterInfo | None]:
        assert aws.made == []
        regions = [REGION, REGION, "us-east-1", REGION, "us-east-1"]
        return await asyncio.gather(*(aws.ecs.describe_cluster(each, CLUSTER) for each in regions))

    assert run(calls()) == [ClusterInfo(ClusterArn(CLUSTER), "main", "ACTIVE")] * 5
    assert sorted(aws.made) == [REGION, "us-east-1"]


def test_answers_come_back_as_values() -> None:
    aws = Aws()
    stopped = run(aws.ecs.stop_task(REGION, ClusterArn(CLUSTER), TaskArn(task_arn(1)), "why"))
    assert stopped is not None
    assert stopped.desired_status == "STOPPED"
    assert aws.sent == ["StopTask"]


def test_a_launch_that_a_thread_takes_up_in_time_is_sent_once() -> None:
    aws = Aws(threads=1)
    result = run(aws.launch_behind(SEND_SECONDS))
    assert [task.arn for task in result.tasks] == [task_arn(1)]
    assert aws.sent == ["DescribeClusters", "RunTask"]


def test_a_launch_that_no_thread_takes_up_in_time_is_not_sent() -> None:
    aws = Aws(threads=1)
    with pytest.raises(Unavailable, match="not sent"):
        run(aws.launch_behind(SEND_SECONDS + 0.1))
    assert aws.sent == ["DescribeClusters"]


def test_a_launch_whose_thread_comes_after_the_lead_is_lost_is_not_sent() -> None:
    aws = Aws(threads=1)
    aws.leads_until = aws.clock.monotonic() + 1
    with pytest.raises(Unavailable, match="not the leader"):
        run(aws.launch_behind(1))
    assert aws.sent == ["DescribeClusters"]


def test_who_does_not_lead_looks_but_changes_nothing() -> None:
    aws = Aws()
    aws.leads_until = aws.clock.monotonic()
    changes: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: aws.ecs.run_task(REGION, REQUEST),
        lambda: aws.ecs.stop_task(REGION, ClusterArn(CLUSTER), TaskArn(task_arn(1)), "why"),
        lambda: aws.ecs.tag_task(REGION, TaskArn(task_arn(1)), {"a": "b"}),
        lambda: aws.ecs.ensure_definition(REGION, {"family": "web"}),
    ]
    for change in changes:
        with pytest.raises(Unavailable, match="not the leader"):
            run(change())
    assert run(aws.ecs.describe_cluster(REGION, CLUSTER)) is not None
    assert aws.sent == ["DescribeClusters"]


def test_a_region_that_does_not_answer_leaves_the_others_their_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own calls are given up before they are sent, so that nobody waits behind them either."""
    aws = Aws(threads=8)
    aws.silent = "eu-west-1"
    aws.release.clear()

    async def calls() -> list[Any]:
        first = asyncio.create_task(aws.ecs.describe_cluster("eu-west-1", CLUSTER))
        await asyncio.to_thread(aws.entered.wait, PATIENCE)
        with monkeypatch.context() as hasty:  # only for those that have to give up
            hasty.setattr("fractal_operator.shell.aws.SEND_SECONDS", 0.05)
            dark = [aws.ecs.describe_cluster("eu-west-1", CLUSTER) for _ in range(19)]
            given_up = await asyncio.gather(*dark, return_exceptions=True)
        answered = [await aws.ecs.describe_cluster(REGION, CLUSTER) for _ in range(10)]
        assert len(aws.sent) == 10
        aws.release.set()
        return [given_up, answered, [await first]]

    given_up, answered, late = run(calls())
    assert len(given_up) == 19
    for error in given_up:
        assert isinstance(error, Unavailable)
        assert "not sent" in str(error)
    assert answered + late == [ClusterInfo(ClusterArn(CLUSTER), "main", "ACTIVE")] * 11
    assert len(aws.sent) == 11


def kept(aws: Aws) -> int:
    """For how many regions there are clients."""
    gc.collect()
    return sum(1 for each in aws.alive if each() is not None)


def test_regions_that_never_answer_are_kept_only_a_few_at_a_time() -> None:
    aws = Aws()
    aws.dead = "aa-north"
    assert run(aws.ecs.describe_cluster(REGION, CLUSTER)) is not None
    for number in range(40):
        with pytest.raises(Unavailable):
            run(aws.ecs.describe_cluster(f"aa-north-{number}", CLUSTER))
        aws.clock.advance(1)
        assert kept(aws) <= 1 + SILENT_REGIONS
    assert run(aws.ecs.describe_cluster(REGION, CLUSTER)) is not None
    assert aws.made.count(REGION) == 1, "the one that answers is kept"


def test_a_region_that_is_needed_no_longer_is_dropped() -> None:
    aws = Aws()
    for region in (REGION, "us-east-1"):
        run(aws.ecs.describe_cluster(region, CLUSTER))
    assert kept(aws) == 2
    aws.clock.advance(IDLE_SECONDS)
    run(aws.ecs.describe_cluster(REGION, CLUSTER))
    assert kept(aws) == 2
    aws.clock.advance(1)
    run(aws.ecs.describe_cluster(REGION, CLUSTER))
    assert kept(aws) == 1
    run(aws.ecs.describe_cluster("us-east-1", CLUSTER))
    assert sorted(aws.made) == [REGION, "us-east-1", "us-east-1"]


def test_all_regions_share_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of its own for each cost 28 MB a region, this one 2 MB."""
    made: list[boto3.Session] = []

    class Counted(boto3.Session):
        def __init__(self) -> None:
            super().__init__(aws_access_key_id="id", aws_secret_access_key="key")
            made.append(self)

    monkeypatch.setattr("boto3.Session", Counted)
    sessions = Sessions(max_pool_connections=1)
    with ThreadPoolExecutor(4) as pool:
        regions = [REGION, "us-east-1", "eu-west-1", "eu-west-2"]
        clients = list(pool.map(sessions.clients, regions))
    assert [each.ecs.meta.region_name for each in clients] == regions
    assert len(made) == 1


# --- the rate limit ---


def test_a_draw_is_from_the_buckets_that_the_clients_share_and_makes_no_client() -> None:
    aws = Aws()
    drawn = [aws.ecs.draw(REGION, "RunTask") for _ in range(51)]
    assert drawn[:50] == [0.0] * 50
    assert drawn[50] > 0
    assert aws.quotas.of(REGION).draw("RunTask") > 0, "one bucket for the whole process"
    assert aws.ecs.draw("us-east-1", "RunTask") == 0.0
    assert aws.made == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call that waits to be sent gives up, however long the machine stands still."""
    monkeypatch.setattr("fractal_operator.shell.aws.SEND_SECONDS", PATIENCE)


@pytest.mark.usefixtures("patient")
def test_calls_that_wait_for_a_token_hold_up_no_stop() -> None:
    """Each may hold its thread for seconds; launches and stops keep threads of their own."""
    aws = Aws(threads=8)
    aws.release.clear()

    async def calls() -> None:
        looks = [asyncio.create_task(aws.ecs.describe_cluster(REGION, CLUSTER)) for _ in range(3)]
        await asyncio.to_thread(aws.entered.wait, PATIENCE)
        await aws.ecs.stop_task(REGION, ClusterArn(CLUSTER), TaskArn(task_arn(1)), "why")
        assert aws.sent == ["StopTask"]
        aws.release.set()
        await asyncio.gather(*looks)
        assert aws.sent == ["StopTask", *["DescribeClusters"] * 3]

    run(calls())


@pytest.mark.usefixtures("patient")
def test_calls_for_definitions_hold_up_no_other_look() -> None:
    """Registering is so rare a right that each may wait ten seconds for it; a region whose tasks
    nobody sees meanwhile would be as bad as one that does not answer. Resolving waits less."""
    aws = Aws(threads=32)
    aws.silent = "none"
    aws.release.clear()

    async def calls() -> None:
        names = [f"slow-{number}" for number in range(8)]
        ensured = [
            asyncio.create_task(aws.ecs.ensure_definition(REGION, {"family": each}))
            for each in names
        ]
        await asyncio.to_thread(aws.entered.wait, PATIENCE)
        assert await aws.ecs.resolve_definition(REGION, "web") is not None
        resolved = [asyncio.create_task(aws.ecs.resolve_definition(REGION, each)) for each in names]
        await asyncio.sleep(0)  # they are in line now
        assert await aws.ecs.describe_cluster(REGION, CLUSTER) is not None
        assert aws.sent == ["DescribeTaskDefinition", "DescribeClusters"]
        aws.release.set()
        await asyncio.gather(*ensured, *resolved)

    run(calls())
