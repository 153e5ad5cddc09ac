"""Which records of late were seen, to know the doubled ones: 128-bit prints, each with its time.

A print is kept with those of the same minute, so forgetting drops whole tables and nothing is ever swept. Two back ends
answer the same: loops in machine code over flat arrays, and a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from sys import getsizeof
from typing import Protocol

import numpy as np

from models.columns import I32, I64, U64, Mask
from models.times import MINUTE_US

Add = Callable[[U64, I64, Mask, Mask, int, I32, U64, int, int, int, int], tuple[int, int, int]]
Move = Callable[[I32, U64, int, U64, int], int]

EARLIEST, LATEST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
ENTRY = 24  # bytes in a snapshot
LEAST_ROOM = 256
AS_BEFORE = 1.2  # room of a new minute, of the fullest of those that are held


Span = tuple[int, int]
"""The first and the last microsecond."""


def span_of(minute: int) -> Span:
    first_us = minute * MINUTE_US
    return max(first_us, EARLIEST), min(first_us + MINUTE_US - 1, LATEST)


class Seen:
    """Holds each print from its first record until `forget_before` passes that record's time. Not for two threads.

    A record that comes again has its time again: the same print at another minute is another record.
    """

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._minutes: dict[int, _Table] = {}
        self._blocks: dict[int, list[str]] = {}
        self._stored: dict[int, int] = {}
        self._entered = 0
        self._least_us = EARLIEST

    def __len__(self) -> int:
        """Those that count still."""
        return sum(self._live(minute) for minute in self._minutes)

    def _live(self, minute: int) -> int:
        table = self._minutes[minute]
        return len(table) if minute * MINUTE_US >= self._least_us else table.live(self._least_us)

    @property
    def forgotten(self) -> int:
        """How many were held once and are too old now."""
        return self._entered - len(self)

    @property
    def nbytes(self) -> int:
        return sum(table.nbytes for table in self._minutes.values())

    def add(self, prints: U64, time_us: I64, ask: Mask) -> Mask:
        """In order, for each row that asks: whether its print is held; if not, it is from here on, with this time.

        A row that is itself older than the limit is not held.
        """
        if not len(prints) == len(time_us) == len(ask):
            raise ValueError(f"{len(prints)} prints, {len(time_us)} times, {len(ask)} flags")
        seen: Mask = np.zeros(len(prints), dtype=np.bool_)
        if len(seen):
            minute = int(time_us[0]) // MINUTE_US
            if self._add(minute, prints, time_us, ask, seen):
                minutes = time_us // MINUTE_US
                for other in np.unique(minutes[ask]).tolist():
                    if other != minute:
                        self._add(other, prints, time_us, ask, seen)
        return seen

    def _add(self, minute: int, prints: U64, time_us: I64, ask: Mask, seen: Mask) -> bool:
        """The rows of one minute. Gives whether there are others that ask."""
        table = self._minutes.get(minute)
        if table is None:
            fullest = max((len(other) for other in self._minutes.values()), default=0)
            table = _table(self._compiled, max(LEAST_ROOM, int(AS_BEFORE * fullest)))
        added, others = table.add(prints, time_us, ask, seen, span_of(minute), self._least_us)
        if added:
            self._minutes[minute] = table
        self._entered += added
        return others

    def forget_before(self, time_us: int) -> None:
        """What is older counts no longer. The limit never falls."""
        if time_us > self._least_us:
            self._least_us = time_us
            for minute in [m for m in self._minutes if (m + 1) * MINUTE_US <= time_us]:
                del self._minutes[minute]

    def snapshot(self) -> bytes:
        """The live entries in the order of their prints and times: depends on nothing but what they are."""
        parts = [table.entries(self._least_us) for table in self._minutes.values()]
        entries: U64 = np.concatenate([np.empty((0, 3), dtype=np.uint64), *parts])
        order = np.lexsort((np.ascontiguousarray(entries[:, 2]).view(np.int64), entries[:, 1], entries[:, 0]))
        return entries[order].astype("<u8").tobytes()

    def changes(self) -> dict[str, bytes | None]:
        """Entries in blocks by name: what must be stored, or deleted (None), so that a table which holds those of the
        last call, or of `restore_blocks`, holds all that is held now."""
        changed: dict[str, bytes | None] = {}
        for minute in [minute for minute in self._blocks if minute not in self._minutes]:
            del self._stored[minute]
            changed |= dict.fromkeys(self._blocks.pop(minute))
        for minute, table in self._minutes.items():
            stored = self._stored.get(minute, 0)
            if len(table) > stored:
                names = self._blocks.setdefault(minute, [])
                names.append(f"{minute}/{1 + (number_of(names[-1]) if names else 0)}")
                changed[names[-1]] = table.since(stored).astype("<u8").tobytes()
                self._stored[minute] = len(table)
        return changed

    def restore_blocks(self, blocks: Mapping[str, bytes]) -> None:
        """Holds what is in these blocks and nothing else, without a limit: what was forgotten since it was stored is
        held again. Of a print that is there twice the later one counts."""
        names = sorted(blocks, key=number_of)
        parts = [np.frombuffer(blocks[name], "<u8").astype(np.uint64).reshape(-1, 3) for name in names]
        entries: U64 = np.concatenate([np.empty((0, 3), dtype=np.uint64), *parts])[::-1]
        self._entered = self.forgotten
        self._minutes, self._blocks, self._least_us = {}, {}, EARLIEST
        self.add(entries[:, :2], entries[:, 2].view(np.int64), np.ones(len(entries), dtype=np.bool_))
        for name in names:
            self._blocks.setdefault(int(name.partition("/")[0]), []).append(name)
        self._stored = {minute: len(self._minutes[minute]) for minute in self._blocks}

    def restore(self, snapshot: bytes) -> None:
        """Holds what a snapshot held and nothing else, without a limit. ValueError changes nothing."""
        if len(snapshot) % ENTRY:
            raise ValueError(f"{len(snapshot)} bytes are not a number of entries of {ENTRY} bytes")
        entries = np.frombuffer(snapshot, "<u8").astype(np.uint64).reshape(-1, 3)
        anew = Seen(self._compiled)
        if anew.add(entries[:, :2], entries[:, 2].view(np.int64), np.ones(len(entries), dtype=np.bool_)).any():
            raise ValueError("a print is there twice")
        self._entered = self.forgotten + len(entries)
        self._minutes, self._least_us = anew._minutes, EARLIEST
        self._blocks, self._stored = {}, {}


def number_of(block: str) -> int:
    """Blocks of a minute are numbered in the order of their making."""
    return int(block.partition("/")[2])


class _Table(Protocol):
    """A back end, of one minute."""

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, span_us: Span, least_us: int) -> tuple[int, bool]:
        """Marks in `seen` those of a span; gives how many were added, and whether others ask."""

    def live(self, least_us: int) -> int: ...
    def entries(self, least_us: int) -> U64:
        """The live ones, in any order: two halves of a print, and the bits of a time."""

    def since(self, first: int) -> U64:
        """In the order of adding, those from `first` on."""


def _table(compiled: bool, room: int) -> _Table:
    return _Flat(room) if compiled else _Dict()


class _Dict:
    """The plain back end."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.held)

    @property
    def nbytes(self) -> int:
        return getsizeof(self.held) + len(self.held) * (getsizeof((0, 0)) + 3 * getsizeof(1 << 63))

    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, span_us: Span, least_us: int) -> tuple[int, bool]:
        held, added = self.held, 0
        rows = np.flatnonzero(ask & (time_us >= span_us[0]) & (time_us <= span_us[1]))
        for row, pair, time in zip(rows.tolist(), prints[rows].tolist(), time_us[rows].tolist(), strict=True):
            key = (pair[0], pair[1])
            if held.get(key, EARLIEST - 1) >= least_us:
                seen[row] = True
            elif time >= least_us:
                held.pop(key, None)
                held[key] = time
                added += 1
        return added, len(rows) < int(np.count_nonzero(ask))

    def live(self, least_us: int) -> int:
        return sum(time >= least_us for time in self.held.values())

    def entries(self, least_us: int) -> U64:
        live = [(*pair, time) for pair, time in self.held.items() if time >= least_us]
        entries: U64 = np.empty((len(live), 3), dtype=np.uint64)
        entries[:, :2] = np.array([entry[:2] for entry in live], dtype=np.uint64).reshape(-1, 2)
        entries[:, 2] = np.array([entry[2] for entry in live], dtype=np.int64).view(np.uint64)
        return entries

    def since(self, first: int) -> U64:
        return self.entries(EARLIEST)[first:]


