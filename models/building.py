"""Lists of values to the columns of one batch, checked as whole columns.

A check only says *that* a record is bad (`suspect`); `models.faults` says why, and must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from models.columns import F64, I64, Batch, Column, Columns, Flags, Mask, Mixed, Numbers, Texts
from models.faults import FREE_TEXTS, FUTURE_US, MAX_ID, MAX_TEXT, is_id, is_long
from models.gather import Gathered, Nulls, Values
from models.observations import CRS_NAMES, IDS, NOT_NEGATIVE, PERCENT
from models.privacy import TokenKind, Tokens, mask_text
from models.streams import STREAMS, Stream
from models.times import EARLIEST_MS, LATEST_MS, BadTime, parse_time_us

NAN = float("nan")
NO_NUMBERS = np.full(4096, NAN)  # to copy from: most columns of most batches are all null
NO_CODES = np.full(4096, -1, dtype=np.int32)


def numbers(values: Values) -> F64:
    if values and values[0] is not None:
        try:
            return np.fromiter(values, np.float64, len(values))
        except TypeError:  # a null further on
            pass
    missing = nulls_in(values)
    if missing == len(values):
        return NO_NUMBERS[:missing].copy() if missing <= len(NO_NUMBERS) else np.full(missing, NAN)
    if missing:
        values = [NAN if v is None else v for v in values]
    return np.fromiter(values, np.float64, len(values))


def texts(values: Values) -> Texts:
    if type(values) is Nulls:
        return no_texts(len(values))
    distinct: dict[str | None, None] = dict.fromkeys(values)
    nulls = None in distinct
    if nulls and len(distinct) == 1:
        return no_texts(len(values))
    words = tuple(word for word in distinct if word is not None) if nulls else cast(tuple[str, ...], tuple(distinct))
    lookup = dict(zip(words, range(len(words)), strict=True))
    codes = cast(dict[str | None, int], {**lookup, None: -1} if nulls else lookup)
    return Texts(np.fromiter(map(codes.__getitem__, values), np.int32, len(values)), words, lookup)


def no_texts(rows: int) -> Texts:
    return Texts(NO_CODES[:rows].copy() if rows <= len(NO_CODES) else np.full(rows, -1, dtype=np.int32), (), {})


def nulls_in(values: Values) -> int:
    return len(values) if type(values) is Nulls else values.count(None)


def flags(values: Values) -> Flags:
    return Flags(np.array([-1 if v is None else v for v in values], dtype=np.int8))


def mixed(values: Values) -> Mixed:
    kinds = set(map(type, values))
    none = (None,) * len(values)
    return Mixed(
        Numbers(numbers(values if kinds == {float} else [v if type(v) is float else None for v in values])),
        flags([v if type(v) is bool else None for v in values] if bool in kinds else none),
        texts([v if type(v) is str else None for v in values] if str in kinds else none),
    )


class Building:
    """The columns of one call, and which of its records are suspect. `at` are the records that could be read."""

    def __init__(self, topic: str, records: int, arrival_us: I64, at: I64, gathered: Gathered) -> None:
        self.topic = topic
        self.stream: Stream = STREAMS[topic]
        self.records = records
        self.at = at
        self.gathered = gathered
        self.suspect = np.zeros(len(at), dtype=np.bool_) if gathered.broken is None else gathered.broken
        self.tracks = topic == "camera.tracks"
        self._arrival_us = arrival_us[at]
        self._crs = self._checked_crs()

    def batch(self, tokens: Tokens, metric_units: Mapping[str, str]) -> Batch:
        head, row, row_head = self.gathered.head, self.gathered.row, self.gathered.row_head
        self.time_us = self._times(head if self.tracks else row)
        self.source = texts(head[self.stream.source])
        for name in IDS[self.topic]:
            self._check_ids(self.source if name == self.stream.source else texts(head[name]), by_row=False)
        columns: dict[str, Column] = {}
        masks: dict[str, tuple[str | None, ...]] = {}
        for name, field in self.stream.fields.items():
            by_row = name in row or name == "colour"
            values = self._values(name, by_row)
            column: Column
            if name == self.stream.source:
                column = self.source
            elif field.tokenised:
                self._check_lengths(texts(values), by_row)
                column, masks[name] = tokenised(tokens, cast(TokenKind, name), values)
            elif field.kind == "number":
                column = Numbers(numbers(values))
                if values and type(values) is not Nulls:
                    self._check_number(name, column.values, by_row)
            elif field.kind == "flag":
                column = flags(values)
            elif field.kind == "mixed":
                column = mixed(values)
                self._check_lengths(column.text, by_row)
            elif name in FREE_TEXTS:
                column = texts([None if v is None else mask_text(v) for v in values])
            else:
                column = texts(values)
                self._check_lengths(column, by_row)
            if name in ("track_id", "metric") and isinstance(column, Texts):
                self._check_ids(column, by_row)
            columns[name] = column if by_row or row_head is None else column.take(row_head)
        self._check_positions(columns)
        self._check_needs(columns)
        if self.topic == "sensor.readings":
            self._check_units(row, metric_units)
        return self._assembled(columns, masks)

    def _assembled(self, columns: dict[str, Column], masks: dict[str, tuple[str | None, ...]]) -> Batch:
        row_head = self.gathered.row_head
        seen = self.at.astype(np.int32)
        record = seen if row_head is None else seen[row_head]
        time_us = self.time_us if row_head is None or not self.tracks else self.time_us[row_head]
        if self.tracks:
            return Batch(self.topic, time_us, record, Columns(columns), self.time_us, seen, masks)
        return Batch(self.topic, time_us, record, Columns(columns), time_us, record, masks)

    def _values(self, name: str, by_row: bool) -> Values:
        if name != "colour":
            return (self.gathered.row if by_row else self.gathered.head)[name]
        looks = self.gathered.row["attributes"]
        return looks if nulls_in(looks) == len(looks) else [None if a is None else a.colour for a in looks]

    def _flag(self, bad: Mask, by_row: bool) -> None:
        if by_row:
            self._flag_rows(bad)
        else:
            self.suspect |= bad

    def _flag_rows(self, bad: Mask) -> None:
        if bad.any():
            self.suspect[bad if self.gathered.row_head is None else self.gathered.row_head[bad]] = True

    def _times(self, fields: dict[str, Values]) -> I64:
        """Microseconds a head (frames) or a row; the bad ones are 0 and their records suspect."""
        stamps = fields[self.stream.time]
        by_row = not self.tracks
        if set(map(type, stamps)) == {int}:
            try:
                ms = np.fromiter(stamps, np.int64, len(stamps))
                bad = (ms < EARLIEST_MS) | (ms > LATEST_MS)
                time_us = (np.where(bad, 0, ms) if bad.any() else ms) * 1000
            except OverflowError:
                time_us, bad = times_one_by_one(stamps)
        else:
            time_us, bad = times_one_by_one(stamps)
        arrival_us = self._arrival_us
        if by_row and self.gathered.row_head is not None:
            arrival_us = arrival_us[self.gathered.row_head]
        bad |= (time_us > arrival_us + FUTURE_US) & (arrival_us >= 0)
        if by_row:
            self._flag_rows(bad)
        else:
            self.suspect |= bad
        return time_us

    def _checked_crs(self) -> Texts:
        crs = texts(self.gathered.head["crs"])
        for word, code in crs.lookup.items():
            if word not in CRS_NAMES:
                self.suspect |= crs.codes == code
        return crs

    def _check_ids(self, column: Texts, by_row: bool) -> None:
        words = column.words
        if "".join(words).isprintable() and all(0 < n <= MAX_ID for n in map(len, words)):
            return
        self._flag(np.isin(column.codes, [code for word, code in column.lookup.items() if not is_id(word)]), by_row)

    def _check_lengths(self, column: Texts, by_row: bool) -> None:
        if column.words and max(map(len, column.words)) > MAX_TEXT:
            self._flag(np.isin(column.codes, [code for word, code in column.lookup.items() if is_long(word)]), by_row)

    def _check_number(self, name: str, values: F64, by_row: bool) -> None:
        bad: Mask | None = None
        if name in NOT_NEGATIVE[self.topic] and np.fmin.reduce(values) < 0:
            bad = values < 0
        if name in PERCENT and np.fmax.reduce(values) > 100:
            bad = values > 100 if bad is None else bad | (values > 100)
        if bad is not None:
            self._flag(bad, by_row)

    def _check_positions(self, columns: dict[str, Column]) -> None:
        lon, lat = cast(Numbers, columns["lon"]).values, cast(Numbers, columns["lat"]).values
        bad: Mask = np.isnan(lon) != np.isnan(lat)
        bad |= np.abs(lon) > 180
        bad |= np.abs(lat) > 90
        self._flag_rows(bad)

    def _check_needs(self, columns: dict[str, Column]) -> None:
        """Fields of which one at least must be there."""
        match self.topic:
            case "camera.events":
                label, code = cast(Texts, columns["label"]), cast(Texts, columns["code"])
                self._flag_rows((label.codes < 0) & (code.codes < 0))
            case "traffic.measurements":
                measured = [cast(Numbers, columns[n]).values for n in ("speed_kmh", "flow_vph", "occupancy_pct")]
                self._flag_rows(np.isnan(np.fmax.reduce(measured)))
            case "vehicle.positions":
                self._flag_rows(np.isnan(cast(Numbers, columns["lon"]).values))
            case "sensor.readings":
                for name in ("metric", "value", "reading_time"):
                    if None in (values := self.gathered.row[name]):
                        self._flag_rows(np.array([v is None for v in values]))
            case _:
                pass

    def _check_units(self, row: dict[str, Values], metric_units: Mapping[str, str]) -> None:
        pairs = set(zip(row["metric"], row["unit"], strict=True))
        bad = {(m, u) for m, u in pairs if u is not None and metric_units.get(m, u) != u}
        if bad:
            self._flag_rows(np.array([pair in bad for pair in zip(row["metric"], row["unit"], strict=True)]))

    # What is said of every record of the call, read or not.

    def failed(self) -> Mask:
        failed = np.ones(self.records, dtype=np.bool_)
        failed[self.at] = self.suspect
        return failed

    def record_time_us(self) -> I64:
        times = np.zeros(self.records, dtype=np.int64)
        row_head = self.gathered.row_head
        if self.tracks or row_head is None:
            times[self.at] = self.time_us
        else:
            np.maximum.at(times, self.at[row_head], self.time_us)
        return times

    def crs(self) -> Texts:
        return self._by_record(self._crs)

    def sources(self) -> Texts:
        return self._by_record(self.source)

    def _by_record(self, of_read: Texts) -> Texts:
        if len(self.at) == self.records:
            return of_read
        codes = np.full(self.records, -1, dtype=np.int32)
        codes[self.at] = of_read.codes
        return Texts(codes, of_read.words, of_read.lookup)

    def preset(self) -> F64 | None:
        """Where cameras look, NaN where they don't say; None for what is no frame."""
        if self.topic != "camera.tracks":
            return None
        preset = np.full(self.records, np.nan)
        preset[self.at] = np.array(self.gathered.head["ptz_preset"], dtype=np.float64)
        return preset

    def columnar(self) -> Mask:
        columnar = np.zeros(self.records, dtype=np.bool_)
        if self.gathered.columnar is not None:
            columnar[self.at] = self.gathered.columnar
        return columnar


def times_one_by_one(stamps: Values) -> tuple[I64, Mask]:
    times: list[int] = []
    bad: list[bool] = []
    for stamp in stamps:
        try:
            times.append(0 if stamp is None else parse_time_us(stamp))
            bad.append(stamp is None)
        except BadTime:
            times.append(0)
            bad.append(True)
    return np.array(times, dtype=np.int64), np.array(bad, dtype=np.bool_)


def tokenised(tokens: Tokens, kind: TokenKind, values: Values) -> tuple[Texts, tuple[str | None, ...]]:
    """A column of tokens and the mask of each; a value of nothing but separators is null."""
    if nulls_in(values) == len(values):
        return no_texts(len(values)), ()
    pairs = {clear: tokens.token_and_mask(kind, clear) for clear in dict.fromkeys(values) if clear is not None}
    token_of = {clear: token if mask else None for clear, (token, mask) in pairs.items()}
    masks = dict(pairs.values())
    column = texts([None if v is None else token_of[v] for v in values])
    return column, tuple(masks[word] for word in column.words)
