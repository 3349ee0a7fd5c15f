"""Output of the demo: a line a step with the seconds since its start, and plain tables.

The same on a terminal and in a CI log, where only the colours are missing.
"""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console

_LOG_WIDTH = 140
"""Columns where the output is no terminal, which would tell its own."""

_MARGIN = " " * 10


class Show:
    """Writes to ``console``, by default standard output; every line is flushed at once."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _LOG_WIDTH
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since this was made."""
        return time.monotonic() - self._began

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._print(f"\n{text}", "bold")

    def step(self, text: str) -> None:
        """Tell what has just happened."""
        self._print(f"{self.elapsed():6.1f} s  {text}")

    def lines(self, lines: Iterable[str]) -> None:
        """Show lines as they are."""
        for line in lines:
            self._print(line)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table as kubectl would, in from the margin; lines that are too long are cut."""
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            line = (_MARGIN + "   ".join(cells)).rstrip()
            room = self._console.width
            self._print(line if len(line) <= room else line[: room - 1] + "…")

    def verdict(self, word: str, text: str, style: str) -> None:
        """Show PASS, FAIL or what else became of a promise."""
        self._console.print(f"{word:4}", style=style, end="  ")
        self._print(text)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, markup=False, soft_wrap=True)
