"""Interned text: bytes and dense numbers for each other.

Two back ends that answer the same: loops in machine code over flat arrays, and a dict.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from sys import getsizeof
from typing import Protocol

import numpy as np

from models.columns import I32, I64, PADDING, U8, U64, Mask, Spans

Raw = bytes  # a name that the method `bytes` does not hide

Lookup = Callable[[U8, I32, I32, I32, int, I32, U64, U8, int, bool], tuple[int, int]]
Fill = Callable[[I32, U64, int], None]

LEAST_SLOTS = 64
LEAST_WORDS = 32
LEAST_BYTES = 512
GROWTH = 1.25
"""Of what is copied to grow; the slots double. Keeps a word of twelve bytes below 60 bytes in all."""


class Words:
    """Words get the ids 0, 1, … in order of first appearance, until `keep` renumbers them.

    Not for two threads at once.
    """

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._table = _table(compiled)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def nbytes(self) -> int:
        return self._table.nbytes

    @property
    def flat(self) -> FlatWords:
        """The arrays of the compiled back end, for other loops that intern words."""
        assert isinstance(self._table, FlatWords)
        return self._table

    def intern(self, spans: Spans) -> I32:
        """The id of each piece, -1 for null; a new word gets the next id."""
        return self._table.look_up(spans, True)

    def find(self, spans: Spans) -> I32:
        """The id of each piece, -1 for null and for what is not held."""
        return self._table.look_up(spans, False)

    def text(self, word: int) -> str:
        return self.bytes(word).decode("utf-8", "replace")  # a key of Kafka may be any bytes

    def spans(self, ids: I32) -> Spans:
        """The bytes of each id, null for -1."""
        return self._table.spans(ids)

    def texts(self, ids: I32) -> list[str | None]:
        """One text for each id, None for -1."""
        if len(ids) and not -1 <= int(ids.min()) <= int(ids.max()) < len(self):
            raise IndexError(f"an id outside -1 to {len(self) - 1}")
        return self._table.texts(ids)

    def keep(self, wanted: Mask) -> I32:
        """Forgets the words not marked (one flag a word). The others are renumbered in their old order.

        Gives the new id of each old one, -1 for a forgotten word.
        """
        if wanted.shape != (len(self),):
            raise ValueError(f"{len(wanted)} flags for {len(self)} words")
        renamed = np.cumsum(wanted, dtype=np.int32)
        renamed -= 1
        renamed[~wanted] = -1
        if not wanted.all():
            self._table.keep(wanted)
        return renamed

    def snapshot(self) -> tuple[Raw, Raw]:
        """All words behind each other, and their sizes as little-endian int32; the same from both back ends."""
        return self._table.snapshot()

    def restore(self, arena: Raw, sizes: Raw) -> None:
        """Holds what a snapshot held, with the same ids, and nothing else. ValueError changes nothing."""
        if len(sizes) % 4:
            raise ValueError("sizes of words are not whole numbers of four bytes")
        size = np.frombuffer(sizes, "<i4").astype(np.int32)
        ends = np.cumsum(size, dtype=np.int64)
        held = int(ends[-1]) if len(ends) else 0
        if (size < 0).any() or held != len(arena) or held > np.iinfo(np.int32).max:
            raise ValueError(f"sizes of words do not fit their {len(arena)} bytes")
        table = _table(self._compiled)
        table.look_up(Spans(np.frombuffer(arena + PADDING, np.uint8), (ends - size).astype(np.int32), size), True)
        if len(table) != len(size):
            raise ValueError("a word is there twice")
        self._table = table

    def bytes(self, word: int) -> Raw:
        if not 0 <= word < len(self):
            raise IndexError(f"no word {word} among {len(self)}")
        return self._table.piece(word)


class _Table(Protocol):
    """A back end. It may trust its caller: ids are those of words it holds."""

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def look_up(self, spans: Spans, add: bool) -> I32: ...
    def piece(self, word: int) -> Raw: ...
    def spans(self, ids: I32) -> Spans: ...
    def texts(self, ids: I32) -> list[str | None]: ...
    def keep(self, wanted: Mask) -> None: ...
    def snapshot(self) -> tuple[Raw, Raw]: ...


def _table(compiled: bool) -> _Table:
    return FlatWords() if compiled else _Dict()


class _Dict:
    """The plain back end."""

    def __init__(self) -> None:
        self.ids: dict[Raw, int] = {}
        self.words: list[Raw] = []

    def __len__(self) -> int:
        return len(self.words)

    @property
    def nbytes(self) -> int:
        return getsizeof(self.ids) + getsizeof(self.words) + sum(map(getsizeof, self.words))

    def look_up(self, spans: Spans, add: bool) -> I32:
        buffer, ids, words = spans.buffer.data, self.ids, self.words
        found: list[int] = []
        for at, size in zip(spans.at.tolist(), spans.size.tolist(), strict=True):
            if size < 0:
                found.append(-1)
                continue
            piece = Raw(buffer[at : at + size])
            word = ids.get(piece, -1)
            if word < 0 and add:
                word = ids[piece] = len(words)
                words.append(piece)
            found.append(word)
        return np.array(found, dtype=np.int32)

    def piece(self, word: int) -> Raw:
        return self.words[word]

    def spans(self, ids: I32) -> Spans:
        return Spans.of([None if word < 0 else self.words[word] for word in ids.tolist()])

    def texts(self, ids: I32) -> list[str | None]:
        return [None if word < 0 else self.words[word].decode() for word in ids.tolist()]

    def keep(self, wanted: Mask) -> None:
        self.words = [word for word, kept in zip(self.words, wanted.tolist(), strict=True) if kept]
        self.ids = {word: number for number, word in enumerate(self.words)}

    def snapshot(self) -> tuple[Raw, Raw]:
        return b"".join(self.words), np.array([len(word) for word in self.words], dtype="<i4").tobytes()


class FlatWords:
    """The compiled back end: see `models.kernels.tables.look_up` for how the arrays hang together."""

    __slots__ = ("arena", "count", "fill", "lookup", "slots", "words")

    def __init__(self) -> None:
        tables = import_module("models.kernels.tables")
        self.lookup: Lookup = tables.look_up
        self.fill: Fill = tables.fill_slots
        self.count = 0
        self.slots: I32 = np.full(LEAST_SLOTS, -1, dtype=np.int32)
        self.words: U64 = np.zeros((LEAST_WORDS + 1, 2), dtype=np.uint64)
        self.arena: U8 = np.empty(LEAST_BYTES + len(PADDING), dtype=np.uint8)

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return self.slots.nbytes + self.words.nbytes + self.arena.nbytes

    def look_up(self, spans: Spans, add: bool) -> I32:
        at, size = np.ascontiguousarray(spans.at), np.ascontiguousarray(spans.size)
        rows = len(at)
        ids: I32 = np.empty(rows, dtype=np.int32)
        row, self.count = self.lookup(
            spans.buffer, at, size, ids, 0, self.slots, self.words, self.arena, self.count, add
        )
        while row < rows:  # seldom: it stopped for want of room
            self.make_room(int(size[row]))
            row, self.count = self.lookup(
                spans.buffer, at, size, ids, row, self.slots, self.words, self.arena, self.count, add
            )
        return ids

    def make_room(self, size: int) -> None:
        """For at least one more word of so many bytes. Fails, if at all, before it has changed anything it can't."""
        if self.count == len(self.words) - 1:
            words: U64 = np.empty((int(self.count * GROWTH) + LEAST_WORDS + 1, 2), dtype=np.uint64)
            words[: self.count + 1] = self.words
            self.words = words
        end = int(self.words[self.count, 1])
        if end + size > len(self.arena) - len(PADDING):
            arena: U8 = np.empty(int((end + size) * GROWTH) + LEAST_BYTES + len(PADDING), dtype=np.uint8)
            arena[:end] = self.arena[:end]
            self.arena = arena
        if self.count >= len(self.slots) // 2:
            self.fill_slots()

    def fill_slots(self) -> None:
        """New slots, at least twice as many as one more word needs."""
        slots: I32 = np.full(max(LEAST_SLOTS, 2 << self.count.bit_length()), -1, dtype=np.int32)
        self.fill(slots, self.words, self.count)
        self.slots = slots

    def piece(self, word: int) -> Raw:
        start, end = self.words[word : word + 2, 1].tolist()
        return self.arena[start:end].tobytes()

    def spans(self, ids: I32) -> Spans:
        starts, ends = self.words[ids, 1].astype(np.int32), self.words[ids + 1, 1].astype(np.int32)
        return Spans(self.arena, starts, np.where(ids < 0, np.int32(-1), ends - starts))

    def texts(self, ids: I32) -> list[str | None]:
        starts, ends = self.words[ids, 1].tolist(), self.words[ids + 1, 1].tolist()
        arena = self.arena.data
        return [
            None if word < 0 else str(arena[start:end], "utf-8")
            for word, start, end in zip(ids.tolist(), starts, ends, strict=True)
        ]

    def keep(self, wanted: Mask) -> None:
        sizes = self.sizes()
        kept = sizes[wanted]
        self.arena = np.concatenate(
            [self.arena[: int(sizes.sum())][np.repeat(wanted, sizes)], np.zeros(len(PADDING), dtype=np.uint8)]
        )
        words: U64 = np.zeros((len(kept) + 1, 2), dtype=np.uint64)
        words[:-1, 0] = self.words[: self.count, 0][wanted]
        np.cumsum(kept, out=words[1:, 1].view(np.int64))
        self.words, self.count = words, len(kept)
        self.fill_slots()

    def sizes(self) -> I64:
        starts = self.words[: self.count + 1, 1].astype(np.int64)
        return starts[1:] - starts[:-1]

    def snapshot(self) -> tuple[Raw, Raw]:
        end = int(self.words[self.count, 1])
        return self.arena[:end].tobytes(), self.sizes().astype("<i4").tobytes()
