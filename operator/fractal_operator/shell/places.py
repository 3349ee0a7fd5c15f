"""Where an object leads: the cluster that its spec names, and the one where its attempt is.

What the allow-list refuses is not looked at: anybody can make up regions and clusters, and each
costs clients, calls and time. But no task may be forgotten, so that there are exceptions, which
docs/decisions/0006 explains.
"""

from collections.abc import Mapping
from re import fullmatch
from typing import Any

from fractal_models import patterns
from fractal_models.container import Status
from fractal_operator.core import adoption, permits
from fractal_operator.core.plan import Policy
from fractal_operator.core.tokens import region_of
from fractal_operator.shell.objects import Body

Place = tuple[str, str]
"""A region, and the name or ARN of a cluster there."""


def home(status: Status) -> Place | None:
    """Where the attempt is that the status tells of. Always looked at: a task of ours may live."""
    arn = status.attempt.cluster_arn if status.attempt else ""
    return _sound(region_of(arn), arn)


def target(body: Body, status: Status, policy: Policy, *, born: bool) -> Place | None:
    """Where the spec wants the task; None if it names no place, or one that it may not name.

    ``born``: this process has put the finalizer on the object, and seen no attempt since.
    """
    spec = body.get("spec")
    named: Mapping[str, Any] = spec if isinstance(spec, Mapping) else {}
    place = _sound(named.get("region") or policy.region, named.get("cluster") or policy.cluster)
    if place is None:
        return None
    meta = body["metadata"]
    allowed = permits.place(policy, meta["namespace"], *place)
    # Deleted without an attempt: the status may have been wiped, and the list narrowed since.
    wiped = "deletionTimestamp" in meta and status.attempt is None and not born
    return place if allowed or wiped or _there(body, status, policy, place) else None


def _there(body: Body, status: Status, policy: Policy, place: Place) -> bool:
    """Whether the object's attempt is in ``place``, or a task that it may adopt."""
    attempt = home(status)
    if attempt is not None and _same(attempt, place):
        return True
    meta = body["metadata"]
    arn = adoption.sought(meta.get("annotations") or {}, status, policy, meta["namespace"])
    cluster = arn.partition(":task/")[2].partition("/")[0]
    return bool(arn) and _same((region_of(arn), cluster), place)


def _same(one: Place, other: Place) -> bool:
    """Whether two places are one, as far as their names tell."""
    return one[0] == other[0] and one[1].rpartition("/")[2] == other[1].rpartition("/")[2]


def _sound(region: object, reference: object) -> Place | None:
    """A region and a cluster, None where either is no such thing: anybody may edit a status."""
    match region, reference:
        case str(), str() if region and reference:
            sound = fullmatch(patterns.REGION, region) and fullmatch(patterns.CLUSTER, reference)
            return (region, reference) if sound else None
        case _:
            return None
