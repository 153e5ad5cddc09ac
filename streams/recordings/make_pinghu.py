"""Make the shipped recordings of the synthetic Pinghu and its geography.

    python -m streams.recordings.make_pinghu --seed 7 --out streams/recordings/pinghu.jsonl.gz \
        --truth streams/recordings/pinghu.truth.json [--dawn]
    python -m streams.recordings.make_pinghu --geography geo

Needs eclipse-sumo for the recordings (not for --geography). Same seed and SUMO version, same bytes.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from streams.recordings import pinghu_day, pinghu_map, pinghu_traffic
from streams.recordings.pinghu_day import WARM_UP_S, Claim, Scene
from streams.recordings.pinghu_map import CAMERAS, DEVICES, LOOPS, SEGMENTS, TURN_DEG, UNITS, Camera, Point, Unit
from streams.recordings.pinghu_traffic import LoopCount, Seen

Record = dict[str, Any]

CENTRE = "pinghu"
"""Key of the streams that go to the command centre."""
MAX_DELAY_MS = 1500
"""Arrival after event time, at most: under the lateness of every topic, so nothing is late."""
FORGET_S = 3
"""A vehicle not seen for longer gets a new track id."""
STANDING_MPS = 0.5
CLASS = {"police": "car", "ambulance": "van"}
ROLE = {"police": "police", "ambulance": "ambulance"}
COLOURS = ("white", "black", "grey", "silver", "blue", "red")
BEIJING = timezone(timedelta(hours=8))


def text_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(BEIJING).isoformat(timespec="milliseconds")


def degrees(at: Point, crs: str | None = None) -> Point:
    """Published degrees of a local point: six decimals, a tenth of a metre."""
    lon, lat = pinghu_map.to_lonlat(*at)
    if crs == "gcj02":
        lon, lat = pinghu_map.to_gcj02(lon, lat)
    return round(lon, 6), round(lat, 6)


class Journal:
    """The lines of a recording while it is made; sorted by arrival at the end, first come first on equal times."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.delays = random.Random(f"delays {scene.name} {seed}")
        self.lines: list[tuple[int, int, Record]] = []

    def add(self, topic: str, key: str, event_ms: int, value: Record, base_ms: int) -> Record:
        delay = min(MAX_DELAY_MS, base_ms + round(self.delays.expovariate(1 / 110)))
        return self.place({"topic": topic, "key": key, "timestamp_ms": event_ms + delay, "value": value})

    def place(self, record: Record) -> Record:
        self.lines.append((record["timestamp_ms"], len(self.lines), record))
        return record

    def ms(self, t: float) -> int:
        return self.scene.start_ms + round(t * 1000)

    def sorted(self) -> list[Record]:
        return [r for _, _, r in sorted(self.lines, key=lambda line: line[:2])]


# --- cameras


@dataclass(slots=True)
class Track:
    track_id: str
    confidence: float
    last_s: int
    colour: str
    plate: str | None
    nudge: Point = (0.0, 0.0)
    nudge_until_s: int = -1


@dataclass(frozen=True, slots=True)
class Sight:
    """One object in one frame: what the truth is taken from."""

    frame_ms: int
    sensor_id: str
    track_id: str
    at: Point
    standing: bool


