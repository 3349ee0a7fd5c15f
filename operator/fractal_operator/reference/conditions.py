"""docs/conditions.md: what a status and its Events can say."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_type_hints

from fractal_models.container import Phase
from fractal_operator.core import phases
from fractal_operator.core.phases import Situation
from fractal_operator.reference import words
from fractal_operator.reference.markdown import code, page, table

_INTRO = """
`status.phase` is one word for people; tools read the conditions. `Ready`, `Reconciling` and
`Stalled` follow kstatus, so `helm --wait`, Flux and Argo CD understand them: see
[gitops.md](gitops.md).
"""

_TOGETHER = """
At most one of Reconciling and Stalled is True. When neither is, nothing is left to do. Where the
object should be otherwise than it is, but a running task is left alone (a spec that cannot be
used, a stop that ECS refuses), Stalled is True and Ready stays as it is; with `fractal.co/paused`
or `fractal.co/read-only` Reconciling is True as long as something is left undone. While a task runs
on until another one is ready (`updateStrategy: Surge`), the phase is Updating, Ready is about the
task that runs, and Reconciling and Stalled are about the other one.
"""

_REASONS = """
A reason stands in Ready, and again in Reconciling or Stalled if that is True for it. Besides
these, a condition may name what went wrong: [failures.md](failures.md) lists every such reason
with what to do.
"""

_EVENTS = """
Each transition is told once, under a name that depends on what happened; a restarted operator
does not tell it again. `logs.container_history` in PostgreSQL holds the same transitions for
good. An end of a task that nobody asked for has the failure's reason and is a Warning, unless the
exit code is 0. When Stalled turns True, a Warning has its reason.
"""


def conditions_page() -> str:
    """Return docs/conditions.md."""
    head = ("Situation", "Phase", "Ready", "Reconciling", "Stalled")
    return page(
        "Phases, conditions and Events",
        _INTRO,
        "## Phases",
        table(("Phase", "Meaning"), ((code(each), words.PHASES[each]) for each in Phase)),
        "## Conditions",
        table(
            ("Type", "True", "False", "Otherwise"),
            ((code(kind), *cells) for kind, cells in words.CONDITIONS.items()),
        ),
        f"## What they say together\n{_TOGETHER}",
        table(head, (_together(name, meaning) for name, meaning in words.SITUATIONS.items())),
        f"## Reasons\n{_REASONS}",
        table(("Reason", "Meaning"), ((code(k), v) for k, v in sorted(words.REASONS.items()))),
        f"## Events\n{_EVENTS}",
        table(
            ("Reason", "Type", "When"),
            ((code(reason), *cells) for reason, cells in words.EVENTS.items()),
        ),
        "Metrics stand in [metrics.md](metrics.md).",
    )


def situations() -> dict[str, Callable[..., Situation]]:
    """The functions of core/phases.py, by name: each makes one kind of situation."""
    found = inspect.getmembers(phases, inspect.isfunction)
    return {name: each for name, each in found if each.__module__ == phases.__name__}


def example(make: Callable[..., Situation]) -> Situation:
    """A situation of that kind, with some number, words and time."""
    given = {int: 1, str: "Words", datetime: datetime(2026, 1, 1, tzinfo=UTC)}
    kinds = get_type_hints(make)
    return make(**{name: given[kinds[name]] for name in inspect.signature(make).parameters})


def _together(name: str, meaning: str) -> tuple[str, ...]:
    made = example(situations()[name])
    ready = "absent" if made.at_rest else str(made.ready)
    return (meaning, made.phase.value, ready, str(bool(made.reconciling)), str(bool(made.stalled)))
