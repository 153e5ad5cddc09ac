"""What the scanner takes, the reference takes too and says the same of it; and what it must take to be of use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta, timezone
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Texts, scalar
from models.decode import Decoder
from models.faults import FUTURE_US, MAX_BYTES, MAX_ID
from models.privacy import Tokens
from models.scanner import TOPICS, Scanned, ScannedColumns, Scanner
from models.streams import STREAMS
from models.times import EARLIEST_MS, EPOCH, LATEST_MS
from tests.models.samples import COLUMNAR, SAMPLES
from tests.support import ARRIVAL_MS, Record

pytest.importorskip("numba")

UNITS = {"water_level": "cm", "温度": "℃", "pm2.5": "µg/m³", "pm10": "µg/m³"}
TOKENS = Tokens(b"a key for tests")
DECODER = Decoder(TOKENS, UNITS)
SCANNERS = {topic: Scanner(topic, UNITS, TOKENS) for topic in TOPICS}
FRAME_MS = 1_772_406_600_000


def scan(topic: str, values: Sequence[bytes], arrival_ms: int = ARRIVAL_MS) -> Scanned:
    """Scanned, and held against the reference: rows, times, sightings, sources, natural keys, tokens and masks."""
    scanned = SCANNERS[topic].scan(values, np.full(len(values), arrival_ms * 1000, dtype=np.int64))
    taken = np.flatnonzero(scanned.taken).tolist()
    expected = DECODER.decode(topic, [Record(values[record], timestamp=arrival_ms) for record in taken])
    assert not expected.failed.any(), [values[taken[failure.record]] for failure in expected.failures]
    assert expected.unknown_fields == 0
    batch, other = scanned.batch, expected.batch
    columns = batch.columns
    assert isinstance(columns, ScannedColumns)
    assert batch.record.tolist() == [taken[record] for record in other.record]
    assert batch.time_us.tolist() == other.time_us.tolist()
    if topic == "camera.tracks":
        assert batch.seen_record.tolist() == [taken[record] for record in other.seen_record]
        assert batch.seen_time_us.tolist() == other.seen_time_us.tolist()
        assert scanned.natural is None
    else:
        assert batch.seen_record.tolist() == batch.record.tolist()
        assert batch.seen_time_us.tolist() == batch.time_us.tolist()
        assert scanned.natural is not None
        assert [scanned.natural.piece(record) for record in taken] == expected.natural_keys
    for name, field in STREAMS[topic].fields.items():
        ours, theirs = columns[name], other.columns[name]
        assert type(ours) is type(theirs)
        for row in range(len(other)):
            assert repr(scalar(ours, row)) == repr(scalar(theirs, row)), (name, values[int(batch.record[row])])
        spans = columns.spans_of(name)
        if field.kind == "text" and not field.tokenised:
            assert spans is not None
            assert [spans.piece(row) for row in range(len(other))] == [
                None if (word := scalar(theirs, row)) is None else str(word).encode() for row in range(len(other))
            ]
        else:
            assert spans is None
    assert batch.masks == {name: masks for name, masks in other.masks.items() if name in batch.masks}
    times = expected.record_time_us.tolist()
    for record in range(len(values)):
        good = bool(scanned.taken[record])
        assert int(scanned.record_time_us[record]) == (times.pop(0) if good else 0)
        source = scanned.source.piece(record)
        assert source == (json.loads(values[record])[STREAMS[topic].source].encode() if good else None)
    return scanned


def written(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def takes(topic: str, body: Any, **more: Any) -> bool:
    value = body if isinstance(body, bytes) else written(body)
    return bool(scan(topic, [value], **more).taken[0])


# ----------------------------------------------------------------------------------------------- good records are taken


def stamped(topic: str, **more: Any) -> dict[str, Any]:
    """A sample with its time in milliseconds, as most senders have it."""
    return {**SAMPLES[topic], STREAMS[topic].time: FRAME_MS, **more}


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"indent": "\t"}, {"sort_keys": True}])
def test_the_samples_are_taken_however_they_are_written(topic: str, style: dict[str, Any]) -> None:
    assert takes(topic, json.dumps(stamped(topic), ensure_ascii=False, **style).encode())


def test_frames_in_all_shapes() -> None:
    frames = [
        stamped("camera.tracks"),
        COLUMNAR,
        {"sensor_id": "a", "frame_time": 0, "objects": []},
        {"sensor_id": "a", "frame_time": 0, "objects": None, "columns": {"track_id": []}},
        {"sensor_id": "a", "frame_time": 0, "columns": None, "objects": [{"track_id": str(n)} for n in range(300)]},
        {
            "sensor_id": "b",
            "frame_time": 1,
            "columns": {"plate": None, "track_id": ["1", "2"], "attributes": [None, {}]},
        },
    ]
    values = [written(frame) for frame in frames]
    scanned = scan("camera.tracks", values)
    assert scanned.taken.all()
    assert np.bincount(scanned.batch.record).tolist() == [1, 2, 0, 0, 300, 2]


def test_many_small_objects_outgrow_the_tables() -> None:
    columns = {"track_id": [str(n % 10) for n in range(20_000)]}
    values = [
        json.dumps({"sensor_id": "a", "frame_time": n, "columns": columns}, separators=(",", ":")).encode()
        for n in (1, 2)
    ]
    fresh = Scanner("camera.tracks", {}, TOKENS)
    for _ in range(3):
        batch = fresh.scan(values, np.full(2, -1, dtype=np.int64)).batch
        track_id = batch.columns["track_id"]
        assert isinstance(track_id, Texts)
        assert batch.record.tolist() == [0] * 20_000 + [1] * 20_000
        assert [track_id.at(row) for row in (0, 19_999, 20_007, 39_999)] == ["0", "9", "7", "9"]


def test_rows_taken_from_a_batch_stay_lazy_and_true() -> None:
    values = []
    for n in range(3):
        seen = {"track_id": f"t{n}", "plate": f"浙F1234{n}", "lon": n, "lat": 1}
        values.append(written({"sensor_id": f"s{n}", "frame_time": n, "objects": [seen, {"track_id": f"u{n}"}]}))
    batch = scan("camera.tracks", values).batch
    fewer = batch.take(np.array([4, 1, 0])).without_records(np.array([True, False, False]))
    assert len(fewer) == 1
    columns: Any = fewer.columns
    assert columns["sensor_id"].at(0) == "s2"
    assert columns.spans_of("track_id").piece(0) == b"t2"
    assert columns["plate"].at(0) == TOKENS.token("plate", "浙F12342")
    assert fewer.masks["plate"][columns["plate"].codes[0]] == "浙F·**342"
    moved: Any = columns.with_ready({"lon": columns["lat"]})
    assert moved["lon"].values.tolist() == [1]
    assert moved.spans_of("sensor_id").piece(0) == b"s2"
    with pytest.raises(KeyError):
        columns["no such field"]


def test_a_batch_outlives_the_next_call() -> None:
    first = SCANNERS["camera.tracks"].scan([written(stamped("camera.tracks"))], np.array([-1]))
    SCANNERS["camera.tracks"].scan([written(COLUMNAR)], np.array([-1]))
    assert scalar(first.batch.columns["track_id"], 0) == "17"
    assert first.batch.numbers("lon").tolist() == [121.02]


def test_no_records_at_all() -> None:
    assert len(scan("camera.tracks", []).batch) == 0


def test_the_limits_are_those_of_the_reference() -> None:
    kernel = import_module("models.kernels.scan")
    assert (kernel.MAX_BYTES, kernel.MAX_ID, kernel.FUTURE_US) == (MAX_BYTES, MAX_ID, FUTURE_US)
    assert (EARLIEST_MS, kernel.LATEST_MS) == (0, LATEST_MS)


def test_only_four_topics() -> None:
    with pytest.raises(ValueError, match="hotline"):
        Scanner("hotline.tickets", {}, TOKENS)


# --------------------------------------------------------------------------------------------- edges, one after another


def event(**more: bytes) -> bytes:
    """An event of raw pieces of JSON, by name."""
    fields = {b"event_id": b'"e"', b"sensor_id": b'"s"', b"event_time": b"0", b"label": b'"l"'}
    fields |= {name.encode(): value for name, value in more.items()}
    return b"{" + b",".join(b'"' + name + b'":' + value for name, value in fields.items()) + b"}"


def with_number(text: str) -> bytes:
    return event(error_m=text.encode())


TAKEN_NUMBERS = [
    "0",
    "0.0",
    "10",
    "0.5",
    "123456789012345",
    "9007199254740991",
    "0.9007199254740991",
    "1.10",
    "5e-324"[:1],
    "0.123456789012345",
    "12345678.12345678",
    "1234567890.1",
    "1.000000000000000000"[:17],
    "7",
]
LEFT_NUMBERS = [
    "-0",
    "-0.0",
    "00",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "--1",
    "1e3",
    "1E3",
    "1e",
    "0x1",
    "1_0",
    "NaN",
    "Infinity",
    "9007199254740993",
    "12345678901234567890",
    "1" * 400,
    "0." + "0" * 19 + "1",
    "-1",
    "",
    "1 2",
    "1a",
    "tru",
    "nul",
    "nulll",
    '"1"',
    "true",
    "[1]",
    "1..2",
    "1.2.3",
]


@pytest.mark.parametrize("text", TAKEN_NUMBERS)
def test_numbers_that_are_taken(text: str) -> None:
    assert takes("camera.events", with_number(text))


@pytest.mark.parametrize("text", LEFT_NUMBERS)
def test_numbers_that_are_left(text: str) -> None:
    assert not takes("camera.events", with_number(text))


@given(st.lists(st.from_regex(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,19})?", fullmatch=True), min_size=1, max_size=40))
@settings(max_examples=60)
def test_every_number_is_the_nearest(texts: list[str]) -> None:
    scan("camera.events", [with_number(text) for text in texts])


@given(st.lists(st.floats(0, 1e15).map(lambda x: round(x, 7)) | st.floats(-180, 180), min_size=1, max_size=40))
def test_numbers_as_python_writes_them(values: list[float]) -> None:
    scan("camera.events", [event(error_m=b"%r" % abs(value), lon=b"%r" % (value % 180), lat=b"0") for value in values])


BAD_UTF8 = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff",
    b"\xc3",
    b"\xe4\xb8",
    b"\xf0\x9f\x98",
    b"\xe4\xb8a",
    b"\xf0\x9fa\x80",
    b"\xc3(",
    b"\xf0\x9f\x98\xc0",
]


@pytest.mark.parametrize("bad", BAD_UTF8)
@pytest.mark.parametrize("before", [b"", b"abc", b"abcdefg", b"\xe4\xb8\xad"])
def test_bad_utf8_is_left(bad: bytes, before: bytes) -> None:
    assert not takes("camera.events", event(label=b'"' + before + bad + b'"'))


@pytest.mark.parametrize(
    "text", ["\x7f", "é", "߿", "ࠀ", "中", "\ud7ff", "\ue000", "\uffff", "𐀀", "\U0010ffff", "", "a" * 500, "中" * 9]
)
def test_other_texts_are_taken(text: str) -> None:
    assert takes("camera.events", event(label=b'"' + text.encode() + b'"'))


@pytest.mark.parametrize("code", [*range(0x20), 0x5C])
@pytest.mark.parametrize("before", ["", "1234567", "12345678"])
def test_control_characters_and_escapes_are_left(code: int, before: str) -> None:
    assert not takes("camera.events", event(label=b'"%bn"' % (before + chr(code)).encode()))
    assert not takes("camera.events", event(event_id=b'"%bn"' % (before + chr(code)).encode()))


@pytest.mark.parametrize(
    ("text", "taken"),
    [("a" * 128, True), ("a" * 129, False), ("a" * 136, False), ("", False), (" ", True), ("~", True), ("\x7f", False),
     ("é", False), ("12345678\x7f", False), ("1234567", True), ("12345678", True)],
)  # fmt: skip
def test_ids(text: str, taken: bool) -> None:
    assert takes("camera.events", event(event_id=b'"%b"' % text.encode())) is taken
    frame = {"sensor_id": "s", "frame_time": 0, "objects": [{"track_id": text}]}
    assert takes("camera.tracks", frame) is taken
    assert takes("camera.tracks", {"sensor_id": "s", "frame_time": 0, "columns": {"track_id": [text]}}) is taken


@pytest.mark.parametrize(
    ("text", "taken"),
    [(b"0", True), (b"4102444800000", True), (b"4102444800001", False), (b"-1", False), (b"1.0", False),
     (b"1e3", False), (b"99999999999999", False), (b"01", False), (b"null", False), (b"true", False),
     ],
)  # fmt: skip
def test_times(text: bytes, taken: bool) -> None:
    assert takes("camera.events", event(event_time=text), arrival_ms=-1) is taken


STAMPS = [
    "2026-03-02T07:10:00+08:00", "2026-03-02t07:10:00z", "2026-03-02 07:10:00Z", "2026-03-02T07:10:00.5Z",
    "2026-03-02T07:10:00.123456789-03:30", "2026-03-02T07:10:00.1234567Z", "1970-01-01T00:00:00Z",
    "2000-02-29T23:59:59.999999Z", "2024-02-29T00:00:00Z", "2099-12-31T23:59:59Z", "1970-01-01T08:00:00+08:00",
]  # fmt: skip
LEFT_STAMPS = [
    "", "2026-03-02", "2026-03-02T07:10:00", "2026-03-02T07:10Z", "2026-03-02T07:10:00.Z",
    "2026-03-02T07:10:00.1234567890Z", "2026-03-02T07:10:00+0800", "2026-03-02T07:10:00+08",
    "2026-03-02T07:10:00+08:60", "2026-03-02T07:10:00+24:00", "2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
    "2026-03-02T24:00:00Z", "2026-03-02T07:60:00Z", "2026-03-02T07:10:60Z", "2026-03-02T07:10:00Zx",
    " 2026-03-02T07:10:00Z", "1970-01-01T07:59:59+08:00", "1969-12-31T23:59:59Z", "2100-01-01T00:00:00Z",
    "/026-03-02T07:10:00Z", "20:6-03-02T07:10:00Z", "2026/03/02T07:10:00Z", "2026-03-02X07:10:00Z",
    "2026-03-02T07.10.00Z", "1772406600000",
]  # fmt: skip


@pytest.mark.parametrize("stamp", STAMPS)
def test_stamps_that_are_taken(stamp: str) -> None:
    assert takes("camera.events", event(event_time=f'"{stamp}"'.encode()), arrival_ms=-1)


@pytest.mark.parametrize("stamp", LEFT_STAMPS)
def test_stamps_that_are_left(stamp: str) -> None:
    assert not takes("camera.events", event(event_time=f'"{stamp}"'.encode()), arrival_ms=-1)


def test_every_day_is_the_right_one() -> None:
    days = [date.fromordinal(number).isoformat() for number in range(719_163, 766_645, 13)]
    ends = [
        f"{year}-{month:02}-{day}"
        for year in (1970, 2000, 2023, 2024, 2099)
        for month in range(1, 13)
        for day in range(27, 33)
    ]
    scan("camera.events", [event(event_time=f'"{day}T00:00:00Z"'.encode()) for day in days + ends], arrival_ms=-1)


def test_a_time_may_be_two_minutes_ahead_of_the_arrival() -> None:
    assert takes("camera.events", event(event_time=b"%d" % (ARRIVAL_MS + 120_000)))
    assert not takes("camera.events", event(event_time=b"%d" % (ARRIVAL_MS + 120_001)))
    assert takes("camera.events", event(event_time=b"120000"), arrival_ms=0)
    assert not takes("camera.events", event(event_time=b"120001"), arrival_ms=0)
    assert takes("camera.events", event(event_time=b"120001"), arrival_ms=-1)


GOOD = event()
LEFT_RECORDS = [
    b"", b" ", b"{}", b"[]", b"null", b"1", b'"a"', GOOD + b"x", GOOD + b"\0", GOOD + GOOD, GOOD + b",",
    b"\xef\xbb\xbf" + GOOD,
    GOOD[:-1] + b",}", b"{," + GOOD[1:], b"[" + GOOD + b"]", GOOD.replace(b":", b"", 1), GOOD.replace(b",", b"", 1),
    GOOD.replace(b",", b",,", 1), GOOD.replace(b":", b"::", 1), GOOD + b"\x0b", GOOD.replace(b",", b",\x0c", 1),
    GOOD.replace(b"label", b"lab\\u0065l"), GOOD.replace(b"label", b"label "), GOOD.replace(b"label", b"label\0"),
    GOOD.replace(b'"label"', b"label"),
    GOOD.replace(b'"', b"'"), GOOD + b" " * (1 << 20), b"\xff" * 64,
]  # fmt: skip


@pytest.mark.parametrize("value", LEFT_RECORDS)
def test_what_is_no_such_record_is_left(value: bytes) -> None:
    assert takes("camera.events", GOOD)
    assert not takes("camera.events", value)


def test_the_largest_record() -> None:
    assert takes("camera.events", GOOD + b" " * ((1 << 20) - len(GOOD)))


FRAME = {"sensor_id": "s", "frame_time": 0}
ONE = {"track_id": "1"}


@pytest.mark.parametrize(
    ("topic", "body", "taken"),
    [
        ("camera.events", {"label": None}, False),
        ("camera.events", {"label": None, "code": "1"}, True),
        ("camera.events", {"label": ""}, True),
        ("camera.events", {"sensor_id": None}, False),
        ("camera.events", {"other": 1}, False),
        ("camera.events", {"crs": "wgs84"}, True),
        ("camera.events", {"crs": None}, True),
        ("camera.events", {"crs": "gcj02"}, False),
        ("camera.events", {"crs": "wgs84 "}, False),
        ("camera.events", {"lon": 1, "lat": 2}, True),
        ("camera.events", {"lon": 1}, False),
        ("camera.events", {"lon": 1, "lat": None}, False),
        ("camera.events", {"lon": 180, "lat": -90}, True),
        ("camera.events", {"lon": 180.1, "lat": 0}, False),
        ("camera.events", {"lon": 0, "lat": 90.5}, False),
        ("camera.events", {"confidence": -0.1}, False),
        ("camera.tracks", {"objects": [], "columns": {"track_id": []}}, False),
        ("camera.tracks", {}, False),
        ("camera.tracks", {"objects": None, "columns": None}, False),
        ("camera.tracks", {"objects": [{}]}, False),
        ("camera.tracks", {"objects": [None]}, False),
        ("camera.tracks", {"objects": [ONE, {"track_id": None}]}, False),
        ("camera.tracks", {"objects": [{**ONE, "heading_deg": -5}]}, True),
        ("camera.tracks", {"objects": [{**ONE, "speed_mps": -5}]}, False),
        ("camera.tracks", {"objects": [{**ONE, "lon": 5}]}, False),
        ("camera.tracks", {"objects": [{**ONE, "attributes": {"colour": None}}]}, True),
        ("camera.tracks", {"objects": [{**ONE, "attributes": {"colour": "red", "kind": "suv"}}]}, False),
        ("camera.tracks", {"objects": [{**ONE, "attributes": {"kind": "suv"}}]}, False),
        ("camera.tracks", {"objects": [{**ONE, "attributes": "red"}]}, False),
        ("camera.tracks", {"columns": {}}, False),
        ("camera.tracks", {"columns": {"track_id": None}}, False),
        ("camera.tracks", {"columns": {"lon": [1], "lat": [1]}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1", None]}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1", "2"], "class": ["car"]}}, False),
        ("camera.tracks", {"columns": {"class": ["car"], "track_id": ["1", "2"]}}, False),
        ("camera.tracks", {"columns": {"class": ["car", None], "track_id": ["1", "2"]}}, True),
        ("camera.tracks", {"columns": {"class": [], "track_id": ["1"]}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1"], "class": []}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1", "2"], "lon": [1, None], "lat": [1, None]}}, True),
        ("camera.tracks", {"columns": {"track_id": ["1", "2"], "lon": [1, None], "lat": [None, 1]}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1", "2"], "lon": [1, None]}}, False),
        ("camera.tracks", {"columns": {"track_id": ["1", "2"], "lon": [None, None]}}, True),
        ("traffic.measurements", {"flow_vph": 1}, True),
        ("traffic.measurements", {}, False),
        ("traffic.measurements", {"flow_vph": None, "occupancy_pct": 100}, True),
        ("traffic.measurements", {"occupancy_pct": 100.5}, False),
        ("traffic.measurements", {"flow_vph": 1, "lane": 0}, True),
        ("traffic.measurements", {"flow_vph": 1, "lane": 999_999_999}, True),
        ("traffic.measurements", {"flow_vph": 1, "lane": 1.5}, False),
        ("traffic.measurements", {"flow_vph": 1, "lane": -1}, False),
        ("sensor.readings", {"value": 5}, True),
        ("sensor.readings", {"value": True}, True),
        ("sensor.readings", {"value": False}, True),
        ("sensor.readings", {"value": "auto 中"}, True),
        ("sensor.readings", {"value": None}, False),
        ("sensor.readings", {"value": 5, "unit": "cm"}, True),
        ("sensor.readings", {"value": 5, "unit": "m"}, False),
        ("sensor.readings", {"value": 5, "unit": ""}, False),
        ("sensor.readings", {"value": 5, "metric": "pm2.5", "unit": "µg/m³"}, True),
        ("sensor.readings", {"value": 5, "metric": "pm2.5", "unit": "µg/m2"}, False),
        ("sensor.readings", {"value": 5, "metric": "pm10", "unit": "µg/m³"}, True),
        ("sensor.readings", {"value": 5, "metric": "other", "unit": "anything"}, True),
        ("sensor.readings", {"value": 5, "readings": None}, False),
        ("sensor.readings", {"value": 5, "battery_pct": 101}, False),
    ],
)
def test_what_fields_say(topic: str, body: dict[str, Any], taken: bool) -> None:
    least: dict[str, dict[str, Any]] = {
        "camera.events": {"event_id": "e", "sensor_id": "s", "event_time": 0, "label": "l"},
        "camera.tracks": FRAME,
        "traffic.measurements": {"segment_id": "a", "source": "b", "end_time": 5},
        "sensor.readings": {"device_id": "d", "metric": "water_level", "reading_time": 1},
    }
    assert takes(topic, {**least[topic], **body}) is taken


@pytest.mark.parametrize("topic", TOPICS)
def test_a_repeated_or_missing_field_is_left(topic: str) -> None:
    sample = stamped(topic)
    text = json.dumps(sample, ensure_ascii=False)[:-1]
    assert takes(topic, (text + "}").encode())
    for name, value in sample.items():
        assert not takes(topic, f"{text},{json.dumps(name)}:{json.dumps(value)}}}".encode())
        assert not takes(topic, f"{text},{json.dumps(name)}:null}}".encode())
        if name in ("sensor_id", "segment_id", "device_id", "metric", "value", "objects", STREAMS[topic].time):
            assert not takes(topic, {key: said for key, said in sample.items() if key != name})


@pytest.mark.parametrize("topic", TOPICS)
def test_a_record_cut_anywhere_is_left_and_its_neighbours_are_not(topic: str) -> None:
    bodies = [stamped(topic)] + ([COLUMNAR] if topic == "camera.tracks" else [])
    for body in bodies:
        value = json.dumps(body, ensure_ascii=False).encode()
        values = [value, *(part for end in range(len(value)) for part in (value[:end], value))]
        assert scan(topic, values).taken.tolist() == [True, *[False, True] * len(value)]


# -------------------------------------------------------------------------------------------------------- and by chance

WORDS = st.text(max_size=12) | st.sampled_from(["car", "浙F12345", "浙f·12345", "·", "white", "x" * 40])
NAMES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=20
)
AMOUNTS = st.integers(0, 100) | st.floats(0, 100).map(lambda x: round(x, 6)) | st.floats(0, 100)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.integers(0, ARRIVAL_MS).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
TIMES = st.integers(0, ARRIVAL_MS) | st.builds(lambda moment, zone: moment.astimezone(zone).isoformat(), MOMENTS, ZONES)


def some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with its fields in any order, the optional ones perhaps null or not there."""
    return st.fixed_dictionaries(required, optional={k: st.none() | v for k, v in optional.items()}).flatmap(
        lambda body: st.permutations(list(body.items())).map(dict)
    )


