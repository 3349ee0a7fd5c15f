"""What must hold, whatever fails. This page is the specification; the rest is tools.

Everything is counted at the fakes, in the true world, never in what an operator believes.

Safety, looked at whenever something happens:
    S1  an object (uid) never has two live tasks, or three where the newest was launched under
        updateStrategy Surge; an attempt of it is launched once, ever
    S2  nothing is launched for an object without our finalizer and a recorded intent of that number
    S3  a task is stopped only if it is ours, and only after a cause: an edit, a suspension, a
        deletion, a wished restart, a newer task, a time limit; under Surge one that runs makes
        way only for one that runs (surges.py)
    S4  the finalizer goes only when the object has no live task, but for a retained one; so the
        reaper finds only what a deletion by force, or a restored etcd, left behind
    S5  attempt.number and observedGeneration never go back, nor does a task in one process's words
    S6  a status calls a task RUNNING only after it was RUNNING
    S7  what errors tell of passwords and keys stands in no status, Event or row
    S8  no status is written that is the stored one; nothing panics; no operator sees a duplicate
    S9  an object that cannot be reconciled, or whose rows PostgreSQL refuses, delays no other
Liveness, after the faults have ceased, within an hour (liveness.py):
    L1  an object that shall run has one live task, of the present spec, and its status says so
    L2  a deleted object is gone, and nothing of it lives but what it retains
    L3  what objects deleted by force leave behind is stopped, where a sweep can find it
    L4  PostgreSQL shows each object, and each task, as it is (rows.py)
    L5  then nothing is written any more (two resyncs long)
    L6  each launch has a recorded attempt (S2), each recorded attempt ended or lives
    L7  what stands in the end is what a fresh apply of the last edit comes to (fresh.py)
Sometimes (sometimes.py): the states that runs must have visited, else they prove nothing.
"""

from typing import TYPE_CHECKING, Any

from tests.simulation.faults import BROKEN, CANARY
from tests.simulation.notes import Notes, origin_of
from tests.simulation.surges import Surges
from tests.unit.shell.kube_world import Body

from fractal_models.container import Status, Task
from fractal_models.kube import ObjectKey
from fractal_models.observed import STATE_RANK, TaskArn
from fractal_operator.core.plan import FINALIZER

if TYPE_CHECKING:
    from tests.simulation.process import Operator
    from tests.simulation.timeline import Pending
    from tests.simulation.world import World

ORPHANED = "is gone"
"""How the reaper's reason ends."""

OWN_REASONS = ("did not start", "found no capacity", "reached spec.timeouts")
"""StopTask's reasons that need no cause of the user's."""

MOST_TRIES, BROKEN_AGAIN = 20, 60.0
"""How often one process may try an object that is broken: at first, and then once in a minute."""


