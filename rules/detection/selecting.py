"""Selecting as machine code: which rows a rule looks at, and the hits it finds there in zones.

Two loops. `judge` runs the programs of all rules (see `rules.detection.program`) over a batch as the scanner left it;
then the zones of the rows that need them are looked up; then `match` writes the hits of all rules, with their keys.

Opcodes and tables are in this file because the cache of machine code watches no other.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import njit

from models.columns import F64, I32, I64, U8, U64, Mask
from models.kernels.bytes import loop, same
from models.kernels.tables import FULL, intern
from rules.detection.places import HEAD_NUMBERS, HEAD_TEXTS, LAT, LON, ROW, ROW_NUMBERS, ROW_TEXTS
from rules.detection.rows import HIT, MENDED, NONE, Rows

OTHERS = MENDED + 1
"""The first of the masks that the rules have, behind those of the batch."""

STEP = np.dtype([("op", "i4"), ("level", "i4"), ("slot", "i4"), ("at", "i4"), ("count", "i4")])
(
    END, NUMBER, FIELD, TEXT_IN, TEXT_SAME, TEXT_NULL, NUMBER_IN, NULL, NOT, TRUE, BEFORE,
    UNLESS_TRUE, UNLESS_FALSE, UNLESS_KNOWN,
    AND, OR, KNOWN, EQUAL, UNEQUAL, LESS, AT_MOST, MORE, AT_LEAST,
    PLUS, MINUS, TIMES, OVER, MODULO, LEAST, MOST, NEGATIVE, ABSOLUTE, ROUNDED,
) = range(33)  # fmt: skip
"""What a step does. Values are numbers on a stack: a flag is 1 or 0, null is NaN. UNLESS_… go on behind `at` with the
value as it is, where the rest of a condition can't change it."""

CONDITION = np.dtype(
    [
        ("rule", "i4"),
        ("over", "i4"),  # the mask of the rows it is asked of
        ("program", "i4"),  # its first step; NONE: true
        ("into", "i4"),  # the mask it makes
    ]
)
"""A condition of a rule. The first ones are what each rule asks of a row at all, in order of rules."""

SELECTION = np.dtype(
    [
        ("include", "i4"),  # rows of the table of zone flags; NONE where the rule has no zones
        ("exclude", "i4"),
        ("leaving", "i4"),  # which look-up says that it is not left yet: the first is that of the zones themselves
        ("by_zone", "i4"),
        ("first_variant", "i4"),
        ("variants", "i4"),
        ("first_key", "i4"),
        ("keys", "i4"),
    ]
)
"""Of a rule: its zones, its variants, and the fields of its key that are read here."""

VARIANT = np.dtype(
    [
        ("number", "i4"),
        ("zones", "i4"),  # flags of the zones where it applies
        ("where", "i4"),  # masks: where it applies, when it applies, and what a hold hears; NONE each
        ("calendar", "i4"),
        ("opens", "i4"),
        ("closes", "i4"),
        ("says", "i4"),
    ]
)

KEY = np.dtype([("level", "i4"), ("slot", "i4"), ("place", "i4")])
"""A text field of a key, and which of k0, k1, k2 it is."""

OPENS, CLOSES = 1, -1

HELD, WANTING, BOOK = range(3)
"""Places of the book: words held, and how many bytes the word has that found no room."""
LOWER = 0xFFFFFFFF
DONE, NO_ROOM, NO_WORDS = range(3)
"""How `match` ends. Without room for hits or for words it is called again from the start, with more."""


def read_only(kind: Any, dimensions: int = 1) -> Any:
    return numba.types.Array(kind, dimensions, "C", readonly=True)


def rows_of(dtype: np.dtype[Any]) -> Any:
    return numba.from_dtype(dtype)[::1]


INTS, LONGS, REALS = numba.int32[::1], numba.int64[::1], numba.float64[::1]
BYTES, MASKS = read_only(numba.uint8), numba.boolean[:, ::1]


@njit(inline="always")
def finite(number: float) -> Any:
    """Null in the place of what no number can say."""
    return number if number - number == 0 else np.nan


