"""How many records may be decided in one go, so that the loop has its turn: learned from how long the last ones took.

Rules may cost much. What a call costs is partly the same however few records it has, so slices are halved and doubled
between bounds instead of being cut to size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

TURN_S = 0.02
"""Of the loop, for one slice. A record that alone takes longer than that takes it."""
FIRST, LEAST = 256, 16


class Pace:
    """Of one topic of one partition."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, records: int, seconds: float) -> None:
        """A slice of so many records held the loop for so long."""
        if seconds > TURN_S:
            self.size = max(LEAST, min(self.size, records) // 2)
        elif records >= self.size and seconds < TURN_S / 2:
            self.size *= 2

    def slices(self, places: Sequence[slice]) -> Iterator[slice]:
        """Parts of these, none larger than the pace as it is when it is asked for."""
        for place in places:
            start = place.start
            while start < place.stop:
                yield slice(start, start := min(start + self.size, place.stop))
