"""Bytes to columns: the contract's samples, every reason for a dead letter, and what batching may not change."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import Texts, scalar
from models.decode import COUNTED_RECORDS, Decoded, Decoder
from models.detections import Detection
from models.dispatch import Command, Feedback
from models.faults import find_fault
from models.observations import DeadReason, DecodeFailure
from models.privacy import Tokens
from models.streams import STREAMS
from models.times import parse_time_us
from tests.models.samples import COLUMNAR, COMMAND, DETECTION, FEEDBACK, READING_LIST, SAMPLES
from tests.support import ARRIVAL_MS, Record, record

UNITS = {"water_level": "cm"}
TOKENS = Tokens(b"a key for tests")
DECODER = Decoder(TOKENS, UNITS)
FRAME_US = 1772406600000 * 1000


def decode(topic: str, *bodies: Any) -> Decoded:
    return DECODER.decode(topic, [b if isinstance(b, Record) else record(b) for b in bodies])


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    """Each row as a mapping, nulls left out, with its record and time."""
    batch = decoded.batch
    return [
        {
            "record": int(batch.record[i]),
            "time_us": int(batch.time_us[i]),
            "source": decoded.source.at(int(batch.record[i])),
        }
        | {name: value for name, column in batch.columns.items() if (value := scalar(column, i)) is not None}
        for i in range(len(batch))
    ]


def only_failure(topic: str, body: Any, **more: Any) -> DecodeFailure:
    decoded = DECODER.decode(topic, [record(body, **more)])
    assert len(decoded.failures) == 1
    assert decoded.failed.tolist() == [True]
    assert len(decoded.batch) == 0
    assert len(decoded.batch.seen_record) == 0
    assert decoded.natural_keys == [None]
    return decoded.failures[0]


def changed(topic: str, path: str, value: Any) -> dict[str, Any]:
    """A sample with one field set; `objects.0.lon` reaches inside."""
    body = copy.deepcopy(SAMPLES[topic])
    part: Any = body
    *way, last = path.split(".")
    for step in way:
        part = part[int(step)] if isinstance(part, list) else part[step]
    part[last] = value
    return body


# ------------------------------------------------------------------------------------------ the contract's samples


def test_a_frame_of_objects_becomes_rows() -> None:
    decoded = decode("camera.tracks", SAMPLES["camera.tracks"])
    assert not decoded.failures
    assert rows(decoded) == [
        {
            "record": 0,
            "time_us": FRAME_US,
            "source": "33048200001320000001",
            "sensor_id": "33048200001320000001",
            "track_id": "17",
            "class": "car",
            "role": "police",
            "model": "yolo-x/3",
            "confidence": 0.93,
            "speed_mps": 0.1,
            "heading_deg": 90.0,
            "ptz_preset": 1.0,
            "plate": TOKENS.token("plate", "浙F12345"),
            "colour": "white",
            "lon": 121.02,
            "lat": 30.69,
            "error_m": 1.5,
        }
    ]
    assert decoded.batch.masks == {"plate": ("浙F·**345",)}
    assert decoded.natural_keys == [f"33048200001320000001\x1f{FRAME_US}".encode()]
    assert decoded.record_time_us.tolist() == [FRAME_US]
    assert decoded.crs.at(0) == "wgs84"


def test_a_columnar_frame_is_the_same_as_one_of_objects() -> None:
    columns = COLUMNAR["columns"]
    objects = [{name: values[i] for name, values in columns.items()} for i in range(2)]
    as_objects = {k: v for k, v in COLUMNAR.items() if k != "columns"} | {"objects": objects}
    one, other = decode("camera.tracks", COLUMNAR), decode("camera.tracks", as_objects)
    assert rows(one) == rows(other)
    assert len(rows(one)) == 2
    assert one.natural_keys == other.natural_keys
    assert one.columnar.tolist() == [True]
    assert other.columnar.tolist() == [False]
    assert one.path_of(1, "lon") == "$.columns.lon[1]"
    assert other.path_of(1, "lon") == "$.objects[1].lon"


def test_frames_of_both_forms_keep_their_order() -> None:
    frame = SAMPLES["camera.tracks"]
    empty = {"sensor_id": "c", "frame_time": 1, "objects": []}
    decoded = decode("camera.tracks", frame, COLUMNAR, empty, frame, COLUMNAR)
    assert [(row["record"], row["track_id"]) for row in rows(decoded)] == [
        (0, "17"),
        (1, "17"),
        (1, "18"),
        (3, "17"),
        (4, "17"),
        (4, "18"),
    ]


@pytest.mark.parametrize("body", [{"objects": []}, {"columns": {"track_id": []}}])
def test_a_frame_without_objects_is_seen_and_empty(body: dict[str, Any]) -> None:
    decoded = decode("camera.tracks", {"sensor_id": "c-1", "frame_time": 1772406600000} | body)
    assert not decoded.failures
    assert len(decoded.batch) == 0
    assert decoded.batch.seen_record.tolist() == [0]
    assert decoded.batch.seen_time_us.tolist() == [FRAME_US]
    assert decoded.source.at(0) == "c-1"
    assert decoded.record_time_us.tolist() == [FRAME_US]


def test_a_camera_event() -> None:
    decoded = decode("camera.events", SAMPLES["camera.events"])
    (row,) = rows(decoded)
    assert row["time_us"] == parse_time_us("2026-03-02T07:10:00+08:00")
    assert (row["event_id"], row["label"], row["code"], row["confidence"]) == ("e-81", "cover_missing", "01", 0.88)
    assert decoded.natural_keys == [b"e-81"]


def test_a_traffic_measurement() -> None:
    decoded = decode("traffic.measurements", SAMPLES["traffic.measurements"])
    (row,) = rows(decoded)
    assert row["source"] == "loop-7"  # the field, beside the batch's own source
    assert decoded.source.at(0) == "danghu-rd-01"
    assert (row["speed_kmh"], row["flow_vph"], row["occupancy_pct"], row["sample_size"]) == (31.5, 720, 14.2, 12)
    assert (row["period_s"], row["lane"]) == (60, 1)
    assert decoded.natural_keys == [f"danghu-rd-01\x1floop-7\x1f1.0\x1f{1772406660000000}".encode()]


def test_a_ticket_has_no_caller_and_no_numbers_in_its_text() -> None:
    body = SAMPLES["hotline.tickets"] | {
        "text": "浙F·12345挡路，请回电１３８００００１２３４",
        "address": "0573-85012345旁",
    }
    decoded = decode("hotline.tickets", body)
    (row,) = rows(decoded)
    assert row["caller"] == TOKENS.token("caller", "13800001234")
    assert decoded.batch.masks["caller"] == ("138****1234",)
    assert row["text"] == "浙F·**345挡路，请回电138****1234"
    assert row["address"] == "057*****2345旁"
    assert "lon" not in row


def test_a_reading() -> None:
    decoded = decode("sensor.readings", SAMPLES["sensor.readings"])
    (row,) = rows(decoded)
    assert (row["metric"], row["value"], row["unit"], row["battery_pct"], row["status"]) == (
        "water_level",
        12.5,
        "cm",
        81,
        "ok",
    )
    assert decoded.natural_keys == [f"w-12\x1fwater_level\x1f{FRAME_US}".encode()]


def test_a_list_of_readings_among_single_ones() -> None:
    decoded = decode("sensor.readings", SAMPLES["sensor.readings"], READING_LIST, SAMPLES["sensor.readings"])
    got = [(row["record"], row["metric"], row["value"], row["time_us"]) for row in rows(decoded)]
    assert got == [
        (0, "water_level", 12.5, FRAME_US),
        (1, "water_level", 12.5, FRAME_US),
        (1, "pump", True, FRAME_US + 1_000_000),
        (1, "mode", "auto", FRAME_US + 2_000_000),
        (2, "water_level", 12.5, FRAME_US),
    ]
    assert decoded.record_time_us.tolist() == [FRAME_US, FRAME_US + 2_000_000, FRAME_US]
    assert decoded.batch.seen_record.tolist() == [0, 1, 1, 1, 2]
    assert decoded.natural_keys[0] == decoded.natural_keys[2] != decoded.natural_keys[1]


def test_a_vehicle() -> None:
    decoded = decode("vehicle.positions", SAMPLES["vehicle.positions"])
    (row,) = rows(decoded)
    assert (row["role"], row["unit_id"], row["on_duty"], row["speed_mps"]) == ("ambulance", "u-120-03", True, 14.0)
    assert decoded.natural_keys == [f"120-03\x1f{FRAME_US}".encode()]


@pytest.mark.parametrize("topic", SAMPLES)
def test_every_column_of_the_schema_is_there_even_without_a_row(topic: str) -> None:
    for decoded in (decode(topic), decode(topic, b""), decode(topic, SAMPLES[topic])):
        assert list(decoded.batch.columns) == list(STREAMS[topic].fields)
        for name, field in STREAMS[topic].fields.items():
            kind = type(decoded.batch.columns[name]).__name__
            assert kind == {"number": "Numbers", "text": "Texts", "flag": "Flags", "mixed": "Mixed"}[field.kind]


# --------------------------------------------------------------------------------------------------- reasons and paths

R = DeadReason
T = "camera.tracks"
DEEP = b'{"sensor_id":"c","frame_time":1,"objects":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_65 = b'{"sensor_id":"c","frame_time":1,"objects":[],"x":' + b"[" * 64 + b"]" * 64 + b"}"
BAD: list[tuple[str, Any, DeadReason, str]] = [
    (T, b"", R.EMPTY, "$"),
    (T, None, R.TOMBSTONE, "$"),
    (T, b'{"sensor_id":"\xff"}', R.NOT_UTF8, "$"),
    (T, b'{"sensor_id":"c","frame_time":1,"objects":[],"x":"\xff"}', R.NOT_UTF8, "$"),
    (T, b"{", R.NOT_JSON, "$"),
    (T, b"   ", R.NOT_JSON, "$"),
    (T, b'\xef\xbb\xbf{"sensor_id":"c","frame_time":1,"objects":[]}', R.NOT_JSON, "$"),
    (T, b'{"sensor_id":"c","frame_time":1,"objects":[]} {}', R.NOT_JSON, "$"),
    (T, b'{"sensor_id":"\\ud800","frame_time":1,"objects":[]}', R.NOT_JSON, "$"),
    (T, b"[]", R.NOT_AN_OBJECT, "$"),
    (T, b"null", R.NOT_AN_OBJECT, "$"),
    (T, b'"text"', R.NOT_AN_OBJECT, "$"),
    (T, b'{"x":"' + b"a" * (1 << 20) + b'"}', R.TOO_LARGE, "$"),
    (T, DEEP, R.TOO_DEEP, "$"),
    (T, DEEP_65, R.TOO_DEEP, "$"),
    (T, {"frame_time": 1, "objects": []}, R.MISSING_FIELD, "$.sensor_id"),
    (T, {"sensor_id": None, "frame_time": 1, "objects": []}, R.MISSING_FIELD, "$.sensor_id"),
    (T, {"sensor_id": "c", "objects": []}, R.MISSING_FIELD, "$.frame_time"),
    (T, {"sensor_id": "c", "frame_time": 1}, R.MISSING_FIELD, "$.objects"),
    (T, changed(T, "objects", [{"class": "car"}]), R.MISSING_FIELD, "$.objects[0].track_id"),
    (T, changed(T, "sensor_id", 5), R.WRONG_TYPE, "$.sensor_id"),
    (T, changed(T, "objects.0.lon", "121"), R.WRONG_TYPE, "$.objects[0].lon"),
    (T, changed(T, "objects.0.speed_mps", True), R.WRONG_TYPE, "$.objects[0].speed_mps"),
    (T, changed(T, "objects.0.track_id", 17), R.WRONG_TYPE, "$.objects[0].track_id"),
    (T, changed(T, "objects", {}), R.WRONG_TYPE, "$.objects"),
    (T, changed(T, "frame_time", True), R.WRONG_TYPE, "$.frame_time"),
    (T, changed(T, "objects.0.lon", float("nan")), R.NOT_FINITE, "$.objects[0].lon"),
    (T, changed(T, "objects.0.lon", float("-inf")), R.NOT_FINITE, "$.objects[0].lon"),
    (T, b'{"sensor_id":"c","frame_time":1,"objects":[{"track_id":"1","lat":1e999}]}', R.NOT_FINITE, "$.objects[0].lat"),
    (T, b'{"sensor_id":"c","frame_time":1,"objects":[{"track_id":"1","lat":%s}]}' % (b"9" * 5000), R.NOT_FINITE,
     "$.objects[0].lat"),
    (T, b'{"sensor_id":"c","frame_time":1e999,"objects":[]}', R.NOT_FINITE, "$.frame_time"),
    (T, b'{"sensor_id":"c","frame_time":%s,"objects":[]}' % (b"9" * 5000), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", 2**53), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", 10**30), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", -1), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", 1772406600000.5), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", "2026-03-02T07:10:00"), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", "1772406600000"), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", "2026-02-30T07:10:00Z"), R.BAD_TIME, "$.frame_time"),
    (T, changed(T, "frame_time", ARRIVAL_MS + 120_001), R.TIME_IN_FUTURE, "$.frame_time"),
    (T, changed(T, "objects.0.lon", 180.5), R.BAD_POSITION, "$.objects[0].lon"),
    (T, changed(T, "objects.0.lat", -200), R.BAD_POSITION, "$.objects[0].lat"),
    (T, changed(T, "objects.0.lat", None), R.BAD_POSITION, "$.objects[0].lat"),
    (T, changed(T, "objects", [{"track_id": "1", "lon": 30.69, "lat": 121.02}]), R.SWAPPED_AXES, "$.objects[0].lat"),
    (T, changed(T, "crs", "wgs-84"), R.UNKNOWN_CRS, "$.crs"),
    (T, changed(T, "objects.0.error_m", -1), R.NEGATIVE_VALUE, "$.objects[0].error_m"),
    (T, changed(T, "objects.0.confidence", -1), R.NEGATIVE_VALUE, "$.objects[0].confidence"),
    (T, changed(T, "sensor_id", ""), R.BAD_ID, "$.sensor_id"),
    (T, changed(T, "sensor_id", "a\u0000b"), R.BAD_ID, "$.sensor_id"),
    (T, changed(T, "objects.0.track_id", "x" * 129), R.BAD_ID, "$.objects[0].track_id"),
    (T, COLUMNAR | {"columns": COLUMNAR["columns"] | {"lat": [30.69]}}, R.BAD_COLUMNS, "$.columns.lat"),
    (T, COLUMNAR | {"columns": COLUMNAR["columns"] | {"class": ["car"]}}, R.BAD_COLUMNS, "$.columns.class"),
    (T, COLUMNAR | {"columns": {"lon": [1.0]}}, R.BAD_COLUMNS, "$.columns.track_id"),
    (T, COLUMNAR | {"columns": {"track_id": None}}, R.BAD_COLUMNS, "$.columns.track_id"),
    (T, COLUMNAR | {"objects": []}, R.BAD_COLUMNS, "$.columns"),
    (T, COLUMNAR | {"columns": COLUMNAR["columns"] | {"lat": [30.69, 91]}}, R.BAD_POSITION, "$.columns.lat[1]"),
    (T, COLUMNAR | {"columns": COLUMNAR["columns"] | {"lat": [30.69, "x"]}}, R.WRONG_TYPE, "$.columns.lat[1]"),
    ("camera.events", changed("camera.events", "event_id", None), R.MISSING_FIELD, "$.event_id"),
    ("camera.events", SAMPLES["camera.events"] | {"label": None, "code": None}, R.MISSING_FIELD, "$.label"),
    ("camera.events", changed("camera.events", "event_id", "e\n1"), R.BAD_ID, "$.event_id"),
    ("traffic.measurements", {"segment_id": "s", "source": "l", "end_time": 1}, R.MISSING_FIELD, "$.speed_kmh"),
    ("traffic.measurements", changed("traffic.measurements", "flow_vph", -1), R.NEGATIVE_VALUE, "$.flow_vph"),
    ("traffic.measurements", changed("traffic.measurements", "period_s", -60), R.NEGATIVE_VALUE, "$.period_s"),
    ("traffic.measurements", changed("traffic.measurements", "sample_size", -1), R.NEGATIVE_VALUE, "$.sample_size"),
    ("traffic.measurements", changed("traffic.measurements", "occupancy_pct", 101), R.UNIT_MISMATCH, "$.occupancy_pct"),
    ("sensor.readings", changed("sensor.readings", "unit", "mm"), R.UNIT_MISMATCH, "$.unit"),
    ("sensor.readings", changed("sensor.readings", "value", None), R.MISSING_FIELD, "$.value"),
    ("sensor.readings", changed("sensor.readings", "value", [1]), R.WRONG_TYPE, "$.value"),
    ("sensor.readings", changed("sensor.readings", "metric", ""), R.BAD_ID, "$.metric"),
    ("sensor.readings", {"device_id": "w", "readings": []}, R.MISSING_FIELD, "$.readings[0]"),
    ("sensor.readings", {"device_id": "w", "readings": [{"metric": "m", "value": 1}]}, R.MISSING_FIELD,
     "$.readings[0].reading_time"),
    ("sensor.readings", READING_LIST | {"readings": [*READING_LIST["readings"],
     {"metric": "water_level", "value": 1, "unit": "m", "reading_time": 1}]}, R.UNIT_MISMATCH, "$.readings[3].unit"),
    ("hotline.tickets", changed("hotline.tickets", "call_time", "today"), R.BAD_TIME, "$.call_time"),
    ("hotline.tickets", changed("hotline.tickets", "lon", 121.0), R.BAD_POSITION, "$.lat"),
    ("vehicle.positions", {"vehicle_id": "v", "time": 1}, R.MISSING_FIELD, "$.lon"),
    ("vehicle.positions", {"vehicle_id": "v", "time": 1, "lon": 3}, R.BAD_POSITION, "$.lat"),
    ("vehicle.positions", changed("vehicle.positions", "on_duty", 1), R.WRONG_TYPE, "$.on_duty"),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "body", "reason", "path"), BAD)
def test_a_bad_record_has_one_reason_and_the_path_of_the_bad_value(
    topic: str, body: Any, reason: DeadReason, path: str
) -> None:
    failure = only_failure(topic, body)
    assert (failure.reason, failure.path) == (reason, path)
    assert failure.stage == "decode"
    assert "expected" in failure.detail
    assert "found" in failure.detail
    assert len(failure.detail) < 200


def test_bad_records_leave_their_neighbours_alone() -> None:
    bad = [body for topic, body, _, _ in BAD if topic == T]
    bodies: list[Any] = [COLUMNAR]
    for number, body in enumerate(bad):
        bodies += [body, changed(T, "objects.0.track_id", str(number))]
    decoded = decode(T, *bodies)
    assert [failure.record for failure in decoded.failures] == list(range(1, len(bodies), 2))
    assert [failure.reason for failure in decoded.failures] == [reason for topic, _, reason, _ in BAD if topic == T]
    assert [row["track_id"] for row in rows(decoded)] == ["17", "18", *map(str, range(len(bad)))]
    assert [row["record"] for row in rows(decoded)] == [0, 0, *range(2, len(bodies), 2)]
    assert decoded.failed.tolist() == [False, *(i % 2 == 0 for i in range(2 * len(bad)))]
    good = [key for key, failed in zip(decoded.natural_keys, decoded.failed, strict=True) if not failed]
    assert None not in good


def test_a_stamp_exactly_two_minutes_ahead_is_still_good() -> None:
    assert not decode(T, changed(T, "frame_time", ARRIVAL_MS + 120_000)).failures


def test_without_an_arrival_time_no_stamp_is_in_the_future() -> None:
    decoded = decode(T, record(changed(T, "frame_time", ARRIVAL_MS + 999_999), timestamp=-1))
    assert not decoded.failures


def test_64_levels_are_good_and_brackets_in_texts_do_not_count() -> None:
    levels = b'{"sensor_id":"c","frame_time":1,"objects":[],"x":' + b"[" * 63 + b"]" * 63 + b"}"
    in_text = b'{"sensor_id":"c","frame_time":1,"objects":[],"x":"' + b"[{" * 100 + rb"\"" + b'["}'
    assert not decode(T, levels, in_text).failures


def test_the_last_of_repeated_keys_wins() -> None:
    decoded = decode(T, b'{"sensor_id":"a","sensor_id":"b","frame_time":1,"objects":[]}')
    assert decoded.source.at(0) == "b"


def test_a_detail_never_quotes_what_could_be_personal() -> None:
    plate, phone = "浙F12345", "13800001234"
    bodies = [
        (T, changed(T, "frame_time", plate)),
        (T, changed(T, "crs", phone)),
        (T, changed(T, "sensor_id", phone * 20)),
        ("sensor.readings", changed("sensor.readings", "unit", phone + plate)),
        ("hotline.tickets", changed("hotline.tickets", "call_time", phone)),
    ]
    for topic, body in bodies:
        failure = only_failure(topic, body)
        assert plate not in failure.detail
        assert phone not in failure.detail


# ------------------------------------------------------------------------------------------------- keys, extras, tokens


def test_cloudevents_headers_are_the_key_where_both_are_sent() -> None:
    body = SAMPLES["camera.events"]
    both = record(body, headers=(("ce_id", b"1"), ("ce_source", b"box")))
    one = record(body, headers=(("ce_id", b"1"),))
    shifted = record(body, headers=(("ce_id", b"x1"), ("ce_source", b"bo")))
    keys = decode("camera.events", both, one, body, shifted).natural_keys
    assert keys[1] == keys[2] == b"e-81"
    assert len({keys[0], keys[2], keys[3]}) == 3


def test_one_stamp_written_in_two_ways_is_one_key() -> None:
    one, other = changed(T, "frame_time", 1772406600000), changed(T, "frame_time", "2026-03-01T23:10:00Z")
    keys = decode(T, one, other).natural_keys
    assert keys[0] == keys[1]


def test_a_changed_ticket_is_an_update_and_the_same_one_a_duplicate() -> None:
    ticket = SAMPLES["hotline.tickets"]
    keys = decode("hotline.tickets", ticket, ticket, ticket | {"text": "水退了"}).natural_keys
    assert keys[0] == keys[1] != keys[2]


def test_a_long_list_of_readings_has_a_short_key() -> None:
    items = [{"metric": f"m{i}", "value": i, "reading_time": 1} for i in range(500)]
    keys = decode("sensor.readings", {"device_id": "w", "readings": items}).natural_keys
    assert keys[0] is not None
    assert len(keys[0]) == 16


def test_unknown_fields_are_ignored_and_counted_at_every_level() -> None:
    body = copy.deepcopy(SAMPLES[T]) | {"x": {"y": 1}}
    body["objects"][0] |= {"z": 1}
    body["objects"][0]["attributes"] |= {"brand": "x"}
    decoded = decode(T, body, SAMPLES[T])
    assert not decoded.failures
    assert decoded.unknown_fields == 3
    first, second = rows(decoded)
    assert first | {"record": 1} == second


@pytest.mark.parametrize("odd", [b"1e999", b"9" * 5000, b"[" * 60 + b"]" * 60, b'{"x":1}'])
def test_what_an_unknown_field_holds_does_not_matter(odd: bytes) -> None:
    decoded = decode(T, b'{"sensor_id":"c","frame_time":1,"objects":[],"x":' + odd + b"}")
    assert not decoded.failures
    assert decoded.unknown_fields == 1


def test_many_records_with_unknown_fields_are_counted_up_to_a_limit_and_all_decoded() -> None:
    decoded = decode(T, *[SAMPLES[T] | {"x": 1}] * (COUNTED_RECORDS + 5), b'{"x":[]}', SAMPLES[T])
    assert len(rows(decoded)) == COUNTED_RECORDS + 6
    assert decoded.unknown_fields == COUNTED_RECORDS
    assert [failure.reason for failure in decoded.failures] == [R.MISSING_FIELD]


def test_one_plate_written_in_two_ways_is_one_token() -> None:
    body = copy.deepcopy(SAMPLES[T])
    first = body["objects"][0]
    body["objects"] = [first | {"plate": p} for p in ("浙F12345", "浙f·１２３４５", None, " ", "浙F54321")]
    decoded = decode(T, body)
    plates = decoded.batch.columns["plate"]
    assert isinstance(plates, Texts)
    assert plates.codes.tolist() == [0, 0, -1, -1, 1]
    assert decoded.batch.masks["plate"] == ("浙F·**345", "浙F·**321")
    assert "12345" not in str(decoded)


# ----------------------------------------------------------------------------------------------------- what must hold


def flat(decoded: Decoded, first: int = 0) -> list[dict[str, Any]]:
    return [row | {"record": row["record"] + first} for row in rows(decoded)]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes | None]:
    """A good record of some feed with one thing made odd, or not."""
    topic = draw(st.sampled_from(list(SAMPLES)))
    body: Any = copy.deepcopy(SAMPLES[topic])
    if topic == T and draw(st.booleans()):
        body = copy.deepcopy(COLUMNAR)
    if topic == "sensor.readings" and draw(st.booleans()):
        body = copy.deepcopy(READING_LIST)
    for _ in range(draw(st.integers(0, 2))):
        part = body
        while True:
            steps = list(part) if isinstance(part, dict) else list(range(len(part)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            if isinstance(part[step], dict | list) and draw(st.booleans()):
                part = part[step]
                continue
            if isinstance(part, dict) and draw(st.booleans()):
                del part[step]
            else:
                part[step] = draw(ANY)
            break
    text = json.dumps(body).encode()
    match draw(st.integers(0, 20)):
        case 0:
            return topic, text[: draw(st.integers(0, len(text)))]
        case 1:
            at = draw(st.integers(0, len(text) - 1))
            return topic, text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]
    return topic, text


@settings(max_examples=300)
@given(mutated())
def test_the_fast_and_the_careful_reading_agree(case: tuple[str, bytes | None]) -> None:
    topic, value = case
    decoded = decode(topic, value)
    fault = find_fault(topic, value, ARRIVAL_MS * 1000, UNITS)
    assert [(f.reason, f.path) for f in decoded.failures] == ([] if fault is None else [(fault.reason, fault.path)])


@settings(max_examples=100)
@given(st.lists(mutated(), max_size=6))
def test_one_by_one_is_the_same_as_together(cases: list[tuple[str, bytes | None]]) -> None:
    for topic in {topic for topic, _ in cases}:
        values = [value for of, value in cases if of == topic]
        together = decode(topic, *values)
        singly = [decode(topic, value) for value in values]
        assert flat(together) == [row for i, one in enumerate(singly) for row in flat(one, i)]
        assert together.natural_keys == [key for one in singly for key in one.natural_keys]
        assert together.record_time_us.tolist() == [t for one in singly for t in one.record_time_us.tolist()]
        assert [f._replace(record=0) for f in together.failures] == [f for one in singly for f in one.failures]
        seen = zip(together.batch.seen_record.tolist(), together.batch.seen_time_us.tolist(), strict=True)
        assert list(seen) == [(i, t) for i, one in enumerate(singly) for t in one.batch.seen_time_us.tolist()]


@given(st.binary(max_size=200))
def test_no_bytes_stop_the_decoder(value: bytes) -> None:
    for topic in SAMPLES:
        decoded = decode(topic, value)
        assert len(decoded.failures) == 1
        assert decoded.failures[0].reason is not R.INTERNAL


def test_rows_stay_aligned_when_many_records_come_at_once() -> None:
    bodies = [changed(T, "frame_time", 1772406600000 + i) for i in range(1000)]
    decoded = decode(T, *bodies)
    assert decoded.batch.record.tolist() == list(range(1000))
    assert np.array_equal(decoded.batch.time_us, FRAME_US + 1000 * np.arange(1000))


# --------------------------------------------------------------------------------------------------- the Desk's topics


def test_feedback_command_and_detection() -> None:
    feedback = DECODER.decode_feedback(record(FEEDBACK | {"note": "已劝离，车主13800001234"}))
    command = DECODER.decode_command(record(COMMAND))
    detection = DECODER.decode_detection(record(DETECTION))
    assert isinstance(feedback, Feedback)
    assert feedback.note == "已劝离，车主138****1234"
    assert isinstance(command, Command)
    assert command.args == {"cause": "shadow"}
    assert isinstance(detection, Detection)
    assert detection.evidence[0].offset == 88123


@pytest.mark.parametrize(
    ("body", "reason", "path"),
    [
        (FEEDBACK | {"action": "done"}, R.BAD_ENUM, "$.action"),
        (FEEDBACK | {"action": 3}, R.WRONG_TYPE, "$.action"),
        (FEEDBACK | {"time": "soon"}, R.BAD_TIME, "$.time"),
        (FEEDBACK | {"time": ARRIVAL_MS + 120_001}, R.TIME_IN_FUTURE, "$.time"),
        (FEEDBACK | {"feedback_id": ""}, R.BAD_ID, "$.feedback_id"),
        ({k: v for k, v in FEEDBACK.items() if k != "actor"}, R.MISSING_FIELD, "$.actor"),
        (b"", R.EMPTY, "$"),
        (None, R.TOMBSTONE, "$"),
        (b"[1,", R.NOT_JSON, "$"),
        (DEEP, R.TOO_DEEP, "$"),
    ],
)
def test_bad_feedback(body: Any, reason: DeadReason, path: str) -> None:
    failure = DECODER.decode_feedback(record(body), 4)
    assert isinstance(failure, DecodeFailure)
    assert (failure.record, failure.reason, failure.path) == (4, reason, path)


def test_an_unknown_command_is_named_and_a_strange_text_is_not() -> None:
    named = DECODER.decode_command(record(COMMAND | {"command": "explode"}))
    hidden = DECODER.decode_command(record(COMMAND | {"command": "浙F12345"}))
    assert isinstance(named, DecodeFailure)
    assert isinstance(hidden, DecodeFailure)
    assert named.reason is hidden.reason is R.BAD_ENUM
    assert "'explode'" in named.detail
    assert "浙" not in hidden.detail
