"""Rules over recordings, faster than real time, through the engine of `streams.replay`: what they would have made, how
that compares with what was true, and with what other rules make of the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import msgspec

from geo.distance import distance_m
from models.incidents import Incident, State
from models.times import local, parse_rfc3339_us
from streams.city import City, build_city
from streams.explaining import FollowedReplay
from streams.recording import RecordedLine, read_recording
from streams.settings import Settings

PROCESSES = 2
SAME_WITHIN_US = 30 * 60 * 1_000_000
"""Two incidents of one rule and thing are the same when they open at most so far apart."""
SAME_WITHIN_M = 30.0
LABEL_WITHIN_M = 50.0
ENDED = frozenset((State.CLOSED, State.FALSE_ALARM, State.WITHDRAWN, State.MERGED))


class Made(msgspec.Struct, frozen=True):
    """An incident as a backtest made it. Times microseconds UTC; `steps` its states with their reasons, in order, and
    `steps_us` when each was."""

    incident_id: str
    rule: str | None
    type: str
    zone: str | None
    key: dict[str, str]
    lon: float | None
    lat: float | None
    opened_us: int
    ended_us: int | None
    severity: str
    department: str | None
    steps: tuple[str, ...]
    steps_us: tuple[int, ...]
    day: str
    hour: int


class Tested(msgspec.Struct, frozen=True):
    """One run: the bundle's digest, what was read and all incidents in order of their opening."""

    name: str
    bundle: str
    records: int
    days: float
    made: tuple[Made, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What a process needs to run by itself."""

    name: str
    rules: tuple[Path, ...]
    recordings: tuple[str, ...]
    zones: tuple[Path, ...] = ()
    registry: Path | None = None
    tables: Path | None = None
    drain_ms: int = 3_600_000


def city_of(job: Job) -> City:
    """The rules in the city of the settings, or of the zones and registry given. Raises CityProblems."""
    settings = Settings.read()
    zones, registry = job.zones, job.registry
    if not zones and registry is None:
        zones, registry = tuple(settings.zones), settings.registry
    return build_city(settings, rules=job.rules, zones=zones, registry=registry, tables=job.tables)


def run(job: Job) -> Tested:
    city = city_of(job)
    replay = FollowedReplay(city, partitions=Settings.read().partitions)
    span = Span()
    replay.through(span.over(line for file in job.recordings for line in read_recording(file)), drain_ms=job.drain_ms)
    keys = {h.detection.detection_id: h.detection.key for h in replay.heard}
    made = [of_life(city, life, keys) for life in replay.lives.values()]
    made.sort(key=lambda m: (m.opened_us, m.incident_id))
    return Tested(job.name, city.bundle.digest, replay.summary.records, span.days, tuple(made))


@dataclass(slots=True)
class Span:
    """From the first to the last line of a recording that passes by."""

    first_ms: int | None = None
    last_ms: int = 0

    def over(self, lines: Iterable[RecordedLine]) -> Iterator[RecordedLine]:
        for line in lines:
            self.first_ms = line.timestamp_ms if self.first_ms is None else self.first_ms
            self.last_ms = line.timestamp_ms
            yield line

    @property
    def days(self) -> float:
        return 0.0 if self.first_ms is None else (self.last_ms - self.first_ms) / 86_400_000


def of_life(city: City, life: Sequence[Incident], keys: Mapping[str, dict[str, str]]) -> Made:
    first, last = life[0], life[-1]
    opened_us = parse_rfc3339_us(first.opened_at)
    moment = local(opened_us, city.zone)
    ended = next((i for i in life if i.state in ENDED), None)
    return Made(
        incident_id=last.incident_id,
        rule=last.rule,
        type=last.type,
        zone=last.zone,
        key=next((keys[d] for d in first.detections if d in keys), {}),
        lon=last.place.lon,
        lat=last.place.lat,
        opened_us=opened_us,
        ended_us=None if ended is None else parse_rfc3339_us(ended.changed_at),
        severity=last.severity,
        department=last.department,
        steps=tuple(f"{i.state}/{i.reason}" for i in life),
        steps_us=tuple(parse_rfc3339_us(i.changed_at) for i in life),
        day=f"{moment:%Y-%m-%d}",
        hour=moment.hour,
    )


def run_all(jobs: Sequence[Job]) -> list[Tested]:
    """In the order of the jobs, two at a time in processes of their own."""
    if len(jobs) == 1:
        return [run(jobs[0])]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return list(pool.map(run, jobs))


# ------------------------------------------------------------------------------------------------- counting


class Load(msgspec.Struct, frozen=True):
    """Incidents that a department got in an hour of a day."""

    department: str
    day: str
    hour: int
    incidents: int


class Count(msgspec.Struct, frozen=True):
    rule: str
    zone: str
    day: str
    incidents: int


def counts(made: Iterable[Made]) -> list[Count]:
    tally = Counter((m.rule or m.type, m.zone or "", m.day) for m in made)
    return [Count(*what, number) for what, number in sorted(tally.items())]


def loads(made: Iterable[Made]) -> list[Load]:
    tally = Counter((m.department, m.day, m.hour) for m in made if m.department is not None)
    return [Load(*what, number) for what, number in sorted(tally.items())]


# ------------------------------------------------------------------------------------------------- labels


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Something that was verified to be true: of a rule or a type, in a zone or at a place, from one time to another
    (RFC 3339)."""

    from_: str
    to: str
    rule: str | None = None
    type: str | None = None
    zone: str | None = None
    lon: float | None = None
    lat: float | None = None

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.type is None):
            raise ValueError("a label has a rule or a type, one of the two")
        if self.zone is None and (self.lon is None or self.lat is None):
            raise ValueError("a label has a zone, or lon and lat")
        if parse_rfc3339_us(self.to) < parse_rfc3339_us(self.from_):
            raise ValueError("a label ends before it begins")


