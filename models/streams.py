"""The input streams and what a rule may ask of each: field names, kinds and units. Sources: the wire contracts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "flag", "text", "mixed"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a stream. `unit` is the unit its numbers are in, None where they carry none or it depends."""

    kind: Kind
    unit: str | None = None
    tokenised: bool = False
    """Personal data: a token and a mask stand for it; comparisons are made on tokens."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One input topic: its source field (what is seen), its event-time field, and its fields."""

    topic: str
    source: str
    time: str
    natural_key: tuple[str, ...]
    lateness_s: float
    fields: dict[str, Field]
    desk: bool = False
    """True where the Desk reads it; else the Detectors do."""
    made: bool = False
    """True where the Detectors themselves make it of their inputs: rules read it, no wire brings it."""


TEXT, FLAG, MIXED = Field("text"), Field("flag"), Field("mixed")
DEGREES, METRES = Field("number", "deg"), Field("number", "m")
PLACE = {"lon": DEGREES, "lat": DEGREES, "error_m": METRES}

STREAMS: dict[str, Stream] = {
    s.topic: s
    for s in (
        Stream(
            "camera.tracks", "sensor_id", "frame_time", ("sensor_id", "frame_time"), 2.0,
            {
                "sensor_id": TEXT, "track_id": TEXT, "class": TEXT, "role": TEXT, "model": TEXT,
                "confidence": Field("number"), "speed_mps": Field("number", "mps"), "heading_deg": DEGREES,
                "ptz_preset": Field("number"), "plate": Field("text", tokenised=True), "colour": TEXT, **PLACE,
            },
        ),
        Stream(
            "camera.events", "sensor_id", "event_time", ("event_id",), 2.0,
            {"event_id": TEXT, "sensor_id": TEXT, "label": TEXT, "code": TEXT, "confidence": Field("number"), **PLACE},
        ),
        Stream(
            "traffic.measurements", "segment_id", "end_time", ("segment_id", "source", "lane", "end_time"), 5.0,
            {
                "segment_id": TEXT, "source": TEXT, "lane": Field("number"), "period_s": Field("number", "s"),
                "speed_kmh": Field("number", "kmh"), "flow_vph": Field("number"),
                "occupancy_pct": Field("number", "pct"), "sample_size": Field("number"), **PLACE,
            },
        ),
        Stream(
            "sensor.readings", "device_id", "reading_time", ("device_id", "metric", "reading_time"), 5.0,
            {
                "device_id": TEXT, "metric": TEXT, "value": MIXED, "unit": TEXT, "status": TEXT,
                "battery_pct": Field("number", "pct"), **PLACE,
            },
        ),
        Stream(
            "traffic.states", "segment_id", "end_time", ("segment_id", "end_time"), 0.0,
            {
                "segment_id": TEXT, "level": Field("number"), "speed_kmh": Field("number", "kmh"),
                "free_flow_kmh": Field("number", "kmh"), "free_flow_basis": TEXT, "tti": Field("number"),
                "period_s": Field("number", "s"), "quality.samples": Field("number"),
                "quality.sources": Field("number"), "quality.age_s": Field("number", "s"),
                "quality.gaps": Field("number"), **PLACE,
            },
            made=True,
        ),
        Stream(
            "hotline.tickets", "ticket_id", "call_time", ("ticket_id", "call_time"), 5.0,
            {
                "ticket_id": TEXT, "line": TEXT, "kind": TEXT, "category": TEXT, "text": TEXT, "address": TEXT,
                "urgency": TEXT, "caller": Field("text", tokenised=True), **PLACE,
            },
            desk=True,
        ),
        Stream(
            "vehicle.positions", "vehicle_id", "time", ("vehicle_id", "time"), 5.0,
            {
                "vehicle_id": TEXT, "role": TEXT, "unit_id": TEXT, "speed_mps": Field("number", "mps"),
                "heading_deg": DEGREES, "on_duty": FLAG, **PLACE,
            },
            desk=True,
        ),
        Stream("dispatch.feedback", "order_id", "time", ("feedback_id",), 5.0, {}, desk=True),
        Stream("commands", "incident_id", "time", ("command_id",), 5.0, {}, desk=True),
    )
}  # fmt: skip

DETECTOR_TOPICS = tuple(s.topic for s in STREAMS.values() if not (s.desk or s.made))
MEASUREMENTS, STATES = "traffic.measurements", "traffic.states"
"""What the second is made of, and it."""
DESK_TOPICS = ("detections", *(s.topic for s in STREAMS.values() if s.desk))
URGENT_DETECTIONS = "detections.urgent"
"""The detections of rules about life and safety, where the wall clock rules: a lane of their own past a backlog."""
