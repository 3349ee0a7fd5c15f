"""Results of benchmarks.scale as read back: the numbers that tables and plots are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READS = ("cluster resource read",)
READ_QUOTA = 20 * 60
"""DescribeTasks and ListTasks a minute, an account and region (ECS API, "Request throttling")."""
AUDIT_SECONDS = 600.0
"""Between two full looks when events tell the rest."""


@dataclass(frozen=True)
class Run:
    """One run."""

    raw: dict[str, Any]

    @property
    def objects(self) -> int:
        """How many there were."""
        return int(self.raw["options"]["objects"])

    @property
    def way(self) -> str:
        """What was measured: events, sweeps or peer."""
        options = self.raw["options"]
        if options["subject"] == "peer":
            return "peer"
        return "events" if options["events"] else "sweeps"

    @property
    def facts(self) -> dict[str, float]:
        """Single numbers of the run."""
        told = self.raw["facts"].items()
        return {name: fact for name, fact in told if not isinstance(fact, str)}

    def origin(self, name: str) -> str:
        """The ``commit`` or ``server`` that was measured; "" for a run that does not tell."""
        return str(self.raw["facts"].get(name, ""))

    @property
    def complete(self) -> bool:
        """Whether it came as far as to the restart, which some runs end with."""
        return "restart" in self.raw["phases"]

    def phase(self, name: str) -> dict[str, Any]:
        """What a phase took."""
        return dict(self.raw["phases"][name])

    def lag(self, name: str, share: float) -> float:
        """A quantile of a lag in seconds."""
        points = self.raw["lags"][name]
        return float(points[round(share * (len(points) - 1))])

    def cpu_ms(self, *phases: str) -> float:
        """CPU milliseconds an object over phases."""
        seconds = sum(self.phase(each)["cpu"] for each in phases)
        return 1000 * float(seconds) / self.objects

    def aws(self, *phases: str) -> float:
        """AWS calls an object over phases, without those to SQS, which has no quota of calls."""
        made: list[tuple[str, int]] = [
            each for phase in phases for each in self.phase(phase)["aws"].items()
        ]
        return sum(count for name, count in made if not name.startswith("sqs:")) / self.objects

    def sqs(self, *phases: str) -> float:
        """Calls to SQS an object over phases."""
        made: list[tuple[str, int]] = [
            each for phase in phases for each in self.phase(phase)["aws"].items()
        ]
        return sum(count for name, count in made if name.startswith("sqs:")) / self.objects

    def hour_of(self, what: Callable[..., float]) -> float:
        """What ``what`` tells of a life of an hour: launch, an hour of rest, and deletion."""
        rest = what("hold") * 3600 / self.phase("hold")["seconds"]
        return float(what("apply", "delete") + rest)

    @property
    def converged_cpu(self) -> float:
        """Share of one core while nothing changes."""
        hold = self.phase("hold")
        return float(hold["cpu"] / hold["seconds"])

    @property
    def reads_a_minute(self) -> float:
        """Calls of the read quota group while nothing changes; with events those of an audit,
        which the run is too short for, are added: as many as the first look after the restart."""
        hold = self.phase("hold")
        reads = sum(hold["aws_groups"].get(each, 0) for each in READS) / hold["seconds"] * 60
        if self.way != "events":
            return float(reads)
        look = sum(self.phase("restart")["aws_groups"].get(each, 0) for each in READS)
        return float(reads + look / AUDIT_SECONDS * 60)

    def writes(self, phase: str) -> int:
        """Kubernetes writes of objects, Events aside."""
        made = self.phase(phase)["kube_writes"]
        return sum(count for what, count in made.items() if "events" not in what)

    def events(self, phase: str) -> int:
        """Kubernetes Events written."""
        return int(self.phase(phase)["kube_writes"].get("post events", 0))


def read(path: Path) -> dict[tuple[str, int], Run]:
    """The last run of each way and size; one that was broken off only where there is no other."""
    runs = [Run(json.loads(line)) for line in path.read_text().splitlines() if line]
    runs.sort(key=lambda run: run.complete)
    return {(run.way, run.objects): run for run in runs}
