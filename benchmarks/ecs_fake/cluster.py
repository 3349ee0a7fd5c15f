"""An ECS cluster of the fake, with Fargate's capacity providers."""

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.ecs_fake.task import Task

PROVIDERS = ("FARGATE", "FARGATE_SPOT")


@dataclass(slots=True, eq=False)
class Cluster:
    """A cluster; its tasks are in order of their creation."""

    name: str
    arn: str
    status: str = "ACTIVE"
    tasks: list[Task] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)

    @property
    def capacity_providers(self) -> tuple[str, ...]:
        """Fargate's, with every cluster."""
        return PROVIDERS

    @property
    def default_capacity_provider_strategy(self) -> list[dict[str, Any]]:
        """None is set."""
        return []

    def after(self, seq: int) -> Iterator[Task]:
        """The tasks whose number is above ``seq``."""
        return itertools.islice(self.tasks, bisect_right(self.seqs, seq), None)
