"""Bytes to columns: one batch for a list of records, or the reason why a record is none.

The good path touches a record once (a typed decode built once per feed) and a row once (a gather per field); every
check on it is made on whole columns and only says *that* a record is bad. Why, and where, is found by `models.faults`.

Unknown fields: each record is first decoded by a type that refuses them; on a refusal it is decoded again by the type
that ignores them. The first COUNTED_RECORDS such records of a call are counted exactly; from then on the call decodes
with the ignoring type at once, so a feed that always sends more than we know costs the same as one that does not.
`unknown_fields` is thus a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np

from models.columns import F64, I64, Batch, Column, Flags, Mask, Mixed, Numbers, RawRecord, Texts
from models.detections import Detection
from models.dispatch import Command, Feedback
from models.faults import (
    FUTURE_US,
    LENIENT,
    MAX_BYTES,
    Fault,
    FaultFound,
    Row,
    check_id,
    check_time,
    find_fault,
    is_id,
    read_typed,
    too_deep,
)
from models.gather import GATHER, Gathered, Nulls, Values
from models.observations import (
    CRS_NAMES,
    IDS,
    NOT_NEGATIVE,
    PERCENT,
    STRICT_TYPES,
    WIRE_TYPES,
    DeadReason,
    DecodeFailure,
)
from models.privacy import TokenKind, Tokens, mask_text
from models.streams import STREAMS, Stream
from models.times import EARLIEST_MS, LATEST_MS, BadTime, parse_time_us

STAGE = "decode"
COUNTED_RECORDS = 16  # records of one call whose unknown fields are counted exactly
LONG_KEY = 256  # bytes; a longer natural key (a list of readings) is kept as its digest
NAN = float("nan")
NO_NUMBERS = np.full(4096, NAN)  # to copy from: most columns of most batches are all null
NO_CODES = np.full(4096, -1, dtype=np.int32)
SEPARATOR = "\x1f"  # no id may hold it: ids are printable
FREE_TEXTS = ("text", "address")


class Decoded(NamedTuple):
    """What a list of records says. The batch has no rows and no sightings of failed records.

    natural_keys    a record: what makes it a duplicate of another on its topic; None where failed
    record_time_us  a record: its greatest event time; 0 where failed
    failures        in order of records, one for each that failed
    unknown_fields  fields that the contract does not name (a lower bound, see the module)
    crs             a record: the system of its positions, null for WGS-84
    columnar        a record: whether it came as columns, for the paths of later failures
    """

    batch: Batch
    natural_keys: list[bytes | None]
    record_time_us: I64
    failures: list[DecodeFailure]
    failed: Mask
    unknown_fields: int
    crs: Texts
    columnar: Mask

    def path_of(self, row: int, name: str) -> str:
        """Where in its record a field of a row stands."""
        if self.batch.topic != "camera.tracks":
            return f"$.{name}"
        record = int(self.batch.record[row])
        number = row - int(np.searchsorted(self.batch.record, record))
        return f"$.columns.{name}[{number}]" if self.columnar[record] else f"$.objects[{number}].{name}"


class Read(NamedTuple):
    """The records that could be read as their type: which (`at`), and what they say."""

    observations: list[Any]
    at: I64
    unknown_fields: int


class Decoder:
    """Built once per process; keeps no state but the tokens' cache.

    `metric_units` names the unit of each metric that has a fixed one; a reading in another unit is a failure.
    """

    def __init__(self, tokens: Tokens, metric_units: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._metric_units = dict(metric_units)
        self._strict = {topic: msgspec.json.Decoder(kind).decode for topic, kind in STRICT_TYPES.items()}

    def decode(self, topic: str, records: Sequence[RawRecord]) -> Decoded:
        """One batch for all records, in their order. `topic` is one of the six observation feeds."""
        values = [r.value for r in records]
        arrival_us = np.fromiter([r.timestamp for r in records], np.int64, len(records)) * 1000
        read = self._read(topic, values)
        building = Building(topic, len(records), arrival_us, read, GATHER[topic](read.observations))
        batch = building.batch(self._tokens, self._metric_units)
        failed = building.failed()
        failures: list[DecodeFailure] = []
        keys = natural_keys(building, records)
        record_time_us = building.record_time_us()
        if failed.any():
            batch = batch.without_records(failed)
            record_time_us[failed] = 0
            for record in np.flatnonzero(failed).tolist():
                keys[record] = None
                failures.append(self._failure(topic, record, values[record], int(arrival_us[record])))
        return Decoded(
            batch, keys, record_time_us, failures, failed, read.unknown_fields, building.crs(), building.columnar()
        )

    def decode_feedback(self, record: RawRecord, number: int = 0) -> Feedback | DecodeFailure:
        """A record of `dispatch.feedback`; `number` is its index in the caller's list, for the failure."""
        return read_one(record, number, FEEDBACK, ("feedback_id", "order_id", "incident_id", "actor"), "time")

    def decode_command(self, record: RawRecord, number: int = 0) -> Command | DecodeFailure:
        """A record of `commands`."""
        return read_one(record, number, COMMAND, ("command_id", "incident_id", "actor", "role"), "time")

    def decode_detection(self, record: RawRecord, number: int = 0) -> Detection | DecodeFailure:
        """A record of `detections`."""
        return read_one(record, number, DETECTION, ("detection_id", "rule"), "event_time", "opened_event_time")

    def _read(self, topic: str, values: Sequence[bytes | None]) -> Read:
        strict, lenient = self._strict[topic], LENIENT[topic].decode
        observations: list[Any] = []
        unread: list[int] = []
        unknown_records = unknown_fields = 0
        decode = strict
        for record, value in enumerate(values):
            try:
                if len(value) <= MAX_BYTES:  # type: ignore[arg-type]
                    observations.append(decode(value))  # type: ignore[arg-type]
                else:
                    unread.append(record)
            except (ValueError, TypeError, RecursionError):
                try:
                    observations.append(ignoring_unknown(lenient, value))
                except (ValueError, TypeError, RecursionError):
                    unread.append(record)
                    continue
                unknown_records += 1
                unknown_fields += count_unknown(msgspec.json.decode(value), WIRE_TYPES[topic])  # type: ignore[arg-type]
                if unknown_records == COUNTED_RECORDS:
                    decode = partial(ignoring_unknown, lenient)
        at = np.arange(len(values))
        return Read(observations, np.delete(at, unread) if unread else at, unknown_fields)

    def _failure(self, topic: str, record: int, value: bytes | None, arrival_us: int) -> DecodeFailure:
        try:
            fault = find_fault(topic, value, arrival_us, self._metric_units)
        except Exception as why:  # noqa: BLE001 -- whatever a record does to the careful reading, its neighbours go on
            fault = Fault(
                DeadReason.INTERNAL, "$", f"expected a reason, found {type(why).__name__} while looking for it"
            )
        if fault is None:
            fault = Fault(DeadReason.INTERNAL, "$", "expected a reason, found none: the two readings disagree")
        return DecodeFailure(record, STAGE, *fault)


