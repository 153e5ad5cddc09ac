"""Why a rule did not raise for a key: the first clause that failed, with its numbers. From a trace alone.

"Raised" is what the Detector told, and nothing else; the rest reads what it looked at and remembered on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum

import msgspec

from models.columns import Scalar
from models.detections import Detection
from models.times import MINUTE_US, parse_rfc3339_us
from rules.explaining.looking import Clause, Look
from rules.explaining.progress import Finding, Run, runs_of, seconds
from rules.explaining.tracing import Lost, Trace
from rules.language.model import Dwell, Event, Hold, Rule

LEAST_BACK_US = MINUTE_US
"""How far before the time asked about a row is looked for, at least: what a source says once a minute is there."""
CLOSE_KEYS = 3
CLOSE_ENOUGH = 0.5


class Verdict(StrEnum):
    RAISED = "raised"
    NO_SUCH_KEY = "no_such_key"
    ARRIVED = "arrived"
    BY = "by"
    WHERE = "where"
    ZONES = "zones"
    ACTIVE = "active"
    EXEMPT = "exempt"
    VALUE = "value"
    PATTERN = "pattern"
    DRAFT = "draft"
    # raised, and no incident of its own
    SHADOW = "shadow"
    MERGED = "merged"
    QUIETED = "quieted"
    SUPPRESSED = "suppressed"
    SUSPECTED = "suspected"


class RunTold(msgspec.Struct, frozen=True):
    """A run as it is shown."""

    since_us: int
    last_us: int
    points: int
    longest_gap_s: float
    moved_m: float
    zone: str
    raised_us: int | None
    ended_us: int | None
    ended: Finding | None
    short: tuple[Finding, ...]

    @classmethod
    def of(cls, run: Run) -> RunTold:
        return cls(
            run.since_us, run.last_us, run.points, seconds(run.gap_us), round(run.moved_m, 2), run.zone,
            run.raised_us, run.ended_us, run.ended, tuple(run.short),
        )  # fmt: skip


class Answer(msgspec.Struct, frozen=True):
    """`clause` and `row` where a clause of the rule failed; `run` the best try, `before` the one that ended last;
    `failed` counts rows of the key by the clause that stopped them ("passed": none)."""

    rule: str
    revision: int
    part: str
    topic: str
    partition: int
    key: dict[str, str]
    at_us: int
    from_us: int
    verdict: Verdict
    clause: Clause | None = None
    row: Look | None = None
    run: RunTold | None = None
    before: RunTold | None = None
    detections: tuple[str, ...] = ()
    later_us: int | None = None
    last_seen_us: int | None = None
    failed: dict[str, int] = {}
    lost: dict[str, int] = {}
    close_keys: tuple[str, ...] = ()
    facts: dict[str, Scalar] = {}


def why_not(trace: Trace, key: Mapping[str, str], at_us: int, lost: Sequence[Lost] = ()) -> Answer:
    """Of one rule (or part) on one lane. `key`: fields of the rule's key and, where it is by zone, `zone`; what is not
    given is any. Times of events, microseconds UTC."""
    rule = trace.rule
    back_us = at_us - look_back_us(rule)
    told = [t.detection for t in trace.told if matches(key, t.detection)]
    lasts = not isinstance(rule.base.detect, Event)
    raised = open_at(told, at_us, back_us, lasts=lasts)
    looks = [look for look in trace.looks if back_us < look.time_us <= at_us]
    runs = runs_of(rule, (s for s in trace.steps if s.time_us <= at_us and of_key(rule, key, s.key, s.zone)))
    runs = [run for run in runs if run.last_us > back_us or (run.ended_us or 0) > back_us]
    best = max(runs, key=lambda run: (run.raised_us is not None, run.held_us, run.last_us), default=None)
    ended = [run for run in runs if run is not best and run.ended is not None]
    row = furthest(looks)
    verdict = verdict_of(raised, looks, best, row)
    clauses = verdict not in (Verdict.RAISED, Verdict.PATTERN)
    return Answer(
        rule=rule.id,
        revision=rule.revision,
        part=rule.part,
        topic=rule.topic,
        partition=trace.partition,
        key=dict(key),
        at_us=at_us,
        from_us=back_us,
        verdict=verdict,
        clause=row.failed if row is not None and clauses else None,
        row=row,
        run=None if best is None else RunTold.of(best),
        before=RunTold.of(ended[-1]) if ended else None,
        detections=raised,
        later_us=min((t for t in map(opened_us, told) if t > at_us), default=None),
        last_seen_us=max((look.time_us for look in trace.looks if look.time_us <= at_us), default=None),
        failed=tally(looks),
        lost=lost_near(lost, back_us, at_us + look_back_us(rule)),
        close_keys=close_keys(trace, key) if verdict == Verdict.NO_SUCH_KEY else (),
    )


def verdict_of(raised: Sequence[str], looks: Sequence[Look], best: Run | None, row: Look | None) -> Verdict:
    if raised:
        return Verdict.RAISED
    if best is not None:
        return Verdict.PATTERN
    if row is None or not looks:
        return Verdict.NO_SUCH_KEY
    return Verdict.PATTERN if row.failed is None else Verdict(row.failed.clause)


def furthest(looks: Sequence[Look]) -> Look | None:
    """The row that came through the most clauses, of those the newest."""
    return max(looks, key=lambda look: (depth(look), look.time_us), default=None)


def depth(look: Look) -> int:
    return next((n for n, clause in enumerate(look.clauses) if clause.truth is not True), len(look.clauses))


def tally(looks: Iterable[Look]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for look in looks:
        failed = look.failed
        name = "passed" if failed is None else failed.clause
        counts[name] = counts.get(name, 0) + 1
    return counts


def open_at(told: Sequence[Detection], at_us: int, back_us: int, *, lasts: bool) -> tuple[str, ...]:
    """The openings among these detections that had begun and not ended at a time. What does not last (an event has no
    end) counts while it is near."""
    ended = {d.detection_id for d in told if d.kind == "cleared" and parse_rfc3339_us(d.event_time) <= at_us}
    begun = [d for d in told if d.kind == "raised" and opened_us(d) <= at_us and (lasts or opened_us(d) > back_us)]
    return tuple(d.detection_id for d in begun if d.detection_id not in ended)


def opened_us(detection: Detection) -> int:
    return parse_rfc3339_us(detection.opened_event_time)


def look_back_us(rule: Rule) -> int:
    """As long as the pattern takes, and a little more."""
    return max(LEAST_BACK_US, *(span_us(rule, n) for n in range(len(rule.variants))))


def span_us(rule: Rule, number: int) -> int:
    variant = rule.variants[number]
    first_us = variant.stages[0].at_us if variant.stages else 0
    match variant.detect:
        case Dwell() as detect:
            return max(detect.for_us, first_us) + detect.max_gap_us
        case Hold() as detect:
            return max(detect.for_us, first_us) + LEAST_BACK_US
        case Event() as detect:
            return detect.within_us
        case other:
            spans = (getattr(other, name, 0) for name in ("for_us", "window_us", "within_us", "over_us", "settle_us"))
            return sum(span or 0 for span in spans)


def matches(key: Mapping[str, str], told: Detection) -> bool:
    return all((told.zone if name == "zone" else told.key.get(name)) == text for name, text in key.items())


def of_key(rule: Rule, key: Mapping[str, str], its: Sequence[str], zone: str) -> bool:
    names = [name for name in rule.by if name != "zone"]
    named = {**dict(zip(names, its, strict=True)), "zone": zone}
    return all(named.get(name) == text for name, text in key.items())


def lost_near(lost: Sequence[Lost], from_us: int, to_us: int) -> dict[str, int]:
    """Records of the lane that nobody saw and that arrived about then."""
    counts: dict[str, int] = {}
    for one in lost:
        if from_us <= one.arrival_us <= to_us:
            counts[one.why] = counts.get(one.why, 0) + 1
    return counts


def close_keys(trace: Trace, key: Mapping[str, str]) -> tuple[str, ...]:
    """Keys that were there and look like the one asked for."""
    asked = " ".join(f"{name}={key[name]}" for name in trace.rule.by if name in key and name != "zone")
    known = [name for name in trace.rows if name.strip()]
    return tuple(get_close_matches(asked, known, CLOSE_KEYS, CLOSE_ENOUGH))
