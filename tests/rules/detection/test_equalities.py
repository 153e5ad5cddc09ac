"""What a Detector says depends on what was observed, not on how it was fed. Each equality is a property.

One by one = in batches = stop, snapshot, restore, go on = shuffled within the lateness = everything doubled.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.detection.detector import Changes
from tests.rules.detection.stage import Sent, Stage, car, event, frame, plain, reading, square, tick

RULES = """
version: 1
rules:
  - id: parked
    revision: 1
    name: {zh: 违停, en: Parked}
    owner: {department: traffic-police, contact: desk}
    status: active
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    where: class == "car" and speed_mps < 0.5
    zones: {in: ["no-parking/*"], not_in: ["permit/*"], edge_buffer: 1m}
    by: [sensor_id, track_id, zone]
    params: {case: 25s}
    detect:
      dwell: {for: 10s, max_move: 3m, max_gap: 4s, min_points: 3}
    stages: [{at: 10s, do: remind_owner}, {at: $case, do: second_look}, {at: $case, do: open_case}]
    close: {absent_for: 6s, min_coverage: 50%}
    overrides:
      - {where: confidence > 0.95, set: {case: 15s}, severity: major, reason: sure}
    message: {zh: "{zone.name} 违停 {plate|mask}", en: "{plate|mask} parked in {zone.name}"}
  - id: ponding
    revision: 1
    name: {zh: 积水, en: Ponding}
    owner: {department: municipal-works, contact: desk}
    status: active
    type: {code: "0406", severity: major}
    from: [sensor.readings]
    where: metric == "water_level"
    by: [device_id]
    detect:
      hold: {value: value, open_when: value >= 15cm, close_when: value < 8cm, for: 6s, close_for: 4s}
    no_data: close
    message: {zh: "{place} 积水 {value|round} 厘米", en: "Ponding at {place}, {value|round} cm"}
  - id: fire
    revision: 1
    name: {zh: 火情, en: Fire}
    owner: {department: fire-119, contact: desk}
    status: active
    type: {code: "X2104", severity: critical, life_safety: true}
    from: [camera.events]
    where: label == "fire"
    by: [sensor_id]
    detect:
      event: {repeat: {times: 3, within: 10s}}
    message: {zh: "{place} 火情", en: "Fire at {place}"}
  - id: sos
    revision: 1
    name: {zh: 求助, en: SOS}
    owner: {department: elder-care-96345, contact: desk}
    status: active
    type: {code: "X2103", severity: critical, life_safety: true}
    from: [sensor.readings]
    where: metric == "sos" and value == true
    by: [device_id]
    detect:
      event: {}
    message: {zh: "求助", en: "SOS"}
