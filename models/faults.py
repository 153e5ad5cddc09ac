"""The careful reading of one record that could not be used: its one reason and the path of the bad value.

`models.decode` only notices that a record is bad; this file says why. It is the authority: it reads the bytes from the
start, in Python, in a fixed order (bytes, JSON, types in the order of the document, time, ids, system of coordinates,
then row after row), so a record has the same reason alone and among others. It is never reached by a good record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple, NoReturn

import msgspec

from models.detections import SEVERITIES
from models.observations import (
    CRS_NAMES,
    IDS,
    NOT_NEGATIVE,
    PERCENT,
    WIRE_TYPES,
    CameraEvent,
    DeadReason,
    SensorReading,
    TrackFrame,
    TrafficMeasurement,
    VehiclePosition,
)
from models.streams import STREAMS
from models.times import MINUTE_US, BadTime, parse_time_us

MAX_BYTES = 1 << 20  # the contract's limit of a message
MAX_SAID = 1 << 16  # bytes of a detection, feedback or command: what the Desk makes of it must fit a message again
MAX_DEPTH = 64  # levels of arrays and objects; ours need 5
FUTURE_US = 2 * MINUTE_US  # how far a source's clock may be ahead of the arrival
MAX_ID = 128  # characters of an id
MAX_TEXT = 1024  # characters of a text that is no id: what rules compare and messages repeat is a word, never a book
FREE_TEXTS = ("text", "address")  # what a citizen said may be as long as the message

LENIENT: dict[str, msgspec.json.Decoder[Any]] = {
    topic: msgspec.json.Decoder(wire_type) for topic, wire_type in WIRE_TYPES.items()
}
FIRST_TIME = {topic: stream.time for topic, stream in STREAMS.items()}
TEXTS = {
    topic: tuple(n for n, field in stream.fields.items() if field.kind in ("text", "mixed") and n not in FREE_TEXTS)
    for topic, stream in STREAMS.items()
}


class Fault(NamedTuple):
    reason: DeadReason
    path: str
    detail: str


class FaultFound(Exception):
    """Carries the fault out of the checks; never leaves this file."""

    def __init__(self, reason: DeadReason, path: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(reason, path, detail)


def find_fault(topic: str, value: bytes | None, arrival_us: int, metric_units: Mapping[str, str]) -> Fault | None:
    """Why this record of an observation feed cannot be used; None where nothing is wrong with it."""
    try:
        observation = read_typed(value, LENIENT[topic], FIRST_TIME[topic])
        check_observation(topic, observation, arrival_us, metric_units)
    except FaultFound as found:
        return found.fault
    return None


# ---------------------------------------------------------------------------------------------------- bytes and types


def read_typed(value: bytes | None, decoder: msgspec.json.Decoder[Any], time_field: str) -> Any:
    """The record as its wire type, or FaultFound."""
    value = check_bytes(value)
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as why:
        check_json(value)
        raise_typed(str(why), time_field)
    except (msgspec.DecodeError, RecursionError):
        check_json(value)
        raise FaultFound(DeadReason.NOT_JSON, "$", "expected JSON, found an escape that is no character") from None


def check_bytes(value: bytes | None) -> bytes:
    if value is None:
        raise FaultFound(DeadReason.TOMBSTONE, "$", "expected a value, found null without the tick header")
    if not value:
        raise FaultFound(DeadReason.EMPTY, "$", "expected a JSON object, found no bytes")
    if len(value) > MAX_BYTES:
        raise FaultFound(DeadReason.TOO_LARGE, "$", f"expected at most {MAX_BYTES} bytes, found {len(value)}")
    try:
        value.decode()
    except UnicodeDecodeError as why:
        raise FaultFound(DeadReason.NOT_UTF8, "$", f"expected UTF-8, found {why.reason} at byte {why.start}") from None
    if too_deep(value):
        raise FaultFound(DeadReason.TOO_DEEP, "$", f"expected at most {MAX_DEPTH} levels, found more")
    return value


def too_deep(value: bytes) -> bool:
    """Whether arrays and objects are nested deeper than MAX_DEPTH; brackets inside texts do not count."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in OUTSIDE_TEXTS.finditer(value):
        sign = found[0][:1]
        if sign in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif sign in b"]}":
            depth -= 1
    return False


OUTSIDE_TEXTS = re.compile(rb'"(?:[^"\\]+|\\.)*+"|[\[\]{}]', re.DOTALL)


PLAIN_NAME = re.compile(r"[A-Za-z_]{1,40}")  # what may be shown of a name that we do not know


