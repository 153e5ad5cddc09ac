"""A small city as files, and a recording of a minute and a half in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from streams.recording import RecordedLine, RecordingWriter
from tests.rules.detection.stage import Sent, at_ms, car, frame, square

HEAD = """revision: 3
    name: {zh: 违停, en: Parked}
    owner: {department: traffic-police, contact: desk}
    type: {code: "0505", severity: minor}
    from: [camera.tracks]
    message: {zh: "违停", en: "parked"}
    by: [sensor_id, track_id, zone]
    zones: {in: ["no-parking/*"], not_in: ["permit/*"]}
    where: class == "car" and speed_mps < 0.5
    exempt: [{where: role == "police", reason: on duty, until: never}]
    merge: {same_zone: true, radius: 200m, window: 30m}
    close: {absent_for: 6s, min_coverage: 50%}"""
RULES = f"""version: 1
calendars:
  morning: {{days: [daily], times: ["07:00-07:11"]}}
rules:
  - id: parked
    status: active
    {HEAD}
    active: morning
    params: {{stand: 10s}}
    detect:
      dwell: {{for: $stand, max_move: 3m, max_gap: 4s, min_points: 5}}
  - id: tried
    status: shadow
    {HEAD}
    detect:
      dwell: {{for: 10s, max_move: 3m, max_gap: 4s, min_points: 5}}
  - id: drafted
    status: draft
    {HEAD}
    detect:
      dwell: {{for: 10s, max_move: 3m, max_gap: 4s, min_points: 5}}
"""


class Scene(NamedTuple):
    """The files, as commands take them."""

    rules: Path
    zones: Path
    recording: Path

    def ground(self) -> list[str]:
        return ["--zones", str(self.zones), "--drain", "30s"]


def seconds() -> list[Sent]:
    """Track 17 stands from 0 to 20 s, 18 beside it from 5 to 25 s; 5 stands with a gap of 7 s; 6 outside; 7 drives;
    8 is of the police; 9 is where parking is permitted; 30 stands too late in the day; 40 moves on."""
    sent = []
    for t in range(90):
        seen = []
        if t <= 20:
            seen.append(car("17", speed=0.0))
        if 5 <= t <= 25:
            seen.append(car("18", east_m=6, speed=0.0))
        if t <= 8 or 15 <= t <= 20:
            seen.append(car("5", east_m=12, speed=0.0))
        if t <= 20:
            seen += [car("6", east_m=60, speed=0.0), car("7", speed=3.0), car("8", speed=0.0, role="police")]
            seen += [car("9", east_m=-15, north_m=-15), car("40", east_m=-10 + 0.4 * t, north_m=5)]
        if t >= 70:
            seen.append(car("30", north_m=8))
        sent.append(frame(t, *seen))
    sent.insert(12, Sent("camera.tracks", 12.1, b"{not json"))
    return sent


def scene(folder: Path, rules: str = RULES) -> Scene:
    zones = [square("a"), square("bay", "permit", -15, -15, 6)]
    made = Scene(folder / "rules.yaml", folder / "zones.geojson", folder / "small.jsonl")
    made.rules.write_text(rules)
    made.zones.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": zones}))
    write(made.recording, seconds())
    return made


def write(file: Path, sent: Sequence[Sent]) -> None:
    with RecordingWriter(str(file)) as writer:
        for one in sent:
            writer.write(RecordedLine(one.topic, one.key, at_ms(one.arrival_s), one.value, one.headers))
