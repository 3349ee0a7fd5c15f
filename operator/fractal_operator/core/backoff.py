"""How long to wait before the next try: capped, exponential, spread by a hash instead of chance."""

import hashlib
from datetime import timedelta

FIRST_SECONDS = 10.0
CAP_SECONDS = 300.0


def spread(*parts: object) -> float:
    """A number in [0, 1) that is fixed by ``parts`` and evenly spread over different parts."""
    raw = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(raw[:6], "big") / 2**48


def delay(
    failures: int,
    *parts: object,
    first: float = FIRST_SECONDS,
    cap: float = CAP_SECONDS,
) -> timedelta:
    """The wait after ``failures`` (>= 1) in a row: ``first`` seconds, doubled up to ``cap``.

    ``parts`` (uid, attempt) choose a point in the upper half of that span, so that a thousand
    objects that failed together do not come back together.
    """
    exponent = min(max(failures, 1) - 1, 30)
    span = min(cap, first * 2.0**exponent)
    return timedelta(seconds=round(span * (0.5 + 0.5 * spread(*parts)), 3))