@njit(inline="always")
def both(op: int, a: float, b: float) -> Any:
    """What a step makes of two values."""
    if op == AND:
        return 0.0 if a == 0 or b == 0 else a + b - 1
    if op == OR:
        return 1.0 if a == 1 or b == 1 else a + b
    if op == KNOWN:
        return a if a == a else b
    if a != a or b != b:
        return np.nan
    if op == EQUAL:
        return np.float64(a == b)
    if op == UNEQUAL:
        return np.float64(a != b)
    if op == LESS:
        return np.float64(a < b)
    if op == AT_MOST:
        return np.float64(a <= b)
    if op == MORE:
        return np.float64(a > b)
    if op == AT_LEAST:
        return np.float64(a >= b)
    if op == PLUS:
        return finite(a + b)
    if op == MINUS:
        return finite(a - b)
    if op == TIMES:
        return finite(a * b)
    if op == OVER:
        return finite(a / b) if b != 0 else np.nan
    if op == MODULO:
        return finite(a % b) if b != 0 else np.nan
    return min(a, b) if op == LEAST else max(a, b)


@njit(inline="always")
def text_at(level: int, slot: int, row: int, head: int, row_texts: I64, head_texts: I64, shape: I64) -> Any:
    """Where a text stands in the buffer, and its size above it; below zero it is null."""
    if level == ROW:
        return row_texts[row * shape[ROW_TEXTS] + slot]
    return head_texts[head * shape[HEAD_TEXTS] + slot]


@njit(inline="always")
def judge_one(
    n: int, row: int, head: int, steps: Rows, numbers: F64, words: U8, word_at: I32, row_numbers: F64, row_texts: I64,
    head_numbers: F64, head_texts: I64, shape: I64, buffer: U8, time_us: I64, stack: F64,
) -> Any:  # fmt: skip
    """The value of the program that begins with step `n`, for one row."""
    top = -1
    while True:
        step = steps[n]
        op = step.op
        n += 1
        if op == END:
            return stack[0]
        if AND <= op <= MOST:
            top -= 1
            stack[top] = both(op, stack[top], stack[top + 1])
        elif op == FIELD:
            top += 1
            if step.level == ROW:
                stack[top] = row_numbers[row * shape[ROW_NUMBERS] + step.slot]
            else:
                stack[top] = head_numbers[head * shape[HEAD_NUMBERS] + step.slot]
        elif op == NUMBER:
            top += 1
            stack[top] = numbers[step.at]
        elif TEXT_IN <= op <= TEXT_NULL:
            top += 1
            text = text_at(step.level, step.slot, row, head, row_texts, head_texts, shape)
            at, size = text & LOWER, text >> 32
            if op == TEXT_NULL:
                stack[top] = np.float64(size < 0)
            elif size < 0:
                stack[top] = np.nan
            elif op == TEXT_IN:
                found = 0.0
                for word in range(step.at, step.at + step.count):
                    if word_at[word + 1] - word_at[word] == size and same(buffer, at, words, word_at[word], size):
                        found = 1.0
                        break
                stack[top] = found
            else:
                other = text_at(step.at, step.count, row, head, row_texts, head_texts, shape)
                if other >> 32 < 0:
                    stack[top] = np.nan
                else:
                    stack[top] = np.float64(other >> 32 == size and same(buffer, at, buffer, other & LOWER, size))
        elif op == UNLESS_TRUE:
            if stack[top] == 1:
                n = step.at
        elif op == UNLESS_FALSE:
            if stack[top] == 0:
                n = step.at
        elif op == UNLESS_KNOWN:
            if stack[top] == stack[top]:
                n = step.at
        elif op == NUMBER_IN:
            if stack[top] == stack[top]:
                found = 0.0
                for number in range(step.at, step.at + step.count):
                    if numbers[number] == stack[top]:
                        found = 1.0
                stack[top] = found
        elif op == NULL:
            stack[top] = np.float64(stack[top] != stack[top])
        elif op == NOT:
            stack[top] = 1 - stack[top]
        elif op == TRUE:
            stack[top] = np.float64(stack[top] == 1)
        elif op == BEFORE:
            top += 1
            stack[top] = np.float64(time_us[row] < numbers[step.at])
        elif op == NEGATIVE:
            stack[top] = -stack[top]
        elif op == ABSOLUTE:
            stack[top] = abs(stack[top])
        else:
            stack[top] = np.rint(stack[top])


