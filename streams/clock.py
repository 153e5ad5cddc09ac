"""The only wall clock of the project. Everything else is told the time, or asks a `Clock` it was given.

The core runs on event time. What the shell needs a wall clock for is small: the arrival time of a record that has
none, the 1 Hz tick of a live worker, time-outs, and the names of log files. All of it goes through here, so that a
test can hold the time still.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

US_PER_S = 1_000_000
SLEW = 0.1
"""How much faster or slower than time a steady clock runs at most while it follows the machine's. One set wrong by an
hour and right again after ten minutes has moved it by one; one set right by a minute is caught up with in ten."""
STEP_US = 5 * US_PER_S
"""Between two looks no clock drifts that far by itself: it was set."""


class Clock(Protocol):
    """What tells the time."""

    def now_us(self) -> int:
        """Wall time, integer microseconds UTC. A `WallClock` steps when the machine's clock is set."""
        ...

    def machine_us(self) -> int:
        """What the machine's own clock says: to be held against what others have read off it."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only go forward, for measuring waits."""
        ...


def machine_us() -> int:
    return time.time_ns() // 1_000


def passed_us() -> int:
    """Since the machine was started, sleep included where the system counts it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000


class WallClock:
    """The machine's clock."""

    __slots__ = ()

    def now_us(self) -> int:
        return machine_us()

    def machine_us(self) -> int:
        return machine_us()

    def monotonic_s(self) -> float:
        return time.monotonic()


class SteadyClock:
    """The machine's clock, but when that is set it goes on from where it was and follows by and by (`SLEW`). It never
    goes back: what was decided by a clock can't be taken back, and what comes after a leap of one would all be late."""

    def __init__(self, wall_us: Callable[[], int] = machine_us, steady_us: Callable[[], int] = passed_us) -> None:
        self._wall_us, self._steady_us = wall_us, steady_us
        self._now_us, self._seen_us = wall_us(), steady_us()
        self._off_us = 0

    def now_us(self) -> int:
        wall_us, steady_us = self._wall_us(), self._steady_us()
        passed = max(0, steady_us - self._seen_us)
        off_us, most = wall_us - self._now_us - passed, int(passed * SLEW)
        if abs(off_us - self._off_us) > STEP_US:
            self._tell(off_us - self._off_us, off_us)
        followed = max(-most, min(off_us, most))
        self._off_us, self._seen_us = off_us - followed, steady_us
        self._now_us += passed + followed
        return self._now_us

    def machine_us(self) -> int:
        return self._wall_us()

    def monotonic_s(self) -> float:
        return time.monotonic()

    @staticmethod
    def _tell(step_us: int, off_us: int) -> None:
        log.warning(
            "the machine's clock was set by %+.1f s; ours is %+.1f s from it and follows by %.0f %% of the time that "
            "passes. If the new time is right, a restart takes it at once",
            step_us / US_PER_S, -off_us / US_PER_S, 100 * SLEW,
        )  # fmt: skip


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved: for tests and for replays."""

    us: int = 0

    def now_us(self) -> int:
        return self.us

    def machine_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / US_PER_S

    def advance(self, seconds: float) -> None:
        """Move forward; a clock never goes back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back, asked for {seconds} s")
        self.us += round(seconds * US_PER_S)