"""
ZONES = [square("a"), square("b", east_m=15), square("bay", "permit", north_m=15, side_m=8)]
LATENESS_S = {"camera.tracks": 2.0, "camera.events": 2.0, "sensor.readings": 5.0}


FIRST = Stage(RULES, ZONES)
SPOTS = [(0.0, 0.0), (1.0, 0.5), (4.0, 0.0), (19.9, 0.0), (20.7, 0.0), (0.0, 15.0), (60.0, 0.0)]
seeds = st.integers(0, 1 << 32)


def city(rng: Random) -> list[Sent]:
    """Half a minute to a minute of two cameras, a gauge and a button, in event-time order."""
    where = {track: rng.choice(SPOTS) for track in ("1", "2")}
    sent: list[Sent] = []
    for t in range(rng.randint(20, 60)):
        for sensor in ("cam-1", "cam-2"):
            if rng.random() < 0.1:
                continue
            seen = []
            for track in ("1", "2"):
                if rng.random() < 0.1:
                    where[track] = rng.choice(SPOTS)
                if rng.random() < 0.9:
                    speed = rng.choice([*[0.0] * 9, 0.4, 3.0, None])
                    sure = rng.choice([0.9, 0.97])
                    seen.append(car(track, *where[track], speed=speed, confidence=sure, plate="浙F1234" + track))
            sent.append(frame(t, *seen, sensor=sensor))
        if rng.random() < 0.5:
            sent.append(reading(t, rng.choice([5, 9, 16, *[20] * 6])))
        if rng.random() < 0.2:
            sent.append(event(t + 0.5, "fire"))
        if rng.random() < 0.06:
            sent.append(reading(t + 0.25, True, "sos", "s-1"))
    return sent


def ended(stage: Stage) -> list[bytes]:
    """What was told by a minute after the end."""
    stage.advance(200)
    return plain(stage.told)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_one_by_one_equals_batches(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    single, batched = FIRST.again(), FIRST.again()
    for one in sent:
        single.feed(one)
    by_topic = sorted(sent, key=lambda s: s.topic)
    at = 0
    while at < len(by_topic):
        step = rng.randrange(1, 30)
        batched.feed(*by_topic[at : at + step])
        at += step
    assert ended(single) == ended(batched)
    assert single.bins == batched.bins


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_stop_restore_and_go_on_equals_running_through(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    through, stopped = FIRST.again(), FIRST.again()
    through.feed(*sent)
    at = rng.randint(0, len(sent))
    stopped.feed(*sent[:at])
    blob = stopped.detector.snapshot()
    stopped.detector = stopped.new()
    stopped.detector.restore(blob)
    assert stopped.detector.snapshot() == blob
    stopped.feed(*sent[at:])
    assert ended(through) == ended(stopped)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_restart_from_entries_stored_one_by_one_equals_running_through(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    through, stopped = FIRST.again(), FIRST.again()
    tables: dict[str, dict[str, bytes]] = {topic: {} for topic in stopped.detector.lanes}
    through.feed(*sent)
    at = 0
    while at < len(sent):
        begun, at = at, at + rng.randrange(1, 60)
        encoders = {topic: stopped.detector.changes(topic) for topic in tables}
        told = len(stopped.told)
        stopped.feed(*sent[begun:at])  # what is encoded later is as it was before
        for topic, encoded in encoders.items():
            put(tables[topic], encoded())
        if rng.random() < 0.3:
            stopped.detector, stopped.told = stopped.new(), stopped.told[:told]
            for topic, table in tables.items():
                stopped.detector.restore_lane(topic, table)
            stopped.feed(*sent[begun:at])
    assert ended(through) == ended(stopped)


def put(table: dict[str, bytes], changes: Changes) -> None:
    for name, entry in changes.items():
        table.pop(name, None)
        if entry is not None:
            table[name] = entry


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_shuffled_within_the_lateness_equals_ordered(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    ordered, shuffled = FIRST.again(), FIRST.again()
    ordered.feed(*sent)
    delayed = [s._replace(arrival_s=s.arrival_s + rng.random() * (LATENESS_S[s.topic] - 0.21)) for s in sent]
    shuffled.feed(*sorted(delayed, key=lambda s: s.arrival_s))
    assert ended(ordered) == ended(shuffled)
    assert shuffled.bins["late"] == 0


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_doubled_equals_single(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    once, twice = FIRST.again(), FIRST.again()
    once.feed(*sent)
    doubled = []
    for one in sent:
        doubled.append(one)
        doubled += rng.sample(doubled[-20:], min(2, len(doubled[-20:])))
    twice.feed(*doubled)
    assert ended(once) == ended(twice)
    assert twice.bins["duplicate"] + twice.bins["late"] == len(doubled) - len(sent)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_clock_records_that_trail_the_data_change_nothing(seed: int) -> None:
    rng = Random(seed)
    sent = city(rng)
    plainly, ticked = FIRST.again(), FIRST.again()
    plainly.feed(*sent)
    topics = sorted({s.topic for s in sent})
    ticks = [tick(rng.randrange(60), topic) for _ in range(10) for topic in topics]
    ticked.feed(*sorted([*sent, *ticks], key=lambda s: s.arrival_s))
    assert ended(plainly) == ended(ticked)
