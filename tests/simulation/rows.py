"""L4: PostgreSQL shows objects and tasks as they are."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from tests.simulation.faults import BROKEN, UNSTORABLE

from fractal_models.container import Phase
from fractal_models.observed import TaskArn

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOWN_AS = {
    Phase.RUNNING: "READY",
    Phase.SUSPENDED: "CANCELLED",
    Phase.SUCCEEDED: "CANCELLED",
    Phase.FAILED: "FAILURE",
}
"""The state of hardware.user_app_state in the phases that a settled object can be in."""


def unlike(world: "World") -> str:
    """The first row that does not show what is ("": none)."""
    return next(chain(_apps(world), _containers(world)), "")


def _apps(world: "World") -> Iterator[str]:
    ledger, notes = world.ledger, world.notes
    alive = {body["metadata"]["uid"]: body for body in world.kube.objects.values()}
    for uid, body in alive.items():
        if body["metadata"]["name"] in (BROKEN, UNSTORABLE):
            continue
        phase, row = notes.status(body).phase, ledger.apps.get(uid)
        state = row.state if row is not None else "wanting"
        if row is not None and row.deleted:
            yield f"L4: {uid} exists, its row is closed"
        elif state != SHOWN_AS.get(phase or Phase.PENDING):
            yield f"L4: {uid} is {phase}, its row {state}"
        elif row is not None and row.generation != body["metadata"]["generation"]:
            yield f"L4: the row of {uid} tells of generation {row.generation}"
    for uid, row in ledger.apps.items():
        if uid not in alive and not row.deleted:
            yield f"L4: the row of {uid} is not closed"


def _containers(world: "World") -> Iterator[str]:
    notes = world.notes
    alive = {each["metadata"]["uid"]: each["metadata"] for each in world.kube.objects.values()}
    for arn, row in world.ledger.containers.items():
        task = world.ecs.tasks.get(TaskArn(arn))
        if row.uid in notes.forced or arn in world.ecs.retained:
            continue
        lives = task is not None and task.live
        if lives != (row.state not in ("STOPPED", "FAILED")):
            shown = task.last_status if task is not None else "gone"
            yield f"L4: {arn} is {shown}, its row {row.state}"
        elif lives and row.uid in alive and row.generation != alive[row.uid]["generation"]:
            yield f"L4: the row of {arn} tells of generation {row.generation}"
