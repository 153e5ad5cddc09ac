"""The shipped city: its recordings hold what their truth files say, and its geography holds together.

An independent check: plain arithmetic on the files, nothing of the rules, the zone index or the generator's helpers.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import not_run
from tests.sumo.environment import SumoUnavailable, make_recording
from tests.sumo.environment import version as sumo_version

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "streams" / "recordings"
NAMES = ("pinghu", "pinghu-dawn")
DETECTOR_TOPICS = {"camera.tracks", "camera.events", "traffic.measurements", "sensor.readings"}
CENTRE_TOPICS = {"hotline.tickets", "vehicle.positions"}
TIME_FIELD = {
    "camera.tracks": "frame_time",
    "camera.events": "event_time",
    "traffic.measurements": "end_time",
    "sensor.readings": "reading_time",
    "hotline.tickets": "call_time",
    "vehicle.positions": "time",
}
MOTOR = {"car", "van", "truck", "bus"}
STANDING_MPS = 0.5

Json = dict[str, Any]
Point = tuple[float, float]


# --- reading


def ms(at: int | str) -> int:
    return at if isinstance(at, int) else round(datetime.fromisoformat(at).timestamp() * 1000)


@cache
def lines(name: str) -> list[Json]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


@cache
def truth(name: str) -> Json:
    found: Json = json.loads((RECORDINGS / f"{name}.truth.json").read_text(encoding="utf-8"))
    return found


@cache
def features(path: str) -> list[Json]:
    found: list[Json] = json.loads((ROOT / "geo" / path).read_text(encoding="utf-8"))["features"]
    return found


def spoilt(name: str) -> set[tuple[str, int]]:
    return {(b["topic"], b["timestamp_ms"]) for b in truth(name)["bad_records"]}


def good(name: str, topic: str) -> Iterator[Json]:
    """Records of a topic without the bad ones."""
    bad = spoilt(name)
    return (r for r in lines(name) if r["topic"] == topic and (topic, r["timestamp_ms"]) not in bad)


def event_ms(record: Json) -> int:
    value = record["value"]
    return ms(value[TIME_FIELD[record["topic"]]] if "readings" not in value else value["readings"][0]["reading_time"])


# --- geometry


def metres(at: Point) -> Point:
    return (at[0] - 121.015) * 95_812, (at[1] - 30.69) * 110_864


def apart(a: Point, b: Point) -> float:
    return math.dist(metres(a), metres(b))


def in_ring(at: Point, ring: list[list[float]]) -> bool:
    x, y = at
    inside = False
    for (x0, y0), (x1, y1) in pairwise(ring):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
    return inside


def in_zone(at: Point, zone: Json) -> bool:
    outer, *holes = zone["geometry"]["coordinates"]
    return in_ring(at, outer) and not any(in_ring(at, hole) for hole in holes)


@cache
def zones(kind: str) -> dict[str, Json]:
    found = [f for f in features("zones/pinghu.geojson") if f["properties"]["kind"] == kind]
    return {f"{kind}/{f['id']}": f for f in found}


def zones_at(at: Point, kind: str) -> list[str]:
    return [path for path, zone in zones(kind).items() if in_zone(at, zone)]


def gcj_shift(at: Point) -> Point:
    """How far GCJ-02 lies from WGS-84 at a place, in degrees."""
    x, y = at[0] - 105, at[1] - 35
    s, pi = math.sin, math.pi
    both = 20 * (s(6 * x * pi) + s(2 * x * pi)) * 2 / 3
    dy = -100 + 2 * x + 3 * y + y * y / 5 + x * y / 10 + math.sqrt(abs(x)) / 5 + both
    dy += (20 * s(y * pi) + 40 * s(y * pi / 3)) * 2 / 3 + (160 * s(y * pi / 12) + 320 * s(y * pi / 30)) * 2 / 3
    dx = 300 + x + 2 * y + x * x / 10 + x * y / 10 + math.sqrt(abs(x)) / 10 + both
    dx += (20 * s(x * pi) + 40 * s(x * pi / 3)) * 2 / 3 + (150 * s(x * pi / 12) + 300 * s(x * pi / 30)) * 2 / 3
    a, ee, phi = 6378245.0, 0.00669342162296594323, math.radians(at[1])
    w = 1 - ee * s(phi) ** 2
    return math.degrees(dx * math.sqrt(w) / (a * math.cos(phi))), math.degrees(dy * w * math.sqrt(w) / (a * (1 - ee)))


def from_gcj(at: Point) -> Point:
    guess = at
    for _ in range(6):
        shift = gcj_shift(guess)
        guess = (at[0] - shift[0], at[1] - shift[1])
    return guess


# --- sights


@dataclass(frozen=True, slots=True)
class Sight:
    frame_ms: int
    sensor_id: str
    track_id: str
    kind: str
    role: str | None
    at: Point
    speed_mps: float | None


def objects_of(value: Json) -> list[Json]:
    if "objects" in value:
        found: list[Json] = value["objects"]
        return found
    columns = value["columns"]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@cache
def tracks(name: str) -> dict[tuple[str, str], list[Sight]]:
    """Every track's sights in WGS-84, by frame time, doubles taken out."""
    found: dict[tuple[str, str], dict[int, Sight]] = defaultdict(dict)
    for record in good(name, "camera.tracks"):
        value = record["value"]
        assert value.get("crs", "wgs84") in ("wgs84", "cgcs2000", "gcj02")
        for o in objects_of(value):
            at = (o["lon"], o["lat"])
            at = from_gcj(at) if value.get("crs") == "gcj02" else at
            sight = Sight(
                ms(value["frame_time"]),
                value["sensor_id"],
                o["track_id"],
                o["class"],
                o.get("role"),
                at,
                o["speed_mps"],
            )
            found[sight.sensor_id, sight.track_id][sight.frame_ms] = sight
    return {key: [s for _, s in sorted(track.items())] for key, track in found.items()}


