"""The examples of CONTRACTS v1, filled in: one good record of each feed."""

from __future__ import annotations

from typing import Any

SAMPLES: dict[str, dict[str, Any]] = {
    "camera.tracks": {
        "sensor_id": "33048200001320000001",
        "frame_time": 1772406600000,
        "crs": "wgs84",
        "ptz_preset": 1,
        "model": "yolo-x/3",
        "snapshot_ref": "s3://frames/1.jpg",
        "objects": [
            {
                "track_id": "17",
                "class": "car",
                "lon": 121.02,
                "lat": 30.69,
                "confidence": 0.93,
                "speed_mps": 0.1,
                "heading_deg": 90,
                "error_m": 1.5,
                "plate": "浙F12345",
                "role": "police",
                "attributes": {"colour": "white"},
            }
        ],
    },
    "camera.events": {
        "event_id": "e-81",
        "sensor_id": "33048200001320000001",
        "event_time": "2026-03-02T07:10:00+08:00",
        "label": "cover_missing",
        "code": "01",
        "confidence": 0.88,
        "lon": 121.02,
        "lat": 30.69,
        "snapshot_ref": "s3://frames/2.jpg",
    },
    "traffic.measurements": {
        "segment_id": "danghu-rd-01",
        "source": "loop-7",
        "end_time": 1772406660000,
        "period_s": 60,
        "speed_kmh": 31.5,
        "flow_vph": 720,
        "occupancy_pct": 14.2,
        "sample_size": 12,
        "lane": 1,
    },
    "hotline.tickets": {
        "ticket_id": "T20260302-0042",
        "line": "12345",
        "call_time": "2026-03-02T07:10:30+08:00",
        "kind": "complaint",
        "category": "道路积水",
        "text": "当湖路与新华路交叉口积水很深",
        "address": "当湖路新华路口",
        "lon": None,
        "lat": None,
        "error_m": None,
        "caller": "13800001234",
        "urgency": "normal",
    },
    "sensor.readings": {
        "device_id": "w-12",
        "metric": "water_level",
        "value": 12.5,
        "unit": "cm",
        "reading_time": 1772406600000,
        "lon": 121.02,
        "lat": 30.69,
        "battery_pct": 81,
        "status": "ok",
    },
    "vehicle.positions": {
        "vehicle_id": "120-03",
        "time": 1772406600000,
        "lon": 121.02,
        "lat": 30.69,
        "role": "ambulance",
        "speed_mps": 14.0,
        "heading_deg": 10,
        "on_duty": True,
        "unit_id": "u-120-03",
    },
}

COLUMNAR: dict[str, Any] = {
    "sensor_id": "33048200001320000001",
    "frame_time": 1772406600000,
    "columns": {
        "track_id": ["17", "18"],
        "class": ["car", "bus"],
        "lon": [121.02, 121.03],
        "lat": [30.69, 30.70],
        "speed_mps": [0.1, None],
    },
}

READING_LIST: dict[str, Any] = {
    "device_id": "w-12",
    "readings": [
        {"metric": "water_level", "value": 12.5, "unit": "cm", "reading_time": 1772406600000},
        {"metric": "pump", "value": True, "unit": None, "reading_time": "2026-03-02T07:10:01+08:00"},
        {"metric": "mode", "value": "auto", "unit": None, "reading_time": 1772406602000},
    ],
}

FEEDBACK: dict[str, Any] = {
    "feedback_id": "f-9",
    "order_id": "o-1",
    "incident_id": "i-1",
    "action": "handled",
    "actor": "u-cg-07",
    "time": "2026-03-02T07:10:00+08:00",
    "note": "已劝离",
    "evidence": ["s3://frames/3.jpg"],
}
COMMAND: dict[str, Any] = {
    "command_id": "c-3",
    "incident_id": "i-1",
    "command": "false_alarm",
    "actor": "zhang",
    "role": "dispatcher",
    "time": 1772406600000,
    "args": {"cause": "shadow"},
}
DETECTION: dict[str, Any] = {
    "detection_id": "d-1f",
    "kind": "raised",
    "stage": "remind_owner",
    "rule": "illegal-parking",
    "rule_revision": 7,
    "type": "0505",
    "severity": "minor",
    "key": {"sensor_id": "c-1", "track_id": "17"},
    "zone": "no-parking/xinhua-road-n",
    "area": "danghu",
    "lon": 121.02,
    "lat": 30.69,
    "error_m": 1.5,
    "suspected": False,
    "event_time": "2026-03-02T07:10:00.000+08:00",
    "opened_event_time": "2026-03-02T07:08:00.000+08:00",
    "value": 120.0,
    "unit": "s",
    "held_s": 120.0,
    "coverage": 0.98,
    "sources": ["camera.tracks"],
    "evidence": [{"topic": "camera.tracks", "partition": 2, "offset": 88123}],
    "attributes": {"plate": {"token": "pt-00", "mask": "浙F·**345"}},
}