class _Flat:
    """The compiled back end: see `models.kernels.tables.add_prints` for how the arrays hang together."""

    __slots__ = ("count", "held", "kernel", "move", "slots")

    def __init__(self, room: int) -> None:
        tables = import_module("models.kernels.tables")
        self.kernel: Add = tables.add_prints
        self.move: Move = tables.move_prints
        self.count = 0
        self.held: U64 = np.empty((room, 3), dtype=np.uint64)
        self.slots: I32 = np.full(2 * room, -1, dtype=np.int32)

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return self.held.nbytes + self.slots.nbytes

    @property
    def times_us(self) -> I64:
        return self.held[: self.count, 2].view(np.int64)

    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, span_us: Span, least_us: int) -> tuple[int, bool]:
        prints, time_us = np.ascontiguousarray(prints), np.ascontiguousarray(time_us)
        ask = np.ascontiguousarray(ask)
        row, before, others = 0, self.count, 0
        while True:
            row, self.count, passed = self.kernel(
                prints, time_us, ask, seen, row, self.slots, self.held, self.count, *span_us, least_us
            )
            others += passed
            if row == len(seen):
                return self.count - before, others > 0
            self.make_room()

    def make_room(self) -> None:
        """Twice as much."""
        room = 2 * len(self.held)
        held: U64 = np.empty((room, 3), dtype=np.uint64)
        slots: I32 = np.full(2 * room, -1, dtype=np.int32)
        self.move(slots, self.held, self.count, held, EARLIEST)
        self.held, self.slots = held, slots

    def live(self, least_us: int) -> int:
        return int(np.count_nonzero(self.times_us >= least_us))

    def entries(self, least_us: int) -> U64:
        return self.held[: self.count][self.times_us >= least_us]

    def since(self, first: int) -> U64:
        return self.held[first : self.count].copy()
