"""Every kind of poison, by topic: what is sent, and the reason, path and words it must be dead-lettered with.

Where a reason cannot occur on a topic, `NEVER` says why. Records stand between good ones of the same source.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from models.faults import MAX_BYTES
from models.observations import DeadReason
from models.streams import DETECTOR_TOPICS
from tests.poison.world import INCIDENT, TOPICS, at_ms, body, columns, key_of, readings
from tests.support import Record

R = DeadReason
FEEDS = tuple(topic for topic in TOPICS if topic not in ("detections", "dispatch.feedback", "commands"))
SECOND = 3.5
"""When poison tells of something; it arrives a fifth of a second later."""
OFFSET = 35
OWN_KEY = b"the topic's own"
NOBODY = b"nobody-has-this-area"
"""A key that belongs to another partition than the good ones' key."""

KINDS = (
    "empty", "null without the tick header", "tick header that is none", "wrong encoding", "byte order mark",
    "truncated", "trailing bytes", "wrong schema", "extra fields", "wrong unit", "NaN or infinity", "1e999",
    "5000-digit integer", "duplicate keys", "100k nesting", "lone surrogate", "huge string", "huge array",
    "more than 1 MiB", "control characters", "swapped axes", "out of the city", "negative", "unknown enum",
    "compressed bomb", "key missing", "key garbage", "header garbage", "wrong partition",
)  # fmt: skip


class Case(NamedTuple):
    """`reason` None: it may be odd, and is good. `says`: part of the detail. `kind`: one of KINDS, or none of them.
    `key`: where not the topic's own; `partition`: where a Desk's record stands wrongly."""

    name: str
    topic: str
    value: bytes | None
    reason: DeadReason | None
    path: str = "$"
    says: str = ""
    kind: str = ""
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = OWN_KEY
    partition: int | None = None

    @property
    def record(self) -> Record:
        """As a door is fed it."""
        key = key_of(self.topic) if self.key == OWN_KEY else self.key
        return Record(self.value, key, at_ms(SECOND + 0.2), self.headers, OFFSET)

    @property
    def routed(self) -> bool:
        """Whether it never reaches a door."""
        return self.reason is R.WRONG_PARTITION or self.key != OWN_KEY


def dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def said(topic: str, **fields: Any) -> bytes:
    """A good record of the topic with some fields set."""
    return dump({**body(topic, SECOND), **{name.rstrip("_"): value for name, value in fields.items()}})


def without(topic: str, name: str) -> bytes:
    return dump({field: value for field, value in body(topic, SECOND).items() if field != name})


def raw(topic: str, name: str, value: bytes) -> bytes:
    """A good record with the JSON of one field as it stands here."""
    return said(topic, **{name: "@"}).replace(b'"@"', value)


def car(**fields: Any) -> bytes:
    """A frame with one field of its only object set; None takes it away."""
    frame = body("camera.tracks", SECOND)
    seen = {**frame["objects"][0], **fields}
    return dump({**frame, "objects": [{name: value for name, value in seen.items() if value is not None}]})


def table(**fields: Any) -> bytes:
    """The same as columns."""
    frame = columns(SECOND)
    return dump({**frame, "columns": {**frame["columns"], **fields}})


def item(**fields: Any) -> bytes:
    """A list of two readings, the second with some fields set."""
    said = readings(SECOND)
    first = said["readings"][0]
    return dump({**said, "readings": [first, {**first, "reading_time": at_ms(SECOND), **fields}]})


FIRST_ID = {
    "camera.tracks": "sensor_id", "camera.events": "event_id", "traffic.measurements": "segment_id",
    "sensor.readings": "device_id", "hotline.tickets": "ticket_id", "vehicle.positions": "vehicle_id",
    "dispatch.feedback": "feedback_id", "commands": "command_id", "detections": "detection_id",
}  # fmt: skip
TIME = {
    "camera.tracks": "frame_time", "camera.events": "event_time", "traffic.measurements": "end_time",
    "sensor.readings": "reading_time", "hotline.tickets": "call_time", "vehicle.positions": "time",
    "dispatch.feedback": "time", "commands": "time", "detections": "event_time",
}  # fmt: skip


BY_TIME = ("camera.tracks", "traffic.measurements", "sensor.readings")