def ignoring_unknown(lenient: Any, value: Any) -> Any:
    """Decoded by the type that ignores unknown fields; what they hold must still be UTF-8 and not too deep."""
    observation = lenient(value)
    if too_deep(value):
        raise ValueError("too deep")
    value.decode()
    return observation


def count_unknown(document: Any, kind: Any) -> int:
    """Fields of a JSON document that its wire type does not have, at every level the type describes."""
    if isinstance(document, list):
        return sum(count_unknown(item, kind) for item in document)
    struct = struct_inside(kind)
    if struct is None or not isinstance(document, dict):
        return 0
    known = known_fields(struct)
    return sum(count_unknown(part, known[name]) if name in known else 1 for name, part in document.items())


@cache
def known_fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


@cache
def struct_inside(kind: Any) -> type[msgspec.Struct] | None:
    """The struct in `Struct`, `Struct | None` or `list[Struct | None] | None`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in getattr(kind, "__args__", ()) if (found := struct_inside(part))), None)


# ------------------------------------------------------------------------------------------------- values to columns


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
    """The columns of one call, and which of its records are suspect. `heads` are the records that could be read."""

    def __init__(self, topic: str, records: int, arrival_us: I64, read: Read, gathered: Gathered) -> None:
        self.topic = topic
        self.stream: Stream = STREAMS[topic]
        self.records = records
        self.at = read.at
        self.gathered = gathered
        self.suspect = np.zeros(len(read.at), dtype=np.bool_) if gathered.broken is None else gathered.broken
        self.tracks = topic == "camera.tracks"
        self._arrival_us = arrival_us[read.at]
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
                column, masks[name] = tokenised(tokens, cast(TokenKind, name), values)
            elif field.kind == "number":
                column = Numbers(numbers(values))
                if values and type(values) is not Nulls:
                    self._check_number(name, column.values, by_row)
            elif field.kind == "flag":
                column = flags(values)
            elif field.kind == "mixed":
                column = mixed(values)
            elif name in FREE_TEXTS:
                column = texts([None if v is None else mask_text(v) for v in values])
            else:
                column = texts(values)
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
        source = cast(Texts, columns[self.stream.source])
        time_us = self.time_us if row_head is None or not self.tracks else self.time_us[row_head]
        if self.tracks:
            return Batch(self.topic, time_us, record, source, columns, self.time_us, seen, self.source, masks)
        return Batch(self.topic, time_us, record, source, columns, time_us, record, source, masks)

    def _values(self, name: str, by_row: bool) -> Values:
        if name != "colour":
            return (self.gathered.row if by_row else self.gathered.head)[name]
        looks = self.gathered.row["attributes"]
        return looks if nulls_in(looks) == len(looks) else [None if a is None else a.colour for a in looks]

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
        if "".join(words).isprintable() and all(0 < n <= 128 for n in map(len, words)):
            return
        bad = np.isin(column.codes, [code for word, code in column.lookup.items() if not is_id(word)])
        if by_row:
            self._flag_rows(bad)
        else:
            self.suspect |= bad

    def _check_number(self, name: str, values: F64, by_row: bool) -> None:
        bad: Mask | None = None
        if name in NOT_NEGATIVE[self.topic] and np.fmin.reduce(values) < 0:
            bad = values < 0
        if name in PERCENT and np.fmax.reduce(values) > 100:
            bad = values > 100 if bad is None else bad | (values > 100)
        if bad is None:
            return
        if by_row:
            self._flag_rows(bad)
        else:
            self.suspect |= bad

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
        if len(self.at) == self.records:
            return self._crs
        codes = np.full(self.records, -1, dtype=np.int32)
        codes[self.at] = self._crs.codes
        return Texts(codes, self._crs.words, self._crs.lookup)

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


# -------------------------------------------------------------------------------------------------------- natural keys


def natural_keys(building: Building, records: Sequence[RawRecord]) -> list[bytes | None]:
    """What makes a record a duplicate: its CloudEvents source and id where both are sent, else its natural key."""
    natural = own_keys(building, records)
    keys: list[bytes | None]
    if len(natural) == len(records):
        keys = list(natural)
    else:
        keys = [None] * len(records)
        for record, key in zip(building.at.tolist(), natural, strict=True):
            keys[record] = key
    for number, record in enumerate(records):
        if record.headers:
            sent = dict(record.headers)
            source, identity = sent.get("ce_source"), sent.get("ce_id")
            if source and identity:
                keys[number] = b"ce\x1f%d\x1f%b%b" % (len(source), source, identity)
    return keys


def own_keys(building: Building, records: Sequence[RawRecord]) -> list[bytes]:
    """One for each record that was read, of the fields marked in CONTRACTS; times as microseconds, so that a stamp
    written in another way is the same."""
    head, row_head = building.gathered.head, building.gathered.row_head
    times = building.time_us.tolist()
    match building.topic:
        case "camera.tracks":
            return [f"{s}\x1f{t}".encode() for s, t in zip(head["sensor_id"], times, strict=True)]
        case "camera.events":
            return [e.encode() for e in head["event_id"]]
        case "vehicle.positions":
            return [f"{v}\x1f{t}".encode() for v, t in zip(head["vehicle_id"], times, strict=True)]
        case "traffic.measurements":
            parts = zip(head["segment_id"], head["source"], head["lane"], times, strict=True)
            return [f"{segment}\x1f{source}\x1f{lane}\x1f{t}".encode() for segment, source, lane, t in parts]
        case "hotline.tickets":
            # A later ticket with the same id is an update even when its call_time is the same: what it says counts too.
            values = [blake2b(records[i].value or b"", digest_size=16).hexdigest() for i in building.at.tolist()]
            tickets = zip(head["ticket_id"], times, values, strict=True)
            return [f"{ticket}\x1f{t}\x1f{value}".encode() for ticket, t, value in tickets]
        case _:
            readings = [f"{m}\x1f{t}" for m, t in zip(building.gathered.row["metric"], times, strict=True)]
            if row_head is None:
                return [f"{d}\x1f{r}".encode() for d, r in zip(head["device_id"], readings, strict=True)]
            return list_keys(head["device_id"], readings, np.bincount(row_head, minlength=len(building.at)).tolist())


def list_keys(devices: Values, readings: Sequence[str], counts: Sequence[int]) -> list[bytes]:
    keys: list[bytes] = []
    start = 0
    for device, count in zip(devices, counts, strict=True):
        key = SEPARATOR.join((device, *readings[start : start + count])).encode()
        keys.append(key if len(key) <= LONG_KEY else blake2b(key, digest_size=16).digest())
        start += count
    return keys


# -------------------------------------------------------------------------------------------------- records of the Desk

FEEDBACK = msgspec.json.Decoder(Feedback)
COMMAND = msgspec.json.Decoder(Command)
DETECTION = msgspec.json.Decoder(Detection)
Said = TypeVar("Said", Feedback, Command, Detection)


def read_one(
    record: RawRecord, number: int, decoder: msgspec.json.Decoder[Said], ids: Sequence[str], *times: str
) -> Said | DecodeFailure:
    """A typed record of the Desk's topics with its ids and times checked. A detection is ours and not held against its
    arrival: the clock of a replay may be ahead of the broker's."""
    try:
        said = read_typed(record.value, decoder, times[0])
        row = Row(msgspec.structs.asdict(said), "$.{}".format)
        arrival_us = -1 if decoder is DETECTION else record.timestamp * 1000
        for name in times:
            check_time(row, name, arrival_us)
        for name in ids:
            check_id(row, name)
    except FaultFound as found:
        return DecodeFailure(number, STAGE, *found.fault)
    except Exception as why:  # noqa: BLE001 -- as above: one record never stops its neighbours
        return DecodeFailure(number, STAGE, DeadReason.INTERNAL, "$", f"expected a reason, found {type(why).__name__}")
    return cast(Said, said)
