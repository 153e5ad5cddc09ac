"""A small city's traffic, made up from a seed: every record stamped, and a ledger of what each one is meant to be.

The places are the shipped zones and devices. Who stands where and when, what rises and falls, who calls: all follows
from the seed. Some records come twice, most out of order within the lateness, some too late, some broken.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import cos, radians
from typing import Any, NamedTuple

import orjson
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from models.ids import content_id
from models.streams import DETECTOR_TOPICS
from models.times import parse_time_us
from streams.recording import RecordedLine
from streams.settings import SHIPPED_REGISTRY, SHIPPED_ZONES

STAMP = "zhinao_stamp"
START_MS = parse_time_us("2026-03-02T09:00:00+08:00") // 1000
CENTRE = "pinghu"
METRE_LAT = 1 / 111_000
METRE_LON = METRE_LAT / cos(radians(30.69))
DISORDER_S = 1.4
"""Less than the shortest lateness (2 s), so that nothing of it is late."""
LATE_S = 30.0
"""Behind every watermark."""
BESIDE_S = 0.503
"""A late frame after one of its camera, and at the instant of no other: that would be a double of it."""
DRAIN_S = 45
"""After the last record, for all conditions to end and all clocks to run out."""

Fate = str
"""used (by a rule or not), duplicate, late, or dead:<reason>."""


class Zone(NamedTuple):
    path: str
    area: str
    ground: BaseGeometry


class Stamped(NamedTuple):
    """A record of the load: `at_ms` when it is sent, `seq` its number; a double has the number of the first."""

    at_ms: int
    topic: str
    key: bytes
    value: bytes | None
    seq: int
    fate: Fate


class Stay(NamedTuple):
    """A car at one place of one camera's view, over seconds from the start; `moving`: it only passes."""

    camera: str
    area: str
    track: str
    lon: float
    lat: float
    seconds: tuple[tuple[float, float], ...]
    moving: bool = False


@cache
def features(path: str) -> list[Any]:
    found: list[Any] = orjson.loads((SHIPPED_ZONES.parent / path).read_bytes())["features"]
    return found


@cache
def zones(kind: str = "no-parking") -> tuple[Zone, ...]:
    """The shipped zones of a kind."""
    return tuple(
        Zone(f"{kind}/{f['id']}", f["properties"]["area"], shape(f["geometry"]))
        for f in features(f"{SHIPPED_ZONES.name}/pinghu.geojson")
        if f["properties"]["kind"] == kind
    )


@cache
def devices(kind: str) -> dict[str, str]:
    """Devices of a kind → their area."""
    listed = features(f"{SHIPPED_REGISTRY.name}/devices.geojson")
    return {f["id"]: f["properties"]["area"] for f in listed if f["properties"]["kind"] == kind}


@cache
def segments() -> dict[str, str]:
    listed = features(f"{SHIPPED_REGISTRY.name}/segments.geojson")
    return {f["id"]: f["properties"]["area"] for f in listed}


def dump(body: Mapping[str, object]) -> bytes:
    return orjson.dumps(body)


