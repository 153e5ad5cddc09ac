"""The quick way from bytes to columns, for records in the shapes that senders mostly use.

A strict scanner in machine code (`models.kernels.scan`): what it takes is a good record and gives what
`models.decode` gives for it; what it is not sure of it leaves to that. Any order of keys and any white space is read;
unknown or repeated fields, escapes in texts, ids beyond ASCII, exponents and numbers of more than 19 digits are left.

What it keeps from call to call (the size of its tables, which field came after which) changes how fast it is and
never what it says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from models.columns import (
    F64,
    I32,
    I64,
    PADDING,
    U8,
    U64,
    Batch,
    Column,
    Columns,
    Flags,
    Mask,
    Mixed,
    Numbers,
    Spans,
    Texts,
)
from models.faults import MAX_TEXT
from models.gather import wire_names
from models.observations import IDS, NOT_NEGATIVE, PERCENT, WIRE_TYPES, TrackObject
from models.privacy import TokenKind, Tokens
from models.streams import STREAMS

TOPICS = ("camera.tracks", "camera.events", "traffic.measurements", "sensor.readings")
LONGEST = (1 << 31) - (1 << 20)  # bytes of one call: places in it are 32-bit
BYTES_A_ROW = 64  # a first guess; where objects are smaller the tables of rows grow
BEHIND = 4 * PADDING  # so far may the kernel look beyond the end of a record
KEY_MARGIN = 24  # bytes by which a natural key may be longer than its record
ONE_OF = {
    "camera.events": ("label", "code"),
    "traffic.measurements": ("speed_kmh", "flow_vph", "occupancy_pct"),
}
ALSO_REQUIRED = {"sensor.readings": ("value",)}


NO_NUMBERS: F64 = np.empty(0)
NO_TEXTS: I64 = np.empty(0, dtype=np.int64)
NO_HEADS: I32 = np.empty(0, dtype=np.int32)


def loops() -> Any:
    return importlib.import_module("models.kernels.scan")


class Scanned(NamedTuple):
    """What the scanner took of a list of records.

    taken           a record: whether; all else is for `models.decode`
    record_time_us  a record: its event time; 0 where not taken
    source          a record: its sensor, device or segment; null where not taken
    natural         a record: its natural key (`models.natural_keys`); None for camera.tracks, whose is source and time
    batch           rows and sightings of the taken records only; `record` is an index into the list given
    preset          a record: where its camera looks, NaN where it doesn't say; None but for camera.tracks
    """

    taken: Mask
    record_time_us: I64
    source: Spans
    natural: Spans | None
    batch: Batch
    preset: F64 | None


class Fields(NamedTuple):
    """What was read, as it was written: numbers and texts of rows and of records, entry by entry as `layouts` has them.

    head of a row: its number among the records; empty where each has one row. A topic without objects has rows only.
    """

    buffer: U8
    row_numbers: F64
    row_texts: I64
    head_numbers: F64
    head_texts: I64
    head: I32


Masks = dict[str, tuple[str | None, ...]]
OneRow = Callable[[int], tuple["ScannedColumns", Masks]]


class ScannedColumns(Columns):
    """Columns of which none is made before it is asked for, with what all are made of beside them (`fields`): of a
    whole batch only, as it was scanned. Of such a one `one` gives a row alone, and the masks of its tokens."""

    __slots__ = ("_spans", "fields", "one")

    def __init__(
        self,
        build: Callable[[str], Column],
        spans: Callable[[str], Spans | None],
        ready: Mapping[str, Column] | None = None,
    ) -> None:
        super().__init__(ready or {}, build)
        self._spans = spans
        self.fields: Fields | None = None
        self.one: OneRow | None = None

    def made_of(self, fields: Fields) -> None:
        self.fields, self.source_nbytes = fields, sum(array.nbytes for array in fields)

    def spans_of(self, name: str) -> Spans | None:
        """A text a row as it was sent; None where the field is no text, or personal: its bytes go no further."""
        return self._spans(name)

    def take(self, rows: I64 | I32 | Mask) -> ScannedColumns:
        def spans(name: str) -> Spans | None:
            whole = self._spans(name)
            return None if whole is None else whole.take(rows)

        return self._sharing(ScannedColumns(lambda name: self[name].take(rows), spans))

    def with_ready(self, ready: Mapping[str, Column]) -> ScannedColumns:
        def spans(name: str) -> Spans | None:
            return None if name in ready else self._spans(name)

        return self._sharing(ScannedColumns(self.__getitem__, spans, {**self, **ready}))

    def _sharing(self, other: ScannedColumns) -> ScannedColumns:
        other.source_nbytes = self.source_nbytes
        return other


class Layout:
    """Where the fields of a level of the record go: a column among its numbers, one among its texts, or both."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.kinds: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.texts: dict[str, int] = {}
        self.required: list[str] = []
        self.one_of: tuple[str, ...] = ()
        self.bounds: dict[str, tuple[float, float]] = {}
        self.natural = kernel.BY_CALLER

    def tables(self) -> tuple[U64, I64, I64, F64, U64]:
        """Names, follow, fields, bounds and plan as the kernel reads them (`models.kernels.scan.Tables`)."""
        kernel = self._kernel
        spread, places = separate_places(list(self.kinds), kernel)
        names = np.full((kernel.SLOTS, kernel.NAME), kernel.FILLED, dtype=np.uint64)
        fields = np.zeros((kernel.SLOTS, kernel.FIELD), dtype=np.int64)
        bounds = np.full((kernel.SLOTS, 2), (-np.inf, np.inf))
        for name, place in places.items():
            quoted = f'"{name}":'.encode()
            names[place] = *words(name.encode()), *words(quoted), *words(b"\xff" * len(quoted)), len(quoted), 0
            column = "colour" if name == "attributes" else name
            fields[place] = self.kinds[name], self.numbers.get(name, 0), self.texts.get(column, 0)
            bounds[place] = self.bounds.get(name, (-np.inf, np.inf))
        names[0, kernel.SEPARATING] = spread
        follow = np.full(kernel.SLOTS + 1, min(places.values(), default=0), dtype=np.int64)

        def bits(wanted: Sequence[str]) -> int:
            return sum(1 << places[name] for name in wanted if name in places)

        plan = [
            bits(self.required), bits(self.one_of), bits(["lon"]), bits(["lat"]),
            self.numbers.get("lon", 0), self.numbers.get("lat", 0), len(self.numbers), len(self.texts), self.natural,
        ]  # fmt: skip
        return names, follow, fields, bounds, np.array(plan, dtype=np.uint64)


