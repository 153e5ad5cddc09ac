"""Which records of late were seen, to know the doubled ones: 128-bit prints, each with its time.

Two back ends that answer the same: loops in machine code over flat arrays, and a dict.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from sys import getsizeof
from typing import Protocol

import numpy as np

from models.columns import I32, I64, U64, Mask

Add = Callable[[U64, I64, Mask, Mask, int, I32, U64, int, int], tuple[int, int]]
Move = Callable[[I32, U64, int, U64, int], int]

EARLIEST, LATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
ENTRY = 24  # bytes in a snapshot

# Room of the compiled back end. An entry of room is 32 bytes (with its two slots), so half of the room in use is
# 64 bytes an entry: what is allowed. The fuller it may stay, the more often it is swept.
LEAST_ROOM = 256
SLACK = 1.8  # room for each live entry after a change of room
TOO_FULL, TOO_EMPTY = 0.65, 0.53  # shares of the room in use beyond which it changes
WATCHED = 0.515  # share of the room in use from which it is looked at, whether it is too empty
SAMPLE = 4096  # times that are looked at to know about all, to one in a hundred


class Seen:
    """Holds each print from its first record until `forget_before` passes that record's time. Not for two threads."""

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._table = _table(compiled)
        self._entered = 0
        self._least_us = EARLIEST

    def __len__(self) -> int:
        """Those that count still. Goes through all."""
        return self._table.live(self._least_us)

    @property
    def forgotten(self) -> int:
        """How many were held once and are too old now. Goes through all."""
        return self._entered - len(self)

    @property
    def nbytes(self) -> int:
        return self._table.nbytes

    def add(self, prints: U64, time_us: I64, ask: Mask) -> Mask:
        """In order, for each row that asks: whether its print is held; if not, it is from here on, with this time.

        A row that is itself older than the limit is not held.
        """
        if not len(prints) == len(time_us) == len(ask):
            raise ValueError(f"{len(prints)} prints, {len(time_us)} times, {len(ask)} flags")
        seen: Mask = np.zeros(len(prints), dtype=np.bool_)
        self._entered += self._table.add(prints, time_us, ask, seen, self._least_us)
        return seen

    def forget_before(self, time_us: int) -> None:
        """What is older counts no longer. The limit never falls."""
        if time_us > self._least_us:
            self._least_us = time_us
            self._table.passed(time_us)

    def snapshot(self) -> bytes:
        """The live entries in the order of their prints: depends on nothing but what they are."""
        entries = self._table.entries(self._least_us)
        return entries[np.lexsort((entries[:, 1], entries[:, 0]))].astype("<u8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Holds what a snapshot held and nothing else, without a limit. ValueError changes nothing."""
        if len(snapshot) % ENTRY:
            raise ValueError(f"{len(snapshot)} bytes are not a number of entries of {ENTRY} bytes")
        entries = np.frombuffer(snapshot, "<u8").astype(np.uint64).reshape(-1, 3)
        seen: Mask = np.zeros(len(entries), dtype=np.bool_)
        table, ask = _table(self._compiled), np.ones(len(entries), dtype=np.bool_)
        added = table.add(entries[:, :2], entries[:, 2].view(np.int64), ask, seen, EARLIEST)
        if added != len(entries):
            raise ValueError("a print is there twice")
        self._entered = self.forgotten + added
        self._table, self._least_us = table, EARLIEST


class _Table(Protocol):
    """A back end. The limits it is given never fall."""

    @property
    def nbytes(self) -> int: ...
    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, least_us: int) -> int:
        """Marks in `seen`; gives how many were added."""

    def live(self, least_us: int) -> int: ...
    def passed(self, least_us: int) -> None:
        """The limit has risen: a time to make room."""

    def entries(self, least_us: int) -> U64:
        """The live ones, in any order: two halves of a print, and the bits of a time."""


def _table(compiled: bool) -> _Table:
    return _Flat() if compiled else _Dict()


