"""Task events: what EventBridge would put into an SQS queue, put into moto's.

A rule takes the events of tasks whose startedBy has a prefix, and may lose, double, delay and
reorder them, as AWS may. moto's own EventBridge is not used: it knows no ECS, and its events lack
the account.
"""

import heapq
import itertools
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from moto.sqs.models import Queue

from fractal_dev.ecs.account import Account
from fractal_dev.ecs.task import Task

_UNTOLD = ("tags", "attributes", "healthStatus")
_TIMES = ("At", "Time")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and its target. ``drop`` and ``double`` are shares of the events; each is delayed by
    ``delay`` seconds and up to ``jitter`` more, which reorders them. ``enabled`` is EventBridge's
    own state of a rule."""

    name: str
    queue: str
    region: str
    prefix: str = ""
    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    enabled: bool = True
    seed: int = 0


class Events:
    """Rules, and what is on its way to their queues. Hold the engine's lock around every use."""

    def __init__(self, account: Account, now: Callable[[], float]) -> None:
        self._account = account
        self._now = now
        self._rules: dict[str, Rule] = {}
        self._chance: dict[str, Random] = {}
        self._under_way: list[tuple[float, int, Rule, str]] = []
        self._order = itertools.count()
        self.sent = 0

    @property
    def active(self) -> bool:
        """Whether there are rules, so that time matters though nobody looks."""
        return bool(self._rules)

    def put_rule(self, rule: Rule) -> str:
        """Make or change a rule, and its queue if there is none; returns the path of its URL.

        Raises:
            ValueError: shares that are none.
        """
        if not (0 <= rule.drop <= 1 and 0 <= rule.double <= 1):
            raise ValueError("drop and double are shares")
        queues = self._account.sqs(rule.region)
        if rule.queue not in queues.queues:
            queues.create_queue(rule.queue, VisibilityTimeout="60")
        self._rules[rule.name] = rule
        self._chance.setdefault(rule.name, Random(rule.seed))  # noqa: S311  # no secret
        return f"/{self._account.id}/{rule.queue}"

    def delete_rule(self, name: str) -> None:
        """Delete a rule, as if it had never been; its queue stays."""
        self._rules.pop(name, None)

    def changed(self, task: Task, at: float) -> None:
        """A task has changed at that time: its version has been raised. Of one that AWS has lost
        nothing is told."""
        if task.vanished:
            return
        for rule in self._rules.values():
            if not rule.enabled or not task.started_by.startswith(rule.prefix):
                continue
            chance = self._chance[rule.name]
            body = json.dumps(_event(task, at, self._account.id))
            copies = 0 if chance.random() < rule.drop else 1 + (chance.random() < rule.double)
            for _ in range(copies):
                due = at + rule.delay + chance.random() * rule.jitter
                heapq.heappush(self._under_way, (due, next(self._order), rule, body))

    def deliver(self) -> None:
        """Put what is due by now into the queues; into one that is gone, nothing."""
        while self._under_way and self._under_way[0][0] <= self._now():
            *_, rule, body = heapq.heappop(self._under_way)
            queues = self._account.sqs(rule.region)
            if rule.queue in queues.queues:
                queues.send_message(rule.queue, body)
                self.sent += 1


def _event(task: Task, at: float, account: str) -> dict[str, Any]:
    """The event as the ECS developer guide shows it ("Amazon ECS task state change events")."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": account,
        "time": _iso(at, "seconds"),
        "region": task.region,
        "resources": [task.arn],
        "detail": {**_detail(task), "updatedAt": _iso(at)},
    }


def _detail(task: Task) -> dict[str, Any]:
    """DescribeTasks' JSON, as it differs in events: ISO times, type ``eni``, neither tags nor
    health."""
    shown = {name: value for name, value in task.json().items() if name not in _UNTOLD}
    for name, value in shown.items():
        if name.endswith(_TIMES) and isinstance(value, int | float):
            shown[name] = _iso(value)
    shown["attachments"] = [{**each, "type": "eni"} for each in shown["attachments"]]
    shown["containers"] = [
        {name: value for name, value in each.items() if name not in _UNTOLD}
        for each in shown["containers"]
    ]
    return shown


def _iso(seconds: float, precision: str = "milliseconds") -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def quicken() -> None:
    """Make moto's queues fit for thousands of messages, and for several threads.

    moto 5.2.5 walks all messages three times for each one sent, and rebuilds the list at each
    deletion, without the lock under which others are appended: some are then lost.
    """

    def count(queue: Any) -> int:
        return len(queue._messages)

    def delete(queue: Any, receipt_handle: str) -> None:
        with queue._messages_lock:
            original(queue, receipt_handle)

    if getattr(Queue, "quickened", False):
        return
    original = Queue.delete_message
    fast: Any = Queue
    fast.quickened = True
    fast.delete_message = delete
    for name in ("", "_delayed", "_not_visible"):
        setattr(fast, f"approximate_number_of_messages{name}", property(count))
