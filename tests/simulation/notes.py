"""What has happened in a run, counted at the fakes: the checks of invariants.py look it up here."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.unit.shell.kube_world import Body

from fractal_models.container import Status
from fractal_models.errors import Conflict, FractalError
from fractal_operator.core import tokens
from fractal_operator.core.plan import FINALIZER

if TYPE_CHECKING:
    from tests.simulation.timeline import Pending
    from tests.simulation.world import World

RESTARTED = "fractal.co/restart-requested-at"


class Notes:
    """``intents``: uid -> attempt -> when its intent was recorded. ``ends``: uid -> attempts that
    a status called ended. ``wants``: uid -> (when, what its user wanted from then on, restart).
    ``launches``: how often an attempt (uid, number) was launched; ``held``: those whose task a
    status has named. ``forced``: uids whose objects were taken away by force, or of which a task
    ``strayed`` in outside the bounds: what they leave is the reaper's. ``wiped``: those whose
    status was taken away, or put back to what it had been. ``sometimes``: what was visited."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.intents: dict[str, dict[int, float]] = {}
        self.ends: dict[str, set[int]] = {}
        self.wants: dict[str, list[tuple[float, str, str]]] = {}
        self.launches: Counter[tuple[str, int]] = Counter()
        self.held: set[tuple[str, int]] = set()
        self.forced: set[str] = set()
        self.strayed: set[str] = set()
        self._bared: set[str] = set()
        self.wiped: set[str] = set()
        self.sometimes: Counter[str] = Counter()
        self._parsed: dict[int, tuple[Body, Status]] = {}

    # --- what there is ---

    def status(self, body: Body) -> Status:
        """An object's status; bodies never change, so each is parsed once."""
        known = self._parsed.get(id(body))
        if known is None:
            known = self._parsed[id(body)] = body, Status.from_json(body.get("status"))
        return known[1]

    def object(self, uid: str) -> Body | None:
        """The object with a uid, None if it is gone."""
        objects = self.world.kube.objects.values()
        return next((body for body in objects if body["metadata"]["uid"] == uid), None)

    # --- what happens ---

    def changed(self, kind: str, body: Body) -> None:
        """An object was changed, by whomever: note what its user wants."""
        uid, spec = body["metadata"]["uid"], body["spec"]
        what = tokens.spec_hash(spec) or ""
        if kind == "DELETED" or "deletionTimestamp" in body["metadata"]:
            what = "deleted"
            self.sometimes["database down during a deletion"] += "database" in self.world.down
        elif spec.get("operatingMode") == "Suspended":
            what = "suspended"
        restart = body["metadata"].get("annotations", {}).get(RESTARTED, "")
        if FINALIZER in body["metadata"].get("finalizers", ()):
            self._bared.discard(uid)
        elif kind == "DELETED" and uid in self._bared:
            self.forced.add(uid)
        wants = self.wants.setdefault(uid, [])
        if not wants or wants[-1][1:] != (what, restart):
            wants.append((self.world.timeline.now, what, restart))
            self.world.log("users", f"want {what} {restart}".strip(), body["metadata"]["name"])

    def said(self, process: str, uid: str, status: Status) -> None:
        """A status was written by a process."""
        attempt = status.attempt
        if attempt and any(task.attempt == attempt.number for task in status.tasks):
            known = uid, attempt.number
            taken = known not in self.held and attempt.issued_by != process
            self.sometimes["adopted after a crash"] += taken
            self.held.add(known)
        number = status.attempt.number if status.attempt else 0
        if number and number not in self.intents.setdefault(uid, {}):
            self.intents[uid][number] = self.world.timeline.now
            self.world.meddle(uid)
        self.ends.setdefault(uid, set()).update(end.attempt for end in status.last_terminations)

    def forces(self, uid: str) -> None:
        """A user takes an object away with all its finalizers."""
        self.forced.add(uid)
        self.sometimes["force-deleted"] += 1

    def strays(self, uid: str) -> None:
        """A launch comes later than the bounds of docs/safety.md allow: no wait can cover it."""
        self.strayed.add(uid)
        self.forced.add(uid)
        self.sometimes["launched outside the bounds"] += 1

    def wipes(self, uid: str) -> None:
        """A user takes an object's status away."""
        self.wiped.add(uid)
        self.sometimes["status wiped"] += 1

    def restored(self) -> None:
        """etcd is what it was: all may go back, and what was made since then is forgotten."""
        self.sometimes["etcd restored"] += 1
        self.wiped.update(self.wants)
        bodies = self.world.kube.objects.values()
        self.forced.update(self.wants)
        self.forced.difference_update(body["metadata"]["uid"] for body in bodies)
        for body in bodies:
            uid, attempt = body["metadata"]["uid"], self.status(body).attempt
            if max(self.intents.get(uid, ()), default=0) > (attempt.number if attempt else 0):
                # It does not tell of its last launch, and the next process cannot know of it.
                self.strayed.add(uid)
                self.forced.add(uid)
            self._bared.add(body["metadata"]["uid"])  # maybe without the finalizer that it had
            self.changed("", body)

    def refused(self, error: FractalError) -> None:
        """A call came to the server, and was refused by it."""
        self.sometimes["lost race"] += isinstance(error, Conflict)

    def struck(self, kind: str, call: "Pending") -> None:
        """A fault strikes a call: note in what situation."""
        self.sometimes[f"{kind} of {call.method}"] += 1
        uid = _about(call)
        body = self.object(uid) if uid else None
        if body is None:
            return
        status = self.status(body)
        if "deletionTimestamp" in body["metadata"]:
            self.sometimes[f"{kind} during a deletion"] += 1
        if status.attempt and not status.tasks and status.attempt.number not in self.ends[uid]:
            launched = self.launches[uid, status.attempt.number]
            when = "between launch and adoption" if launched else "between intent and launch"
            self.sometimes[f"{kind} {when}"] += 1

    def meets(self, request: Any) -> None:
        """RunTask arrives."""
        uid, number = origin_of(request["startedBy"])
        self.sometimes["token replayed"] += self.launches[uid, number] > 0


def origin_of(started_by: str) -> tuple[str, int]:
    """The object (uid, "" if it is none of ours) and the attempt that launched a task."""
    origin = tokens.parse_started_by(started_by)
    return (origin.uid, origin.attempt) if origin else ("", 0)


def _about(call: "Pending") -> str:
    """The uid of the object that a call is about, "" if that cannot be told."""
    if call.method == "run_task":
        return origin_of(call.arguments[0]["startedBy"])[0]
    if call.method in ("write_status", "set_finalizers"):
        return str(call.arguments[0]["metadata"]["uid"])
    return ""
