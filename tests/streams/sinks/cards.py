"""What boards are tried with: entries and positions about one made-up city."""

from __future__ import annotations

import json
from typing import Any

from models.times import format_time, zone_info
from streams.sinks.board import ENDED, Entry, Position

NOW_MS = 1_772_406_900_000  # 2026-03-02T07:15:00+08:00
ZONE = zone_info("Asia/Shanghai")


def incident(identity: str, revision: int = 1, state: str = "confirmed", **more: Any) -> dict[str, Any]:
    """As published on `incidents.state`; `changed_ms` is when."""
    changed_ms = more.pop("changed_ms", NOW_MS)
    place = {"lon": 121.02, "lat": 30.69, "error_m": 1.5, "text": {"zh": "新华路 [北]", "en": "Xinhua Road [N]"}}
    return {
        "incident_id": identity, "revision": revision, "state": state, "reason": "unit_assigned", "type": "0505",
        "severity": "minor", "life_safety": False, "exercise": False, "rule": "illegal-parking", "zone": None,
        "area": "danghu", "grid": None, "place": place, "opened_at": format_time(NOW_MS * 1000, ZONE),
        "changed_at": format_time(changed_ms * 1000, ZONE), "condition": "still", "sources": [], "detections": [],
        "tickets": [], "merged_into": None, "external_refs": [], "department": "traffic-police", "order_id": None,
        "deadline": None, "count": 1, "evidence": [], "message": {"zh": "", "en": ""},
    } | more  # fmt: skip


def order(order_id: str, identity: str, unit_id: str | None = "u-1") -> dict[str, Any]:
    return {
        "order_id": order_id, "incident_id": identity, "department": "traffic-police", "unit_id": unit_id,
        "reason": "nearest_on_duty", "issued_at": format_time(NOW_MS * 1000, ZONE), "accept_by": None,
        "resolve_by": None, "clock": "working", "task": {"zh": "", "en": ""}, "cancelled": False,
    }  # fmt: skip


def encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def entry(
    identity: str,
    revision: int = 1,
    state: str = "confirmed",
    *,
    epoch: int = 1,
    unit: str = "",
    changed_ms: int = NOW_MS,
    **more: Any,
) -> Entry:
    body = incident(identity, revision, state, changed_ms=changed_ms, **more)
    return Entry(
        identity, revision, epoch, state, body["type"], body["order_id"] or "", unit,
        changed_ms if state in ENDED else 0, encoded(body),
    )  # fmt: skip


def position(vehicle: str, time_ms: int = NOW_MS, lon: float = 121.02, lat: float = 30.69) -> Position:
    return Position(vehicle, time_ms, lon, lat, encoded({"vehicle_id": vehicle, "time": time_ms}))
