"""Eight bytes at a time: reading, comparing, hashing pieces of a buffer.

Every buffer has `models.columns.PADDING` behind it, so that reading eight bytes at the last one stays inside.
Little-endian machines only, as all that numba compiles for here are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from models.columns import U8

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""No loop makes an array, so none needs reference counts: counting took half the time, at each piece anew."""

Loop = TypeVar("Loop", bound=Callable[..., Any])

FIRST = np.uint64(0x9E3779B97F4A7C15)
SECOND = np.uint64(0xC2B2AE3D27D4EB4F)
THIRD = np.uint64(0x165667B19E3779F9)
EIGHT, FULL = np.uint64(8), np.uint64(64)
SHIFT_A, SHIFT_B, SHIFT_C = np.uint64(32), np.uint64(29), np.uint64(31)


def loop(signature: Any) -> Callable[[Loop], Loop]:
    """A loop compiled when its file is imported, from the cache on disk where it has it; it may make no arrays."""

    def build(function: Loop) -> Loop:
        try:
            ready: Loop = njit(signature, **OPTIONS, cache=True)(function)
        except RuntimeError:  # no folder to write to
            ready = njit(signature, **OPTIONS)(function)
        return ready

    return build


def _load64(typing_context: Any, buffer: Any, at: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        place = builder.gep(array.data, [builder.sext(arguments[1], word)])
        return builder.load(builder.bitcast(place, word.as_pointer()), align=1)

    return types.uint64(buffer, types.int64), build


load64 = cast(Callable[[U8, int], np.uint64], intrinsic(_load64))
"""The eight bytes at a place of a buffer as one number."""


@njit(inline="always")
def first_bytes(word: np.uint64, size: int) -> np.uint64:
    """The word with only its first `size` bytes (0 to 7) kept."""
    return word & ((np.uint64(1) << (np.uint64(size) * EIGHT)) - np.uint64(1))


@njit(inline="always")
def same(a: U8, at: int, b: U8, where: int, size: int) -> bool:
    """Whether two pieces of the same size are equal."""
    while size >= 8:
        if load64(a, at) != load64(b, where):
            return False
        at, where, size = at + 8, where + 8, size - 8
    return size == 0 or first_bytes(load64(a, at) ^ load64(b, where), size) == np.uint64(0)


@njit(inline="always")
def mixed(a: np.uint64, b: np.uint64, word: np.uint64) -> tuple[np.uint64, np.uint64]:
    """One step of the hash over a word."""
    a = (a ^ word) * FIRST
    b = (b + word) * SECOND
    return a ^ (a >> SHIFT_A), b ^ (b >> SHIFT_B)


@njit(inline="always")
def fingerprint(buffer: U8, at: int, size: int, salt: np.uint64) -> tuple[np.uint64, np.uint64]:
    """128 bits of a piece and a number beside it. Two pieces with the same are the same, for all that can happen: with
    a billion of them the chance that any two collide is below 1e-20."""
    a, b = FIRST ^ np.uint64(size), SECOND + np.uint64(size)
    a, b = mixed(a, b, salt)
    while size >= 8:
        a, b = mixed(a, b, load64(buffer, at))
        at, size = at + 8, size - 8
    if size > 0:
        a, b = mixed(a, b, first_bytes(load64(buffer, at), size))
    a = (a ^ (b >> SHIFT_C)) * THIRD
    b = (b ^ (a >> SHIFT_A)) * FIRST
    return a ^ (a >> SHIFT_B), b ^ (b >> SHIFT_C)