class Violation(BaseException):
    """An invariant does not hold. Not an Exception, so that the product cannot catch it."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Violation(what)


class Watchman:
    """Looks on as things happen, and at how they stand in the end."""

    def __init__(self, world: "World", notes: Notes) -> None:
        self.world, self.notes = world, notes
        self.surges = Surges(world, notes)
        self._newest: dict[str, tuple[int, int]] = {}
        self._ranks: dict[tuple[str, str], int] = {}

    # --- S1, S2: launches ---

    def launched(self, arn: TaskArn) -> None:
        world, notes = self.world, self.notes
        uid, number = origin_of(world.ecs.tasks[arn].started_by)
        world.log("ecs", f"launches attempt {number}", arn)
        notes.launches[uid, number] += 1
        if world.landing == "beyond":
            notes.strays(uid)
        if uid in notes.strayed:
            return
        once = notes.launches[uid, number] == 1 or uid in notes.wiped
        require(once, f"S1: attempt {number} of {uid} launched twice")
        live = world.ecs.owned(uid)
        few = len(live) <= self.surges.most(uid, number)
        require(arn in live and few, f"S1: {uid} has {len(live)} live tasks: {live}")
        self.surges.launched(live)
        require(number in notes.intents.get(uid, {}), f"S2: no intent {number} for {uid}")
        if uid in notes.forced:
            notes.sometimes["leaked by force: launched afterwards"] += 1
            return
        body = notes.object(uid)
        finalizers = body["metadata"].get("finalizers", ()) if body is not None else ()
        require(body is not None, f"S2: {arn} launched for {uid}, which is gone")
        require(FINALIZER in finalizers, f"S2: {uid} has no finalizer")

    def tagged(self, arn: TaskArn) -> None:
        """A task is adopted."""
        uid = self.world.ecs.owners[arn]
        live = self.world.ecs.owned(uid)
        self.notes.sometimes["adopted"] += 1
        most = self.surges.most(uid, max(self.notes.intents.get(uid, ()), default=0))
        require(
            len(live) <= most, f"S1: {uid} has {len(live)} live tasks after an adoption: {live}"
        )

    def duplicate_seen(self, name: str) -> None:
        twice = {uid for (uid, _), times in self.notes.launches.items() if times > 1}
        strays = twice & self.notes.strayed
        require(strays, f"S1: {name} sees two live tasks of one attempt")

    # --- S3: stops ---

    def stops(self, arn: TaskArn, reason: str) -> None:
        world, notes, task = self.world, self.notes, self.world.ecs.tasks[arn]
        uid, number = world.ecs.owners[arn], origin_of(task.started_by)[1]
        world.log("ecs", f"is asked to stop, because {reason!r}", arn)
        require(uid in notes.wants, f"S3: {arn} was stopped; it is not ours")
        if not task.live or reason.startswith(OWN_REASONS):
            return
        if reason.endswith(ORPHANED):
            notes.sometimes["reaped"] += 1
            require(uid in notes.forced, f"S4: {arn} of {uid} was left to the reaper")
            require(arn not in world.ecs.retained, f"S3: {arn} was retained, and is reaped")
            return
        since, wants, before = notes.intents.get(uid, {}).get(number, -1.0), notes.wants[uid], 0
        for place, (when, _, _) in enumerate(wants):
            if when <= since:
                before = place
        first = (task.spec_hash, wants[before][2])
        causes = [want for _, *want in wants[before:] if tuple(want) != first]
        newer = any(each > number for each in notes.intents.get(uid, {}))
        if world.unruled and reason.startswith("superseded"):
            return  # two that both lead, one of them with an old view
        require(causes or newer, f"S3: {arn} of {uid} was stopped without a cause: {reason}")

    # --- S4, S5, S6: writes to Kubernetes ---

    def landed(self, operator: "Operator", call: "Pending", value: Any) -> None:
        """A call had its effect."""
        if call.method == "write_status":
            self._status_written(operator.name, call.arguments[0], value)
        elif call.method == "set_finalizers" and FINALIZER not in call.arguments[1]:
            uid = call.arguments[0]["metadata"]["uid"]
            live = [arn for arn in self.world.ecs.owned(uid) if arn not in self.world.ecs.retained]
            stray = uid in self.notes.strayed
            require(stray or not live, f"S4: the finalizer of {uid} went while {live} lived")

    def _status_written(self, process: str, old: Body, body: Body) -> None:
        uid, status = body["metadata"]["uid"], self.notes.status(body)
        before = self._newest.get(uid, (0, 0)) if uid not in self.notes.wiped else (0, 0)
        number = status.attempt.number if status.attempt else 0
        now = self._newest[uid] = (number, status.observed_generation or 0)
        require(now[0] >= before[0], f"S5: attempt of {uid} went back from {before[0]} to {now[0]}")
        require(now[1] >= before[1], f"S5: observedGeneration of {uid} went back: {before}, {now}")
        wrong = self.surges.written(self.notes.status(old), body)
        require(not wrong, wrong)
        self.notes.said(process, uid, status)
        for entry in status.tasks:
            ran = TaskArn(entry.arn) in self.world.ecs.ran
            require(ran or entry.last_status != "RUNNING", f"S6: {entry.arn} never ran")
            self._goes_on(process, uid, entry, self.notes.status(old))

    def _goes_on(self, process: str, uid: str, entry: Task, before: Status) -> None:
        """What a process itself once told of a task it never takes back."""
        rank, known = STATE_RANK[entry.last_status or "PROVISIONING"], (process, entry.arn)
        if not self.world.unruled and uid not in self.notes.wiped:
            back = f"S5: {entry.arn} went back to {entry.last_status}"
            require(rank >= self._ranks.get(known, 0), back)
        if all(each.last_status != entry.last_status for each in before.tasks):
            self._ranks[known] = rank

    # --- S7, S8, S9 ---

    def shows(self, what: object) -> None:
        """A status, an Event or rows are about to be stored."""
        require(CANARY not in str(what), f"S7: a secret stands in {what}")

    def taken(self, key: ObjectKey, waited: float, tries: int) -> None:
        """A process begins to look at an object, for the ``tries``-th time in its life."""
        if key.name == BROKEN:
            most = MOST_TRIES + self.world.timeline.now / BROKEN_AGAIN
            require(tries <= most, f"S9: a broken object was tried {tries} times")
        late = self.world.settled and waited > 1.0
        require(not late, f"S9: {key} had to wait for {waited:.0f} s")

    def panic(self, name: str, error: Exception | None) -> None:
        raise Violation(f"S8: {name} panics: {error!r}") from error