class _Dict:
    """The plain back end."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}
        self.swept_us = EARLIEST
        self.sweep_at = LEAST_ROOM

    @property
    def nbytes(self) -> int:
        return getsizeof(self.held) + len(self.held) * (getsizeof((0, 0)) + 3 * getsizeof(1 << 63))

    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, least_us: int) -> int:
        held, added = self.held, 0
        rows = np.flatnonzero(ask)
        for row, pair, time in zip(rows.tolist(), prints[rows].tolist(), time_us[rows].tolist(), strict=True):
            key = (pair[0], pair[1])
            if held.get(key, EARLIEST - 1) >= least_us:
                seen[row] = True
            elif time >= least_us:
                held[key] = time
                added += 1
        if len(held) > self.sweep_at:
            self.sweep_at = max(LEAST_ROOM, 2 * self.live(least_us))
        return added

    def live(self, least_us: int) -> int:
        if least_us > self.swept_us:
            self.held = {pair: time for pair, time in self.held.items() if time >= least_us}
            self.swept_us = least_us
        return len(self.held)

    def passed(self, least_us: int) -> None:
        pass  # it is swept when it grows

    def entries(self, least_us: int) -> U64:
        self.live(least_us)
        held = np.array(list(self.held), dtype=np.uint64).reshape(-1, 2)
        times = np.array(list(self.held.values()), dtype=np.int64)
        return np.column_stack((held, times.view(np.uint64)))


class _Flat:
    """The compiled back end: see `models.kernels.tables.add_prints` for how the arrays hang together.

    The forgotten stay until the room is full, or until so many are forgotten that the room is too large.
    """

    __slots__ = ("count", "held", "kernel", "move", "slots", "watch_us")

    def __init__(self) -> None:
        tables = import_module("models.kernels.tables")
        self.kernel: Add = tables.add_prints
        self.move: Move = tables.move_prints
        self.count = 0
        self.held: U64 = np.empty((LEAST_ROOM, 3), dtype=np.uint64)
        self.slots: I32 = np.full(2 * LEAST_ROOM, -1, dtype=np.int32)
        self.watch_us = LATEST

    @property
    def nbytes(self) -> int:
        return self.held.nbytes + self.slots.nbytes

    @property
    def times_us(self) -> I64:
        return self.held[: self.count, 2].view(np.int64)

    def add(self, prints: U64, time_us: I64, ask: Mask, seen: Mask, least_us: int) -> int:
        prints, time_us = np.ascontiguousarray(prints), np.ascontiguousarray(time_us)
        ask = np.ascontiguousarray(ask)
        row, before, added = 0, self.count, 0
        while True:
            row, self.count = self.kernel(prints, time_us, ask, seen, row, self.slots, self.held, self.count, least_us)
            added += self.count - before
            if row == len(seen):
                return added
            self.sweep(least_us)
            before = self.count

    def live(self, least_us: int) -> int:
        return int(np.count_nonzero(self.times_us >= least_us))

    def passed(self, least_us: int) -> None:
        if least_us > self.watch_us:
            if self.estimate(least_us) < TOO_EMPTY * len(self.held):
                self.sweep(least_us)
            else:
                self.watch()

    def sweep(self, least_us: int) -> None:
        """Drops what is forgotten; more or less room where it is too full or too empty without."""
        room = len(self.held)
        least, most = TOO_EMPTY * room, TOO_FULL * room
        if least <= self.estimate(least_us) <= most:
            self.slots.fill(-1)
            live = self.count = self.move(self.slots, self.held, self.count, self.held, least_us)
        else:
            live = self.live(least_us)
        if not least <= live <= most:
            room = max(LEAST_ROOM, int(live * SLACK))
            held: U64 = np.empty((room, 3), dtype=np.uint64)
            slots: I32 = np.full(2 * room, -1, dtype=np.int32)
            self.count = self.move(slots, self.held, self.count, held, least_us)
            self.held, self.slots = held, slots
        self.watch()

    def watch(self) -> None:
        """Sets the limit up to which the room is surely not too empty, but for the error of a sample."""
        enough = WATCHED * len(self.held)
        if len(self.held) == LEAST_ROOM or self.count <= enough:
            self.watch_us = LATEST
            return
        sample = self.sample()
        place = int(len(sample) * (1 - enough / self.count))
        self.watch_us = int(np.partition(sample, place)[place])

    def estimate(self, least_us: int) -> float:
        """About how many are live: counting them all takes as long as half a sweep."""
        sample = self.sample()
        return float(np.count_nonzero(sample >= least_us) / max(len(sample), 1) * self.count)

    def sample(self) -> I64:
        return self.times_us[:: self.count // SAMPLE | 1]

    def entries(self, least_us: int) -> U64:
        return self.held[: self.count][self.times_us >= least_us]
