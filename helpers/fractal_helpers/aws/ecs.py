"""The ECS client of one region: the calls the operator needs, as values and typed errors.

Synchronous and thread-safe. Every method raises the errors of :mod:`fractal_models.errors`, and
draws on the rate limit of its quota group: one that cannot be served in time is ``Throttled``. Only
RunTask and StopTask do not: who waits for their turn does so elsewhere, without a thread.
``cluster`` is a name or an ARN; ``observed_at`` of a task is when the request was sent.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fractal_helpers.aws import decode
from fractal_helpers.aws.addresses import AddressBook
from fractal_helpers.aws.cache import Cache
from fractal_helpers.aws.calls import (
    Api,
    Observe,
    Waited,
    batches,
    hear_throttles,
    ignore,
    member,
    unmeasured,
)
from fractal_helpers.aws.definitions import Definitions
from fractal_helpers.aws.ec2 import Ec2Client
from fractal_helpers.aws.limits import QuotaGroups
from fractal_helpers.aws.session import RegionClients
from fractal_models.errors import OutcomeUnknown, Rejected
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

log = logging.getLogger(__name__)

_BATCH = 100  # DescribeTasks: "up to 100 task IDs or full ARN entries"
# ECS documents no limit for StopTask's reason. A stop refused for its wording would be worse than
# a shortened one.
_REASON_CHARACTERS = 255
# What ECS refuses by itself would cost its batch some 2 * log2(100) calls at every look.
_REFUSALS = 10_000
_REFUSED_SECONDS = 600.0
_REFUSED_IN_PASSING_SECONDS = 60.0
# The task ids that ECS gives: long ARN format, and the one before (accounts until 2021).
_TASK_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_FOUND = re.compile(r"task was not found", re.IGNORECASE)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EcsClient:
    """ECS, and what of EC2 belongs to tasks, in one region.

    ``observe(operation, code, seconds)`` is called once per API call, from the calling thread;
    ``waited(operation, seconds, had)`` once per token of the rate limit.
    """

    def __init__(
        self,
        clients: RegionClients,
        quotas: QuotaGroups,
        *,
        observe: Observe = ignore,
        waited: Waited = unmeasured,
        now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        def api(client: Any) -> Api:
            return Api(client, quotas, observe=observe, waited=waited, monotonic=monotonic)

        self._api, self._once = api(clients.ecs), api(clients.ecs_once)
        self._sts = api(clients.sts)
        for client in (clients.ecs, clients.ec2):
            hear_throttles(client, quotas)
        self._definitions = Definitions(self._api, self._once, monotonic=monotonic)
        self._book = AddressBook(self._api, Ec2Client(api(clients.ec2)), monotonic=monotonic)
        self._refused: Cache[tuple[str, str], bool] = Cache(_REFUSALS, monotonic=monotonic)
        self._now = now

    def run_task(self, request: Mapping[str, Any]) -> RunTaskResult:
        """Send RunTask once; ``request`` is its whole body, with ``clientToken`` and count 1.

        Takes no token of the rate limit: the caller has drawn it. ``OutcomeUnknown`` asks for the
        same body again, ``TokenConflict`` names the tasks that the token is bound to. A result is
        no success: either list may be empty or filled. Raises ValueError for a body without token
        or with another count.
        """
        if request.get("count") != 1 or not request.get("clientToken"):
            raise ValueError("RunTask needs a clientToken and count 1: one attempt, one task")
        sent_at = self._now()
        answer = self._once.send("RunTask", request)
        if "tasks" not in answer and "failures" not in answer:
            raise OutcomeUnknown("RunTask: the answer cannot be read")
        return RunTaskResult(
            tasks=_tasks(answer.get("tasks") or (), "RunTask", sent_at),
            failures=tuple(decode.launch_failure(item) for item in answer.get("failures") or ()),
        )

    def stop_task(self, cluster: ClusterArn, arn: TaskArn, reason: str) -> ObservedTask | None:
        """Ask ECS to stop a task (again): the task as it is now, None when ECS does not know it.

        Returns before the task has stopped. ``reason`` is cut to 255 characters. Takes no token of
        the rate limit: the caller has drawn it.
        """
        sent_at = self._now()
        params = {"cluster": cluster, "task": arn, "reason": reason[:_REASON_CHARACTERS]}
        try:
            answer = self._api.send("StopTask", params)
        except Rejected as error:
            if error.code == "InvalidParameterException" and _NOT_FOUND.search(str(error)):
                return None
            raise
        return _tasks([member(answer, "StopTask", "task")], "StopTask", sent_at)[0]

    def tag_task(self, arn: TaskArn, tags: Mapping[str, str]) -> None:
        """Put tags on a task; returns once ECS has confirmed them. Repeating it is harmless."""
        pairs = [{"key": key, "value": tags[key]} for key in sorted(tags)]
        self._api.call("TagResource", {"resourceArn": arn, "tags": pairs})

    def describe_tasks(self, cluster: str, arns: Sequence[TaskArn]) -> DescribeTasksResult:
        """Describe any number of tasks, 100 a call; none: no call.

        ``missing`` are the ARNs that ECS does not know (unknown, long stopped, too new), or refuses
        for an id such as it never gives. One that it refuses otherwise (of another cluster) is in
        neither list: it must not fail the others, nor count as gone. What is refused is logged, and
        not asked for again for 10 minutes; 1 minute if the id is a task's.
        """
        tasks: list[ObservedTask] = []
        missing: list[TaskArn] = []
        # Impossible ids last: together they cost fewer calls, and few good ones are asked again.
        once = sorted(dict.fromkeys(arns), key=_impossible)
        for batch in batches([arn for arn in once if not self._is_refused(cluster, arn)], _BATCH):
            found, refused = self._describe(cluster, batch)
            tasks += found.values()
            missing += [arn for arn in batch if _id(arn) not in found and _id(arn) not in refused]
        missing += [arn for arn in once if _impossible(arn) and self._is_refused(cluster, arn)]
        return DescribeTasksResult(tasks=tuple(tasks), missing=tuple(missing))

    def _is_refused(self, cluster: str, arn: str) -> bool:
        return self._refused.get((cluster, arn)) is not None

    def _refuse(self, cluster: str, arn: str) -> None:
        seconds = _REFUSED_SECONDS if _impossible(arn) else _REFUSED_IN_PASSING_SECONDS
        self._refused.put((cluster, arn), True, seconds)

    def _describe(
        self, cluster: str, arns: Sequence[TaskArn]
    ) -> tuple[dict[str, ObservedTask], set[str]]:
        """Tasks by id, and the ids that ECS neither described nor called MISSING."""
        sent_at = self._now()
        try:
            params = {"cluster": cluster, "tasks": arns, "include": ["TAGS"]}
            answer = self._api.call("DescribeTasks", params)
        except Rejected as error:
            if error.code != "InvalidParameterException":
                raise
            if len(arns) == 1:
                log.warning("ECS refuses to describe task %s: %s", arns[0], error)
                self._refuse(cluster, arns[0])
                return {}, {_id(arns[0])}
            # One bad ARN fails its whole batch: halve until it stands alone.
            middle = len(arns) // 2
            left, right = (self._describe(cluster, part) for part in (arns[:middle], arns[middle:]))
            return left[0] | right[0], left[1] | right[1]
        asked = {_id(arn) for arn in arns}
        described = _tasks(member(answer, "DescribeTasks", "tasks"), "DescribeTasks", sent_at)
        refused = set()
        for failure in answer.get("failures") or ():
            if failure.get("reason") != "MISSING":
                log.warning("ECS does not describe task: %s", decode.launch_failure(failure))
                refused.add(_id(failure.get("arn", "")))
        return {_id(task.arn): task for task in described if _id(task.arn) in asked}, refused

    def list_tasks(
        self, cluster: str, *, started_by: str = "", stopped: bool = False
    ) -> tuple[TaskArn, ...]:
        """The ARNs of all tasks that ECS means to run, or with ``stopped`` that it means not to.

        With ``started_by`` those started under exactly that name and not stopped: ECS accepts no
        second filter beside it, hence ValueError for both. Eventually consistent: absence alone
        proves nothing.
        """
        if started_by and stopped:
            raise ValueError("ListTasks takes startedBy as its only filter")
        params: dict[str, Any] = {"cluster": cluster}
        if started_by:
            params["startedBy"] = started_by
        else:
            params["desiredStatus"] = "STOPPED" if stopped else "RUNNING"
        found: dict[TaskArn, None] = {}
        for page in self._api.pages("ListTasks", params, "nextToken"):
            found |= dict.fromkeys(member(page, "ListTasks", "taskArns"))
        return tuple(found)

    def account(self) -> str:
        """The credentials' account (STS GetCallerIdentity, which needs no permission)."""
        answer = self._sts.send("GetCallerIdentity", {})
        return str(member(answer, "GetCallerIdentity", "Account"))

    def describe_cluster(self, cluster: str) -> ClusterInfo | None:
        """The cluster, also an INACTIVE (deleted) one; None when ECS does not know it."""
        operation = "DescribeClusters"
        answer = self._api.call(operation, {"clusters": [cluster]})
        for item in member(answer, operation, "clusters"):
            return decode.cluster(item)
        for failure in answer.get("failures") or ():
            if failure.get("reason") == "MISSING":
                return None
            raise Rejected(f"{operation}: {cluster}: {failure}", code=failure.get("reason", ""))
        raise OutcomeUnknown(f"{operation}: nothing said of {cluster}")

    def resolve_definition(self, reference: str) -> TaskDefinition | None:
        """What a family, ``family:revision`` or ARN names (any status); None when unknown."""
        return self._definitions.resolve(reference)

    def ensure_definition(self, registration: Mapping[str, Any]) -> TaskDefinition:
        """An ACTIVE definition for a content-addressed registration: see ``Definitions.ensure``."""
        return self._definitions.ensure(registration)

    def forget_definition(self, reference: str) -> None:
        """Forget what is remembered of a family or ARN: RunTask called it inactive."""
        self._definitions.forget(reference)

    def addresses(self, tasks: Sequence[ObservedTask]) -> Mapping[TaskArn, Address]:
        """Where tasks are reached; absent while unknown: see ``AddressBook.addresses``."""
        return self._book.addresses(tasks)


def _tasks(
    payloads: Iterable[Mapping[str, Any]], operation: str, sent_at: datetime
) -> tuple[ObservedTask, ...]:
    try:
        return tuple(decode.task(payload, sent_at) for payload in payloads)
    except ValueError as error:
        raise OutcomeUnknown(f"{operation}: the answer cannot be read: {error}") from error


def _id(arn: str) -> str:
    """A task's id: unique, and the same in the short and long form of its ARN."""
    return arn.rsplit("/", 1)[-1]


def _impossible(arn: str) -> bool:
    """Whether a task's id is such as ECS never gives."""
    return _TASK_ID.fullmatch(_id(arn)) is None
