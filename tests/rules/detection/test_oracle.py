"""The Detector against the oracle: random cities, fed in random batches, stopped and restored at random places."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import nan
from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from models.times import parse_time_us
from tests.rules.detection.oracle import Box, Limits, Oracle, Plan, Row, Told
from tests.rules.detection.stage import LAT, LON, START_US, Sent, Stage, at_ms, car, event, frame, reading, square, tick

HEAD = """
    revision: 1
    name: {zh: 名, en: Name}
    owner: {department: traffic-police, contact: desk}
    status: active
    message: {zh: "在", en: "here"}
"""
RULES = f"""
version: 1
lists:
  motor: [car, van]
calendars:
  later: {{days: [daily], times: ["07:11-07:30"]}}
rules:
  - id: alarm
    {HEAD}
    type: {{code: "X2103", severity: minor}}
    from: [sensor.readings]
    where: metric == "sos" and value == true
    by: [device_id]
    detect: {{event: {{}}}}
  - id: flood
    {HEAD}
    type: {{code: "0406", severity: minor}}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    params: {{wait: 6s}}
    detect:
      hold: {{value: value, open_when: value >= 15cm, close_when: value < 8cm, for: $wait, close_for: 4s}}
    stages: [{{at: $wait, do: second_look}}, {{at: 16s, do: open_case}}]
    overrides:
      - {{where: battery_pct < 20, set: {{wait: 3s}}, severity: major, reason: low}}
  - id: ground
    {HEAD}
    type: {{code: "0406", severity: minor}}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    detect:
      hold: {{value: value, open_when: value >= 9cm}}
    no_data: hold
    close: {{timeout: 40s}}
  - id: parked
    {HEAD}
    type: {{code: "0505", severity: minor}}
    from: [camera.tracks]
    where: class in lists.motor and speed_mps < 0.5
    zones: {{in: ["no-parking/*"], not_in: ["permit/*"], edge_buffer: 1m}}
    by: [sensor_id, track_id, zone]
    params: {{case: 25s, gap: 4s}}
    detect:
      dwell: {{for: 10s, max_move: 3m, max_gap: $gap, min_points: 3}}
    stages: [{{at: 10s, do: remind_owner}}, {{at: $case, do: second_look}}, {{at: $case, do: open_case}}]
    close: {{absent_for: 6s, min_coverage: 50%}}
    overrides:
      - {{where: confidence > 0.95, set: {{gap: 8s}}, severity: moderate, reason: sure}}
      - {{zones: ["no-parking/school-*"], calendar: later, set: {{case: 15s}}, severity: major, reason: school}}
      - {{calendar: later, severity: critical, reason: rush}}
    exempt:
      - {{where: role == "police", reason: on duty, until: never}}
      - {{where: role == "fire", reason: a drill of the day before, until: "2026-03-01"}}
  - id: queue
    {HEAD}
    type: {{code: "X2101", severity: minor}}
    from: [camera.tracks]
    where: speed_mps < 0.5
    by: [class]
    detect:
      dwell: {{for: 15s, max_gap: 5s}}
    no_data: close
  - id: smoke
    {HEAD}
    type: {{code: "X2104", severity: minor}}
    from: [camera.events]
    where: label == "smoke"
    by: [sensor_id]
    detect:
      event: {{repeat: {{times: 3, within: 10s}}}}
  - id: standing
    {HEAD}
    type: {{code: "0505", severity: minor}}
    from: [camera.tracks]
    where: speed_mps < 0.5
    zones: {{in: ["no-parking/*"], edge_buffer: 1m}}
    by: [sensor_id, track_id]
    active: later
    detect:
      dwell: {{for: 8s, max_move: 31m, max_gap: 20s}}
    stages: [{{at: 12s, do: remind_owner}}, {{at: 20s, do: open_case}}]
    close: {{absent_for: 20s, min_coverage: 100%, timeout: 45s}}