def longest_stand(track: list[Sight], move_m: float = 3.0, gap_s: float = 20.0) -> list[Sight]:
    """The longest run of standing sights within `move_m` of its first; driving in between is forgiven up to `gap_s`."""
    best: list[Sight] = []
    run: list[Sight] = []
    for s in track:
        if s.speed_mps is None or s.speed_mps >= STANDING_MPS:
            continue
        if run and (s.frame_ms - run[-1].frame_ms > gap_s * 1000 or apart(s.at, run[0].at) > move_m):
            run = []
        run.append(s)
        if run[-1].frame_ms - run[0].frame_ms >= (best[-1].frame_ms - best[0].frame_ms if best else 0):
            best = list(run)
    return best


def stood_s(run: list[Sight]) -> float:
    return (run[-1].frame_ms - run[0].frame_ms) / 1000 if run else 0.0


def told(name: str, kind: str | None = None, rule: str | None = None) -> list[Json]:
    entries: list[Json] = truth(name)["incidents"] + truth(name)["decoys"]
    return [e for e in entries if (kind is None or e["kind"] == kind) and (rule is None or e["expect_rule"] == rule)]


def by_id(entry_id: str) -> Json:
    return next(e for name in NAMES for e in told(name) if e["id"] == entry_id)


def keys_of(entry: Json) -> list[tuple[str, str]]:
    return [(k["sensor_id"], k["track_id"]) for k in entry.get("keys") or [entry["key"]]]


def series(name: str, device_id: str, metric: str) -> list[tuple[int, Any]]:
    found = {}
    for record in good(name, "sensor.readings"):
        value = record["value"]
        for r in value.get("readings") or [value]:
            if value["device_id"] == device_id and r["metric"] == metric:
                found[ms(r["reading_time"])] = r["value"]
    return sorted(found.items())


def speeds(name: str) -> dict[tuple[str, Any], list[tuple[int, float]]]:
    found: dict[tuple[str, Any], dict[int, float]] = defaultdict(dict)
    for record in good(name, "traffic.measurements"):
        v = record["value"]
        if v["speed_kmh"] is not None:
            found[v["segment_id"], v.get("lane")][ms(v["end_time"])] = v["speed_kmh"]
    return {key: sorted(at.items()) for key, at in found.items()}


def longest_below(at_speed: list[tuple[int, float]], limit_kmh: float) -> int:
    """Intervals of one lane in a row below the limit."""
    best = run = 0
    for _, speed in at_speed:
        run = run + 1 if speed < limit_kmh else 0
        best = max(best, run)
    return best


