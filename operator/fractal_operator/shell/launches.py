"""RunTask, and what this process may believe after it: being certain saves a wait (draining.py)."""

import logging
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta

from fractal_models.errors import (
    AccessDenied,
    FractalError,
    OutcomeUnknown,
    Rejected,
    Throttled,
    TokenConflict,
)
from fractal_models.observed import TaskArn
from fractal_operator.core.plan import ClusterView, Launch, Problem, RunTask
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Ecs
from fractal_operator.shell.memory import Memory
from fractal_operator.shell.observe import Observer
from fractal_operator.shell.permits import NoPermit, Permits, Waiter
from fractal_operator.shell.problems import problem_of

log = logging.getLogger(__name__)

BREAKER = timedelta(seconds=60)
DENIED_DEFINITIONS = 10
"""So many definitions refused at a time are no one's own choice: the whole cluster is closed."""


class Launches:
    """RunTask calls, and the breaker that a refused access trips."""

    def __init__(
        self, ecs: Ecs, clock: Clock, observer: Observer, permits: Permits, metrics: Metrics
    ) -> None:
        self._ecs = ecs
        self._clock = clock
        self._observer = observer
        self._permits = permits
        self._metrics = metrics
        self._breakers: defaultdict[tuple[str, str], dict[str, Problem]] = defaultdict(dict)

    def secure(self, waiter: Waiter, region: str) -> None:
        """See to it that there is a permit for the object's next RunTask; raises NoPermit."""
        if not self._permits.ask(region, "RunTask", waiter):
            raise NoPermit

    async def run_task(self, waiter: Waiter, memory: Memory, action: RunTask) -> None:
        """Call RunTask once; what is known then of the attempt goes into ``memory``.

        Raises NoPermit.
        """
        self._permits.use(action.region, "RunTask", waiter)
        known = memory.launch
        if known is None or known.attempt != action.attempt:
            known = Launch(action.attempt, certain=False)
        calls = known.calls + 1
        try:
            result = await self._ecs.run_task(action.region, action.request)
        except TokenConflict as error:
            await self._adopt_bound(action, error)
            memory.launch = self._failed(known, calls, error)
            self._metrics.launches.labels("adopted").inc()
            return
        except FractalError as error:
            memory.launch = self._failed(known, calls, error)
            self._trip(action, error)
            return
        now = self._clock.now()
        launched = bool(result.tasks)
        memory.launch = Launch(
            action.attempt,
            certain=known.certain and not launched,
            calls=calls,
            at=now,
            failures=None if launched else result.failures,
        )
        self._metrics.launches.labels("launched" if launched else "failed").inc()
        for task in result.tasks:
            # The replay of a stopped task comes back bare; the token says whose it is, and where.
            whole = replace(
                task,
                started_by=task.started_by or action.request["startedBy"],
                cluster_arn=task.cluster_arn or action.request["cluster"],
            )
            self._observer.tasks.observe(whole, launched=True)

    def _failed(self, known: Launch, calls: int, error: FractalError) -> Launch:
        """What is known after a call that raised; only an unknown outcome costs certainty."""
        certain = known.certain and not isinstance(error, OutcomeUnknown | TokenConflict)
        problem = problem_of(error, self._clock.now())
        return Launch(known.attempt, certain, calls, problem.at, problem=problem)

    def _trip(self, action: RunTask, error: FractalError) -> None:
        cluster = str(action.request["cluster"])
        match error:
            case Throttled():
                result = "throttled"
            case Rejected():
                result = "rejected"
            case _:
                result = "unknown"
        self._metrics.launches.labels(result).inc()
        if isinstance(error, Rejected):
            self._ecs.forget_definition(action.region, str(action.request["taskDefinition"]))
        if isinstance(error, AccessDenied):
            # Rights are checked against the definition, too, which each object chooses for itself.
            named = "not authorized to perform" in str(error)
            definition = str(action.request["taskDefinition"]) if named else ""
            problem = problem_of(error, self._clock.now() + BREAKER)
            self._breakers[(action.region, cluster)][definition] = problem

    def breaker(self, target: ClusterView | None, definition: str) -> Problem | None:
        """The refusal that bars launches of a task definition (ARN) in a cluster for now.

        Its ``at`` is when that ends. A refusal of the credentials themselves bars every definition,
        and so do refusals of many definitions.
        """
        if target is None or target.info is None:
            return None
        known, now = self._breakers[(target.region, target.info.arn)], self._clock.now()
        for each in [each for each, problem in known.items() if problem.at <= now]:
            del known[each]
        if len(known) >= DENIED_DEFINITIONS:
            return next(iter(known.values()))
        return known.get("") or known.get(definition)

    async def _adopt_bound(self, action: RunTask, error: TokenConflict) -> None:
        """The token is bound already: what it is bound to is the task that was looked for."""
        arns = [TaskArn(arn) for arn in error.resource_ids]
        log.warning("client token of attempt %d is bound to %s", action.attempt, arns)
        if arns:
            try:
                found = await self._ecs.describe_tasks(
                    action.region, str(action.request["cluster"]), arns
                )
            except FractalError as failure:
                log.warning("describing %s failed: %s", arns, failure)
                return
            for task in found.tasks:
                self._observer.tasks.observe(task)
