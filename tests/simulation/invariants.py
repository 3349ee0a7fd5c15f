"""What must hold, whatever fails. This page is the specification; the rest is tools.

Everything is counted at the fakes, in the true world, never in what an operator believes.

Safety, looked at whenever something happens:
    S1  an object (uid) never has two live tasks; an attempt of it is launched once, ever
    S2  nothing is launched for an object without our finalizer and a recorded intent of that number
    S3  a task is stopped only if it is ours, and only after a cause: an edit, a suspension, a
        deletion, a wished restart, a newer task, a time limit
    S4  the finalizer goes only when the object has no live task, but for a retained one
    S5  attempt.number and observedGeneration never go back, nor does a task in one process's words
    S6  a status calls a task RUNNING only after it was RUNNING
    S8  no status is written that is the stored one; nothing panics; no operator sees a duplicate
Liveness, after the faults have ceased, within an hour:
    L1  an object that shall run has one live task, of the present spec, and its status says so
    L2  a deleted object is gone, and nothing of it lives but what it retains
    L4  PostgreSQL shows each object, and each task, as it is
    L5  then nothing is written any more (two resyncs long)
    L6  each launch has a recorded attempt (S2), each recorded attempt ended or lives
    L7  what runs is what a fresh apply of the last edit runs
Sometimes: the states that a set of runs must have visited, else it proves nothing.

Not here, because the product does not have it yet: the reaper (S4's second half, L3: what a
force-deleted object leaves behind is counted as ``leaked by force`` and not as a fault), Surge.
Not here, because other tests have it: S7 secrets (unit, e2e), S9 poisoned objects (e2e).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.faults import CALL_FAULTS
from tests.unit.shell.kube_world import Body

from fractal_models.container import Phase, Status, Task
from fractal_models.errors import Conflict, FractalError
from fractal_models.observed import STATE_RANK, TaskArn
from fractal_operator.core import tokens
from fractal_operator.core.plan import FINALIZER

if TYPE_CHECKING:
    from tests.simulation.process import Operator
    from tests.simulation.timeline import Pending
    from tests.simulation.world import World

OWN_REASONS = ("did not start", "found no capacity", "reached spec.timeouts")
"""StopTask's reasons that need no cause of the user's."""


SHOWN_AS = {
    Phase.RUNNING: "READY",
    Phase.SUSPENDED: "CANCELLED",
    Phase.SUCCEEDED: "CANCELLED",
    Phase.FAILED: "FAILURE",
}
"""The state of hardware.user_app_state in the phases that a settled object can be in."""

KNOWN_OPEN: Mapping[str, str] = {
    "adoption": "a deletion, a second process or a stale sight while a task is being adopted: "
    "runs have no adoptions",
    "audit by a stale list": "the auditor closes the row of an object that a stale list does not "
    "show, for good",
    "app row behind another clock": "a row written by a process whose clock is behind the last "
    "one's is refused as older, and not offered again",
    "task hidden when the status was wiped": "an object deleted after its status was wiped goes "
    "after one sweep, which does not show a task launched less than 300 s before",
    "row of a restored object": "after a restore of etcd an object's generation is lower than its "
    "row's, which therefore never changes again",
    "row of an ended attempt": "nobody closes the row of a task whose end the recorder's process "
    "did not live to write, and that ECS does not list in the first sweep",
}
"""Bugs of the product that runs may show and yet count as good; ``--strict`` lets them fail."""


SITUATIONS = ("between intent and launch", "between launch and adoption", "during a deletion")
SOMETIMES = (
    *(f"{kind} {situation}" for kind in CALL_FAULTS for situation in SITUATIONS),
    "token replayed",
    "lost race",
    "force-deleted",
)
"""What a large set of runs must have seen; a run that visits nothing of it proves nothing."""


class Violation(BaseException):
    """An invariant does not hold. Not an Exception, so that the product cannot catch it."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Violation(what)


