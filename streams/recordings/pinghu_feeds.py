"""The input streams of the synthetic Pinghu: what cameras, loops, sensors, people and units send, and when it arrives.

Knows what is where (pinghu_map.py) and what happens (pinghu_day.py), not what of it counts as true.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from streams.recordings import pinghu_map
from streams.recordings.pinghu_day import WARM_UP_S, Scene
from streams.recordings.pinghu_map import CAMERAS, DEVICES, LOOPS, SEGMENTS, TURN_DEG, UNITS, Camera, Point, Unit
from streams.recordings.pinghu_traffic import LoopCount, Seen

Record = dict[str, Any]

CENTRE = "pinghu"
"""Key of the streams that go to the command centre."""
MAX_DELAY_MS = 1500
"""Arrival after event time, at most: under the lateness of every topic, so nothing is late."""
HICCUPS = 0.03
"""Share of records held up on their way."""
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


class Tape:
    """The lines of a recording while it is made; sorted by arrival at the end, first come first on equal times."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.delays = random.Random(f"delays {scene.name} {seed}")
        self.lines: list[tuple[int, int, Record]] = []

    def add(self, topic: str, key: str, event_ms: int, value: Record, base_ms: int) -> Record:
        delay = base_ms + self.delays.expovariate(1 / 110)
        if self.delays.random() < HICCUPS:
            delay += self.delays.uniform(200, 1000)
        delay = min(MAX_DELAY_MS, round(delay))
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


def add_measurements(tape: Tape, counts: list[LoopCount]) -> None:
    by_interval: dict[tuple[int, str], list[LoopCount]] = defaultdict(list)
    for c in counts:
        if WARM_UP_S < c.end_s <= WARM_UP_S + tape.scene.length_s:
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
                    "end_time": tape.ms(end_s - WARM_UP_S),
                    "period_s": 60,
                    "speed_kmh": round(3.6 * sum(k * s for k, s in passed) / n, 1) if n else None,
                    "flow_vph": n * 60,
                    "occupancy_pct": round(sum(c.occupancy_pct for c in group) / len(group), 2),
                    "sample_size": n,
                }
                if loop.by_lane:
                    value["lane"] = 2 - group[0].lane
                area = pinghu_map.segment_area(segment)
                tape.add("traffic.measurements", area, value["end_time"], value, 350)


def _due(device_index: int, every_s: int, length_s: int) -> list[float]:
    first = round(device_index * 1.7 % every_s + 0.4, 1)
    return [round(first + every_s * n, 1) for n in range(int((length_s - first) // every_s) + 1)]


def add_readings(tape: Tape) -> None:
    scene = tape.scene
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
                "reading_time": tape.ms(t),
            }
            if unit is None:
                del reading["unit"]
            tape.add(
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
                at = tape.ms(t)
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
                tape.add("sensor.readings", area, at, {"device_id": d, "readings": readings}, 300)
        else:
            for t in times:
                send(t, "temperature", round(scene.temperature_c.at(t) + noise.uniform(-0.1, 0.1), 1), "degC")


def add_events(tape: Tape) -> None:
    for e in tape.scene.events:
        lon, lat = degrees(e.place)
        camera = CAMERAS[e.camera - 1]
        value = {
            "event_id": e.event_id,
            "sensor_id": camera.sensor_id,
            "event_time": text_time(tape.ms(e.at_s)),
            "label": e.label,
            "confidence": e.confidence,
            "lon": lon,
            "lat": lat,
            "snapshot_ref": f"snapshots/{e.event_id}.jpg",
        }
        tape.add("camera.events", camera.area, tape.ms(e.at_s), value, 320)


def add_tickets(tape: Tape) -> None:
    for ticket in tape.scene.tickets:
        lon, lat = degrees(ticket.place) if ticket.place else (None, None)
        value = {
            "ticket_id": ticket.ticket_id,
            "line": ticket.line,
            "call_time": text_time(tape.ms(ticket.at_s)),
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
        tape.add("hotline.tickets", CENTRE, tape.ms(ticket.at_s), value, 500)


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


def add_positions(tape: Tape, drivers: dict[str, list[tuple[int, Seen]]]) -> None:
    """Units every five seconds, and what SUMO drives: the buses and one ambulance (it stays where it was last)."""
    noise = random.Random(f"gps {tape.scene.name}")

    def send(
        t: float, vehicle: str, at: Point, speed: float, heading: float, role: str | None, unit: str | None
    ) -> None:
        lon, lat = degrees(at)
        value: Record = {"vehicle_id": vehicle, "time": tape.ms(t), "lon": lon, "lat": lat}
        if role:
            value["role"] = role
        value |= {"speed_mps": round(speed, 1), "heading_deg": round(heading - TURN_DEG) % 360, "on_duty": True}
        if unit:
            value["unit_id"] = unit
        tape.add("vehicle.positions", CENTRE, value["time"], value, 180)

    for index, unit in enumerate(UNITS):
        if any(name.endswith(unit.vehicle_id) for name in drivers):
            continue
        drift = (0.0, 0.0)
        for n in range(tape.scene.length_s // 5):
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
            for t in range(last - last % 5 + 5, tape.scene.length_s, 5):
                send(t + 0.2, vehicle, (rest.u, rest.v), 0.0, rest.angle_deg, role, own.unit_id)


def event_ms(record: Record) -> int:
    value = record["value"]
    for name in ("frame_time", "event_time", "end_time", "call_time", "reading_time", "time"):
        if name in value:
            at = value[name]
            return at if isinstance(at, int) else round(datetime.fromisoformat(at).timestamp() * 1000)
    return int(value["readings"][0]["reading_time"])