# --- the files


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_small_and_carries_no_time_of_making(name: str) -> None:
    raw = (RECORDINGS / f"{name}.jsonl.gz").read_bytes()
    assert len(raw) <= 5 * 1024 * 1024
    assert raw[3] == 0, "no file name in the header"
    assert raw[4:8] == b"\0\0\0\0", "no time in the header"


@pytest.mark.parametrize("name", NAMES)
def test_lines_lie_in_arrival_order_and_nothing_is_late(name: str) -> None:
    arrivals = [r["timestamp_ms"] for r in lines(name)]
    assert arrivals == sorted(arrivals)
    disordered = 0
    newest: dict[tuple[str, str], int] = {}
    for r in lines(name):
        if "value" not in r:
            continue
        at = event_ms(r)
        assert 100 <= r["timestamp_ms"] - at <= 1500
        front = newest.setdefault((r["topic"], r["key"]), at)
        assert front - at < (2000 if r["topic"].startswith("camera.") else 5000)
        disordered += at < front
        newest[r["topic"], r["key"]] = max(front, at)
    assert disordered > 50, "a little disorder is part of the data"


@pytest.mark.parametrize(
    ("name", "minutes", "start"), [("pinghu", 20, "2026-03-02T07:10"), ("pinghu-dawn", 15, "2026-03-02T05:00")]
)
def test_a_recording_covers_the_time_its_truth_says(name: str, minutes: int, start: str) -> None:
    t = truth(name)
    assert t["from"].startswith(start)
    assert ms(t["to"]) - ms(t["from"]) >= minutes * 60_000
    assert ms(t["from"]) <= lines(name)[0]["timestamp_ms"] <= ms(t["from"]) + 2000
    assert ms(t["to"]) - 2000 <= lines(name)[-1]["timestamp_ms"] <= ms(t["to"]) + 1500
    assert Counter(r["topic"] for r in lines(name)) == t["records"]


