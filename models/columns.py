"""A batch of observations of one topic as columns.

A batch holds *rows* (one observation each: a tracked object, a reading, a measurement) and *records* (one Kafka
message each). A camera frame without objects is a record without rows: seen, and empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

PADDING = bytes(8)
"""Behind every buffer of spans, so that reading eight bytes at once never leaves it."""

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
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

    def spans(self) -> Spans:
        """The same as pieces of one buffer."""
        words = Spans.of([word.encode() for word in self.words] or [b""])
        null = self.codes < 0
        if null.any():
            codes = np.where(null, 0, self.codes)
            return Spans(words.buffer, words.at[codes], np.where(null, -1, words.size[codes]).astype(np.int32))
        return words.take(self.codes)


@dataclass(frozen=True, slots=True)
class Spans:
    """Text as pieces of one buffer of UTF-8, as a scanner finds it: `buffer[at : at + size]`; size -1 is null.

    The buffer may be longer than what the pieces name, and pieces may overlap.
    """

    buffer: U8
    at: I32
    size: I32

    @classmethod
    def of(cls, pieces: Sequence[bytes | None]) -> Spans:
        size = np.array([-1 if piece is None else len(piece) for piece in pieces], dtype=np.int32)
        at = np.zeros(len(pieces), dtype=np.int32)
        np.cumsum(np.maximum(size[:-1], 0), out=at[1:])
        return cls(np.frombuffer(b"".join([p for p in pieces if p]) + PADDING, np.uint8), at, size)

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: I64 | I32 | Mask) -> Spans:
        return Spans(self.buffer, self.at[rows], self.size[rows])

    def piece(self, row: int) -> bytes | None:
        at, size = int(self.at[row]), int(self.size[row])
        return None if size < 0 else self.buffer[at : at + size].tobytes()


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


class Columns(dict[str, Column]):
    """The fields of a batch by name. What `build` can make is made when somebody asks for it: most fields of most
    batches are never looked at."""

    __slots__ = ("build", "source_nbytes")

    def __init__(self, ready: Mapping[str, Column], build: Callable[[str], Column] | None = None) -> None:
        super().__init__(ready)
        self.build = build
        self.source_nbytes = 0
        """What those are made of that are not made yet."""

    def __missing__(self, name: str) -> Column:
        if self.build is None:
            raise KeyError(name)
        column = self[name] = self.build(name)
        return column

    def take(self, rows: I64 | I32 | Mask) -> Columns:
        taken = {name: column.take(rows) for name, column in self.items()}
        return Columns(taken, None if self.build is None else lambda name: self[name].take(rows))

    def spans_of(self, name: str) -> Spans | None:
        """The pieces of a text's buffer, where that is how it came."""
        return None

    def with_ready(self, ready: Mapping[str, Column]) -> Columns:
        """The same with these in place of its own."""
        return Columns({**self, **ready}, None if self.build is None else self.__getitem__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one topic in arrival order.

    time_us     event time of each row, microseconds UTC
    record      for each row, the index of its record (of the list that was decoded)
    columns     every field of the stream's schema by name (`models.streams`), one entry a row
    seen_*      one entry a sighting: which record vouched for which moment (a frame, a reading), rows or not

    Which sensor, device, segment or vehicle it is, a record says once: `models.decode` has it a record.
    """

    topic: str
    time_us: I64
    record: I32
    columns: Columns
    seen_time_us: I64
    seen_record: I32
    masks: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    """For tokenised fields, the mask of each word of the column's dictionary: never the clear value."""

    def __len__(self) -> int:
        return len(self.time_us)

    @property
    def nbytes(self) -> int:
        """About what it keeps in memory."""
        return self.columns.source_nbytes + 8 * len(self) * (2 + len(self.columns))

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
            columns=self.columns.take(rows),
        )

    def without_records(self, dropped: Mask) -> Batch:
        """Rows and sightings of the records not marked in `dropped` (one flag a record)."""
        kept = self.take(~dropped[self.record])
        seen = ~dropped[self.seen_record]
        return replace(
            kept,
            seen_time_us=self.seen_time_us[seen],
            seen_record=self.seen_record[seen],
        )

    def placed(self, lon: F64, lat: F64) -> Batch:
        """The same rows elsewhere."""
        return replace(self, columns=self.columns.with_ready({"lon": Numbers(lon), "lat": Numbers(lat)}))

    def renumbered(self, records: I32) -> Batch:
        """The same with the numbers that its records have in a longer list."""
        return replace(self, record=records[self.record], seen_record=records[self.seen_record])
