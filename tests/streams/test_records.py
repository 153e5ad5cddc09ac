"""Columns instead of records: the same as aiokafka's own, whatever the batches look like."""

from __future__ import annotations

import gc
import gzip
import random
import weakref
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException, NoOffsetForPartitionError, TopicAuthorizationFailedError
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from streams.agents.detectors import arrivals, clock_records
from streams.records import NO_TIME, RawRecords, Record, Records, fetched

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def batch(base: int, records: list[Record], codec: int = 0, control: bool = False) -> bytes:
    """A batch as a broker keeps it; what compaction took is what is missing among the records."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 24)
    for r in records:
        builder.append(r.offset - base, r.timestamp, r.key, r.value, list(r.headers))
    data = builder.build()
    data[0:8] = base.to_bytes(8, "big")
    if control:
        data[22] |= 0x20
        data[17:21] = _crc(data).to_bytes(4, "big")
    return bytes(data)


def _crc(data: bytearray) -> int:
    return int(calc_crc32c(bytes(data[21:])))


def record(offset: int, value: bytes | None = b"{}", key: bytes | None = b"k") -> Record:
    headers = (("trace", b"%d" % offset),) if offset % 3 == 0 else ()
    return Record(offset, 1000 + offset, key, value, headers)


class Fetcher:
    """As much of aiokafka's fetcher as is touched, with what it fetched from an offset on."""

    def __init__(self, **fetches: tuple[int, bytes]) -> None:
        self.states = {TopicPartition(name, 0): State(position) for name, (position, _) in fetches.items()}
        self.active = True
        self._subscriptions = SimpleNamespace(is_assigned=lambda tp: tp in self.states)
        self._wait_consume_future, self.freed = None, 0
        self._records: OrderedDict[Any, Any] = OrderedDict()
        for name, (position, data) in fetches.items():
            tp = TopicPartition(name, 0)
            parsed = PartitionRecords(tp, RawRecords(data), [], position, None, None, True, 0)
            self._records[tp] = FetchResult(tp, assignment=self, partition_records=parsed, backoff=0)

    def state_value(self, tp: TopicPartition) -> State:
        return self.states[tp]

    def _notify(self, _future: None) -> None:
        self.freed += 1


class State:
    def __init__(self, position: int) -> None:
        self.position, self.paused = position, False

    def consumed_to(self, position: int) -> None:
        self.position = position


def by_aiokafka(position: int, data: bytes) -> tuple[list[Record], int]:
    parsed = PartitionRecords(A, MemoryRecords(data), [], position, None, None, True, 0)
    records = [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in parsed]
    return records, parsed.next_fetch_offset


def in_runs(fetcher: Fetcher, most: int) -> list[Record]:
    got: list[Record] = []
    while A in fetcher._records:
        records = fetched(fetcher, {A}, most).get(A, ())
        assert len(records) <= most
        got += records
    return got


@pytest.mark.parametrize("most", [1, 3, 7, 10_000])
@pytest.mark.parametrize("codec", [0, DefaultRecordBatch.CODEC_GZIP])
def test_runs_are_what_aiokafka_gives_one_by_one(codec: int, most: int) -> None:
    rng, data, base = random.Random(codec + most), b"", 100
    for _ in range(9):
        kept = [record(base + n, rng.choice([b"{}", None, b""]), rng.choice([b"k", None])) for n in range(12)]
        whole = batch(base, kept, codec, control=rng.random() < 0.2)
        data += whole
        base += 12 + rng.randrange(3)
    for position in (100, 105, 112, 130):
        expected, end = by_aiokafka(position, data)
        fetcher = Fetcher(a=(position, data))
        assert in_runs(fetcher, most) == expected
        assert fetcher.states[A].position == end
        assert fetcher.freed == 1


def test_a_batch_whose_last_records_were_compacted_is_gone_past() -> None:
    data = bytearray(batch(0, [record(0), record(1)]))
    data[23:27] = (9).to_bytes(4, "big")  # it held ten
    data[17:21] = _crc(data).to_bytes(4, "big")
    for most in (2, 5):
        fetcher = Fetcher(a=(0, bytes(data)))
        assert [r.offset for r in in_runs(fetcher, most)] == [0, 1]
        assert fetcher.states[A].position == 10


def test_old_batches_and_records_without_a_time() -> None:
    builder = LegacyRecordBatchBuilder(0, 0, 1 << 16)
    builder.append(0, None, b"k", b"v")
    found = fetched(Fetcher(a=(0, bytes(builder.build()))), {A}, 10)[A]
    assert list(found) == [Record(0, NO_TIME, b"k", b"v", ())]


def test_a_wrong_checksum_is_said() -> None:
    data = bytearray(batch(0, [record(0)]))
    data[-1] ^= 1
    with pytest.raises(CorruptRecordException, match="the batch at 0"):
        fetched(Fetcher(a=(0, bytes(data))), {A}, 10)


@pytest.mark.parametrize("most", [1, 4, 10_000])
@pytest.mark.parametrize("codec", [0, DefaultRecordBatch.CODEC_GZIP])
def test_a_header_whose_name_was_no_utf8_stopped_its_partition_for_ever(codec: int, most: int) -> None:
    named = record(3)._replace(headers=(("NAME", b"\xff"), ("b", b"")))
    kept = [record(n) for n in range(3)] + [named] + [record(n) for n in range(4, 8)]
    spoilt = bytearray(batch(0, kept))
    at = spoilt.index(b"NAME")
    spoilt[at : at + 4] = b"\xff\xfe\xfd\xfc"
    if codec:
        packed = gzip.compress(spoilt[61:])
        spoilt = bytearray(spoilt[:61] + packed)
        spoilt[8:12] = (len(spoilt) - 12).to_bytes(4, "big")
        spoilt[22] |= codec
    spoilt[17:21] = _crc(spoilt).to_bytes(4, "big")
    data = bytes(spoilt) + batch(8, [record(8), record(9)])
    expected = [
        *kept[:3],
        named._replace(headers=(("\ufffd" * 4, b"\xff"), ("b", b""))),
        *kept[4:],
        record(8),
        record(9),
    ]
    for position in (0, 2, 3, 4, 8):
        fetcher = Fetcher(a=(position, data))
        assert in_runs(fetcher, most) == [r for r in expected if r.offset >= position]
        assert fetcher.states[A].position == 10
    assert aiokafka_fetcher.MemoryRecords is RawRecords


