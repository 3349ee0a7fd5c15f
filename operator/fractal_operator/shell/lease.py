"""What stands in a Lease: who holds it, and how it is taken, renewed and given up.

The fields, and the second that a freed Lease lasts, are those of Kubernetes' own clients.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fractal_models.errors import AccessDenied, Gone
from fractal_models.kube import KubeEvent

Lease = Mapping[str, Any]

LONGEST = 300
"""Seconds that a rival's Lease is believed to last, whatever it says: the most that
FRACTAL_LEASE_SECONDS may be. An edited Lease could else keep everybody from leading for years."""


def spec_of(lease: Lease | None) -> Mapping[str, Any]:
    """The Lease's spec, {} without one."""
    return (lease or {}).get("spec") or {}


def holder(lease: Lease) -> str:
    """Who holds it, "" when nobody does."""
    return spec_of(lease).get("holderIdentity") or ""


def lasts(lease: Lease, usual: int) -> int:
    """For how many seconds it counts after it was seen to change."""
    return min(spec_of(lease).get("leaseDurationSeconds") or usual, LONGEST)


def claimed(lease: Lease | None, identity: str, seconds: int, now: datetime) -> dict[str, Any]:
    """The spec by which ``identity`` takes a Lease, or renews its own; None: there is none yet."""
    old, at = spec_of(lease), now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    mine = old.get("holderIdentity") == identity
    return {
        **old,
        "holderIdentity": identity,
        "leaseDurationSeconds": seconds,
        "acquireTime": old.get("acquireTime", at) if mine else at,
        "renewTime": at,
        "leaseTransitions": (old.get("leaseTransitions") or 0) + (lease is not None and not mine),
    }


def freed(lease: Lease, now: datetime) -> dict[str, Any]:
    """The spec by which its holder gives it up."""
    spec = claimed(lease, holder(lease), 1, now)
    del spec["holderIdentity"]
    return spec


def became_leader(lease: Lease, identity: str) -> KubeEvent:
    """The Event that tells who leads; of each version of the Lease there is one."""
    suffix = f"led-{lease['metadata']['resourceVersion']}"
    return KubeEvent("Normal", "LeaderElection", f"{identity} became leader", suffix)


def hint(error: Exception, *, led: bool) -> str:
    """What somebody can do against an error of a call for a Lease; "" if it passes by itself."""
    if isinstance(error, AccessDenied):
        return "; it takes the rights to get, create and update leases in that namespace"
    if isinstance(error, Gone) and not led:
        return "; FRACTAL_RELEASE_NAMESPACE names its namespace, which must exist"
    return ""
