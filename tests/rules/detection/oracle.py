"""A second Detector, slow and plain, written from the documents: nothing of `rules` is in it.

It reads all records first, sorts what is fresh by event time, and walks through the time of each condition in cells of
a quarter of a second: every moment that counts (stamps, durations, reaches) lies on that grid. A cell of a source is
covered when one of its sightings lies at most its reach before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import atan2, cos, degrees, hypot, inf, radians, sin
from typing import Any, NamedTuple

import orjson

from models.prints import fingerprint
from tests.rules.detection.stage import LAT, LON, METRE_LAT, METRE_LON, START_US, Sent

CELL = 250_000
SECOND = 1_000_000
STILL = 30 * SECOND
KNOWN_FOR = 120 * SECOND

Row = dict[str, Any]
Where = Callable[[Row], bool]


class Box(NamedTuple):
    """A square zone, metres from the middle."""

    path: str
    east_m: float
    north_m: float
    side_m: float

    def away_m(self, row: Row) -> float:
        half = self.side_m / 2
        east, north = abs(row["east_m"] - self.east_m) - half, abs(row["north_m"] - self.north_m) - half
        return hypot(max(east, 0), max(north, 0))


class Around(NamedTuple):
    """What other objects of the frame are asked for; lengths in metres, 0: not asked."""

    kind: str
    where: Where
    ahead_m: float
    behind_m: float
    abeam_m: float
    percent: int

    def holds(self, row: Row) -> bool:
        found = any(o is not row and self.where(o) and self.reaches(row, o) for o in row["frame"])
        return found == (self.kind == "some")

    def reaches(self, row: Row, other: Row) -> bool:
        east, north = other["east_m"] - row["east_m"], other["north_m"] - row["north_m"]
        far_m = hypot(east, north)
        if row.get("heading_deg") is None:
            return far_m <= max(self.ahead_m, self.behind_m)
        turn = radians(degrees(atan2(east, north)) - row["heading_deg"])
        along, across = far_m * cos(turn), far_m * sin(turn)
        if abs(across) > self.abeam_m:
            return False
        if abs(along) <= 1:  # level: neither ahead nor behind
            return self.ahead_m > 0 and self.behind_m > 0
        return -self.behind_m <= along <= self.ahead_m

    def enough(self, matches: Sequence[Match]) -> bool:
        return 100 * sum(self.holds(m.row) for m in matches) >= self.percent * len(matches)


@dataclass(frozen=True)
class Limits:
    """What params and overrides fix; seconds."""

    severity: str = "minor"
    for_s: float = 0
    max_move_m: float = inf
    max_gap_s: float = 30
    min_points: int = 2
    close_for_s: float = 0
    times: int = 1
    within_s: float = 0
    stages: Sequence[tuple[float, str]] = ()
    absent_s: float = 60
    share: float = 0.8
    timeout_s: float | None = None


@dataclass(frozen=True)
class Plan:
    """A rule. `overrides`: (zone paths or None, condition or None, limits); the first that applies wins."""

    id: str
    topic: str
    kind: str
    by: Sequence[str]
    limits: Limits
    where: Where
    zones: Sequence[str] | None = None
    not_in: Sequence[str] = ()
    buffer_m: float = 0
    overrides: Sequence[tuple[Sequence[str] | None, Where | None, Limits]] = ()
    opens: Where = lambda row: False
    closes: Where = lambda row: False
    no_data: str = "unknown"
    around: Sequence[Around] = ()


class Match(NamedTuple):
    time: int
    tie: tuple[int, int]
    place_in_record: int
    inside: bool
    zone: str
    limits: Limits
    row: Row


class Told(NamedTuple):
    rule: str
    kind: str
    stage: str | None
    at_us: int
    opened_us: int
    key: tuple[str, ...]
    zone: str
    severity: str
    coverage: float
    value: Any


@dataclass
class Run:
    """A condition as it goes: what was matched, and what was said."""

    key: tuple[str, ...]
    zone: str
    matches: list[Match]
    opened: int | None = None
    since: int = 0
    staged: int = 0
    unknown: bool = False
    closing: int | None = None
    said: set[int] = field(default_factory=set)
    gone: tuple[Match, int] | None = None

    @property
    def last(self) -> Match:
        return self.matches[-1]


class Oracle:
    def __init__(
        self, plans: Sequence[Plan], boxes: Sequence[Box], lateness_s: Mapping[str, float], reach_s: Mapping[str, float]
    ) -> None:
        self.plans, self.boxes, self.lateness_s, self.reach_s = plans, boxes, lateness_s, reach_s
        self.told: list[Told] = []
        self.bins = {"duplicate": 0, "late": 0}

    def run(self, sent: Sequence[Sent], end_s: float) -> list[Told]:
        """All that is told of these records, in order of arrival, by a clock that ends at `end_s`."""
        for topic in {p.topic for p in self.plans}:
            fresh, late = self.arrivals(topic, [s for s in sent if s.topic == topic])
            mark = START_US + round((end_s - self.lateness_s[topic]) * SECOND)
            self.covered = self.coverage(fresh)
            for plan in self.plans:
                if plan.topic == topic:
                    self.judge(plan, fresh, late, mark)
        return sorted(self.told, key=str)

    # arrival: what is doubled, what is late

    def arrivals(self, topic: str, sent: Sequence[Sent]) -> tuple[list[Row], list[Row]]:
        mark, known = -inf, set[str]()
        fresh: list[Row] = []
        late: list[Row] = []
        for one in sent:
            if one.value is None:
                stamp = int(dict(one.headers)["zhinao_tick"]) * 1000
                mark = max(mark, stamp - self.lateness_s[topic] * SECOND)
                continue
            rows = list(rows_of(topic, orjson.loads(one.value)))
            newest = max(row["time"] for row in rows)
            if newest > mark - KNOWN_FOR:
                if rows[0]["natural_key"] in known:
                    self.bins["duplicate"] += 1
                    continue
                known.add(rows[0]["natural_key"])
            for row in rows:
                (fresh if row["time"] > mark else late).append(row)
            used = any(p.topic == topic and single(p) and p.where(r) for p in self.plans for r in rows)
            self.bins["late"] += newest <= mark and not used
            mark = max(mark, newest - self.lateness_s[topic] * SECOND)
        return fresh, late

    def coverage(self, fresh: Sequence[Row]) -> dict[str, set[int]]:
        covered: dict[str, set[int]] = defaultdict(set)
        for row in fresh:
            first = row["time"] // CELL
            covered[row["source"]].update(range(first, first + round(self.reach_s[row["source"]] * SECOND) // CELL))
        return covered

    def watched(self, source: str, at: int) -> bool:
        return at // CELL in self.covered[source]

    def share(self, source: str, since: int, upto: int) -> float:
        cells = range(since // CELL, upto // CELL)
        return round(sum(c in self.covered[source] for c in cells) / len(cells), 3) if len(cells) else 1.0

    # matches

    def judge(self, plan: Plan, fresh: Sequence[Row], late: Sequence[Row], mark: int) -> None:
        by_condition: dict[tuple[tuple[str, ...], str], list[Match]] = defaultdict(list)
        for row in [*fresh, *(late if single(plan) else [])]:
            for match in self.matches(plan, row):
                key = tuple(str(row[name]) for name in plan.by if name != "zone")
                by_condition[key, match.zone if "zone" in plan.by else ""].append(match)
        for (key, _), matches in by_condition.items():
            ordered = sorted(matches, key=lambda m: (m.time, m.zone, m.tie, m.place_in_record))
            if single(plan):
                for match in ordered:
                    self.tell(plan, Run(key, match.zone, [match], match.time, match.time), "raised", match.time)
            else:
                self.walk(plan, key, [m for m in ordered if m.time <= mark], mark)

    def matches(self, plan: Plan, row: Row) -> Iterator[Match]:
        if row.get("empty") or not plan.where(row) or None in [row[name] for name in plan.by if name != "zone"]:
            return
        if plan.kind == "hold" and row["value"] is None:
            return
        places: list[tuple[bool, str]] = [(True, "")]
        if plan.zones is not None:
            if any(box.path in plan.not_in and box.away_m(row) == 0 for box in self.boxes):
                return
            near = [box for box in self.boxes if box.path in plan.zones and box.away_m(row) <= plan.buffer_m]
            places = [(box.away_m(row) == 0, box.path) for box in near]
            if "zone" not in plan.by:
                places = [p for p in places if p[0]][:1] or places[:1]
        for inside, zone in places:
            limits = plan.limits
            for zones, where, changed in reversed(plan.overrides):
                if (zones is None or zone in zones) and (where is None or where(row)):
                    limits = changed
            yield Match(row["time"], tie(row), row["number"], inside, zone, limits, row)

    # the time of one condition

    def walk(self, plan: Plan, key: tuple[str, ...], matches: Sequence[Match], mark: int) -> None:
        if not matches:
            return
        step = {"dwell": self.dwell, "hold": self.hold, "event": self.event}[plan.kind]
        run: Run | None = None
        by_time: dict[int, list[Match]] = defaultdict(list)
        for match in matches:
            by_time[match.time].append(match)
        for at in range(matches[0].time, mark + 1, CELL):
            for match in by_time.get(at, ()):
                run = step(plan, key, run, match)
            if run is not None:
                run = self.moment(plan, run, at)

    def moment(self, plan: Plan, run: Run, at: int) -> Run | None:
        """What time alone does to a condition."""
        source = run.last.row["source"]
        if run.opened is None:
            silent = plan.kind == "hold" and not self.watched(source, at)
            return None if silent else run
        if plan.kind == "event":
            return run
        if plan.kind == "dwell" and self.gone(run) == at:
            return self.end(plan, run, at)
        if (at - run.opened) % STILL == 0 and at > run.opened and not run.unknown and at not in run.said:
            there = (
                (run.closing is None and self.watched(source, at))
                if plan.kind == "hold"
                else run.last.time > at - STILL
            )
            if there:
                self.tell(plan, run, "still", at)
        if run.last.limits.timeout_s is not None and at == run.opened + run.last.limits.timeout_s * SECOND:
            return self.end(plan, run, at)
        if not run.unknown and not self.watched(source, at) and plan.no_data != "hold":
            if plan.no_data == "close":
                return self.end(plan, run, at)
            run.unknown = True
            self.tell(plan, run, "unknown", at)
        return run

    def gone(self, run: Run) -> int:
        """When it has been absent long enough, of which enough was watched; 0 if that isn't so yet."""
        if run.gone is None or run.gone[0] is not run.last:
            limits, last = run.last.limits, run.last.time
            need = round(limits.absent_s * limits.share * SECOND) // CELL
            cells = sorted(c for c in self.covered[run.last.row["source"]] if c >= last // CELL)
            watched = (last // CELL if need == 0 else cells[need - 1] + 1) * CELL if len(cells) >= need else 0
            run.gone = run.last, max(watched, last + round(limits.absent_s * SECOND)) if watched else 0
        return run.gone[1]

    # primitives

    def dwell(self, plan: Plan, key: tuple[str, ...], run: Run | None, match: Match) -> Run | None:
        anew = Run(key, match.zone, [match]) if match.inside else None
        if run is not None and run.opened is not None:
            if self.gone(run) == match.time:
                self.end(plan, run, match.time)
                return anew
            if apart_m(run.matches[0], match) <= match.limits.max_move_m:
                run.matches.append(match)
                self.seen(plan, run, match.time)
            return run
        if run is None or match.time - run.last.time > match.limits.max_gap_s * SECOND:
            return anew
        if apart_m(run.matches[0], match) > match.limits.max_move_m:
            return anew
        before = run.last.time
        run.matches.append(match)
        limits = match.limits
        due = run.matches[0].time + round(max(limits.for_s, first_stage_s(limits)) * SECOND)
        if match.time >= due and len(run.matches) >= limits.min_points:
            if not all(around.enough(run.matches) for around in plan.around):
                return run
            at = match.time if plan.around and before >= due else due
            self.open(plan, run, run.matches[0].time, max(at, run.matches[limits.min_points - 1].time))
        return run

    def hold(self, plan: Plan, key: tuple[str, ...], run: Run | None, match: Match) -> Run | None:
        opens = plan.opens(match.row)
        closes = plan.closes(match.row) and not opens
        if run is None or run.opened is None:
            if not opens or (run is None and not match.inside):
                return None
            run = run or Run(key, match.zone, [])
            run.matches.append(match)
            due = run.matches[0].time + round(max(match.limits.for_s, first_stage_s(match.limits)) * SECOND)
            if match.time >= due:
                self.open(plan, run, run.matches[0].time, due)
            return run
        run.matches.append(match)
        run.closing = (match.time if run.closing is None else run.closing) if closes else None
        if run.closing is not None:
            ends = run.closing + round(match.limits.close_for_s * SECOND)
            if match.time >= ends:
                self.stages(plan, run, ends)
                return self.end(plan, run, ends)
        self.seen(plan, run, match.time)
        return run

    def event(self, plan: Plan, key: tuple[str, ...], run: Run | None, match: Match) -> Run | None:
        within = match.limits.within_s * SECOND
        if run is None or match.time - run.last.time > within:
            run = Run(key, match.zone, [])
        run.matches.append(match)
        recent = [m.time for m in run.matches if m.time >= match.time - within]
        if run.opened is None and len(recent) >= match.limits.times:
            self.open(plan, run, recent[0], match.time)
        return run

    # telling

    def open(self, plan: Plan, run: Run, since: int, at: int) -> None:
        run.opened, run.since, run.staged = at, since, 1
        stages = run.last.limits.stages
        self.tell(plan, run, "raised", at, stages[0][1] if stages else None)
        self.stages(plan, run, run.last.time)

    def seen(self, plan: Plan, run: Run, at: int) -> None:
        if run.unknown:
            run.unknown = False
            run.said.add(at)
            self.tell(plan, run, "still", at)
        self.stages(plan, run, at)

    def stages(self, plan: Plan, run: Run, upto: int) -> None:
        assert run.opened is not None
        limits = run.last.limits
        if limits.timeout_s is not None:
            upto = min(upto, run.opened + round(limits.timeout_s * SECOND))
        while plan.kind != "event" and run.staged < len(limits.stages):
            at_s, do = limits.stages[run.staged]
            at = max(run.opened, run.since + round(at_s * SECOND))
            if at > upto:
                return
            run.staged += 1
            self.tell(plan, run, "stage", at, do)

    def end(self, plan: Plan, run: Run, at: int) -> Run | None:
        """Cleared: no run is left."""
        self.tell(plan, run, "cleared", at)
        return None

    def tell(self, plan: Plan, run: Run, kind: str, at: int, stage: str | None = None) -> None:
        assert run.opened is not None
        last = run.last
        zone = run.matches[0].zone
        value = round((at - run.since) / SECOND, 3) if plan.kind == "dwell" else last.row.get("value")
        share = self.share(last.row["source"], run.since, at)
        self.told.append(Told(plan.id, kind, stage, at, run.opened, run.key, zone, last.limits.severity, share, value))


def tie(row: Row) -> tuple[int, int]:
    """What orders records of the same time: the print of what they are."""
    if "objects" in row or "frame_time" in row or "track_id" in row:
        return fingerprint(row["source"].encode(), row["time"])
    return fingerprint(row["natural_key"].encode(), 0)


def single(plan: Plan) -> bool:
    return plan.kind == "event" and plan.limits.times == 1


def first_stage_s(limits: Limits) -> float:
    return limits.stages[0][0] if limits.stages else 0


def apart_m(a: Match, b: Match) -> float:
    return hypot(a.row["east_m"] - b.row["east_m"], a.row["north_m"] - b.row["north_m"])


def rows_of(topic: str, said: Row) -> Iterator[Row]:
    """Rows of a record; a frame without objects is one empty row: a sighting and nothing else."""
    if topic == "camera.tracks":
        time = said["frame_time"] * 1000
        head = {"time": time, "source": said["sensor_id"], "sensor_id": said["sensor_id"],
                "natural_key": f"{said['sensor_id']}\x1f{time}"}  # fmt: skip
        if not said["objects"]:
            yield {**head, "empty": True, "number": 0}
        frame: list[Row] = []
        for number, seen in enumerate(said["objects"]):
            frame.append({**head, **seen, **metres(seen), "number": number, "frame": frame})
        yield from frame
    elif topic == "camera.events":
        yield {**said, **metres(said), "time": said["event_time"] * 1000, "source": said["sensor_id"],
               "natural_key": said["event_id"], "number": 0}  # fmt: skip
    else:
        readings = said.get("readings", [said])
        key = "\x1f".join([said["device_id"], *(f"{r['metric']}\x1f{r['reading_time'] * 1000}" for r in readings)])
        for number, reading in enumerate(readings):
            row = {**said, **reading, "time": reading["reading_time"] * 1000, "natural_key": key, "number": number}
            yield {**row, **metres(row), "source": said["device_id"]}


def metres(said: Row) -> Row:
    if said.get("lon") is None:
        return {"east_m": inf, "north_m": inf}
    return {"east_m": (said["lon"] - LON) / METRE_LON, "north_m": (said["lat"] - LAT) / METRE_LAT}