@dataclass(slots=True)
class Load:
    """`seconds` of traffic beginning at `start_ms`. Shares are of all records; `crowd` multiplies the cars.

    `hot`: frames a second of the first camera. `visitors`: cars in each frame that stand in a zone and are in no other
    frame, each a key of its own.
    """

    seed: int
    seconds: int = 60
    start_ms: int = START_MS
    crowd: int = 1
    doubled: float = 0.05
    poison: float = 0.01
    late: float = 0.01
    tickets: int = 6
    hot: int = 1
    visitors: int = 0
    records: list[Stamped] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    chance: random.Random = field(init=False)
    run: str = field(init=False)
    _seq: int = 0
    _visits: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.run = f"r{self.seed}"
        self._cars()
        self._frames()
        self._levels("sensor.readings", devices("water_level"), self._water, low=4, high=22, between=11)
        chosen = dict(self.chance.sample(sorted(segments().items()), 6))
        self._levels("traffic.measurements", chosen, self._traffic, low=40, high=9, between=18)
        self._camera_events()
        self._calls_for_help()
        self._tickets()
        self._positions()
        self._poison()
        self.records.sort()

    # what is sent

    def lines(self) -> Iterator[RecordedLine]:
        """As a recording, in the order of arrival."""
        for record in self.records:
            crc = zlib.crc32(record.value or b"")
            stamp = f"{self.run}/{record.topic}/{record.seq}/{crc:08x}".encode()
            yield RecordedLine(record.topic, record.key, record.at_ms, record.value, ((STAMP, stamp),))

    def ledger(self) -> dict[str, Counter[Fate]]:
        """How many records of each topic are meant to end how."""
        found: dict[str, Counter[Fate]] = {}
        for record in self.records:
            found.setdefault(record.topic, Counter())[record.fate] += 1
        return found

    def used(self, topic: str) -> list[dict[str, Any]]:
        """What a Detector or the Desk is to take in, each record once."""
        return [orjson.loads(r.value or b"") for r in self.records if r.topic == topic and r.fate == "used"]

    def _add(self, topic: str, key: str, second: float, body: Mapping[str, object]) -> None:
        at_ms = self.ms(second + self.chance.uniform(0.05, DISORDER_S))
        first = self._put(at_ms, topic, key, dump(body), "used")
        if self.chance.random() < self.doubled:
            self.records.append(first._replace(at_ms=at_ms + self.chance.randrange(1, 3000), fate="duplicate"))

    def _put(self, at_ms: int, topic: str, key: str, value: bytes | None, fate: Fate) -> Stamped:
        self._seq += 1
        self.records.append(Stamped(at_ms, topic, key.encode(), value, self._seq, fate))
        return self.records[-1]

    def ms(self, second: float) -> int:
        return self.start_ms + round(second * 1000)

    # cars

    def _cars(self) -> None:
        cameras = sorted(devices("camera").items())
        number = 0
        for zone in zones():
            seen_by = [camera for camera, area in cameras if area == zone.area]
            for _ in range(2 * self.crowd):
                number += 1
                lon, lat = self._inside(zone)
                plan, moving = self._plan()
                self.stays.append(Stay(self.chance.choice(seen_by), zone.area, f"car-{number}", lon, lat, plan, moving))
            number += 1
            lon, lat = self._inside(zone)
            away = (lon + 400 * METRE_LON, lat + 300 * METRE_LAT)
            self.stays.append(Stay(seen_by[0], zone.area, f"car-{number}", *away, ((0.0, float(self.seconds)),)))

    def _inside(self, zone: Zone) -> tuple[float, float]:
        """A place well inside the zone and well away from every other."""
        ground = zone.ground.buffer(-3 * METRE_LAT)
        west, south, east, north = ground.bounds
        while True:
            lon, lat = self.chance.uniform(west, east), self.chance.uniform(south, north)
            near = any(abs(s.lon - lon) < 4 * METRE_LON and abs(s.lat - lat) < 4 * METRE_LAT for s in self.stays)
            if ground.contains(Point(lon, lat)) and not near:
                return round(lon, 7), round(lat, 7)

    def _plan(self) -> tuple[tuple[tuple[float, float], ...], bool]:
        begin = self.chance.uniform(0, max(1.0, self.seconds - 35))
        match self.chance.randrange(5):
            case 0:  # too short
                return ((begin, begin + self.chance.uniform(2, 6)),), False
            case 1:  # away for a moment: one stay
                return ((begin, begin + 5), (begin + 8, begin + 17)), False
            case 2:  # gone and back: two of them
                return ((begin, begin + 12), (begin + 21, begin + 33)), False
            case 3:
                return ((begin, begin + 15),), True
            case _:
                return ((begin, begin + self.chance.uniform(11, 30)),), False

    def _frames(self) -> None:
        by_camera: dict[str, list[Stay]] = {}
        for stay in self.stays:
            by_camera.setdefault(stay.camera, []).append(stay)
        for camera, area in sorted(devices("camera").items()):
            phase = self.chance.randrange(100) / 1000
            ghost = self._inside(next(zone for zone in zones() if zone.area == area))
            rate = self.hot if camera == hottest() else 1
            for frame in range(self.seconds * rate):
                at = frame / rate + phase
                objects = [self._seen(s, at) for s in by_camera.get(camera, ()) if _present(s, at)]
                objects += [self._visitor(ghost) for _ in range(self.visitors)]
                self._add("camera.tracks", area, at, self._frame(camera, at, objects))
                if self.chance.random() < self.late and at + LATE_S < self.seconds:
                    self._late_frame(camera, area, at + BESIDE_S, ghost)

    def _frame(self, camera: str, at: float, objects: list[dict[str, object]]) -> dict[str, object]:
        return {"sensor_id": camera, "frame_time": self.ms(at), "crs": "wgs84", "objects": objects}

    def _seen(self, stay: Stay, at: float) -> dict[str, object]:
        speed = 7.0 if stay.moving else 0.1
        jitter = self.chance.uniform(-0.4, 0.4) * METRE_LAT
        return {
            "track_id": stay.track,
            "class": "car",
            "lon": stay.lon,
            "lat": stay.lat + jitter + (7 * METRE_LAT * (at % 3) if stay.moving else 0),
            "speed_mps": speed,
            "plate": f"浙F{stay.track[4:].zfill(5)}",
        }

    def _visitor(self, place: tuple[float, float]) -> dict[str, object]:
        self._visits += 1
        lon, lat = place
        return {"track_id": f"visitor-{self._visits}", "class": "car", "lon": lon, "lat": lat, "speed_mps": 0.1}

    def _late_frame(self, camera: str, area: str, at: float, place: tuple[float, float]) -> None:
        """With a ghost that would be parked if the frames that show it counted."""
        lon, lat = place
        ghost = {"track_id": f"ghost-{camera[-2:]}", "class": "car", "lon": lon, "lat": lat, "speed_mps": 0.0}
        value = dump(self._frame(camera, at, [ghost]))
        self._put(self.ms(at + LATE_S), "camera.tracks", area, value, "late")

    # levels

    def _levels(
        self, topic: str, sources: Mapping[str, str], body: Any, *, low: float, high: float, between: float
    ) -> None:
        for source, area in sorted(sources.items()):
            phase = self.chance.randrange(100) / 1000
            level, until = low, self.chance.uniform(3, 8)
            for second in range(self.seconds):
                if second >= until:
                    level = self.chance.choice([x for x in (low, high, between) if x != level])
                    until = second + self.chance.choice((2, 3, 7, 9, 12))
                self._add(topic, area, second + phase, body(source, second + phase, level))

    def _water(self, device: str, at: float, level: float) -> dict[str, object]:
        said = {"device_id": device, "metric": "water_level", "value": level, "unit": "cm"}
        return {**said, "reading_time": self.ms(at)}

    def _traffic(self, segment: str, at: float, level: float) -> dict[str, object]:
        said = {"segment_id": segment, "source": f"loop-{segment}", "end_time": self.ms(at), "period_s": 1}
        return {**said, "speed_kmh": level, "sample_size": 3, "lane": 1}

    # single events

    def _camera_events(self) -> None:
        cameras = sorted(devices("camera").items())
        for number in range(max(4, self.seconds // 5)):
            camera, area = cameras[number % len(cameras)]
            at = number * 5 + self.chance.uniform(0, 3)
            if at < self.seconds:
                said = {"event_id": f"{self.run}-e{number}", "sensor_id": camera, "event_time": self.ms(at)}
                more = {"label": "cover_missing", "confidence": self.chance.choice((0.5, 0.9))}
                self._add("camera.events", area, at, {**said, **more})

    def _calls_for_help(self) -> None:
        for device, area in sorted(devices("sos").items()):
            at = self.chance.uniform(1, self.seconds - 1)
            said = {"device_id": device, "metric": "sos", "value": True, "reading_time": self.ms(at)}
            self._add("sensor.readings", area, at, said)

    # people

    def _tickets(self) -> None:
        """Calls from places of their own; what is done about each follows on the way."""
        for number in range(self.tickets):
            at = 2 + number * max(2.0, (self.seconds - 45) / max(1, self.tickets)) + self.chance.random()
            if at >= self.seconds:
                return
            ticket = f"{self.run}-t{number}"
            said = {"ticket_id": ticket, "line": "12345", "call_time": self.ms(at), "kind": "complaint"}
            more = {"category": "暴露垃圾", "text": "路边有暴露垃圾", "caller": f"139{self.seed % 10000:04}{number:04}"}
            lon, lat = 121.008 + 0.0015 * (number % 9), 30.684 + 0.0015 * (number // 9 % 7)
            place = {} if number % 6 == 5 else {"lon": lon, "lat": lat, "error_m": 5}
            self._add("hotline.tickets", CENTRE, at, {**said, **more, **place, "urgency": "normal"})
            if place:
                self._answers(content_id("i", ticket), at)

    def _answers(self, incident: str, at: float) -> None:
        order = content_id("o", incident, 1)
        for after, action in ((8, "accepted"), (13, "arrived"), (18, "handled")):
            said = {"feedback_id": f"{incident}-{action}", "order_id": order, "incident_id": incident, "action": action}
            self._add(
                "dispatch.feedback", CENTRE, at + after, {**said, "actor": "u-sz-01", "time": self.ms(at + after)}
            )
        said = {"command_id": f"{incident}-close", "incident_id": incident, "command": "close", "actor": "zhang"}
        more = {"role": "dispatcher", "time": self.ms(at + 38), "args": {}}
        self._add("commands", CENTRE, at + 38, {**said, **more})

    def _positions(self) -> None:
        for second in range(0, self.seconds, 5):
            said = {
                "vehicle_id": "v-1",
                "time": self.ms(second),
                "role": "police",
                "on_duty": True,
                "unit_id": "u-jj-01",
            }
            self._add("vehicle.positions", CENTRE, second, {**said, "lon": 121.0131, "lat": 30.6882, "speed_mps": 1.0})

    # what is broken

    def _poison(self) -> None:
        good = [r for r in self.records if r.fate == "used"]
        broken: tuple[tuple[bytes | None, str], ...] = (
            (b"{not json", "not_json"),
            (b"[]", "not_an_object"),
            (b"{}", "missing_field"),
        )
        for record in good:
            if self.chance.random() < self.poison:
                value, reason = self.chance.choice(broken)
                self._put(record.at_ms + 1, record.topic, record.key.decode(), value, f"dead:{reason}")


def hottest() -> str:
    """The camera that `hot` is about."""
    return min(devices("camera"))


def _present(stay: Stay, at: float) -> bool:
    return any(begin <= at < end for begin, end in stay.seconds)


def stamp_of(headers: object) -> tuple[str, str, int, int] | None:
    """(run, source, seq, crc32) of a record's headers, or nothing for one that the load did not make."""
    for name, value in headers or ():  # type: ignore[attr-defined]
        if name == STAMP:
            run, source, seq, crc = value.decode().rsplit("/", 3)
            return run, source, int(seq), int(crc, 16)
    return None


def is_detector_topic(topic: str) -> bool:
    return topic in DETECTOR_TOPICS
