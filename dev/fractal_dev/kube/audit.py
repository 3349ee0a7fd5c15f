"""A record of every request, so that tests can count what really reached the server."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 100_000


@dataclass(slots=True)
class Request:
    """One request. `changed` is true when it changed an object: a refused write, a dry run and a
    write of what was there already leave it false. `code` is 0 until the answer is known."""

    verb: str
    path: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    code: int = 0
    changed: bool = False
    user_agent: str = ""


@dataclass(slots=True)
class Log:
    """The requests in the order of their arrival; past 100,000 nothing more is kept."""

    requests: list[Request] = field(default_factory=list)

    def add(self, request: Request) -> None:
        if len(self.requests) < _KEPT:
            self.requests.append(request)

    def read(self, *, clear: bool = False) -> list[dict[str, Any]]:
        """Returns the record, and empties it on `clear`."""
        seen = [asdict(request) for request in self.requests]
        if clear:
            self.requests.clear()
        return seen