@loop(
    numba.int64(
        rows_of(CONDITION), numba.int64, rows_of(STEP), REALS, BYTES, INTS, REALS, LONGS, REALS, LONGS, LONGS, INTS,
        BYTES, read_only(numba.int64), MASKS, REALS, LONGS,
    )
)  # fmt: skip
def judge(
    conditions: Rows, rules: int, steps: Rows, numbers: F64, words: U8, word_at: I32, row_numbers: F64, row_texts: I64,
    head_numbers: F64, head_texts: I64, shape: I64, row_head: I32, buffer: U8, time_us: I64, masks: Mask, stack: F64,
    counts: I64,
) -> int:  # fmt: skip
    """Make the masks of all conditions. Gives how often a rule wants a row.

    counts    a condition: in how many rows it holds
    row_head  the record of each row among those that were read; empty where each has one row
    shape     of the fields: see `Places`
    """
    wishes = 0
    for c in range(len(conditions)):
        condition = conditions[c]
        counts[c] = 0
        if c > condition.rule and counts[condition.rule] == 0:
            continue
        for row in range(len(time_us)):
            holds = masks[condition.over, row]
            if holds and condition.program != NONE:
                head = row_head[row] if len(row_head) else row
                value = judge_one(
                    condition.program, row, head, steps, numbers, words, word_at, row_numbers, row_texts,
                    head_numbers, head_texts, shape, buffer, time_us, stack,
                )  # fmt: skip
                holds = value == 1
            masks[condition.into, row] = holds
            counts[c] += holds
        if c < rules:
            wishes += counts[c]
    return wishes


@loop(
    numba.int64(
        rows_of(CONDITION), rows_of(SELECTION), MASKS, LONGS, numba.int64, REALS, LONGS, INTS, numba.float64[:, ::1]
    )
)
def want(
    conditions: Rows,
    selections: Rows,
    masks: Mask,
    counts: I64,
    rows: int,
    row_numbers: F64,
    shape: I64,
    places: I32,
    points: F64,
) -> int:
    """How many rows need their zones: where they are (`points`), and the place of each row among them (`places`)."""
    for row in range(rows):
        places[row] = NONE
    for rule in range(len(selections)):
        if selections[rule].include != NONE and counts[rule]:
            for row in range(rows):
                if masks[conditions[rule].into, row]:
                    places[row] = 0
    count = 0
    for row in range(rows):
        if places[row] != NONE:
            places[row] = count
            points[0, count] = row_numbers[row * shape[ROW_NUMBERS] + shape[LON]]
            points[1, count] = row_numbers[row * shape[ROW_NUMBERS] + shape[LAT]]
            count += 1
    return count


@njit(inline="always")
def variant_of(variants: Rows, first: int, count: int, masks: Mask, flags: Mask, row: int, zone: int) -> int:
    """The first variant that applies; the last always does."""
    for v in range(first, first + count - 1):
        variant = variants[v]
        if (
            (variant.zones == NONE or (zone >= 0 and flags[variant.zones, zone]))
            and (variant.where == NONE or masks[variant.where, row])
            and (variant.calendar == NONE or masks[variant.calendar, row])
        ):
            return v
    return first + count - 1


@njit(inline="always")
def among(zone: int, zones: I64, first: int, end: int) -> bool:
    """Whether a zone is one of a row's."""
    found = False
    for pair in range(first, end):
        found |= zones[pair] == zone
    return found


@njit(inline="always")
def apart(flags: Mask, exclude: int, zones: I64, first: int, end: int) -> bool:
    """Whether a row is in a zone that keeps it out."""
    if exclude != NONE:
        for pair in range(first, end):
            if flags[exclude, zones[pair]]:
                return True
    return False


@njit(inline="always")
def best(flags: Mask, include: int, zones: I64, first: int, end: int, inside: int, inside_end: int) -> int:
    """The first zone that a row is in, else the first it may not have left yet: its pair, NONE if there is none."""
    near = NONE
    for pair in range(first, end):
        if flags[include, zones[pair]]:
            if among(zones[pair], zones, inside, inside_end):
                return pair
            if near == NONE:
                near = pair
    return near


@njit(inline="always")
def first_pairs(pair_row: I64, bounds: I64, firsts: I32) -> None:
    """For each look-up, where the pairs of each place begin."""
    for n in range(len(bounds) - 1):
        pair = bounds[n]
        for place in range(firsts.shape[1]):
            while pair < bounds[n + 1] and pair_row[pair] < place:
                pair += 1
            firsts[n, place] = pair


