"""Typed records to lists of values by field name: what a record says once (its head) and what its rows say.

Of the feeds, only frames of cameras and lists of readings have rows of their own; elsewhere a record is its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import astuple

from models.columns import I64, Mask
from models.observations import (
    WIRE_TYPES,
    ReadingItem,
    SensorReading,
    TrackColumns,
    TrackFrame,
    TrackObject,
)

Values = Sequence[Any]
Fields = dict[str, Values]


def wire_names(kind: type[Any]) -> tuple[str, ...]:
    """Field names as on the wire (`class`, not `class_`)."""
    return tuple(kind.__struct_encode_fields__)


class Nulls(tuple[None, ...]):
    """A column that no record had: known to hold nothing but nulls without being looked at."""

    __slots__ = ()


class Gathered(NamedTuple):
    """head: a list a field, one entry a record; row: one entry a row. `row_head`: the record of each row, None where
    rows and records are the same. `broken`: records whose structure is wrong; they have no rows. `columnar`: records
    that came as columns, None where none did."""

    head: Fields
    row: Fields
    row_head: I64 | None = None
    broken: Mask | None = None
    columnar: Mask | None = None


def transposed(kind: type[Any], structs: Sequence[Any]) -> Fields:
    names = wire_names(kind)
    if not structs:
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*map(astuple, structs), strict=True), strict=True))


def gather_flat(kind: type[Any]) -> Callable[[Sequence[Any]], Gathered]:
    def gather(records: Sequence[Any]) -> Gathered:
        fields = transposed(kind, records)
        return Gathered(fields, fields)

    return gather


TRACK_NAMES = wire_names(TrackObject)
OBJECTS, COLUMNS = attrgetter("objects"), attrgetter("columns")


def gather_frames(frames: Sequence[TrackFrame]) -> Gathered:
    head = transposed(TrackFrame, frames)
    if None not in head["objects"] and not any(head["columns"]):
        counts = np.fromiter(map(len, head["objects"]), np.int64, len(frames))
        row = transposed(TrackObject, list(chain.from_iterable(head["objects"])))
        row_head = None if len(frames) and (counts == 1).all() else np.repeat(np.arange(len(frames)), counts)
        return Gathered(head, row, row_head)
    return gather_mixed_frames(frames, head)


def gather_mixed_frames(frames: Sequence[TrackFrame], head: Fields) -> Gathered:
    """Some frames as columns: runs of objects and each columnar frame become pieces of every field's list."""
    pieces: list[tuple[Values, ...]] = []
    run: list[TrackObject] = []
    counts: list[int] = []
    broken = np.zeros(len(frames), dtype=np.bool_)
    columnar = np.zeros(len(frames), dtype=np.bool_)
    for number, frame in enumerate(frames):
        objects, columns = frame.objects, frame.columns
        if objects is not None and columns is None:
            run += objects
            counts.append(len(objects))
            continue
        piece = () if columns is None or objects is not None else whole_columns(columns)
        broken[number] = not piece
        columnar[number] = columns is not None
        if piece:
            if run:
                pieces.append(tuple(zip(*map(astuple, run), strict=True)))
                run = []
            pieces.append(piece)
        counts.append(len(piece[0]) if piece else 0)
    if run:
        pieces.append(tuple(zip(*map(astuple, run), strict=True)))
    row = {name: joined([p[i] for p in pieces]) for i, name in enumerate(TRACK_NAMES)}
    return Gathered(head, row, np.repeat(np.arange(len(frames)), counts), broken, columnar)


def joined(parts: Sequence[Values]) -> Values:
    """One column of its pieces."""
    if len(parts) == 1:
        return parts[0]
    if all(type(part) is Nulls for part in parts):
        return Nulls((None,) * sum(map(len, parts)))
    whole: list[Any] = []
    for part in parts:
        whole += part
    return whole


def whole_columns(columns: TrackColumns) -> tuple[Values, ...]:
    """All columns, absent ones as nulls; empty where track_id is missing or the lengths differ."""
    length = -1 if columns.track_id is None else len(columns.track_id)
    nulls = Nulls((None,) * length)
    whole: tuple[Values, ...] = tuple([nulls if values is None else values for values in astuple(columns)])
    return whole if {length}.issuperset(map(len, whole)) else ()


READING_NAMES = wire_names(ReadingItem)


def gather_readings(records: Sequence[SensorReading]) -> Gathered:
    head = transposed(SensorReading, records)
    if head["readings"].count(None) == len(records):
        return Gathered(head, head)
    counts: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for record in records:
        if record.readings is None:
            rows.append((record.metric, record.value, record.reading_time, record.unit))
            counts.append(1)
        else:
            rows += map(astuple, record.readings)
            counts.append(len(record.readings))
    values: Sequence[Values] = tuple(zip(*rows, strict=True)) if rows else ((),) * len(READING_NAMES)
    row = dict(zip(READING_NAMES, values, strict=True))
    broken = np.fromiter(counts, np.int64, len(counts)) == 0
    return Gathered(head, row, np.repeat(np.arange(len(records)), counts), broken)


GATHER: dict[str, Callable[[Sequence[Any]], Gathered]] = {
    **{topic: gather_flat(kind) for topic, kind in WIRE_TYPES.items()},
    "camera.tracks": gather_frames,
    "sensor.readings": gather_readings,
}
