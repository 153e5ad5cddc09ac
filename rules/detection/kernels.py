"""The loops of a lane as machine code: deciding hits, and following what sources vouch for.

Only imported where `models.compiling` says so. Without them the watches decide every hit and coverage is followed in
Python; the answers are the same.
"""

from __future__ import annotations

from math import cos, hypot, inf, radians
from typing import Any

import numba
import numpy as np
from numba import njit

from geo.distance import EARTH_RADIUS_M, LOCAL_DEG
from models.columns import F64, I32, I64, U8, U64, Mask
from models.kernels.bytes import fingerprint, loop
from models.kernels.tables import FULL, intern
from rules.detection.places import LAT, LON, ROW_NUMBERS
from rules.detection.rows import (
    ANYHOW,
    ASKED,
    DWELL,
    EVENT,
    FRESH,
    GONE,
    HALF,
    HIT,
    HOLD,
    LIMITS,
    NONE,
    OPEN,
    PENDING,
    RUN,
    SLACK,
    USUAL,
    WATCHED,
    Rows,
)

LATEST_US = 1 << 62  # as `rules.detection.waiting` has it
HITS = numba.from_dtype(HIT)[::1]
RUNS = numba.from_dtype(RUN)[::1]
LIMIT_TABLE = numba.from_dtype(LIMITS)[:, ::1]
INTS, LONGS = numba.int32[::1], numba.int64[::1]
INTS_2D, FLOATS_2D = numba.int32[:, ::1], numba.float64[:, ::1]

RUNS_USED, WAITING, DUE, DEFERRED, FOLLOWED, RESTING, EARLIEST = range(7)
"""Places of the book: how many runs are in use, hits still waiting, decided, left to the watches, followed quietly;
runs that rest; the earliest time that still waits."""

OPENS = 1


