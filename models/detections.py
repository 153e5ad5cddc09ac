"""What a Detector says of a rule's condition. Published on `detections`, at least once, in JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DetectionKind = Literal["raised", "stage", "still", "cleared", "unknown"]
SEVERITIES = ("minor", "moderate", "major", "critical")


class Text(msgspec.Struct, frozen=True):
    """A text for people in both languages."""

    zh: str
    en: str


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reference to a record, never a copy of it."""

    topic: str
    partition: int
    offset: int
    ref: str | None = None


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of one rule's condition for one key (and zone).

    The id names the condition's opening, so raised, stage, still, cleared and unknown of one opening share it.
    Times are RFC 3339. `event_time` is the exact crossing, not the moment of deciding.
    """

    detection_id: str
    kind: DetectionKind
    stage: str | None
    rule: str
    rule_revision: int
    type: str
    severity: str
    key: dict[str, str]
    zone: str | None
    area: str
    lon: float | None
    lat: float | None
    error_m: float | None
    suspected: bool
    event_time: str
    opened_event_time: str
    value: float | bool | str | None
    unit: str | None
    held_s: float
    coverage: float
    sources: list[str]
    evidence: list[Evidence]
    part: str | None = None
    """Which part of the rule it is, where a rule has several."""
    attributes: dict[str, Any]
    """Fields the rule's message needs; a tokenised one as {token, mask}."""