class Unreadable(NamedTuple):
    """Stands for a number that JSON cannot hold, so that its path can be found."""

    text: str


def check_json(value: bytes) -> None:
    """FaultFound where this is no JSON, no object, or holds a number that is not finite."""
    try:
        document = json.loads(
            value.decode(), parse_constant=Unreadable, parse_float=finite_number, parse_int=whole_number
        )
    except (ValueError, RecursionError) as why:
        at = f"{why.msg} at character {why.pos}" if isinstance(why, json.JSONDecodeError) else "something else"
        raise FaultFound(DeadReason.NOT_JSON, "$", f"expected JSON, found {at}") from None
    bad = next(unreadable(document, "$"), None)
    if bad is not None:
        raise FaultFound(DeadReason.NOT_FINITE, bad[0], f"expected a finite number, found {bad[1]}")
    if not isinstance(document, dict):
        raise FaultFound(DeadReason.NOT_AN_OBJECT, "$", f"expected an object, found {kind_of(document)}")


def finite_number(text: str) -> object:
    number = float(text)
    return number if isfinite(number) else Unreadable("a number out of range")


def whole_number(text: str) -> int:
    """Its value does not matter here, and Python refuses to read thousands of digits."""
    return int(text[:20])


def unreadable(document: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(document, Unreadable):
        yield path, document.text
    for step, part in inside(document, path):
        yield from unreadable(part, step)


def inside(document: object, path: str) -> Iterator[tuple[str, object]]:
    """The parts of an object or array, each with its path."""
    if isinstance(document, dict):
        for name, part in document.items():
            yield f"{path}.{name}" if PLAIN_NAME.fullmatch(name) else f"{path}[...]", part
    elif isinstance(document, list):
        for number, part in enumerate(document):
            yield f"{path}[{number}]", part


def kind_of(document: object) -> str:
    kinds = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return kinds.get(type(document), "null")


MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
EXPECTED = re.compile(r"Expected `(?P<expected>[^`]*)`, got `(?P<found>[^`]*)`")
MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
ENUM = re.compile(r"Invalid enum value (?P<found>.*)", re.DOTALL)
PLAIN_WORD = re.compile(r"'[A-Za-z_]{1,32}'")


def raise_typed(message: str, time_field: str) -> NoReturn:
    """msgspec's message as our reason and path."""
    matched = MESSAGE.fullmatch(message)
    what, path = (matched["what"], matched["path"] or "$") if matched else (message, "$")
    if missing := MISSING.match(what):
        raise FaultFound(
            DeadReason.MISSING_FIELD, f"{path}.{missing['name']}", f"expected `{missing['name']}`, found nothing"
        )
    if differs := EXPECTED.match(what):
        expected, found = differs["expected"], differs["found"]
        is_time = path.endswith(f".{time_field}")
        if is_time and found == "float":
            raise FaultFound(DeadReason.BAD_TIME, path, "expected whole milliseconds or RFC 3339, found a fraction")
        if found == "null":
            raise FaultFound(DeadReason.MISSING_FIELD, path, f"expected {expected}, found null")
        reason = DeadReason.BAD_COLUMNS if path == "$.columns.track_id" else DeadReason.WRONG_TYPE
        raise FaultFound(reason, path, f"expected {expected}, found {found}")
    if "out of range" in what:
        if path.endswith(f".{time_field}"):
            raise FaultFound(DeadReason.BAD_TIME, path, "expected milliseconds of 1970..2100, found a larger number")
        raise FaultFound(DeadReason.NOT_FINITE, path, "expected a number that fits 64 bits, found a larger one")
    if enum := ENUM.match(what):
        found = enum["found"] if PLAIN_WORD.fullmatch(enum["found"]) else "another text"
        raise FaultFound(DeadReason.BAD_ENUM, path, f"expected a word of the contract's list, found {found}")
    raise FaultFound(DeadReason.WRONG_TYPE, path, "expected another type")


# ------------------------------------------------------------------------------------------------------------- meaning


class Row(NamedTuple):
    """One row of a record: its fields by wire name and the way to the path of each."""

    fields: Mapping[str, Any]
    path: Callable[[str], str]


def check_observation(topic: str, observation: Any, arrival_us: int, metric_units: Mapping[str, str]) -> None:
    fields = msgspec.structs.asdict(observation)
    top = Row(fields, "$.{}".format)
    if not isinstance(observation, SensorReading):
        check_time(top, FIRST_TIME[topic], arrival_us)
    for name in IDS[topic]:
        check_id(top, name)
    if fields["crs"] is not None and fields["crs"] not in CRS_NAMES:
        raise FaultFound(DeadReason.UNKNOWN_CRS, "$.crs", f"expected one of {', '.join(CRS_NAMES)}, found another")
    match observation:
        case TrackFrame():
            check_text(top, "model")
            for row in track_rows(observation):
                check_id(row, "track_id")
                check_texts(topic, row)
                check_numbers(topic, row)
        case SensorReading():
            check_text(top, "status")
            check_numbers(topic, top)
            for row in reading_rows(observation):
                check_reading(row, arrival_us, metric_units)
        case _:
            check_texts(topic, top)
            check_numbers(topic, top)
    match observation:
        case CameraEvent(label=None, code=None):
            raise FaultFound(DeadReason.MISSING_FIELD, "$.label", "expected `label` or `code`, found neither")
        case TrafficMeasurement(speed_kmh=None, flow_vph=None, occupancy_pct=None):
            raise FaultFound(
                DeadReason.MISSING_FIELD, "$.speed_kmh", "expected speed_kmh, flow_vph or occupancy_pct, found none"
            )
        case VehiclePosition(lon=None):
            raise FaultFound(DeadReason.MISSING_FIELD, "$.lon", "expected `lon` and `lat`, found neither")
        case _:
            pass


def check_detection(row: Row, event_time_us: int) -> None:
    """Of our own topic, but whoever may write there may write anything: what would stop the Desk is a dead letter."""
    check_position(row)
    for name in ("error_m", "held_s", "coverage"):
        check_not_negative(row, name)
    if row.fields["held_s"] * 1e6 > event_time_us:
        raise FaultFound(DeadReason.BAD_TIME, row.path("held_s"), "expected at most the seconds since 1970, found more")
    if row.fields["severity"] not in SEVERITIES:
        expected = f"expected one of {', '.join(SEVERITIES)}, found another"
        raise FaultFound(DeadReason.BAD_ENUM, row.path("severity"), expected)


def check_said(row: Row, free: Container[str], size: int) -> None:
    """Whole numbers beyond 64 bits can be read but not kept; long texts could not be published again. `size`: bytes of
    the record."""
    if size > MAX_SAID and (size := len(msgspec.json.encode(row.fields))) > MAX_SAID:
        found = f"expected at most {MAX_SAID} bytes of what is known, found {size}"
        raise FaultFound(DeadReason.TOO_LARGE, "$", found)
    for name, document in row.fields.items():
        if name not in free:
            check_kept(msgspec.to_builtins(document), row.path(name))


def check_kept(document: object, path: str) -> None:
    if isinstance(document, int) and not -(1 << 63) <= document < 1 << 63:
        raise FaultFound(DeadReason.NOT_FINITE, path, "expected a number that fits 64 bits, found a larger one")
    if isinstance(document, str) and is_long(document):
        found = f"expected at most {MAX_TEXT} characters, found {len(document)}"
        raise FaultFound(DeadReason.TOO_LARGE, path, found)
    for step, part in inside(document, path):
        check_kept(part, step)


def track_rows(frame: TrackFrame) -> Iterator[Row]:
    if frame.objects is not None and frame.columns is not None:
        raise FaultFound(DeadReason.BAD_COLUMNS, "$.columns", "expected `objects` or `columns`, found both")
    if frame.objects is not None:
        for number, track in enumerate(frame.objects):
            yield Row(msgspec.structs.asdict(track), f"$.objects[{number}].{{}}".format)
        return
    if frame.columns is None:
        raise FaultFound(DeadReason.MISSING_FIELD, "$.objects", "expected `objects` or `columns`, found neither")
    columns = msgspec.structs.asdict(frame.columns)
    tracks = columns["track_id"]
    if tracks is None:
        raise FaultFound(DeadReason.BAD_COLUMNS, "$.columns.track_id", "expected a list, found nothing")
    for name, values in columns.items():
        if values is not None and len(values) != len(tracks):
            raise FaultFound(
                DeadReason.BAD_COLUMNS,
                f"$.columns.{name.rstrip('_')}",
                f"expected {len(tracks)} entries as in track_id, found {len(values)}",
            )
    for number in range(len(tracks)):
        fields = {name: values[number] for name, values in columns.items() if values is not None}
        yield Row(fields, f"$.columns.{{}}[{number}]".format)


def reading_rows(reading: SensorReading) -> Iterator[Row]:
    if reading.readings is None:
        yield Row(msgspec.structs.asdict(reading), "$.{}".format)
        return
    if not reading.readings:
        raise FaultFound(DeadReason.MISSING_FIELD, "$.readings[0]", "expected at least one reading, found none")
    for number, item in enumerate(reading.readings):
        yield Row(msgspec.structs.asdict(item), f"$.readings[{number}].{{}}".format)


def check_reading(row: Row, arrival_us: int, metric_units: Mapping[str, str]) -> None:
    for name in ("metric", "value", "reading_time"):
        if row.fields[name] is None:
            raise FaultFound(DeadReason.MISSING_FIELD, row.path(name), f"expected `{name}`, found nothing")
    check_time(row, "reading_time", arrival_us)
    check_id(row, "metric")
    for name in ("value", "unit"):
        check_text(row, name)
    unit, wanted = row.fields["unit"], metric_units.get(row.fields["metric"])
    if unit is not None and wanted is not None and unit != wanted:
        found = unit if re.fullmatch(r"[A-Za-z%°/_0-9²³·]{1,16}", unit) else "another text"
        raise FaultFound(DeadReason.UNIT_MISMATCH, row.path("unit"), f"expected {wanted}, found {found}")


def check_time(row: Row, name: str, arrival_us: int) -> int:
    """The stamp in microseconds, or FaultFound."""
    try:
        time_us = parse_time_us(row.fields[name])
    except BadTime:
        expected = "expected RFC 3339 with an offset or epoch milliseconds of 1970..2100, found neither"
        raise FaultFound(DeadReason.BAD_TIME, row.path(name), expected) from None
    if 0 <= arrival_us < time_us - FUTURE_US:
        ahead_s = (time_us - arrival_us) / 1e6
        raise FaultFound(
            DeadReason.TIME_IN_FUTURE, row.path(name), f"expected at most 120 s after arrival, found {ahead_s:.3f} s"
        )
    return time_us


def check_id(row: Row, name: str) -> None:
    word = row.fields[name]
    if word is not None and not is_id(word):
        found = f"{len(word)} characters" if word.isprintable() else "signs that cannot be printed"
        raise FaultFound(
            DeadReason.BAD_ID, row.path(name), f"expected 1 to {MAX_ID} printable characters, found {found}"
        )


def is_id(word: str) -> bool:
    return 0 < len(word) <= MAX_ID and word.isprintable()


def check_texts(topic: str, row: Row) -> None:
    for name in TEXTS[topic]:
        check_text(row, name)


def check_text(row: Row, name: str) -> None:
    """`colour` is what `attributes` say."""
    holder, at = row.fields.get("attributes"), row.path(name)
    word = row.fields.get("class_" if name == "class" else name)
    if name == "colour" and holder is not None:
        word, at = holder.colour, row.path("attributes") + ".colour"
    if isinstance(word, str) and is_long(word):
        raise FaultFound(DeadReason.TOO_LARGE, at, f"expected at most {MAX_TEXT} characters, found {len(word)}")


def is_long(word: str) -> bool:
    return len(word) > MAX_TEXT


def check_numbers(topic: str, row: Row) -> None:
    if "lon" in row.fields or "lat" in row.fields:
        check_position(row)
    for name in NOT_NEGATIVE[topic]:
        check_not_negative(row, name)
    for name in PERCENT:
        number = row.fields.get(name)
        if number is not None and number > 100:
            raise FaultFound(DeadReason.UNIT_MISMATCH, row.path(name), f"expected 0 to 100 percent, found {number!r}")


def check_not_negative(row: Row, name: str) -> None:
    number = row.fields.get(name)
    if number is not None and number < 0:
        raise FaultFound(DeadReason.NEGATIVE_VALUE, row.path(name), f"expected 0 or more, found {number!r}")


def check_position(row: Row) -> None:
    lon, lat = row.fields.get("lon"), row.fields.get("lat")
    if lon is None and lat is None:
        return
    if lon is None or lat is None:
        missing = "lon" if lon is None else "lat"
        raise FaultFound(DeadReason.BAD_POSITION, row.path(missing), "expected both lon and lat, found one of them")
    if -180 <= lon <= 180 and -90 <= lat <= 90:
        return
    if -180 <= lat <= 180 and -90 <= lon <= 90:
        raise FaultFound(DeadReason.SWAPPED_AXES, row.path("lat"), "expected lon, lat; found lat, lon by their ranges")
    bad = "lat" if -180 <= lon <= 180 else "lon"
    raise FaultFound(
        DeadReason.BAD_POSITION, row.path(bad), "expected lon in ±180 and lat in ±90, found a value outside"
    )