def test_a_header_without_a_value_was_taken_for_one_with() -> None:
    nothing: Any = None
    sent = record(1)._replace(headers=(("ce_id", nothing),))
    assert list(fetched(Fetcher(a=(1, batch(1, [sent]))), {A}, 10)[A]) == [sent._replace(headers=(("ce_id", b""),))]


def test_what_was_fetched_waited_for_the_collector_when_it_had_been_taken() -> None:
    fetcher = Fetcher(a=(0, batch(0, [record(0)])))
    parsed = weakref.ref(fetcher._records[A]._partition_records)
    gc.disable()
    try:
        in_runs(fetcher, 10)
        assert parsed() is None
    finally:
        gc.enable()


def test_what_was_fetched_before_a_seek_is_not_given() -> None:
    fetcher = Fetcher(a=(0, batch(0, [record(0), record(1)])))
    fetcher.states[A].position = 1
    assert fetched(fetcher, {A}, 10) == {}
    assert fetcher._records == {}


def test_partitions_that_are_not_asked_for_wait_and_those_that_went_are_forgotten() -> None:
    data = batch(0, [record(0), record(1)])
    fetcher = Fetcher(a=(0, data), b=(0, data))
    assert list(fetched(fetcher, {A}, 10)) == [A]
    assert list(fetcher._records) == [B]
    assert list(fetched(fetcher, {B}, 10)) == [B]
    fetcher = Fetcher(a=(0, data), b=(0, data))
    del fetcher.states[B]
    assert list(fetched(fetcher, {A}, 10)) == [A]
    assert fetcher._records == {}


def test_the_limit_is_over_all_partitions() -> None:
    data = batch(0, [record(n) for n in range(5)])
    fetcher = Fetcher(a=(0, data), b=(0, data))
    assert {tp.topic: len(records) for tp, records in fetched(fetcher, {A, B}, 7).items()} == {"a": 5, "b": 2}
    assert {tp.topic: len(records) for tp, records in fetched(fetcher, {A, B}, 7).items()} == {"b": 3}


def test_a_run_of_large_records_is_short() -> None:
    large = [record(n, b"x" * 10_000) for n in range(500)]
    fetcher = Fetcher(a=(0, batch(0, large[:90]) + batch(90, large[90:])))
    runs = []
    while A in fetcher._records:
        runs.append(fetched(fetcher, {A}, 10_000)[A])
    assert [len(run) for run in runs] == [104, 104, 104, 104, 84]
    assert [r.offset for run in runs for r in run] == list(range(500))


def test_an_error_of_one_partition_waits_until_what_came_before_it_is_given() -> None:
    fetcher = Fetcher(a=(0, batch(0, [record(0)])))
    fetcher._records[B] = FetchError(error=TopicAuthorizationFailedError("b"), backoff=0)
    assert list(fetched(fetcher, {A, B}, 10)) == [A]
    with pytest.raises(TopicAuthorizationFailedError):
        fetched(fetcher, {A, B}, 10)
    assert fetcher._records == {}


def test_a_worker_that_came_in_the_middle_of_a_rebalance_ended_for_want_of_an_offset() -> None:
    """aiokafka had looked for one between an assignment and our seek, which names it and takes the error away."""
    fetcher = Fetcher(a=(0, batch(0, [record(0)])))
    fetcher._records[B] = unsought = FetchError(error=NoOffsetForPartitionError(B), backoff=0)
    assert list(fetched(fetcher, {A, B}, 10)) == [A]
    assert fetched(fetcher, {A, B}, 10) == {}
    assert fetcher._records == {B: unsought}


def test_records_are_a_sequence_of_records() -> None:
    rows = [record(n) for n in range(6)]
    records = Records.of(rows)
    assert list(records) == rows == [records[n] for n in range(6)]
    assert records == rows
    assert records.columns == tuple(map(list, zip(*rows, strict=True)))
    assert records[2:4] == rows[2:4]
    assert records.without([0, 5]) == rows[1:5]
    assert records[-1].timestamp_ms == rows[-1].timestamp
    assert Records.of(records) is records
    assert list(Records.of([])) == []
    assert list(records[2:2]) == []


def test_under_the_stream_clock_records_arrive_when_the_clock_says() -> None:
    def tick(offset: int, second: int) -> Record:
        return Record(offset, 1, b"k", None, (("zhinao_tick", b"%d" % (second * 1000)),))

    records = Records.of([record(0), tick(1, 60), record(2), tick(3, 59), record(4, None), tick(5, 61), record(6)])
    ticks = clock_records(records)
    assert ticks == {1: 60_000_000, 3: 59_000_000, 5: 61_000_000}
    own = [r.timestamp for r in records]
    first, sixty, last = own[0], 60_000, 61_000
    assert arrivals(records, ticks, 0).timestamps == [first, *[sixty] * 4, *[last] * 2]
    assert arrivals(records, ticks, 62_000_000).timestamps == [62_000] * 7
    assert arrivals(records, {}, 0) == records