def words(text: bytes) -> tuple[int, int]:
    padded = text.ljust(16, b"\0")
    return int.from_bytes(padded[:8], "little"), int.from_bytes(padded[8:], "little")


def separate_places(names: Sequence[str], kernel: Any) -> tuple[int, dict[str, int]]:
    """A multiplier by which every name of a level has a place of its own, found by trying."""
    spread, word = int(kernel.SPREAD), (1 << 64) - 1
    while True:
        mixed = [first ^ second * int(kernel.SPREAD) for first, second in (words(name.encode()) for name in names)]
        places = [(one * spread & word) >> 58 for one in mixed]
        if len(set(places)) == len(names):
            return spread, dict(zip(names, places, strict=True))
        spread = spread * 6364136223846793005 + 1442695040888963406 & word | 1


def layouts(topic: str, kernel: Any) -> tuple[Layout, Layout]:
    """What a record of the topic says once, and what each of its objects says (nothing, but for camera.tracks)."""
    stream = STREAMS[topic]
    head, row = Layout(kernel), Layout(kernel)
    ids = (stream.source, *(name for name in IDS[topic] if name != stream.source))
    if topic == "sensor.readings":
        ids = (*ids, "metric")
    head.numbers = {stream.time: kernel.STAMP}
    head.texts = {name: slot for slot, name in enumerate(ids)}
    if topic == "sensor.readings":
        head.texts["unit"] = kernel.UNIT
    head.required = [*ids, stream.time, *ALSO_REQUIRED.get(topic, ())]
    head.one_of = ONE_OF.get(topic, ())
    head.natural = {
        "camera.tracks": kernel.BY_CALLER, "camera.events": kernel.BY_ID,
        "traffic.measurements": kernel.BY_LANE, "sensor.readings": kernel.BY_METRIC,
    }[topic]  # fmt: skip
    if topic == "traffic.measurements":
        head.numbers["lane"] = kernel.LANE
    kinds = {
        "crs": kernel.CRS, "objects": kernel.OBJECTS, "columns": kernel.COLUMNS, "attributes": kernel.ATTRIBUTES,
        stream.time: kernel.TIME, "track_id": kernel.ID, **dict.fromkeys(ids, kernel.ID),
    }  # fmt: skip
    levels: list[tuple[Layout, type[Any]]] = [(head, WIRE_TYPES[topic])]
    if topic == "camera.tracks":
        row.required = ["track_id"]
        levels.append((row, TrackObject))
    for layout, wire_type in levels:
        for name in wire_names(wire_type):
            field = stream.fields.get(name)
            if name == "readings":
                continue
            kind = kinds.get(name)
            if kind is None:
                kind = {"number": kernel.NUMBER, "mixed": kernel.MIXED}.get(field.kind if field else "", kernel.TEXT)
            layout.kinds[name] = kind
            if kind in (kernel.NUMBER, kernel.MIXED):
                layout.numbers.setdefault(name, len(layout.numbers))
            if kind == kernel.MIXED:
                layout.numbers[f"{name} as a flag"] = len(layout.numbers)
            if kind in (kernel.TEXT, kernel.ID, kernel.MIXED, kernel.ATTRIBUTES):
                layout.texts.setdefault("colour" if kind == kernel.ATTRIBUTES else name, len(layout.texts))
            low = 0.0 if name in NOT_NEGATIVE[topic] else -np.inf
            layout.bounds[name] = (low, 100.0 if name in PERCENT else np.inf)
        layout.bounds |= {"lon": (-180.0, 180.0), "lat": (-90.0, 90.0)}
    return head, row


