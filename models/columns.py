"""A batch of observations of one topic as columns.

A batch holds *rows* (one observation each: a tracked object, a reading, a measurement) and *records* (one Kafka
message each). A camera frame without objects is a record without rows: seen, and empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]


class RawRecord(Protocol):
    """What the core reads of a Kafka record; aiokafka's ConsumerRecord and a replayed line both have this shape."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Arrival time in epoch milliseconds."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Numbers:
    """float64 values; NaN is null (a non-finite input never gets this far)."""

    values: F64

    def take(self, rows: I64 | I32 | Mask) -> Numbers:
        return Numbers(self.values[rows])


@dataclass(frozen=True, slots=True)
class Flags:
    """1 true, 0 false, -1 null."""

    values: I8

    def take(self, rows: I64 | I32 | Mask) -> Flags:
        return Flags(self.values[rows])


@dataclass(frozen=True, slots=True)
class Texts:
    """Dictionary-encoded text: `words[codes[i]]`, code -1 is null. `lookup` is the inverse of `words`.

    The dictionary lives as long as its batch, so no table of words grows with the world.
    """

    codes: I32
    words: tuple[str, ...]
    lookup: dict[str, int]

    @classmethod
    def encode(cls, values: Sequence[str | None]) -> Texts:
        lookup: dict[str, int] = {}
        codes = [-1 if v is None else lookup.setdefault(v, len(lookup)) for v in values]
        return cls(np.array(codes, dtype=np.int32), tuple(lookup), lookup)

    def take(self, rows: I64 | I32 | Mask) -> Texts:
        return Texts(self.codes[rows], self.words, self.lookup)

    def at(self, row: int) -> str | None:
        code = int(self.codes[row])
        return None if code < 0 else self.words[code]


@dataclass(frozen=True, slots=True)
class Mixed:
    """A field that may be a number, a boolean or a text; in each row at most one of the three is not null."""

    number: Numbers
    flag: Flags
    text: Texts

    def take(self, rows: I64 | I32 | Mask) -> Mixed:
        return Mixed(self.number.take(rows), self.flag.take(rows), self.text.take(rows))


Column = Numbers | Flags | Texts | Mixed
Scalar = float | bool | str | None


def scalar(column: Column, row: int) -> Scalar:
    """One cell as a Python value, null as None."""
    match column:
        case Numbers(values):
            number = float(values[row])
            return None if number != number else number
        case Flags(values):
            return None if values[row] < 0 else bool(values[row])
        case Texts():
            return column.at(row)
        case Mixed(number, flag, text):
            for part in (number, flag, text):
                value = scalar(part, row)
                if value is not None:
                    return value
            return None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one topic in arrival order.

    time_us     event time of each row, microseconds UTC
    record      for each row, the index of its record (of the list that was decoded)
    source      the sensor, device, segment or vehicle of each row
    columns     every field of the stream's schema by name (`models.streams`), one entry a row
    seen_*      one entry a sighting: which source vouched for which moment (a frame, a reading), rows or not
    """

    topic: str
    time_us: I64
    record: I32
    source: Texts
    columns: dict[str, Column]
    seen_time_us: I64
    seen_record: I32
    seen_source: Texts
    masks: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    """For tokenised fields, the mask of each word of the column's dictionary: never the clear value."""

    def __len__(self) -> int:
        return len(self.time_us)

    def numbers(self, name: str) -> F64:
        column = self.columns[name]
        assert isinstance(column, Numbers), name
        return column.values

    def take(self, rows: I64 | I32 | Mask) -> Batch:
        """The same records and sightings with fewer rows."""
        return replace(
            self,
            time_us=self.time_us[rows],
            record=self.record[rows],
            source=self.source.take(rows),
            columns={name: column.take(rows) for name, column in self.columns.items()},
        )

    def without_records(self, dropped: Mask) -> Batch:
        """Rows and sightings of the records not marked in `dropped` (one flag a record)."""
        kept = self.take(~dropped[self.record])
        seen = ~dropped[self.seen_record]
        return replace(
            kept,
            seen_time_us=self.seen_time_us[seen],
            seen_record=self.seen_record[seen],
            seen_source=self.seen_source.take(seen),
        )
