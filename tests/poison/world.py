"""The city that poison is put into: the shipped zones, registry and tables under quick rules, and good records."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from models.ids import content_id
from models.observations import DecodeFailure
from models.streams import DESK_TOPICS, DETECTOR_TOPICS
from models.times import parse_time_us
from streams.city import City, build_city
from streams.settings import SHIPPED_REGISTRY, SHIPPED_ZONES, Settings
from streams.topics import partition_for
from tests.models.samples import COMMAND, DETECTION, FEEDBACK
from tests.support import Record

RULES = Path(__file__).parent / "rules.yaml"
TOPICS = (*DETECTOR_TOPICS, *DESK_TOPICS)
START_MS = parse_time_us("2026-03-02T07:10:00+08:00") // 1000
PARTITIONS = 4
AREA, CENTRE = b"danghu", b"pinghu"
HOME = partition_for(AREA, PARTITIONS)
SECONDS = 8
"""Of good records: enough for each rule to hold."""
CAMERA, DEVICE, SEGMENT = "33048200001320000001", "w-07", "danghu-rd-01"
LON, LAT = 121.01281, 30.6899
"""In the middle of a no-parking zone."""
OPENING_S = -1
"""When the incident was opened that feedback and commands are about."""
INCIDENT = content_id("i", f"d-{OPENING_S * 10}")
ORDER = content_id("o", INCIDENT, 1)


@cache
def city(*, compiled: bool = True) -> City:
    """Poison's city; `compiled` false: its loops in plain Python."""
    built = build_city(Settings.read(), rules=[RULES], zones=[SHIPPED_ZONES], registry=SHIPPED_REGISTRY)
    return replace(built, compiled=built.compiled and compiled)


def at_ms(second: float) -> int:
    return START_MS + round(second * 1000)


def body(topic: str, second: float) -> dict[str, Any]:
    """What a good record of the topic says at a second from the start. Of several, something comes."""
    at = at_ms(second)
    number = round(second * 10)
    match topic:
        case "camera.tracks":
            car = {"track_id": "17", "class": "car", "lon": LON, "lat": LAT, "speed_mps": 0.1, "plate": "浙F12345"}
            return {"sensor_id": CAMERA, "frame_time": at, "crs": "wgs84", "objects": [car]}
        case "camera.events":
            said = {"event_id": f"e-{number}", "sensor_id": CAMERA, "event_time": at, "label": "cover_missing"}
            return {**said, "code": "01", "confidence": 0.9, "lon": LON, "lat": LAT}
        case "traffic.measurements":
            said = {"segment_id": SEGMENT, "source": "loop-07", "end_time": at, "period_s": 1, "speed_kmh": 6.5}
            return {**said, "flow_vph": 720, "occupancy_pct": 44.2, "sample_size": 12, "lane": 1}
        case "sensor.readings":
            said = {"device_id": DEVICE, "metric": "water_level", "value": 20.5, "unit": "cm", "reading_time": at}
            return {**said, "lon": LON, "lat": LAT, "battery_pct": 81, "status": "ok"}
        case "hotline.tickets":
            said = {"ticket_id": f"T-{number}", "line": "12345", "call_time": at, "kind": "complaint"}
            more = {"text": "当湖路积水很深", "address": "当湖路", "caller": f"138000{number:05}", "urgency": "normal"}
            return {**said, **more, "category": "道路积水", "lon": LON, "lat": LAT, "error_m": 20}
        case "vehicle.positions":
            said = {"vehicle_id": "v-1", "time": at, "lon": LON, "lat": LAT, "role": "police", "speed_mps": 1.5}
            return {**said, "heading_deg": 10, "on_duty": True, "unit_id": "u-jj-01"}
        case "dispatch.feedback":
            about = {"incident_id": INCIDENT, "order_id": ORDER, "action": "note"}
            return {**FEEDBACK, **about, "feedback_id": f"f-{number}", "time": at}
        case "commands":
            longer = {"incident_id": INCIDENT, "command": "extend", "args": {"minutes": 5}}
            return {**COMMAND, **longer, "command_id": f"c-{number}", "time": at}
        case _:
            return {**DETECTION, "detection_id": f"d-{number}", "rule": "standing", "key": {"track_id": f"{number}"}}


def columns(second: float) -> dict[str, Any]:
    """A frame of the same camera as columns."""
    frame = body("camera.tracks", second)
    (car,) = frame.pop("objects")
    return {**frame, "columns": {name: [value] for name, value in car.items()}}


def readings(second: float) -> dict[str, Any]:
    """A list of readings of the same device."""
    said = body("sensor.readings", second)
    listed = ("metric", "value", "unit", "reading_time")
    rest = {name: value for name, value in said.items() if name not in listed}
    return {**rest, "readings": [{name: said[name] for name in listed}]}


def key_of(topic: str) -> bytes:
    return AREA if topic in DETECTOR_TOPICS else CENTRE


def good(topic: str, second: float, offset: int = 0) -> Record:
    """A good record that arrived a fifth of a second after what it tells."""
    return Record(orjson.dumps(body(topic, second)), key_of(topic), at_ms(second + 0.2), offset=offset)


def good_run(topic: str) -> list[Record]:
    """Good records of a topic, a second apart, at every tenth offset: there is room for others between them."""
    return [good(topic, second, 10 * second) for second in range(SECONDS)]


def named(failure: DecodeFailure) -> tuple[str, str]:
    return str(failure.reason), failure.path
