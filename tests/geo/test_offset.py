"""Which system a feed is really in: named where the evidence is good, not at all where it is not."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, Point

from geo.check import load_registry, load_zones
from geo.crs import LocalGrid, from_wgs84, to_wgs84
from geo.feeds import KEPT, Feed, FeedBook, Sample, read_sighting
from geo.offset import Ground, Judgement, Reading, judge
from geo.roads import FAR_M, Roads, in_metres
from streams.recording import read_recording
from tests.conftest import REPOSITORY
from tests.geo.tracks import City, blocks, device, drive, noisy, sample_of, stroll, winding

SYSTEMS = ("wgs84", "gcj02", "bd09")
PLACES = st.tuples(st.floats(108, 122), st.floats(22, 42))  # GCJ-02 is at least 400 m off there
SEEDS = st.integers(0, 2**32 - 1)
VEHICLE = Feed("vehicle.positions", "v-1", "wgs84")
MIXED_UP = [(declared, really) for declared in SYSTEMS for really in SYSTEMS if declared != really]


# ----------------------------------------------------------------------------------------------- what is registered


@given(PLACES, SEEDS, st.sampled_from(SYSTEMS), st.sampled_from(SYSTEMS), st.floats(1, 15), st.integers(20, 60))
@settings(max_examples=60)
def test_a_sensor_is_known_by_its_registered_place(
    place: tuple[float, float], seed: int, declared: str, really: str, sigma_m: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    city = City(*place, [], {"w": device("w", *place)})
    positions = city.degrees(noisy(rng, np.zeros((count, 2)), sigma_m, 0.1))
    found = judge(Feed("sensor.readings", "w", declared), sample_of(*positions, really), city.ground)
    assert found.reading == really
    assert found.fits is (declared == really)
    assert found.off_m[Reading(really)] == min(found.off_m.values()) < 60


@pytest.mark.parametrize("angle_deg", range(0, 360, 30))
def test_an_offset_of_its_own_is_named_with_its_way(angle_deg: float) -> None:
    city = City(121.02, 30.69, [], {"w": device("w", 121.02, 30.69)})
    way = 280.0 * np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    found = judge(Feed("sensor.readings", "w", "wgs84"), sample_of(*city.degrees(np.tile(way, (20, 1)))), city.ground)
    assert (found.reading, found.fits) == (Reading.OFFSET, False)
    assert found.shift_m == pytest.approx(way, abs=8)  # the grid is turned by half a degree


@pytest.mark.parametrize("off_m", [0.0, 40.0, 80.0])
def test_a_small_offset_is_nobodys_business(off_m: float) -> None:
    city = City(121.02, 30.69, [], {"w": device("w", 121.02, 30.69)})
    positions = city.degrees(np.tile([off_m, 0.0], (20, 1)))
    assert judge(Feed("sensor.readings", "w", "wgs84"), sample_of(*positions), city.ground).fits


def test_a_camera_that_looks_far_is_not_misplaced_and_one_that_moves_has_no_place() -> None:
    city = City(121.02, 30.69, [], {"c": device("c", 121.02, 30.69, "camera")})
    feed = Feed("camera.tracks", "c", "wgs84")
    far = city.degrees(np.tile([-300.0, -500.0], (20, 1)))
    assert judge(feed, sample_of(*far), city.ground).fits
    driven = city.degrees(drive(np.array([[-3000.0, 900.0], [3000.0, 900.0]])))
    found = judge(feed, sample_of(*driven), city.ground)
    assert (found.reading, found.measured) == (None, "the nearest road")


def test_a_measurement_is_held_against_its_segment() -> None:
    city = City(121.02, 30.69, [np.array([[-400.0, 0.0], [400.0, 0.0]])])
    positions = city.degrees(np.tile([350.0, 3.0], (20, 1)))
    feed = Feed("traffic.measurements", "0", "wgs84")
    assert judge(feed, sample_of(*positions), city.ground).reading == "wgs84"
    assert judge(feed, sample_of(*positions, "gcj02"), city.ground).reading == "gcj02"


def test_with_few_positions_nothing_is_said() -> None:
    city = City(121.02, 30.69, [], {"w": device("w", 121.02, 30.69)})
    positions = city.degrees(np.zeros((7, 2)))
    assert judge(Feed("sensor.readings", "w", "wgs84"), sample_of(*positions, "gcj02"), city.ground).reading is None


# ------------------------------------------------------------------------------------------------------------ roads


@given(PLACES, SEEDS, st.sampled_from(MIXED_UP), st.floats(2, 12))
@settings(max_examples=15)
def test_a_track_through_winding_roads_is_never_named_wrongly(
    place: tuple[float, float], seed: int, mixed_up: tuple[str, str], sigma_m: float
) -> None:
    rng = np.random.default_rng(seed)
    city = City(*place, winding(rng))
    ways = np.concatenate([drive(city.lines[n]) for n in rng.integers(0, len(city.lines), 4)])
    positions = city.degrees(noisy(rng, ways, sigma_m, 0.1))
    declared, really = mixed_up
    feed = Feed("vehicle.positions", "v", declared)
    assert judge(feed, sample_of(*positions, really), city.ground).reading in (really, None)
    assert judge(feed, sample_of(*positions, declared), city.ground).fits


def test_most_shifted_tracks_are_found() -> None:
    found: Counter[object] = Counter()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        city = City(121.02, 30.69, winding(rng))
        ways = np.concatenate([drive(city.lines[n]) for n in rng.integers(0, len(city.lines), 4)])
        positions = city.degrees(noisy(rng, ways, 8.0, 0.05))
        found.update(judge(VEHICLE, sample_of(*positions, really), city.ground).reading == really for really in SYSTEMS)
    assert found[True] >= 0.85 * found.total(), found


def test_what_keeps_off_the_roads_is_hardly_ever_blamed() -> None:
    """Walkers, boats, whoever: declared rightly, near no road, with noise and nonsense."""
    false, number = 0, 0
    for seed in range(10):
        rng = np.random.default_rng(1000 + seed)
        city = City(float(rng.uniform(100, 122)), float(rng.uniform(22, 42)), winding(rng, int(rng.integers(5, 60))))
        for _ in range(12):
            walk = noisy(rng, stroll(rng, int(rng.integers(20, 300))), float(rng.uniform(2, 15)), 0.1)
            false += not judge(VEHICLE, sample_of(*city.degrees(walk)), city.ground).fits
            number += 1
    assert number == 120
    assert false <= 1


@pytest.mark.parametrize("really", ["gcj02", "bd09"])
def test_where_roads_are_so_dense_that_all_fits_nothing_is_said(really: str) -> None:
    rng = np.random.default_rng(5)
    city = City(121.02, 30.69, blocks(50.0))
    ways = np.concatenate([drive(city.lines[n]) for n in (3, 10, 17, 30)])
    found = judge(VEHICLE, sample_of(*city.degrees(noisy(rng, ways, 8.0, 0.05)), really), city.ground)
    assert found.reading is None


def test_a_straight_drive_says_nothing_in_a_chessboard() -> None:
    city = City(121.02, 30.69, blocks(300.0))
    positions = city.degrees(drive(city.lines[10])[80:140])
    assert judge(VEHICLE, sample_of(*positions, "gcj02"), city.ground).reading in (None, "wgs84")
    assert judge(VEHICLE, sample_of(*positions), city.ground).fits


def test_who_stands_still_says_nothing() -> None:
    city = City(121.02, 30.69, blocks(300.0))
    positions = city.degrees(np.tile([17.0, 160.0], (100, 1)))
    assert judge(VEHICLE, sample_of(*positions), city.ground).reading is None


@given(SEEDS)
@settings(max_examples=5)
def test_the_distance_to_roads_is_right_to_a_few_metres(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = LocalGrid(121.02, 30.69)
    line = LineString(rng.uniform((121.0, 30.68), (121.03, 30.7), (5, 2)))
    lon, lat = rng.uniform(121.0, 121.03, 200), rng.uniform(30.68, 30.7, 200)
    read = Roads([line], grid).distance_m(*grid.metres(lon, lat))
    true = [in_metres(line, grid).distance(Point(at)) for at in zip(*grid.metres(lon, lat), strict=True)]
    assert read == pytest.approx(np.minimum(true, FAR_M), abs=6.0)
    assert Roads([line], grid).distance_m(np.array([np.inf, np.nan]), np.zeros(2)).tolist() == [FAR_M, FAR_M]


# ------------------------------------------------------------------------------------------------------------- samples


@given(SEEDS)
@settings(max_examples=20)
def test_a_sample_is_the_same_in_any_order_and_with_doubles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(int(t), rng.uniform(120, 122, 3), rng.uniform(30, 31, 3)) for t in range(400)]
    there, back = Sample(("x", 1)), Sample(("x", 1))
    for row in rows:
        there.add(*row)
    for number in (*rng.permutation(len(rows)), *rng.permutation(len(rows))):
        back.add(*rows[number])
    assert (there.seen, back.seen) == (1200, 2400)
    for mine, other in zip(there.positions(), back.positions(), strict=True):
        assert mine.tobytes() == other.tobytes()
        assert len(mine) == KEPT


def test_what_cannot_be_read_or_has_no_place_is_passed_over() -> None:
    for value in (None, b"", b"{", b"[]", b'{"vehicle_id":"v","time":1,"lon":1}', b'{"vehicle_id":"v","time":"noon"}'):
        assert read_sighting("vehicle.positions", value) is None
    assert read_sighting("commands", b"{}") is None
    assert read_sighting("vehicle.positions", b'{"vehicle_id":"v","time":1,"lon":1,"lat":2,"crs":"beijing54"}') is None
    columns = b'{"sensor_id":"c","frame_time":5,"columns":{"track_id":["1","2"],"lon":[1,null],"lat":[2,3]}}'
    seen = read_sighting("camera.tracks", columns)
    assert seen is not None
    assert (seen.feed, seen.time_us, seen.lon.tolist()) == (Feed("camera.tracks", "c", "wgs84"), 5000, [1.0])
    call = read_sighting("hotline.tickets", b'{"ticket_id":"t","call_time":5,"line":"12345","lon":1,"lat":2}')
    assert call is not None
    assert call.feed.source == "12345"


# ----------------------------------------------------------------------------------------------------- the shipped city


@pytest.fixture(scope="module")
def ground() -> Ground:
    zones, _ = load_zones([REPOSITORY / "geo/zones"])
    made = Ground.of(zones, load_registry([REPOSITORY / "geo/registry"], zones)[0])
    assert made is not None
    return made


@pytest.fixture(scope="module")
def book() -> FeedBook:
    made = FeedBook()
    for number, line in enumerate(read_recording(REPOSITORY / "streams/recordings/pinghu.jsonl.gz"), 1):
        if line.topic is not None:
            made.see(line.topic, line.value, ("pinghu.jsonl.gz", number))
    return made


def reread(book: FeedBook, ground: Ground, declared: str, really: str) -> Iterator[Judgement]:
    """All feeds as if each was sent in `really` and declared as `declared`."""
    for feed, sample in book.samples().items():
        lon, lat = sample.positions()
        yield judge(feed._replace(declared=declared), sample_of(*to_wgs84(feed.declared, lon, lat), really), ground)


def test_the_shipped_city_is_in_order(book: FeedBook, ground: Ground) -> None:
    judged = [judge(feed, sample, ground) for feed, sample in book.samples().items()]
    assert [found.feed for found in judged if not found.fits] == []
    cameras = [found for found in judged if found.feed.topic == "camera.tracks"]
    assert len(cameras) == 16
    assert all(found.reading is not None for found in cameras)
    assert [found.feed.declared for found in cameras if found.reading == "gcj02"] == ["gcj02"]


@pytest.mark.parametrize(("declared", "really"), MIXED_UP)
def test_every_feed_of_the_city_in_another_system_is_named_or_left_alone(
    book: FeedBook, ground: Ground, declared: str, really: str
) -> None:
    judged = list(reread(book, ground, declared, really))
    assert {found.reading for found in judged if not found.fits} == {Reading(really)}
    cameras = [found for found in judged if found.feed.topic == "camera.tracks"]
    assert sum(found.reading == really for found in cameras) >= 15
    buses = [found for found in judged if found.feed.source.startswith("bus-k2-")]
    assert sum(found.reading == really for found in buses) >= 3


def test_swapped_axes_are_named(book: FeedBook, ground: Ground) -> None:
    for feed, sample in book.samples().items():
        lon, lat = sample.positions()
        turned = Sample(("x", 1))
        turned.add(0, lat.copy(), lon.copy())
        expected = Reading.SWAPPED if len(lon) >= 8 else None
        assert judge(feed, turned, ground).reading == expected, feed


def test_abroad_there_is_nothing_to_tell(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "sumo-bologna-acosta"
    zones, _ = load_zones([folder / "zones.geojson"])
    ground = Ground.of(zones, None)
    assert ground is not None
    by_car: dict[str, list[tuple[float, float]]] = {}
    with gzip.open(folder / "run" / "fcd_cam.xml.gz") as file:
        for _, step in ElementTree.iterparse(file):
            if step.tag == "timestep" and float(step.get("time", 0)) > 240:
                break
            if step.tag == "vehicle":
                at = (float(step.get("x", 0)), float(step.get("y", 0)))
                by_car.setdefault(step.get("id", ""), []).append(at)
    assert len(by_car) > 50
    for car, positions in by_car.items():
        lon, lat = np.array(positions).T
        for declared in ("wgs84", "gcj02"):
            assert from_wgs84(declared, lon, lat)[0].tolist() == lon.tolist()
            assert judge(Feed("vehicle.positions", car, declared), sample_of(lon, lat), ground).fits
