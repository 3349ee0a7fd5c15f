"""What is said of an object that the operator itself breaks on: a bug, or a value beyond its ken.

Nothing that ``decide`` relies on is assumed: the body may be what broke it. So the status is
changed as it stands, not as it parses, and only in what it says to people; the attempt and the
tasks stay. Only of the conditions those that cannot be read are told anew.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fractal_models.container import Phase, clip
from fractal_models.status import Status
from fractal_operator.core.annotations import ABANDON

REASON = "InternalError"
MESSAGE_LIMIT = 1024
CAUSE_LIMIT = 400

Json = Mapping[str, Any]


def abandoned(meta: Json) -> bool:
    """Whether somebody gave this very object up, in its deletion."""
    annotations = meta.get("annotations") or {}
    return "deletionTimestamp" in meta and annotations.get(ABANDON) == meta["uid"]


def message(meta: Json, cause: str) -> str:
    """What happened, what follows from it, and what to do. Holds no number that moves."""
    text = (
        f"The operator fails on this object: {clip(cause, CAUSE_LIMIT)}. Nothing is launched, "
        "stopped or replaced for it meanwhile. It is tried again every 10 minutes, at each edit, "
        "and when fractal.co/reconcile-requested-at changes. Please report it with the operator's "
        "log."
    )
    if "deletionTimestamp" in meta:
        text += (
            " The object is kept so that no task is forgotten; give it up with: kubectl annotate "
            f"fractalcontainer {meta['name']} -n {meta['namespace']} {ABANDON}={meta['uid']}"
        )
    return clip(text, MESSAGE_LIMIT)


def status(body: Json, cause: str, now: datetime) -> dict[str, Any]:
    """The status of ``body`` with Stalled True and ``cause`` in it, in place of what it said.

    Ready stays as it was last known: a fault of the operator ends no task.
    """
    meta, old = body["metadata"], body.get("status")
    kept = dict(old) if isinstance(old, Mapping) else {}
    readable = Status.from_json({"conditions": kept.get("conditions")}).to_json()
    before = {each["type"]: each for each in readable.get("conditions", ())}
    text = message(meta, cause)
    said = {
        "Ready": before.get("Ready") or _made("Ready", "Unknown", text),
        "Reconciling": _made("Reconciling", "False", ""),
        "Stalled": _made("Stalled", "True", text),
        "Synced": before.get("Synced") or _made("Synced", "Unknown", ""),
    }
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    generation = meta.get("generation", 0)
    kept["conditions"] = [
        _dated(each, before.get(kind, {}), at, generation) for kind, each in said.items()
    ]
    kept["observedGeneration"] = generation
    kept["message"] = text
    if "deletionTimestamp" in meta:
        kept["phase"] = str(Phase.DELETING)
    elif kept.get("phase") not in [str(phase) for phase in Phase]:
        kept["phase"] = str(Phase.FAILED)
    return kept


def _made(kind: str, value: str, text: str) -> dict[str, Any]:
    made = {"type": kind, "status": value, "reason": REASON}
    return made | {"message": text} if text else made


def _dated(new: Json, old: Json, at: str, generation: int) -> dict[str, Any]:
    """With metav1.Condition's rule for times: they move only with the status."""
    same = old.get("status") == new.get("status") and old.get("lastTransitionTime")
    when = old["lastTransitionTime"] if same else at
    return {**new, "observedGeneration": generation, "lastTransitionTime": when}
