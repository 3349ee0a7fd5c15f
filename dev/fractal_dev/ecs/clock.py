"""The stand-in's clock: real time that can be pushed forward, or frozen."""

import time


class StandInClock:
    """Seconds since the epoch. ``frozen`` time moves by :meth:`advance` only."""

    def __init__(self, *, frozen: bool = False) -> None:
        self._frozen_at = time.time() if frozen else None
        self._offset = 0.0

    def now(self) -> float:
        """Return the stand-in's time in seconds since the epoch."""
        base = time.time() if self._frozen_at is None else self._frozen_at
        return base + self._offset

    def advance(self, seconds: float) -> None:
        """Push the clock ``seconds`` forward; everything due by then has happened.

        Raises:
            ValueError: ``seconds`` is negative; time never goes back.
        """
        if seconds < 0:
            raise ValueError(f"the clock cannot go back by {-seconds} s")
        self._offset += seconds