class Score(msgspec.Struct, frozen=True):
    """Of a rule (or type): incidents that some label says were so, labels that some incident found. None of none."""

    of: str
    incidents: int
    right: int
    labels: int
    found: int

    @property
    def precision(self) -> float | None:
        return self.right / self.incidents if self.incidents else None

    @property
    def recall(self) -> float | None:
        return self.found / self.labels if self.labels else None


class BadLabel(Exception):
    """A line of a label file is none: `file:line: cause`."""


def read_labels(file: Path) -> list[Label]:
    labels = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                labels.append(msgspec.json.decode(line, type=Label))
            except (msgspec.DecodeError, ValueError) as why:
                raise BadLabel(f"{file}:{number}: {why}") from None
    return labels


def scores(made: Sequence[Made], labels: Sequence[Label]) -> list[Score]:
    """Of what the labels speak of; incidents of other rules are not judged."""
    found = []
    for name in sorted({label.rule or label.type or "" for label in labels}):
        asked = [label for label in labels if name in (label.rule, label.type)]
        mine = [m for m in made if name in (m.rule, m.type)]
        right = sum(any(fits(m, label) for label in asked) for m in mine)
        hit = sum(any(fits(m, label) for m in mine) for label in asked)
        found.append(Score(name, len(mine), right, len(asked), hit))
    return found


def fits(made: Made, label: Label) -> bool:
    """Whether the incident is of the label's kind, there, and open at some time of it."""
    if label.rule not in (None, made.rule) or label.type not in (None, made.type):
        return False
    if made.opened_us > parse_rfc3339_us(label.to):
        return False
    if made.ended_us is not None and made.ended_us < parse_rfc3339_us(label.from_):
        return False
    if label.zone is not None:
        return made.zone == label.zone
    assert label.lon is not None
    assert label.lat is not None
    return made.lon is not None and made.lat is not None and distance_m(
        made.lon, made.lat, label.lon, label.lat) <= LABEL_WITHIN_M  # fmt: skip


# ------------------------------------------------------------------------------------------------- comparing


class Changed(msgspec.Struct, frozen=True):
    """One incident in both, and what differs: seconds, or (in A, in B). `shifted`: steps of both that came at another
    time, by how much."""

    a: Made
    b: Made
    opened_s: float
    ended_s: float | None
    severity: tuple[str, str] | None
    moved_m: float
    steps: tuple[tuple[str, ...], tuple[str, ...]] | None
    shifted: dict[str, float]


