"""Scripted faults: what a call answers instead of doing its work."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fractal_dev.ecs.errors import AwsError


@dataclass(slots=True)
class Fault:
    """An error, or RunTask failures, for the next ``times`` calls of an operation.

    Of EC2 it is ``ec2:<Action>``, of SQS ``sqs:<Action>``.
    ``match`` is a substring of startedBy (the request's, or that of a task it names).
    ``failures`` None means an error; a list, even an empty one, is RunTask's ``failures[]`` in a
    200 without tasks, and with ``launch_anyway`` the task exists all the same.
    """

    operation: str
    match: str = ""
    times: int = 1
    code: str = "ServerException"
    message: str = "Service Unavailable. Please try again later."
    status: int = 500
    failures: Sequence[Mapping[str, Any]] | None = None
    launch_anyway: bool = False


class Faults:
    """A queue of faults; the oldest that fits a call is used. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault."""
        with self._lock:
            self._queue.append(fault)

    def raise_error(self, operation: str, subject: str) -> None:
        """Raise the error that is due for this call, if there is one."""
        if fault := self._take(operation, subject, failures=False):
            raise AwsError(fault.code, fault.message, fault.status)

    def failures(self, subject: str) -> Fault | None:
        """Return the fault whose failures this RunTask is to answer."""
        return self._take("RunTask", subject, failures=True)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._queue.clear()

    def _take(self, operation: str, subject: str, *, failures: bool) -> Fault | None:
        with self._lock:
            for fault in self._queue:
                wanted = (fault.operation, fault.failures is not None) == (operation, failures)
                if wanted and fault.match in subject:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._queue.remove(fault)
                    return fault
        return None
