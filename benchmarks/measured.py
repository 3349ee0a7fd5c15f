"""One run of a benchmark: what was asked for, and what was measured."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

POINTS = 201
"""How many quantiles are kept of a lag."""


@dataclass(frozen=True)
class Options:
    """One run. ``quotas`` scales AWS's buckets in the fake, 0: none; ``settings`` are added to the
    operator's environment. Times in seconds: ``settle`` after the last object runs, until what its
    launch still owes is done, ``hold`` converged, ``linger`` after the restart. Without
    ``deletion`` the run ends then."""

    subject: str
    objects: int
    events: bool
    hold: float
    stops: int
    stop_span: float
    quotas: float
    settings: dict[str, str]
    deletion: bool = True
    settle: float = 75.0
    linger: float = 10.0
    patience: float = 1800.0
    start_seconds: float = 1.5
    stop_seconds: float = 1.0


@dataclass
class Phase:
    """What one phase of a run took of everything; ``load`` is the machine's when it ended."""

    seconds: float
    load: float
    cpu: float
    rss: float
    kube_writes: dict[str, int]
    own_requests: int
    aws: dict[str, int]
    aws_groups: dict[str, int]
    throttled: int


@dataclass
class Result:
    """One run."""

    options: Options
    phases: dict[str, Phase] = field(default_factory=dict)
    lags: dict[str, list[float]] = field(default_factory=dict)
    """Quantiles of each lag in seconds: see ``quantiles``."""
    facts: dict[str, float | str] = field(default_factory=dict)
    """Single numbers, and as texts ``commit`` (see benchmarks.origin) and ``server``: the API
    server's version, or ``stand-in``. Records of before there were these hold neither."""


def quantiles(values: Iterable[float]) -> list[float]:
    """The values at evenly spaced shares, from the least to the greatest, to the millisecond."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [round(ordered[round(last * n / (POINTS - 1))], 3) for n in range(POINTS)]


def quantile(points: list[float], share: float) -> float:
    """The value that ``share`` of those do not exceed which ``quantiles`` was given."""
    return points[math.ceil(share * (POINTS - 1))]
