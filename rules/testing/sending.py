"""What a test sends: its feeds as records in order of arrival, and the answers of people as orders go out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import atan2, degrees

from geo.distance import metres_per_degree
from models.ids import content_id, share
from models.streams import STREAMS
from rules.testing.model import Answer, Disturb, Feed, Plain, Sent, Test, Told, Waypoint

FRAME_FIELDS = ("sensor_id", "ptz_preset", "model", "crs", "snapshot_ref")
ACTOR = "rule-test"
Fields = dict[str, Plain]


def records(test: Test) -> list[Sent]:
    """Of all feeds, in order of arrival."""
    frames: dict[tuple[str, int, str], Fields] = {}
    found: list[Sent] = []
    for number, feed in enumerate(test.feeds):
        for step, after_us in enumerate(feed.times_us):
            row = row_of(feed, step, after_us)
            if row is None:
                continue
            time_us, arrival_us = test.start_us + after_us, test.start_us + after_us + feed.delay_us
            if feed.topic == "camera.tracks":
                seen(frames, feed, row, time_us)
            else:
                found.append(Sent(arrival_us, feed.topic, feed.key, stamped(feed, row, time_us, (number, step))))
    found += [Sent(time_us, "camera.tracks", key, frame) for (key, time_us, _), frame in frames.items()]
    return disturbed(sorted(found, key=lambda one: one.at_us), test.disturb)


def row_of(feed: Feed, step: int, after_us: int) -> Fields | None:
    """The fields at one instant; None where nothing is sent."""
    if any(since <= after_us < until for since, until in feed.dropped):
        return None
    row = dict(feed.fields)
    for name, values in (feed.series or {}).items():
        if values[step] is None:
            return None
        row[name] = values[step]
    return {**way_at(feed.path, after_us), **row} if feed.path else row


def way_at(path: Sequence[Waypoint], after_us: int) -> Fields:
    """Place, and of the way between two points speed and heading."""
    for a, b in pairwise(path):
        if a.at_us <= after_us < b.at_us:
            return between(a, b, after_us)
    last = path[-1] if after_us >= path[-1].at_us else path[0]
    return {"lon": last.lon, "lat": last.lat, "speed_mps": 0.0}


def between(a: Waypoint, b: Waypoint, after_us: int) -> Fields:
    part = (after_us - a.at_us) / (b.at_us - a.at_us)
    per_lon, per_lat = metres_per_degree(a.lat)
    east_m, north_m = (b.lon - a.lon) * per_lon, (b.lat - a.lat) * per_lat
    speed_mps = (east_m**2 + north_m**2) ** 0.5 / ((b.at_us - a.at_us) / 1e6)
    found: Fields = {
        "lon": round(a.lon + (b.lon - a.lon) * part, 8),
        "lat": round(a.lat + (b.lat - a.lat) * part, 8),
        "speed_mps": round(speed_mps, 3),
    }
    return found | {"heading_deg": round(degrees(atan2(east_m, north_m)) % 360, 1)} if speed_mps else found


def seen(frames: dict[tuple[str, int, str], Fields], feed: Feed, row: Fields, time_us: int) -> None:
    """Put what a feed sees into its camera's frame of that instant."""
    head = {name: row.pop(name) for name in FRAME_FIELDS if name in row}
    camera = str(head.get("sensor_id", ""))
    frame = frames.setdefault((feed.key, time_us, camera), {"frame_time": time_us // 1000, "objects": []})
    frame.update(head)
    objects = frame["objects"]
    assert isinstance(objects, list)
    if not feed.empty:
        objects.append({name: value for name, value in row.items() if value is not None})


def stamped(feed: Feed, row: Fields, time_us: int, place: tuple[int, int]) -> Fields:
    """With its time and, where it has none, an id of its own."""
    record: Fields = {name: value for name, value in row.items() if value is not None}
    record[STREAMS[feed.topic].time] = time_us // 1000
    for name in ("event_id", "ticket_id"):
        if name in STREAMS[feed.topic].fields:
            record.setdefault(name, f"test-{place[0]}-{place[1]}")
    return without_speed_of_way(feed, record)


def without_speed_of_way(feed: Feed, record: Fields) -> Fields:
    """Only what the stream knows: a path gives speed and heading, which not every stream has."""
    known = STREAMS[feed.topic].fields
    derived = {"speed_mps", "heading_deg"} - known.keys() - feed.fields.keys()
    return {name: value for name, value in record.items() if name not in derived}


def disturbed(sent: Sequence[Sent], how: Disturb) -> list[Sent]:
    """The same with the network's faults; which record has which is fixed by the seed and its number."""
    found: list[Sent] = []
    for number, one in enumerate(sent):
        if share(f"drop/{how.seed}/{number}") < how.drop:
            continue
        found.append(one._replace(at_us=one.at_us + round(share(f"late/{how.seed}/{number}") * how.shuffle_us)))
        if share(f"twice/{how.seed}/{number}") < how.duplicate:
            found.append(one._replace(at_us=one.at_us + round(share(f"again/{how.seed}/{number}") * how.shuffle_us)))
    return sorted(found, key=lambda one: one.at_us)


def lines(test: Test, told: Sequence[Told]) -> Iterator[Sent]:
    """Everything a test sends, its answers to what has been `told` by then among it, up to its end."""
    answers = sorted(test.answers, key=lambda answer: answer.at_us)
    for one in [*records(test), Sent(test.start_us + test.end_us)]:
        while answers and test.start_us + answers[0].at_us <= one.at_us:
            answer = answers.pop(0)
            at_us = test.start_us + answer.at_us
            yield Sent(at_us)
            yield from answered(answer, at_us, told)
        yield one


def answered(answer: Answer, at_us: int, told: Sequence[Told]) -> Iterator[Sent]:
    """The record of one answer; nothing while there is no order or incident to speak of, which its test will notice."""
    incident_id = newest(told, "incidents", lambda value: value.get("rule") == answer.rule, "incident_id")
    if incident_id is None:
        return
    common: Fields = {"incident_id": incident_id, "actor": ACTOR, "time": at_us // 1000}
    if answer.command is not None:
        command_id = content_id("c", incident_id, answer.command, at_us)
        more: Fields = {"command_id": command_id, "command": answer.command, "role": "dispatcher"}
        yield Sent(at_us, "commands", "", common | more | {"args": dict(answer.args)})
        return
    order_id = newest(told, "dispatch.orders", lambda value: value.get("incident_id") == incident_id, "order_id")
    if order_id is not None:
        feedback_id = content_id("f", order_id, answer.said, at_us)
        more = {"feedback_id": feedback_id, "order_id": order_id, "action": answer.said}
        yield Sent(at_us, "dispatch.feedback", "", common | more)


def newest(told: Sequence[Told], topic: str, wanted: Callable[[Mapping[str, Plain]], bool], field: str) -> str | None:
    for one in reversed(told):
        if one.topic == topic and wanted(one.value) and not one.value.get("cancelled"):
            return str(one.value[field])
    return None
