"""Ctrl-C, SIGTERM and a closed terminal, so that none of them leaves a process behind."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def raised() -> Iterator[None]:
    """Let each of the signals raise KeyboardInterrupt inside the block. For the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Let the signals wait until the block has ended, then raise KeyboardInterrupt.

    For what must not be left half done: a server just being started, and cleaning up.
    """
    came: list[int] = []
    try:
        with _handled(lambda number, frame: came.append(number)):
            yield
    finally:
        if came:
            raise KeyboardInterrupt


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
