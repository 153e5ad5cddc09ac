"""What a recording of the synthetic Pinghu holds: each claim of its scene, with times, keys and values of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.recordings.pinghu_day import Claim
from streams.recordings.pinghu_feeds import FORGET_S, Record, Sight, degrees, text_time
from streams.recordings.pinghu_map import DEVICES, SEGMENTS

HOLDS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], bool]]] = {
    "water_level": (lambda y: y >= 15, lambda y: y < 8),
    "tilt": (lambda y: y >= 15, lambda y: y < 5),
    "smoke_alarm": (lambda y: y is True, lambda y: y is False),
    "sos": (lambda y: y is True, lambda y: y is False),
}
"""When a reading shows the condition, and when it shows that it has gone."""


def truth_of(claim: Claim, lines: list[Record], sights: dict[str, list[Sight]]) -> Record:
    told: Record = {"id": claim.claim_id, "kind": claim.kind, "expect_rule": claim.expect_rule}
    if claim.expect_rule:
        told["outcome"] = claim.outcome or "case"
    if claim.zone:
        told["zone"] = claim.zone
    if claim.by_tracks:
        told |= _truth_of_tracks([sights[name] for name in claim.by_tracks])
    elif claim.by_device:
        told |= _truth_of_device(claim, lines)
    elif claim.by_segment:
        told |= _truth_of_segment(claim.by_segment, lines, claim.decoy)
    else:
        events = [r["value"] for r in lines if r["topic"] == "camera.events"]
        found = [next(v for v in events if v["event_id"] == e) for e in claim.by_events]
        told |= {
            "topic": "camera.events",
            "key": {"sensor_id": found[0]["sensor_id"], "event_ids": list(claim.by_events)},
            "place": {"lon": found[0]["lon"], "lat": found[0]["lat"]},
            "from": found[0]["event_time"],
            "to": found[-1]["event_time"],
        }
    if claim.tickets:
        told["tickets"] = list(claim.tickets)
    return told | {"note": claim.note}


def _longest_stand(sights: list[Sight]) -> list[Sight]:
    """The longest time one track of one camera stood: a red light on the way doesn't count."""
    runs: list[list[Sight]] = []
    for s in sights:
        if not s.standing:
            continue
        last = runs[-1][-1] if runs else None
        same = last is not None and (s.sensor_id, s.track_id) == (last.sensor_id, last.track_id)
        if last is not None and same and s.frame_ms - last.frame_ms <= FORGET_S * 1000:
            runs[-1].append(s)
        else:
            runs.append([s])
    return max(runs, key=len)


def _truth_of_tracks(tracks: list[list[Sight]]) -> Record:
    stands = [_longest_stand(track) for track in tracks]
    middle = [s[len(s) // 2] for s in stands]
    place = degrees((sum(s.at[0] for s in middle) / len(middle), sum(s.at[1] for s in middle) / len(middle)))
    keys = [{"sensor_id": s.sensor_id, "track_id": s.track_id} for s in middle]
    return {
        "topic": "camera.tracks",
        **({"key": keys[0]} if len(keys) == 1 else {"keys": keys}),
        "place": {"lon": place[0], "lat": place[1]},
        "from": text_time(max(s[0].frame_ms for s in stands)),
        "to": text_time(min(s[-1].frame_ms for s in stands)),
    }


def _truth_of_device(claim: Claim, lines: list[Record]) -> Record:
    assert claim.by_device is not None
    device_id, metric = claim.by_device
    device = next(d for d in DEVICES if d.device_id == device_id)
    values = (r["value"] for r in lines if r["topic"] == "sensor.readings" and r["value"]["device_id"] == device_id)
    series = sorted((v["reading_time"], v["value"]) for v in values if v.get("metric") == metric)
    opens, closes = HOLDS[metric]
    lon, lat = degrees(device.at)
    told: Record = {
        "topic": "sensor.readings",
        "key": {"device_id": device_id},
        "metric": metric,
        "place": {"lon": lon, "lat": lat},
    }
    if claim.decoy:
        ends = {"from": text_time(series[0][0]), "to": text_time(series[-1][0])}
        return told | ends | {"low": min(y for _, y in series), "high": max(y for _, y in series)}
    holding = [at for at, y in series if opens(y)]
    gone = next(at for at, y in series if at > holding[-1] and closes(y))
    return told | {"from": text_time(holding[0]), "to": text_time(holding[-1]), "cleared_at": text_time(gone)}


def _truth_of_segment(segment_id: str, lines: list[Record], decoy: bool) -> Record:
    values = (
        r["value"] for r in lines if r["topic"] == "traffic.measurements" and r["value"]["segment_id"] == segment_id
    )
    series = sorted((v["end_time"], v["speed_kmh"]) for v in values if v["speed_kmh"] is not None)
    segment = SEGMENTS[segment_id]
    lon, lat = degrees(segment.along(segment.length_m / 2))
    told: Record = {
        "topic": "traffic.measurements",
        "key": {"segment_id": segment_id},
        "place": {"lon": lon, "lat": lat},
    }
    if decoy:
        ends = {"from": text_time(series[0][0]), "to": text_time(series[-1][0])}
        return told | ends | {"low": min(y for _, y in series), "high": max(y for _, y in series)}
    slow = [at for at, y in series if y < 15]
    free = next(at for at, y in series if at > slow[-1] and y > 25)
    return told | {"from": text_time(slow[0] - 60_000), "to": text_time(slow[-1]), "cleared_at": text_time(free)}
