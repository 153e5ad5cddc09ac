"""What must hold of a run, however often its workers were killed. Each check gives what it found wrong, in words.

Everything is read from the topics, as other systems read them. Nothing here knows how the engine works: the steps of
an incident's life are this file's own table, from the published list of states.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from models.streams import DETECTOR_TOPICS
from models.times import parse_rfc3339_us
from tests.reliability.load import Load, stamp_of
from tests.reliability.oracle import Raised, raised
from tests.reliability.outputs import TP, Kept, Run

Place = tuple[str, int, int]
"""Topic, partition, offset."""

CASE = {"dispatched", "withdrawn", "suspended", "merged", "false_alarm", "closed"}
ORDERED = {"accepted", "arrived", "handled", "returned"}
NEXT: Mapping[str, set[str]] = {
    "suspected": {"notified", "confirmed", "withdrawn", "merged", "false_alarm"},
    "notified": {"confirmed", "withdrawn", "merged", "false_alarm"},
    "confirmed": CASE,
    "dispatched": CASE | ORDERED,
    "accepted": CASE | ORDERED - {"accepted"},
    "arrived": CASE | {"handled", "returned"},
    "handled": {"verifying"},
    "verifying": {"closed", "rework", "merged", "false_alarm"},
    "returned": CASE,
    "rework": CASE,
    "suspended": {"confirmed", "withdrawn", "merged", "false_alarm"},
    "closed": {"confirmed"},
    "withdrawn": {"confirmed"},
    "false_alarm": {"confirmed"},
    "merged": set(),
}
ONCE = ("incidents", "dispatch.orders", "verification.results", "hotline.replies", "late", "dead-letters")
FIRST = {"suspected", "confirmed"}
"""States an incident may be told in first."""


class Figures(NamedTuple):
    """What is counted of a run."""

    produced: int
    duplicate: int
    late: int
    dead: int
    in_flight: int
    used_or_filtered: int
    raised: int
    incidents: int
    doubled_raw: int


def findings(run: Run, load: Load, *, raw_at_most: int | None = None) -> list[str]:
    """Everything that is wrong with a run of a load that has come to its end."""
    wrong = [
        *accounts(run, load),
        *lost_and_phantom(run, raised(load)),
        *incidents_of(run, load),
        *revisions(run),
        *orders(run),
        *steps(run),
        *replies(run, load),
        *key_order(run),
    ]
    raw = doubled_raw(run)
    if raw_at_most is not None and raw > raw_at_most:
        wrong.append(f"doubled raw: {raw} records came again, at most {raw_at_most} may")
    return wrong


def figures(run: Run, load: Load) -> Figures:
    """The terms of the equation, as found on the topics."""
    log = arrivals(run)
    doubles = len(log) - len({stamp for stamp, _ in log.values()})
    late, dead = set(map(place_told, run.of("late"))), set(map(place_told, run.of("dead-letters")))
    flying = sum(in_flight(run).values())
    rest = len(log) - doubles - len(late) - len(dead) - flying
    incidents = {record.body["incident_id"] for record in run.of("incidents")}
    told = set(raised_once(run))
    return Figures(len(log), doubles, len(late), len(dead), flying, rest, len(told), len(incidents), doubled_raw(run))


# ------------------------------------------------------------------------------------------------------------- accounts


def arrivals(run: Run) -> dict[Place, tuple[tuple[str, str, int, int], Kept]]:
    """Every record of a load on the topics, by its place."""
    found = {}
    for records in run.records.values():
        for record in records:
            stamp = stamp_of(record.headers)
            if stamp is not None:
                found[record.topic, record.partition, record.offset] = stamp, record
    return found


def place_told(letter: Kept) -> Place:
    """Where the record stood that a dead letter or a late record is about."""
    body = letter.body
    return body["topic"], body["partition"], body["offset"]


def accounts(run: Run, load: Load) -> list[str]:
    """produced = used or filtered + duplicate + late + dead + in flight, record for record."""
    log, wrong = arrivals(run), list[str]()
    fates = {(r.topic, r.seq): r.fate for r in load.records if r.fate != "duplicate"}
    if len(log) != len(load.records):
        wrong.append(f"produced: {len(load.records)} were sent, {len(log)} stand on the topics")
    for place, ((_, source, seq, crc), record) in log.items():
        if zlib.crc32(record.value or b"") != crc:
            wrong.append(f"damaged: {source}/{seq} at {place}")
    for name, prefix in (("late", "late"), ("dead-letters", "dead:")):
        meant = {place for place, (stamp, _) in log.items() if fates[stamp[1], stamp[2]].startswith(prefix)}
        told = {place_told(letter) for letter in run.of(name)}
        wrong += [f"{name}: nothing is told of {place}" for place in sorted(meant - told)]
        wrong += [f"{name}: {place} is told, and was good" for place in sorted(told - meant)]
    for letter in run.of("dead-letters"):
        place = place_told(letter)
        if place in log and fates[log[place][0][1:3]] not in (f"dead:{letter.body['reason']}", "used"):
            wrong.append(f"dead-letters: {place} has the reason {letter.body['reason']}")
    return wrong + [f"in flight: {count} records of {tp} were never done" for tp, count in in_flight(run).items()]


def in_flight(run: Run) -> dict[TP, int]:
    """Records of the inputs that lie beyond what is committed; clock records too."""
    behind = {tp: end - run.committed.get(tp, 0) for tp, end in run.ends.items() if end > 0}
    return {tp: count for tp, count in behind.items() if count}


def ahead_of_store(committed: Mapping[TP, int], stored: Mapping[TP, int]) -> list[str]:
    """Nothing may be committed that the store does not hold. Read what is committed first, then the store."""
    return [
        f"{topic}[{partition}]: {offset} is committed, the store holds {stored.get((topic, partition), 0)}"
        for (topic, partition), offset in sorted(committed.items())
        if offset > stored.get((topic, partition), 0) and topic in DETECTOR_TOPICS
    ]


# ----------------------------------------------------------------------------------------------------------- detections


def raised_of(detection: Mapping[str, Any]) -> Raised:
    """A raised detection in the oracle's words."""
    key = " ".join(f"{name}={detection['key'][name]}" for name in sorted(detection["key"]))
    event_ms = parse_rfc3339_us(detection["event_time"]) // 1000
    since_ms = event_ms - round(detection["held_s"] * 1000)
    return Raised(detection["rule"], key, detection["zone"] or "", since_ms, event_ms)