def placed(body: dict[str, Any]) -> dict[str, Any]:
    """A position is whole or not there."""
    if (body.get("lon") is None) != (body.get("lat") is None):
        body.pop("lon", None), body.pop("lat", None)
    if isinstance(body.get("lat"), float | int):
        body["lat"] = min(body["lat"], 90)
    return body


PLACE = {"lon": AMOUNTS, "lat": AMOUNTS, "error_m": AMOUNTS}
OBJECT = some(
    {"track_id": NAMES},
    {"class": WORDS, "confidence": AMOUNTS, "speed_mps": AMOUNTS, "heading_deg": AMOUNTS, "plate": WORDS, "role": WORDS,
     "attributes": some({}, {"colour": WORDS}), **PLACE},
).map(placed)  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> dict[str, Any]:
    optional = {"crs": st.just("wgs84"), "ptz_preset": AMOUNTS, "model": WORDS, "snapshot_ref": WORDS}
    head = draw(some({"sensor_id": NAMES, "frame_time": TIMES}, optional))
    objects = draw(st.lists(OBJECT, max_size=5))
    shape: dict[str, Any] = {"objects": objects}
    if draw(st.booleans()):
        fields = {"track_id"}.union(*objects)
        shape = {"columns": {name: [o.get(name) for o in objects] for name in draw(st.permutations(sorted(fields)))}}
    return {**head, **shape} if draw(st.booleans()) else {**shape, **head}


RECORDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "camera.tracks": frames(),
    "camera.events": some(
        {"event_id": NAMES, "sensor_id": NAMES, "event_time": TIMES, "label": WORDS},
        {"code": WORDS, "confidence": AMOUNTS, "crs": st.just("wgs84"), "snapshot_ref": WORDS, **PLACE},
    ).map(placed),
    "traffic.measurements": some(
        {"segment_id": NAMES, "source": NAMES, "end_time": TIMES, "flow_vph": AMOUNTS},
        {"period_s": AMOUNTS, "speed_kmh": AMOUNTS, "occupancy_pct": AMOUNTS, "sample_size": AMOUNTS, "lane": AMOUNTS,
         **PLACE},
    ).map(placed),
    "sensor.readings": some(
        {"device_id": NAMES, "metric": NAMES | st.sampled_from(list(UNITS)), "reading_time": TIMES,
         "value": AMOUNTS | st.booleans() | WORDS},
        {"unit": st.sampled_from([*UNITS.values(), "", "m"]), "status": WORDS, "battery_pct": AMOUNTS, **PLACE},
    ).map(placed),
}  # fmt: skip

STYLES: list[dict[str, Any]] = [{}, {"separators": (",", ":")}, {"indent": 1}, {"separators": (" ,\r\n", "\t: ")}]


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    topic = draw(st.sampled_from(TOPICS))
    bodies = draw(st.lists(RECORDS[topic], min_size=1, max_size=5))
    values = [json.dumps(body, ensure_ascii=draw(st.booleans()), **draw(st.sampled_from(STYLES))) for body in bodies]
    return topic, [value.encode("utf-8", "surrogatepass") for value in values]


