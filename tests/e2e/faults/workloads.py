"""What users do in a run: each workload is prepared undisturbed, and then done while a call of it
is struck. It ends when the operator says that all is as it shall be."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.faults.parts import until
from tests.e2e.stack import Obj, World, container


@dataclass
class Play:
    """A world, and the objects made in it so far."""

    world: World
    uids: dict[str, str] = field(default_factory=dict)
    """By label: the name, and for a namesake made later "<name> again"."""
    surges: dict[str, float] = field(default_factory=dict)
    """By uid: since when two tasks may live at once, as Unix time."""

    def create(self, name: str = "ada", **changes: Any) -> None:
        template = dict(container()["template"])
        # An image of its own: a task definition that another run registered would be shared.
        template["image"] = f"registry.example.com/{self.world.name}:1"
        made = self.world.create(name, container(template=template) | changes)
        label = f"{name} again" if name in self.uids else name
        self.uids[label] = made["metadata"]["uid"]

    def ready(self, name: str = "ada", tasks: int = 1) -> None:
        """Wait until the object, as it is now, is Ready with its ``tasks``-th task."""

        def there() -> bool:
            found = self.world.get(name)
            if found is None:
                return False
            status = found.get("status") or {}
            ready = [
                each
                for each in status.get("conditions", ())
                if each["type"] == "Ready"
                and each["status"] == "True"
                and each["observedGeneration"] == found["metadata"]["generation"]
            ]
            return bool(ready) and len(self.world.tasks(found["metadata"]["uid"])) >= tasks

        until(there, f"{name} is Ready with task {tasks}")

    def alone(self, name: str = "ada", tasks: int = 1) -> None:
        """Wait until only one is left of ``tasks``."""

        def only() -> bool:
            found = self.world.tasks(self.uids[name])
            return len(found) >= tasks and sum(each["live"] for each in found) == 1

        until(only, f"{name} has one task left of {tasks}")

    def phase(self, phase: str, name: str = "ada") -> None:
        """Wait for a phase."""
        until(lambda: self.world.status(name).get("phase") == phase, f"{name} is {phase}")

    def gone(self, name: str = "ada") -> None:
        """Wait until the object is gone."""
        until(lambda: self.world.get(name) is None, f"{name} is gone")

    def task(self, name: str = "ada") -> Obj:
        """The live task of an object."""
        [found] = self.world.tasks(self.uids[name], live=True)
        return found

    def delete(self, name: str = "ada") -> None:
        self.world.objects.delete_namespaced_custom_object(
            "fractal.co", "v1alpha1", self.world.namespace, "fractalcontainers", name
        )


def nothing(play: Play) -> None:
    """No preparation."""


def create(play: Play) -> None:
    play.create()
    play.ready()


def update(play: Play) -> None:
    play.world.patch("ada", spec={"dpi": 200})
    play.ready(tasks=2)


def create_surging(play: Play) -> None:
    play.create(updateStrategy="Surge")
    play.ready()


def surge(play: Play) -> None:
    play.surges[play.uids["ada"]] = time.time()
    update(play)
    play.alone(tasks=2)


def dies(play: Play) -> None:
    play.world.ecs.stop_task(play.task()["taskArn"], exit_code=1)
    play.ready(tasks=2)


def suspend(play: Play) -> None:
    play.world.patch("ada", spec={"operatingMode": "Suspended"})
    play.phase("Suspended")
    play.world.patch("ada", spec={"operatingMode": "Running"})
    play.ready(tasks=2)


def delete(play: Play) -> None:
    play.delete()
    play.gone()


def recreate(play: Play) -> None:
    delete(play)
    create(play)


def create_retained(play: Play) -> None:
    play.create(deletionPolicy="Retain")
    play.ready()


def create_short(play: Play) -> None:
    play.create(restartPolicy="Never", timeouts={"ttlSecondsAfterFinished": 0})
    play.ready()


def expire(play: Play) -> None:
    play.world.ecs.stop_task(play.task()["taskArn"], exit_code=0)
    play.gone()


@dataclass(frozen=True, slots=True)
class Workload:
    """``tasks`` live at the end, by design."""

    name: str
    prepare: Callable[[Play], None]
    act: Callable[[Play], None]
    tasks: int = 1


WORKLOADS = {
    each.name: each
    for each in (
        Workload("create", nothing, create),
        Workload("update", create, update),
        Workload("surge", create_surging, surge),
        Workload("dies", create, dies),
        Workload("suspend", create, suspend),
        Workload("delete", create, delete, tasks=0),
        Workload("recreate", create, recreate),
        Workload("retain", create_retained, delete),
        Workload("expire", create_short, expire, tasks=0),
    )
}
