"""One task, seen twice: which sight to believe. Every source passes through here (design rule 18).

Answers arrive late, twice and out of order, from two sources. Order: ``Task.version``, which ECS
raises with each change; where it is missing, the rank in ECS's lifecycle, then the time of sight.
STOPPED is absorbing.
"""

from dataclasses import fields, replace
from datetime import timedelta
from operator import attrgetter

from fractal_models.observed import STATE_RANK, ObservedContainer, ObservedTask

LATEST = timedelta(minutes=16)
"""No answer of ECS comes later: a look that takes so long ends the process (shell/watchdogs.py)."""

_NAMES = [each.name for each in fields(ObservedTask) if each.name != "observed_at"]
_told = attrgetter(*_NAMES)
_matters = attrgetter(*(name for name in _NAMES if name != "version"))


def newer(old: ObservedTask | None, new: ObservedTask) -> ObservedTask:
    """The sight to keep; a sparse answer (a replay of a stopped task) loses no known detail."""
    if old is None:
        return new
    before, after = _order(old), _order(new)
    if after < before or (after == before and _is_late(old, new)):
        return old
    if _told(new) == _told(old):  # nearly every sight: a sweep looks at all tasks once a minute
        return new
    return replace(
        new,
        cluster_arn=new.cluster_arn or old.cluster_arn,
        launch_type=new.launch_type or old.launch_type,
        capacity_provider=new.capacity_provider or old.capacity_provider,
        container_instance_arn=new.container_instance_arn or old.container_instance_arn,
        eni_id=new.eni_id or old.eni_id,
        version=new.version if new.version is not None else old.version,
        definition_arn=new.definition_arn or old.definition_arn,
        started_by=new.started_by or old.started_by,
        spec_hash=new.spec_hash or old.spec_hash,
        created_at=new.created_at or old.created_at,
        started_at=new.started_at or old.started_at,
        stopped_at=new.stopped_at or old.stopped_at,
        stop_code=new.stop_code or old.stop_code,
        stopped_reason=new.stopped_reason or old.stopped_reason,
        health=new.health or old.health,
        containers=_containers(old, new),
        private_ip=new.private_ip or old.private_ip,
        tags=old.tags if new.tags is None else new.tags,
    )


def _containers(old: ObservedTask, new: ObservedTask) -> tuple[ObservedContainer, ...]:
    """The containers of the newer sight; their health from the older one, where it is not told."""
    if all(each.health for each in new.containers):
        return new.containers or old.containers
    known = {each.name: each.health for each in old.containers}
    return tuple(
        replace(each, health=each.health or known.get(each.name, "")) for each in new.containers
    )


def _order(task: ObservedTask) -> tuple[int, int, int]:
    if task.stopped:
        return 1, 0, 0
    version = -1 if task.version is None else task.version
    return 0, version, STATE_RANK.get(task.last_status, 0)


def _is_late(old: ObservedTask, new: ObservedTask) -> bool:
    """Whether ``new``, of the same version, is from before ``old``.

    What would be later than an answer can be comes of a clock that was set back; until that has
    caught up no new tags would be seen. An event may be of any age, but does not tell of tags.
    """
    gap = old.observed_at - new.observed_at
    return gap > timedelta(0) and (gap <= LATEST or new.tags is None)


def changed(old: ObservedTask | None, new: ObservedTask) -> bool:
    """Whether a sight tells anything that an object's reconcile may care about."""
    return old is None or bool(_matters(old) != _matters(new))
