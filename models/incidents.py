"""An incident as it is published on `incidents` (every change) and `incidents.state` (the newest of each)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from models.detections import Evidence, Text


class State(StrEnum):
    """The states of CONTRACTS v1; which step leads where is `rules.incidents.states`."""

    SUSPECTED = "suspected"
    NOTIFIED = "notified"
    CONFIRMED = "confirmed"
    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    ARRIVED = "arrived"
    HANDLED = "handled"
    VERIFYING = "verifying"
    CLOSED = "closed"
    RETURNED = "returned"
    REWORK = "rework"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    FALSE_ALARM = "false_alarm"


class Condition(StrEnum):
    """What the streams say, beside the state: loss of data is never recovery."""

    STILL = "still"
    CLEARED = "cleared"
    UNKNOWN = "unknown"


class Place(msgspec.Struct, frozen=True):
    """WGS-84, degrees; error in metres."""

    lon: float | None
    lat: float | None
    error_m: float | None
    text: Text


class Deadline(msgspec.Struct, frozen=True):
    """RFC 3339 limits; `clock` is `working` (working calendar) or `urgent` (always runs)."""

    accept_by: str | None
    resolve_by: str | None
    clock: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of one incident."""

    incident_id: str
    revision: int
    state: State
    reason: str
    type: str
    severity: str
    life_safety: bool
    exercise: bool
    rule: str | None
    zone: str | None
    area: str | None
    grid: str | None
    place: Place
    opened_at: str
    changed_at: str
    condition: Condition
    sources: list[str]
    detections: list[str]
    tickets: list[str]
    merged_into: str | None
    external_refs: list[str]
    department: str | None
    order_id: str | None
    deadline: Deadline | None
    count: int
    evidence: list[Evidence]
    message: Text
    attributes: dict[str, Any] = {}
