"""Which tasks objects ask to adopt: observed like claimed ones, but nobody's yet."""

from collections.abc import Iterator

from fractal_models.observed import TaskArn


class Wishes:
    """At most one task for each object; a task may be wished for by several."""

    def __init__(self) -> None:
        self._of: dict[str, TaskArn] = {}
        self._by: dict[TaskArn, set[str]] = {}

    def put(self, uid: str, arn: str) -> TaskArn | None:
        """Note an object's wish ("": none any more); the wish that this one takes the place of."""
        old = self._of.get(uid)
        if (old or "") == arn:
            return None
        if old is not None:
            del self._of[uid]
            self._by[old].discard(uid)
            if not self._by[old]:
                del self._by[old]
        if arn:
            self._of[uid] = TaskArn(arn)
            self._by.setdefault(TaskArn(arn), set()).add(uid)
        return old

    def of(self, uid: str) -> TaskArn | None:
        """The task that an object asks for."""
        return self._of.get(uid)

    def by(self, arn: TaskArn) -> frozenset[str]:
        """The objects that ask for a task."""
        return frozenset(self._by.get(arn, ()))

    def under(self, prefix: str) -> Iterator[TaskArn]:
        """The tasks asked for whose ARN begins with ``prefix``."""
        return (arn for arn in self._by if arn.startswith(prefix))
