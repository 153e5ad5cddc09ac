"""The loops of `models.words`, `models.seen` and `models.prints` in machine code.

Everything is compiled when this file is imported, from the cache on disk where it has it: nothing compiles under way.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from models.columns import I32, I64, PADDING, U8, U64, Mask
from models.kernels.bytes import FIRST, SECOND, fingerprint, loop, same

ZERO, ONE = np.uint64(0), np.uint64(1)
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
BEHIND = len(PADDING)

BYTES_READ = types.Array(types.uint8, 1, "C", readonly=True)
I32_READ = types.Array(types.int32, 1, "C", readonly=True)
INTEGER = types.int64
FULL = -2


@njit(inline="always")
def signed(word: np.uint64) -> int:
    # numba takes `int` of an unsigned number for an unsigned one, and makes a float of its sum with a signed one.
    return int(np.int64(word))


@njit(inline="always")
def intern(
    buffer: U8, where: int, length: int, slots: I32, words: U64, arena: U8, count: int, add: bool
) -> tuple[int, int]:
    """The id of one piece and the number of words after it: -1 where it is not held and not to be added, FULL where
    there is no room for it.

    A word is (hash, where it begins in the arena) and ends where the next begins, so there is always one more entry
    than words.
    """
    last = np.uint64(len(slots) - 1)
    key, _ = fingerprint(buffer, where, length, ZERO)
    slot = key & last
    while True:
        word = int(slots[slot])
        if word < 0:
            break
        if words[word, 0] == key:
            start = signed(words[word, 1])
            if signed(words[word + 1, 1]) - start == length and same(buffer, where, arena, start, length):
                break
        slot = (slot + ONE) & last
    if word < 0 and add:
        end = signed(words[count, 1])
        if count >= min(len(words) - 1, len(slots) // 2) or end + length > len(arena) - BEHIND:
            return FULL, count
        for n in range(length):
            arena[end + n] = buffer[where + n]
        words[count, 0] = key
        words[count + 1, 1] = np.uint64(end + length)
        slots[slot] = count
        return count, count + 1
    return word, count


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

    Stops before a word for which there is no room. Gives the row to go on with and the number of words.
    """
    while row < len(at):
        word = -1
        if size[row] >= 0:
            word, count = intern(buffer, int(at[row]), int(size[row]), slots, words, arena, count, add)
            if word == FULL:
                return row, count
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


@njit(inline="always")
def home(first: np.uint64, second: np.uint64, slots: int) -> int:
    """The slot where a print would like to be. Mixed once more, so that prints need not be good hashes."""
    key = (first + (second ^ (second >> HALF)) * FIRST) * SECOND
    slot: int = signed(((key ^ (key >> HALF)) & LOW) * np.uint64(slots) >> HALF)
    return slot


@loop(
    (
        types.Array(types.uint64, 2, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.boolean, 1, "C", readonly=True),
        types.boolean[::1],
        INTEGER,
        types.int32[::1],
        types.uint64[:, ::1],
        INTEGER,
        INTEGER,
        INTEGER,
        INTEGER,
    )
)
def add_prints(
    prints: U64,
    time_us: I64,
    ask: Mask,
    seen: Mask,
    row: int,
    slots: I32,
    held: U64,
    count: int,
    from_us: int,
    last_us: int,
    least_us: int,
) -> tuple[int, int, int]:
    """Marks in `seen` what is held, and holds what is not, from `row` on. Those of another time pass.

    An entry is (first half, second half, time), in order of adding. One older than `least_us` is forgotten, only
    still there; its print may be added anew behind it. Stops before an entry for which there is no room. Gives the row
    to go on with, the number of entries, and how many that ask have passed.
    """
    size, passed = len(slots), 0
    while row < len(time_us):
        if ask[row] and not from_us <= time_us[row] <= last_us:
            passed += 1
        elif ask[row]:
            first, second = prints[row, 0], prints[row, 1]
            slot = home(first, second, size)
            while True:
                entry = slots[slot]
                if entry < 0:
                    break
                if held[entry, 0] == first and held[entry, 1] == second and signed(held[entry, 2]) >= least_us:
                    seen[row] = True
                    break
                slot += 1
                if slot == size:
                    slot = 0
            if entry < 0 and time_us[row] >= least_us:
                if count >= len(held):
                    return row, count, passed
                held[count, 0], held[count, 1], held[count, 2] = first, second, np.uint64(time_us[row])
                slots[slot] = count
                count += 1
        row += 1
    return row, count, passed


@loop((types.int32[::1], types.uint64[:, ::1], INTEGER, types.uint64[:, ::1], INTEGER))
def move_prints(slots: I32, held: U64, count: int, into: U64, least_us: int) -> int:
    """Moves the entries of `least_us` or later, in their order, and enters them into empty slots. Gives how many.

    `into` may be `held` itself.
    """
    size, kept = len(slots), 0
    for entry in range(count):
        if signed(held[entry, 2]) >= least_us:
            first, second = held[entry, 0], held[entry, 1]
            into[kept, 0], into[kept, 1], into[kept, 2] = first, second, held[entry, 2]
            slot = home(first, second, size)
            while slots[slot] >= 0:
                slot += 1
                if slot == size:
                    slot = 0
            slots[slot] = kept
            kept += 1
    return kept


@loop(
    (
        BYTES_READ,
        I32_READ,
        I32_READ,
        types.Array(types.int64, 1, "C", readonly=True),
        types.uint64[:, ::1],
    )
)
def fill_prints(buffer: U8, at: I32, size: I32, salt: I64, made: U64) -> None:
    for row in range(len(at)):
        if size[row] < 0:
            made[row, 0], made[row, 1] = ZERO, ZERO
        else:
            made[row, 0], made[row, 1] = fingerprint(buffer, int(at[row]), int(size[row]), np.uint64(salt[row]))
