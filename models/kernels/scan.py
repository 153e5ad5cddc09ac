"""Records of JSON to columns: the compiled half of `models.scanner`.

Everything here is strict: what is not surely a good record is refused, and a reader returns REFUSED (a place below
zero) for it. Each record ends with a zero byte, which no JSON may hold outside or inside of a text, so a reader stops
there by itself and asks nowhere how long the record is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from models.columns import F64, I32, I64, U8, U64, Mask
from models.kernels.bytes import OPTIONS, Loop, first_bytes, load64, loop, same

REFUSED, FULL = -1, -2
NO_TEXT, LOWER = -1 << 32, (1 << 32) - 1
HEAD, ROW = 0, 1
"""Levels of a record: what it says once, and what each of its objects says."""

NUMBER, TEXT, ID, TIME, MIXED, CRS, ATTRIBUTES, OBJECTS, COLUMNS = range(9)
"""Kinds of fields."""

SLOTS = 64
"""Places of a level's table of names, and of fields: a field's number is its place, so it is a bit of a word too."""
FILLED = np.uint64(0xFFFFFFFFFFFFFFFF)  # also the name of a place without a field: no text
SPREAD = np.uint64(0x9E3779B97F4A7C15)

KIND, NUMBER_SLOT, TEXT_SLOT, FIELD = range(4)
"""What `fields` says of a field: its kind, its column among the numbers, its column among the texts."""
QUOTED, COUNTS, SIZE, SEPARATING, NAME = 2, 4, 6, 7, 8
"""Where in `names` what stands (see Tables); the last is how long an entry is."""
TOP_6 = np.uint64(58)

REQUIRED, ONE_OF, LON, LAT, LON_SLOT, LAT_SLOT, NUMBERS, TEXTS, NATURAL = range(9)
"""What `plan` says of a level: fields that must not be null, fields of which one must not be (0: no such), those of a
position and their columns, how many columns of numbers and of texts; and what makes a record a duplicate."""
PLAN = 9
BY_CALLER, BY_ID, BY_LANE, BY_METRIC = range(4)
"""Natural keys: none from here; the second id; segment, source, lane and time; device, metric and time."""

STAMP, LANE = 0, 1
SOURCE, SECOND_ID, UNIT = 0, 1, 2
"""Columns of a record's numbers and texts that the scan itself looks at."""

RECORD, TAKEN, ROWS, PLACE, KEYS_END, SEVERAL = range(6)
"""What `progress` says of a call: the next record, how many records and rows are taken, where the next record and the
next natural key begin, and how many of the records taken have not exactly one row."""
PROGRESS = 6

SOURCE_AT, SOURCE_SIZE, KEY_AT, KEY_SIZE, SEEN_RECORD = range(5)
"""What is said of each record of the call in `marks`; the last of each taken one."""
MARKS = 5

MAX_BYTES, MAX_ID, LATEST_MS, FUTURE_US = 1 << 20, 128, 4_102_444_800_000, 120_000_000
"""As in `models.faults` and `models.times`, and not from there: numba looks only at this file to see whether what it
compiled before is still true. For the same reason a change of `models.kernels.bytes` needs one here."""

EXACT, LONGEST = np.uint64(1 << 53), np.uint64(1 << 63)
DOUBT = 2.0**-90
POWERS = np.array([10**n for n in range(20)], dtype=np.uint64)
DIVISORS = np.array([float(10**n) for n in range(23)])

ONES, HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
ZERO, ONE, SEVEN, EIGHT, WORD = np.uint64(0), np.uint64(1), np.uint64(7), np.uint64(8), np.uint64(64)
QUOTES, BACKSLASHES, SPACES = (
    np.uint64(0x2222222222222222),
    np.uint64(0x5C5C5C5C5C5C5C5C),
    np.uint64(0x2020202020202020),
)
DELETES = np.uint64(0x7F7F7F7F7F7F7F7F)
DIGITS, PAST_NINE = np.uint64(0x3030303030303030), np.uint64(0x7676767676767676)
PAIRS, FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
TIMES_10, TIMES_100, TIMES_10000 = np.uint64(10 * 256 + 1), np.uint64(100 * 65536 + 1), np.uint64(10000 * (1 << 32) + 1)
SHIFT_2, SHIFT_4, LOW_4 = np.uint64(16), np.uint64(32), np.uint64(0xFFFFFFFF)
NULL, TRUE, FALS = np.uint64(0x6C6C756E), np.uint64(0x65757274), np.uint64(0x736C6166)
COLOUR = np.uint64(int.from_bytes(b'"colour"', "little"))
WGS84 = np.uint64(int.from_bytes(b'wgs84"\0\0', "little"))
SPACE, QUOTE, COMMA, MINUS, DOT, NOUGHT, COLON = 0x20, 0x22, 0x2C, 0x2D, 0x2E, 0x30, 0x3A
OPEN_LIST, CLOSE_LIST, LETTER_E, LETTER_F, LETTER_N, LETTER_T, OPEN, CLOSE = (
    0x5B,
    0x5D,
    0x65,
    0x66,
    0x6E,
    0x74,
    0x7B,
    0x7D,
)
TAB, LINE, RETURN, SEPARATOR = 0x09, 0x0A, 0x0D, 0x1F
NONE = np.frombuffer(b"None", np.uint8)
PLUS, DATE_ENDS, ZULU = 0x2B, (0x54, 0x74, 0x20), (0x5A, 0x7A)