def test_every_input_topic_is_there_and_nobody_answers() -> None:
    assert {r["topic"] for r in lines("pinghu")} == DETECTOR_TOPICS | CENTRE_TOPICS
    assert {r["topic"] for r in lines("pinghu-dawn")} <= DETECTOR_TOPICS | CENTRE_TOPICS


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_the_area_of_the_sensor_or_the_command_centre(name: str) -> None:
    areas = {f["id"]: f["properties"]["area"] for f in features("registry/devices.geojson")}
    segments = {f["id"]: f["properties"]["area"] for f in features("registry/segments.geojson")}
    for r in lines(name):
        if r["topic"] in CENTRE_TOPICS:
            assert r["key"] == "pinghu"
        elif "value" in r:
            v = r["value"]
            source = v.get("sensor_id") or v.get("device_id") or v["source"]
            assert r["key"] == areas[source]
            if "segment_id" in v:
                assert r["key"] == segments[v["segment_id"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_camera_sends_a_frame_a_second_also_when_it_sees_nothing(name: str) -> None:
    cameras = {f["id"] for f in features("registry/devices.geojson") if f["properties"]["kind"] == "camera"}
    frames: dict[str, set[int]] = defaultdict(set)
    empty = 0
    for r in good(name, "camera.tracks"):
        frames[r["value"]["sensor_id"]].add(ms(r["value"]["frame_time"]))
        empty += not objects_of(r["value"])
    assert set(frames) == cameras
    assert 14 <= len(cameras) <= 20
    length_s = (ms(truth(name)["to"]) - ms(truth(name)["from"])) // 1000
    lost = Counter(b["topic"] for b in truth(name)["bad_records"])["camera.tracks"]
    assert sum(map(len, frames.values())) == len(cameras) * length_s - lost
    assert all(b - a in (1000, 2000) for at in frames.values() for a, b in pairwise(sorted(at)))
    assert empty > 500


def test_forms_and_reference_systems_are_mixed() -> None:
    values = [r["value"] for r in good("pinghu", "camera.tracks")]
    assert len({v["sensor_id"] for v in values if "columns" in v}) >= 2
    assert len({v["sensor_id"] for v in values if v.get("crs") == "gcj02"}) == 1
    assert any(isinstance(v["frame_time"], str) for v in values)
    assert any("readings" in r["value"] for r in good("pinghu", "sensor.readings"))


# --- the truth: what is so


def test_the_truth_has_every_kind_the_rules_look_for() -> None:
    rules = Counter(e["expect_rule"] for e in truth("pinghu")["incidents"])
    expected = {"street-vendor", "ponding", "cover-tilt", "cover-missing", "fire", "elder-sos", "congestion"}
    assert rules["illegal-parking"] >= 4
    assert expected <= set(rules)
    assert {e["kind"] for e in truth("pinghu")["incidents"] if e["expect_rule"] is None} >= {
        "traffic_accident",
        "goods_beyond_shop_line",
        "crowd",
    }


@pytest.mark.parametrize("entry", told("pinghu", rule="illegal-parking"), ids=lambda e: e["id"])
def test_an_illegal_parker_stands_in_its_zone_all_the_time(entry: Json) -> None:
    (key,) = keys_of(entry)
    run = longest_stand(tracks("pinghu")[key])
    assert (run[0].frame_ms, run[-1].frame_ms) == (ms(entry["from"]), ms(entry["to"]))
    assert entry["outcome"] == ("withdrawn" if "left_in_grace" in entry["kind"] else "case")
    if entry["kind"] == "illegal_parking_left_in_grace":
        assert 150 <= stood_s(run) <= 240, "after the reminder at 2 min, well before the case at 7 min"
    else:
        assert 240 <= stood_s(run) <= 730
    assert len(run) == 1 + stood_s(run), "in every frame"
    assert all(s.speed_mps == 0 for s in run[1:])
    assert all(s.kind in MOTOR and s.role is None for s in run)
    assert all(zones_at(s.at, "no-parking") == [entry["zone"]] and not zones_at(s.at, "permit") for s in run)
    gone = ms(truth("pinghu")["to"]) - tracks("pinghu")[key][-1].frame_ms
    assert gone > 240_000, "it has left well before the end"


def test_no_illegal_parker_can_be_taken_for_a_queue() -> None:
    """Within 12 m of it hardly anybody else stands: a rule that spares queues must not spare it."""
    standing: dict[tuple[str, int], list[Sight]] = defaultdict(list)
    for track in tracks("pinghu").values():
        for s in track:
            if s.kind in MOTOR and s.speed_mps is not None and s.speed_mps < STANDING_MPS:
                standing[s.sensor_id, s.frame_ms].append(s)
    for entry in told("pinghu", rule="illegal-parking"):
        run = longest_stand(tracks("pinghu")[keys_of(entry)[0]])
        beside = sum(
            any(o.track_id != s.track_id and apart(o.at, s.at) < 12 for o in standing[s.sensor_id, s.frame_ms])
            for s in run
        )
        assert beside < 0.05 * len(run)


def test_the_stall_stands_in_a_core_zone_in_trade_hours() -> None:
    (entry,) = told("pinghu", rule="street-vendor")
    run = longest_stand(tracks("pinghu")[keys_of(entry)[0]])
    assert stood_s(run) >= 360
    assert {s.kind for s in run} == {"vendor_stall"}
    assert all(zones_at(s.at, "core") == [entry["zone"]] and not zones_at(s.at, "market") for s in run)
    assert "06:30" < entry["from"][11:16] < entry["to"][11:16] < "09:00"


@pytest.mark.parametrize(
    ("rule", "opens_at", "hold_s", "clears_below"), [("ponding", 15, 180, 8), ("cover-tilt", 15, 120, 5)]
)
def test_a_sensor_really_exceeds_and_falls_back(rule: str, opens_at: float, hold_s: float, clears_below: float) -> None:
    (entry,) = told("pinghu", rule=rule)
    values = series("pinghu", entry["key"]["device_id"], entry["metric"])
    high = [at for at, y in values if y >= opens_at]
    assert (high[0], high[-1]) == (ms(entry["from"]), ms(entry["to"]))
    assert high[-1] - high[0] >= hold_s * 1000
    assert all(y >= opens_at for at, y in values if high[0] <= at <= high[-1]), "without a break"
    assert max(b - a for a, b in pairwise(high)) <= 20_000, "often enough to be sure"
    assert all(y < clears_below for at, y in values if at >= ms(entry["cleared_at"]))
    assert values[-1][0] > ms(entry["cleared_at"]) + 240_000


def test_no_other_sensor_exceeds() -> None:
    entries = [e for e in truth("pinghu")["incidents"] if "device_id" in e.get("key", {})]
    guilty = {(e["key"]["device_id"], e["metric"]) for e in entries}
    limits = {"water_level": 15, "tilt": 15, "smoke_alarm": True, "sos": True}
    for name in NAMES:
        for device in features("registry/devices.geojson"):
            for metric, limit in limits.items():
                over = [y for _, y in series(name, device["id"], metric) if y >= limit]
                assert bool(over) == (name == "pinghu" and (device["id"], metric) in guilty)


def test_the_call_for_help_is_one_reading() -> None:
    (entry,) = told("pinghu", rule="elder-sos")
    pressed = [at for at, y in series("pinghu", entry["key"]["device_id"], "sos") if y is True]
    assert pressed == [ms(entry["from"])]


def test_camera_events_repeat_as_often_as_the_rules_ask() -> None:
    events = {r["value"]["event_id"]: r["value"] for r in good("pinghu", "camera.events")}
    for rule, label, least, times, within_s in (
        ("cover-missing", "cover_missing", 0.85, 2, 120),
        ("fire", "fire", 0.92, 3, 10),
    ):
        (entry,) = told("pinghu", rule=rule)
        mine = [events[e] for e in entry["key"]["event_ids"]]
        assert len(mine) == times
        assert ms(mine[-1]["event_time"]) - ms(mine[0]["event_time"]) < within_s * 1000
        assert {e["sensor_id"] for e in mine} == {entry["key"]["sensor_id"]}
        assert {e["event_id"] for e in events.values() if e["label"] == label and e["confidence"] >= least} == {
            e["event_id"] for e in mine
        }
    (smoke,) = told("pinghu", kind="smoke_alarm")
    (fire,) = told("pinghu", kind="fire")
    assert apart(tuple(smoke["place"].values()), tuple(fire["place"].values())) < 80
    assert 0 < ms(smoke["from"]) - ms(fire["from"]) < 120_000


def test_one_segment_is_congested_and_then_free() -> None:
    (entry,) = told("pinghu", rule="congestion")
    segment = entry["key"]["segment_id"]
    ((_, measured),) = ((k, v) for k, v in speeds("pinghu").items() if k[0] == segment)
    slow = [(at, y) for at, y in measured if ms(entry["from"]) < at <= ms(entry["to"])]
    assert len(slow) == (ms(entry["to"]) - ms(entry["from"])) // 60_000 >= 6, "no minute without a value"
    assert all(y < 12 for _, y in slow)
    after = [y for at, y in measured if at >= ms(entry["cleared_at"])]
    assert len(after) >= 6
    assert all(y > 25 for y in after)
    for name in NAMES:
        for (other, _), v in speeds(name).items():
            if (name, other) != ("pinghu", segment):
                assert longest_below(v, 15) == 0


def test_the_other_kinds_are_in_the_data_too() -> None:
    for kind, classes, least_s, zone_kind in (
        ("traffic_accident", MOTOR, 240, None),
        ("goods_beyond_shop_line", {"shop_goods"}, 480, "shopfront"),
        ("crowd", {"person"}, 180, "core"),
    ):
        (entry,) = told("pinghu", kind=kind)
        assert ms(entry["to"]) - ms(entry["from"]) >= least_s * 1000
        for key in keys_of(entry):
            during = [s for s in tracks("pinghu")[key] if ms(entry["from"]) <= s.frame_ms <= ms(entry["to"])]
            assert len(during) >= least_s
            assert {s.kind for s in during} <= classes
            assert all(s.speed_mps is not None and s.speed_mps < STANDING_MPS for s in during)
            if zone_kind:
                assert all(zones_at(s.at, zone_kind) == [entry["zone"]] for s in during)
            else:
                assert not any(zones_at(s.at, "no-parking") for s in during), "an accident isn't a parking offence"
    first, second = (tracks("pinghu")[k] for k in keys_of(by_id("crash-1")))
    assert apart(longest_stand(first)[-1].at, longest_stand(second)[-1].at) < 8


def test_tickets_follow_what_they_are_about() -> None:
    tickets = {r["value"]["ticket_id"]: r["value"] for r in good("pinghu", "hotline.tickets")}
    about = [(e, t) for e in truth("pinghu")["incidents"] for t in e.get("tickets", [])]
    assert {t for _, t in about} | set(truth("pinghu")["unrelated_tickets"]) == set(tickets)
    assert len(truth("pinghu")["unrelated_tickets"]) == 1
    for entry, ticket in about:
        assert 0 < ms(tickets[ticket]["call_time"]) - ms(entry["from"]) < 330_000
    first, second = by_id("ponding-w-12")["tickets"]
    assert 120_000 <= ms(tickets[first]["call_time"]) - ms(by_id("ponding-w-12")["from"]) <= 180_000
    assert tickets[first]["caller"] == tickets[second]["caller"]
    assert {t["category"] for t in tickets.values()} >= {"道路积水", "噪音扰民"}


# --- the truth: what is not so


@pytest.mark.parametrize("name", NAMES)
def test_nobody_else_stands_long_where_parking_is_forbidden(name: str) -> None:
    guilty = {k for e in told(name, rule="illegal-parking") for k in keys_of(e)}
    exempt = {k for e in told(name, kind="police_on_duty") for k in keys_of(e)}
    stood_at_all = 0
    for key, track in tracks(name).items():
        forbidden = [
            s for s in track if s.kind in MOTOR and zones_at(s.at, "no-parking") and not zones_at(s.at, "permit")
        ]
        held = stood_s(longest_stand(forbidden))
        stood_at_all += held >= 20
        if key not in guilty | exempt:
            assert held < 100, f"{key} stands {held} s"
    assert stood_at_all >= (50 if name == "pinghu" else 2), "queues at lights are in the data"


def test_the_police_car_has_its_role_and_time() -> None:
    (entry,) = told("pinghu", kind="police_on_duty")
    run = longest_stand(tracks("pinghu")[keys_of(entry)[0]])
    assert {s.role for s in run} == {"police"}
    assert 330 <= stood_s(run) <= 400
    assert all(zones_at(s.at, "no-parking") == [entry["zone"]] for s in run)


@pytest.mark.parametrize("name", NAMES)
def test_a_car_in_a_bay_stands_in_a_no_parking_zone_legally(name: str) -> None:
    (entry,) = told(name, kind="parked_in_a_permit_bay")
    run = longest_stand(tracks(name)[keys_of(entry)[0]])
    assert stood_s(run) >= 900
    assert all(zones_at(s.at, "permit") == [entry["zone"]] and zones_at(s.at, "no-parking") for s in run)


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("pinghu", "short_stop", 40, 70),
        ("pinghu", "bus_at_its_stop", 30, 45),
        ("pinghu-dawn", "short_stop", 50, 70),
        ("pinghu-dawn", "bus_at_its_stop", 30, 45),
    ],
)
def test_short_stops_are_short(name: str, kind: str, low: float, high: float) -> None:
    entries = told(name, kind=kind)
    assert entries
    for entry in entries:
        run = longest_stand(tracks(name)[keys_of(entry)[0]])
        assert low <= stood_s(run) <= high
        assert all(zones_at(s.at, "no-parking") == [entry["zone"]] for s in run)


