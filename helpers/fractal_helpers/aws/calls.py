"""One AWS API call: rate limit, metrics and the error tree around a boto3 client."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from botocore import xform_name

from fractal_helpers.aws.failures import classify, code_of, is_throttle_code
from fractal_helpers.aws.limits import QuotaGroups
from fractal_models.errors import OutcomeUnknown, QuotaReached, Throttled, Unavailable

Observe = Callable[[str, str, float], None]
"""Called once per API call with the operation, "OK" or the error code, and seconds."""

Waited = Callable[[str, float, bool], None]
"""Called once per token with the operation, the seconds waited, and whether one was had."""

_MAX_PAGES = 5_000

T = TypeVar("T")


def ignore(operation: str, code: str, seconds: float) -> None:
    """The observer for callers that do not count."""


def unmeasured(operation: str, seconds: float, had: bool) -> None:
    """The ``waited`` for callers that do not count."""


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in slices of ``size``, the last one shorter; nothing for no items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def hear_throttles(client: Any, quotas: QuotaGroups) -> None:
    """Have a boto3 ``client`` tell ``quotas`` of the throttles that it retries by itself."""
    attempts = client.meta.config.retries["total_max_attempts"]

    def heard(operation: Any, response: Any, attempts_made: int) -> None:
        code = response[1].get("Error", {}).get("Code", "") if response else ""
        # The last one is raised, and told by Api.send; as is what only its text calls a throttle.
        if attempts_made < attempts and is_throttle_code(str(code)):
            quotas.throttled(operation.name)

    client.meta.events.register(
        "needs-retry",
        lambda operation, response, attempts, **_: heard(operation, response, attempts),
    )


class Api:
    """The operations of one boto3 client, named as AWS names them (``DescribeTasks``).

    Every call raises the errors of :mod:`fractal_models.errors` only. ``patience`` is how many
    seconds it may wait for a token of its quota group.
    """

    def __init__(
        self,
        client: Any,
        quotas: QuotaGroups,
        *,
        observe: Observe = ignore,
        waited: Waited = unmeasured,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = 10.0,
    ) -> None:
        self._client = client
        self._quotas = quotas
        self._observe = observe
        self._waited = waited
        self._monotonic = monotonic
        self._patience = patience

    def call(self, operation: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take a token and send; ``Throttled`` when the token would come too late."""
        began = self._monotonic()
        had = self._quotas.take(operation, self._patience)
        self._waited(operation, self._monotonic() - began, had)
        if not had:
            raise Throttled(f"{operation}: no token of our own rate limit in {self._patience} s")
        return self.send(operation, params)

    def send(self, operation: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send at once: for an operation whose token the caller has taken already."""
        began = self._monotonic()
        code = "OK"
        try:
            response: Mapping[str, Any] = getattr(self._client, xform_name(operation))(**params)
        except Exception as error:  # botocore lets a garbled answer escape as, say, a KeyError
            code = code_of(error)
            failure = classify(error, operation)
            if isinstance(failure, Throttled) and not isinstance(failure, QuotaReached):
                self._quotas.throttled(operation)
                code = code if is_throttle_code(code) else "ThrottlingException"
            # botocore's complaint about a parameter quotes its value: not to be chained into logs.
            raise failure from (None if code == "ParamValidationError" else error)
        finally:
            self._observe(operation, code, self._monotonic() - began)
        return response

    def pages(
        self, operation: str, params: Mapping[str, Any], token: str
    ) -> Iterator[Mapping[str, Any]]:
        """All pages of ``operation``; ``token`` is the name of its page token, in and out.

        Raises ``Unavailable`` for pages that do not end: a token that comes back, or too many.
        """
        seen: set[str] = set()
        page = self.call(operation, params)
        yield page
        while cursor := page.get(token):
            if cursor in seen or len(seen) >= _MAX_PAGES:
                raise Unavailable(f"{operation}: its pages do not end ({len(seen) + 1} read)")
            seen.add(cursor)
            page = self.call(operation, {**params, token: cursor})
            yield page


def member(response: Mapping[str, Any], operation: str, name: str) -> Any:
    """A member that a whole answer always has.

    Raises ``OutcomeUnknown`` without it: botocore turns a body that it cannot read into an empty
    answer, and an empty answer must not pass for "there are no tasks".
    """
    if name not in response:
        raise OutcomeUnknown(f"{operation}: the answer has no {name!r}")
    return response[name]