def raised_once(run: Run) -> dict[str, Raised]:
    """What was raised, by detection id."""
    bodies = (record.body for record in run.detections())
    return {body["detection_id"]: raised_of(body) for body in bodies if body["kind"] == "raised"}


def lost_and_phantom(run: Run, expected: set[Raised]) -> list[str]:
    """lost = |expected - found|, phantom = |found - expected|."""
    found = Counter(raised_once(run).values())
    wrong = [f"lost: {one}" for one in sorted(expected - found.keys())]
    wrong += [f"phantom: {one}" for one in sorted(found.keys() - expected)]
    return wrong + [f"two ids: {one}" for one, count in found.items() if count > 1]


def doubled_raw(run: Run) -> int:
    """Records that came again, before any consumer's rule: the sum of n - 1 over what must be there once."""
    outputs = [run.detections(), *(run.of(topic) for topic in ONCE)]
    return sum(len(records) - len(set(map(identity, records))) for records in outputs)


def identity(record: Kept) -> str | None:
    return record.header("ce_id")


# -------------------------------------------------------------------------------------------------- the consumer's rule


class Heard(NamedTuple):
    """A record of the Desk that a consumer takes: not of an epoch older than one it has seen on that partition."""

    record: Kept
    epoch: int
    seq: int


def heard(records: Iterable[Kept]) -> list[Heard]:
    newest: dict[int, int] = {}
    found = []
    for record in records:
        epoch, seq = int(record.header("ce_epoch") or 0), int(record.header("ce_seq") or 0)
        if epoch >= newest.get(record.partition, 0):
            newest[record.partition] = epoch
            found.append(Heard(record, epoch, seq))
    return found