INNER = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
part = cast(Callable[[Loop], Loop], njit(forceinline=True, **INNER))
routine = cast(Callable[[Loop], Loop], njit(**INNER))


def array(kind: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    return types.Array(kind, dimensions, "C", readonly=readonly)


BYTES, BYTES_OUT = array(types.uint8, readonly=True), array(types.uint8)
WORDS, INTEGERS, SMALL, FLOATS = array(types.uint64), array(types.int64), array(types.int32), array(types.float64)
SMALL_2D, INTEGERS_2D, FLOATS_2D = array(types.int32, 2), array(types.int64, 2), array(types.float64, 2)


def _load8(typing_context: Any, buffer: Any, at: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        return builder.zext(builder.load(builder.gep(array.data, [builder.sext(arguments[1], word)])), word)

    return types.int64(buffer, types.int64), build


def _first_byte(typing_context: Any, word: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        zeros = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), build


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


load8 = cast(Callable[[U8, int], int], intrinsic(_load8))
"""The byte at a place of a buffer."""
first_byte = cast(Callable[[np.uint64], int], intrinsic(_first_byte))
"""In which byte of a word the lowest set bit stands; 8 where none is set."""
fused = cast(Callable[[float, float, float], float], intrinsic(_fused))
"""a * b + c, rounded once."""


@part
def signed(number: Any) -> int:
    """numba makes a float of the sum of a signed and an unsigned number, and keeps small ones small."""
    return int(np.int64(number))


@part
def zero_bytes(word: np.uint64) -> np.uint64:
    """The high bit of the first byte that is zero, and perhaps of later ones that are not."""
    return (word - ONES) & ~word & HIGHS


@part
def after_space(buffer: U8, p: int) -> int:
    c = load8(buffer, p)
    while c in (SPACE, LINE, RETURN, TAB):
        p += 1
        c = load8(buffer, p)
    return p


# ------------------------------------------------------------------------------------------------------------ numbers


@part
def stops_of(word: np.uint64) -> np.uint64:
    """The high bits of the bytes that are no digits; wrong behind a byte that is no ASCII."""
    digits = word ^ DIGITS  # 0 to 9 for a digit, more for all others
    return ((digits + PAST_NINE) | digits) & HIGHS


@part
def value_of(word: np.uint64, size: int) -> np.uint64:
    """The number that the first `size` bytes (1 to 8) are the digits of."""
    word = (word ^ DIGITS) << (WORD - np.uint64(size) * EIGHT)
    word = ((word * TIMES_10) >> EIGHT) & PAIRS
    word = ((word * TIMES_100) >> SHIFT_2) & FOURS
    return (word * TIMES_10000) >> SHIFT_4


@part
def read_digits(buffer: U8, p: int, value: np.uint64) -> tuple[int, np.uint64]:
    """The digits from here on behind the value, and the place behind them. Wrong from the twentieth digit on."""
    size = 8
    while size == 8:
        word = load64(buffer, p)
        size = first_byte(stops_of(word))
        if size > 0:
            value = value * POWERS[size] + value_of(word, size)
            p += size
    return p, value


@routine
def long_quotient(mantissa: np.uint64, divisor: float) -> float:
    """The float64 nearest to the quotient, for a mantissa that is too long for one; NaN where it is too close to the
    middle of two. The remainder of a first quotient is known to 100 bits and more, and corrects it."""
    whole = float(mantissa)
    quotient = whole / divisor
    product = quotient * divisor
    rest = (whole - product) - fused(quotient, divisor, -product) + float(signed(mantissa) - signed(whole))
    below = quotient + (rest / divisor - quotient * DOUBT)
    above = quotient + (rest / divisor + quotient * DOUBT)
    return below if below == above else np.nan


@part
def read_number(buffer: U8, p: int) -> tuple[int, float]:
    """A number of at most 19 digits. Where they are below 2**53 without the dot, one division gives the nearest
    float64, as both sides of it are exact. A zero with a sign is refused: it is one thing with a dot, another without.
    """
    negative = load8(buffer, p) == MINUS
    if negative:
        p += 1
    word = load64(buffer, p)
    stops = stops_of(word)
    size = first_byte(stops)
    if size == 0 or (size > 1 and load8(buffer, p) == NOUGHT):
        return REFUSED, 0.0
    mantissa = value_of(word, size)
    end, fraction = p + size, 0
    if size == 8:
        end, mantissa = read_digits(buffer, end, mantissa)
        size = end - p
        if size > 19:
            return REFUSED, 0.0
        if load8(buffer, end) == DOT:
            end, mantissa = read_digits(buffer, end + 1, mantissa)
            fraction = end - p - size - 1
            if fraction == 0:
                return REFUSED, 0.0
    elif load8(buffer, end) == DOT:
        # All that is in the first eight bytes is read at once, the dot taken out.
        whole = first_bytes(FILLED, size)
        last = first_byte(stops & (stops - ONE))
        mantissa = value_of((word & whole) | ((word >> EIGHT) & ~whole), last - 1)
        end = p + last
        if last == 8:
            end, mantissa = read_digits(buffer, end, mantissa)
        fraction = end - p - size - 1
        if fraction == 0:
            return REFUSED, 0.0
    if size + fraction > 19 or (negative and mantissa == ZERO):
        return REFUSED, 0.0
    value = float(mantissa) / DIVISORS[fraction]
    if mantissa >= EXACT:
        value = long_quotient(mantissa, DIVISORS[fraction]) if mantissa < LONGEST else np.nan
        if np.isnan(value):
            return REFUSED, 0.0
    return end, -value if negative else value


@part
def two_digits(buffer: U8, p: int) -> int:
    a, b = load8(buffer, p) - NOUGHT, load8(buffer, p + 1) - NOUGHT
    return 10 * a + b if 0 <= a <= 9 and 0 <= b <= 9 else REFUSED


@part
def day_number(year: int, month: int, day: int) -> int:
    """Days since 1970, or REFUSED for a date that is none. From 1970 to 2099 every fourth year is a leap year."""
    if not (1970 <= year <= 2099 and 1 <= month <= 12 and day >= 1):
        return REFUSED
    leap = 1 if year % 4 == 0 else 0
    length = 28 + leap if month == 2 else 30 + (month + month // 8) % 2
    if day > length:
        return REFUSED
    before = (367 * month - 362) // 12 - (0 if month <= 2 else 2 - leap)
    return (year - 1970) * 365 + (year - 1969) // 4 + before + day - 1


@routine
def read_stamp(buffer: U8, p: int) -> tuple[int, float]:
    """A text of RFC 3339 with an offset, from 1970 to 2099, as microseconds; digits beyond them are cut."""
    year = 100 * two_digits(buffer, p + 1) + two_digits(buffer, p + 3)
    date = day_number(year, two_digits(buffer, p + 6), two_digits(buffer, p + 9))
    hour, minute, second = two_digits(buffer, p + 12), two_digits(buffer, p + 15), two_digits(buffer, p + 18)
    if date | two_digits(buffer, p + 3) | hour | minute | second < 0 or hour > 23 or minute > 59 or second > 59:
        return REFUSED, 0.0
    if load8(buffer, p + 5) != MINUS or load8(buffer, p + 8) != MINUS or load8(buffer, p + 11) not in DATE_ENDS:
        return REFUSED, 0.0
    if load8(buffer, p + 14) != COLON or load8(buffer, p + 17) != COLON:
        return REFUSED, 0.0
    p += 20
    micros = 0
    if load8(buffer, p) == DOT:
        end, digits = read_digits(buffer, p + 1, ZERO)
        size = end - p - 1
        if size == 0 or size > 9:
            return REFUSED, 0.0
        micros = signed(digits * POWERS[9 - size]) // 1000
        p = end
    sign, offset = load8(buffer, p), 0
    if sign in (PLUS, MINUS):
        hours, minutes = two_digits(buffer, p + 1), two_digits(buffer, p + 4)
        if hours | minutes < 0 or hours > 23 or minutes > 59 or load8(buffer, p + 3) != COLON:
            return REFUSED, 0.0
        offset = 60 * hours + minutes if sign == PLUS else -60 * hours - minutes
        p += 6
    elif sign in ZULU:
        p += 1
    else:
        return REFUSED, 0.0
    stamp_us = (((date * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000_000 + micros
    return (p + 1 if load8(buffer, p) == QUOTE and stamp_us >= 0 else REFUSED), float(stamp_us)


@part
def read_time(buffer: U8, p: int) -> tuple[int, float]:
    """Microseconds, of whole milliseconds from 1970 to 2100 or of a text."""
    if load8(buffer, p) == QUOTE:
        return read_stamp(buffer, p)
    end, ms = read_digits(buffer, p, ZERO)
    size = end - p
    if size == 0 or size > 13 or (size > 1 and load8(buffer, p) == NOUGHT) or ms > np.uint64(LATEST_MS):
        return REFUSED, 0.0
    return end, float(ms) * 1000.0


# -------------------------------------------------------------------------------------------------------------- texts


@routine
def after_character(buffer: U8, p: int) -> int:
    """Behind a character of two to four bytes that is well-formed UTF-8."""
    a, b = load8(buffer, p), load8(buffer, p + 1)
    if 0xC2 <= a <= 0xDF:
        return p + 2 if b & 0xC0 == 0x80 else REFUSED
    low, high = 0x80, 0xBF
    if a == 0xE0:
        low = 0xA0
    elif a == 0xED:
        high = 0x9F
    elif a == 0xF0:
        low = 0x90
    elif a == 0xF4:
        high = 0x8F
    if a < 0xE0 or a > 0xF4 or b < low or b > high or load8(buffer, p + 2) & 0xC0 != 0x80:
        return REFUSED
    if a < 0xF0:
        return p + 3
    return p + 4 if load8(buffer, p + 3) & 0xC0 == 0x80 else REFUSED


@part
def text_end(buffer: U8, p: int) -> int:
    """The closing quote of a text that begins here, without escapes or control characters."""
    while True:
        word = load64(buffer, p)
        stops = (zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES) | (word - SPACES) & ~word & HIGHS) | (
            word & HIGHS
        )
        if stops == ZERO:
            p += 8
            continue
        p += first_byte(stops)
        c = load8(buffer, p)
        if c == QUOTE:
            return p
        if c < 0x80:
            return REFUSED
        p = after_character(buffer, p)
        if p < 0:
            return REFUSED


@part
def id_end(buffer: U8, p: int) -> int:
    """The closing quote of a text of 1 to MAX_ID printable ASCII characters."""
    start = p
    while True:
        word = load64(buffer, p)
        stops = (zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES) | (word - SPACES) & ~word & HIGHS) | (
            zero_bytes(word ^ DELETES) | word & HIGHS
        )
        if stops != ZERO:
            p += first_byte(stops)
            return p if load8(buffer, p) == QUOTE and 0 < p - start <= MAX_ID else REFUSED
        p += 8
        if p - start > MAX_ID:
            return REFUSED


@part
def read_text(buffer: U8, p: int, texts: I64, text: int) -> int:
    """A text into its cell; the place behind it."""
    if load8(buffer, p) != QUOTE:
        return REFUSED
    end = text_end(buffer, p + 1)
    if end < 0:
        return REFUSED
    texts[text] = (end - p - 1 << 32) | (p + 1)
    return end + 1


@part
def read_id(buffer: U8, p: int, texts: I64, text: int) -> int:
    if load8(buffer, p) != QUOTE:
        return REFUSED
    end = id_end(buffer, p + 1)
    if end < 0:
        return REFUSED
    texts[text] = (end - p - 1 << 32) | (p + 1)
    return end + 1


@part
def is_null(buffer: U8, p: int) -> bool:
    return bool(load64(buffer, p) & LOW_4 == NULL)


# ------------------------------------------------------------------------------------------------------------- fields


class Tables(NamedTuple):
    """What is known of a topic, a level each.

    names   a place: its name in two words; the same with its quotes and colon, what of these two words counts, and
            how long it is; then the multiplier of the level (of all places the first one has it)
    follow  a place: the field that came after it last time (at SLOTS: first in its object), a guess to try first
    fields  a place: KIND, NUMBER_SLOT, TEXT_SLOT
    bounds  a place: its least and greatest number
    plan    REQUIRED and so on
    """

    names: U64
    follow: I64
    fields: I64
    bounds: F64
    plan: U64


class Cells(NamedTuple):
    """Where the values of one object go: columns of numbers from `number` on, of texts from `text`. A text is where it
    stands and, in the upper half, its size."""

    numbers: F64
    texts: I64
    number: int
    text: int


@part
def cells_of(tables: Tables, level: int, numbers: F64, texts: I64, entry: int) -> Cells:
    plan = tables.plan[level]
    return Cells(numbers, texts, entry * signed(plan[NUMBERS]), entry * signed(plan[TEXTS]))


@part
def clear(tables: Tables, level: int, cells: Cells) -> None:
    plan = tables.plan[level]
    for i in range(cells.number, cells.number + signed(plan[NUMBERS])):
        cells.numbers[i] = np.nan
    for i in range(cells.text, cells.text + signed(plan[TEXTS])):
        cells.texts[i] = NO_TEXT


@part
def read_name(buffer: U8, p: int, tables: Tables, level: int, last: int) -> tuple[int, int]:
    """The place of the value whose name stands here, and its field. `last`: the field before it."""
    field = tables.follow[level, last]
    name = tables.names[level, field]
    if (load64(buffer, p) ^ name[QUOTED]) & name[COUNTS] == ZERO and (load64(buffer, p + 8) ^ name[QUOTED + 1]) & name[
        COUNTS + 1
    ] == ZERO:
        return after_space(buffer, p + signed(name[SIZE])), field
    p, field = find_name(buffer, p, tables.names[level])
    if p >= 0:
        tables.follow[level, last] = field
    return p, field


@routine
def find_name(buffer: U8, p: int, names: U64) -> tuple[int, int]:
    """The same without a guess. Names are shorter than 16 bytes."""
    if load8(buffer, p) != QUOTE:
        return REFUSED, 0
    first, second = load64(buffer, p + 1), ZERO
    quotes = zero_bytes(first ^ QUOTES)
    size = first_byte(quotes)
    if quotes != ZERO:
        first = first_bytes(first, size)
    else:
        second = load64(buffer, p + 9)
        quotes = zero_bytes(second ^ QUOTES)
        if quotes == ZERO:
            return REFUSED, 0
        second = first_bytes(second, first_byte(quotes))
        size += first_byte(quotes)
    field = signed(((first ^ (second * SPREAD)) * names[0, SEPARATING]) >> TOP_6)
    if names[field, 0] != first or names[field, 1] != second or signed(names[field, SIZE]) != size + 3:
        return REFUSED, 0
    p = after_space(buffer, p + size + 2)
    if load8(buffer, p) != COLON:
        return REFUSED, 0
    return after_space(buffer, p + 1), field


@part
def read_value(buffer: U8, p: int, tables: Tables, level: int, field: int, cells: Cells) -> int:
    """A value that is not null into its cells; the place behind it."""
    kind, number, text = tables.fields[level, field]
    number, text = cells.number + number, cells.text + text
    if kind == NUMBER:
        p, value = read_number(buffer, p)
        if p < 0 or value < tables.bounds[level, field, 0] or value > tables.bounds[level, field, 1]:
            return REFUSED
        cells.numbers[number] = value
        return p
    if kind == TEXT:
        return read_text(buffer, p, cells.texts, text)
    if kind == ID:
        return read_id(buffer, p, cells.texts, text)
    if kind == TIME:
        p, value = read_time(buffer, p)
        cells.numbers[number] = value
        return p
    if kind == MIXED:
        return read_mixed(buffer, p, cells, number, text)
    if kind == ATTRIBUTES:
        return read_attributes(buffer, p, cells.texts, text)
    if kind == CRS and load8(buffer, p) == QUOTE and first_bytes(load64(buffer, p + 1), 6) == WGS84:
        return p + 7
    return REFUSED


@routine
def read_mixed(buffer: U8, p: int, cells: Cells, number: int, text: int) -> int:
    """A number, a text or a flag, which goes to the number behind its number."""
    c = load8(buffer, p)
    if c == QUOTE:
        return read_text(buffer, p, cells.texts, text)
    if load64(buffer, p) & LOW_4 == TRUE:
        cells.numbers[number + 1] = 1.0
        return p + 4
    if load64(buffer, p) & LOW_4 == FALS and load8(buffer, p + 4) == LETTER_E:
        cells.numbers[number + 1] = 0.0
        return p + 5
    p, value = read_number(buffer, p)
    cells.numbers[number] = value
    return p


@routine
def read_attributes(buffer: U8, p: int, texts: I64, text: int) -> int:
    """`{"colour": …}`, or an empty one."""
    if load8(buffer, p) != OPEN:
        return REFUSED
    p = after_space(buffer, p + 1)
    if load8(buffer, p) == CLOSE:
        return p + 1
    if load64(buffer, p) != COLOUR:
        return REFUSED
    p = after_space(buffer, p + 8)
    if load8(buffer, p) != COLON:
        return REFUSED
    p = after_space(buffer, p + 1)
    p = p + 4 if is_null(buffer, p) else read_text(buffer, p, texts, text)
    if p < 0:
        return REFUSED
    p = after_space(buffer, p)
    return p + 1 if load8(buffer, p) == CLOSE else REFUSED


@part
def complete(held: np.uint64, plan: U64) -> bool:
    """Whether the fields that an object held are enough."""
    return bool(
        held & plan[REQUIRED] == plan[REQUIRED]
        and (plan[ONE_OF] == ZERO or held & plan[ONE_OF] != ZERO)
        and (held & plan[LON] != ZERO) == (held & plan[LAT] != ZERO)
    )


@part
def read_on(buffer: U8, p: int, closing: int) -> tuple[int, bool]:
    """Behind a value: the place of the next one, or the place behind the closing bracket and True."""
    c = load8(buffer, p)
    if c != COMMA and c != closing:
        p = after_space(buffer, p)
        c = load8(buffer, p)
    if c == COMMA:
        return after_space(buffer, p + 1), False
    return (p + 1 if c == closing else REFUSED), True


# ------------------------------------------------------------------------------------------------------------ objects


@part
def read_object(buffer: U8, p: int, tables: Tables, numbers: F64, texts: I64, row: int) -> int:
    """One object of a frame into a row; the place behind it."""
    cells = cells_of(tables, ROW, numbers, texts, row)
    clear(tables, ROW, cells)
    if load8(buffer, p) != OPEN:
        return REFUSED
    p = after_space(buffer, p + 1)
    seen = held = ZERO
    field, done = SLOTS, False
    while not done:
        p, field = read_name(buffer, p, tables, ROW, field)
        bit = ONE << np.uint64(field)
        if p < 0 or seen & bit != ZERO:
            return REFUSED
        seen |= bit
        if is_null(buffer, p):
            p += 4
        else:
            held |= bit
            p = read_value(buffer, p, tables, ROW, field, cells)
            if p < 0:
                return REFUSED
        p, done = read_on(buffer, p, CLOSE)
    return p if complete(held, tables.plan[ROW]) else REFUSED


@part
def read_objects(buffer: U8, p: int, tables: Tables, numbers: F64, texts: I64, row: int, room: int) -> tuple[int, int]:
    """A list of objects into rows; the place behind it and the next row."""
    if load8(buffer, p) != OPEN_LIST:
        return REFUSED, row
    p = after_space(buffer, p + 1)
    if load8(buffer, p) == CLOSE_LIST:
        return p + 1, row
    done = False
    while not done:
        if row == room:
            return FULL, row
        p = read_object(buffer, p, tables, numbers, texts, row)
        if p < 0:
            return REFUSED, row
        p, done = read_on(buffer, p, CLOSE_LIST)
        row += 1
    return p, row


@part
def read_list(
    buffer: U8, p: int, tables: Tables, field: int, numbers: F64, texts: I64, row: int, end: int, room: int
) -> tuple[int, int]:
    """The values of one field into the rows up to `end`, or as many as there are where it is not known yet (below
    zero), which are then cleared first. The place behind it and the row behind the last."""
    if load8(buffer, p) != OPEN_LIST:
        return REFUSED, row
    p = after_space(buffer, p + 1)
    if load8(buffer, p) == CLOSE_LIST:
        return p + 1, row
    nullable = tables.fields[ROW, field, KIND] != ID
    done = False
    while not done:
        cells = cells_of(tables, ROW, numbers, texts, row)
        if end < 0:
            if row == room:
                return FULL, row
            clear(tables, ROW, cells)
        elif row == end:
            return REFUSED, row
        if is_null(buffer, p) and nullable:
            p += 4
        else:
            p = read_value(buffer, p, tables, ROW, field, cells)
            if p < 0:
                return REFUSED, row
        p, done = read_on(buffer, p, CLOSE_LIST)
        row += 1
    return p, row


@part
def read_columns(buffer: U8, p: int, tables: Tables, numbers: F64, texts: I64, row: int, room: int) -> tuple[int, int]:
    """Objects as a list a field, all of one length, into rows; the place behind them and the next row."""
    if load8(buffer, p) != OPEN:
        return REFUSED, row
    p = after_space(buffer, p + 1)
    seen = held = ZERO
    end, field, done = -1, SLOTS, False
    while not done:
        p, field = read_name(buffer, p, tables, ROW, field)
        bit = ONE << np.uint64(field)
        if p < 0 or seen & bit != ZERO:
            return REFUSED, row
        seen |= bit
        if is_null(buffer, p):
            p += 4
        else:
            held |= bit
            p, last = read_list(buffer, p, tables, field, numbers, texts, row, end, room)
            if p < 0 or (end >= 0 and end != last):
                return min(p, REFUSED), row
            end = last
        p, done = read_on(buffer, p, CLOSE)
    plan = tables.plan[ROW]
    if p < 0 or held & plan[REQUIRED] != plan[REQUIRED]:
        return REFUSED, row
    if held & (plan[LON] | plan[LAT]) != ZERO:
        lon, lat = signed(plan[LON_SLOT]), signed(plan[LAT_SLOT])
        for i in range(row, end):
            at = i * signed(plan[NUMBERS])
            if np.isnan(numbers[at + lon]) != np.isnan(numbers[at + lat]):
                return REFUSED, row
    return p, end


# ------------------------------------------------------------------------------------------------------------ records


@part
def read_record(
    buffer: U8, p: int, tables: Tables, heads: Cells, numbers: F64, texts: I64, row: int, room: int
) -> tuple[int, int]:
    """A whole record into one entry of the heads, and its objects into rows; the place behind it and the next row."""
    clear(tables, HEAD, heads)
    p = after_space(buffer, p)
    if load8(buffer, p) != OPEN:
        return REFUSED, row
    p = after_space(buffer, p + 1)
    seen = held = ZERO
    next_row, field, done = -1, SLOTS, False
    while not done:
        p, field = read_name(buffer, p, tables, HEAD, field)
        bit = ONE << np.uint64(field)
        if p < 0 or seen & bit != ZERO:
            return REFUSED, row
        seen |= bit
        kind = tables.fields[HEAD, field, KIND]
        if is_null(buffer, p):
            p += 4
        elif kind < OBJECTS:
            held |= bit
            p = read_value(buffer, p, tables, HEAD, field, heads)
        elif next_row >= 0:
            return REFUSED, row
        elif kind == OBJECTS:
            p, next_row = read_objects(buffer, p, tables, numbers, texts, row, room)
        else:
            p, next_row = read_columns(buffer, p, tables, numbers, texts, row, room)
        if p < 0:
            return p, row
        p, done = read_on(buffer, p, CLOSE)
    if p < 0 or not complete(held, tables.plan[HEAD]):
        return REFUSED, row
    p = after_space(buffer, p)
    if tables.plan[ROW, NUMBERS] == ZERO:
        return p, row
    return (p if next_row >= 0 else REFUSED), next_row


@part
def piece_of(cells: Cells, slot: int) -> tuple[int, int]:
    """Where a text stands, and its size."""
    text = cells.texts[cells.text + slot]
    return text & LOWER, text >> 32


@routine
def unit_agrees(buffer: U8, cells: Cells, known: U8, units: I32) -> bool:
    """Whether a reading's unit is the one that its metric is fixed to, if it is. `units` is a table with open places:
    where a metric and its unit stand in `known`."""
    metric, metric_size = piece_of(cells, SECOND_ID)
    unit, unit_size = piece_of(cells, UNIT)
    if unit_size < 0:
        return True
    place = unit_place(first_bytes(load64(buffer, metric), min(metric_size, 7)), metric_size, len(units))
    while units[place, 1] >= 0:
        if units[place, 1] == metric_size and same(buffer, metric, known, signed(units[place, 0]), metric_size):
            return bool(units[place, 3] == unit_size and same(buffer, unit, known, signed(units[place, 2]), unit_size))
        place = (place + 1) & (len(units) - 1)
    return True


@routine
def unit_place(word: np.uint64, size: int, places: int) -> int:
    return signed(((word ^ np.uint64(size)) * SPREAD) >> SHIFT_4) & (places - 1)


@part
def put_piece(keys: U8, end: int, buffer: U8, cells: Cells, slot: int) -> int:
    at, size = piece_of(cells, slot)
    for i in range(size):
        keys[end + i] = buffer[at + i]
    keys[end + size] = SEPARATOR
    return end + size + 1


@part
def put_digits(keys: U8, end: int, value: int) -> int:
    size, rest = 1, value // 10
    while rest > 0:
        size, rest = size + 1, rest // 10
    for i in range(size - 1, -1, -1):
        keys[end + i] = NOUGHT + value % 10
        value //= 10
    return end + size


@routine
def put_key(keys: U8, end: int, buffer: U8, natural: int, cells: Cells) -> int:
    """The natural key of a record as `models.natural_keys` writes it; the place behind it, or REFUSED for a lane that
    is not small and whole."""
    end = put_piece(keys, end, buffer, cells, SOURCE)
    end = put_piece(keys, end, buffer, cells, SECOND_ID)
    if natural == BY_LANE:
        lane = cells.numbers[cells.number + LANE]
        if np.isnan(lane):
            for i in range(len(NONE)):
                keys[end + i] = NONE[i]
            end += len(NONE)
        elif 0 <= lane < 1e9 and lane == np.floor(lane):
            end = put_digits(keys, end, signed(lane))
            keys[end], keys[end + 1] = DOT, NOUGHT
            end += 2
        else:
            return REFUSED
        keys[end] = SEPARATOR
        end += 1
    return put_digits(keys, end, signed(cells.numbers[cells.number + STAMP]))


@loop(
    types.boolean(
        BYTES, INTEGERS, INTEGERS, array(types.uint64, 3), INTEGERS_2D, array(types.int64, 3), array(types.float64, 3),
        array(types.uint64, 2), BYTES, SMALL_2D,
        FLOATS, INTEGERS, FLOATS, INTEGERS, SMALL_2D, INTEGERS, array(types.boolean), SMALL_2D, INTEGERS_2D, BYTES_OUT,
        INTEGERS,
    )
)  # fmt: skip
def scan(
    buffer: U8,
    sizes: I64,
    arrival_us: I64,
    names: U64,
    follow: I64,
    fields: I64,
    bounds: F64,
    plan: U64,
    known: U8,
    units: I32,
    heads: F64,
    head_texts: I64,
    numbers: F64,
    texts: I64,
    row_marks: I32,
    row_time_us: I64,
    taken: Mask,
    marks: I32,
    time_us: I64,
    keys: U8,
    progress: I64,
) -> bool:
    """Every record of a call, from where `progress` stands. False where the rows are full: with more room, and the
    rows so far in it, the next call goes on.

    taken, marks, time_us  a record: whether it is taken, where its source and natural key stand, its time; and of
                           each taken one, which record it is and its time (SEEN_RECORD, the second row of `time_us`)
    heads, head_texts      a taken record: its numbers and texts; columns as the plan has them
    numbers, texts         a row: the same; `row_marks` its record and which of the taken it is; `row_time_us`
    """
    record, head, row, at, end = progress[RECORD], progress[TAKEN], progress[ROWS], progress[PLACE], progress[KEYS_END]
    tables = Tables(names, follow, fields, bounds, plan)
    natural = signed(plan[HEAD, NATURAL])
    room = len(row_time_us)
    for record in range(progress[RECORD], len(sizes)):
        size = sizes[record]
        mine = cells_of(tables, HEAD, heads, head_texts, head)
        p, next_row = REFUSED, row
        if size <= MAX_BYTES:
            p, next_row = read_record(buffer, at, tables, mine, numbers, texts, row, room)
        if p == FULL:
            progress[:SEVERAL] = record, head, row, at, end
            return False
        good = p == at + size
        key_at, key_end = end, end
        stamp_us = 0
        if good:
            stamp_us = signed(heads[mine.number + STAMP])
            good = stamp_us <= arrival_us[record] + FUTURE_US or arrival_us[record] < 0
        if good and natural == BY_ID:
            key_at, key_size = piece_of(mine, SECOND_ID)
            key_end = key_at + key_size
        elif good and natural != BY_CALLER:
            key_end = put_key(keys, end, buffer, natural, mine)
            good = key_end >= 0 and (natural != BY_METRIC or unit_agrees(buffer, mine, known, units))
            end = key_end if good else end
        at += size + 1
        taken[record] = good
        if not good:
            time_us[0, record] = 0
            marks[SOURCE_AT, record] = marks[KEY_AT, record] = 0
            marks[SOURCE_SIZE, record] = marks[KEY_SIZE, record] = -1
            continue
        time_us[0, record] = time_us[1, head] = stamp_us
        marks[SOURCE_AT, record], marks[SOURCE_SIZE, record] = piece_of(mine, SOURCE)
        marks[KEY_AT, record] = key_at
        marks[KEY_SIZE, record] = key_end - key_at
        marks[SEEN_RECORD, head] = record
        for i in range(row, next_row):
            row_marks[0, i] = record
            row_marks[1, i] = head
            row_time_us[i] = stamp_us
        if next_row != row + 1:
            progress[SEVERAL] += 1
        row = next_row
        head += 1
    progress[RECORD], progress[TAKEN], progress[ROWS] = len(sizes), head, row
    return True


@loop(types.int64(BYTES, INTEGERS, types.int64, types.int64, SMALL, SMALL, SMALL))
def group(buffer: U8, texts: I64, width: int, slot: int, places: I32, codes: I32, firsts: I32) -> int:
    """Equal texts of a column as one code, numbered as they come; -1 is null. `firsts` has a row for each code;
    returns how many there are. `places` is scratch: a power of two longer than the rows, filled with -1."""
    count = 0
    mask = signed(len(places) - 1)
    for row in range(len(codes)):
        text = texts[row * width + slot]
        at, size = text & LOWER, text >> 32
        if size < 0:
            codes[row] = -1
            continue
        word, p, rest = np.uint64(size), at, size
        while rest >= 8:
            word = (word ^ load64(buffer, p)) * SPREAD
            word ^= word >> SHIFT_4
            p, rest = p + 8, rest - 8
        word = (word ^ first_bytes(load64(buffer, p), rest)) * SPREAD
        place = signed(word >> SHIFT_4) & mask
        while True:
            code = places[place]
            if code < 0:
                places[place] = codes[row] = count
                firsts[count] = row
                count += 1
                break
            other = texts[firsts[code] * width + slot]
            if other >> 32 == size and same(buffer, other & LOWER, buffer, at, size):
                codes[row] = code
                break
            place = (place + 1) & mask
    return count
