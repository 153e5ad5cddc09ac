"""What must come of a load: slow, plain, of one thread, written from docs/rules.md. Nothing of the engine is in it.

It reads each record that counts once, sorted by event time, and decides the five rules of rules.yaml. The cameras of a
load look at all times and its sensors never fall silent, so no condition ends for want of sight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import cos, hypot, radians
from typing import Any, NamedTuple

from shapely.geometry import Point

from tests.reliability.load import Load, zones

PARKED_S, GONE_S, MAX_GAP_S, MIN_POINTS, MAX_MOVE_M = 8, 6, 4, 4, 3
HOLD_S, CLOSE_S = 5, 4
METRES = 111_195.0


class Raised(NamedTuple):
    """A condition that was raised: of which rule and thing, where, since when it lasted and at what instant it was
    raised. Milliseconds."""

    rule: str
    key: str
    zone: str
    since_ms: int
    event_ms: int


class Sighting(NamedTuple):
    at_ms: int
    lon: float
    lat: float


def raised(load: Load) -> set[Raised]:
    """Every condition that a load raises."""
    return {*parked(load), *levels(load), *events(load)}


# ------------------------------------------------------------------------------------------------------------- standing


def parked(load: Load) -> Iterator[Raised]:
    for (key, zone), sightings in standing(load).items():
        yield from stays(key, zone, sorted(sightings))


def standing(load: Load) -> dict[tuple[str, str], list[Sighting]]:
    """Where each car stands, by camera, track and zone."""
    found: dict[tuple[str, str], list[Sighting]] = defaultdict(list)
    for frame in load.used("camera.tracks"):
        for seen in frame["objects"]:
            if seen["class"] == "car" and seen["speed_mps"] < 0.5:
                place = Point(seen["lon"], seen["lat"])
                for zone in zones():
                    if zone.ground.covers(place):
                        key = f"sensor_id={frame['sensor_id']} track_id={seen['track_id']}"
                        found[key, zone.path].append(Sighting(frame["frame_time"], seen["lon"], seen["lat"]))
    return found


def stays(key: str, zone: str, sightings: list[Sighting]) -> Iterator[Raised]:
    run: list[Sighting] = []
    told = False
    for sighting in sightings:
        if told:
            if sighting.at_ms - run[-1].at_ms < GONE_S * 1000:
                if apart_m(run[0], sighting) <= MAX_MOVE_M:
                    run.append(sighting)
                continue
            run, told = [], False
        broken = run and (sighting.at_ms - run[-1].at_ms > MAX_GAP_S * 1000 or apart_m(run[0], sighting) > MAX_MOVE_M)
        run = [sighting] if broken or not run else [*run, sighting]
        due_ms = run[0].at_ms + PARKED_S * 1000
        if sighting.at_ms >= due_ms and len(run) >= MIN_POINTS:
            told = True
            yield Raised("parked", key, zone, run[0].at_ms, max(due_ms, run[MIN_POINTS - 1].at_ms))


def apart_m(one: Sighting, other: Sighting) -> float:
    east = (other.lon - one.lon) * METRES * cos(radians(one.lat))
    return hypot(east, (other.lat - one.lat) * METRES)


# --------------------------------------------------------------------------------------------------------------- levels


def levels(load: Load) -> Iterator[Raised]:
    water = [r for r in load.used("sensor.readings") if r["metric"] == "water_level"]
    yield from holds("flooded", "device_id", "reading_time", "value", water, lambda v: v >= 15, lambda v: v < 8)
    traffic = load.used("traffic.measurements")
    yield from holds("slow", "segment_id", "end_time", "speed_kmh", traffic, lambda v: v < 15, lambda v: v > 22)


def holds(
    rule: str,
    source: str,
    time: str,
    value: str,
    bodies: list[dict[str, Any]],
    opens: Callable[[float], bool],
    closes: Callable[[float], bool],
) -> Iterator[Raised]:
    by_source: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for body in bodies:
        by_source[body[source]].append((body[time], body[value]))
    for name, readings in by_source.items():
        since: int | None = None
        closing: int | None = None
        told = False
        for at_ms, level in sorted(readings):
            if not told:
                since = (at_ms if since is None else since) if opens(level) else None
                if since is not None and at_ms >= since + HOLD_S * 1000:
                    told, closing = True, None
                    yield Raised(rule, f"{source}={name}", "", since, since + HOLD_S * 1000)
            else:
                closing = (at_ms if closing is None else closing) if closes(level) else None
                if closing is not None and at_ms >= closing + CLOSE_S * 1000:
                    told, since = False, None


# --------------------------------------------------------------------------------------------------------------- events


def events(load: Load) -> Iterator[Raised]:
    for body in load.used("camera.events"):
        if body["label"] == "cover_missing" and body["confidence"] >= 0.8:
            at_ms = body["event_time"]
            yield Raised("cover-gone", f"sensor_id={body['sensor_id']}", "", at_ms, at_ms)
    for body in load.used("sensor.readings"):
        if body["metric"] == "sos" and body["value"] is True:
            at_ms = body["reading_time"]
            yield Raised("sos", f"device_id={body['device_id']}", "", at_ms, at_ms)
