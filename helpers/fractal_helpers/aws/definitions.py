"""Task definitions: resolved by reference, and registered once per content.

Registering is ECS's scarcest call (one a second per account and region), so a definition made here
is content-addressed: its family is a hash of its content, any ACTIVE revision of that family will
do, and all threads that need it share one lookup and at most one registration.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from fractal_helpers.aws import decode
from fractal_helpers.aws.cache import Cache
from fractal_helpers.aws.calls import Api, member
from fractal_models.errors import OutcomeUnknown, Rejected
from fractal_models.observed import TaskDefinition

_UNKNOWN = re.compile(r"Unable to describe task definition", re.IGNORECASE)
_REVISION_SECONDS = 300.0
_LATEST_SECONDS = 5.0  # many objects that start together name the same family
_SIZE = 4096

T = TypeVar("T")


class Definitions:
    """The task definitions of one region. ``api_once`` must make a single attempt per call."""

    def __init__(
        self, api: Api, api_once: Api, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._api_once = api_once
        self._revisions: Cache[str, TaskDefinition] = Cache(_SIZE, monotonic=monotonic)
        self._families: Cache[str, TaskDefinition] = Cache(_SIZE, monotonic=monotonic)
        self._latest: Cache[str, TaskDefinition] = Cache(_SIZE, monotonic=monotonic)
        self._flights: dict[str, Future[TaskDefinition]] = {}
        self._questions: dict[str, Future[TaskDefinition | None]] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: str) -> TaskDefinition | None:
        """The definition that a family, ``family:revision`` or ARN names; None when there is none.

        A bare family is its latest ACTIVE revision, remembered for five seconds. A revision never
        changes but for its status, so it is remembered for five minutes, half of the time in which
        ECS itself may still run a deregistered one. Concurrent callers share one question.
        """
        key = _name(reference)
        cache = self._revisions if ":" in key else self._latest

        def ask() -> TaskDefinition | None:
            found = self._ask(reference)
            if found is not None and cache is self._latest:
                cache.put(key, found, _LATEST_SECONDS)
            return found

        return self._together(self._questions, key, lambda: cache.get(key), ask)

    def _ask(self, reference: str) -> TaskDefinition | None:
        try:
            answer = self._api.call("DescribeTaskDefinition", {"taskDefinition": reference})
        except Rejected as error:
            if error.code == "ClientException" and _UNKNOWN.search(str(error)):
                return None
            raise
        found = _decoded(answer, "DescribeTaskDefinition")
        self._revisions.put(_name(found.arn), found, _REVISION_SECONDS)
        return found

    def ensure(self, registration: Mapping[str, Any]) -> TaskDefinition:
        """An ACTIVE definition of ``registration["family"]``, registered if there is none.

        ``registration`` is the body of RegisterTaskDefinition, its family derived from its content.
        Concurrent callers of one family share one lookup and its outcome, errors included. After
        ``OutcomeUnknown`` the next call looks up first, so a lost reply costs no second revision.
        """
        family = str(registration["family"])

        def ask() -> TaskDefinition:
            found = self._find(family) or self._register(registration, family)
            self._families.put(family, found)
            return found

        return self._together(self._flights, family, lambda: self._families.get(family), ask)

    def _together(
        self,
        flights: dict[str, Future[T]],
        key: str,
        known: Callable[[], T | None],
        ask: Callable[[], T],
    ) -> T:
        """What is known, or the outcome of one ``ask`` that concurrent callers of a key share."""
        with self._lock:
            if (found := known()) is not None:
                return found
            flight = flights.get(key)
            if flight is None:
                mine = flights[key] = Future()
        if flight is not None:
            return flight.result()  # bounded: the timeouts of the calls bound the other thread
        try:
            answer = ask()
            mine.set_result(answer)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del flights[key]
        return answer

    def forget(self, reference: str) -> None:
        """Forget a family and revision: ECS said that the definition is not ACTIVE any more."""
        key = _name(reference)
        self._revisions.drop(key)
        self._families.drop(key.split(":", 1)[0])
        self._latest.drop(key.split(":", 1)[0])

    def _find(self, family: str) -> TaskDefinition | None:
        found = self._ask(family)
        return found if found and found.status == "ACTIVE" else None

    def _register(self, registration: Mapping[str, Any], family: str) -> TaskDefinition:
        try:
            answer = self._api_once.call("RegisterTaskDefinition", registration)
            return _decoded(answer, "RegisterTaskDefinition")
        except OutcomeUnknown:
            if found := self._find(family):
                return found
            raise


def _decoded(answer: Mapping[str, Any], operation: str) -> TaskDefinition:
    try:
        return decode.definition(member(answer, operation, "taskDefinition"))
    except ValueError as error:
        raise OutcomeUnknown(f"{operation}: the answer cannot be read: {error}") from error


def _name(reference: str) -> str:
    """``family`` or ``family:revision`` of any reference: unique in an account and region."""
    return reference.rsplit("/", 1)[-1]
