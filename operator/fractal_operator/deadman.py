"""A dead man's switch: ends a process whose event loop does not come round.

A loop that is blocked serves no probe and runs no watchdog, so a thread beside it counts the beats.
It is not asked nicely: what blocks it, such as a log that nobody reads, would block a clean end as
well. A process that is stopped as a whole (SIGSTOP, a frozen container) cannot count either, and is
not blamed for it. Code that lets no other thread run, such as an endless regular expression, is
ended by a timer of faulthandler, in C, which knows only the time: it has a longer bound.
"""

import asyncio
import faulthandler
import os
import sys
import threading
import traceback
from typing import Self

LOOP_SECONDS = 60.0
HARD_SECONDS = 180.0
_TICKS = 60  # the beats are counted so often within the limit
_WRITE_SECONDS = 5.0
_CODE = 1


class DeadMan:
    """Between entry and exit, ends the process ``limit`` seconds after the last beat, and at the
    latest ``hard`` seconds after it, with exit code 1 and every thread's stack on stderr."""

    def __init__(self, limit: float = LOOP_SECONDS, hard: float = HARD_SECONDS) -> None:
        self._limit = limit
        self._hard = hard
        self._beats = 0
        self._next: asyncio.TimerHandle | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadman", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``loop`` beat for as long as it comes round. No task: those may all be cancelled."""
        self._beats += 1
        faulthandler.dump_traceback_later(self._hard, exit=True)
        self._next = loop.call_later(self._limit / _TICKS, self.follow, loop)

    def leave(self) -> None:
        """Take no more beats: what remains to be done has to end within the limit."""
        if self._next is not None:
            self._next.cancel()

    def _watch(self) -> None:
        seen, silent = self._beats, 0
        while not self._over.wait(self._limit / _TICKS):
            silent = silent + 1 if self._beats == seen else 0
            seen = self._beats
            if silent >= _TICKS:
                self._end()

    def _end(self) -> None:
        # stderr may be what blocks: then nothing can be told.
        last = threading.Timer(_WRITE_SECONDS, os._exit, (_CODE,))
        last.daemon = True
        last.start()
        fault = f"the event loop has not come round for {self._limit:.0f} s: this process ends"
        # Not by faulthandler, which would let no thread run while it waits for stderr; nor by the
        # log, whose lock the loop may hold. The cause comes last: a pod's status shows the end.
        os.write(sys.stderr.fileno(), f"{_stacks()}{fault}\n".encode(errors="replace"))
        os._exit(_CODE)


def _stacks() -> str:
    """What each thread is doing, the main one last."""
    names = {each.ident: each.name for each in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sorted(sys._current_frames().items(), key=lambda each: each[0] == main)
    return "".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}\n"
        for ident, frame in frames
    )
