"""The error tree: what a failed call means, not which vendor said it.

    FractalError
    ├── Conflict         somebody else wrote first: read again, decide again
    ├── Gone             the object or resource does not exist (any more)
    ├── Throttled        refused for its rate; it was not executed
    │   └── QuotaReached     the account or cluster is full: waiting seconds does not help
    ├── Unavailable      the other side is down or unreachable; it was not executed
    │   └── NotServed        the API server does not know the kind (now): the CRD is not installed
    ├── Rejected         understood and refused; asking again unchanged is useless
    │   ├── AccessDenied     credentials or policy do not allow it
    │   └── TokenConflict    a client token is already bound to another request body
    └── OutcomeUnknown   the request may have been executed: the crux of reliability, hence a type

Adapters translate at the edge and chain the original with ``from``. Messages say what failed, on
which object, why. They never hold credentials or request bodies.
"""


class FractalError(Exception):
    """Base of every error that a port may raise."""


class Conflict(FractalError):
    """A precondition (resourceVersion, uid) did not hold; nothing was changed."""


class Gone(FractalError):
    """The thing asked for does not exist (any more); nothing was changed."""


class Throttled(FractalError):
    """Refused because of a rate limit or quota of calls; it was not executed."""


class QuotaReached(Throttled):
    """Refused because the account or cluster already holds as many tasks, vCPUs, … as it may.

    Not executed, and nothing to do with the rate of calls: launches there should pause for minutes.
    """


class Unavailable(FractalError):
    """The other side cannot serve now; the request was not executed (refused connection, 503)."""


class NotServed(Unavailable):
    """The API server does not know the kind of object, maybe for a moment only; not executed."""


class Rejected(FractalError):
    """Understood and refused, for example a bad parameter; it was not executed.

    ``code`` is the vendor's error code (``InvalidParameterException``), for reasons and hints.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class AccessDenied(Rejected):
    """The credentials in use may not do this."""


class TokenConflict(Rejected):
    """The client token is bound to another request; ``resource_ids`` are the ARNs bound to it."""

    def __init__(self, message: str, *, code: str = "", resource_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message, code=code)
        self.resource_ids = resource_ids


class OutcomeUnknown(FractalError):
    """The request may or may not have been executed (timeout, lost reply, 5xx)."""
