"""The look-ups of `models.words`, in machine code.

Everything is compiled when this file is imported, from the cache on disk where it has it: nothing compiles under way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types

from models.columns import I32, PADDING, U8, U64
from models.kernels.bytes import fingerprint, same

Loop = TypeVar("Loop", bound=Callable[..., Any])

ZERO, ONE = np.uint64(0), np.uint64(1)
BEHIND = len(PADDING)

BYTES_READ = types.Array(types.uint8, 1, "C", readonly=True)
I32_READ = types.Array(types.int32, 1, "C", readonly=True)
INTEGER = types.int64


def loop(signature: Any) -> Callable[[Loop], Loop]:
    # The loops make no arrays, so they need no reference counts: counting took half the time, at each piece anew.
    options: dict[str, Any] = {"nogil": True, "_nrt": False}

    def build(function: Loop) -> Loop:
        try:
            ready: Loop = njit(signature, **options, cache=True)(function)
        except RuntimeError:  # no folder to write to
            ready = njit(signature, **options)(function)
        return ready

    return build


@loop(
    (
        BYTES_READ,
        I32_READ,
        I32_READ,
        types.int32[::1],
        INTEGER,
        types.int32[::1],
        types.uint64[:, ::1],
        types.uint8[::1],
        INTEGER,
        types.boolean,
    )
)
def look_up(
    buffer: U8, at: I32, size: I32, ids: I32, row: int, slots: I32, words: U64, arena: U8, count: int, add: bool
) -> tuple[int, int]:
    """Writes the id of each piece from `row` on; with `add` a new one gets the next id.

    A word is (hash, where it begins in the arena) and ends where the next begins, so there is always one more entry
    than words. Stops before a word for which there is no room. Gives the row to go on with and the number of words.
    """
    last = np.uint64(len(slots) - 1)
    most = min(len(words) - 1, len(slots) // 2)
    room = len(arena) - BEHIND
    while row < len(at):
        length = int(size[row])
        if length < 0:
            ids[row] = -1
            row += 1
            continue
        where = int(at[row])
        key, _ = fingerprint(buffer, where, length, ZERO)
        slot = key & last
        while True:
            word = slots[slot]
            if word < 0:
                break
            if words[word, 0] == key:
                start = int(words[word, 1])
                if int(words[word + 1, 1]) - start == length and same(buffer, where, arena, start, length):
                    break
            slot = (slot + ONE) & last
        if word < 0 and add:
            end = int(words[count, 1])
            if count >= most or end + length > room:
                return row, count
            for n in range(length):
                arena[end + n] = buffer[where + n]
            words[count, 0] = key
            words[count + 1, 1] = np.uint64(end + length)
            word = np.int32(count)
            slots[slot] = word
            count += 1
        ids[row] = word
        row += 1
    return row, count


@loop((types.int32[::1], types.uint64[:, ::1], INTEGER))
def fill_slots(slots: I32, words: U64, count: int) -> None:
    """Enters all words into empty slots (-1): they differ from each other, so nothing is compared."""
    last = np.uint64(len(slots) - 1)
    for word in range(count):
        slot = words[word, 0] & last
        while slots[slot] >= 0:
            slot = (slot + ONE) & last
        slots[slot] = word
