"""Boxes and shares against the oracle: clean tracks, random boxes, frames in random batches."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.detection.oracle import Around, Limits, Oracle, Plan, Row, Where
from tests.rules.detection.oracle import Box as Zone
from tests.rules.detection.stage import Sent, Stage, car, frame, square
from tests.rules.detection.test_oracle import readable, told_by

RULE = """
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
    zones: {in: ["no-parking/*"]}
    by: [sensor_id, track_id, zone]
    neighbours:
      NEIGHBOURS
    detect:
      dwell: {for: 10s, max_move: 3m, max_gap: 4s, min_points: 3}
    stages: [{at: 10s, do: remind_owner}, {at: 15s, do: open_case}]
    close: {absent_for: 6s, min_coverage: 50%}
    message: {zh: "{zone.name} 违停", en: "Parked in {zone.name}"}
"""
SPOTS = [(0, 0), (0.4, 0.3), (6, 0), (6.3, 1.1), (-7, 0), (0, 3.4), (0, -5.3), (11.7, 2.3), (70, 0)]
HEADINGS = {"1": 90.0, "2": 90.0, "3": 270.0, "4": 33.0, "5": None}
"""The last stays where it is: what jumps and sends no heading has one that is estimated."""
END_S = 200


def stands(row: Row) -> bool:
    return row.get("speed_mps") is not None and row["speed_mps"] < 0.5


def drives(row: Row) -> bool:
    return row.get("speed_mps") is not None and row["speed_mps"] > 2


def is_van(row: Row) -> bool:
    return bool(row["class"] == "van")


WHERE: dict[str, Where] = {"speed_mps < 0.5": stands, "speed_mps > 2": drives, 'class == "van"': is_van}


@lru_cache(maxsize=128)
def asked(number: int) -> tuple[Stage, list[Around]]:
    rng, boxes, texts = Random(number), list[Around](), list[str]()
    for _ in range(rng.randint(1, 3)):
        where = rng.choice(list(WHERE))
        ahead, behind = rng.choice([(12, 0), (8, 8), (0, 10), (5, 20)])
        abeam, percent = rng.choice([1, 2, 6]), rng.choice([5, 7, 30, 50, 50, 93, 100])
        around = Around(rng.choice(["none", "some"]), WHERE[where], ahead, behind, abeam, percent)
        boxes.append(around)
        reach = "".join(f"{side}: {far}m, " for side, far in (("ahead", ahead), ("behind", behind)) if far)
        texts.append(f"- {around.kind}: {{where: '{where}', {reach}abeam: {abeam}m, at_least: {percent}%}}")
    rules = RULE.replace("NEIGHBOURS", "\n      ".join(texts))
    return Stage(rules, [square("a", side_m=60)]), boxes


def street(rng: Random) -> list[Sent]:
    where = {track: rng.choice(SPOTS) for track in HEADINGS}
    sent = []
    for t in range(rng.randint(20, 90)):
        if rng.random() < 0.05:
            continue
        seen = []
        for track, heading in HEADINGS.items():
            if rng.random() < 0.04 and heading is not None:
                where[track] = rng.choice(SPOTS)
            if rng.random() < 0.93:
                speed = rng.choice([*[0.0] * 12, 0.4, 8.0])
                one = car(track, *where[track], speed, **({} if heading is None else {"heading_deg": heading}))
                seen.append({**one, "class": "van" if track == "3" else "car"})
        sent.append(frame(t + rng.choice([0, 0.25]), *seen))
    return sent


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100), st.integers(0, 1 << 32))
def test_the_detector_finds_around_what_the_oracle_finds(number: int, seed: int) -> None:
    rng = Random(seed)
    first, around = asked(number)
    sent = street(rng)
    limits = Limits(for_s=10, max_move_m=3, max_gap_s=4, min_points=3, absent_s=6, share=0.5,
                    stages=[(10, "remind_owner"), (15, "open_case")])  # fmt: skip
    plan = Plan("parked", "camera.tracks", "dwell", ("sensor_id", "track_id", "zone"), limits,
                lambda row: row["class"] == "car" and stands(row), ["no-parking/a"], around=around)  # fmt: skip
    oracle = Oracle([plan], [Zone("no-parking/a", 0, 0, 60)], {"camera.tracks": 2.0}, {"cam-1": 10})
    stage, at = first.again(), 0
    while at < len(sent):
        step = rng.choice([1, 7, 60])
        stage.feed(*sent[at : at + step])
        at += step
    stage.advance(END_S)
    assert readable(told_by(stage)) == readable(oracle.run(sent, END_S))
