"""What a source may tell us: one wire type a feed, and the reasons for which a record becomes a dead letter.

The types are what CONTRACTS v1 says of `camera.tracks camera.events traffic.measurements sensor.readings
hotline.tickets vehicle.positions`. Fields without a default are required. Each type has a twin that refuses unknown
fields: it is tried first, so a record without any costs nothing extra (see `models.decode`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

Stamp = int | str
"""RFC 3339 with an offset or integer epoch milliseconds; `models.times` reads it."""

CRS_NAMES = ("wgs84", "cgcs2000", "gcj02", "bd09")


class DeadReason(StrEnum):
    """Why a record could not be used: the closed list of CONTRACTS v1."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    BAD_TIME = "bad_time"
    TIME_IN_FUTURE = "time_in_future"
    BAD_POSITION = "bad_position"
    SWAPPED_AXES = "swapped_axes"
    POSITION_OUT_OF_BOUNDS = "position_out_of_bounds"
    UNKNOWN_CRS = "unknown_crs"
    BAD_ENUM = "bad_enum"
    BAD_COLUMNS = "bad_columns"
    NEGATIVE_VALUE = "negative_value"
    BAD_ID = "bad_id"
    UNIT_MISMATCH = "unit_mismatch"
    TOMBSTONE = "tombstone"
    WRONG_PARTITION = "wrong_partition"
    UNREGISTERED_SENSOR = "unregistered_sensor"
    INTERNAL = "internal"


class DecodeFailure(NamedTuple):
    """The one reason why a record is not used. `record` is its index in the list that was decoded.

    `path` names the bad value (`$.objects[3].lon`); `detail` says what was expected and what was found, without the
    value itself where it could be personal.
    """

    record: int
    stage: str
    reason: DeadReason
    path: str
    detail: str


class Attributes(msgspec.Struct, gc=False):
    """What a camera says of an object's looks. Others than these are ignored and counted."""

    colour: str | None = None


class TrackObject(msgspec.Struct, gc=False, rename={"class_": "class"}):
    track_id: str
    class_: str | None = None
    lon: float | None = None
    lat: float | None = None
    confidence: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    error_m: float | None = None
    plate: str | None = None
    role: str | None = None
    attributes: Attributes | None = None


class TrackColumns(msgspec.Struct, rename={"class_": "class"}):
    """The same fields in the same order as TrackObject, a list each, all of one length."""

    track_id: list[str] | None = None
    class_: list[str | None] | None = None
    lon: list[float | None] | None = None
    lat: list[float | None] | None = None
    confidence: list[float | None] | None = None
    speed_mps: list[float | None] | None = None
    heading_deg: list[float | None] | None = None
    error_m: list[float | None] | None = None
    plate: list[str | None] | None = None
    role: list[str | None] | None = None
    attributes: list[Attributes | None] | None = None


class TrackFrame(msgspec.Struct):
    """`camera.tracks`: one frame of one camera, as objects or as columns. No objects: seen, and empty."""

    sensor_id: str
    frame_time: Stamp
    objects: list[TrackObject] | None = None
    columns: TrackColumns | None = None
    crs: str | None = None
    ptz_preset: float | None = None
    model: str | None = None
    snapshot_ref: str | None = None


class CameraEvent(msgspec.Struct):
    """`camera.events`: what an AI box reports without tracks; at least one of label and code."""

    event_id: str
    sensor_id: str
    event_time: Stamp
    label: str | None = None
    code: str | None = None
    confidence: float | None = None
    lon: float | None = None
    lat: float | None = None
    error_m: float | None = None
    crs: str | None = None
    snapshot_ref: str | None = None


class TrafficMeasurement(msgspec.Struct):
    """`traffic.measurements`: at least one of speed, flow and occupancy."""

    segment_id: str
    source: str
    end_time: Stamp
    period_s: float | None = None
    speed_kmh: float | None = None
    flow_vph: float | None = None
    occupancy_pct: float | None = None
    sample_size: float | None = None
    lane: float | None = None
    lon: float | None = None
    lat: float | None = None
    error_m: float | None = None
    crs: str | None = None


class ReadingItem(msgspec.Struct, gc=False):
    metric: str
    value: float | bool | str
    reading_time: Stamp
    unit: str | None = None