class Difference(msgspec.Struct, frozen=True):
    """`tally`: per rule, zone and day, how many are only in A, only in B, changed, the same."""

    only_a: tuple[Made, ...]
    only_b: tuple[Made, ...]
    changed: tuple[Changed, ...]
    same: int
    tally: tuple[tuple[str, str, str, int, int, int, int], ...]
    load_a: tuple[Load, ...]
    load_b: tuple[Load, ...]

    @property
    def differs(self) -> bool:
        return bool(self.only_a or self.only_b or self.changed)


def difference(a: Tested, b: Tested) -> Difference:
    pairs, only_a, only_b = paired(a.made, b.made)
    changes = [change(x, y) for x, y in pairs]
    changed = tuple(c for c in changes if c is not None)
    rows: Counter[tuple[str, str, str, int]] = Counter()
    for column, made in enumerate((only_a, only_b, [c.b for c in changed])):
        rows.update((*place(m), column) for m in made)
    rows.update((*place(y), 3) for (_, y), c in zip(pairs, changes, strict=True) if c is None)
    tally = sorted({row[:3] for row in rows})
    return Difference(
        tuple(only_a), tuple(only_b), changed, len(pairs) - len(changed),
        tuple((*at, rows[*at, 0], rows[*at, 1], rows[*at, 2], rows[*at, 3]) for at in tally),
        tuple(loads(a.made)), tuple(loads(b.made)),
    )  # fmt: skip


def place(made: Made) -> tuple[str, str, str]:
    return made.rule or made.type, made.zone or "", made.day


def paired(a: Sequence[Made], b: Sequence[Made]) -> tuple[list[tuple[Made, Made]], list[Made], list[Made]]:
    """Each incident of A with its own in B: by id, else the nearest in time of the same rule and thing."""
    left = {m.incident_id: m for m in b}
    pairs, rest = [], []
    for one in a:
        twin = left.pop(one.incident_id, None)
        if twin is None:
            rest.append(one)
        else:
            pairs.append((one, twin))
    only_a = []
    for one in rest:
        like = [m for m in left.values() if alike(one, m)]
        if like:
            twin = min(like, key=lambda m: (abs(m.opened_us - one.opened_us), m.incident_id))
            pairs.append((one, left.pop(twin.incident_id)))
        else:
            only_a.append(one)
    return pairs, only_a, list(left.values())


def alike(one: Made, other: Made) -> bool:
    if (one.rule, one.type) != (other.rule, other.type) or abs(one.opened_us - other.opened_us) > SAME_WITHIN_US:
        return False
    if one.key and one.key == other.key:
        return True
    return moved_m(one, other) <= SAME_WITHIN_M


def moved_m(one: Made, other: Made) -> float:
    """Between two places; infinitely far where one is not known, unless neither is."""
    if one.lon is None or one.lat is None or other.lon is None or other.lat is None:
        return 0.0 if one.lon == other.lon and one.zone == other.zone else float("inf")
    return distance_m(one.lon, one.lat, other.lon, other.lat)


def change(a: Made, b: Made) -> Changed | None:
    opened_s = (b.opened_us - a.opened_us) / 1e6
    ended_s = None if a.ended_us is None or b.ended_us is None else (b.ended_us - a.ended_us) / 1e6
    severity = None if a.severity == b.severity else (a.severity, b.severity)
    steps = None if a.steps == b.steps else (a.steps, b.steps)
    moved = round(moved_m(a, b), 2)
    same = not opened_s and not ended_s and (a.ended_us is None) == (b.ended_us is None)
    shifted = shifts(a, b)
    if same and severity is None and steps is None and not moved and a.zone == b.zone and not shifted:
        return None
    return Changed(a, b, opened_s, ended_s, severity, moved, steps, shifted)


def shifts(a: Made, b: Made) -> dict[str, float]:
    """Of the first of each step, seconds later in B."""
    first_a, first_b = (dict(reversed(list(zip(m.steps, m.steps_us, strict=True)))) for m in (a, b))
    found = {step: (first_b[step] - at_us) / 1e6 for step, at_us in first_a.items() if step in first_b}
    return {step: shift for step, shift in found.items() if shift}