def unit_table(metric_units: Mapping[str, str], kernel: Any) -> tuple[U8, I32]:
    """Metrics with a fixed unit as a table with open places, and the buffer in which they stand."""
    places = 1 << (2 * len(metric_units) + 1).bit_length()
    table = np.full((places, 4), -1, dtype=np.int32)
    known = b""
    for metric, unit in metric_units.items():
        name, fixed = metric.encode(), unit.encode()
        place = ((int.from_bytes(name[:7], "little") ^ len(name)) * int(kernel.SPREAD) & (1 << 64) - 1) >> 32
        place %= places
        while table[place, 1] >= 0:
            place = (place + 1) % places
        table[place] = len(known), len(name), len(known) + len(name), len(fixed)
        known += name + fixed
    return np.frombuffer(known + PADDING, np.uint8), table


class Level:
    """What was read at one level of a call's records, one entry a record or a row."""

    def __init__(self, layout: Layout, kernel: Any, data: bytes, count: int, numbers: F64, texts: I64) -> None:
        self.layout, self._kernel, self._data, self._count = layout, kernel, data, count
        self._numbers, self._texts = numbers, texts

    def has(self, name: str) -> bool:
        return name in self.layout.numbers or name in self.layout.texts

    def one(self, entry: int) -> Level:
        """Only this entry of it."""
        numbers, texts = len(self.layout.numbers), len(self.layout.texts)
        return Level(
            self.layout, self._kernel, self._data, 1,
            self._numbers[entry * numbers : (entry + 1) * numbers], self._texts[entry * texts : (entry + 1) * texts],
        )  # fmt: skip

    def numbers(self, name: str) -> F64:
        width = len(self.layout.numbers)
        return self._numbers[self.layout.numbers[name] : self._count * width : width].copy()

    def spans(self, name: str) -> Spans:
        width = len(self.layout.texts)
        texts = self._texts[self.layout.texts[name] : self._count * width : width]
        sizes = (texts >> 32).astype(np.int32)
        return Spans(np.frombuffer(self._data, np.uint8), texts.astype(np.int32), sizes)

    def long(self) -> I64:
        """Entries with a text of more bytes than one may have characters; a size is the upper half of a text."""
        texts = self._texts[: self._count * len(self.layout.texts)]
        if not len(texts) or int(texts.max()) >> 32 <= MAX_TEXT:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(texts.reshape(self._count, -1).max(axis=1) >> 32 > MAX_TEXT)

    def words(self, name: str) -> tuple[I32, list[str]]:
        """Codes of a text column (-1 null) and its distinct words as they come."""
        width, slot = len(self.layout.texts), self.layout.texts[name]
        codes, firsts = np.empty((2, self._count), dtype=np.int32)
        places = np.full(2 << self._count.bit_length(), -1, dtype=np.int32)
        buffer = np.frombuffer(self._data, np.uint8)
        count = self._kernel.group(buffer, self._texts, width, slot, places, codes, firsts)
        pieces = self._texts[firsts[:count] * np.int64(width) + slot].view(np.int32).reshape(-1, 2).tolist()
        return codes, [self._data[at : at + size].decode() for at, size in pieces]

    def text(self, name: str) -> Texts:
        codes, words = self.words(name)
        return Texts(codes, tuple(words), {word: code for code, word in enumerate(words)})

    def flags(self, name: str) -> Flags:
        values = self.numbers(f"{name} as a flag")
        return Flags(np.where(np.isnan(values), -1, values).astype(np.int8))