class SensorReading(msgspec.Struct):
    """`sensor.readings`: one reading, or a list in `readings` that shares the rest (then metric, value, unit and
    reading_time beside the list are not read)."""

    device_id: str
    metric: str | None = None
    value: float | bool | str | None = None
    reading_time: Stamp | None = None
    unit: str | None = None
    readings: list[ReadingItem] | None = None
    status: str | None = None
    battery_pct: float | None = None
    lon: float | None = None
    lat: float | None = None
    error_m: float | None = None
    crs: str | None = None


class HotlineTicket(msgspec.Struct):
    """`hotline.tickets`: a citizen's call; a later one with the same id is an update."""

    ticket_id: str
    call_time: Stamp
    line: str | None = None
    kind: str | None = None
    category: str | None = None
    text: str | None = None
    address: str | None = None
    urgency: str | None = None
    caller: str | None = None
    lon: float | None = None
    lat: float | None = None
    error_m: float | None = None
    crs: str | None = None


class VehiclePosition(msgspec.Struct):
    """`vehicle.positions`: where a unit or a bus is. Without a position it says nothing, so both axes are required."""

    vehicle_id: str
    time: Stamp
    lon: float | None = None
    lat: float | None = None
    role: str | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    on_duty: bool | None = None
    unit_id: str | None = None
    error_m: float | None = None
    crs: str | None = None


# The twins that refuse unknown fields.


class StrictAttributes(Attributes, forbid_unknown_fields=True):
    pass


class StrictTrackObject(TrackObject, forbid_unknown_fields=True):
    attributes: StrictAttributes | None = None


class StrictTrackColumns(TrackColumns, forbid_unknown_fields=True):
    attributes: list[StrictAttributes | None] | None = None  # type: ignore[assignment]


class StrictTrackFrame(TrackFrame, forbid_unknown_fields=True):
    objects: list[StrictTrackObject] | None = None  # type: ignore[assignment]
    columns: StrictTrackColumns | None = None


class StrictCameraEvent(CameraEvent, forbid_unknown_fields=True):
    pass


class StrictTrafficMeasurement(TrafficMeasurement, forbid_unknown_fields=True):
    pass


class StrictReadingItem(ReadingItem, forbid_unknown_fields=True):
    pass


class StrictSensorReading(SensorReading, forbid_unknown_fields=True):
    readings: list[StrictReadingItem] | None = None  # type: ignore[assignment]


class StrictHotlineTicket(HotlineTicket, forbid_unknown_fields=True):
    pass


class StrictVehiclePosition(VehiclePosition, forbid_unknown_fields=True):
    pass


Observation = TrackFrame | CameraEvent | TrafficMeasurement | SensorReading | HotlineTicket | VehiclePosition

WIRE_TYPES: dict[str, type[Observation]] = {
    "camera.tracks": TrackFrame,
    "camera.events": CameraEvent,
    "traffic.measurements": TrafficMeasurement,
    "sensor.readings": SensorReading,
    "hotline.tickets": HotlineTicket,
    "vehicle.positions": VehiclePosition,
}
STRICT_TYPES: dict[str, type[Observation]] = {
    "camera.tracks": StrictTrackFrame,
    "camera.events": StrictCameraEvent,
    "traffic.measurements": StrictTrafficMeasurement,
    "sensor.readings": StrictSensorReading,
    "hotline.tickets": StrictHotlineTicket,
    "vehicle.positions": StrictVehiclePosition,
}

IDS: dict[str, tuple[str, ...]] = {
    "camera.tracks": ("sensor_id",),
    "camera.events": ("event_id", "sensor_id"),
    "traffic.measurements": ("segment_id", "source"),
    "sensor.readings": ("device_id",),
    "hotline.tickets": ("ticket_id",),
    "vehicle.positions": ("vehicle_id",),
}
"""Fields of a record that are ids, beside `track_id` of an object and `metric` of a reading."""

NOT_NEGATIVE: dict[str, tuple[str, ...]] = {
    "camera.tracks": ("confidence", "speed_mps", "error_m"),
    "camera.events": ("confidence", "error_m"),
    "traffic.measurements": ("period_s", "speed_kmh", "flow_vph", "occupancy_pct", "sample_size", "error_m"),
    "sensor.readings": ("battery_pct", "error_m"),
    "hotline.tickets": ("error_m",),
    "vehicle.positions": ("speed_mps", "error_m"),
}
"""A value below zero here is a −1 that means "missing", which the contract does not allow: negative_value."""

PERCENT = ("occupancy_pct", "battery_pct")
"""Above 100 the number is not in the unit that its name says: unit_mismatch."""
