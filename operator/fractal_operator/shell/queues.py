"""The ``Events`` port over the synchronous client of the queue: a thread for each poller."""

from collections.abc import Callable, Sequence

from fractal_helpers.aws.sqs import SqsClient
from fractal_models.errors import Unavailable
from fractal_models.task_events import Message
from fractal_operator.shell.aws import DaemonPool, made
from fractal_operator.shell.leader import NOT_LEADING


class SqsEvents:
    """See :class:`fractal_operator.ports.Events`. ``make`` builds the client, in a thread.

    Nothing is received or deleted unless ``leads`` says so in its thread, just before: a standby
    must not hide messages from the one that acts.
    """

    def __init__(
        self, name: str, make: Callable[[], SqsClient], pollers: int, leads: Callable[[], bool]
    ) -> None:
        self.name = name
        self._make = make
        self._client: SqsClient | None = None
        self._pool = DaemonPool(pollers)
        self._leads = leads

    async def receive(self, seconds: int) -> Sequence[Message]:
        return await self._pool.run(lambda: self._leading().receive(seconds))

    async def delete(self, receipts: Sequence[str]) -> int:
        return await self._pool.run(lambda: self._leading().delete(receipts))

    def _leading(self) -> SqsClient:
        if not self._leads():
            raise Unavailable(NOT_LEADING)
        if self._client is None:
            self._client = made(f"the client of queue {self.name}", self._make)
        return self._client
