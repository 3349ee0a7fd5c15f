"""The simulated world: servers, processes, users, and the one place where calls go wrong.

A run is made of its seed and nothing else. First faults of all kinds, while users do what users do;
then the faults cease, and the world has to become what the users asked for last, and stay so.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from tests.simulation.ecs import SimEcs
from tests.simulation.faults import BROKEN, CANARY, LATEST_BEYOND, LATEST_LANDING, Chaos
from tests.simulation.invariants import Watchman
from tests.simulation.kube import SimKube
from tests.simulation.ledger import SimLedger
from tests.simulation.notes import Notes
from tests.simulation.process import Operator
from tests.simulation.queue import SimQueue
from tests.simulation.quotas import Quotas
from tests.simulation.timeline import Job, Pending, SimClock, Timeline
from tests.unit.shell.kube_world import Body
from tests.unit.shell.wire import Wire

from fractal_models.errors import (
    AccessDenied,
    FractalError,
    OutcomeUnknown,
    Throttled,
    Unavailable,
)
from fractal_models.kube import ObjectKey

KUBE_WRITES = {"set_finalizers", "write_status", "delete", "post_event"}
LEASES = {"get_lease", "create_lease", "update_lease"}
KUBE = KUBE_WRITES | LEASES | {"get", "list"}
ECS_WRITES = {"run_task", "stop_task", "tag_task", "ensure_definition"}
LEDGER_WRITES = {"write", "correct", "touch", "close_missing", "prune"}
LEDGER = LEDGER_WRITES | {"live"}
NOTABLE = KUBE_WRITES | ECS_WRITES | {"write", "correct"}
"""Writes that a converged world does not see: all but the Lease, last_pinged and the audit."""

WEIGHT = {"run_task": 12.0, "write_status": 4.0, "set_finalizers": 4.0, "stop_task": 4.0}
"""The calls that it is all about are few: they are struck more often than the others."""

QUEUE = {"receive", "delete_messages"}
"""Receiving hides messages, so that its answer can be lost, too."""

WRITES = KUBE_WRITES | ECS_WRITES | LEDGER_WRITES | QUEUE | LEASES - {"get_lease"}

SECRET = f"simulated, postgresql://fractal:{CANARY}@db/fractal, aws_secret_access_key={CANARY}"


def _not_done(kind: str) -> FractalError:
    """A refusal; each time another one, since an error that was raised holds on to its world."""
    return Throttled(SECRET) if kind == "throttled" else Unavailable(f"refused: {SECRET}")


def _silence(name: str) -> FractalError:
    """No answer: of a read it matters nothing whether it happened."""
    text = f"no answer: {SECRET}"
    return OutcomeUnknown(text) if name in WRITES else Unavailable(text)


def _of_the_broken(call: Pending) -> bool:
    """Whether a call tells of the object whose reconcile always raises: it is told so for ever."""
    first = call.arguments[0] if call.arguments else None
    return isinstance(first, dict) and first.get("metadata", {}).get("name") == BROKEN


class World:
    """Everything that there is. ``plan`` strikes given calls with given faults: by their number, or
    by their name and their number among those of that name."""

    def __init__(
        self,
        rng: Random,
        chaos: Chaos,
        plan: Mapping[int | tuple[str, int], str] | None = None,
        *,
        keep: int = 30,
    ) -> None:
        self.rng, self.chaos, self.began, self.plan = rng, chaos, chaos, plan or {}
        self.timeline = Timeline()
        self.clock = SimClock(self.timeline)
        self.notes = Notes(self)
        self.watch = Watchman(self, self.notes)
        self.kube = SimKube(self.clock, self._changed)
        hooks = self.watch.launched, self.watch.stops, self.watch.tagged
        self.ecs = SimEcs(self.timeline, rng, *hooks)
        self.ecs.chaos = chaos
        self.queue: SimQueue | None = None
        if chaos.events:
            self.queue = SimQueue(self, Random(rng.random()))
            self.ecs.announce = self.queue.changed
        self.quotas = Quotas(self.clock.monotonic)
        self.quotas.crowd = chaos.crowd
        self.ledger = SimLedger(Wire())
        self.operators: list[Operator | None] = [None] * chaos.operators
        self.unruled = chaos.operators > 1 and not chaos.election  # both act, at once
        self.down: set[str] = set()
        self.calls = 0
        self.writes = 0
        self.noting = plan is not None  # a plan's run: only what it says goes wrong
        self.called: list[str] = []
        self._called: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.meddle: Callable[[str], None] = lambda uid: None  # hears of each attempt's intent
        self.freed: Callable[[ObjectKey], None] = lambda key: None  # hears of names that are free
        self.trace: deque[tuple[float, str, str, Any]] = deque(maxlen=keep or None)
        self.starts, self.started = 0, 0.0
        self.settled = False
        self.landing = ""

    def log(self, who: str, what: str, about: Any = "") -> None:
        self.trace.append((self.timeline.now, who, what, about))

    # --- processes ---

    def boot(self) -> None:
        """Start every process that does not run."""
        for place, operator in enumerate(self.operators):
            if operator is None:
                self._start(place)

    def _start(self, place: int) -> None:
        if place >= len(self.operators) or self.operators[place] or "processes" in self.down:
            return
        self.starts, self.started = self.starts + 1, self.timeline.now
        operator = Operator(
            self, f"op-{self.starts}", self.chaos.skews[place], elected=self.chaos.election
        )
        self.operators[place] = operator
        self.log(operator.name, "starts")
        operator.start()

    def crash(self, operator: Operator) -> None:
        """A process dies, and is started again before long."""
        if not operator.alive:
            return
        self.log(operator.name, "dies")
        operator.die()
        place = self.operators.index(operator)
        self.operators[place] = None
        pause = self.rng.uniform(0.5, 60) if self.rng.random() < 0.8 else self.rng.uniform(60, 600)
        if self.noting:
            pause = 1.0
        self.timeline.after(pause, partial(self._start, place))

    def retire(self) -> None:
        """From now on there is one process."""
        for operator in self.operators[1:]:
            if operator is not None:
                operator.die()
        del self.operators[1:]

    # --- calls ---

    def permit(self) -> float:
        """0.0: there is one; else in how many seconds to ask again."""
        return self.rng.uniform(0.1, 3.0) if self.rng.random() < self.chaos.no_permit else 0.0

    def perform(self, operator: Operator, job: Job, call: Pending) -> None:
        """One call of a process: what goes wrong with it, when it happens, when it is answered."""
        self.calls += 1
        name, writes = call.method, call.method in WRITES
        if self.noting:
            self.called.append(name)
            self._called[name] += 1
        error = self._refusal(operator, name)
        kind = self._fault(name) if error is None else ""
        if kind:
            self.notes.struck(kind, call)
            self.faults[kind] += 1
        now, rng = self.timeline.now, self.rng
        sent = now + rng.random() * 0.05
        if kind == "crash-before":
            self.log(operator.name, f"{name} CRASH BEFORE", call)
            return self.crash(operator)
        if kind == "crash-after":
            self.timeline.at(sent, partial(self._effect, operator, call, kind))
            self.timeline.at(sent + 0.001, partial(self.crash, operator))
            return None
        if kind in ("lost", "late"):
            answered = now + rng.uniform(2, 15)
            landed = sent if kind == "lost" else rng.uniform(answered, now + LATEST_LANDING)
            beyond = self.chaos.beyond if (kind, name) == ("late", "run_task") else 0.0
            if beyond and rng.random() < beyond:
                kind, landed = "beyond", now + rng.uniform(LATEST_LANDING, LATEST_BEYOND)
            if writes:
                self.timeline.at(landed, partial(self._effect, operator, call, kind))
            self.timeline.at(answered, partial(operator.answer, job, None, _silence(name)))
            return None
        if kind == "slow":
            sent = now + rng.uniform(0.5, 13)
        if kind in ("refused", "throttled", "unsent"):
            error = _silence(name) if kind == "unsent" else _not_done(kind)
        if name in LEASES and sent - now > call.arguments[-1]:
            error = OutcomeUnknown("simulated: later than asked for")
        if error is not None:
            self.log(operator.name, f"{name} {kind or 'DOWN'}", call)
            self.timeline.at(sent, partial(operator.answer, job, None, error))
            return None
        self.timeline.at(sent, partial(self._serve, operator, job, call, kind))
        return None

    def _refusal(self, operator: Operator, name: str) -> FractalError | None:
        down = self.down
        if name in KUBE:
            return Unavailable("the API server is down") if "kube" in down else None
        if name in LEDGER:
            return Unavailable("the database is down") if "database" in down else None
        if name in ECS_WRITES | QUEUE and not operator.leads():
            return Unavailable("not leading")  # as AwsEcs and SqsEvents do
        if name in QUEUE:
            return None
        if "access" in down:
            return AccessDenied("simulated", code="AccessDeniedException")
        return Unavailable("ECS is down") if "ecs" in down else None

    def _fault(self, name: str) -> str:
        if self.noting:
            return self.plan.get(self.calls) or self.plan.get((name, self._called[name]), "")
        draw = self.rng.random() / WEIGHT.get(name, 1.0)
        for kind, rate in self.chaos.rates.items():
            draw -= rate
            if draw < 0:
                return kind
        return ""

    def _effect(self, operator: Operator, call: Pending, kind: str) -> None:
        self._land(operator, call, kind)

    def _serve(self, operator: Operator, job: Job, call: Pending, kind: str) -> None:
        value, error = self._land(operator, call, kind)
        operator.answer(job, value, error)

    def _land(
        self, operator: Operator, call: Pending, kind: str
    ) -> tuple[Any, FractalError | None]:
        """The call happens, whether or not anybody hears of it."""
        self.ecs.reader, self.landing = operator.clock, kind
        if call.method == "run_task":
            self.notes.meets(call.arguments[0])
        if call.method in ("write_status", "post_event", "write"):
            self.watch.shows(call.arguments[-1])
        try:
            self.quotas.spend(call.method)
            value = self._stale_list() if call.method == "list" else call.do()
        except FractalError as error:
            self.notes.refused(error)
            self.notes.sometimes["throttled by a full bucket"] += isinstance(error, Throttled)
            self.log(operator.name, f"{call.method} {kind}! {error}", call)
            return None, error
        if call.method in WRITES:
            self.writes += call.method in NOTABLE and not _of_the_broken(call)
            self.watch.landed(operator, call, value)
        self.log(operator.name, f"{call.method} {kind}".strip(), call)
        return value, None

    def _stale_list(self) -> Any:
        if self.rng.random() < self.chaos.stale_list:
            age = self.rng.random() * self.chaos.list_age
            return self.kube.list_of(self.clock.monotonic() - age)
        return self.kube.list()

    # --- the API server's past ---

    def restore(self, age: float, *, bumped: bool) -> None:
        """etcd is restored from a backup ``age`` seconds old; watches begin anew.

        Bounds: what was made since then is gone without a word, so its tasks count as leaked by
        force (the reaper's); ``bumped``: versions go on above all known ones, else they go back.
        """
        self.log("world", f"etcd as it was {age:.0f} s ago", "bumped" if bumped else "")
        for body in self.kube.restore(self.clock.monotonic() - age, bumped=bumped):
            self._changed("", body)
        self.notes.restored()

    # --- the watch ---

    def _changed(self, kind: str, body: Body) -> None:
        self.notes.changed(kind, body)
        if kind == "DELETED":
            self.freed(ObjectKey(body["metadata"]["namespace"], body["metadata"]["name"]))
        chaos, rng = self.chaos, self.rng
        if "watch" in self.down:
            return
        for operator in self.operators:
            if operator is None:
                continue
            for _ in range(1 + (rng.random() < chaos.watch_double)):
                if rng.random() >= chaos.watch_drop:
                    pause = 0.01 + rng.random() * chaos.watch_delay
                    self.timeline.after(pause, partial(operator.hear, kind, body))
