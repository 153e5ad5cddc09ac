"""Where decoded observations end up: WGS-84, inside the city, in an area, from sensors that are known."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from shapely.geometry import LineString, Point

from geo.atlas import Atlas, Placed
from geo.crs import from_wgs84
from geo.registry import Registry, read_registry
from models.columns import Batch
from models.decode import Decoder
from models.observations import DeadReason
from models.privacy import Tokens
from tests.geo.shapes import LAT, LON, collection, feature, square, zone
from tests.models.samples import COLUMNAR, SAMPLES
from tests.support import record

DECODER = Decoder(Tokens(b"k"), {})
CAMERA = SAMPLES["camera.tracks"]["sensor_id"]
ZONES = [zone("area/danghu", square(LON, LAT, 0.05)), zone("area/zhapu", square(LON + 0.1, LAT, 0.05), "zhapu")]


def registry() -> Registry:
    devices = collection(
        feature(CAMERA, Point(LON, LAT), kind="camera", area="danghu"),
        feature("w-12", Point(LON + 0.1, LAT), kind="gauge", area="zhapu"),
    )
    segments = collection(feature("danghu-rd-01", LineString([(LON, LAT), (LON + 0.02, LAT)]), area="danghu"))
    found, problems = read_registry([("devices.geojson", devices), ("segments.geojson", segments)])
    assert problems == []
    return found


WITH = Atlas.of(ZONES, registry())
WITHOUT = Atlas.of([], None)


def place(atlas: Atlas, topic: str, *bodies: Any, accept: bool = False, key: bytes | None = b"a-key") -> Placed:
    records = [record(body, key=key) for body in bodies]
    return atlas.place(DECODER.decode(topic, records), [r.key for r in records], accept)


def frame(*positions: tuple[float | None, float | None], **more: Any) -> dict[str, Any]:
    objects = [{"track_id": str(i), "lon": lon, "lat": lat} for i, (lon, lat) in enumerate(positions)]
    return {"sensor_id": CAMERA, "frame_time": 1772406600000, "objects": objects} | more


def positions(batch: Batch) -> list[tuple[float, float]]:
    return list(zip(batch.numbers("lon").tolist(), batch.numbers("lat").tolist(), strict=True))


def test_a_good_batch_goes_through_unchanged() -> None:
    placed = place(WITH, "camera.tracks", SAMPLES["camera.tracks"], COLUMNAR)
    assert placed.failures == []
    assert not placed.failed.any()
    assert positions(placed.batch) == [(121.02, 30.69), (121.02, 30.69), (121.03, 30.70)]
    assert [placed.areas.at(i) for i in range(3)] == ["danghu"] * 3


@pytest.mark.parametrize("crs", ["gcj02", "bd09", "cgcs2000"])
def test_positions_become_wgs84_record_by_record(crs: str) -> None:
    x, y = (float(v[0]) for v in from_wgs84(crs, np.array([LON]), np.array([LAT])))
    placed = place(WITH, "camera.tracks", frame((LON, LAT)), frame((x, y), (None, None), crs=crs), frame((LON, LAT)))
    assert placed.failures == []
    got = np.array(positions(placed.batch))
    assert np.isnan(got[2]).all()
    assert np.abs(got[[0, 1, 3]] - [LON, LAT]).max() < 1e-9


def test_a_record_of_an_unknown_system_does_not_stop_its_neighbours() -> None:
    placed = place(WITH, "camera.tracks", frame((LON, LAT), crs="mars"), frame((LON, LAT), crs="cgcs2000"))
    assert placed.failed.tolist() == [True, False]
    assert positions(placed.batch) == [(LON, LAT)]


def test_outside_the_bounds_is_refused_and_swapped_axes_are_named() -> None:
    far, tokyo = frame((LON, LAT), (LON, LAT + 3)), frame((139.7, 35.7))
    placed = place(WITH, "camera.tracks", frame((LON, LAT)), far, frame((LON, LAT)), tokyo)
    assert [(f.record, f.stage, f.reason, f.path) for f in placed.failures] == [
        (1, "place", DeadReason.POSITION_OUT_OF_BOUNDS, "$.objects[1].lon"),
        (3, "place", DeadReason.POSITION_OUT_OF_BOUNDS, "$.objects[0].lon"),
    ]
    assert placed.failed.tolist() == [False, True, False, True]
    assert placed.batch.record.tolist() == [0, 2]
    assert placed.batch.seen_record.tolist() == [0, 2]
    assert len(placed.areas.codes) == 2


def test_swapped_axes_are_named_where_both_ways_are_on_earth() -> None:
    paris = Atlas.of([zone("k/a", square(2.35, 48.85, 0.1))])
    body = copy.deepcopy(COLUMNAR)
    body["columns"] |= {"lon": [2.35, 48.85], "lat": [48.85, 2.35]}
    placed = place(paris, "camera.tracks", body)
    (failure,) = placed.failures
    assert (failure.reason, failure.path) == (DeadReason.SWAPPED_AXES, "$.columns.lon[1]")
    assert len(placed.batch) == 0


def test_the_margin_is_20_km_and_can_be_changed_or_left_out() -> None:
    near, beyond = frame((LON, LAT + 0.05 + 19 / 110.9)), frame((LON, LAT + 0.05 + 21 / 110.9))
    assert [f.record for f in place(WITH, "camera.tracks", near, beyond).failures] == [1]
    assert len(place(Atlas.of(ZONES, margin_km=1), "camera.tracks", near, beyond).failures) == 2
    assert place(Atlas.of(ZONES, margin_km=None), "camera.tracks", near, beyond, frame((0, 0))).failures == []
    assert place(WITHOUT, "camera.tracks", frame((0, 0))).failures == []


@pytest.mark.parametrize(
    ("topic", "field"),
    [
        ("camera.tracks", "sensor_id"),
        ("camera.events", "sensor_id"),
        ("sensor.readings", "device_id"),
        ("traffic.measurements", "segment_id"),
    ],
)
def test_unregistered_sensors_are_refused_unless_accepted(topic: str, field: str) -> None:
    strange = SAMPLES[topic] | {field: "x-9"}
    placed = place(WITH, topic, SAMPLES[topic], strange)
    assert [(f.record, f.reason, f.path) for f in placed.failures] == [
        (1, DeadReason.UNREGISTERED_SENSOR, f"$.{field}")
    ]
    assert placed.batch.record.tolist() == [0]
    accepted = place(WITH, topic, SAMPLES[topic], strange, accept=True)
    assert accepted.failures == []
    assert accepted.areas.at(1) == "a-key"
    assert accepted.areas.at(0) in ("danghu", "zhapu")
    assert place(WITHOUT, topic, strange).failures == []


def test_an_empty_frame_of_an_unregistered_camera_is_refused_too() -> None:
    placed = place(WITH, "camera.tracks", frame(sensor_id="x-9"), frame())
    assert [f.record for f in placed.failures] == [0]
    assert placed.batch.seen_record.tolist() == [1]


def test_without_a_registry_the_area_is_the_records_key() -> None:
    assert place(WITHOUT, "camera.tracks", frame((LON, LAT))).areas.at(0) == "a-key"
    assert place(WITHOUT, "camera.tracks", frame((LON, LAT)), key=None).areas.at(0) is None
    assert place(WITHOUT, "camera.tracks", frame((LON, LAT)), key="当湖".encode()).areas.at(0) == "当湖"


def test_sensors_and_segments_stand_where_the_registry_says_and_objects_do_not() -> None:
    reading = {k: v for k, v in SAMPLES["sensor.readings"].items() if k not in ("lon", "lat")}
    assert positions(place(WITH, "sensor.readings", reading).batch) == [(LON + 0.1, LAT)]
    traffic = place(WITH, "traffic.measurements", SAMPLES["traffic.measurements"])
    assert positions(traffic.batch) == [pytest.approx((LON + 0.01, LAT))]
    event = SAMPLES["camera.events"] | {"lon": None, "lat": None}
    assert positions(place(WITH, "camera.events", event, SAMPLES["camera.events"]).batch) == [
        (LON, LAT),
        (121.02, 30.69),
    ]
    assert np.isnan(positions(place(WITH, "camera.tracks", frame((None, None))).batch)).all()


def test_tickets_and_vehicles_belong_to_the_area_they_are_in() -> None:
    vehicle = SAMPLES["vehicle.positions"]
    placed = place(WITH, "vehicle.positions", vehicle, vehicle | {"lon": LON + 0.12}, vehicle | {"lon": LON + 0.2})
    assert [placed.areas.at(i) for i in range(3)] == ["danghu", "zhapu", None]
    assert place(WITH, "hotline.tickets", SAMPLES["hotline.tickets"]).areas.at(0) is None


def test_what_failed_at_decoding_stays_failed() -> None:
    placed = place(WITH, "camera.tracks", b"", frame((LON, LAT)), frame((LON, LAT + 3)))
    assert placed.failed.tolist() == [True, False, True]
    assert [f.record for f in placed.failures] == [2]


def test_nothing_at_all() -> None:
    for topic in SAMPLES:
        placed = place(WITH, topic)
        assert len(placed.batch) == len(placed.areas.codes) == len(placed.failed) == 0