@given(batches())
@settings(max_examples=250)
def test_good_records_by_chance(batch: tuple[str, list[bytes]]) -> None:
    scan(*batch)


PIECES = [
    *(bytes([sign]) for sign in b'"{}[],:0-.e\\\0 \n\x1f\xff'), b"\xc3\xa9", b"\xe4\xb8", b"null", b"true", b",null",
    b'""', b'"lon"', b'"objects":', b'"unit":"m",', b"9" * 16,
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    topic, values = draw(batches())
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.integers(0, len(values) - 1))
        value = values[number]
        start = draw(st.integers(0, len(value)))
        end = min(len(value), start + draw(st.integers(0, 3)))
        values[number] = value[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=2)) + value[end:]
    return topic, values


@given(spoilt())
@settings(max_examples=300)
def test_spoilt_records_by_chance(batch: tuple[str, list[bytes]]) -> None:
    scan(*batch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sensor_id", "objects", "columns", "track_id", "lon", "value", "x"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(TOPICS), st.lists(JSON, max_size=4))
def test_any_json_by_chance(topic: str, documents: list[Any]) -> None:
    scan(topic, [json.dumps(document).encode() for document in documents])


@given(
    st.sampled_from(TOPICS),
    st.sampled_from(["objects", "columns", None]),
    st.dictionaries(NAMES, JSON, max_size=2),
    st.data(),
)
def test_a_field_of_the_wrong_kind_by_chance(
    topic: str, inside: str | None, more: dict[str, Any], data: st.DataObject
) -> None:
    body = stamped(topic)
    if topic == "camera.tracks" and inside:
        body = {**FRAME, inside: [ONE] if inside == "objects" else {"track_id": ["1"]}}
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(JSON)
    scan(topic, [json.dumps({**body, **more}).encode()])
