"""What the types leave unsaid and decoding insists on, as JSON Schema keywords. Made of the decoder's own tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models.faults import MAX_ID
from models.incidents import State
from models.observations import CRS_NAMES, IDS, NOT_NEGATIVE, PERCENT, WIRE_TYPES, DeadReason
from models.streams import STREAMS
from models.times import EARLIEST_MS, LATEST_MS

Schema = dict[str, Any]


class Words(NamedTuple):
    """Closed lists that the rules own."""

    severities: Sequence[str]
    clocks: Sequence[str]
    reasons: Sequence[str]


# As written for every engine of regular expressions: \u is read alike by ECMAScript, Java and Python. What Unicode has
# not assigned yet, and what lies beyond the basic plane, is left to the decoder.
UNPRINTABLE = (
    r"[\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb]"
)
# The years of EARLIEST_MS to LATEST_MS and, since an offset may reach over the new year, the one before.
DATE_TIME = (
    "(19(69|[789][0-9])|20[0-9]{2}|2100)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3])"
    r":[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

ID: Schema = {"minLength": 1, "maxLength": MAX_ID, "not": {"pattern": UNPRINTABLE}}
STAMP: Schema = {"minimum": EARLIEST_MS, "maximum": LATEST_MS, "pattern": f"^{DATE_TIME}$"}
SENT_TIME: Schema = {
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}$",
}
NOT_BELOW_0: Schema = {"minimum": 0}
FROM_1: Schema = {"minimum": 1}
SHARE: Schema = {"minimum": 0, "maximum": 1}
LON: Schema = {"minimum": -180, "maximum": 180}
LAT: Schema = {"minimum": -90, "maximum": 90}


def present(*fields: str) -> Schema:
    """These are there and not null."""
    return {"required": list(fields), "properties": {field: {"not": {"type": "null"}} for field in fields}}


def absent(*fields: str) -> Schema:
    """These are not there, or null."""
    return {"properties": {field: {"type": "null"} for field in fields}}


def either(*shapes: Schema) -> Schema:
    return {"anyOf": list(shapes)}


def narrow(found: Mapping[str, Schema], words: Words) -> None:
    """Put what the types leave unsaid into the schemas of types, in place."""
    for (kind, field), keywords in (dict(observed()) | said(words)).items():
        if kind in found:
            add(found[kind]["properties"][field], keywords)
    for kind, shapes in SHAPES.items():
        if kind in found:
            found[kind]["allOf"] = list(shapes)


def add(part: Schema, keywords: Schema) -> None:
    """Of a list the keywords are for its items; a list of words keeps the null that the type allows."""
    part = part.get("items", part)
    part |= keywords
    if "enum" in keywords and "null" in part["type"]:
        part["enum"] = [*keywords["enum"], None]


# -------------------------------------------------------------------------------------------------------- what comes in

HEADS = {topic: kind.__name__ for topic, kind in WIRE_TYPES.items()}
ROWS: dict[str, tuple[str, ...]] = {"camera.tracks": ("TrackObject", "TrackColumns")}
"""Types that hold what is measured; elsewhere the head does."""

PLACED = either(present("lon", "lat"), absent("lon", "lat"))
"""Both axes or none."""

ONE_READING: Schema = {
    "required": ["metric", "value", "reading_time"],
    "properties": {
        "readings": {"type": "null"},
        "metric": {"type": "string", **ID},
        "value": {"not": {"type": "null"}},
        "reading_time": {"type": ["integer", "string"], **STAMP},
    },
}
READINGS: Schema = {"required": ["readings"], "properties": {"readings": {"type": "array", "minItems": 1}}}

SHAPES: dict[str, tuple[Schema, ...]] = {
    "TrackFrame": (either(present("objects"), present("columns")), either(absent("objects"), absent("columns"))),
    "TrackObject": (PLACED,),
    "TrackColumns": (present("track_id"),),
    "CameraEvent": (PLACED, either(present("label"), present("code"))),
    "TrafficMeasurement": (PLACED, either(*(present(name) for name in ("speed_kmh", "flow_vph", "occupancy_pct")))),
    "SensorReading": (PLACED, either(ONE_READING, READINGS)),
    "HotlineTicket": (PLACED,),
    "VehiclePosition": (present("lon", "lat"),),
}


def observed() -> Iterator[tuple[tuple[str, str], Schema]]:
    """The terms of the observation feeds."""
    for topic, head in HEADS.items():
        for name in IDS[topic]:
            yield (head, name), ID
        yield (head, "crs"), {"enum": list(CRS_NAMES)}
        for kind in ROWS.get(topic, (head,)):
            yield (kind, "lon"), LON
            yield (kind, "lat"), LAT
            for name in NOT_NEGATIVE[topic]:
                yield (kind, name), NOT_BELOW_0 | ({"maximum": 100} if name in PERCENT else {})
        if topic != "sensor.readings":
            yield (head, STREAMS[topic].time), STAMP
    yield ("TrackObject", "track_id"), ID
    yield ("TrackColumns", "track_id"), ID
    yield ("ReadingItem", "metric"), ID
    yield ("ReadingItem", "reading_time"), STAMP


# ------------------------------------------------------------------------------------- what people and we ourselves say


def made_id(prefix: str) -> Schema:
    """An id made from content (`models.ids`)."""
    return {"pattern": f"^{prefix}-[0-9a-f]{{32}}$"}


def said(words: Words) -> dict[tuple[str, str], Schema]:
    severity, clock, reason = ({"enum": list(each)} for each in words)
    incident, order = made_id("i"), made_id("o")
    return {
        **of("Feedback", ID, "feedback_id", "order_id", "incident_id", "actor"),
        **of("Command", ID, "command_id", "incident_id", "actor", "role"),
        **of("Feedback", STAMP, "time"),
        **of("Command", STAMP, "time"),
        **of("Evidence", NOT_BELOW_0, "partition", "offset"),
        **of("Detection", made_id("d"), "detection_id"),
        **of("Detection", ID, "rule"),
        **of("Detection", FROM_1, "rule_revision"),
        **of("Detection", severity, "severity"),
        **of("Detection", SENT_TIME, "event_time", "opened_event_time"),
        **of("Detection", NOT_BELOW_0, "error_m", "held_s"),
        **of("Detection", SHARE, "coverage"),
        **of("Detection", LON, "lon"),
        **of("Detection", LAT, "lat"),
        **of("Incident", incident, "incident_id", "merged_into"),
        **of("Incident", FROM_1, "revision", "count"),
        **of("Incident", reason, "reason"),
        **of("Incident", severity, "severity"),
        **of("Incident", SENT_TIME, "opened_at", "changed_at"),
        **of("Incident", made_id("d"), "detections"),
        **of("Incident", order, "order_id"),
        **of("Place", LON, "lon"),
        **of("Place", LAT, "lat"),
        **of("Place", NOT_BELOW_0, "error_m"),
        **of("Deadline", SENT_TIME, "accept_by", "resolve_by"),
        **of("Deadline", clock, "clock"),
        **of("DispatchOrder", order, "order_id"),
        **of("DispatchOrder", incident, "incident_id"),
        **of("DispatchOrder", reason, "reason"),
        **of("DispatchOrder", SENT_TIME, "issued_at", "accept_by", "resolve_by"),
        **of("DispatchOrder", clock, "clock"),
        **of("VerificationResult", made_id("v"), "verification_id"),
        **of("VerificationResult", incident, "incident_id"),
        **of("VerificationResult", SHARE, "coverage"),
        **of("VerificationResult", SENT_TIME, "at"),
        **of("Notice", made_id("n"), "notice_id"),
        **of("Notice", incident, "incident_id"),
        **of("Notice", {"required": ["token", "mask"]}, "to"),
        **of("Notice", SENT_TIME, "grace_until", "at"),
        **of("RecognitionRequest", made_id("q"), "request_id"),
        **of("RecognitionRequest", incident, "incident_id"),
        **of("RecognitionRequest", LON, "lon"),
        **of("RecognitionRequest", LAT, "lat"),
        **of("RecognitionRequest", SENT_TIME, "not_before", "at"),
        **of("HotlineReply", made_id("h"), "reply_id"),
        **of("HotlineReply", ID, "ticket_id"),
        **of("HotlineReply", incident, "incident_id"),
        **of("HotlineReply", {"enum": sorted([*(state.value for state in State), RECEIVED])}, "state"),
        **of("HotlineReply", SENT_TIME, "at"),
        **of("TrafficState", ID, "segment_id"),
        **of("TrafficState", SENT_TIME, "end_time"),
        **of("TrafficState", NOT_BELOW_0, "period_s", "speed_kmh", "free_flow_kmh"),
        **of("TrafficState", FROM_1, "revision", "tti"),
        **of("TrafficState", {**FROM_1, "maximum": 5}, "level"),
        **of("StateQuality", NOT_BELOW_0, "samples", "sources", "age_s", "gaps"),
        **of("RuleBundle", {"pattern": "^[0-9a-f]{32}$"}, "digest"),
        **of("RuleBundle", FROM_1, "revision", "parts"),
        **of("RuleBundle", NOT_BELOW_0, "part"),
        **of("RuleBundle", {"contentEncoding": "base64"}, "archive_b64"),
        **of("RuleBundle", SENT_TIME, "published_at"),
        **of("LateRecord", NOT_BELOW_0, "partition", "offset", "late_by_s"),
        **of("LateRecord", {"type": "object"}, "value"),
        **of("DeadLetter", NOT_BELOW_0, "partition", "offset"),
        **of("DeadLetter", {"enum": sorted(reason.value for reason in DeadReason)}, "reason"),
        **of("DeadLetter", {"contentEncoding": "base64"}, "body_b64", "key_b64"),
    }


RECEIVED = "received"
"""What a ticket is told that opens no incident."""


def of(kind: str, keywords: Schema, *fields: str) -> dict[tuple[str, str], Schema]:
    return {(kind, field): keywords for field in fields}