class Eye:
    """One camera: who is in view, under which track id, and the frame it sends."""

    def __init__(self, camera: Camera, seed: int) -> None:
        self.camera = camera
        self.rng = random.Random(f"camera {camera.number} {seed}")
        self.tracks: dict[str, Track] = {}
        self.next_id = 100 * camera.number + 1
        self.phase_ms = camera.number * 137 % 900

    def _track(self, seen: Seen, t: int) -> Track:
        known = self.tracks.get(seen.vehicle)
        if known is None or t - known.last_s > FORGET_S:
            parked = seen.vehicle.startswith(("illegal", "leaver", "permit", "police", "crash", "kerb"))
            ending = "警" if seen.vtype == "police" else str(self.rng.randint(0, 9))
            known = Track(
                str(self.next_id),
                round(self.rng.uniform(0.74, 0.97), 2),
                t,
                self.rng.choice(COLOURS),
                f"浙F00{self.camera.number:02d}{ending}" if parked else None,
            )
            self.tracks[seen.vehicle] = known
            self.next_id += 1
        known.last_s = t
        return known

    def _object(self, seen: Seen, track: Track, t: int) -> Record:
        still = seen.speed_mps < STANDING_MPS
        if not still or t >= track.nudge_until_s:
            spread = 0.1 if still else 0.3
            track.nudge, track.nudge_until_s = (self.rng.gauss(0, spread), self.rng.gauss(0, spread)), t + 12
        lon, lat = degrees((seen.u + track.nudge[0], seen.v + track.nudge[1]), self.camera.crs)
        found: Record = {
            "track_id": track.track_id,
            "class": CLASS.get(seen.vtype, seen.vtype),
            "lon": lon,
            "lat": lat,
            "confidence": track.confidence,
            "speed_mps": round(seen.speed_mps, 1) if seen.speed_mps >= 0.1 else 0.0,
            "heading_deg": round(seen.angle_deg - TURN_DEG) % 360,
        }
        if seen.vtype in ROLE:
            found["role"] = ROLE[seen.vtype]
        if track.plate and still:
            found |= {"plate": track.plate, "attributes": {"colour": track.colour}}
        return found

    def frame(self, t: int, start_ms: int, everyone: list[Seen]) -> tuple[int, Record, list[tuple[str, Sight]]]:
        """Frame time, value and sights of second `t`; now and then a moving object is missed."""
        cu, cv = self.camera.look
        r2 = self.camera.radius_m**2
        frame_ms = start_ms + t * 1000 + self.phase_ms
        objects, sights = [], []
        for seen in everyone:
            if (seen.u - cu) ** 2 + (seen.v - cv) ** 2 > r2:
                continue
            if seen.speed_mps >= STANDING_MPS and self.rng.random() < 0.004:
                continue
            track = self._track(seen, t)
            objects.append(self._object(seen, track, t))
            standing = seen.speed_mps < STANDING_MPS
            sights.append(
                (seen.vehicle, Sight(frame_ms, self.camera.sensor_id, track.track_id, (seen.u, seen.v), standing))
            )
        value: Record = {"sensor_id": self.camera.sensor_id}
        value["frame_time"] = text_time(frame_ms) if self.camera.text_time else frame_ms
        if self.camera.crs:
            value["crs"] = self.camera.crs
        if self.camera.ptz_preset is not None:
            value["ptz_preset"] = self.camera.ptz_preset
        if self.camera.form == "columns":
            names = ("track_id", "class", "lon", "lat", "confidence", "speed_mps", "heading_deg")
            columns: Record = {n: [o[n] for o in objects] for n in names}
            for optional in ("plate", "role"):
                if any(optional in o for o in objects):
                    columns[optional] = [o.get(optional) for o in objects]
            value["columns"] = columns
        else:
            value["objects"] = objects
        return frame_ms, value, sights


# --- the other streams


def add_measurements(journal: Journal, counts: list[LoopCount]) -> None:
    by_interval: dict[tuple[int, str], list[LoopCount]] = defaultdict(list)
    for c in counts:
        if WARM_UP_S < c.end_s <= WARM_UP_S + journal.scene.length_s:
            by_interval[c.end_s, c.device_id].append(c)
    for loop in LOOPS:
        segment = SEGMENTS[loop.segment_id]
        for (end_s, device_id), lanes in sorted(by_interval.items()):
            if device_id != loop.device_id:
                continue
            for group in [[c] for c in sorted(lanes, key=lambda c: -c.lane)] if loop.by_lane else [lanes]:
                n = sum(c.vehicles for c in group)
                passed = [(c.vehicles, c.speed_mps) for c in group if c.speed_mps is not None]
                value: Record = {
                    "segment_id": loop.segment_id,
                    "source": loop.device_id,
                    "end_time": journal.ms(end_s - WARM_UP_S),
                    "period_s": 60,
                    "speed_kmh": round(3.6 * sum(k * s for k, s in passed) / n, 1) if n else None,
                    "flow_vph": n * 60,
                    "occupancy_pct": round(sum(c.occupancy_pct for c in group) / len(group), 2),
                    "sample_size": n,
                }
                if loop.by_lane:
                    value["lane"] = 2 - group[0].lane
                area = pinghu_map.segment_area(segment)
                journal.add("traffic.measurements", area, value["end_time"], value, 350)