@pytest.mark.parametrize("name", NAMES)
def test_gauges_of_decoys_wobble_below_the_limit(name: str) -> None:
    (entry,) = told(name, kind="high_water_below_the_limit")
    values = [y for _, y in series(name, entry["key"]["device_id"], "water_level")]
    assert 10 <= min(values) < 11 < 13 < max(values) < 14


@pytest.mark.parametrize("name", NAMES)
def test_stalls_stand_in_core_zones_only_where_the_truth_says(name: str) -> None:
    guilty = {k for e in told(name, rule="street-vendor") for k in keys_of(e)}
    stalls = {k: t for k, t in tracks(name).items() if t[0].kind == "vendor_stall"}
    for key, track in stalls.items():
        assert any(zones_at(s.at, "core") for s in track) == (key in guilty)
    market = {k for e in told(name, kind="stalls_in_a_market") for k in keys_of(e)}
    assert set(stalls) == guilty | market
    assert all(zones_at(s.at, "market") for key in market for s in stalls[key])


def test_doubtful_looks_stay_doubtful() -> None:
    for name in NAMES:
        events = {r["value"]["event_id"]: r["value"] for r in good(name, "camera.events")}
        for entry in told(name, kind="one_doubtful_look"):
            (event,) = (events[e] for e in entry["key"]["event_ids"])
            assert event["confidence"] <= 0.7


