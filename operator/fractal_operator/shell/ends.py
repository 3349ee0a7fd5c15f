"""The last row of a task whose end nobody saw (lost, or its cluster is gone) or that was adopted.

A row otherwise follows what ECS shows of a task of ours; of these it shows no more, or not whose.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fractal_models.container import Status, Task, Termination
from fractal_models.observed import ClusterArn, ObservedTask, TaskArn
from fractal_models.records import ContainerRecord
from fractal_operator.core import rows
from fractal_operator.core.claims import launched_for
from fractal_operator.core.plan import Observation


def unseen(
    body: Mapping[str, Any], seen: Observation, new: Status, end: Termination
) -> Iterator[ContainerRecord]:
    """The last rows of an attempt's tasks that were never seen to end, or that were adopted.

    ``seen`` is what the status ``new``, which tells of ``end`` first, was decided on.
    """
    sights = {task.arn: task for task in seen.tasks}
    for entry in seen.status.tasks:
        sight = sights.get(TaskArn(entry.arn))
        if entry.attempt != end.attempt or not entry.arn:
            continue
        if sight is not None and sight.stopped:
            if not launched_for(sight, seen.uid):  # adopted: without its tags it is nobody's soon
                yield rows.container(body, new, sight, end.attempt)
            continue
        yield replace(
            rows.container(body, new, sight or _told(seen, entry), end.attempt),
            state="STOPPED",
            observed_at=seen.now,
            stopped_at=end.finished_at or seen.now,
            stop_code=end.stop_code,
            stopped_reason=end.reason,
            exit_code=end.exit_code,
        )


def _told(seen: Observation, entry: Task) -> ObservedTask:
    """A task as far as the status tells of it, where this process never saw it."""
    attempt = seen.status.attempt
    return ObservedTask(
        arn=TaskArn(entry.arn),
        cluster_arn=ClusterArn(attempt.cluster_arn if attempt else ""),
        observed_at=seen.now,
        last_status="STOPPED",
        desired_status="STOPPED",
        definition_arn=entry.definition_arn,
        started_at=entry.started_at,
    )