def _due(device_index: int, every_s: int, length_s: int) -> list[float]:
    first = round(device_index * 1.7 % every_s + 0.4, 1)
    return [round(first + every_s * n, 1) for n in range(int((length_s - first) // every_s) + 1)]


def add_readings(journal: Journal) -> None:
    scene = journal.scene
    noise = random.Random(f"noise {scene.name}")
    for index, device in enumerate(DEVICES):
        d, area, battery = device.device_id, device.area, 96 - 5 * index
        times = _due(index, device.expected_every_s, scene.length_s)

        def send(
            t: float, metric: str, value: Any, unit: str | None, *, area: str = area, d: str = d, battery: int = battery
        ) -> None:
            reading: Record = {
                "device_id": d,
                "metric": metric,
                "value": value,
                "unit": unit,
                "reading_time": journal.ms(t),
            }
            if unit is None:
                del reading["unit"]
            journal.add(
                "sensor.readings",
                area,
                reading["reading_time"],
                reading | {"battery_pct": battery, "status": "ok"},
                240,
            )

        if device.kind == "water_level":
            for t in times:
                send(t, "water_level", round(scene.levels_cm[d].at(t) + noise.uniform(-0.15, 0.15), 1), "cm")
        elif device.kind == "tilt":
            watch = scene.tilt_watch_s.get(d)
            extra = _due(0, 10, scene.length_s) if watch else []
            for t in sorted({*times, *(x for x in extra if watch and watch[0] <= x <= watch[1])}):
                send(t, "tilt", round(scene.tilts_deg[d].at(t) + noise.uniform(-0.1, 0.1), 1), "deg")
        elif device.kind == "smoke":
            alarm = scene.smoke_s.get(d)
            extra = _due(0, 10, scene.length_s) if alarm else []
            for t in sorted({*times, *(x for x in extra if alarm and alarm[0] <= x <= alarm[1] + 20)}):
                send(t, "smoke_alarm", bool(alarm and alarm[0] <= t <= alarm[1]), None)
        elif device.kind == "sos":
            for t in times:
                send(t, "sos", False, None)
            if d in scene.sos_s:
                send(scene.sos_s[d], "sos", True, None)
        elif d == "env-01":
            for t in times:
                at = journal.ms(t)
                readings = [
                    {
                        "metric": "temperature",
                        "value": round(scene.temperature_c.at(t), 1),
                        "unit": "degC",
                        "reading_time": at,
                    },
                    {
                        "metric": "humidity",
                        "value": round(81 + noise.uniform(-1, 1)),
                        "unit": "pct",
                        "reading_time": at,
                    },
                ]
                journal.add("sensor.readings", area, at, {"device_id": d, "readings": readings}, 300)
        else:
            for t in times:
                send(t, "temperature", round(scene.temperature_c.at(t) + noise.uniform(-0.1, 0.1), 1), "degC")


def add_events(journal: Journal) -> None:
    for e in journal.scene.events:
        lon, lat = degrees(e.place)
        camera = CAMERAS[e.camera - 1]
        value = {
            "event_id": e.event_id,
            "sensor_id": camera.sensor_id,
            "event_time": text_time(journal.ms(e.at_s)),
            "label": e.label,
            "confidence": e.confidence,
            "lon": lon,
            "lat": lat,
            "snapshot_ref": f"snapshots/{e.event_id}.jpg",
        }
        journal.add("camera.events", camera.area, journal.ms(e.at_s), value, 320)


def add_tickets(journal: Journal) -> None:
    for ticket in journal.scene.tickets:
        lon, lat = degrees(ticket.place) if ticket.place else (None, None)
        value = {
            "ticket_id": ticket.ticket_id,
            "line": ticket.line,
            "call_time": text_time(journal.ms(ticket.at_s)),
            "kind": ticket.kind,
            "category": ticket.category,
            "text": ticket.text,
            "address": ticket.address,
            "lon": lon,
            "lat": lat,
            "error_m": 60 if ticket.place else None,
            "caller": ticket.caller,
            "urgency": ticket.urgency,
        }
        journal.add("hotline.tickets", CENTRE, journal.ms(ticket.at_s), value, 500)


BEAT_MPS, BEAT_PAUSE_S = 7.0, 75.0


def _on_beat(unit: Unit, t: float) -> tuple[Point, float, float]:
    """Place, speed and heading of a unit that waits, drives to the other end of its beat, waits, drives back."""
    if not unit.beat:
        return unit.at, 0.0, 0.0
    a, b = unit.beat
    drive = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5 / BEAT_MPS
    phase = t % (2 * (drive + BEAT_PAUSE_S))
    back = phase >= drive + BEAT_PAUSE_S
    (start, end), phase = ((b, a), phase - drive - BEAT_PAUSE_S) if back else ((a, b), phase)
    heading = 180.0 if (end[1] < start[1]) else 0.0
    if phase < BEAT_PAUSE_S:
        return start, 0.0, heading
    share = (phase - BEAT_PAUSE_S) / drive
    return (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share), BEAT_MPS, heading


def add_positions(journal: Journal, drivers: dict[str, list[tuple[int, Seen]]]) -> None:
    """Units every five seconds, and what SUMO drives: the buses and one ambulance (it stays where it was last)."""
    noise = random.Random(f"gps {journal.scene.name}")

    def send(
        t: float, vehicle: str, at: Point, speed: float, heading: float, role: str | None, unit: str | None
    ) -> None:
        lon, lat = degrees(at)
        value: Record = {"vehicle_id": vehicle, "time": journal.ms(t), "lon": lon, "lat": lat}
        if role:
            value["role"] = role
        value |= {"speed_mps": round(speed, 1), "heading_deg": round(heading - TURN_DEG) % 360, "on_duty": True}
        if unit:
            value["unit_id"] = unit
        journal.add("vehicle.positions", CENTRE, value["time"], value, 180)

    for index, unit in enumerate(UNITS):
        if any(name.endswith(unit.vehicle_id) for name in drivers):
            continue
        drift = (0.0, 0.0)
        for n in range(journal.scene.length_s // 5):
            t = round(5 * n + index * 0.3, 1)
            at, speed, heading = _on_beat(unit, t)
            if n % 12 == 0:
                drift = (noise.gauss(0, 0.6), noise.gauss(0, 0.6))
            send(t, unit.vehicle_id, (at[0] + drift[0], at[1] + drift[1]), speed, heading, unit.role, unit.unit_id)
    units = {u.vehicle_id: u for u in UNITS}
    for name, seen in sorted(drivers.items()):
        own = next((u for v, u in units.items() if name.endswith(v)), None)
        vehicle, role = (own.vehicle_id, own.role) if own else ("bus-" + name.replace(".", "-"), "bus")
        last = seen[-1][0]
        for t, s in seen:
            if t % 5 == 0:
                send(t + 0.2, vehicle, (s.u, s.v), s.speed_mps, s.angle_deg, role, own.unit_id if own else None)
        if own:
            rest = seen[-1][1]
            for t in range(last - last % 5 + 5, journal.scene.length_s, 5):
                send(t + 0.2, vehicle, (rest.u, rest.v), 0.0, rest.angle_deg, role, own.unit_id)


# --- what real recordings have, too


def spoil(journal: Journal, seed: int) -> tuple[list[Record], list[Record]]:
    """Put in three bad records and some doubles; gives what the truth says of both."""
    rng = random.Random(f"spoil {seed}")
    frames = [r for _, _, r in journal.lines if r["topic"] == "camera.tracks"]
    of = {c.sensor_id: c for c in CAMERAS}

    def frame_of(number: int, t: int) -> Record:
        since = journal.ms(t)
        return next(
            r for r in frames if of[r["value"]["sensor_id"]].number == number and r["value"]["frame_time"] >= since
        )

    cut, odd = frame_of(13, 333), frame_of(5, 721)
    text = json.dumps(cut.pop("value"), ensure_ascii=False, separators=(",", ":")).encode()
    cut["value_b64"] = base64.b64encode(text[: len(text) * 2 // 3]).decode()
    odd["value"]["crs"] = "beijing54"
    lon, lat = degrees((540, -66))
    swapped = {
        "event_id": "e-0091",
        "sensor_id": CAMERAS[10].sensor_id,
        "event_time": text_time(journal.ms(690.4)),
        "label": "shop_goods",
        "confidence": 0.71,
        "lon": lat,
        "lat": lon,
        "snapshot_ref": "snapshots/e-0091.jpg",
    }
    turned = journal.add("camera.events", CAMERAS[10].area, journal.ms(690.4), swapped, 320)
    bad = [
        {"topic": r["topic"], "key": r["key"], "timestamp_ms": r["timestamp_ms"], "reason": reason, "note": note}
        for r, reason, note in (
            (cut, "not_json", "a frame cut off on its way"),
            (odd, "unknown_crs", "one frame declares beijing54"),
            (turned, "swapped_axes", "event e-0091 has longitude and latitude the wrong way round"),
        )
    ]
    doubles = []
    wanted = {
        "camera.tracks": 4,
        "camera.events": 1,
        "sensor.readings": 1,
        "traffic.measurements": 1,
        "vehicle.positions": 1,
    }
    spoilt = [id(r) for r in (cut, odd, turned)]
    for topic, count in wanted.items():
        fit = [r for _, _, r in journal.lines if r["topic"] == topic and id(r) not in spoilt]
        fit = [r for r in fit if _is_full(r) and r["timestamp_ms"] - event_ms(r) < 900]
        for r in rng.sample(fit, count):
            again = journal.place(r | {"timestamp_ms": r["timestamp_ms"] + rng.randint(120, 500)})
            doubles.append(
                {"topic": topic, "key": r["key"], "timestamp_ms": again["timestamp_ms"], "first_ms": r["timestamp_ms"]}
            )
    return bad, doubles


def _is_full(record: Record) -> bool:
    value = record["value"]
    return (
        bool(value.get("objects") or value.get("columns", {}).get("lon"))
        if record["topic"] == "camera.tracks"
        else True
    )


def event_ms(record: Record) -> int:
    value = record["value"]
    for name in ("frame_time", "event_time", "end_time", "call_time", "reading_time", "time"):
        if name in value:
            at = value[name]
            return at if isinstance(at, int) else round(datetime.fromisoformat(at).timestamp() * 1000)
    return int(value["readings"][0]["reading_time"])


# --- the truth

HOLDS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], bool]]] = {
    "water_level": (lambda y: y >= 15, lambda y: y < 8),
    "tilt": (lambda y: y >= 15, lambda y: y < 5),
    "smoke_alarm": (lambda y: y is True, lambda y: y is False),
    "sos": (lambda y: y is True, lambda y: y is False),
}
"""When a reading shows the condition, and when it shows that it has gone."""


def truth_of(claim: Claim, lines: list[Record], sights: dict[str, list[Sight]]) -> Record:
    told: Record = {"id": claim.claim_id, "kind": claim.kind, "expect_rule": claim.expect_rule}
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


# --- all together


def make(scene: Scene, seed: int, folder: Path) -> tuple[list[Record], Record]:
    """The lines of the recording in arrival order, and its truth."""
    steps, counts = pinghu_traffic.run(
        folder,
        seed,
        WARM_UP_S + scene.length_s,
        hourly={end: pinghu_day.hourly_flow(end) for end in pinghu_traffic.ENDS},
        share=scene.share,
        halts=scene.halts,
        buses=scene.buses,
        limits=scene.limits,
    )
    journal = Journal(scene, seed)
    eyes = [Eye(c, seed) for c in CAMERAS]
    claimed = {name for c in scene.claims for name in c.by_tracks}
    sights: dict[str, list[Sight]] = defaultdict(list)
    drivers: dict[str, list[tuple[int, Seen]]] = defaultdict(list)
    for second, vehicles in steps:
        t = second - WARM_UP_S
        if not 0 <= t < scene.length_s:
            continue
        everyone = vehicles + [s for a in scene.actors if (s := a.at(t))]
        for eye in eyes:
            frame_ms, value, seen = eye.frame(t, scene.start_ms, everyone)
            journal.add("camera.tracks", eye.camera.area, frame_ms, value, 150 + 11 * eye.camera.number)
            for name, sight in seen:
                if name in claimed:
                    sights[name].append(sight)
        for s in vehicles:
            if s.vtype == "bus" or s.vehicle.startswith("ambulance-"):
                drivers[s.vehicle].append((t, s))
    add_measurements(journal, counts)
    add_readings(journal)
    add_events(journal)
    add_tickets(journal)
    add_positions(journal, drivers)
    told = [(c, truth_of(c, [r for _, _, r in journal.lines], sights)) for c in scene.claims]
    bad, doubles = spoil(journal, seed) if scene.spoilt else ([], [])
    lines = journal.sorted()
    truth: Record = {
        "recording": f"{scene.name}.jsonl.gz",
        "position_quality": "synthetic",
        "seed": seed,
        "made_with": {"eclipse-sumo": pinghu_traffic.sumo_version()},
        "from": text_time(scene.start_ms),
        "to": text_time(scene.start_ms + scene.length_s * 1000),
        "records": dict(sorted(Counter(r["topic"] for r in lines).items())),
        "incidents": [t for c, t in told if not c.decoy],
        "decoys": [t for c, t in told if c.decoy],
        "unrelated_tickets": sorted(
            {t.ticket_id for t in scene.tickets} - {x for c in scene.claims for x in c.tickets}
        ),
        "bad_records": bad,
        "duplicates": doubles,
    }
    return lines, truth


def write_recording(path: Path, lines: list[Record]) -> None:
    """Gzipped JSON Lines without a time stamp or a name inside, so that equal content is equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as packed:
        for line in lines:
            packed.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def write_geography(folder: Path) -> None:
    files = {
        "zones/pinghu.geojson": pinghu_map.zone_features(),
        "registry/devices.geojson": pinghu_map.device_features(),
        "registry/segments.geojson": pinghu_map.segment_features(),
        "registry/units.geojson": pinghu_map.unit_features(),
    }
    for name, features in files.items():
        rows = ",\n".join(json.dumps(f, ensure_ascii=False) for f in features)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"type": "FeatureCollection", "features": [\n{rows}\n]}}\n', encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the recordings and the geography of the synthetic Pinghu.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--dawn", action="store_true", help="the quiet dawn instead of the morning peak")
    parser.add_argument(
        "--geography", type=Path, metavar="FOLDER", help="write FOLDER/zones and FOLDER/registry, no recording"
    )
    chosen = parser.parse_args(arguments)
    if chosen.geography:
        write_geography(chosen.geography)
        return 0
    if not chosen.out or not chosen.truth:
        parser.error("--out and --truth are needed (or --geography)")
    scene = pinghu_day.dawn(chosen.seed) if chosen.dawn else pinghu_day.morning(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        lines, truth = make(scene, chosen.seed, Path(folder))
    write_recording(chosen.out, lines)
    chosen.truth.write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