"""
BOXES = [
    Box("no-parking/a", 0, 0, 40),
    Box("no-parking/b", 15, 0, 40),
    Box("no-parking/school-c", 0, 30, 30),
    Box("permit/bay", -15, -15, 6),
]
PARKING = [box.path for box in BOXES[:3]]
SPOTS = [(0, 0), (1, 0.5), (-10, 0), (35.5, 0), (25, 0), (-20.5, 0), (20.5, 0), (-15, -15), (0, 17), (0, 30), (90, 0)]
LATENESS_S = {"camera.tracks": 2.0, "camera.events": 2.0, "sensor.readings": 5.0}
EXPECTED_S = {"cam-1": 2, "w-1": 3, "w-2": 5}
REACH_S = {"cam-1": 6, "cam-2": 10, "w-1": 9, "w-2": 15, "s-1": 900}
END_S = 300


def later(row: Row) -> bool:
    return bool(60 <= (row["time"] - START_US) / 1e6 < 1200)


def still_there(row: Row) -> bool:
    return row["speed_mps"] is not None and row["speed_mps"] < 0.5


def parked(row: Row) -> bool:
    return row["class"] in ("car", "van") and still_there(row) and row["role"] != "police"


def water(row: Row) -> bool:
    return bool(row["metric"] == "water_level")


def centimetres(row: Row) -> float:
    return nan if isinstance(row["value"], str) else float(row["value"])


def stages_at(second: float) -> list[tuple[float, str]]:
    return [(10, "remind_owner"), (second, "second_look"), (second, "open_case")]


def parked_limits(**changed: Any) -> Limits:
    fixed: dict[str, Any] = {"for_s": 10, "max_move_m": 3, "max_gap_s": 4, "min_points": 3, "absent_s": 6, "share": 0.5}
    return Limits(**{**fixed, "stages": stages_at(25), **changed})


def flood_limits(wait: float, severity: str = "minor") -> Limits:
    return Limits(severity, wait, close_for_s=4, stages=[(wait, "second_look"), (16, "open_case")])


PLANS = [
    Plan("alarm", "sensor.readings", "event", ["device_id"], Limits(),
         lambda r: r["metric"] == "sos" and r["value"] is True),
    Plan("flood", "sensor.readings", "hold", ["device_id"], flood_limits(6), water,
         overrides=[(None, lambda r: r.get("battery_pct") is not None and r["battery_pct"] < 20,
                     flood_limits(3, "major"))],
         opens=lambda r: centimetres(r) >= 15,
        closes=lambda r: centimetres(r) < 8),
    Plan("ground", "sensor.readings", "hold", ["device_id"], Limits(timeout_s=40), water,
         opens=lambda r: centimetres(r) >= 9, closes=lambda r: centimetres(r) < 9, no_data="hold"),
    Plan("parked", "camera.tracks", "dwell", ["sensor_id", "track_id", "zone"], parked_limits(), parked,
         zones=PARKING, not_in=["permit/bay"], buffer_m=1,
         overrides=[(None, lambda r: r["confidence"] > 0.95, parked_limits(severity="moderate", max_gap_s=8)),
                    (["no-parking/school-c"], later, parked_limits(severity="major", stages=stages_at(15))),
                    (None, later, parked_limits(severity="critical"))]),
    Plan("queue", "camera.tracks", "dwell", ["class"], Limits(for_s=15, max_gap_s=5), still_there, no_data="close"),
    Plan("smoke", "camera.events", "event", ["sensor_id"], Limits(times=3, within_s=10),
         lambda r: r["label"] == "smoke"),
    Plan("standing", "camera.tracks", "dwell", ["sensor_id", "track_id"],
         Limits(for_s=8, max_move_m=31, max_gap_s=20, stages=[(12, "remind_owner"), (20, "open_case")],
                absent_s=20, share=1, timeout_s=45),
         lambda r: still_there(r) and later(r), zones=PARKING, buffer_m=1),
]  # fmt: skip


@cache
def first_stage() -> Stage:
    zones = [square(b.path.split("/")[1], b.path.split("/")[0], b.east_m, b.north_m, b.side_m) for b in BOXES]
    return Stage(RULES, zones, [device(name, every_s) for name, every_s in EXPECTED_S.items()])


def device(name: str, every_s: float) -> Any:
    properties = {"kind": "sensor", "area": "danghu", "expected_every_s": every_s}
    geometry = {"type": "Point", "coordinates": [LON, LAT]}
    return {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}


def readings(device: str, listed: Sequence[tuple[float, str, Any]], delay: float = 0.2) -> Sent:
    """Several in one record."""
    said = [{"metric": metric, "value": value, "reading_time": at_ms(at)} for at, metric, value in listed]
    body = {"device_id": device, "readings": said, "lon": LON, "lat": LAT}
    return Sent("sensor.readings", max(at for at, _, _ in listed) + delay, orjson.dumps(body))


def city(rng: Random) -> list[Sent]:
    """Half a minute to three in the order of arrival: silences, doubles, late records, clock records among them."""
    length, sent = rng.choice([30, 70, 150]), list[Sent]()
    spots = {(c, t): rng.choice(SPOTS) for c in ("cam-1", "cam-2") for t in "123"}
    restless = rng.choice([0.01, 0.03, 0.1])
    dark = {name: span(rng, length) for name in ("cam-1", "cam-2", "w-1", "w-2")}
    level, pace = {"w-1": 5, "w-2": 5}, rng.choice([1, 1, 2, 3])
    for t in range(0, length, 1):
        for sensor in ("cam-1", "cam-2"):
            if t in dark[sensor] or t % pace or rng.random() < 0.05:
                continue
            seen = []
            for track in "123":
                if rng.random() < restless:
                    spots[sensor, track] = rng.choice(SPOTS)
                if rng.random() < 0.9:
                    role = "police" if track == "3" and t % 40 > 30 else "fire" if track == "2" else None
                    sure = 0.97 if rng.random() < 0.1 else 0.9
                    speed = rng.choice([0.0] * 12 + [0.4, 3.0, None])
                    seen.append({**car(track, *spots[sensor, track], confidence=sure), "speed_mps": speed,
                                 "role": role, "class": "van" if track == "2" else "car"})  # fmt: skip
            sent.append(frame(t + rng.choice([0, 0.25, 0.5]), *seen, sensor=sensor))
        for name in ("w-1", "w-2"):
            if t in dark[name] or rng.random() < 0.5:
                continue
            if rng.random() < 0.15:
                level[name] = rng.choice([5, 7, 8, 9, 14, 15, 20, 20])
            battery = {"battery_pct": rng.choice([10, 50])} if rng.random() < 0.3 else {}
            if rng.random() < 0.2:
                past = t - rng.choice([0.25, 1, 4, 7])
                sent.append(readings(name, [(past, "water_level", level[name]), (t + 0.25, "water_level", 20)]))
            elif rng.random() < 0.1:
                sent.append(reading(t, 3, "rain", name))
            else:
                said = "wet" if rng.random() < 0.03 else level[name]
                body = {**orjson.loads(reading(t, said, device=name).value or b""), **battery}
                sent.append(Sent("sensor.readings", t + 0.2, orjson.dumps(body)))
        if rng.random() < 0.25:
            sent.append(event(t + 0.5, "smoke", sensor=rng.choice(["cam-1", "cam-2"])))
        if rng.random() < 0.03:
            sent.append(reading(t + 0.75, rng.random() < 0.8, "sos", "s-1"))
        if rng.random() < 0.1:
            sent.append(tick(t + 0.3, rng.choice(list(LATENESS_S))))
    return arrived(rng, sent)


def span(rng: Random, length: int) -> range:
    start = rng.randrange(length)
    return range(start, start + rng.choice([0, 0, 8, 20, 45]))


def arrived(rng: Random, sent: Sequence[Sent]) -> list[Sent]:
    """Disorder within the lateness and beyond it, and doubles."""
    late, found = rng.choice([0, 0, 0.02, 0.1]), list[Sent]()
    for one in sent:
        shift = rng.random() * 1.7 if rng.random() < 0.3 else 0
        if rng.random() < late:
            shift = rng.choice([3.0, 6.0, 20.0, 150.0])
        found.append(one._replace(arrival_s=one.arrival_s + shift))
        if one.value is not None and rng.random() < 0.03:
            found.append(one._replace(arrival_s=one.arrival_s + rng.choice([0, 1, 30, 160])))
    return sorted(found, key=lambda s: s.arrival_s)


def fed(sent: Sequence[Sent], rng: Random) -> Stage:
    """Through the Detector, in batches of one topic, with a stop now and then."""
    stage = first_stage().again()
    most = rng.choice([1, 5, 60])
    for topic in LATENESS_S:
        records, at = [s for s in sent if s.topic == topic], 0
        while at < len(records):
            step = rng.randint(1, most)
            stage.feed(*records[at : at + step])
            at += step
            if rng.random() < 0.1:
                blob = stage.detector.snapshot()
                stage.detector = stage.new()
                stage.detector.restore(blob)
    stage.advance(END_S)
    return stage


def told_by(stage: Stage) -> list[Told]:
    return [
        Told(d.rule, d.kind, d.stage, parse_time_us(d.event_time), parse_time_us(d.opened_event_time),
             tuple(d.key.values()), d.zone or "", d.severity, d.coverage, d.value)
        for d in stage.told
    ]  # fmt: skip


def readable(told: Sequence[Told]) -> list[str]:
    """A line each, in order, times in seconds."""
    lines = []
    for t in told:
        what = f"{t.rule} {'/'.join(t.key)} {t.zone} opened {(t.opened_us - START_US) / 1e6:g}"
        when = f"{t.kind} {t.stage or '-'} at {(t.at_us - START_US) / 1e6:g}"
        value = float(t.value) if isinstance(t.value, int | float) else t.value
        lines.append(f"{what}: {when} {t.severity} {t.coverage:g} {value}")
    return sorted(lines)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_the_detector_says_what_the_oracle_says(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    oracle = Oracle(PLANS, BOXES, LATENESS_S, REACH_S)
    expected = readable(oracle.run(sent, END_S))
    stage = fed(sent, rng)
    assert readable(told_by(stage)) == expected
    assert {name: stage.bins[name] for name in oracle.bins} == oracle.bins
