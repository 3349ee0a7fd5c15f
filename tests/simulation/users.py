"""What users do: create, edit, suspend, resume, restart, pause, delete, force, make anew.

They know nothing of the operator: each act is one write to the API server, at any moment.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.faults import BROKEN, UNSTORABLE

from fractal_models.kube import ObjectKey
from fractal_operator.core.annotations import ADOPT, PAUSED

if TYPE_CHECKING:
    from tests.simulation.world import World

SPEC: Mapping[str, Any] = {"taskDefinition": "web", "backoffLimit": 1000}

ACTS = {
    "replace": 4,
    "in-place": 2,
    "suspend": 2,
    "resume": 3,
    "delete": 3,
    "recreate": 2,
    "pause": 1,
    "unpause": 2,
    "restart": 1,
    "touch": 1,
    "back": 1,
    "move": 1,
    "retain": 1,
    "policy": 1,
}
"""What is done to an object that exists, and how often in comparison."""

STRATEGIES = ("Surge", "Surge", "Recreate")
MEDDLING = ("delete", "delete", "recreate", "suspend", "replace", "move")


class Users:
    """Act on the objects of a world, until told to stop; then undo what would hold things up."""

    def __init__(self, world: "World") -> None:
        self.world, self.busy = world, True
        self.keys = [ObjectKey("default", f"fc-{n}") for n in range(world.chaos.objects)]
        self._edits = self._foreign = 0
        self._made_again: set[ObjectKey] = set()
        world.meddle, world.freed = self._meddle, self._freed

    def begin(self) -> None:
        self.world.ecs.put("foreign", "deploy-tool")
        if self.world.chaos.poison:
            kube = self.world.kube
            kube.create(ObjectKey("default", BROKEN), SPEC, deletionTimestamp="some day")
            kube.create(ObjectKey("default", UNSTORABLE), SPEC)
        for key in self.keys:
            self.world.timeline.after(self.world.rng.random() * 30, lambda key=key: self._go(key))  # type: ignore[misc]

    def _go(self, key: ObjectKey) -> None:
        if not self.busy:
            return
        world, rng = self.world, self.world.rng
        self.act(key)
        pause = rng.expovariate(1 / world.chaos.user_pause)
        world.timeline.after(pause if rng.random() < 0.8 else pause / 20, lambda: self._go(key))

    def _meddle(self, uid: str) -> None:
        """Just when an attempt begins, its user changes their mind."""
        world, rng = self.world, self.world.rng
        if self.busy and rng.random() < world.chaos.meddling:
            pause = rng.choice((0.05, 1.0, 20.0)) * rng.random()
            act = rng.choice(MEDDLING)
            world.timeline.after(pause, lambda: self._change_mind(uid, act))

    def _change_mind(self, uid: str, act: str) -> None:
        for key, body in [*self.world.kube.objects.items()]:
            if body["metadata"]["uid"] == uid and "deletionTimestamp" not in body["metadata"]:
                self.do(act, key)

    def act(self, key: ObjectKey) -> None:
        kube, rng = self.world.kube, self.world.rng
        body = kube.objects.get(key)
        if body is None:
            kube.create(key, self._spec(), **self._wish())
        elif "deletionTimestamp" in body["metadata"]:
            if self.world.chaos.force and rng.random() < 0.2:
                self._force(key)
        else:
            chaos = self.world.chaos
            names = [*ACTS, *("force",) * chaos.force, *("wipe",) * chaos.wipe]
            names += ["strategy"] * chaos.surge
            self.do(rng.choices(names, [ACTS.get(name, 2) for name in names])[0], key)

    def do(self, act: str, key: ObjectKey) -> None:
        """One act on an object that exists."""
        kube = self.world.kube
        self._edits += 1
        stamp = str(self._edits)
        match act:
            case "replace":
                kube.edit(key, environment=[{"name": "EDIT", "value": stamp}])
            case "back":
                kube.unset(key, "environment")
            case "move":
                kube.edit(key, cluster=self.world.rng.choice(("main", "other")))
            case "in-place":
                kube.edit(key, user=f"user-{stamp}")
            case "policy":
                kube.edit(key, restartPolicy=self.world.rng.choice(("Always", "OnFailure")))
            case "surge":
                kube.edit(key, updateStrategy="Surge")
            case "strategy":
                kube.edit(key, updateStrategy=self.world.rng.choice(STRATEGIES))
            case "suspend":
                kube.edit(key, operatingMode="Suspended")
            case "resume":
                kube.edit(key, operatingMode="Running")
            case "retain":
                kube.edit(key, deletionPolicy=self.world.rng.choice(("Retain", "Delete")))
            case "pause":
                kube.annotate(key, paused="true")
            case "unpause":
                kube.annotate(key, paused="false")
            case "restart":
                kube.annotate(key, restart_requested_at=stamp)
            case "touch":
                kube.annotate(key, reconcile_requested_at=stamp)
            case "wipe":
                self.world.notes.wipes(kube.objects[key]["metadata"]["uid"])
                kube.wipe(key)
            case "delete" | "recreate":
                if act == "recreate":
                    self._made_again.add(key)
                kube.delete(key)
            case _:
                self._force(key)

    def _freed(self, key: ObjectKey) -> None:
        """A name is free: whoever waits for it to make a namesake does so at once."""
        if key in self._made_again:
            pause = self.world.rng.random() * 0.2
            self.world.timeline.after(pause, lambda: self._make_again(key))

    def _make_again(self, key: ObjectKey) -> None:
        if key in self._made_again and key not in self.world.kube.objects:
            self._made_again.discard(key)
            self.world.kube.create(key, self._spec(), **self._wish())

    def _force(self, key: ObjectKey) -> None:
        self.world.notes.forces(self.world.kube.objects[key]["metadata"]["uid"])
        self.world.kube.force_delete(key)

    def _wish(self) -> dict[str, Any]:
        """Sometimes an object shall take over a task that runs already."""
        world = self.world
        if not world.chaos.adopt or world.rng.random() < 0.5:
            return {}
        self._foreign += 1
        arn = world.ecs.put(f"foreign-{self._foreign}", "deploy-tool")
        return {"annotations": {ADOPT: arn}}

    def _spec(self) -> dict[str, Any]:
        self._edits += 1
        chosen: dict[str, Any] = {}
        if self.world.chaos.surge:
            chosen["updateStrategy"] = self.world.rng.choice(STRATEGIES)
        return {**SPEC, "environment": [{"name": "MADE", "value": str(self._edits)}], **chosen}

    def rest(self) -> None:
        """No more edits; what is paused is unpaused, so that it may become what was asked for."""
        self.busy = False
        self._made_again.clear()
        for key, body in [*self.world.kube.objects.items()]:
            if "deletionTimestamp" in body["metadata"]:
                continue
            annotations = body["metadata"].get("annotations", {})
            if annotations.get(PAUSED) == "true":
                self.do("unpause", key)
            if annotations.get(ADOPT):
                self.world.kube.annotate(key, adopt="")  # it may have been refused
