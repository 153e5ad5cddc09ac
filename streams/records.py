"""Kafka records as columns: what aiokafka parsed becomes five lists without a step of Python for each record.

A tuple for each record costs more than all the rest of the transport; most readers want all values, or all keys. So a
`Record` is made only for who asks for one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple, cast, overload

from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException, NoOffsetForPartitionError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

Headers = tuple[tuple[str, bytes], ...]
NO_TIME = -1
"""The arrival of a record that bears none, as Kafka itself writes it."""

RUN_BYTES = 1024 * 1024
"""Of values in a run: frames of many objects would otherwise hold the loop for a quarter of a second."""
SAMPLE = 32


class Record(NamedTuple):
    """One Kafka record: what the core reads of it (`models.columns.RawRecord`), and nothing aiokafka adds."""

    offset: int
    timestamp: int  # arrival, epoch milliseconds
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def timestamp_ms(self) -> int:
        return self.timestamp


_as_record = cast(Callable[[Iterable[Any]], Record], partial(tuple.__new__, Record))
_fields = tuple(attrgetter(name) for name in ("offset", "timestamp", "key", "value", "headers"))


class Records(Sequence[Record]):
    """Records of one partition, offsets rising, as columns of the same length."""

    __slots__ = ("_made", "headers", "keys", "offsets", "timestamps", "values")

    def __init__(
        self,
        offsets: list[int],
        timestamps: list[int],
        keys: list[bytes | None],
        values: list[bytes | None],
        headers: list[Headers],
    ) -> None:
        self.offsets, self.timestamps, self.keys = offsets, timestamps, keys
        self.values, self.headers = values, headers
        self._made: list[Record] | None = None

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """The same records as columns."""
        if isinstance(records, Records):
            return records
        return cls(*map(list, zip(*records, strict=True))) if records else cls([], [], [], [], [])

    @classmethod
    def parsed(cls, found: list[Any]) -> Records:
        """Of the records of aiokafka's batches."""
        offsets, timestamps, keys, values, headers = (list(map(field, found)) for field in _fields)
        if None in timestamps:
            timestamps = [NO_TIME if at is None else at for at in timestamps]
        headers = list(map(_whole, headers)) if any(headers) else [()] * len(found)
        return cls(offsets, timestamps, keys, values, headers)

    @property
    def columns(self) -> tuple[list[int], list[int], list[bytes | None], list[bytes | None], list[Headers]]:
        """Offsets, timestamps, keys, values, headers: what `zip(*records)` gives, without making the records."""
        return self.offsets, self.timestamps, self.keys, self.values, self.headers

    def arrived(self, timestamps: list[int]) -> Records:
        """The same records at other times of arrival."""
        return Records(self.offsets, timestamps, self.keys, self.values, self.headers)

    def without(self, numbers: Iterable[int]) -> Records:
        """Those whose number is not among these."""
        away = set(numbers)
        kept = [number for number in range(len(self)) if number not in away]
        return Records(*([column[number] for number in kept] for column in self.columns))  # type: ignore[arg-type]

    def only(self, numbers: Collection[int]) -> Records:
        """Those whose number is among these."""
        return self.without(set(range(len(self))).difference(numbers))

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Record]:
        if self._made is None:
            self._made = list(map(_as_record, zip(*self.columns, strict=True)))
        return iter(self._made)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Records: ...
    def __getitem__(self, at: int | slice) -> Record | Records:
        if isinstance(at, slice):
            return Records(*(column[at] for column in self.columns))  # type: ignore[arg-type]
        return _as_record(column[at] for column in self.columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _whole(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Kafka lets a header have no value: that is an empty one here."""
    return tuple((name, value or b"") for name, value in headers)


class RawRecords(MemoryRecords):  # type: ignore[misc]
    """aiokafka's, with the bytes that it reads beside it, for `_leniently`."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


aiokafka_fetcher.MemoryRecords = RawRecords


class _Lenient(bytearray):
    """Gives replacement characters for what is no UTF-8, and so do its pieces."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Lenient(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "replace")


def _leniently(raw: bytes, end: int) -> Iterator[Any]:
    """The records of the batch that ends before the offset `end`. aiokafka stops at a header whose name is no UTF-8, as
    a sender in another language may write it, and nobody would ever come past that record."""
    at = 0
    while sum(_OFFSETS.unpack_from(raw, at)[::2]) + 1 != end:
        at += _BEFORE_BATCH + _OFFSETS.unpack_from(raw, at)[1]
    batch: Any = _DefaultRecordBatchPy(raw[at : at + _BEFORE_BATCH + _OFFSETS.unpack_from(raw, at)[1]])
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    return iter(batch)


_OFFSETS = struct.Struct(">qi11xi")  # of a batch: its first offset, its length from here on, its last offset's distance
_BEFORE_BATCH = 12


def _room(taken: list[Any]) -> int:
    """How many records make a run, as the first few let one expect."""
    if len(taken) < SAMPLE:
        return SAMPLE
    size = sum(len(record.value) for record in taken[:SAMPLE] if record.value is not None)
    return max(SAMPLE, SAMPLE * RUN_BYTES // (size or 1))


class Batches:
    """In place of aiokafka's PartitionRecords: gives runs of what was fetched of a partition, not single records.

    It reads what is not committed too; the transport sees to it that nobody asks for less.
    """

    def __init__(self, parsed: Any, name: str) -> None:
        self.next_fetch_offset: int = parsed.next_fetch_offset
        self._batches, self._check_crcs, self._name = parsed._records, parsed._check_crcs, name
        self._rest: Iterator[Any] | None = None
        self._after = 0

    def take(self, most: int) -> Records:
        """The next records, some `RUN_BYTES` at most."""
        taken: list[Any] = []
        while (room := min(most, _room(taken)) - len(taken)) > 0 and (self._rest is not None or self._next_batch()):
            run = self._run(room)
            exhausted = len(run) < room
            if run and run[0].offset < self.next_fetch_offset:  # we began in the middle of a compressed batch
                run = [record for record in run if record.offset >= self.next_fetch_offset]
            if run:
                taken += run
                self.next_fetch_offset = run[-1].offset + 1
            if exhausted:  # compaction may have removed the last of a batch: go on behind it, not in it
                self._rest, self.next_fetch_offset = None, self._after
        return Records.parsed(taken)

    def _run(self, room: int) -> list[Any]:
        """Of the open batch. One that cannot be read as it should is read once more from its start, leniently."""
        try:
            return list(islice(cast(Iterator[Any], self._rest), room))
        except UnicodeDecodeError:
            left = _leniently(self._batches.raw, self._after)
            self._rest = (record for record in left if record.offset >= self.next_fetch_offset)
            return list(islice(self._rest, room))

    def has_more(self) -> bool:
        """Whether a batch is open or left."""
        return self._rest is not None or self._batches.has_next()

    def _next_batch(self) -> bool:
        """Open the next batch with records in it; false if there is none."""
        while self._batches.has_next():
            batch = self._batches.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"{self._name}: wrong checksum of the batch at {self.next_fetch_offset}")
            if not batch.is_control_batch:
                self._rest, self._after = chain(batch), batch.next_offset  # aiokafka begins a batch only once
                return True
            self.next_fetch_offset = batch.next_offset
        return False


def fetched(fetcher: Any, active: AbstractSet[Any], most: int) -> dict[Any, Records]:
    """What aiokafka's `fetched_records` would return now, and moves the same positions, but in columns."""
    found: dict[Any, Records] = {}
    for tp, result in list(fetcher._records.items()):
        if tp not in active:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
        elif isinstance(result, FetchResult):
            records = _take(result, most)
            if not result.has_more():
                _done_with(fetcher, tp)
            if records:
                found[tp] = records
                most -= len(records)
                if not most:
                    break
        elif isinstance(result._error, NoOffsetForPartitionError):
            continue  # we always seek: a rebalance came between, and the seek that follows takes this away
        elif found:
            break  # its error is for the next call
        else:
            _done_with(fetcher, tp)
            result.check_raise()
    return found


def _take(result: Any, most: int) -> Records | None:
    parsed = result._partition_records
    if not isinstance(parsed, Batches):
        result._partition_records = Batches(parsed, str(result._topic_partition))
        parsed._records_iterator = (
            None  # it refers back to what made it: all that was fetched would wait for the collector
        )
    if not result.check_assignment(result._topic_partition):
        return None
    batches: Batches = result._partition_records
    records = batches.take(most)
    result._update_position()
    if not batches.has_more():
        result._partition_records = None
    return records


def _done_with(fetcher: Any, tp: Any) -> None:
    """Its place is free: aiokafka may fetch of this partition again."""
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)
