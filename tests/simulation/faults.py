"""What goes wrong in a run: how often each kind of fault strikes a call, and how the world behaves.

Swarm testing: each seed switches some kinds off altogether and scales the others, since a fault
that always strikes hides what another one would show.
"""

from dataclasses import dataclass, field, replace
from random import Random

CALL_FAULTS = {
    "crash-before": 0.004,
    "crash-after": 0.006,
    "refused": 0.01,
    "throttled": 0.01,
    "unsent": 0.01,
    "lost": 0.015,
    "late": 0.01,
    "slow": 0.02,
}
"""Faults of single calls, and their share of all calls.

``crash-before`` and ``-after``: the process dies then. ``refused``: Unavailable, it did not
happen. ``throttled``: so, for its rate. ``unsent``: OutcomeUnknown, it did not happen. ``lost``: it
happened, but the answer is lost (OutcomeUnknown). ``late``: OutcomeUnknown, and it happens after
that, at most 40 s after the call. ``slow``: it takes up to 13 s.
"""

CANARY = "cAnArY-s3cr3t"
"""A secret in the texts of errors: it has to stay there."""

BROKEN, UNSTORABLE = "broken", "unstorable"
"""The names of the object whose reconcile always raises, and of the one whose rows are refused."""

OUTAGES = ("database", "kube", "ecs", "access", "watch", "processes", "queue", "rule")
"""What is down for up to 400 s. ``access``: ECS refuses the credentials; ``watch``: silent;
``rule``: events are told to nobody, though their queue looks well."""

LATEST_LANDING = 40.0
"""A call reaches its server within this (a bound of the drain, docs/safety.md)."""

LATEST_BEYOND = 1200.0
"""Within this, where a run breaks that bound: then only the reaper's promise holds."""

MOST_SKEW = 45.0
LONGEST_LAG = 300.0


@dataclass(frozen=True)
class Chaos:
    """The faults of one run. Shares are of calls, of events or of tasks; the rest are seconds."""

    rates: dict[str, float] = field(default_factory=dict)
    operators: int = 1
    election: bool = False
    skews: tuple[float, ...] = (0.0, 0.0)
    watch_drop: float = 0.0
    watch_double: float = 0.0
    watch_delay: float = 0.05
    stale_list: float = 0.0
    list_age: float = 0.0
    visible_after: float = 0.0
    read_age: float = 0.0
    unplaced: float = 0.0
    placed_though_failed: float = 0.0
    dies_starting: float = 0.0
    dies_running: float = 0.0
    slow_start: float = 0.0
    stop_seconds: float = 20.0
    no_permit: float = 0.0
    outages: tuple[str, ...] = ()
    objects: int = 1
    user_pause: float = 90.0
    meddling: float = 0.0
    adopt: bool = False
    wipe: bool = False
    restores: int = 0
    force: bool = False
    surge: bool = False
    poison: bool = False
    crowd: float = 0.0
    beyond: float = 0.0
    events: bool = False
    event_drop: float = 0.0
    event_double: float = 0.0
    event_delay: float = 0.0
    poisoned_queue: bool = False

    def told(self) -> str:
        """What is on, in a line."""
        shown = {k: f"{v:.3f}" for k, v in self.rates.items() if v}
        others = {k: v for k, v in vars(self).items() if k != "rates" and v}
        return f"{shown} {others}"


CALM = Chaos()
"""No faults at all."""


def with_events(chaos: Chaos, rng: Random) -> Chaos:
    """The same with a queue of task events, and what goes wrong with it."""
    return replace(
        chaos,
        events=True,
        event_drop=rng.random() * 0.3 if rng.random() < 0.5 else 0.0,
        event_double=rng.random() * 0.5 if rng.random() < 0.5 else 0.0,
        event_delay=rng.choice((0.0, 2.0, 20.0, 120.0)),
        poisoned_queue=rng.random() < 0.2,
        outages=(*chaos.outages, *(each for each in ("queue", "rule") if rng.random() < 0.3)),
    )


def swarm(rng: Random) -> Chaos:
    """The faults of a seed."""
    scale = rng.uniform(0.2, 2.0)

    def share(most: float, on: float = 0.5) -> float:
        return rng.random() * most if rng.random() < on else 0.0

    rates = {
        kind: rate * scale * rng.uniform(0.3, 1.7) if rng.random() < 0.6 else 0.0
        for kind, rate in CALL_FAULTS.items()
    }
    half = MOST_SKEW / 2
    return Chaos(
        rates=rates,
        operators=rng.choice((1, 1, 2)),
        election=rng.random() < 0.3,
        skews=(rng.uniform(-half, half), rng.uniform(-half, half)),
        watch_drop=share(0.15),
        watch_double=share(0.2),
        watch_delay=rng.choice((0.05, 1.0, 10.0)),
        stale_list=share(0.5),
        list_age=rng.uniform(1, 120),
        visible_after=rng.choice((0.0, 5.0, 30.0, LONGEST_LAG)),
        read_age=rng.choice((0.0, 0.0, 5.0, 60.0)),
        unplaced=share(0.4, 0.3),
        placed_though_failed=share(0.5, 0.5),
        dies_starting=share(0.3, 0.4),
        dies_running=share(0.8, 0.4),
        slow_start=share(0.4, 0.4),
        stop_seconds=rng.choice((2.0, 20.0, 120.0)),
        no_permit=share(0.5, 0.3),
        outages=tuple(
            kind
            for kind in ("database", "kube", "ecs", "access", "processes")
            if rng.random() < 0.25
        ),
        objects=rng.choice((1, 1, 2, 3)),
        user_pause=rng.choice((40.0, 90.0, 240.0)),
        meddling=share(0.8, 0.6),
        adopt=rng.random() < 0.25,
        wipe=rng.random() < 0.1,
        restores=rng.random() < 0.06,
        force=rng.random() < 0.15,
    )
