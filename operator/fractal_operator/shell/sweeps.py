"""Which clusters are looked at when: each by itself, and the unknown ones only a few at a time.

Anybody can make up names of clusters and regions, and each costs calls and threads until ECS has
said that it knows none. So a cluster that was never swept is a newcomer: newcomers take turns, and
leave every region most of its share of the threads, in which launches are sent, too. Those where
tasks of ours may be (``held``) take turns among themselves.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from fractal_operator.shell.clusters import Cluster

NEWCOMERS = 8
"""How many clusters that were never swept are tried at a time; and as many of the held ones."""

NEWCOMERS_OF_REGION = 2
"""How many of them in one region."""


class Running:
    """The tasks that look at clusters, one a cluster, so that none waits for another."""

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[Cluster, asyncio.Task[None]]] = {}

    def clusters(self) -> list[Cluster]:
        """Those that are being looked at. Raises what a task has raised that has ended."""
        for key, (_, task) in tuple(self._tasks.items()):
            if task.done():
                del self._tasks[key]
                task.result()
        return [cluster for cluster, _ in self._tasks.values()]

    def start(self, cluster: Cluster, look: Coroutine[Any, Any, None]) -> None:
        self._tasks[id(cluster)] = (cluster, asyncio.create_task(look))


def admitted(due: Iterable[Cluster], running: Iterable[Cluster]) -> list[Cluster]:
    """Those of ``due`` that may be swept now, beside those that are.

    All that were swept before; and of the newcomers those whose last try is longest ago, first of
    all those without one.
    """
    newcomers = [each for each in running if each.swept_since is None]
    chosen: list[Cluster] = []
    for cluster in sorted(due, key=_tried):
        if cluster.swept_since is None:
            rivals = [each for each in newcomers if each.held == cluster.held]
            there = sum(each.region == cluster.region for each in rivals)
            if len(rivals) >= NEWCOMERS or there >= NEWCOMERS_OF_REGION:
                continue
            newcomers.append(cluster)
        chosen.append(cluster)
    return chosen


def _tried(cluster: Cluster) -> float:
    return float("-inf") if cluster.swept_at is None else cluster.swept_at
