"""Rules that see what stands around say the same however frames are fed: tracks are mended in event-time order.

One by one = in batches = stop, snapshot, restore (compiled or plain), go on = shuffled within the lateness and doubled;
what is forgotten in between, of words and sources, changes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.compiling import compiled_wanted
from rules.detection import lane as lanes
from tests.rules.detection import stage as stages
from tests.rules.detection.stage import Sent, Stage, car, frame, plain, square, tick

pytestmark = pytest.mark.skipif(not compiled_wanted(), reason="no numba")

HEAD = """
    revision: 1
    name: {zh: 名, en: Name}
    owner: {department: traffic-police, contact: desk}
    status: active
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    message: {zh: "{plate|mask} {role} {speed_mps}", en: "{plate|mask} {role} {speed_mps}"}
"""
ZONES = [square("a", side_m=60), square("b", east_m=10, side_m=30)]
DEVICES = [
    {
        "type": "Feature",
        "id": "cam-3",
        "properties": {"kind": "camera", "area": "danghu", "ptz_preset": 1},
        "geometry": {"type": "Point", "coordinates": [121.02, 30.7]},
    }
]
WHERE = ["speed_mps < 0.5", "speed_mps > 1.5", 'class == "car"', "coalesce(speed_mps, 0) < 1", 'role == "bus"']
GAP_S = 40
END_S = 400
seeds = st.integers(0, 1 << 32)
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "SPARE_WORDS", 8)
    monkeypatch.setattr(lanes, "FORGET_SOURCE_AFTER_US", (GAP_S - 5) * 1_000_000)
    monkeypatch.setattr(lanes, "FORGET_EVERY_US", 1_000_000)


def box(rng: Random) -> str:
    ahead, behind = rng.choice([(12, 0), (8, 8), (0, 10), (4, 20)])
    sides = [f"{side}: {far}m" for side, far in (("ahead", ahead), ("behind", behind)) if far]
    share = rng.choice([5, 30, 50, 75, 100])
    kind, where = rng.choice(["none", "none", "some"]), rng.choice(WHERE)
    return f"{kind}: {{where: '{where}', {', '.join(sides)}, abeam: {rng.choice([2, 4])}m, at_least: {share}%}}"


def rule(rng: Random, number: int) -> str:
    asked = [box(rng) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.5 or not asked:
        asked.append(f"in_view: {{ahead: {rng.choice([6, 12])}m}}")
    if rng.random() < 0.5:
        asked.append("usual_stop: {wait: 60s}")
    seconds = rng.choice([4, 8, 20])
    by = rng.choice(["[sensor_id, track_id, zone]", "[sensor_id, track_id]", "[zone]", "[class, track_id]"])
    clauses = [
        f"  - id: r{number}{HEAD}    where: speed_mps < {rng.choice([0.5, 1.0])}",
        f"    by: {by}",
        f"    detect: {{dwell: {{for: {seconds}s, max_move: 5m, max_gap: {rng.choice([5, 12])}s}}}}",
    ]
    if "zone" in by or rng.random() < 0.5:
        clauses.append('    zones: {in: ["no-parking/*"], edge_buffer: 1m}')
    if rng.random() < 0.8:
        clauses.append("    neighbours:\n" + "\n".join(f"      - {one}" for one in asked))
    if rng.random() < 0.5:
        clauses.append(f"    stages: [{{at: {seconds}s, do: remind_owner}}, {{at: {seconds + 9}s, do: open_case}}]")
    if rng.random() < 0.8:
        clauses.append(f"    close: {{absent_for: {rng.randint(2, 15)}s, min_coverage: {rng.choice([0, 50, 80])}%}}")
    if rng.random() < 0.3:
        clauses.append('    overrides:\n      - {where: role == "bus", severity: major, reason: sure}')
    return "\n".join(clauses)


@lru_cache(maxsize=64)
def staged(number: int) -> Stage:
    rng = Random(number)
    rules = "\n".join(rule(rng, n) for n in range(rng.randint(1, 3)))
    return Stage(f"version: 1\nrules:\n{rules}\n", ZONES, DEVICES)


class Thing:
    """Something that stands, or drives east and begins anew."""

    def __init__(self, rng: Random, number: int) -> None:
        self.rng, self.number = rng, number
        self.east_m, self.north_m = rng.choice([0.0, 5.0, 6.0, 11.0, -20.0]), rng.choice([0.0, 0.0, 3.0, 9.0])
        self.speed_mps = rng.choice([0.0, 0.0, 0.0, 2.0, 8.0])
        self.sends_speed, self.sends_heading = rng.choice([0.0, 0.5, 1.0, 1.0]), rng.choice([0.0, 0.5, 1.0])
        self.noise_m, self.kind = rng.choice([0.0, 0.0, 0.5, 1.5]), rng.choice(["car", "car", "bus"])
        self.breaks = rng.choice([0.0, 0.0, 0.05])
        self.name = f"{number}"

    def seen(self, step_s: float) -> Any:
        rng = self.rng
        self.east_m += self.speed_mps * step_s
        if self.east_m > 40:
            self.east_m, self.name = -40.0, f"{self.number}.{rng.randrange(50)}"
        if rng.random() < 0.02:
            self.speed_mps = rng.choice([0.0, 0.0, 2.0, 8.0])
        if rng.random() < self.breaks:
            self.name = f"{self.number}.{rng.randrange(50)}"
        more: dict[str, Any] = {"class": self.kind, "role": rng.choice(["taxi", "bus", f"r{rng.randrange(40)}"])}
        if rng.random() < 0.5:
            more["plate"] = f"浙F1234{self.number}"
        if rng.random() < self.sends_heading:
            more["heading_deg"] = 90.0
        east, north = (at + rng.gauss(0, self.noise_m) for at in (self.east_m, self.north_m))
        speed = self.speed_mps if rng.random() < self.sends_speed else None
        found = car(self.name, east, north, speed, **more)
        return {**found, "lon": None, "lat": None} if rng.random() < 0.02 else found


def street(rng: Random) -> list[Sent]:
    """Half a minute to two minutes of up to three cameras, one of which turns; in event-time order."""
    step_s, upto_s = rng.choice([0.25, 1.0, 1.0]), rng.choice([30, 60, 120])
    sent: list[Sent] = []
    for sensor in rng.sample(["cam-1", "cam-2", "cam-3"], rng.randint(1, 3)):
        things = [Thing(rng, n) for n in range(rng.randint(1, 5))]
        turns, gap_s, dark = sensor == "cam-3" or rng.random() < 0.4, 0, 0
        preset = 1.0
        for at in range(round(upto_s / step_s)):
            if rng.random() < 0.01:
                gap_s += rng.choice([3, 15, GAP_S])
            dark = rng.choice([3, 8, 30]) if rng.random() < 0.02 else dark - 1
            if turns and rng.random() < 0.05:
                preset = rng.choice([1.0, 1.0, 2.0, 1.5])
            seen = [] if dark > 0 else [thing.seen(step_s) for thing in things if rng.random() < 0.95]
            one = frame(gap_s + at * step_s, *seen, sensor=sensor)
            if turns and rng.random() < 0.9:
                assert one.value is not None
                one = one._replace(value=one.value[:-1] + b',"ptz_preset":%g}' % preset)
            if rng.random() < 0.1:
                assert one.value is not None
                one = one._replace(value=one.value[:-1] + b',"made_up":"\\u0041"}')
            if rng.random() > 0.05:
                sent.append(one)
    return sorted(sent, key=lambda s: s.arrival_s)


def ended(stage: Stage) -> list[bytes]:
    stage.advance(END_S)
    return plain(stage.told)


def fed(stage: Stage, sent: list[Sent], rng: Random, most: int) -> Stage:
    at = 0
    while at < len(sent):
        step = rng.randint(1, most)
        stage.feed(*sent[at : at + step])
        at += step
    return stage


@few
@given(st.integers(0, 60), seeds)
def test_one_by_one_equals_batches(rules: int, seed: int) -> None:
    sent = street(Random(seed))
    single, batched = staged(rules).again(), staged(rules).again()
    fed(single, sent, Random(seed), 1)
    fed(batched, sent, Random(seed), 100)
    assert ended(single) == ended(batched)
    assert single.bins == batched.bins


@few
@given(st.integers(0, 60), seeds)
def test_shuffled_within_the_lateness_and_doubled_equals_ordered(rules: int, seed: int) -> None:
    rng = Random(seed)
    sent = street(rng)
    ordered, shuffled = staged(rules).again(), staged(rules).again()
    fed(ordered, sent, rng, 20)
    delayed = [s._replace(arrival_s=s.arrival_s + rng.random() * 1.79) for s in sent]
    delayed += [s._replace(arrival_s=s.arrival_s + rng.random() * 30) for s in rng.sample(sent, len(sent) // 3)]
    fed(shuffled, sorted(delayed, key=lambda s: s.arrival_s), rng, 20)
    assert ended(ordered) == ended(shuffled)


@few
@given(st.integers(0, 60), seeds)
def test_either_way_goes_on_from_the_snapshot_of_the_other(rules: int, seed: int) -> None:
    rng = Random(seed)
    sent = street(rng)
    through = fed(staged(rules).again(), sent, rng, 20)
    before, stopped, at = stages.COMPILED, staged(rules).again(), 0
    try:
        while at < len(sent):
            step = rng.randint(1, 30)
            stopped.feed(*sent[at : at + step])
            at += step
            if rng.random() < 0.3:
                blob = stopped.detector.snapshot()
                stages.COMPILED = rng.random() < 0.5
                stopped.detector = stopped.new()
                stopped.detector.restore(blob)
    finally:
        stages.COMPILED = before
    assert ended(through) == ended(stopped)


@few
@given(st.integers(0, 60), seeds)
def test_compiled_and_plain_tell_the_same_in_the_same_order(rules: int, seed: int) -> None:
    sent = street(Random(seed))
    before, told = stages.COMPILED, []
    try:
        for stages.COMPILED in (True, False):
            stage = fed(staged(rules).again(), sent, Random(seed), 30)
            stage.advance(END_S)
            told.append([(d.event_time, plain([d])) for d in stage.told])
    finally:
        stages.COMPILED = before
    assert told[0] == told[1]


@few
@given(st.integers(0, 60), seeds)
def test_clock_records_that_trail_the_data_change_nothing(rules: int, seed: int) -> None:
    rng = Random(seed)
    sent = street(rng)
    ticks = [tick(rng.randrange(150)) for _ in range(10)]
    plainly = fed(staged(rules).again(), sent, rng, 20)
    ticked = fed(staged(rules).again(), sorted([*sent, *ticks], key=lambda s: s.arrival_s), rng, 20)
    assert ended(plainly) == ended(ticked)


def test_the_rules_tell_of_something() -> None:
    kinds = set()
    for n in range(25):
        stage = fed(staged(n).again(), street(Random(n)), Random(n), 30)
        stage.advance(END_S)
        asked = {r.id for r in stage.bundle.rules if r.neighbours is not None}
        kinds |= {d.kind for d in stage.told if d.rule in asked}
    assert {"raised", "stage", "still", "cleared", "unknown"} <= kinds