class Scanner:
    """Built once per topic and process. `metric_units` names the unit of each metric that has a fixed one."""

    def __init__(self, topic: str, metric_units: Mapping[str, str], tokens: Tokens) -> None:
        if topic not in TOPICS:
            raise ValueError(f"{topic} is read by models.decode only")
        self._kernel = loops()
        self._topic = topic
        self._tokens = tokens
        self._head, self._row = layouts(topic, self._kernel)
        tables = zip(self._head.tables(), self._row.tables(), strict=True)
        self._tables = (*(np.stack(pair) for pair in tables), *unit_table(metric_units, self._kernel))
        self._bytes_a_row = BYTES_A_ROW

    def scan(self, values: Sequence[bytes], arrival_us: I64) -> Scanned:
        """Takes what it can of the records; `arrival_us` below zero: unknown."""
        scanned, long = self._scan(values, arrival_us)
        if not long:
            return scanned
        scanned, _ = self._scan([b"" if record in long else value for record, value in enumerate(values)], arrival_us)
        return scanned

    def _scan(self, values: Sequence[bytes], arrival_us: I64) -> tuple[Scanned, set[int]]:
        """Also which records hold a text that may be too long: they are for `models.decode`."""
        kernel, count = self._kernel, len(values)
        data = b"\0".join([*values, BEHIND])
        if len(data) > LONGEST:
            return self._scan([b""] * count, arrival_us)
        sizes = np.fromiter(map(len, values), np.int64, count)
        head_numbers = np.empty(count * len(self._head.numbers))
        head_texts = np.empty(count * len(self._head.texts), dtype=np.int64)
        taken = np.empty(count, dtype=np.bool_)
        marks = np.empty((kernel.MARKS, count), dtype=np.int32)
        time_us = np.empty((2, count), dtype=np.int64)
        flat = self._topic != "camera.tracks"
        keys = np.empty(len(data) + KEY_MARGIN * count if flat else 0, dtype=np.uint8)
        progress = np.zeros(kernel.PROGRESS, dtype=np.int64)
        room = 0 if flat else count + len(data) // self._bytes_a_row
        rows = self._rows(room)
        buffer = np.frombuffer(data, np.uint8)
        while not kernel.scan(
            buffer, sizes, arrival_us, *self._tables, head_numbers, head_texts, *rows, taken, marks, time_us, keys,
            progress,
        ):  # fmt: skip
            room *= 2
            self._bytes_a_row = max(self._bytes_a_row // 2, 4)
            rows = tuple(grown(old, new) for old, new in zip(rows, self._rows(room), strict=True))
        source = Spans(buffer, marks[kernel.SOURCE_AT], marks[kernel.SOURCE_SIZE])
        natural = None
        if flat:
            where = buffer if self._head.natural == kernel.BY_ID else keys
            natural = Spans(where, marks[kernel.KEY_AT], marks[kernel.KEY_SIZE])
        _, heads, n_rows, _, _, several = progress.tolist()
        seen, seen_time_us = marks[kernel.SEEN_RECORD, :heads], time_us[1, :heads]
        head = Level(self._head, kernel, data, heads, head_numbers, head_texts)
        preset: F64 | None = None
        long = set(seen[head.long()].tolist())
        if flat:
            columns, masks = self._columns(head, None, None)
            columns.made_of(Fields(buffer, head_numbers, head_texts, NO_NUMBERS, NO_TEXTS, NO_HEADS))
            columns.one = lambda at: self._columns(head.one(at), None, None)
            batch = Batch(self._topic, seen_time_us, seen, columns, seen_time_us, seen, masks)
        else:
            numbers, texts, row_marks, row_time_us = rows
            row = Level(self._row, kernel, data, n_rows, numbers, texts)
            long |= set(row_marks[0, :n_rows][row.long()].tolist())
            preset = np.full(count, np.nan)
            preset[seen] = head.numbers("ptz_preset")
            columns, masks = self._columns(head, row, row_marks[1, :n_rows] if several else None)
            row_head = row_marks[1, :n_rows] if several else NO_HEADS
            columns.made_of(Fields(buffer, numbers, texts, head_numbers, head_texts, row_head))
            columns.one = lambda at: self._columns(head.one(row_marks[1, at]), row.one(at), None)
            batch = Batch(self._topic, row_time_us[:n_rows], row_marks[0, :n_rows], columns, seen_time_us, seen, masks)
        return Scanned(taken, time_us[0], source, natural, batch, preset), long

    def _columns(self, head: Level, row: Level | None, row_head: I32 | None) -> tuple[ScannedColumns, Masks]:
        """Lazy columns and the masks that they fill in. `row_head`: the record of each row where they differ."""
        fields = STREAMS[self._topic].fields
        masks: Masks = {}

        def build(name: str) -> Column:
            field = fields[name]
            level = head if row is None or not row.has(name) else row
            column: Column
            if field.tokenised:
                column, masks[name] = self._tokenised(level, name)
            elif field.kind == "number":
                column = Numbers(level.numbers(name))
            elif field.kind == "mixed":
                column = Mixed(Numbers(level.numbers(name)), level.flags(name), level.text(name))
            else:
                column = level.text(name)
            return column if level is row or row_head is None else column.take(row_head)

        def spans(name: str) -> Spans | None:
            if fields[name].kind != "text" or fields[name].tokenised:
                return None
            if row is not None and row.has(name):
                return row.spans(name)
            return head.spans(name) if row_head is None else head.spans(name).take(row_head)

        return ScannedColumns(build, spans), masks

    def _tokenised(self, level: Level, name: str) -> tuple[Texts, tuple[str | None, ...]]:
        """As `models.building.tokenised`, from the distinct words: several may share a token, one may have none."""
        codes, clear = level.words(name)
        lookup: dict[str, int] = {}
        masks: list[str | None] = []
        renumbered = np.full(len(clear) + 1, -1, dtype=np.int32)  # the last is for code -1
        for code, word in enumerate(clear):
            token, mask = self._tokens.token_and_mask(cast(TokenKind, name), word)
            if mask:
                renumbered[code] = lookup.setdefault(token, len(lookup))
                if len(masks) < len(lookup):
                    masks.append(mask)
        return Texts(renumbered[codes], tuple(lookup), lookup), tuple(masks)

    def _rows(self, room: int) -> tuple[F64, I64, I32, I64]:
        """Tables of rows: numbers, texts, marks and times."""
        return (
            np.empty(room * len(self._row.numbers)),
            np.empty(room * len(self._row.texts), dtype=np.int64),
            np.empty((2, room), dtype=np.int32),
            np.empty(room, dtype=np.int64),
        )


def grown(old: Any, new: Any) -> Any:
    """The longer table with what the shorter one holds."""
    new[..., : old.shape[-1]] = old
    return new
