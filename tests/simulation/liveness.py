"""L1, L2, L3 and L6: whether the world is what the users asked for last. It has to become so."""

from typing import TYPE_CHECKING

from tests.simulation import rows
from tests.simulation.faults import BROKEN
from tests.simulation.notes import origin_of
from tests.unit.shell.ecs_world import MAIN
from tests.unit.shell.kube_world import Body

from fractal_models.container import Phase
from fractal_models.observed import TaskArn
from fractal_operator.core import tokens

if TYPE_CHECKING:
    from tests.simulation.world import World


def unsettled(world: "World") -> str:
    """Why the world is not yet what the users asked for last ("": it is)."""
    notes = world.notes
    for body in world.kube.objects.values():
        why = _unlike(world, body) if body["metadata"]["name"] != BROKEN else ""
        if why:
            return f"{body['metadata']['name']} ({body['metadata']['uid'][-3:]}): {why}"
    for uid in notes.wants:
        if notes.object(uid) is not None:
            continue
        live = [arn for arn in world.ecs.owned(uid) if arn not in world.ecs.retained]
        if uid in notes.forced:
            live = [arn for arn in live if _reapable(world, arn)]
        if live:
            return f"{'L3' if uid in notes.forced else 'L2'}: {live} of {uid} leaked"
    return rows.unlike(world)


def findable(world: "World", uid: str) -> list[TaskArn]:
    """The live tasks of an object that anything tells of.

    Bound (docs/safety.md): after a restore of etcd, or a launch outside the bounds, a task may live
    in a cluster that no object names any more; only its row tells of it, if it was ever written.
    """
    live = world.ecs.owned(uid)
    if uid not in world.notes.strayed:
        return live
    rows, there = world.ledger.containers, _looked_at(world)
    return [arn for arn in live if arn in rows or world.ecs.tasks[arn].cluster_arn in there]


def _looked_at(world: "World") -> set[str]:
    """The clusters that are swept, or will be: those that objects, live rows or processes know."""
    attempts = [world.notes.status(body).attempt for body in world.kube.objects.values()]
    rows = [row.container_id for row in world.ledger.containers.values() if not row.ended]
    known = [each.shell.clusters.all() for each in world.operators if each is not None]
    return {
        MAIN,
        *(each.cluster_arn for each in attempts if each is not None),
        *map(tokens.cluster_of, rows),
        *(cluster.arn for clusters in known for cluster in clusters),
    }


def _reapable(world: "World", arn: TaskArn) -> bool:
    """Whether the reaper promises to stop an orphan: not if it was adopted, nor without any
    object, nor in a cluster that nothing leads to any more."""
    task, objects = world.ecs.tasks[arn], world.kube.objects
    return bool(origin_of(task.started_by)[0] and objects and task.cluster_arn in _looked_at(world))


def _unlike(world: "World", body: Body) -> str:
    """L1, L2, L6 of one object."""
    meta, spec, status = body["metadata"], body["spec"], world.notes.status(body)
    uid, live = meta["uid"], findable(world, meta["uid"])
    if "deletionTimestamp" in meta:
        return "L2: it is still being deleted"
    if status.observed_generation != meta["generation"]:
        return f"L1: generation {meta['generation']} is not observed: {status.message}"
    if spec.get("operatingMode") == "Suspended":
        return "" if not live and status.phase is Phase.SUSPENDED else f"L1: {status.message}"
    # Failed, and nothing ever ran: it was refused, and is tried again.
    finished = status.phase in (Phase.SUCCEEDED, Phase.FAILED) and status.attempt is not None
    if spec.get("restartPolicy", "Always") != "Always" and finished:
        return "" if not live else f"L1: finished, but {live} lives"
    if len(live) != 1:
        return f"L1: {len(live)} live tasks: {status.phase} {status.message}"
    task = world.ecs.tasks[live[0]]
    if status.phase is not Phase.RUNNING or [each.arn for each in status.tasks] != live:
        return f"L1: {live} runs, but the status says {status.phase} {status.message}"
    if task.spec_hash and task.spec_hash != tokens.spec_hash(spec):
        return "L1: a task of an old spec runs"
    now = status.attempt.number if status.attempt else 0
    lost = set(world.notes.intents.get(uid, ())) - {now} - world.notes.ends.get(uid, set())
    lost = lost if uid not in world.notes.wiped else set()
    return f"L6: attempts {sorted(lost)} were never ended" if lost else ""
