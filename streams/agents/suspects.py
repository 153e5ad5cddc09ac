"""Records on which the core failed in a way nobody foresaw. Such a record must not end a worker for ever, and must not
take its neighbours along.

The first failure remembers which records were fed together and ends the process: what the core holds may be half
changed. The next worker feeds those one by one, so that the one that fails is known; the one after keeps it from the
core and makes it a dead letter, reason `internal`. What is remembered is forgotten when a save has left it behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from models.columns import RawRecord
from models.observations import DeadReason, DecodeFailure


class Suspects(msgspec.Struct):
    """Places from `first` to before `end`, and those among them that are known to fail. Places are offsets of a lane,
    or numbers within a step of the Desk."""

    first: int = 0
    end: int = 0
    bad: list[int] = []

    def __bool__(self) -> bool:
        return self.first < self.end

    def fed_together(self, places: Sequence[int]) -> Iterator[slice]:
        """Which may be fed at once: all that are not suspected, and each suspect alone."""
        start = 0
        for at, place in enumerate(places):
            if self.first <= place < self.end:
                if start < at:
                    yield slice(start, at)
                yield slice(at, at + 1)
                start = at + 1
        if start < len(places):
            yield slice(start, len(places))

    def failed(self, places: Sequence[int]) -> Suspects:
        """With those that were fed together when the core failed. One that was fed alone is bad."""
        first, end = min(places), max(places) + 1
        bad = [*self.bad, first] if len(places) == 1 else self.bad
        return Suspects(min(self.first, first), max(self.end, end), bad) if self else Suspects(first, end, bad)

    def pack(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, entry: bytes | None) -> Suspects:
        return cls() if entry is None else msgspec.json.decode(entry, type=cls)


def refused(record: int, topic: str, why: str = "the core failed on it") -> DecodeFailure:
    """What becomes of a record that is known to fail."""
    return DecodeFailure(record, "core", DeadReason.INTERNAL, "$", f"{topic}: {why}")


def without(records: Sequence[RawRecord], bad: Sequence[int]) -> list[int]:
    """Which of them are known to fail."""
    wrong = set(bad)
    return [number for number, record in enumerate(records) if record.offset in wrong]
