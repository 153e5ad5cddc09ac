"""Golden samples both ways: the published schema takes each, and so does our decoder; what is wrong, neither."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from models.contracts import CONTRACTS
from models.observations import DeadReason, DecodeFailure
from tests.contracts.judging import SAMPLES, objections, refusal, samples
from tests.models.samples import COLUMNAR, COMMAND, DETECTION, FEEDBACK, READING_LIST
from tests.models.samples import SAMPLES as EXAMPLES

GOLDEN = [(topic, path.stem, body) for topic in CONTRACTS for path, body in samples(topic)]


def test_every_topic_has_its_example_and_no_other_has_samples() -> None:
    assert {topic for topic, name, _ in GOLDEN if name == "example"} == set(CONTRACTS)
    assert {path.name for path in SAMPLES.iterdir()} == set(CONTRACTS)


@pytest.mark.parametrize(("topic", "body"), [(t, b) for t, _, b in GOLDEN], ids=[f"{t}/{n}" for t, n, _ in GOLDEN])
def test_a_golden_sample_is_taken_by_schema_and_decoder(topic: str, body: dict[str, Any]) -> None:
    assert objections(topic, body) == []
    assert refusal(topic, body) is None


FRAME, READING = EXAMPLES["camera.tracks"], EXAMPLES["sensor.readings"]
GONE = object()

# What a schema can say, it says: each of these is refused by both. topic, sample, where, what, our reason.
WRONG: list[tuple[str, dict[str, Any], str, Any, DeadReason]] = [
    ("camera.tracks", FRAME, "sensor_id", GONE, DeadReason.MISSING_FIELD),
    ("camera.tracks", FRAME, "sensor_id", None, DeadReason.MISSING_FIELD),
    ("camera.tracks", FRAME, "sensor_id", "", DeadReason.BAD_ID),
    ("camera.tracks", FRAME, "sensor_id", "x" * 129, DeadReason.BAD_ID),
    ("camera.tracks", FRAME, "sensor_id", "c\n1", DeadReason.BAD_ID),
    ("camera.tracks", FRAME, "sensor_id", "c\u200b1", DeadReason.BAD_ID),
    ("camera.tracks", FRAME, "sensor_id", 7, DeadReason.WRONG_TYPE),
    ("camera.tracks", FRAME, "crs", "WGS84", DeadReason.UNKNOWN_CRS),
    ("camera.tracks", FRAME, "objects", GONE, DeadReason.MISSING_FIELD),
    ("camera.tracks", FRAME, "objects", None, DeadReason.MISSING_FIELD),
    ("camera.tracks", FRAME, "columns", {"track_id": []}, DeadReason.BAD_COLUMNS),
    ("camera.tracks", FRAME, "frame_time", "2026-03-02T07:10:00", DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "frame_time", "2026-03-02T24:10:00Z", DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "frame_time", -1, DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "frame_time", 4_102_444_800_001, DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "frame_time", 0.5, DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "objects.0.lon", None, DeadReason.BAD_POSITION),
    ("camera.tracks", FRAME, "objects.0.lat", GONE, DeadReason.BAD_POSITION),
    ("camera.tracks", FRAME, "objects.0.lat", 121.0, DeadReason.BAD_POSITION),
    ("camera.tracks", FRAME, "objects.0.confidence", -1, DeadReason.NEGATIVE_VALUE),
    ("camera.tracks", FRAME, "objects.0.class", 3, DeadReason.WRONG_TYPE),
    ("camera.tracks", COLUMNAR, "columns.track_id", GONE, DeadReason.BAD_COLUMNS),
    ("camera.tracks", COLUMNAR, "columns.speed_mps", [-1.0, None], DeadReason.NEGATIVE_VALUE),
    ("camera.tracks", COLUMNAR, "columns.track_id", ["17", ""], DeadReason.BAD_ID),
    ("camera.events", EXAMPLES["camera.events"] | {"code": None}, "label", None, DeadReason.MISSING_FIELD),
    ("traffic.measurements", EXAMPLES["traffic.measurements"], "occupancy_pct", 100.1, DeadReason.UNIT_MISMATCH),
    ("traffic.measurements", EXAMPLES["traffic.measurements"], "flow_vph", -1, DeadReason.NEGATIVE_VALUE),
    ("sensor.readings", READING, "metric", GONE, DeadReason.MISSING_FIELD),
    ("sensor.readings", READING, "value", None, DeadReason.MISSING_FIELD),
    ("sensor.readings", READING, "battery_pct", 101, DeadReason.UNIT_MISMATCH),
    ("sensor.readings", READING_LIST, "readings", [], DeadReason.MISSING_FIELD),
    ("sensor.readings", READING_LIST, "readings.0.reading_time", "noon", DeadReason.BAD_TIME),
    ("hotline.tickets", EXAMPLES["hotline.tickets"], "lon", 121.0, DeadReason.BAD_POSITION),
    ("vehicle.positions", EXAMPLES["vehicle.positions"], "on_duty", "yes", DeadReason.WRONG_TYPE),
    ("dispatch.feedback", FEEDBACK, "action", "finished", DeadReason.BAD_ENUM),
    ("dispatch.feedback", FEEDBACK, "evidence", None, DeadReason.MISSING_FIELD),
    ("dispatch.feedback", FEEDBACK, "order_id", "", DeadReason.BAD_ID),
    ("commands", COMMAND, "command", "destroy", DeadReason.BAD_ENUM),
    ("commands", COMMAND, "args", [], DeadReason.WRONG_TYPE),
    ("detections", DETECTION, "kind", "maybe", DeadReason.BAD_ENUM),
    ("detections", DETECTION, "zone", GONE, DeadReason.MISSING_FIELD),
]


def changed(sample: dict[str, Any], where: str, what: Any) -> dict[str, Any]:
    body = copy.deepcopy(sample)
    *way, last = where.split(".")
    part: Any = body
    for step in way:
        part = part[int(step) if step.isdigit() else step]
    if what is GONE:
        del part[last]
    else:
        part[last] = what
    return body


@pytest.mark.parametrize(("topic", "sample", "where", "what", "reason"), WRONG)
def test_what_a_schema_can_say_both_refuse(
    topic: str, sample: dict[str, Any], where: str, what: Any, reason: DeadReason
) -> None:
    body = changed(sample, where, what)
    assert objections(topic, body)
    failure = refusal(topic, body)
    assert isinstance(failure, DecodeFailure)
    assert failure.reason == reason


def test_swapped_axes_out_of_range_are_refused_by_both() -> None:
    swapped = changed(changed(FRAME, "objects.0.lon", 30.69), "objects.0.lat", 121.02)
    assert objections("camera.tracks", swapped)
    failure = refusal("camera.tracks", swapped)
    assert isinstance(failure, DecodeFailure)
    assert failure.reason == DeadReason.SWAPPED_AXES


# Every way in which the schema may leave the decision to the decoder; each stands in the dictionary's last chapter.
BEYOND: list[tuple[str, dict[str, Any], str, Any, DeadReason]] = [
    ("camera.tracks", FRAME, "frame_time", "2027-03-02T07:10:00Z", DeadReason.TIME_IN_FUTURE),
    ("camera.tracks", FRAME, "frame_time", "2026-02-30T07:10:00Z", DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "frame_time", 1772406600000.0, DeadReason.BAD_TIME),
    ("camera.tracks", FRAME, "sensor_id", "c\U000e0001", DeadReason.BAD_ID),
    ("camera.tracks", COLUMNAR, "columns.lon", [121.02], DeadReason.BAD_COLUMNS),
    ("camera.tracks", COLUMNAR, "columns.lon", [121.02, None], DeadReason.BAD_POSITION),
    ("sensor.readings", READING, "unit", "m", DeadReason.UNIT_MISMATCH),
]


@pytest.mark.parametrize(("topic", "sample", "where", "what", "reason"), BEYOND)
def test_what_a_schema_cannot_say_only_the_decoder_refuses(
    topic: str, sample: dict[str, Any], where: str, what: Any, reason: DeadReason
) -> None:
    body = changed(sample, where, what)
    assert objections(topic, body) == []
    failure = refusal(topic, body)
    assert isinstance(failure, DecodeFailure)
    assert failure.reason == reason
