"""The fake over HTTP: who answers a request, on one event loop."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from benchmarks.ecs_fake import query
from benchmarks.ecs_fake.control import Control
from benchmarks.ecs_fake.operations import Operations
from benchmarks.ecs_fake.queue import Queue
from benchmarks.ecs_fake.quotas import Quotas
from benchmarks.ecs_fake.task import Task
from benchmarks.ecs_fake.world import ACCOUNT, World

from fractal_dev.ecs.clock import StandInClock
from fractal_dev.ecs.errors import AwsError
from fractal_dev.ecs.faults import Faults
from fractal_dev.ecs.plan import Plans, TaskPlan

QUEUE = "fractal-events"
_ECS, _SQS = "AmazonEC2ContainerServiceV20141113.", "AmazonSQS."
_TICK = 0.02
_UNTOLD = ("ACTIVATING",)
"""EventBridge has been seen to tell no event of these states."""


class EcsFake:
    """The parts of one account and region, put together; ``app`` serves them.

    ``events`` puts each change of a task into the queue, for a consumer that is there to read it.
    """

    def __init__(
        self,
        region: str,
        *,
        plan: TaskPlan | None = None,
        clock: StandInClock | None = None,
        events: bool = False,
    ) -> None:
        self.clock = clock or StandInClock()
        self.world = World(self.clock, region)
        plans, faults = Plans(plan or TaskPlan()), Faults()
        self._operations = Operations(self.world, plans, faults)
        self._faults, self._quotas = faults, Quotas(self.clock)
        self._queue = Queue(QUEUE, f"arn:aws:sqs:{region}:{ACCOUNT}:{QUEUE}")
        self._control = Control(self.world, plans, faults, self._quotas, self._queue)
        if events:
            self.world.told.append(self._emit)

    def set_quotas(self, scale: float) -> None:
        """Throttle as AWS does, with buckets ``scale`` times as large; 0: never."""
        self._quotas.set_scale(scale)

    def app(self) -> web.Application:
        """The application; time passes for the tasks as long as it is served."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/_ecs/{path:.*}", self._answer_control)
        app.router.add_route("POST", "/{path:.*}", self._answer)
        app.cleanup_ctx.append(self._passing)
        return app

    async def _passing(self, _: web.Application) -> AsyncIterator[None]:
        async def pass_time() -> None:
            while True:
                self.world.settle()
                await asyncio.sleep(_TICK)

        passing = asyncio.create_task(pass_time())
        yield
        passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await passing

    def _emit(self, task: Task, at: float) -> None:
        if task.last_status not in _UNTOLD:
            self._queue.send(task.event(ACCOUNT, str(uuid.uuid4()), at), at)

    async def _answer(self, request: web.Request) -> web.Response:
        target = request.headers.get("X-Amz-Target", "")
        body = await request.text()
        try:
            if target.startswith(_ECS):
                return self._answer_ecs(target.removeprefix(_ECS), body)
            if target.startswith(_SQS):
                operation = target.removeprefix(_SQS)
                self._quotas.calls[f"sqs:{operation}"] += 1
                url = f"{request.scheme}://{request.host}/{ACCOUNT}/{QUEUE}"
                answer = await self._queue.call(operation, json.loads(body), url)
                return _reply(json.dumps(answer))
        except AwsError as error:
            self._quotas.errors[f"{target.rpartition('.')[2]}:{error.code}"] += 1
            return _reply(json.dumps(error.body()), error.status)
        return self._answer_query(dict(parse_qsl(body)))

    def _answer_ecs(self, operation: str, body: str) -> web.Response:
        values = json.loads(body or "{}")
        self._quotas.take(operation)
        self._faults.raise_error(operation, self._operations.subject(values))
        return _reply(self._operations.call(operation, values))

    def _answer_query(self, form: dict[str, str]) -> web.Response:
        action = form.get("Action", "?")
        service = "sts" if action == "GetCallerIdentity" else "ec2"
        self._quotas.calls[f"{service}:{action}"] += 1
        try:
            text, status = query.answer(self.world, action, form), 200
        except query.NotThere as error:
            text, status = str(error), 400
        except LookupError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return web.Response(text=text, status=status, content_type="text/xml")

    async def _answer_control(self, request: web.Request) -> web.Response:
        values: dict[str, Any] = dict(request.query)
        if request.can_read_body:
            values |= await request.json()
        try:
            answer = self._control(request.method, request.match_info["path"], values)
        except LookupError as error:
            return web.json_response({"error": str(error)}, status=404)
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(answer)


def _reply(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/x-amz-json-1.1")
