"""What arrives on a lane in one call: the records as columns, then as one or two batches of rows.

Records in a canonical layout are scanned; what the scanner leaves, and everything where loops are not compiled, is
decoded by its type. Which way a record went changes nothing about what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from geo.atlas import Atlas
from models.columns import F64, I32, I64, U64, Batch, Mask, RawRecord, Spans
from models.decode import Decoded, Decoder
from models.natural_keys import sent_key
from models.observations import DecodeFailure
from models.prints import prints
from models.scanner import Scanned, Scanner
from models.ticks import tick_us
from rules.detection.places import Places
from rules.detection.rows import NONE
from rules.detection.sources import Sources

FIELDS = ("offset", "timestamp", "key", "value", "headers")


class Incoming(NamedTuple):
    """Records as columns. `place`: where each stands among what was fed; `ticks`: the clock records among them."""

    records: Sequence[RawRecord]
    offsets: I64
    arrival_us: I64
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Sequence[tuple[str, bytes]]]
    place: Sequence[int]
    ticks: dict[int, int]


class Arrived(NamedTuple):
    """What became of the records at the door; arrays have an entry a record. Batches name records by their number.

    presets       where cameras look, NaN where they don't say; None where nothing looks anywhere
    before        where all were scanned: the watermark each met,
    ask           whether it may be a doubled one,
    watermark_us  the watermark after all of them,
    late          and how many were behind the one they met; None: not counted
    """

    batches: list[Batch]
    time_us: I64
    prints: U64
    sources: I32
    failed: Mask
    failures: list[DecodeFailure]
    unknown_fields: int
    presets: F64 | None
    before: I64 | None = None
    ask: Mask | None = None
    watermark_us: int = 0
    late: int | None = None


def incoming(records: Sequence[RawRecord]) -> Incoming:
    ticks: dict[int, int] = {}
    place: Sequence[int] = range(len(records))
    columns = columns_of(records)
    if None in columns[3]:
        ticks = {i: at for i, r in enumerate(records) if r.value is None and (at := tick_us(r)) is not None}
        if ticks:
            place = [i for i in range(len(records)) if i not in ticks]
            records = [records[i] for i in place]
            columns = columns_of(records)
    offsets, stamps, keys, values, headers = columns
    count = len(records)
    return Incoming(
        records,
        np.fromiter(offsets, np.int64, count),
        np.fromiter(stamps, np.int64, count) * 1000,
        keys,
        values,
        headers,
        place,
        ticks,
    )


def columns_of(records: Sequence[RawRecord]) -> Sequence[Sequence]:  # type: ignore[type-arg]
    """offset, timestamp, key, value, headers of all records."""
    if not records:
        return ((),) * len(FIELDS)
    columns = getattr(records, "columns", None)
    if columns is not None:
        return columns  # type: ignore[no-any-return]
    if getattr(type(records[0]), "_fields", None) == FIELDS:
        return tuple(zip(*records, strict=True))
    return [[getattr(r, name) for r in records] for name in FIELDS]


def nothing_arrived(count: int) -> Arrived:
    return Arrived(
        [],
        np.zeros(count, dtype=np.int64),
        np.zeros((count, 2), dtype=np.uint64),
        np.full(count, NONE, dtype=np.int32),
        np.zeros(count, dtype=np.bool_),
        [],
        0,
        None,
    )


class Door:
    """Decodes and places the records of one topic of one partition."""

    def __init__(
        self,
        topic: str,
        atlas: Atlas,
        decoder: Decoder,
        sources: Sources,
        *,
        lateness_us: int,
        dedupe_us: int,
        accept_unregistered: bool,
        compiled: bool,
    ) -> None:
        self.lateness_us, self.dedupe_us = lateness_us, dedupe_us
        self.box = np.array([] if atlas.bounds is None else atlas.bounds, dtype=np.float64)
        self.kernels: Any = import_module("rules.detection.kernels") if compiled else None
        self.topic, self.atlas, self.decoder, self.sources = topic, atlas, decoder, sources
        self.accept_unregistered, self.compiled = accept_unregistered or sources.find is None, compiled
        self.scanner: Scanner | None = None
        if compiled:
            self.scanner, self.shape = decoder.scanner(topic), Places(topic).shape
            self.fills = topic != "camera.tracks" and sources.find is not None

    def open(self, fed: Incoming, watermark_us: int) -> Arrived:
        count = len(fed.values)
        left: Mask | None = None
        arrived: Arrived | None = None
        if self.scanner is not None and count and None not in fed.values:
            scanned = self.scanner.scan(fed.values, fed.arrival_us)  # type: ignore[arg-type]
            arrived = self._all_scanned(scanned, watermark_us)
            if arrived is not None:
                return self._looking(self._with_sent_keys(fed, arrived))
            arrived = nothing_arrived(count)._replace(presets=scanned.preset)
            left = ~self._take_scanned(scanned, arrived)
        arrived = self._take_typed(fed, left, arrived or nothing_arrived(count))
        return self._looking(self._with_sent_keys(fed, arrived))

    def _looking(self, arrived: Arrived) -> Arrived:
        """Each record is of its camera where that looks; what looks away from where it should says nothing."""
        if arrived.presets is None:
            return arrived
        sources, away = self.sources.at_presets(arrived.sources, arrived.presets)
        batches = [batch.without_records(away) for batch in arrived.batches] if away.any() else arrived.batches
        return arrived._replace(batches=batches, sources=sources)

    def _all_scanned(self, scanned: Scanned, watermark_us: int) -> Arrived | None:
        """The usual case: everything was scanned, is where it says and registered. None where that isn't so."""
        batch, times, source = scanned.batch, scanned.record_time_us, scanned.source
        count = len(times)
        if len(batch.seen_record) < count:
            return None
        natural, numbers, prints = scanned.natural, np.empty(count, np.int32), np.empty((count, 2), np.uint64)
        before, ask = np.empty(count, np.int64), np.empty(count, np.bool_)
        about, names = source if natural is None else natural, self.sources.names.flat
        while True:
            ended, names.count, risen_us, late = self.kernels.enter(
                source.buffer, source.at, source.size, about.buffer, about.at, about.size, times, natural is None,
                names.slots, names.words, names.arena, names.count, self.lateness_us, watermark_us, self.dedupe_us,
                numbers, prints, before, ask,
            )  # fmt: skip
            if ended == self.kernels.ENTERED:
                break
            names.make_room(risen_us)
        self.sources.catch_up()
        if self._settle_down(batch, numbers):
            return None
        failed = np.zeros(count, np.bool_)
        return Arrived([batch], times, prints, numbers, failed, [], 0, scanned.preset, before, ask, risen_us, late)

    def _settle_down(self, batch: Batch, sources: I32) -> int:
        """Rows without a position are where their source is: but an object of a camera is not where the camera is.
        Gives how much can't be as it says, or isn't registered."""
        known = self.sources
        fields = batch.columns.fields  # type: ignore[attr-defined]  # of a scanned batch
        bad: int = self.kernels.settle_down(
            sources, known.known, self.accept_unregistered, batch.record, fields.row_numbers, self.shape, self.fills,
            known.lon, known.lat, self.box,
        )  # fmt: skip
        return bad

    def _prints(self, scanned: Scanned) -> U64:
        if scanned.natural is None:
            return prints(scanned.source, scanned.record_time_us, self.compiled)
        return prints(scanned.natural, np.zeros(len(scanned.taken), dtype=np.int64), self.compiled)

    def _take_scanned(self, scanned: Scanned, arrived: Arrived) -> Mask:
        """Use what was scanned; what can't be where it says, or isn't registered, is left for the careful way."""
        taken, batch = scanned.taken, scanned.batch
        if not taken.any():
            return taken
        sources = self.sources.numbers(scanned.source)
        self._settle_down(batch, sources)
        bad = np.zeros(len(taken), dtype=np.bool_) if self.accept_unregistered else ~self.sources.known[sources] & taken
        if self.atlas.bounds is not None:
            lon = batch.numbers("lon")
            outside = ~self.atlas.bounds.hold(lon, batch.numbers("lat")) & ~np.isnan(lon)
            bad[batch.record[outside]] = True
        if bad.any():
            batch, taken = batch.without_records(bad), taken & ~bad
        arrived.batches.append(batch)
        arrived.time_us[:] = np.where(taken, scanned.record_time_us, 0)
        arrived.sources[taken] = sources[taken]
        arrived.prints[:] = self._prints(scanned)
        return taken

    def _take_typed(self, fed: Incoming, left: Mask | None, arrived: Arrived) -> Arrived:
        """Decode the records marked (None: all) by their type, and place them."""
        at = None if left is None else np.flatnonzero(left)
        records = fed.records if at is None else [fed.records[i] for i in at.tolist()]
        keys = fed.keys if at is None else [fed.keys[i] for i in at.tolist()]
        decoded = self.decoder.decode(self.topic, records)
        placed = self.atlas.place(decoded, keys, self.accept_unregistered)
        failures = [*decoded.failures, *placed.failures]
        failed = np.zeros(len(records), dtype=np.bool_)
        failed[[f.record for f in failures]] = True
        good = ~failed
        source = decoded.source.spans()
        sources = np.full(len(records), NONE, dtype=np.int32)
        sources[good] = self.sources.numbers(source.take(good))
        natural = self._natural_prints(decoded, source)
        batch, times = placed.batch, decoded.record_time_us
        presets = self._presets(arrived, decoded, at)
        if at is None:
            arrived.sources[:], arrived.time_us[:], arrived.failed[:] = sources, times, failed
            arrived.prints[:] = natural
        else:
            arrived.sources[at], arrived.time_us[at], arrived.failed[at] = sources, times, failed
            arrived.prints[at] = natural
            failures = [f._replace(record=int(at[f.record])) for f in failures]
            batch = batch.renumbered(at.astype(np.int32))
        arrived.batches.append(batch)
        arrived.failures.extend(failures)
        return arrived._replace(unknown_fields=decoded.unknown_fields, presets=presets)

    @staticmethod
    def _presets(arrived: Arrived, decoded: Decoded, at: I64 | None) -> F64 | None:
        if at is None or decoded.preset is None:
            return decoded.preset
        assert arrived.presets is not None
        arrived.presets[at] = decoded.preset
        return arrived.presets

    def _natural_prints(self, decoded: Decoded, source: Spans) -> U64:
        if self.topic == "camera.tracks":
            return prints(source, decoded.record_time_us, self.compiled)
        return prints(Spans.of(decoded.natural_keys), np.zeros(len(source), dtype=np.int64), self.compiled)

    def _with_sent_keys(self, fed: Incoming, arrived: Arrived) -> Arrived:
        """A sender's own identity of a record stands for what it is about."""
        if any(fed.headers):
            own = [sent_key(headers) for headers in fed.headers]
            at = [i for i, key in enumerate(own) if key is not None]
            if at:
                spans = Spans.of([own[i] for i in at])
                arrived.prints[at] = prints(spans, np.zeros(len(at), dtype=np.int64), self.compiled)
        return arrived
