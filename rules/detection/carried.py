"""What detections would carry of hits that wait: the few cells of their rows, as columns.

A batch stays in memory as long as one of its hits waits. A snapshot takes only these cells, a column at a time: cell by
cell a hundred thousand waiting hits took the better part of a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np

from models.columns import F64, I32, I64, Column, Flags, Mixed, Numbers, Scalar, Texts, scalar

KEPT_BYTES = 128  # of a row that is carried, with its texts
Cells = tuple[float, float, float | None, Scalar, dict[str, Any]]
"""lon, lat, error_m, value and attributes of one row."""


class PackedTexts(msgspec.Struct, array_like=True, tag="t"):
    """Words in the order of their first rows, so that the same cells are the same bytes."""

    codes: bytes
    words: list[str]
    masks: list[str | None] | None
    """Of a tokenised field, the mask of each word."""


class PackedNumbers(msgspec.Struct, array_like=True, tag="n"):
    values: bytes


class PackedFlags(msgspec.Struct, array_like=True, tag="f"):
    values: bytes


class PackedMixed(msgspec.Struct, array_like=True, tag="m"):
    number: PackedNumbers
    flag: PackedFlags
    text: PackedTexts


Packed = PackedTexts | PackedNumbers | PackedFlags | PackedMixed


class Piece(msgspec.Struct, array_like=True):
    """The rows of one rule in one batch."""

    lon: bytes
    lat: bytes
    error_m: bytes
    value: Packed | None
    attributes: dict[str, Packed]


@dataclass(frozen=True, slots=True)
class Carried:
    """The same, to be read. `masks` by tokenised field: of each word of its column."""

    lon: F64
    lat: F64
    error_m: F64
    value: Column | None
    attributes: dict[str, Column]
    masks: dict[str, Sequence[str | None]]

    def __len__(self) -> int:
        return len(self.lon)

    @classmethod
    def of(cls, piece: Piece) -> Carried:
        masks = {n: p.masks for n, p in piece.attributes.items() if isinstance(p, PackedTexts) and p.masks is not None}
        return cls(
            np.frombuffer(piece.lon, np.float64),
            np.frombuffer(piece.lat, np.float64),
            np.frombuffer(piece.error_m, np.float64),
            None if piece.value is None else unpacked(piece.value),
            {name: unpacked(column) for name, column in piece.attributes.items()},
            dict(masks),
        )

    def take(self, rows: I64) -> Carried:
        return Carried(
            self.lon[rows],
            self.lat[rows],
            self.error_m[rows],
            None if self.value is None else self.value.take(rows),
            {name: column.take(rows) for name, column in self.attributes.items()},
            self.masks,
        )

    def packed(self) -> Piece:
        return Piece(
            self.lon.tobytes(),
            self.lat.tobytes(),
            self.error_m.tobytes(),
            None if self.value is None else packed(self.value, None),
            {name: packed(column, self.masks.get(name)) for name, column in self.attributes.items()},
        )

    def cells(self, row: int) -> Cells:
        error_m = float(self.error_m[row])
        return (
            float(self.lon[row]),
            float(self.lat[row]),
            None if error_m != error_m else error_m,
            None if self.value is None else scalar(self.value, row),
            {name: self._cell(name, column, row) for name, column in self.attributes.items()},
        )

    def _cell(self, name: str, column: Column, row: int) -> Any:
        return scalar(column, row) if name not in self.masks else masked_cell(column, self.masks[name], row)


class Kept:
    """What a snapshot carried, row by row behind each other."""

    __slots__ = ("firsts", "pieces")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = [Carried.of(piece) for piece in pieces]
        self.firsts = [0, *accumulate(map(len, self.pieces))]

    def __len__(self) -> int:
        return self.firsts[-1]

    @property
    def nbytes(self) -> int:
        """About what it keeps in memory."""
        return KEPT_BYTES * len(self)

    def pieces_of(self, rows: I32) -> I64:
        """The number of the piece of each."""
        return np.searchsorted(self.firsts, rows, side="right").astype(np.int64) - 1

    def cells(self, row: int) -> Cells:
        number = bisect_right(self.firsts, row) - 1
        return self.pieces[number].cells(row - self.firsts[number])

    def take(self, number: int, rows: I64) -> Carried:
        """Of one piece some rows, named as rows of all."""
        return self.pieces[number].take(rows - self.firsts[number])


def masked_cell(column: Column, masks: Sequence[str | None], row: int) -> Any:
    """Of a tokenised field: token and mask."""
    assert isinstance(column, Texts)
    code = int(column.codes[row])
    return None if code < 0 else {"token": column.words[code], "mask": masks[code]}


def packed(column: Column, masks: Sequence[str | None] | None) -> Packed:
    match column:
        case Numbers(values):
            return PackedNumbers(values.tobytes())
        case Flags(values):
            return PackedFlags(values.tobytes())
        case Texts():
            return _packed_texts(column, masks)
        case Mixed(number, flag, text):
            return PackedMixed(
                PackedNumbers(number.values.tobytes()), PackedFlags(flag.values.tobytes()), _packed_texts(text, None)
            )


def _packed_texts(texts: Texts, masks: Sequence[str | None] | None) -> PackedTexts:
    codes: list[int] = texts.codes.tolist()
    used = [code for code in dict.fromkeys(codes) if code >= 0]
    anew = np.full(len(texts.words) + 1, -1, dtype=np.int32)  # the last for null
    anew[used] = np.arange(len(used))
    return PackedTexts(
        anew[texts.codes].tobytes(),
        [texts.words[code] for code in used],
        None if masks is None else [masks[code] for code in used],
    )


def unpacked(column: Packed) -> Column:
    match column:
        case PackedNumbers(values):
            return Numbers(np.frombuffer(values, np.float64))
        case PackedFlags(values):
            return Flags(np.frombuffer(values, np.int8))
        case PackedTexts(codes, words):
            return Texts(np.frombuffer(codes, np.int32), tuple(words), {word: n for n, word in enumerate(words)})
        case PackedMixed(number, flag, text):
            parts = unpacked(number), unpacked(flag), unpacked(text)
            return Mixed(*parts)  # type: ignore[arg-type]