def test_the_slow_segment_never_reaches_the_limit() -> None:
    (entry,) = told("pinghu", kind="slow_but_moving")
    ((_, measured),) = ((k, v) for k, v in speeds("pinghu").items() if k[0] == entry["key"]["segment_id"])
    assert all(15 < y < 30 for _, y in measured)


def test_nothing_is_true_at_dawn() -> None:
    assert (
        truth("pinghu-dawn")["incidents"]
        == truth("pinghu-dawn")["bad_records"]
        == truth("pinghu-dawn")["duplicates"]
        == []
    )
    assert all(r["value"]["confidence"] <= 0.7 for r in good("pinghu-dawn", "camera.events"))
    assert not any(r["topic"] == "hotline.tickets" for r in lines("pinghu-dawn"))


def test_all_is_over_four_minutes_before_the_end() -> None:
    end = ms(truth("pinghu")["to"])
    for entry in truth("pinghu")["incidents"]:
        assert end - ms(entry.get("cleared_at", entry["to"])) >= 240_000


# --- bad records and doubles


def test_the_bad_records_are_bad_in_the_way_the_truth_says() -> None:
    listed = truth("pinghu")["bad_records"]
    assert sorted(b["reason"] for b in listed) == ["not_json", "swapped_axes", "unknown_crs"]
    for bad in listed:
        (record,) = (
            r
            for r in lines("pinghu")
            if (r["topic"], r["key"], r["timestamp_ms"]) == (bad["topic"], bad["key"], bad["timestamp_ms"])
            and ("value_b64" in r or bad["reason"] != "not_json")
            and _is_bad(r)
        )
        if bad["reason"] == "not_json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(base64.b64decode(record["value_b64"]).decode("utf-8", "replace"))
        elif bad["reason"] == "unknown_crs":
            assert record["value"]["crs"] not in {"wgs84", "cgcs2000", "gcj02", "bd09"}
        else:
            assert record["value"]["lat"] > 90 > record["value"]["lon"]
    assert sum(_is_bad(r) for r in lines("pinghu")) == len(listed)
    assert not any(_is_bad(r) for r in lines("pinghu-dawn"))


