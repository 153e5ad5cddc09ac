"""Prints: 128 bits of a text and a number beside it, by which two records are known to be the same."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from models.columns import I64, U64, Spans

# Of `models.kernels.bytes`, as numbers of Python.
FIRST = 0x9E3779B97F4A7C15
SECOND = 0xC2B2AE3D27D4EB4F
THIRD = 0x165667B19E3779F9
WORD = (1 << 64) - 1


def prints(spans: Spans, salt: I64, compiled: bool) -> U64:
    """One row of two halves for each piece with its own salt; zeros for null. The same from both back ends."""
    if len(salt) != len(spans):
        raise ValueError(f"{len(salt)} salts for {len(spans)} pieces")
    made: U64 = np.empty((len(spans), 2), dtype=np.uint64)
    if compiled:
        at, size = np.ascontiguousarray(spans.at), np.ascontiguousarray(spans.size)
        loops().fill_prints(spans.buffer, at, size, np.ascontiguousarray(salt), made)
        return made
    for row, number in enumerate(salt.tolist()):
        piece = spans.piece(row)
        made[row] = (0, 0) if piece is None else fingerprint(piece, number)
    return made


@cache
def loops() -> Any:
    return import_module("models.kernels.tables")


def fingerprint(piece: bytes, salt: int) -> tuple[int, int]:
    """Bit by bit what `models.kernels.bytes.fingerprint` makes."""
    a, b = mixed(FIRST ^ len(piece), (SECOND + len(piece)) & WORD, salt & WORD)
    for at in range(0, len(piece), 8):
        a, b = mixed(a, b, int.from_bytes(piece[at : at + 8], "little"))
    a = ((a ^ (b >> 31)) * THIRD) & WORD
    b = ((b ^ (a >> 32)) * FIRST) & WORD
    return a ^ (a >> 29), b ^ (b >> 31)


def mixed(a: int, b: int, word: int) -> tuple[int, int]:
    a = ((a ^ word) * FIRST) & WORD
    b = ((b + word) * SECOND) & WORD
    return a ^ (a >> 32), b ^ (b >> 29)
