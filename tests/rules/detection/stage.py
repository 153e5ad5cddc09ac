"""A small stage for time tables: one rule, a few zones, records at seconds from a start, and what was told when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple

import orjson

from geo.atlas import Atlas
from geo.registry import Registry, read_registry
from geo.zones import read_zones
from models.decode import Decoder
from models.detections import Detection
from models.privacy import Tokens
from models.ticks import TICK_HEADER
from models.times import parse_time_us, zone_info
from rules.detection.detector import Detector
from rules.language.load import Context, SourceFile, load_rules
from rules.language.model import Bundle
from rules.tables.model import TrafficTable

START_US = parse_time_us("2026-03-02T07:10:00+08:00")
ZONE = zone_info("Asia/Shanghai")
LON, LAT = 121.02, 30.70
METRE_LON, METRE_LAT = 1 / 95_802, 1 / 110_864
COMPILED: bool | None = None
"""Whether the Detectors of stages run compiled loops; None: as the process would."""
METRIC_UNITS = {"water_level": "cm", "tilt": "deg"}


class Sent(NamedTuple):
    """A record before it is fed: arrival in seconds from the start."""

    topic: str
    arrival_s: float
    value: bytes | None
    key: bytes = b"danghu"
    headers: tuple[tuple[str, bytes], ...] = ()


class Fed(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def square(identity: str, kind: str = "no-parking", east_m: float = 0, north_m: float = 0, side_m: float = 40) -> Any:
    """A square zone centred so many metres from the middle."""
    x, y = LON + east_m * METRE_LON, LAT + north_m * METRE_LAT
    w, h = side_m / 2 * METRE_LON, side_m / 2 * METRE_LAT
    ring = [[x - w, y - h], [x + w, y - h], [x + w, y + h], [x - w, y + h], [x - w, y - h]]
    return {
        "type": "Feature",
        "id": identity,
        "properties": {"kind": kind, "area": "danghu"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def at_ms(second: float) -> int:
    return START_US // 1000 + round(second * 1000)


def car(track: str = "17", east_m: float = 0, north_m: float = 0, speed: float | None = 0.0, **more: Any) -> Any:
    """One object of a frame."""
    seen = {
        "track_id": track,
        "class": "car",
        "lon": LON + east_m * METRE_LON,
        "lat": LAT + north_m * METRE_LAT,
        "confidence": 0.9,
        **more,
    }
    return seen if speed is None else {**seen, "speed_mps": speed}


def frame(second: float, *objects: Any, sensor: str = "cam-1", delay: float = 0.2) -> Sent:
    value = {"sensor_id": sensor, "frame_time": at_ms(second), "objects": list(objects)}
    return Sent("camera.tracks", second + delay, orjson.dumps(value))


def reading(second: float, value: Any, metric: str = "water_level", device: str = "w-1", delay: float = 0.2) -> Sent:
    body = {"device_id": device, "metric": metric, "value": value, "reading_time": at_ms(second)}
    place = {"lon": LON, "lat": LAT}
    return Sent("sensor.readings", second + delay, orjson.dumps({**body, **place}))


def event(second: float, label: str, confidence: float = 0.95, sensor: str = "cam-1", delay: float = 0.2) -> Sent:
    body = {"event_id": f"e-{sensor}-{second}", "sensor_id": sensor, "event_time": at_ms(second), "label": label}
    return Sent(
        "camera.events", second + delay, orjson.dumps({**body, "confidence": confidence, "lon": LON, "lat": LAT})
    )


def tick(second: float, topic: str = "camera.tracks") -> Sent:
    """A clock record."""
    return Sent(topic, second, None, b"danghu", ((TICK_HEADER, b"%d" % at_ms(second)),))


def bundle_of(text: str, zones: Sequence[Any] = ()) -> Bundle:
    """The rules of a YAML text; its problems fail the test."""
    paths = [f"{z['properties']['kind']}/{z['id']}" for z in zones]
    bundle, problems = load_rules(
        [SourceFile("test.yaml", text.encode())], Context(zone_paths=paths if zones else None)
    )
    assert bundle is not None, "\n".join(p.text() for p in problems)
    return bundle


class Stage:
    traffic: TrafficTable | None = None
    """Whether its Detectors make traffic states, and how they judge."""

    def __init__(self, rules: str | Bundle, zones: Sequence[Any] = (), devices: Sequence[Any] = ()) -> None:
        found, problems = read_zones(
            [("z.geojson", orjson.dumps({"type": "FeatureCollection", "features": list(zones)}))]
        )
        assert not problems, [p.text() for p in problems]
        registry: Registry | None = None
        if devices:
            data = orjson.dumps({"type": "FeatureCollection", "features": list(devices)})
            registry, problems = read_registry([("devices.geojson", data)])
            assert not problems, [p.text() for p in problems]
        self.bundle = rules if isinstance(rules, Bundle) else bundle_of(rules, zones)
        self.atlas = Atlas.of(found, registry, None)
        self.decoder = Decoder(Tokens(b"test-key-of-16-bytes"), METRIC_UNITS)
        self.detector = self.new()
        self.offset = 0
        self.told: list[Detection] = []
        self.bins: dict[str, int] = {}

    def new(self) -> Detector:
        return Detector(
            self.bundle,
            self.atlas,
            self.decoder,
            partition=0,
            zone=ZONE,
            accept_unregistered=True,
            compiled=COMPILED,
            traffic=self.traffic,
        )

    def again(self) -> Stage:
        """The same rules and zones, which are read once, from the start."""
        another = copy(self)
        another.detector, another.offset, another.told, another.bins = another.new(), 0, [], {}
        return another

    def feed(self, *sent: Sent) -> list[Detection]:
        """Feed in the order given, runs of one topic as one batch; what was told by this call."""
        before = len(self.told)
        run: list[Sent] = []
        for one in sent:
            if run and run[0].topic != one.topic:
                self._flush(run)
                run = []
            run.append(one)
        if run:
            self._flush(run)
        return self.told[before:]

    def _flush(self, run: Sequence[Sent]) -> None:
        records = []
        for one in run:
            records.append(Fed(self.offset, at_ms(one.arrival_s), one.key, one.value, one.headers))
            self.offset += 1
        outcome = self.detector.feed(run[0].topic, records)
        self.told += outcome.detections
        data = sum(1 for one in run if one.value is not None or not one.headers)
        bins = {
            "used": outcome.used,
            "filtered": outcome.filtered,
            "duplicate": outcome.duplicate,
            "late": len(outcome.late),
            "dead": len(outcome.dead),
        }
        assert sum(bins.values()) == data, f"{data} records, bins {bins}"
        for name, count in bins.items():
            self.bins[name] = self.bins.get(name, 0) + count

    def advance(self, second: float) -> list[Detection]:
        told = self.detector.advance(START_US + round(second * 1e6))
        self.told += told
        return told

    def table(self) -> list[tuple[float, str, str | None]]:
        """(seconds from the start, kind, stage) of everything told, `still` left out."""
        return [(seconds(d), d.kind, d.stage) for d in self.told if d.kind != "still"]


def seconds(detection: Detection) -> float:
    """When it says it happened, from the start."""
    return (parse_time_us(detection.event_time) - START_US) / 1e6


def plain(told: Iterable[Detection]) -> list[bytes]:
    """Detections as comparable text: without evidence, whose offsets differ when records are sent in another order."""
    import msgspec

    return sorted(orjson.dumps({**msgspec.to_builtins(d), "evidence": None}) for d in told)