def _is_bad(record: Json) -> bool:
    if "value_b64" in record:
        return True
    value = record["value"]
    return value.get("crs", "wgs84") not in {"wgs84", "cgcs2000", "gcj02", "bd09"} or (value.get("lat") or 0) > 90


@pytest.mark.parametrize("name", NAMES)
def test_the_doubles_are_those_listed(name: str) -> None:
    seen: dict[str, Json] = {}
    doubles = []
    for r in lines(name):
        if "value" not in r:
            continue
        content = json.dumps([r["topic"], r["key"], r["value"]], sort_keys=True)
        if content in seen:
            doubles.append((r["topic"], r["key"], r["timestamp_ms"], seen[content]["timestamp_ms"]))
        seen[content] = r
    listed = [(d["topic"], d["key"], d["timestamp_ms"], d["first_ms"]) for d in truth(name)["duplicates"]]
    assert sorted(doubles) == sorted(listed)
    assert len(listed) >= (5 if name == "pinghu" else 0)


# --- geography


def test_every_sensor_unit_and_zone_lies_in_exactly_one_area_its_own() -> None:
    for path in ("registry/devices.geojson", "registry/units.geojson"):
        for f in features(path):
            assert zones_at(tuple(f["geometry"]["coordinates"]), "area") == [f"area/{f['properties']['area']}"]
    for f in features("registry/segments.geojson"):
        (x0, y0), (x1, y1) = f["geometry"]["coordinates"]
        assert zones_at(((x0 + x1) / 2, (y0 + y1) / 2), "area") == [f"area/{f['properties']['area']}"]
    for f in features("zones/pinghu.geojson"):
        if f["properties"]["kind"] != "area":
            for corner in f["geometry"]["coordinates"][0]:
                assert zones_at((corner[0], corner[1]), "area") == [f"area/{f['properties']['area']}"]


def test_the_geography_is_synthetic_says_so_and_lies_where_the_city_is() -> None:
    for path in (
        "zones/pinghu.geojson",
        "registry/devices.geojson",
        "registry/segments.geojson",
        "registry/units.geojson",
    ):
        kinds = Counter((f["properties"].get("kind"), f["id"]) for f in features(path))
        assert max(kinds.values()) == 1, "an id is used once"
        for f in features(path):
            assert f["properties"]["position_quality"] == "synthetic"
            for position in _positions(f["geometry"]["coordinates"]):
                assert math.hypot(*metres(position)) < 3000


