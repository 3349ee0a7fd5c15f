"""From a situation to the status's conditions, with metav1.Condition's rules for times."""

from collections.abc import Iterable
from datetime import datetime

from fractal_models.container import Condition, ConditionStatus
from fractal_operator.core.phases import Situation


def conditions(
    situation: Situation,
    *,
    synced: Condition,
    before: Iterable[Condition],
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """All conditions, always in the same order; lastTransitionTime moves only with the status.

    Ready is left out of an object at rest; Reconciling then says why it is.
    """
    ready = _condition("Ready", situation.ready, situation.reason, situation.message)
    said = (
        *(() if situation.at_rest else (ready,)),
        _condition(
            "Reconciling",
            bool(situation.reconciling),
            situation.reconciling or (situation.reason if situation.at_rest else "Settled"),
            situation.message if situation.reconciling or situation.at_rest else "",
        ),
        _condition(
            "Stalled",
            bool(situation.stalled),
            situation.stalled or "NotStalled",
            situation.message if situation.stalled else "",
        ),
        synced,
    )
    old = {each.type: each for each in before}
    return tuple(_dated(each, old.get(each.type), generation, now) for each in said)


def stalled(
    before: Iterable[Condition], reason: str, message: str, *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions as they were, but with Stalled True for ``reason``; "": with Stalled False."""
    said = {"Stalled": _condition("Stalled", bool(reason), reason or "NotStalled", message)}
    if reason:
        said["Reconciling"] = _condition("Reconciling", False, "Settled", "")
    return tuple(
        _dated(said[each.type], each, generation, now) if each.type in said else each
        for each in before
    )


def _condition(kind: str, value: bool, reason: str, message: str) -> Condition:
    status = ConditionStatus.TRUE if value else ConditionStatus.FALSE
    return Condition(type=kind, status=status, reason=reason, message=message)


NOT_OBSERVED = Condition(
    type="Synced",
    status=ConditionStatus.UNKNOWN,
    reason="NotObserved",
    message="ECS has not been observed yet.",
)


def synced(overdue: bool) -> Condition:
    """Synced: whether ECS shows what was done for this object; False only once that is overdue."""
    if not overdue:
        return Condition(type="Synced", status=ConditionStatus.TRUE, reason="ReconcileSuccess")
    message = "ECS has not shown this object's last change for more than 60 seconds."
    return Condition(
        type="Synced", status=ConditionStatus.FALSE, reason="NotObserved", message=message
    )


def _dated(
    condition: Condition, old: Condition | None, generation: int, now: datetime
) -> Condition:
    same = old is not None and old.status == condition.status and old.last_transition_time
    when = old.last_transition_time if old is not None and same else now
    return condition.model_copy(
        update={"last_transition_time": when, "observed_generation": generation}
    )