def everywhere(topic: str) -> Iterator[Case]:
    """What can be wrong with a record of any topic."""
    good = dump(body(topic, SECOND))
    identity, time = FIRST_ID[topic], TIME[topic]
    nested = b"[" * 100_000 + b"]" * 100_000
    yield Case("no bytes", topic, b"", R.EMPTY, says="found no bytes", kind="empty")
    yield Case("null", topic, None, R.TOMBSTONE, says="without the tick header", kind="null without the tick header")
    for name, header in (("a word", b"soon"), ("nothing", b""), ("too long", b"1" * 40), ("negative", b"-1")):
        yield Case(
            f"null with {name} as its tick", topic, None, R.TOMBSTONE, says="null", kind="tick header that is none",
            headers=(("zhinao_tick", header),),
        )  # fmt: skip
    yield Case(
        "GBK", topic, good[:-1] + ',"x":"当湖路"}'.encode("gbk"), R.NOT_UTF8, says="UTF-8", kind="wrong encoding"
    )
    yield Case("UTF-16", topic, good.decode().encode("utf-16"), R.NOT_UTF8, says="at byte 0", kind="wrong encoding")
    yield Case("a mark before it", topic, b"\xef\xbb\xbf" + good, R.NOT_JSON, kind="byte order mark")
    yield Case("half of it", topic, good[: len(good) // 2], R.NOT_JSON, kind="truncated")
    yield Case("one byte less", topic, good[:-1], R.NOT_JSON, kind="truncated")
    yield Case("twice", topic, good + good, R.NOT_JSON, kind="trailing bytes")
    yield Case("a zero byte behind", topic, good + b"\0", R.NOT_JSON, kind="trailing bytes")
    yield Case(
        "a raw control character", topic, raw(topic, identity, b'"a\x01"'), R.NOT_JSON, kind="control characters"
    )
    yield Case("a lone surrogate", topic, raw(topic, identity, rb'"\ud800"'), R.NOT_JSON, kind="lone surrogate")
    yield Case(
        "an encoded surrogate", topic, raw(topic, identity, b'"\xed\xa0\x80"'), R.NOT_UTF8, kind="lone surrogate"
    )
    yield Case("a list", topic, b"[" + good + b"]", R.NOT_AN_OBJECT, says="an array", kind="wrong schema")
    yield Case("the word null", topic, b"null", R.NOT_AN_OBJECT, says="null")
    yield Case("a text", topic, b'"' + b"a" * 40 + b'"', R.NOT_AN_OBJECT, says="text")
    yield Case("one byte too many", topic, good + b" " * (MAX_BYTES + 1 - len(good)), R.TOO_LARGE,
               says=f"{MAX_BYTES + 1}", kind="more than 1 MiB")  # fmt: skip
    yield Case("deep inside", topic, raw(topic, "x", nested), R.TOO_DEEP, says="64 levels", kind="100k nesting")
    yield Case("deep alone", topic, nested, R.TOO_DEEP, says="64 levels", kind="100k nesting")
    yield Case("deep and open", topic, nested[:100_000], R.TOO_DEEP, kind="100k nesting")
    yield Case("a gzip file", topic, gzip.compress(bytes(10 << 20), mtime=0), R.NOT_UTF8, kind="compressed bomb")
    yield Case("no fields", topic, b"{}", R.MISSING_FIELD, f"$.{identity}", kind="wrong schema")
    yield Case("no id", topic, without(topic, identity), R.MISSING_FIELD, f"$.{identity}", says=identity)
    yield Case("a null id", topic, said(topic, **{identity: None}), R.MISSING_FIELD, f"$.{identity}", says="null")
    yield Case("a number for an id", topic, said(topic, **{identity: 7}), R.WRONG_TYPE, f"$.{identity}", says="int")
    yield Case("a time that is a list", topic, said(topic, **{time: []}), R.WRONG_TYPE, f"$.{time}")
    yield Case("NaN", topic, raw(topic, "x", b"NaN"), R.NOT_FINITE, "$.x", kind="NaN or infinity")
    yield Case(
        "minus infinity", topic, raw(topic, time, b"-Infinity"), R.NOT_FINITE, f"$.{time}", kind="NaN or infinity"
    )
    mistyped = b'{"%b":7,' % identity.encode() + good[1:]
    yield Case("a field twice, first mistyped", topic, mistyped, R.WRONG_TYPE, f"$.{identity}", kind="duplicate keys")
    emptied = good[:-1] + b',"%b":""}' % identity.encode()
    yield Case("a field twice, last empty", topic, emptied, R.BAD_ID, f"$.{identity}", kind="duplicate keys")
    yield Case("a word for a time", topic, said(topic, **{time: "soon"}), R.BAD_TIME, f"$.{time}", says="RFC 3339")
    yield Case("a local time", topic, said(topic, **{time: "2026-03-02T07:10:03"}), R.BAD_TIME, f"$.{time}")
    yield Case("the year 1", topic, said(topic, **{time: "0001-01-01T00:00:00+14:00"}), R.BAD_TIME, f"$.{time}")
    yield Case("the year 9999", topic, said(topic, **{time: "9999-12-31T23:59:59Z"}), R.BAD_TIME, f"$.{time}")
    yield Case("an empty id", topic, said(topic, **{identity: ""}), R.BAD_ID, f"$.{identity}", says="0 characters")
    yield Case("an id of 100,000", topic, said(topic, **{identity: "a" * 100_000}), R.BAD_ID, f"$.{identity}",
               says="100000 characters", kind="huge string")  # fmt: skip
    yield Case("a NUL in an id", topic, said(topic, **{identity: "a\0b"}), R.BAD_ID, f"$.{identity}", says="printed",
               kind="control characters")  # fmt: skip
    yield Case("a line in an id", topic, said(topic, **{identity: "a\nb"}), R.BAD_ID, f"$.{identity}",
               kind="control characters")  # fmt: skip
    if topic in DETECTOR_TOPICS:
        yield Case("another partition's key", topic, good, R.WRONG_PARTITION, says="key of another partition",
                   kind="wrong partition", key=NOBODY)  # fmt: skip
        for name, key in (("no UTF-8", b"\xff\xfe"), ("endless", b"k" * 100_000), ("empty", b""), ("a NUL", b"a\0")):
            yield Case(f"a key that is {name}", topic, good, R.BAD_ID, says="printable", kind="key garbage", key=key)
        yield Case("no key", topic, good, R.WRONG_PARTITION, says="no key", kind="key missing", key=None)
    else:
        yield Case("another partition", topic, good, R.WRONG_PARTITION, says="partition 0", kind="wrong partition",
                   partition=2)  # fmt: skip
    if topic != "detections":
        future = at_ms(SECOND + 0.2) + 120_001
        yield Case("two minutes ahead", topic, said(topic, **{time: future}), R.TIME_IN_FUTURE, f"$.{time}",
                   says="120.001")  # fmt: skip
        yield Case("a time of 5000 digits", topic, raw(topic, time, b"9" * 5000), R.BAD_TIME, f"$.{time}",
                   kind="5000-digit integer")  # fmt: skip
        yield Case("1e999 for a time", topic, raw(topic, time, b"1e999"), R.NOT_FINITE, f"$.{time}", kind="1e999")
    yield from harmless(topic)


def harmless(topic: str) -> Iterator[Case]:
    """Odd, and good all the same. What none of the rules is about, so that nothing comes of it."""
    calm: dict[str, dict[str, Any]] = {
        "camera.tracks": {"objects": []}, "camera.events": {"label": "other"},
        "traffic.measurements": {"sample_size": 0}, "sensor.readings": {"metric": "status", "unit": None},
        "detections": {"rule": "no such rule"},
        "hotline.tickets": {"lon": None, "lat": None}, "commands": {"command": "acknowledge", "incident_id": "i-none"},
        "vehicle.positions": {"unit_id": None}, "dispatch.feedback": {"order_id": "o-none"},
    }  # fmt: skip
    number = count()

    def calmly(**more: Any) -> bytes:
        """Each another record: by its id, or by its time where that is what makes it one."""
        at = next(number)
        own = {TIME[topic]: at_ms(SECOND) + at} if topic in BY_TIME else {FIRST_ID[topic]: f"x-{at}"}
        return said(topic, **{**calm[topic], **own, **more})

    yield Case("unknown fields", topic, calmly(x={"y": [1]}, z="z"), None, kind="extra fields")
    twice = calmly()
    first = b'{"%b":"only-the-last-counts",' % FIRST_ID[topic].encode()
    yield Case("a field twice", topic, first + twice[1:], None, kind="duplicate keys")
    yield Case("an unknown list of 100,000", topic, calmly(x=[0] * 100_000), None, kind="huge array")
    yield Case("an unknown text of 900 KB", topic, calmly(x="a" * 900_000), None, kind="huge string")
    yield Case("spaces up to 1 MiB", topic, calmly().ljust(MAX_BYTES), None, kind="more than 1 MiB")
    yield Case("strange headers", topic, calmly(), None, kind="header garbage",
               headers=(("ce_id", b"\xff\xfe"), ("", b""), ("x" * 300, b"\0" * 9000), ("ce_id", b"2")))  # fmt: skip


def positions(topic: str) -> Iterator[Case]:
    """What can be wrong with where something is."""
    at = "$.objects[0].{}" if topic == "camera.tracks" else "$.{}"

    def placed(lon: float | None, lat: float | None) -> bytes:
        return car(lon=lon, lat=lat) if topic == "camera.tracks" else said(topic, lon=lon, lat=lat)

    lon, lat = at.format("lon"), at.format("lat")
    yield Case("only a longitude", topic, placed(121.01, None), R.BAD_POSITION, lat, says="one of them")
    yield Case("far off the globe", topic, placed(1e308, 30.69), R.BAD_POSITION, lon, says="±180")
    yield Case("axes swapped by range", topic, placed(30.6899, 121.0128), R.SWAPPED_AXES, lat, kind="swapped axes")
    if topic != "detections":
        yield Case("out of the city", topic, placed(116.4, 39.9), R.POSITION_OUT_OF_BOUNDS, lon, kind="out of the city")
        yield Case("zero, zero", topic, placed(0, 0), R.POSITION_OUT_OF_BOUNDS, lon, kind="out of the city")
        yield Case("an unknown system", topic, said(topic, crs="utm50"), R.UNKNOWN_CRS, "$.crs", says="gcj02")
        yield Case("a system in capitals", topic, said(topic, crs="WGS84"), R.UNKNOWN_CRS, "$.crs")


def long_texts(topic: str) -> Iterator[Case]:
    """Longer than a word can be."""
    long = "长" * 1025
    paths = {
        "camera.tracks": {"model": "$.model"}, "camera.events": {"label": "$.label", "code": "$.code"},
        "sensor.readings": {"value": "$.value", "unit": "$.unit", "status": "$.status"},
        "hotline.tickets": {name: f"$.{name}" for name in ("category", "urgency", "kind", "line", "caller")},
        "vehicle.positions": {"role": "$.role", "unit_id": "$.unit_id"},
        "dispatch.feedback": {"evidence": "$.evidence[0]"},
        "detections": {name: f"$.{name}" for name in ("zone", "area", "type", "value")},
    }.get(topic, {})  # fmt: skip
    for name, path in paths.items():
        body = said(topic, **{name: [long] if name == "evidence" else long})
        yield Case(f"a long {name}", topic, body, R.TOO_LARGE, path, says="found 1025", kind="huge string")
    if topic == "camera.tracks":
        for name in ("class", "role", "plate"):
            yield Case(f"a long {name}", topic, car(**{name: long}), R.TOO_LARGE, f"$.objects[0].{name}", says="1025",
                       kind="huge string")  # fmt: skip
            yield Case(f"a column with a long {name}", topic, table(**{name: [long]}), R.TOO_LARGE,
                       f"$.columns.{name}[0]", kind="huge string")  # fmt: skip
        looks = {"colour": long}
        yield Case("a long colour", topic, car(attributes=looks), R.TOO_LARGE, "$.objects[0].attributes.colour")
    if topic == "sensor.readings":
        yield Case("a long value in a list", topic, item(value=long), R.TOO_LARGE, "$.readings[1].value")
    if topic == "detections":
        many = {f"x{number}": "a" * 1000 for number in range(70)}
        yield Case("much of everything", topic, said(topic, attributes=many), R.TOO_LARGE, says="65536 bytes")
        yield Case("a long mask", topic, said(topic, attributes={"plate": {"mask": long}}), R.TOO_LARGE,
                   "$.attributes.plate.mask")  # fmt: skip
    if topic == "dispatch.feedback":
        yield Case("a note of 70,000", topic, said(topic, note="a" * 70_000), R.TOO_LARGE, says="65536 bytes")
        yield Case("a note of 60,000", topic, said(topic, feedback_id="x-9", note="a" * 60_000), None)
    if topic == "commands":
        yield Case("arguments of 70,000", topic, said(topic, args={"into": "a" * 70_000}), R.TOO_LARGE)
    if topic == "hotline.tickets":
        yield Case("an address of 900,000", topic, said(topic, ticket_id="x-8", address="路" * 300_000), None)


def of_topic(topic: str) -> Iterator[Case]:
    """What only this topic can have."""
    match topic:
        case "camera.tracks":
            yield from of_tracks(topic)
        case "camera.events":
            yield Case("neither label nor code", topic, said(topic, label=None, code=None), R.MISSING_FIELD, "$.label")
            yield Case("confidence below zero", topic, said(topic, confidence=-1), R.NEGATIVE_VALUE, "$.confidence",
                       kind="negative")  # fmt: skip
            yield Case("a stranger", topic, said(topic, sensor_id="stranger"), R.UNREGISTERED_SENSOR, "$.sensor_id")
        case "traffic.measurements":
            yield Case("no value", topic, said(topic, speed_kmh=None, flow_vph=None, occupancy_pct=None),
                       R.MISSING_FIELD, "$.speed_kmh", says="found none")  # fmt: skip
            yield Case("minus one", topic, said(topic, speed_kmh=-1), R.NEGATIVE_VALUE, "$.speed_kmh", kind="negative")
            yield Case("more than all", topic, said(topic, occupancy_pct=101), R.UNIT_MISMATCH, "$.occupancy_pct",
                       kind="wrong unit")  # fmt: skip
            yield Case("5000 digits", topic, raw(topic, "flow_vph", b"9" * 5000), R.NOT_FINITE, "$.flow_vph",
                       kind="5000-digit integer")  # fmt: skip
            yield Case("1e999", topic, raw(topic, "speed_kmh", b"1e999"), R.NOT_FINITE, "$.speed_kmh", kind="1e999")
            yield Case("a stranger", topic, said(topic, segment_id="stranger"), R.UNREGISTERED_SENSOR, "$.segment_id")
        case "sensor.readings":
            yield from of_readings(topic)
        case "hotline.tickets":
            yield Case(
                "error below zero", topic, said(topic, error_m=-1), R.NEGATIVE_VALUE, "$.error_m", kind="negative"
            )
            yield Case("a text that is a list", topic, said(topic, text=["a"]), R.WRONG_TYPE, "$.text")
            text = "1380000123" * 80_000
            yield Case("a text of digits", topic, said(topic, ticket_id="x-9", lon=None, lat=None, text=text), None,
                       kind="huge string")  # fmt: skip
            yield Case("a reach beyond the world", topic,
                       said(topic, ticket_id="x-10", category="噪音扰民", error_m=1e308), None)  # fmt: skip
        case "vehicle.positions":
            yield Case("no place", topic, said(topic, lon=None, lat=None), R.MISSING_FIELD, "$.lon", says="neither")
            yield Case("minus one", topic, said(topic, speed_mps=-1), R.NEGATIVE_VALUE, "$.speed_mps", kind="negative")
            yield Case("duty as a number", topic, said(topic, on_duty=1), R.WRONG_TYPE, "$.on_duty")
        case "dispatch.feedback":
            yield Case("an unknown action", topic, said(topic, action="done"), R.BAD_ENUM, "$.action", says="'done'",
                       kind="unknown enum")  # fmt: skip
            yield Case("evidence that is a number", topic, said(topic, evidence=[1]), R.WRONG_TYPE, "$.evidence[0]")
        case "commands":
            yield Case("an unknown command", topic, said(topic, command="explode"), R.BAD_ENUM, "$.command",
                       says="'explode'", kind="unknown enum")  # fmt: skip
            yield Case("until the year 9999", topic,
                       said(topic, command_id="x-9", args={"resolve_by": "9999-12-31T23:59:59Z"}), None)  # fmt: skip
            yield Case(
                "minutes beyond counting", topic, said(topic, command_id="x-10", args={"minutes": 10**300}), None
            )
            yield Case("a merge with itself", topic,
                       said(topic, command_id="x-11", command="merge", args={"into": INCIDENT}), None)  # fmt: skip
        case _:
            yield from of_detections(topic)


def of_tracks(topic: str) -> Iterator[Case]:
    yield Case("neither objects nor columns", topic, without(topic, "objects"), R.MISSING_FIELD, "$.objects")
    both = dump({**columns(SECOND), "objects": []})
    yield Case("objects and columns", topic, both, R.BAD_COLUMNS, "$.columns", says="both")
    yield Case("columns of two lengths", topic, table(speed_mps=[0.1, 0.2]), R.BAD_COLUMNS, "$.columns.speed_mps",
               says="found 2")  # fmt: skip
    yield Case("a column of 20,000", topic, table(plate=[None] * 20_000), R.BAD_COLUMNS, "$.columns.plate",
               says="20000", kind="huge array")  # fmt: skip
    yield Case("columns without ids", topic, table(track_id=None), R.BAD_COLUMNS, "$.columns.track_id")
    yield Case("a null among the ids", topic, table(track_id=[None]), R.MISSING_FIELD, "$.columns.track_id[0]")
    yield Case("a column that is a text", topic, table(lon="121"), R.WRONG_TYPE, "$.columns.lon")
    yield Case("a text among numbers", topic, table(lon=["121"]), R.WRONG_TYPE, "$.columns.lon[0]")
    yield Case("columns swapped by range", topic, table(lon=[30.69], lat=[121.01]), R.SWAPPED_AXES, "$.columns.lat[0]",
               kind="swapped axes")  # fmt: skip
    yield Case("columns out of the city", topic, table(lon=[116.4], lat=[39.9]), R.POSITION_OUT_OF_BOUNDS,
               "$.columns.lon[0]", kind="out of the city")  # fmt: skip
    yield Case("half a position in columns", topic, table(lat=[None]), R.BAD_POSITION, "$.columns.lat[0]")
    yield Case("a negative column", topic, table(speed_mps=[-1]), R.NEGATIVE_VALUE, "$.columns.speed_mps[0]",
               kind="negative")  # fmt: skip
    yield Case("an empty id in columns", topic, table(track_id=[""]), R.BAD_ID, "$.columns.track_id[0]")
    numbers = columns(SECOND)
    text = dump({**numbers, "columns": {**numbers["columns"], "lon": ["@"]}})
    yield Case("NaN in columns", topic, text.replace(b'"@"', b"NaN"), R.NOT_FINITE, "$.columns.lon[0]",
               kind="NaN or infinity")  # fmt: skip
    yield Case("5000 digits", topic, text.replace(b'"@"', b"9" * 5000), R.NOT_FINITE, "$.columns.lon[0]",
               kind="5000-digit integer")  # fmt: skip
    yield Case("minus one", topic, car(speed_mps=-1), R.NEGATIVE_VALUE, "$.objects[0].speed_mps", kind="negative")
    yield Case("an object that is null", topic, said(topic, objects=[None]), R.MISSING_FIELD, "$.objects[0]")
    yield Case("an object without an id", topic, said(topic, objects=[{"class": "car"}]), R.MISSING_FIELD,
               "$.objects[0].track_id")  # fmt: skip
    yield Case("a stranger", topic, said(topic, sensor_id="stranger"), R.UNREGISTERED_SENSOR, "$.sensor_id")
    crowd = [{"track_id": str(number)} for number in range(40_000)]
    yield Case("40,000 objects", topic, said(topic, objects=crowd), None, kind="huge array")


def of_readings(topic: str) -> Iterator[Case]:
    yield Case("no value", topic, without(topic, "value"), R.MISSING_FIELD, "$.value")
    yield Case("no readings", topic, dump({**readings(SECOND), "readings": []}), R.MISSING_FIELD, "$.readings[0]")
    yield Case("a null among readings", topic, dump({**readings(SECOND), "readings": [None]}), R.MISSING_FIELD,
               "$.readings[0]")  # fmt: skip
    yield Case("a list without a metric", topic, item(metric=None), R.MISSING_FIELD, "$.readings[1].metric")
    yield Case("a value that is a list", topic, item(value=[]), R.WRONG_TYPE, "$.readings[1].value")
    yield Case(
        "another unit", topic, said(topic, unit="m"), R.UNIT_MISMATCH, "$.unit", says="found m", kind="wrong unit"
    )
    yield Case("another unit in a list", topic, item(unit="inch"), R.UNIT_MISMATCH, "$.readings[1].unit",
               says="expected cm", kind="wrong unit")  # fmt: skip
    yield Case("a battery of 101", topic, said(topic, battery_pct=101), R.UNIT_MISMATCH, "$.battery_pct")
    yield Case("a battery below zero", topic, said(topic, battery_pct=-1), R.NEGATIVE_VALUE, "$.battery_pct",
               kind="negative")  # fmt: skip
    yield Case(
        "5000 digits", topic, raw(topic, "value", b"9" * 5000), R.NOT_FINITE, "$.value", kind="5000-digit integer"
    )
    yield Case("1e999", topic, raw(topic, "value", b"1e999"), R.NOT_FINITE, "$.value", kind="1e999")
    yield Case("a bad time in a list", topic, item(reading_time="07:10"), R.BAD_TIME, "$.readings[1].reading_time")
    yield Case("the future in a list", topic, item(reading_time=at_ms(SECOND + 200)), R.TIME_IN_FUTURE,
               "$.readings[1].reading_time")  # fmt: skip
    yield Case("an empty metric", topic, said(topic, metric=""), R.BAD_ID, "$.metric")
    yield Case("a stranger", topic, said(topic, device_id="stranger"), R.UNREGISTERED_SENSOR, "$.device_id")


def of_detections(topic: str) -> Iterator[Case]:
    yield Case("an unknown kind", topic, said(topic, kind="gone"), R.BAD_ENUM, "$.kind", says="'gone'",
               kind="unknown enum")  # fmt: skip
    yield Case("an unknown severity", topic, said(topic, severity="dire"), R.BAD_ENUM, "$.severity", says="critical",
               kind="unknown enum")  # fmt: skip
    yield Case("coverage below zero", topic, said(topic, coverage=-1), R.NEGATIVE_VALUE, "$.coverage", kind="negative")
    yield Case("held since before 1970", topic, said(topic, held_s=1e308), R.BAD_TIME, "$.held_s", says="since 1970")
    yield Case("a number to keep that is too large", topic, said(topic, attributes={"x": [10**30]}), R.NOT_FINITE,
               "$.attributes.x[0]", says="64 bits")  # fmt: skip
    yield Case("an offset that is too large", topic,
               said(topic, evidence=[{"topic": "camera.tracks", "partition": 0, "offset": 1 << 63}]), R.NOT_FINITE,
               "$.evidence[0].offset")  # fmt: skip
    yield Case("5000 digits", topic, raw(topic, "rule_revision", b"9" * 5000), R.NOT_FINITE, "$.rule_revision",
               kind="5000-digit integer")  # fmt: skip
    yield Case("1e999", topic, raw(topic, "held_s", b"1e999"), R.NOT_FINITE, "$.held_s", kind="1e999")
    yield Case("a key of numbers", topic, said(topic, key={"track_id": 1}), R.WRONG_TYPE, "$.key[...]")


@cache
def cases() -> tuple[Case, ...]:
    """All of them."""
    placed = (*FEEDS, "detections")
    return tuple(
        case
        for topic in TOPICS
        for part in (everywhere, *((positions,) if topic in placed else ()), long_texts, of_topic)
        for case in part(topic)
    )


NO_PLACE = "it says nothing of where something is"
OURS = "the Detectors write it, from records in which this was looked at"
NO_LIST = "none of its fields has a closed list of words, but for crs, which has a reason of its own"
NO_SOURCE = "what it comes from is not in the registry"
NO_UNIT = "none of its numbers has a unit that it could tell from another"
NEVER: dict[tuple[str, DeadReason], str] = {
    ("detections", R.TIME_IN_FUTURE): "ours, and the clock of a recording may be ahead of the broker's",
    ("detections", R.POSITION_OUT_OF_BOUNDS): OURS,
    ("detections", R.UNKNOWN_CRS): "published positions are WGS-84",
    ("detections", R.UNREGISTERED_SENSOR): OURS,
    **{
        (topic, reason): NO_PLACE
        for topic in ("dispatch.feedback", "commands")
        for reason in (R.BAD_POSITION, R.SWAPPED_AXES, R.POSITION_OUT_OF_BOUNDS, R.UNKNOWN_CRS)
    },
    **{(topic, R.NEGATIVE_VALUE): "it has no numbers that must not be" for topic in ("dispatch.feedback", "commands")},
    **{(topic, R.BAD_ENUM): NO_LIST for topic in FEEDS},
    **{(topic, R.BAD_COLUMNS): "only frames of cameras have columns" for topic in TOPICS if topic != "camera.tracks"},
    **{
        (topic, R.UNIT_MISMATCH): NO_UNIT
        for topic in TOPICS
        if topic not in ("traffic.measurements", "sensor.readings")
    },
    **{(topic, R.UNREGISTERED_SENSOR): NO_SOURCE for topic in TOPICS[5:]},
    **{(topic, R.INTERNAL): "a fault of ours, never of a record: test_internal plants one" for topic in TOPICS},
}  # fmt: skip