@loop(
    numba.int64(
        rows_of(CONDITION), rows_of(SELECTION), rows_of(VARIANT), rows_of(KEY), MASKS, MASKS, LONGS,
        INTS, LONGS, LONGS, LONGS, numba.int32[:, ::1],
        read_only(numba.int64), read_only(numba.int32), numba.uint64[:, ::1], LONGS, INTS, INTS, numba.int64,
        REALS, LONGS, LONGS, LONGS, INTS, BYTES, INTS, numba.uint64[:, ::1], numba.uint8[::1], rows_of(HIT), LONGS,
        LONGS,
    )
)  # fmt: skip
def match(
    conditions: Rows, selections: Rows, variants: Rows, keys: Rows, masks: Mask, flags: Mask, counts: I64,
    places: I32, pair_row: I64, pair_zone: I64, bounds: I64, firsts: I32,
    time_us: I64, record: I32, prints: U64, offsets: I64, sources: I32, areas: I32, batch: int,
    row_numbers: F64, row_texts: I64, head_texts: I64, shape: I64, row_head: I32, buffer: U8,
    slots: I32, words: U64, arena: U8, hits: Rows, ends: I64, book: I64,
) -> int:  # fmt: skip
    """Write the hits of all rules, those of one together: `ends` has where they end.

    pair_row, pair_zone  (place of a wanted row, zone), sorted, of one look-up behind the other; `bounds` between them
    firsts               scratch: for each look-up, the first pair of each wanted row, and the end of all
    areas                of each source as a word, NONE where the registry has none
    """
    first_pairs(pair_row, bounds, firsts)
    found = 0
    for rule in range(len(selections)):
        ends[rule] = found
        if counts[rule] == 0:
            continue
        selection = selections[rule]
        zoned, last = selection.include != NONE, selection.first_variant + selection.variants - 1
        for row in range(len(time_us)):
            if not masks[conditions[rule].into, row]:
                continue
            first, end, inside, inside_end = 0, 1, 0, 0
            if zoned:
                inside, inside_end = firsts[0, places[row]], firsts[0, places[row] + 1]
                if apart(flags, selection.exclude, pair_zone, inside, inside_end):
                    continue
                first = firsts[selection.leaving, places[row]]
                end = firsts[selection.leaving, places[row] + 1]
                if not selection.by_zone:
                    first = best(flags, selection.include, pair_zone, first, end, inside, inside_end)
                    end = first + 1 if first != NONE else first
            of, head = record[row], row_head[row] if len(row_head) else row
            for pair in range(first, end):
                zone, entered, signal = np.int64(NONE), True, 0
                if zoned:
                    zone = pair_zone[pair]
                    if not flags[selection.include, zone]:
                        continue
                    entered = among(zone, pair_zone, inside, inside_end)
                v = variant_of(
                    variants, selection.first_variant, selection.variants, masks, flags, row, zone
                )  # fmt: skip
                if variants[last].says != NONE:
                    if not masks[variants[v].says, row]:
                        continue
                    if masks[variants[v].opens, row]:
                        signal = OPENS
                    elif masks[variants[v].closes, row]:
                        signal = CLOSES
                if found == len(hits):
                    return NO_ROOM
                hit = hits[found]
                hit.k0 = hit.k1 = hit.k2 = NONE
                keyed = True
                for k in range(selection.first_key, selection.first_key + selection.keys):
                    text = text_at(keys[k].level, keys[k].slot, row, head, row_texts, head_texts, shape)
                    at, size = text & LOWER, text >> 32
                    if size < 0:
                        keyed = False
                        break
                    word, held = intern(buffer, at, size, slots, words, arena, book[HELD], True)
                    book[HELD] = held
                    if word == FULL:
                        book[WANTING] = size
                        return NO_WORDS
                    if keys[k].place == 0:
                        hit.k0 = word
                    elif keys[k].place == 1:
                        hit.k1 = word
                    else:
                        hit.k2 = word
                if not keyed:
                    continue
                hit.time_us, hit.print_a, hit.print_b = time_us[row], prints[of, 0], prints[of, 1]
                lon = row * shape[ROW_NUMBERS] + shape[LON]
                lat = row * shape[ROW_NUMBERS] + shape[LAT]
                hit.offset, hit.source, hit.lon, hit.lat = offsets[of], sources[of], row_numbers[lon], row_numbers[lat]
                hit.ordinal = hit.row = row
                hit.rule, hit.batch, hit.zone, hit.area = rule, batch, zone, areas[sources[of]]
                hit.variant, hit.inside, hit.signal = variants[v].number, entered, signal
                found += 1
    ends[len(selections)] = found
    return DONE