def _positions(coordinates: Any) -> Iterator[Point]:
    if isinstance(coordinates[0], float):
        yield coordinates[0], coordinates[1]
    else:
        for part in coordinates:
            yield from _positions(part)


def test_rings_are_closed_and_wound_as_rfc_7946_asks() -> None:
    for f in features("zones/pinghu.geojson"):
        for n, ring in enumerate(f["geometry"]["coordinates"]):
            assert ring[0] == ring[-1]
            twice_area = sum(
                x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise((p[0] - 121, p[1] - 30) for p in ring)
            )
            assert (twice_area > 0) == (n == 0), "outside counter-clockwise, holes clockwise"


def test_the_zones_cover_the_eight_places_and_every_kind() -> None:
    found = Counter(f["properties"]["kind"] for f in features("zones/pinghu.geojson"))
    assert set(found) >= {"area", "no-parking", "permit", "core", "market", "shopfront"}
    assert 4 <= found["area"] <= 6
    names = " ".join(f["properties"]["name"]["zh"] for f in features("zones/pinghu.geojson"))
    for place in (
        "新华路",
        "当湖路",
        "三港路",
        "关帝庙商圈",
        "大润发商圈",
        "市体育中心",
        "新城吾悦广场",
        "南河头历史文化街区",
    ):
        assert place in names
    assert any(path.startswith("no-parking/school-") for path in zones("no-parking"))


def test_the_registry_holds_together() -> None:
    segments = {f["id"]: f["properties"] for f in features("registry/segments.geojson")}
    assert all(n in segments for s in segments.values() for n in s["downstream"])
    units = Counter(f["properties"]["department"] for f in features("registry/units.geojson"))
    assert set(units) == {
        "traffic-police",
        "urban-management",
        "municipal-works",
        "fire-119",
        "emergency-120",
        "elder-care-96345",
    }
    assert min(units.values()) >= 2
    for f in features("registry/devices.geojson"):
        if f["properties"]["kind"] == "camera":
            assert len(f["id"]) == 20
            assert f["id"].startswith("330482")
    at_work = {r["value"]["unit_id"] for r in good("pinghu", "vehicle.positions") if "unit_id" in r["value"]}
    assert at_work == {f["id"] for f in features("registry/units.geojson")}


def test_the_shipped_geography_is_what_the_generator_writes(tmp_path: Path) -> None:
    from streams.recordings.make_pinghu import write_geography

    write_geography(tmp_path)
    for path in (
        "zones/pinghu.geojson",
        "registry/devices.geojson",
        "registry/segments.geojson",
        "registry/units.geojson",
    ):
        assert (tmp_path / path).read_bytes() == (ROOT / "geo" / path).read_bytes()


def test_the_reference_system_conversion_gives_the_known_pairs() -> None:
    from streams.recordings.pinghu_map import to_gcj02

    for wgs, gcj in (
        ((121.02, 30.70), (121.024412, 30.697741)),
        ((121.0144, 30.6990), (121.018792, 30.696724)),
        ((120.95, 30.60), (120.954168, 30.597501)),
        ((121.15, 30.65), (121.154518, 30.647794)),
    ):
        assert to_gcj02(*wgs) == pytest.approx(gcj, abs=1e-6)
        assert from_gcj(gcj) == pytest.approx(wgs, abs=2e-6)


# --- making it again


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_generator_makes_the_shipped_recording_again(name: str, tmp_path: Path) -> None:
    try:
        made_with = {"eclipse-sumo": sumo_version()}
    except SumoUnavailable as missing:
        not_run("SUMO", str(missing))
    assert made_with == truth(name)["made_with"], "the lock and the shipped recordings name the same version"
    out, told_again = tmp_path / "again.jsonl.gz", tmp_path / "again.json"
    make_recording(truth(name)["seed"], out, told_again, dawn=name == "pinghu-dawn")
    assert told_again.read_bytes() == (RECORDINGS / f"{name}.truth.json").read_bytes()
    # Unpacked: another zlib may pack the same lines a little differently.
    assert gzip.decompress(out.read_bytes()) == gzip.decompress((RECORDINGS / f"{name}.jsonl.gz").read_bytes())
