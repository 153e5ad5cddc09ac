"""The only wall clock of the project. Everything else is told the time, or asks a `Clock` it was given.

The core runs on event time. What the shell needs a wall clock for is small: the arrival time of a record that has
none, the 1 Hz tick of a live worker, time-outs, and the names of log files. All of it goes through here, so that a
test can hold the time still.
"""

import time
from dataclasses import dataclass
from typing import Protocol

US_PER_S = 1_000_000


class Clock(Protocol):
    """What tells the time."""

    def now_us(self) -> int:
        """Wall time, integer microseconds UTC. May step when the machine's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only go forward, for measuring waits."""
        ...


class WallClock:
    """The machine's clock."""

    __slots__ = ()

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved: for tests and for replays."""

    us: int = 0

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / US_PER_S

    def advance(self, seconds: float) -> None:
        """Move forward; a clock never goes back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back, asked for {seconds} s")
        self.us += round(seconds * US_PER_S)
