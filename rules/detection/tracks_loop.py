"""What a camera's frames say of its tracks, one frame after the other in event-time order: plain loops, which numba
compiles where it is there.

A *track* is what the camera calls one object. Cameras without speed send only places, and places shake; ids break when
something passes before an object. So each track keeps its newest places: a line through those of the last seconds gives
speed and place where none was sent. A new id that stands where an object of its class was lost goes on as that one.

The *ground* is what a camera has learned of the places it sees: how many tracks came into a cell, and when somebody at
the head of a queue stood there and went on. It shows where the view ends (many come here, none was seen further on)
and where stopping is usual (stop lines, bus stops).

Layout and loops share a file because numba's cache notices only changes of the file a function is in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from math import atan2, cos, degrees, floor, radians, sin, sqrt
from typing import Any

import numpy as np

from models.columns import F64, I8, I32, I64
from models.compiling import machine_code
from models.times import HOUR_US, MINUTE_US, SECOND_US

NEVER_US = -(1 << 62)
NONE = -1

WINDOW_US = 8 * SECOND_US
"""Places of so long give a speed. With 1.5 m of noise at 1 Hz the line is then right to 0.2 m/s."""
RING = 10
SPACING_US = 750_000  # places nearer in time than this add memory and no knowledge
LEAST_PLACES, LEAST_SPAN_US = 5, 3 * SECOND_US
STANDING_MPS = 0.5  # as rules mean it; a pedestrian is three times as fast
GOING_MPS = 1.5

SETTLED = 3  # places after which a new id may turn out to be a lost one: their mean shakes less than one
PASSING_MPS = 4.0  # between the first and last of them: no noise, it drives
MOST_SETTLED = 64  # ids of a frame for which a lost one is looked for: it takes time with their square
WITHIN_M = 4.0  # queueing cars stand 6 m and more from each other
LOST_FOR_US = 20 * SECOND_US  # time during which the camera saw the place without it: a bus passes, a camera looks away
KNOWN_FOR_US = MINUTE_US  # the same, after which an id is a new one
STEP_US = 2 * SECOND_US  # between two frames no more than this counts as watched

CELL_M = 4.0
PER_LAT, PER_LON = 111_132.92, 111_412.84  # metres a degree, near enough to tell cells
FADES_US = 24 * HOUR_US  # what was learned counts half after a day
MANY, FEW = 4.0, 0.25
"""So many came here, itself included, and less than this share of them was seen ahead: the view ends."""
ASIDE_M = 3.0  # a lane

STOOD_US, STOOD_AT_MOST_US = 5 * SECOND_US, 3 * MINUTE_US
USUAL, USUAL_WITHIN_US = 3, HOUR_US
"""So many stopped here within the hour, at the head, and went on."""
MOVED_M = 3.0
AHEAD_M, ABEAM_M, LEVEL_M = 15.0, 4.0, 1.0
"""Standing there, another is before it in the queue. Within a metre of level it is beside it."""

TRACK = np.dtype(
    [
        ("source", "i4"),
        ("word", "i4"),  # what the camera calls it
        ("identity", "i4"),  # the id it goes on as; NONE: another goes on in its place
        ("klass", "i4"),
        ("next", "i4"),  # the track of this source that was new before it
        ("settled", "i4"),  # places it was seen at, up to the one at which a lost one was looked for
        ("places", "i4"),  # in its ring
        ("stood", "i4"),  # frames of its present stop, and those of them without anybody before it
        ("led", "i4"),
        ("watched_from_us", "i8"),  # on the clock that runs while the camera watches
        ("watched_us", "i8"),
        ("stopped_us", "i8"),  # NEVER_US: it goes
        ("lon", "f8"),
        ("lat", "f8"),
        ("speed", "f8"),
        ("heading", "f8"),
        ("stop_lon", "f8"),
        ("stop_lat", "f8"),
        ("cell0", "i8"),
        ("cell1", "i8"),
        ("cell2", "i8"),
        ("cell3", "i8"),
    ],
    align=True,
)
AT_US, AT_LON, AT_LAT = range(3)  # of a place in a ring

CELL = np.dtype(
    [
        ("place", "i8"),
        ("source", "i4"),
        ("came", "f8"),
        ("came_us", "i8"),
        ("stop0_us", "i8"),
        ("stop1_us", "i8"),
        ("stop2_us", "i8"),
    ],
    align=True,
)

NEWEST, WATCHED, LAST_FRAME, SINCE = range(4)  # of a view; what is older than SINCE is forgotten
NO_VIEW = (NONE, 0, NEVER_US, NEVER_US)
TRACKS_USED, CELLS_USED, FORGET_US = range(3)  # of the book: after so long a silence a view knows nothing any more


# -- tracks ------------------------------------------------------------------------------------------------------------


def spread(a: int, b: int, mask: int) -> int:
    """Where two numbers belong in a table."""
    h = (int(a) * 0x9E3779B1 + int(b) * 0x85EBCA77) & 0x7FFFFFFF
    return (h ^ (h >> 15)) & mask


def find_track(tracks: Any, table: I32, source: int, word: int) -> tuple[int, int]:
    """The track (NONE: there is none), and its place in the table or the one where it belongs."""
    mask = len(table) - 1
    place = spread(source, word, mask)
    while True:
        slot = table[place]
        if slot < 0 or (tracks[slot].source == source and tracks[slot].word == word):
            return slot, place
        place = (place + 1) & mask


def begin(tracks: Any, slot: int, source: int, word: int, klass: int, watched_us: int) -> None:
    t = tracks[slot]
    t.source, t.word, t.identity, t.klass = source, word, word, klass
    t.settled = t.places = t.stood = t.led = 0
    t.watched_from_us = t.watched_us = watched_us
    t.stopped_us = NEVER_US
    t.lon = t.lat = t.speed = t.heading = t.stop_lon = t.stop_lat = np.nan
    t.cell0 = t.cell1 = t.cell2 = t.cell3 = NEVER_US


def free_identity(tracks: Any, views: I64, source: int, word: int) -> int:
    """The id of a new track: its own, or where another goes on as that one, the one that this other does not use."""
    other = views[source, NEWEST]
    while other >= 0:
        o = tracks[other]
        other = o.next
        if o.identity == word and views[source, WATCHED] - o.watched_us <= KNOWN_FOR_US:
            word = o.word
            other = views[source, NEWEST]
    return int(word)


def sighted(tracks: Any, table: I32, views: I64, book: I64, source: int, word: int, klass: int) -> int:
    """The track of an id seen just now, a new one where there is none or it was away for long."""
    watched_us = views[source, WATCHED]
    slot, place = find_track(tracks, table, source, word)
    if slot >= 0 and (tracks[slot].identity == NONE or watched_us - tracks[slot].watched_us > KNOWN_FOR_US):
        tracks[slot].word = tracks[slot].identity = slot = NONE
    if slot < 0:
        slot = book[TRACKS_USED]
        book[TRACKS_USED] += 1
        table[place] = slot
        begin(tracks, slot, source, word, klass, watched_us)
        tracks[slot].identity = free_identity(tracks, views, source, word)
        tracks[slot].next = views[source, NEWEST]
        views[source, NEWEST] = slot
    t = tracks[slot]
    t.watched_us, t.klass = watched_us, klass
    return int(slot)


def remember(t: Any, ring: F64, now_us: int, lon: float, lat: float) -> None:
    """The newest place goes into the ring; the oldest makes room."""
    if t.places > 0 and now_us - ring[t.places - 1, AT_US] < SPACING_US:
        return
    if t.places == RING:
        for i in range(1, RING):
            ring[i - 1, :] = ring[i, :]
        t.places -= 1
    ring[t.places, AT_US], ring[t.places, AT_LON], ring[t.places, AT_LAT] = now_us, lon, lat
    t.places += 1
    t.settled = min(t.settled + 1, SETTLED + 1)


def length(east: float, north: float) -> float:
    """Not `hypot`, whose last digit is another in machine code."""
    return sqrt(east * east + north * north)


def estimate(t: Any, ring: F64, now_us: int, lon: float, lat: float, speed: float, heading: float) -> None:
    """Where a track is, how fast and where to: as sent, else by the line through its newest places."""
    per_lon = PER_LON * cos(radians(lat))
    count, first_us = 0, float(now_us)
    time_s = east = north = 0.0
    for i in range(t.places):
        if now_us - ring[i, AT_US] <= WINDOW_US:
            first_us = min(first_us, ring[i, AT_US])
            time_s += (ring[i, AT_US] - now_us) / 1e6
            east += (ring[i, AT_LON] - lon) * per_lon
            north += (ring[i, AT_LAT] - lat) * PER_LAT
            count += 1
    enough = count >= LEAST_PLACES and now_us - first_us >= LEAST_SPAN_US
    count = max(count, 1)
    time_s, east, north = time_s / count, east / count, north / count
    to_east = to_north = 0.0
    if enough:
        squares = 0.0
        for i in range(t.places):
            if now_us - ring[i, AT_US] <= WINDOW_US:
                off = (ring[i, AT_US] - now_us) / 1e6 - time_s
                squares += off * off
                to_east += off * (ring[i, AT_LON] - lon) * per_lon
                to_north += off * (ring[i, AT_LAT] - lat) * PER_LAT
        to_east, to_north = to_east / squares, to_north / squares
    moving = length(to_east, to_north)
    if heading == heading:
        t.heading = heading
    elif enough and moving >= GOING_MPS:
        t.heading = degrees(atan2(to_east, to_north)) % 360.0
    if speed == speed:
        t.lon, t.lat, t.speed = lon, lat, speed
        return
    t.speed = moving if enough else np.nan
    if enough and moving >= STANDING_MPS:
        east, north = east - time_s * to_east, north - time_s * to_north
    t.lon, t.lat = lon + east / per_lon, lat + north / PER_LAT


def metres(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    return length((lon_b - lon_a) * PER_LON * cos(radians(lat_a)), (lat_b - lat_a) * PER_LAT)


def nearest_lost(tracks: Any, views: I64, slot: int) -> tuple[int, float]:
    """The object of its class that was lost, standing, where this one stands; NONE where there is none."""
    t = tracks[slot]
    best, best_m = NONE, WITHIN_M
    other = views[t.source, NEWEST]
    while other >= 0:
        o = tracks[other]
        away_us = t.watched_from_us - o.watched_us
        if o.identity != NONE and o.klass == t.klass and o.speed < GOING_MPS and 0 < away_us <= LOST_FOR_US:
            far_m = metres(t.lon, t.lat, o.lon, o.lat)
            if far_m < best_m:
                best, best_m = other, far_m
        other = o.next
    return best, best_m


def go_on(tracks: Any, rings: F64, slot: int, lost: int) -> None:
    """A track goes on as a lost one, with the places it remembers."""
    t, o = tracks[slot], tracks[lost]
    t.identity, o.identity = o.identity, NONE
    kept = min(o.places, RING - t.places)
    for i in range(t.places - 1, -1, -1):
        rings[slot, i + kept, :] = rings[slot, i, :]
    for i in range(kept):
        rings[slot, i, :] = rings[lost, o.places - kept + i, :]
    t.places += kept
    t.stood, t.led, t.stopped_us, t.stop_lon, t.stop_lat = o.stood, o.led, o.stopped_us, o.stop_lon, o.stop_lat
    t.cell0, t.cell1, t.cell2, t.cell3 = o.cell0, o.cell1, o.cell2, o.cell3
    if t.heading != t.heading:
        t.heading = o.heading


def passes(t: Any, ring: F64) -> bool:
    """Whether what has just settled drives."""
    if t.speed == t.speed:
        return bool(t.speed >= GOING_MPS)
    last = t.places - 1
    far_m = metres(ring[0, AT_LON], ring[0, AT_LAT], ring[last, AT_LON], ring[last, AT_LAT])
    return bool(far_m * 1e6 >= PASSING_MPS * (ring[last, AT_US] - ring[0, AT_US]))


def join_lost(tracks: Any, rings: F64, views: I64, slots: I32) -> None:
    """Of the tracks of a frame that have just settled, each goes on as the lost one nearest to it; nearest first."""
    looked_at = 0
    for i in range(len(slots)):
        if slots[i] >= 0 and tracks[slots[i]].settled == SETTLED:
            looked_at += 1
            if looked_at > MOST_SETTLED or passes(tracks[slots[i]], rings[slots[i]]):
                tracks[slots[i]].settled += 1
    who = NONE if looked_at == 0 else 0
    while who >= 0:
        who, whom, best_m = NONE, NONE, WITHIN_M
        for i in range(len(slots)):
            slot = slots[i]
            if slot >= 0 and tracks[slot].settled == SETTLED:
                lost, far_m = nearest_lost(tracks, views, slot)
                if lost < 0:
                    tracks[slot].settled += 1
                elif far_m < best_m:
                    who, whom, best_m = slot, lost, far_m
        if who >= 0:
            go_on(tracks, rings, who, whom)
            tracks[who].settled += 1


# -- ground ------------------------------------------------------------------------------------------------------------


def place_of(lon: float, lat: float) -> int:
    line = floor(lat * PER_LAT / CELL_M)
    per_lon = PER_LON * cos(radians(line * CELL_M / PER_LAT))
    return (int(line) << 32) + floor(lon * per_lon / CELL_M) + (1 << 31)


def find_cell(cells: Any, ground: I32, source: int, place: int) -> tuple[int, int]:
    """The cell (NONE: there is none), and its place in the table or the one where it belongs."""
    mask = len(ground) - 1
    at = spread(int(source) + 31 * (int(place) & 0xFFFFFFFF), int(place) >> 32, mask)
    while True:
        slot = ground[at]
        if slot < 0 or (cells[slot].place == place and cells[slot].source == source):
            return slot, at
        at = (at + 1) & mask


def cell_at(cells: Any, ground: I32, book: I64, source: int, place: int) -> int:
    slot, at = find_cell(cells, ground, source, place)
    if slot < 0:
        slot = book[CELLS_USED]
        book[CELLS_USED] += 1
        ground[at] = slot
        c = cells[slot]
        c.place, c.source, c.came, c.came_us = place, source, 0.0, NEVER_US
        c.stop0_us = c.stop1_us = c.stop2_us = NEVER_US
    return int(slot)


def came(
    cells: Any, ground: I32, source: int, lon: float, lat: float, now_us: int, since_us: int, least: float
) -> float:
    """How many tracks have come there, older ones counting less; at least so many as known already."""
    slot, _ = find_cell(cells, ground, source, place_of(lon, lat))
    if slot < 0 or cells[slot].came <= least or cells[slot].came_us < since_us:
        return least
    return max(least, float(cells[slot].came * 0.5 ** ((now_us - cells[slot].came_us) / FADES_US)))


def enter(t: Any, cells: Any, ground: I32, book: I64, now_us: int, since_us: int) -> None:
    """A track counts once for a cell, though it may shake across its border."""
    place = place_of(t.lon, t.lat)
    if place == t.cell0 or place == t.cell1 or place == t.cell2 or place == t.cell3:
        return
    t.cell3, t.cell2, t.cell1, t.cell0 = t.cell2, t.cell1, t.cell0, place
    c = cells[cell_at(cells, ground, book, t.source, place)]
    if c.came_us < since_us:
        c.came = 0.0
    elif c.came > 0.0:
        c.came *= 0.5 ** ((now_us - c.came_us) / FADES_US)
    c.came += 1.0
    c.came_us = now_us


def view_ends(t: Any, cells: Any, ground: I32, ahead_m: float, now_us: int, since_us: int) -> bool:
    """Whether many came here and few were seen so far ahead."""
    if t.heading != t.heading:
        return False
    east, north = sin(radians(t.heading)), cos(radians(t.heading))
    per_lon = PER_LON * cos(radians(t.lat))
    here = ahead = 0.0
    for back_m in (0.0, CELL_M):
        lon, lat = t.lon - back_m * east / per_lon, t.lat - back_m * north / PER_LAT
        here = came(cells, ground, t.source, lon, lat, now_us, since_us, here)
    if here < MANY:
        return False
    for short_m in (0.0, CELL_M):
        for aside_m in (-ASIDE_M, 0.0, ASIDE_M):
            to_east = (ahead_m - short_m) * east + aside_m * north
            to_north = (ahead_m - short_m) * north - aside_m * east
            lon, lat = t.lon + to_east / per_lon, t.lat + to_north / PER_LAT
            ahead = came(cells, ground, t.source, lon, lat, now_us, since_us, ahead)
            if ahead >= FEW * here:
                return False
    return True


def stops_near(t: Any, cells: Any, ground: I32, now_us: int, since_us: int) -> int:
    """How many stopped at the head within a cell of here, of late."""
    after_us, count = max(now_us - USUAL_WITHIN_US, since_us), 0
    for north in (-CELL_M, 0.0, CELL_M):
        middle = place_of(t.lon, t.lat + north / PER_LAT)
        for place in (middle - 1, middle, middle + 1):
            slot, _ = find_cell(cells, ground, t.source, place)
            if slot >= 0:
                c = cells[slot]
                count += int(c.stop0_us >= after_us) + int(c.stop1_us >= after_us) + int(c.stop2_us >= after_us)
    return count


def led_by(tracks: Any, slots: I32, slot: int) -> bool:
    """Whether another object of the frame stands before it, in its lane or beside it."""
    t = tracks[slot]
    if t.heading != t.heading:
        return False
    east, north = sin(radians(t.heading)), cos(radians(t.heading))
    per_lon = PER_LON * cos(radians(t.lat))
    for i in range(len(slots)):
        if slots[i] < 0 or slots[i] == slot:
            continue
        o = tracks[slots[i]]
        if o.speed < STANDING_MPS:
            to_east, to_north = (o.lon - t.lon) * per_lon, (o.lat - t.lat) * PER_LAT
            along, across = to_east * east + to_north * north, to_east * north - to_north * east
            if LEVEL_M < along <= AHEAD_M and abs(across) <= ABEAM_M:
                return True
    return False


def watch_stop(tracks: Any, slots: I32, slot: int, cells: Any, ground: I32, book: I64, now_us: int) -> None:
    """Follow a stop; when it is over and was one at the head, the ground remembers it."""
    t = tracks[slot]
    if t.stopped_us == NEVER_US:
        if t.speed < STANDING_MPS:
            t.stopped_us, t.stop_lon, t.stop_lat, t.stood, t.led = now_us, t.lon, t.lat, 0, 0
    elif t.speed >= GOING_MPS or metres(t.lon, t.lat, t.stop_lon, t.stop_lat) > MOVED_M:
        if 2 * t.led >= t.stood and STOOD_US <= now_us - t.stopped_us <= STOOD_AT_MOST_US:
            c = cells[cell_at(cells, ground, book, t.source, place_of(t.stop_lon, t.stop_lat))]
            c.stop2_us, c.stop1_us, c.stop0_us = c.stop1_us, c.stop0_us, now_us
        t.stopped_us = NEVER_US
    if t.stopped_us != NEVER_US:
        t.stood += 1
        if not led_by(tracks, slots, slot):
            t.led += 1


# -- frames ------------------------------------------------------------------------------------------------------------


def mend_frame(
    now_us: int,
    source: int,
    word: I32,
    klass: I32,
    lon: F64,
    lat: F64,
    speed: F64,
    heading: F64,
    identity: I32,
    ends: I8,
    usual: I8,
    slots: I32,
    aheads: F64,
    learn_stops: bool,
    tracks: Any,
    rings: F64,
    table: I32,
    views: I64,
    cells: Any,
    ground: I32,
    book: I64,
) -> None:
    """One frame: what was not sent is filled in where it stands."""
    last_us = views[source, LAST_FRAME]
    if now_us > last_us:
        if last_us != NEVER_US and now_us - last_us <= book[FORGET_US]:
            views[source, WATCHED] += min(now_us - last_us, STEP_US)
        elif last_us != NEVER_US:
            views[source, WATCHED] += KNOWN_FOR_US + 1
            views[source, SINCE] = now_us
        views[source, LAST_FRAME] = now_us
    since_us = views[source, SINCE]
    for i in range(len(word)):
        slots[i] = NONE
        if word[i] >= 0:
            slot = sighted(tracks, table, views, book, source, word[i], klass[i])
            if lon[i] == lon[i]:
                slots[i] = slot
                remember(tracks[slot], rings[slot], now_us, lon[i], lat[i])
                estimate(tracks[slot], rings[slot], now_us, lon[i], lat[i], speed[i], heading[i])
            identity[i] = tracks[slot].identity
    join_lost(tracks, rings, views, slots)
    for i in range(len(word)):
        slot = slots[i]
        if slot < 0:
            continue
        t = tracks[slot]
        if t.identity != identity[i]:
            identity[i] = t.identity
            estimate(t, rings[slot], now_us, lon[i], lat[i], speed[i], heading[i])
    for i in range(len(word)):
        slot = slots[i]
        if slot < 0:
            continue
        t = tracks[slot]
        heading[i] = t.heading
        if t.speed != t.speed:
            continue
        if speed[i] != speed[i]:
            lon[i], lat[i], speed[i] = t.lon, t.lat, t.speed
        enter(t, cells, ground, book, now_us, since_us)
        for j in range(len(aheads)):
            if view_ends(t, cells, ground, aheads[j], now_us, since_us):
                ends[i] |= 1 << j
        if learn_stops:
            watch_stop(tracks, slots, slot, cells, ground, book, now_us)
            usual[i] = stops_near(t, cells, ground, now_us, since_us) >= USUAL


def mend(
    time_us: I64,
    frame: I64,
    source: I32,
    word: I32,
    klass: I32,
    lon: F64,
    lat: F64,
    speed: F64,
    heading: F64,
    identity: I32,
    ends: I8,
    usual: I8,
    slots: I32,
    aheads: F64,
    learn_stops: bool,
    tracks: Any,
    rings: F64,
    table: I32,
    views: I64,
    cells: Any,
    ground: I32,
    book: I64,
) -> None:
    """Rows in order of their frames; one without a word stands for an empty frame. There is room for a track and two
    cells a row."""
    row = 0
    while row < len(frame):
        end = row + 1
        while end < len(frame) and frame[end] == frame[row]:
            end += 1
        mend_frame(
            time_us[row], source[row], word[row:end], klass[row:end], lon[row:end], lat[row:end], speed[row:end],
            heading[row:end], identity[row:end], ends[row:end], usual[row:end], slots[row:end], aheads, learn_stops,
            tracks, rings, table, views, cells, ground, book,
        )  # fmt: skip
        row = end


def look_around(
    rows: I64,
    first: I64,
    last: I64,
    there: Any,
    lon: F64,
    lat: F64,
    heading: F64,
    ahead_m: float,
    behind_m: float,
    abeam_m: float,
    found: I8,
) -> None:
    """For each of the rows, whether another of its frame (`first` to before `last`) that is `there` is in its box."""
    for i in range(len(rows)):
        row = rows[i]
        x, y, to = lon[row], lat[row], heading[row]
        per_lon = PER_LON * cos(radians(y))
        east, north = sin(radians(to)), cos(radians(to))
        reach_m = max(ahead_m, behind_m)
        for other in range(first[i], last[i]):
            if other == row or not there[other]:
                continue
            to_east, to_north = (lon[other] - x) * per_lon, (lat[other] - y) * PER_LAT
            if to == to:
                along, across = to_east * east + to_north * north, to_east * north - to_north * east
                if abs(along) <= LEVEL_M:
                    inside = ahead_m > 0.0 and behind_m > 0.0 and abs(across) <= abeam_m
                else:
                    inside = -behind_m <= along <= ahead_m and abs(across) <= abeam_m
            else:
                inside = length(to_east, to_north) <= reach_m
            if inside:
                found[i] = 1
                break


def index(tracks: Any, used: int, table: I32, views: I64, cells: Any, cells_used: int, ground: I32) -> None:
    """Fill empty tables, and hang each view's tracks together again, the newest first."""
    for slot in range(used):
        t = tracks[slot]
        if t.word == NONE:
            continue
        _, place = find_track(tracks, table, t.source, t.word)
        table[place] = slot
        t.next = views[t.source, NEWEST]
        views[t.source, NEWEST] = slot
    for slot in range(cells_used):
        _, at = find_cell(cells, ground, cells[slot].source, cells[slot].place)
        ground[at] = slot


