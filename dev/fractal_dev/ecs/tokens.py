"""RunTask's client tokens (ECS developer guide, "Ensuring idempotency")."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fractal_dev.ecs.errors import AwsError
from fractal_dev.ecs.task import Task

LONGEST_LIFE = 24 * 3600.0
AFTER_STOPPED = 3600.0
FAILURES_REMEMBERED = 3600.0


@dataclass(frozen=True, slots=True)
class Issued:
    """The outcome of the first call that carried a token."""

    body: str
    tasks: Sequence[Task]
    failures: Sequence[Mapping[str, Any]]
    at: float

    def answer(self, now: float) -> dict[str, Any]:
        """Return RunTask's answer to a replay: stopped tasks as three members, failures older
        than an hour as nothing but their number."""
        tasks = [task.short_json() if task.stopped else task.json(tags=True) for task in self.tasks]
        old = now >= self.at + FAILURES_REMEMBERED
        return {"tasks": tasks, "failures": [{} if old else each for each in self.failures]}

    def expired(self, now: float) -> bool:
        """Whether the token is free again: after 24 h, or an hour after the last task stopped."""
        if now >= self.at + LONGEST_LIFE:
            return True
        if not self.tasks or not all(task.stopped for task in self.tasks):
            return False
        return now >= max(task.times["stoppedAt"] for task in self.tasks) + AFTER_STOPPED


class Tokens:
    """The tokens in use, per (region, cluster, token). Not thread-safe."""

    def __init__(self) -> None:
        self._issued: dict[tuple[str, str, str], Issued] = {}

    def replay(
        self, key: tuple[str, str, str], request: Mapping[str, Any], now: float
    ) -> dict[str, Any] | None:
        """Return the first answer again, or None if the token is free.

        Raises:
            AwsError: ConflictException: the token belongs to a request with other parameters.
        """
        issued = self._issued.get(key)
        if issued is None or issued.expired(now):
            return None
        if issued.body != _canonical(request):
            raise AwsError(
                "ConflictException",
                "The client token was already used by a request with different parameters.",
                extra={"resourceIds": [task.arn for task in issued.tasks]},
            )
        return issued.answer(now)

    def bind(
        self,
        key: tuple[str, str, str],
        request: Mapping[str, Any],
        outcome: tuple[Sequence[Task], Sequence[Mapping[str, Any]]],
        now: float,
    ) -> None:
        """Bind the token to what its first request came to."""
        self._issued[key] = Issued(_canonical(request), *outcome, now)


def _canonical(request: Mapping[str, Any]) -> str:
    compared = {name: value for name, value in request.items() if name != "cluster"}
    return json.dumps(compared, sort_keys=True)