def lives(run: Run) -> dict[str, dict[int, dict[str, Any]]]:
    """Each incident's revisions as a consumer takes them: each once, the first that came."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for each in heard(run.of("incidents")):
        body = each.record.body
        found[body["incident_id"]].setdefault(body["revision"], body)
    return found


def incidents_of(run: Run, load: Load) -> list[str]:
    """Each detection and each ticket with a place is in exactly one incident, and there is no other."""
    wrong: list[str] = []
    held: dict[str, set[str]] = defaultdict(set)
    for incident, life in lives(run).items():
        for named in (*life[max(life)]["detections"], *life[max(life)]["tickets"]):
            held[named].add(incident)
    expected = set(raised_once(run)) | {t["ticket_id"] for t in load.used("hotline.tickets") if "lon" in t}
    wrong += [f"lost: no incident holds {named}" for named in sorted(expected - held.keys())]
    wrong += [f"phantom: an incident holds {named}" for named in sorted(held.keys() - expected)]
    wrong += [f"doubled effect: {sorted(found)} hold {named}" for named, found in held.items() if len(found) > 1]
    if len(lives(run)) != len(expected):
        wrong.append(f"incidents: {len(lives(run))} are open, {len(expected)} should be")
    return wrong


def revisions(run: Run) -> list[str]:
    """1, 2, 3, … and whatever comes again says the same."""
    wrong = [
        f"revisions of {i}: {sorted(life)}"
        for i, life in lives(run).items()
        if sorted(life) != list(range(1, len(life) + 1))
    ]
    first = lives(run)
    for each in heard(run.of("incidents")):
        body = each.record.body
        if first[body["incident_id"]][body["revision"]] != body:
            wrong.append(f"doubled effect: {body['incident_id']} has two revisions {body['revision']}")
    return wrong


def orders(run: Run) -> list[str]:
    """An order is given once and at most once taken back; whatever comes again says the same."""
    wrong: list[str] = []
    told: dict[tuple[str, bool], bytes] = {}
    for each in heard(run.of("dispatch.orders")):
        body, value = each.record.body, each.record.value or b""
        if told.setdefault((body["order_id"], body["cancelled"]), value) != value:
            wrong.append(f"doubled effect: order {body['order_id']} of {body['incident_id']} says two things")
    given = {body["order_id"] for body in (each.record.body for each in heard(run.of("dispatch.orders")))}
    named = {body["order_id"] for life in lives(run).values() for body in life.values() if body["order_id"]}
    wrong += [f"lost: order {order} was never given" for order in sorted(named - given)]
    return wrong + [f"doubled effect: no incident knows order {order}" for order in sorted(given - named)]


def steps(run: Run) -> list[str]:
    """No incident goes a way there is not."""
    wrong: list[str] = []
    for incident, life in lives(run).items():
        states = [life[revision]["state"] for revision in sorted(life)]
        if states[0] not in FIRST:
            wrong.append(f"illegal: {incident} begins as {states[0]}")
        for before, after in pairwise(states):
            if before != after and after not in NEXT[before]:
                wrong.append(f"illegal: {incident} goes from {before} to {after}")
    return wrong


def replies(run: Run, load: Load) -> list[str]:
    """Every caller is answered."""
    answered = {each.record.body["ticket_id"] for each in heard(run.of("hotline.replies"))}
    return [
        f"lost: no answer to {t['ticket_id']}" for t in load.used("hotline.tickets") if t["ticket_id"] not in answered
    ]


def key_order(run: Run) -> list[str]:
    """A consumer finds each incident's revisions and each detection's transitions in their order, doubles apart."""
    wrong: list[str] = []
    newest: dict[str, int] = {}
    for each in heard(run.of("incidents")):
        body = each.record.body
        expected = newest.get(body["incident_id"], 0) + 1
        if body["revision"] > expected:
            wrong.append(f"order: {body['incident_id']} has revision {body['revision']} before {expected}")
        newest[body["incident_id"]] = max(expected - 1, body["revision"])
    opened: set[str] = set()
    for record in run.detections():
        body = record.body
        opened |= {body["detection_id"]} if body["kind"] == "raised" else set()
        if body["detection_id"] not in opened:
            wrong.append(f"order: {body['detection_id']} is {body['kind']} before it is raised")
    return wrong


# ---------------------------------------------------------------------------------------------------------- how quickly


def busiest(run: Run, within_ms: int) -> int:
    """The most outputs of any span of that length, by the time they bear: what may be in flight when a worker dies."""
    times = sorted(r.at_ms for records in (run.detections(), *(run.of(topic) for topic in ONCE)) for r in records)
    most = first = 0
    for last, at_ms in enumerate(times):
        while times[first] < at_ms - within_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def delays_s(run: Run, of: Callable[[Mapping[str, Any]], bool] = lambda body: True) -> list[float]:
    """Under the wall clock: from the instant of each raise to its detection on the topic, sorted. `of`: which ones."""
    first: dict[str, float] = {}
    for record in run.detections():
        body = record.body
        if body["kind"] == "raised" and of(body):
            event_ms = parse_rfc3339_us(body["event_time"]) / 1000
            first.setdefault(body["detection_id"], (record.at_ms - event_ms) / 1000)
    return sorted(first.values())


def share(values: list[float], of: float) -> float:
    """The value below which that share of sorted values lies; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * of))] if values else 0.0


# ------------------------------------------------------------------------------------------------- one run and another


def outcome(run: Run) -> dict[str, object]:
    """What a run comes to, for comparing it with another's: what was raised, and what that and the calls opened, with
    their ids. Not which unit goes and what it answers when: that hangs on which of two topics the Desk reads first."""
    return {
        "raised": sorted(raised_once(run).items()),
        "opened": {i: (life[1]["rule"], life[1]["zone"], life[1]["opened_at"]) for i, life in lives(run).items()},
    }
