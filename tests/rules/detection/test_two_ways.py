"""Compiled loops and plain Python say the same: random rules over random cities, whole detections compared, and each
going on from the other's snapshot."""

from __future__ import annotations

from functools import lru_cache
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compiling import compiled_wanted
from models.detections import Detection
from tests.rules.detection import stage as stages
from tests.rules.detection.stage import Sent, Stage, plain, square
from tests.rules.detection.test_oracle import END_S, LATENESS_S, city

pytestmark = pytest.mark.skipif(not compiled_wanted(), reason="no numba")

ZONES = [
    square("a"),
    square("b", east_m=15),
    square("school-c", north_m=30, side_m=30),
    square("bay", "permit", -15, -15, 6),
]
FILTERS = [
    "speed_mps < 0.5",
    "speed_mps < 0.5 and confidence >= 0.9",
    'class in ("car", "van") or speed_mps == 0',
    "not (speed_mps >= 0.5)",
    "coalesce(speed_mps, 0) < 1",
]
OVERRIDES = [
    "      - {where: confidence > 0.95, severity: major, reason: sure}",
    "      - {zones: [no-parking/school-*], severity: critical, reason: school}",
    "      - {calendar: now, where: 'not contains(class, \"r\")', severity: moderate, reason: now}",
]
KEYS = [
    "[sensor_id, track_id, zone]",
    "[sensor_id, track_id]",
    "[class, zone]",
    "[track_id, class, sensor_id, role, zone]",
    "[zone]",
]
CALENDAR = """calendars:
  now: {days: [daily], times: ["07:10-07:11"]}
"""
HEAD = """
    revision: 1
    name: {zh: 名, en: Name}
    owner: {department: traffic-police, contact: desk}
    status: active
    type: {code: "0505", severity: minor}
"""


def tracks(rng: Random, number: int) -> str:
    """One dwell with limits of its own."""
    least, most = rng.choice([(3, 8), (6, 20), (10, 40)])
    seconds = rng.randint(least, most)
    clauses = [
        f"  - id: dwell-{number}{HEAD}    from: [camera.tracks]",
        f"    where: {rng.choice(FILTERS)}",
        f"    by: {(by := rng.choice(KEYS))}",
    ]
    if "zone" in by or rng.random() < 0.5:
        beyond = rng.choice(["", ", edge_buffer: 1m", ", edge_buffer: 20m"])
        apart = rng.choice(["", ', not_in: ["permit/*"]'])
        clauses.append(
            f'    zones: {{in: ["{rng.choice(["no-parking/*", "*/a", "no-parking/school-*"])}"]{apart}{beyond}}}'
        )
    move = rng.choice(["", "max_move: 3m, ", "max_move: 31m, "])
    clauses.append(
        f"    detect:\n      dwell: {{for: {seconds}s, {move}max_gap: {rng.randint(2, 12)}s, "
        f"min_points: {rng.randint(2, 6)}}}"
    )
    if rng.random() < 0.6:
        clauses.append(f"    stages: [{{at: {seconds}s, do: remind_owner}}, {{at: {seconds + 9}s, do: open_case}}]")
    if rng.random() < 0.8:
        out = rng.choice(["", f", timeout: {rng.randint(5, 60)}s"])
        share = rng.choice([0, 50, 80, 100])
        clauses.append(f"    close: {{absent_for: {rng.randint(1, 15)}s, min_coverage: {share}%{out}}}")
    if rng.random() < 0.4:
        clauses.append(f"    no_data: {rng.choice(['hold', 'close'])}")
    if rng.random() < 0.3:
        clauses.append("    active: now")
    if rng.random() < 0.3:
        until = rng.choice(["never", "2026-03-01", "2026-03-03"])
        clauses.append(f"    exempt:\n      - {{where: '{rng.choice(FILTERS[1:])}', reason: no, until: {until}}}")
    if rng.random() < 0.6:
        clauses += ["    overrides:", *rng.sample(OVERRIDES, rng.randint(1, 3))]
    clauses.append('    message: {zh: "{plate|mask} 在", en: "{class} {plate|mask}"}')
    return "\n".join(clauses)


def readings(rng: Random, number: int) -> str:
    """A hold or a repeated event."""
    if rng.random() < 0.5:
        return (
            f"  - id: hold-{number}{HEAD}    from: [sensor.readings]\n"
            '    where: metric == "water_level"\n    by: [device_id]\n    detect:\n'
            f"      hold: {{value: value, open_when: value >= {rng.randint(8, 16)}cm, close_when: value < 8cm, "
            f"for: {rng.randint(0, 9)}s, close_for: {rng.randint(0, 9)}s}}\n"
            f"    no_data: {rng.choice(['unknown', 'hold', 'close'])}\n"
            '    message: {zh: "{value}", en: "{value}"}'
        )
    return (
        f"  - id: event-{number}{HEAD}    from: [camera.events]\n    by: [sensor_id]\n    detect:\n"
        f"      event: {{repeat: {{times: {rng.randint(2, 4)}, within: {rng.randint(4, 30)}s}}}}\n"
        '    message: {zh: "{label}", en: "{label}"}'
    )


@lru_cache(maxsize=256)
def staged(seed: int) -> Stage:
    rng = Random(seed)
    rules = [tracks(rng, n) for n in range(rng.randint(1, 4))] + [readings(rng, n) for n in range(rng.randint(0, 2))]
    return Stage(f"version: 1\n{CALENDAR}rules:\n" + "\n".join(rules) + "\n", ZONES)


def told(stage: Stage, sent: list[Sent], seed: int, ways: tuple[bool, ...]) -> list[Detection]:
    """Everything told of these records, in batches; with several ways, one after the other over snapshots."""
    rng = Random(seed)
    before = stages.COMPILED
    try:
        stages.COMPILED = ways[0]
        stage = stage.again()
        for topic in LATENESS_S:
            records, at = [s for s in sent if s.topic == topic], 0
            while at < len(records):
                step = rng.choice([1, 2, 7, 60])
                stage.feed(*records[at : at + step])
                at += step
                if len(ways) > 1 and rng.random() < 0.2:
                    blob = stage.detector.snapshot()
                    stages.COMPILED = ways[rng.randrange(len(ways))]
                    stage.detector = stage.new()
                    stage.detector.restore(blob)
        stage.advance(END_S)
        return stage.told
    finally:
        stages.COMPILED = before


def in_order(found: list[Detection]) -> list[tuple[str, bytes]]:
    """As told, but for evidence: a run of one way may have begun with another of two records of the same time."""
    return [(d.event_time, orjson.dumps(plain([d])[0].decode())) for d in found]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 1 << 32))
def test_both_ways_tell_the_same_in_the_same_order(rules: int, seed: int) -> None:
    sent = city(Random(seed))
    assert in_order(told(staged(rules), sent, seed, (True,))) == in_order(told(staged(rules), sent, seed, (False,)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 1 << 32))
def test_either_way_goes_on_from_the_snapshot_of_the_other(rules: int, seed: int) -> None:
    sent = city(Random(seed))
    assert plain(told(staged(rules), sent, seed, (True, False))) == plain(told(staged(rules), sent, seed, (False,)))


def test_the_rules_tell_of_something() -> None:
    kinds = {(d.rule.split("-")[0], d.kind) for n in range(20) for d in told(staged(n), city(Random(n)), n, (True,))}
    assert {("dwell", kind) for kind in ("raised", "stage", "still", "cleared", "unknown")} <= kinds
    assert {("hold", "raised"), ("hold", "cleared"), ("event", "raised")} <= kinds