@njit(inline="always")
def metres(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> Any:
    """geo.distance.distance_m, for two points in a city."""
    dlon, dlat = lon_b - lon_a, lat_b - lat_a
    if abs(dlon) <= LOCAL_DEG and abs(dlat) <= LOCAL_DEG:
        at = radians((lat_a + lat_b) / 2)
        per_lon = 111_412.84 * cos(at) - 93.5 * cos(3 * at) + 0.118 * cos(5 * at)
        per_lat = 111_132.92 - 559.82 * cos(2 * at) + 1.175 * cos(4 * at) - 0.0023 * cos(6 * at)
        return hypot(dlon * per_lon, dlat * per_lat)
    a, b = radians(lat_a), radians(lat_b)
    square = np.sin((b - a) / 2) ** 2 + cos(a) * cos(b) * np.sin(radians(dlon) / 2) ** 2
    return 2 * EARTH_RADIUS_M * np.arcsin(min(1.0, np.sqrt(square))) if square == square else square


@njit(inline="always")
def key_hash(rule: int, k0: int, k1: int, k2: int, zone: int) -> Any:
    h = np.uint64(rule + 1) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ np.uint64(k0 + 1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(k1 + 1)) * np.uint64(0x165667B19E3779F9)
    h = (h ^ (h >> np.uint64(32)) ^ np.uint64(k2 + 1)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(zone + 1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.int64((h ^ (h >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@njit(inline="always")
def find(runs: Rows, table: I32, rule: int, k0: int, k1: int, k2: int, zone: int) -> tuple[int, int]:
    """The run of a key (NONE: there is none), and its place in the table or the one where it belongs."""
    mask = len(table) - 1
    place = key_hash(rule, k0, k1, k2, zone) & mask
    while True:
        slot = table[place]
        if slot < 0:
            return NONE, place
        run = runs[slot]
        if run.k0 == k0 and run.k1 == k1 and run.slot_zone == zone and run.rule == rule and run.k2 == k2:
            return slot, place
        place = (place + 1) & mask


@loop(numba.void(RUNS, numba.int64, INTS))
def index_runs(runs: Rows, count: int, table: I32) -> None:
    """Fill an empty table."""
    table[:] = NONE
    for slot in range(count):
        run = runs[slot]
        _, place = find(runs, table, run.rule, run.k0, run.k1, run.k2, run.slot_zone)
        table[place] = slot


def read_only(kind: Any, dimensions: int = 1) -> Any:
    return numba.types.Array(kind, dimensions, "C", readonly=True)


@loop(numba.types.UniTuple(numba.int64, 2)(HITS, numba.int64, HITS))
def put_in(room: Rows, count: int, hits: Rows) -> tuple[int, int]:
    """Hits behind the first `count` that are there. Gives the earliest and the latest time among them."""
    earliest_us = latest_us = hits[0].time_us
    for i in range(len(hits)):
        room[count + i] = hits[i]
        earliest_us, latest_us = min(earliest_us, hits[i].time_us), max(latest_us, hits[i].time_us)
    return earliest_us, latest_us


@njit(inline="always")
def before(due: Any, a: int, b: int) -> Any:
    """Event time first, then content: never arrival."""
    x, y = due[a], due[b]
    if x.time_us != y.time_us:
        return x.time_us < y.time_us
    if x.print_a != y.print_a:
        return x.print_a < y.print_a
    if x.print_b != y.print_b:
        return x.print_b < y.print_b
    return x.ordinal < y.ordinal


@njit(inline="always")
def sort(due: Rows, count: int, order: I32, spare: I32) -> I32:
    """Indexes in order, by merging; what is in order already is only looked at."""
    for i in range(count):
        order[i] = i
    width = 1
    while width < count:
        for low in range(0, count - width, 2 * width):
            middle, high = low + width, min(low + 2 * width, count)
            if not before(due, order[middle], order[middle - 1]):
                continue
            for i in range(low, middle):
                spare[i] = order[i]
            left, right, at = low, middle, low
            while left < middle and right < high:
                if before(due, order[right], spare[left]):
                    order[at] = order[right]
                    right += 1
                else:
                    order[at] = spare[left]
                    left += 1
                at += 1
            while left < middle:
                order[at] = spare[left]
                left, at = left + 1, at + 1
        width *= 2
    return order


@njit(inline="always")
def begin(runs: Rows, slot: int, hit: Any, slot_zone: int, state: int) -> None:
    run = runs[slot]
    run.since_us = run.last_us = hit.time_us
    run.anchor_lon, run.anchor_lat, run.first_offset = hit.lon, hit.lat, hit.offset
    run.rule, run.k0, run.k1, run.k2, run.slot_zone = hit.rule, hit.k0, hit.k1, hit.k2, slot_zone
    run.zone, run.source, run.area, run.variant = hit.zone, hit.source, hit.area, hit.variant
    run.points, run.batch, run.row, run.state, run.resting = 1, NONE, NONE, state, 0


@njit(inline="always")
def count_met(met: I32, slot: int, signal: int, by: int) -> None:
    for place in range(met.shape[1]):
        met[slot, place] += by * (signal >> place & 1)


@njit(inline="always")
def asks_more(needs: F64, met: I32, slot: int, rule: int, lasted_us: int, points: int) -> Any:
    """Whether what stands around a run keeps it from being raised; see `rules.detection.neighbours`."""
    if met.shape[1] == 0 or needs[rule, ASKED] == 0.0:
        return False
    for place in range(USUAL):
        if met[slot, place] < needs[rule, place] * points - SLACK:
            return True
    return met[slot, USUAL] >= HALF * points and lasted_us < needs[rule, USUAL]


@njit(inline="always")
def other_view(views: I32, a: int, b: int) -> Any:
    """Whether two sources are one camera that looks elsewhere."""
    return a != b and views[a] >= 0 and views[a] == views[b]


@loop(
    numba.void(
        HITS, numba.int64, HITS, INTS, INTS, LIMIT_TABLE, FLOATS_2D, RUNS, INTS_2D, INTS, INTS, LONGS, LONGS, INTS,
        INTS, INTS,
    )
)  # fmt: skip
def decide(
    waiting: Rows,
    watermark_us: int,
    due: Rows,
    order: I32,
    spare: I32,
    limits: Rows,
    needs: F64,
    runs: Rows,
    met: I32,
    table: I32,
    views: I32,
    start_us: I64,
    book: I64,
    deferred: I32,
    deferred_run: I32,
    followed: I32,
) -> None:
    """Take the hits up to the watermark out of `waiting` and decide, in event-time order, those that raise nothing.

    `deferred` gets the hits (of `due`) that a watch has to see, with the run of each; `followed` the runs of open
    conditions that went on. There is room for all: runs for as many as wait, the table at most half full.
    """
    count = left = 0
    earliest_us = LATEST_US
    for i in range(book[WAITING]):
        if waiting[i].time_us <= watermark_us:
            due[count] = waiting[i]
            count += 1
        else:
            earliest_us = min(earliest_us, waiting[i].time_us)
            if left != i:
                waiting[left] = waiting[i]
            left += 1
    book[WAITING], book[DUE], book[EARLIEST] = left, count, earliest_us
    sort(due, count, order, spare)
    used, later, quiet = book[RUNS_USED], 0, 0
    for n in range(count):
        at = order[n]
        hit = due[at]
        limit = limits[hit.rule, hit.variant]
        if limit.kind == EVENT:
            deferred[later], deferred_run[later] = at, NONE
            later += 1
            continue
        slot_zone = hit.zone if limit.by_zone else NONE
        slot, place = find(runs, table, hit.rule, hit.k0, hit.k1, hit.k2, slot_zone)
        if slot == NONE or runs[slot].state == GONE:
            if not hit.inside or (limit.kind == HOLD and hit.signal != OPENS):
                continue
            if slot == NONE:
                slot = used
                used += 1
                table[place] = slot
            begin(runs, slot, hit, slot_zone, PENDING)
            met[slot, :] = 0
            count_met(met, slot, hit.signal, 1)
            if limit.kind == DWELL:
                continue
            runs[slot].state = WATCHED
        run = runs[slot]
        if limit.kind == DWELL and other_view(views, hit.source, run.source):
            if run.state == PENDING and hit.time_us - run.last_us <= limit.max_gap_us:
                continue
            if run.state == OPEN and run.resting == 0 and hit.time_us <= run.quiet_until_us:
                continue
        if run.state == PENDING:
            moved = limit.max_move_m != inf and not (
                metres(run.anchor_lon, run.anchor_lat, hit.lon, hit.lat) <= limit.max_move_m
            )
            if hit.time_us - run.last_us > limit.max_gap_us or moved:
                if hit.inside:
                    begin(runs, slot, hit, slot_zone, PENDING)
                    met[slot, :] = 0
                    count_met(met, slot, hit.signal, 1)
                else:
                    run.state = GONE
                continue
            count_met(met, slot, hit.signal, 1)
            lasted_us, points = hit.time_us - run.since_us, run.points + 1
            if (
                lasted_us < limit.raise_after_us
                or points < limit.min_points
                or asks_more(needs, met, slot, hit.rule, lasted_us, points)
            ):
                run.last_us, run.source, run.variant = hit.time_us, hit.source, hit.variant
                run.points += 1
                continue
            count_met(met, slot, hit.signal, -1)  # its watch counts it
        elif (
            run.state == OPEN
            and hit.time_us <= run.quiet_until_us
            and hit.source == run.source
            and hit.variant == run.variant
            and hit.time_us - run.last_us < limit.absent_us
            and (run.resting == 0 or start_us[run.source] <= run.last_us)
        ):
            if limit.max_move_m == inf or (
                metres(run.anchor_lon, run.anchor_lat, hit.lon, hit.lat) <= limit.max_move_m
            ):
                run.last_us, run.batch, run.row = hit.time_us, hit.batch, hit.row
                run.points += 1
                followed[quiet] = slot
                quiet += 1
            continue
        run.state = WATCHED
        deferred[later], deferred_run[later] = at, slot
        later += 1
    book[RUNS_USED], book[DEFERRED], book[FOLLOWED] = used, later, quiet


@loop(numba.int64(INTS, numba.int64, RUNS, LIMIT_TABLE, LONGS, LONGS, numba.int64, INTS, LONGS))
def rouse(
    resting: I32,
    count: int,
    runs: Rows,
    limits: Rows,
    start_us: I64,
    end_us: I64,
    watermark_us: int,
    roused: I32,
    book: I64,
) -> int:
    """Which resting runs their watch has to look at by now. What does not rest any more leaves `resting`, whose count
    goes to the book; gives how many are `roused`."""
    left = out = 0
    for i in range(count):
        slot = resting[i]
        run = runs[slot]
        if run.state != OPEN or run.resting == 0:
            continue
        missed_us = run.last_us + limits[run.rule, run.variant].absent_us
        silent = start_us[run.source] > run.last_us or end_us[run.source] <= watermark_us
        if silent or missed_us <= watermark_us or run.look_at_us <= watermark_us:
            run.resting = 0
            roused[out] = slot
            out += 1
        else:
            resting[left] = slot
            left += 1
    book[RESTING] = left
    return out


@njit(inline="always")
def sight(source: int, at_us: int, reach_us: I64, start_us: I64, end_us: I64) -> Any:
    """Lets a sighting lengthen the newest span of its source: 0. Gives 1 where it begins a new one, -1 where it is
    before."""
    if at_us > end_us[source]:
        return 1
    if at_us < start_us[source]:
        return -1
    end_us[source] = max(end_us[source], at_us + reach_us[source])
    return 0


@loop(numba.types.UniTuple(numba.int64, 2)(INTS, LONGS, LONGS, LONGS, LONGS, INTS, LONGS, LONGS, INTS))
def see(
    source: I32,
    time_us: I64,
    reach_us: I64,
    start_us: I64,
    end_us: I64,
    closed: I32,
    closed_start_us: I64,
    closed_end_us: I64,
    early: I32,
) -> tuple[int, int]:
    """Let sightings lengthen the newest span of their source, or begin a new one.

    Spans that a new one follows are handed out as `closed`; sightings before the newest span as `early`, untouched.
    """
    shut = back = 0
    for i in range(len(source)):
        s, at = source[i], time_us[i]
        how = sight(s, at, reach_us, start_us, end_us)
        if how > 0:
            if end_us[s] > start_us[s]:
                closed[shut], closed_start_us[shut], closed_end_us[shut] = s, start_us[s], end_us[s]
                shut += 1
            start_us[s], end_us[s] = at, at + reach_us[s]
        elif how < 0:
            early[back] = i
            back += 1
    return shut, back


ENTERED, NO_WORDS = range(2)
"""How `enter` ends: without room for the name of a source it is called again, with more."""


@loop(
    numba.types.UniTuple(numba.int64, 4)(
        read_only(numba.uint8),
        INTS,
        INTS,
        read_only(numba.uint8),
        INTS,
        INTS,
        LONGS,
        numba.boolean,
        INTS,
        numba.uint64[:, ::1],
        numba.uint8[::1],
        numba.int64,
        numba.int64,
        numba.int64,
        numba.int64,
        INTS,
        numba.uint64[:, ::1],
        LONGS,
        numba.boolean[::1],
    )
)
def enter(
    buffer: U8,
    source_at: I32,
    source_size: I32,
    naturals: U8,
    natural_at: I32,
    natural_size: I32,
    time_us: I64,
    timed: bool,
    slots: I32,
    words: U64,
    arena: U8,
    held: int,
    lateness_us: int,
    watermark_us: int,
    known_for_us: int,
    sources: I32,
    prints: U64,
    before: I64,
    ask: Mask,
) -> tuple[int, int, int, int]:
    """Of good records in their order: the number of their source, their print, the watermark each met, and whether it
    may be a doubled one.

    `naturals` have what a record is about; where `timed` its time counts with it. Gives how it ended, how many words
    the table of sources holds then, the watermark after all of the records, and how many were behind the one they met;
    or, without room for a word, its size in the place of the watermark.
    """
    late = 0
    for i in range(len(time_us)):
        source, held = intern(buffer, source_at[i], source_size[i], slots, words, arena, held, True)
        if source == FULL:
            return NO_WORDS, held, source_size[i], 0
        sources[i] = source
        salt = np.uint64(time_us[i]) if timed else np.uint64(0)
        prints[i, 0], prints[i, 1] = fingerprint(naturals, natural_at[i], natural_size[i], salt)
        before[i] = watermark_us
        ask[i] = time_us[i] > watermark_us - known_for_us
        late += time_us[i] <= watermark_us
        watermark_us = max(watermark_us, time_us[i] - lateness_us)
    return ENTERED, held, watermark_us, late


@loop(
    numba.int64(
        INTS, numba.boolean[::1], numba.boolean, read_only(numba.int32), numba.float64[::1], LONGS, numba.boolean,
        read_only(numba.float64), read_only(numba.float64), numba.float64[::1],
    )
)  # fmt: skip
def settle_down(
    sources: I32, known: Mask, believe: bool, record: I32, numbers: F64, shape: I64, fills: bool, source_lon: F64,
    source_lat: F64, box: F64,
) -> int:  # fmt: skip
    """Give rows without a position that of their source, if it `fills`. Gives how many records are from a source that
    is not registered, and not believed, or have a row outside the box."""
    bad = 0
    if not believe:
        for i in range(len(sources)):
            bad += not known[sources[i]]
    if not fills and not len(box):
        return bad
    for row in range(len(record)):
        lon, lat = row * shape[ROW_NUMBERS] + shape[LON], row * shape[ROW_NUMBERS] + shape[LAT]
        if numbers[lon] != numbers[lon]:
            if not fills:
                continue
            numbers[lon], numbers[lat] = source_lon[sources[record[row]]], source_lat[sources[record[row]]]
        x, y = numbers[lon], numbers[lat]
        if len(box) and x == x and not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            bad += 1
    return bad


@loop(
    numba.types.UniTuple(numba.int64, 2)(
        read_only(numba.int64),
        read_only(numba.int32),
        read_only(numba.int64),
        read_only(numba.int32),
        LONGS,
        numba.boolean[::1],
        INTS,
        LONGS,
        LONGS,
        LONGS,
        numba.boolean[:, ::1],
        INTS,
    )
)
def sift(
    time_us: I64,
    record: I32,
    seen_time_us: I64,
    seen_record: I32,
    before: I64,
    dropped: Mask,
    sources: I32,
    reach_us: I64,
    start_us: I64,
    end_us: I64,
    masks: Mask,
    unseen: I32,
) -> tuple[int, int]:
    """Mark which rows are of use (ANYHOW) and which of them in time (FRESH); sightings in time lengthen their spans,
    but for the `unseen`, which begin one or are before it. Gives how many rows of use are late, and how many unseen."""
    late = left = 0
    for row in range(len(time_us)):
        of = record[row]
        masks[ANYHOW, row] = not dropped[of]
        masks[FRESH, row] = masks[ANYHOW, row] and time_us[row] > before[of]
        late += masks[ANYHOW, row] and not masks[FRESH, row]
    for i in range(len(seen_time_us)):
        of, at = seen_record[i], seen_time_us[i]
        if not dropped[of] and at > before[of] and sight(sources[of], at, reach_us, start_us, end_us) != 0:
            unseen[left] = i
            left += 1
    return late, left