class Watchman:
    """Looks on as things happen, and remembers what later checks need."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.strict = False
        self.sometimes: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        self._ranks: dict[tuple[str, str], int] = {}
        self._parsed: dict[str, tuple[str, Status]] = {}
        self.intents: dict[str, dict[int, float]] = {}  # uid -> attempt -> when it was recorded
        self.ends: dict[str, set[int]] = {}
        self.forced: set[str] = set()
        self.wiped: set[str] = set()  # whose status was taken away, or put back to what it was
        self._launches: Counter[tuple[str, int]] = Counter()
        self._newest: dict[str, tuple[int, int]] = {}
        self._wants: dict[str, list[tuple[float, str, str]]] = {}  # when, what, restart

    # --- S1, S2: launches ---

    def launched(self, arn: TaskArn) -> None:
        world = self.world
        origin = tokens.parse_started_by(world.ecs.tasks[arn].started_by)
        assert origin is not None
        uid, number = origin.uid, origin.attempt
        world.log("ecs", f"launches attempt {number}", arn)
        self._launches[uid, number] += 1
        once = self._launches[uid, number] == 1 or uid in self.wiped
        require(once, f"S1: attempt {number} of {uid} launched twice")
        live = world.ecs.owned(uid)
        require(live == [arn], f"S1: {uid} has {len(live)} live tasks: {live}")
        require(number in self.intents.get(uid, {}), f"S2: no intent {number} for {uid}")
        if uid in self.forced:
            self.sometimes["leaked by force: launched afterwards"] += 1
            return
        body = self._object(uid)
        require(body is not None, f"S2: {arn} launched for {uid}, which is gone")
        assert body is not None
        require(FINALIZER in body["metadata"].get("finalizers", ()), f"S2: {uid} has no finalizer")

    def tagged(self, arn: TaskArn) -> None:
        """A task is adopted."""
        uid = self.world.ecs.owners[arn]
        live = self.world.ecs.owned(uid)
        self.sometimes["adopted"] += 1
        require(len(live) < 2, f"S1: {uid} has {len(live)} live tasks after an adoption: {live}")

    # --- S3: stops ---

    def stops(self, arn: TaskArn, reason: str) -> None:
        world, task = self.world, self.world.ecs.tasks[arn]
        uid = world.ecs.owners[arn]
        world.log("ecs", f"is asked to stop, because {reason!r}", arn)
        require(uid in self._wants, f"S3: {arn} was stopped; it is not ours")
        if not task.live or reason.startswith(OWN_REASONS):
            return
        since = self.intents.get(uid, {}).get(_number(task.started_by), -1.0)
        wants, before = self._wants[uid], 0
        for place, (when, _, _) in enumerate(wants):
            if when <= since:
                before = place
        first = (task.spec_hash, wants[before][2])
        causes = [want for _, *want in wants[before:] if tuple(want) != first]
        newer = any(number > _number(task.started_by) for number in self.intents.get(uid, {}))
        if world.unruled and reason.startswith("superseded"):
            return  # two that both lead, one of them with an old view
        require(causes or newer, f"S3: {arn} of {uid} was stopped without a cause: {reason}")

    # --- S4, S5, S6, S8: writes to Kubernetes ---

    def lands(self, operator: "Operator", call: "Pending") -> None:
        """Before a call has its effect: what it may do to the world as it stands."""
        if call.method == "run_task":
            self._meets(call)

    def landed(self, operator: "Operator", call: "Pending", value: Any) -> None:
        """After it."""
        if call.method == "write_status":
            self._status_written(operator.name, call.arguments[0], value)
        elif call.method == "set_finalizers" and FINALIZER not in call.arguments[1]:
            uid = call.arguments[0]["metadata"]["uid"]
            live = [arn for arn in self.world.ecs.owned(uid) if arn not in self.world.ecs.retained]
            if live and self.open("task hidden when the status was wiped", uid in self.wiped):
                self.forced.add(uid)  # the reaper's
                return
            require(not live, f"S4: the finalizer of {uid} went while {live} lived")

    def _status_written(self, process: str, old: Body, body: Body) -> None:
        before_it = self.status(old)
        uid, status = body["metadata"]["uid"], self.status(body)
        before = self._newest.get(uid, (0, 0))
        number = status.attempt.number if status.attempt else 0
        now = (number, status.observed_generation or 0)
        if uid in self.wiped:
            before = (0, 0)
        require(now[0] >= before[0], f"S5: attempt of {uid} went back from {before[0]} to {now[0]}")
        require(now[1] >= before[1], f"S5: observedGeneration of {uid} went back: {before}, {now}")
        self._newest[uid] = now
        if number and number not in self.intents.setdefault(uid, {}):
            self.intents[uid][number] = self.world.timeline.now
            self.world.meddle(uid)
        self.ends.setdefault(uid, set()).update(end.attempt for end in status.last_terminations)
        for entry in status.tasks:
            ran = TaskArn(entry.arn) in self.world.ecs.ran
            require(ran or entry.last_status != "RUNNING", f"S6: {entry.arn} never ran")
            self._goes_on(process, uid, entry, before_it)

    def _goes_on(self, process: str, uid: str, entry: Task, before: Status) -> None:
        """What a process itself once told of a task it never takes back."""
        rank, known = STATE_RANK[entry.last_status or "PROVISIONING"], (process, entry.arn)
        if not self.world.unruled and uid not in self.wiped:
            back = f"S5: {entry.arn} went back to {entry.last_status}"
            require(rank >= self._ranks.get(known, 0), back)
        if all(each.last_status != entry.last_status for each in before.tasks):
            self._ranks[known] = rank

    def changed(self, kind: str, body: Body) -> None:
        """An object was changed, by whomever: what its user wants is noted, for S3."""
        uid, spec = body["metadata"]["uid"], body["spec"]
        what = tokens.spec_hash(spec) or ""
        if kind == "DELETED" or "deletionTimestamp" in body["metadata"]:
            what = "deleted"
        elif spec.get("operatingMode") == "Suspended":
            what = "suspended"
        restart = body["metadata"].get("annotations", {}).get("fractal.co/restart-requested-at", "")
        wants = self._wants.setdefault(uid, [])
        if not wants or wants[-1][1:] != (what, restart):
            wants.append((self.world.timeline.now, what, restart))
            self.world.log("users", f"want {what} {restart}".strip(), body["metadata"]["name"])

    def wipes(self, uid: str) -> None:
        """A user takes an object's status away."""
        self.wiped.add(uid)
        self.sometimes["status wiped"] += 1

    def restored(self) -> None:
        """etcd is what it was: all may go back, and what was made since then is forgotten."""
        self.sometimes["etcd restored"] += 1
        self.wiped.update(self._wants)
        self._parsed.clear()
        alive = {body["metadata"]["uid"] for body in self.world.kube.objects.values()}
        self.forced.update(uid for uid in self._wants if uid not in alive)
        for body in self.world.kube.objects.values():
            self.forced.discard(body["metadata"]["uid"])
            self.changed("", body)

    def panic(self, name: str, error: Exception | None) -> None:
        raise Violation(f"S8: {name} panics: {error!r}") from error

    def duplicate_seen(self, name: str) -> None:
        raise Violation(f"S1: {name} sees two live tasks of one attempt")

    # --- sometimes ---

    def refused(self, error: FractalError) -> None:
        """A call came to the server, and was refused by it."""
        self.sometimes["lost race"] += isinstance(error, Conflict)

    def struck(self, kind: str, call: "Pending") -> None:
        """A fault strikes a call: note in what situation."""
        self.sometimes[f"{kind} of {call.method}"] += 1
        first = call.arguments[0] if call.arguments else None
        uid = ""
        if call.method == "run_task":
            uid = tokens.parse_started_by(first["startedBy"]).uid  # type: ignore[union-attr,index]
        elif call.method in ("write_status", "set_finalizers"):
            uid = first["metadata"]["uid"]  # type: ignore[index]
        body = self._object(uid) if uid else None
        if body is None:
            return
        status = self.status(body)
        if "deletionTimestamp" in body["metadata"]:
            self.sometimes[f"{kind} during a deletion"] += 1
        if status.attempt and not status.tasks and status.attempt.number not in self.ends[uid]:
            launched = self._launches[uid, status.attempt.number]
            when = "between launch and adoption" if launched else "between intent and launch"
            self.sometimes[f"{kind} {when}"] += 1

    def _meets(self, call: "Pending") -> None:
        request = call.arguments[0]
        origin = tokens.parse_started_by(request["startedBy"])
        assert origin is not None
        if self._launches[origin.uid, origin.attempt]:
            self.sometimes["token replayed"] += 1

    # --- the end ---

    def unsettled(self) -> str:
        """Why the world is not yet what the users asked for last ("": it is)."""
        world = self.world
        for body in world.kube.objects.values():
            why = self._unlike(body)
            if why:
                return f"{body['metadata']['name']} ({body['metadata']['uid'][-3:]}): {why}"
        for uid in self._wants:
            if self._object(uid) is not None or uid in self.forced:
                continue
            live = [arn for arn in world.ecs.owned(uid) if arn not in world.ecs.retained]
            if live:
                return f"L2: {live} of {uid} leaked"
        return self._rows_unlike()

    def _unlike(self, body: Body) -> str:
        """L1, L2, L6 of one object."""
        uid, meta, status = (
            body["metadata"]["uid"],
            body["metadata"],
            Status.from_json(body.get("status")),
        )
        live = self.world.ecs.owned(uid)
        if "deletionTimestamp" in meta:
            return "L2: it is still being deleted"
        if status.observed_generation != meta["generation"]:
            return f"L1: generation {meta['generation']} is not observed: {status.message}"
        if body["spec"].get("operatingMode") == "Suspended":
            return "" if not live and status.phase is Phase.SUSPENDED else f"L1: {status.message}"
        if body["spec"].get("restartPolicy", "Always") != "Always" and status.phase in (
            Phase.SUCCEEDED,
            Phase.FAILED,
        ):
            return "" if not live else f"L1: finished, but {live} lives"
        if len(live) != 1:
            return f"L1: {len(live)} live tasks: {status.phase} {status.message}"
        task = self.world.ecs.tasks[live[0]]
        if status.phase is not Phase.RUNNING or [each.arn for each in status.tasks] != live:
            return f"L1: {live} runs, but the status says {status.phase} {status.message}"
        if task.spec_hash and task.spec_hash != tokens.spec_hash(body["spec"]):
            return "L1: a task of an old spec runs"
        numbers = set(self.intents.get(uid, ())) - {status.attempt.number if status.attempt else 0}
        lost = numbers - self.ends[uid] if uid not in self.wiped else ()
        return f"L6: attempts {sorted(lost)} were never ended" if lost else ""

    def _rows_unlike(self) -> str:
        """L4: PostgreSQL shows objects and tasks as they are."""
        return next(filter(None, (*self._apps_unlike(), *self._containers_unlike())), "")

    def _apps_unlike(self) -> Iterator[str]:
        world, ledger = self.world, self.world.ledger
        alive = {body["metadata"]["uid"]: body for body in world.kube.objects.values()}
        for uid, body in alive.items():
            phase, row = self.status(body).phase, ledger.apps.get(uid)
            state = row.state if row is not None else "wanting"
            if row is not None and row.deleted:
                if self.open("row of a restored object", uid in self.wiped):
                    continue
                if not self.open("audit by a stale list", world.began.stale_list > 0):
                    yield f"L4: {uid} exists, its row is closed"
            elif state != SHOWN_AS.get(phase or Phase.PENDING):
                if self.open("row of a restored object", uid in self.wiped):
                    continue
                skewed = world.began.operators > 1
                if not self.open("app row behind another clock", skewed and row is not None):
                    yield f"L4: {uid} is {phase}, its row {state}"
        for uid, row in ledger.apps.items():
            if uid not in alive and not row.deleted:
                yield f"L4: the row of {uid} is not closed"

    def _containers_unlike(self) -> Iterator[str]:
        for arn, row in self.world.ledger.containers.items():
            task = self.world.ecs.tasks.get(TaskArn(arn))
            if row.uid in self.forced or arn in self.world.ecs.retained:
                continue
            lives = task is not None and task.live
            if lives != (row.state not in ("STOPPED", "FAILED")):
                ended = not lives and row.attempt in self.ends.get(row.uid, ())
                app = self.world.ledger.apps.get(row.uid)
                closed = lives and app is not None and app.deleted
                if closed and self.open("row of a restored object", row.uid in self.wiped):
                    continue
                if closed and self.open("audit by a stale list", self.world.began.stale_list > 0):
                    continue
                if not self.open("row of an ended attempt", ended):
                    shown = task.last_status if task is not None else "gone"
                    yield f"L4: {arn} is {shown}, its row {row.state}"

    def open(self, name: str, applies: bool) -> bool:
        """Whether what was found is a known, open bug of the product; counted as such."""
        known = applies and name in KNOWN_OPEN and not self.strict
        if known:
            self.known[name] += 1
        return known

    def status(self, body: Body) -> Status:
        """An object's status, parsed once a version."""
        uid, version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
        known = self._parsed.get(uid)
        if known is None or known[0] != version:
            known = self._parsed[uid] = version, Status.from_json(body.get("status"))
        return known[1]

    def _object(self, uid: str) -> Body | None:
        return next(
            (b for b in self.world.kube.objects.values() if b["metadata"]["uid"] == uid), None
        )


def _number(started_by: str) -> int:
    origin = tokens.parse_started_by(started_by)
    return origin.attempt if origin else 0
