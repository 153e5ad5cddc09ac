"""One job for every contestant: cameras report vehicles once a second; some stand in a no-parking zone long enough.

All is made from a seed. Zones are 40 m squares on a grid; each vehicle is seen by a camera of its own: one object a
message. A share of the vehicles stands 130 to 180 s in a zone (an episode), some stand 30 to 90 s (none), the others
drive through zones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.topics import partition_for

T0_MS = 1_772_406_000_000
AREAS = [f"area-{n}" for n in range(16)]
DWELL_S = 120
LON, LAT = 121.0, 30.65
STEP_LON, STEP_LAT = 0.001, 0.0009
SIDE_LON, SIDE_LAT = 0.0004, 0.00036


@dataclass(frozen=True, slots=True)
class Message:
    partition: int
    key: bytes
    timestamp_ms: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """`vehicles` × `seconds` observations; `objects` > 1 puts so many vehicles in one frame."""

    vehicles: int
    seconds: int
    zones: int = 200
    seed: int = 1
    partitions: int = 4
    objects: int = 1

    @property
    def observations(self) -> int:
        return self.vehicles * self.seconds

    @property
    def count(self) -> int:
        """How many messages it is."""
        return -(-self.vehicles // self.objects) * self.seconds

    def zone_corner(self, number: int) -> tuple[float, float]:
        return LON + number % 20 * STEP_LON, LAT + number // 20 * STEP_LAT

    def geojson(self) -> dict[str, object]:
        features = []
        for number in range(self.zones):
            x, y = self.zone_corner(number)
            ring = [[x, y], [x + SIDE_LON, y], [x + SIDE_LON, y + SIDE_LAT], [x, y + SIDE_LAT], [x, y]]
            features.append(
                {
                    "type": "Feature",
                    "id": f"z{number}",
                    "properties": {"kind": "no-parking", "area": "bench"},
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
            )
        return {"type": "FeatureCollection", "features": features}

    def stands(self) -> list[tuple[int, int]]:
        """For each vehicle, from when until when it stands (seconds); (0, 0): never."""
        rng, spans = random.Random(self.seed), []
        for _ in range(self.vehicles):
            kind, start = rng.random(), rng.randrange(1, 15)
            length = rng.randrange(130, 180) if kind < 0.2 else rng.randrange(30, 90) if kind < 0.4 else 0
            spans.append((start, start + length) if length else (0, 0))
        return spans

    def episodes(self) -> int:
        """How often a vehicle stands for the dwell, with the frame that decides it in the data."""
        return sum(end - start > DWELL_S and start + DWELL_S < self.seconds for start, end in self.stands())

    def messages(self) -> Iterator[Message]:
        """In arrival order."""
        stands, rng = self.stands(), random.Random(self.seed + 1)
        home = [rng.randrange(self.zones) for _ in stands]
        keys = [AREAS[n % len(AREAS)].encode() for n in range(self.vehicles)]
        partitions = [partition_for(key, self.partitions) for key in keys]
        groups = [range(n, min(n + self.objects, self.vehicles)) for n in range(0, self.vehicles, self.objects)]
        for second in range(self.seconds):
            at_ms = T0_MS + second * 1000
            for group in groups:
                seen = [self._object(n, second, stands[n], home[n]) for n in group]
                first = group[0]
                value = {"sensor_id": f"cam-{first:05d}", "frame_time": at_ms, "objects": seen}
                data = json.dumps(value, separators=(",", ":")).encode()
                yield Message(partitions[first], keys[first], at_ms + 200, data)

    def _object(self, number: int, second: int, span: tuple[int, int], home: int) -> dict[str, object]:
        start, end = span
        standing = start <= second < end
        x, y = self.zone_corner(home if standing or second < start else (home + second // 5) % self.zones)
        inside = 0.5 if standing else (second % 10) / 7
        return {
            "track_id": str(number),
            "class": "car",
            "lon": round(x + SIDE_LON * inside, 7),
            "lat": round(y + SIDE_LAT * 0.5, 7),
            "confidence": 0.93,
            "speed_mps": 0.0 if standing else 8.5,
        }


RULE = f"""\
version: 1
rules:
  - id: illegal-parking
    revision: 1
    name: {{zh: 违停, en: Illegal parking}}
    owner: {{department: traffic-police, contact: bench}}
    status: active
    type: {{code: "0505", severity: minor}}
    from: [camera.tracks]
    where: class == "car" and speed_mps < 0.5
    zones: {{in: ["no-parking/*"]}}
    by: [sensor_id, track_id, zone]
    detect:
      dwell: {{for: {DWELL_S}s, max_move: 3m, max_gap: 20s, min_points: 5}}
    message: {{zh: "{{zone.name}} 违停", en: "Parked in {{zone.name}}"}}
"""


def write_inputs(folder: Path, workload: Workload) -> tuple[Path, Path]:
    """The rule and the zones of a workload as files."""
    rules, zones = folder / "rules.yaml", folder / "zones.geojson"
    rules.write_text(RULE)
    zones.write_text(json.dumps(workload.geojson()))
    return rules, zones