CALLED = (
    spread, find_track, begin, free_identity, sighted, remember, length, estimate, metres, nearest_lost, go_on, passes,
    join_lost, place_of, find_cell, cell_at, came, enter, view_ends, stops_near, led_by, watch_stop, mend_frame,
)  # fmt: skip


class Loops:
    """The three loops a lane calls."""

    def __init__(self, mend: Callable[..., None], look_around: Callable[..., None], index: Callable[..., None]) -> None:
        self.mend, self.look_around, self.index = mend, look_around, index


PLAIN = Loops(mend, look_around, index)


@cache
def compiled() -> Loops:
    numba = import_module("numba")
    ints, longs, reals, bytes_ = numba.int32[::1], numba.int64[::1], numba.float64[::1], numba.int8[::1]
    tracks, cells = numba.from_dtype(TRACK)[::1], numba.from_dtype(CELL)[::1]
    views, rings = numba.int64[:, ::1], numba.float64[:, :, ::1]
    names = globals()

    def ready(whole: Callable[..., Any], *kinds: Any) -> Any:
        return machine_code(whole, CALLED, names, numba.void(*kinds))

    return Loops(
        ready(
            mend, longs, longs, ints, ints, ints, reals, reals, reals, reals, ints, bytes_, bytes_, ints, reals,
            numba.boolean, tracks, rings, ints, views, cells, ints, longs,
        ),
        ready(
            look_around, longs, longs, longs, numba.boolean[::1], reals, reals, reals, numba.float64, numba.float64,
            numba.float64, bytes_,
        ),
        ready(index, tracks, numba.int64, ints, views, cells, numba.int64, ints),
    )  # fmt: skip
