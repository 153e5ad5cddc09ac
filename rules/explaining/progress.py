"""How far a pattern came: runs of matches as their watch kept them, why each ended, and what one still lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import msgspec

from geo.distance import distance_m
from models.columns import Scalar
from models.times import SECOND_US
from rules.detection.condition import Condition, Hit
from rules.detection.hold import OPENS
from rules.detection.neighbours import needs_of, waits_us
from rules.detection.rows import SLACK, USUAL
from rules.explaining.tracing import Step
from rules.language.model import Dwell, Event, Hold, Rule, Variant


class Finding(msgspec.Struct, frozen=True):
    """Something that was so, by its code in the catalogue of texts, with its numbers (seconds, metres)."""

    code: str
    facts: dict[str, Scalar] = {}


@dataclass(slots=True)
class Run:
    """Matches of one key (and zone) that a watch took as one. `gap_us` the longest between two, `moved_m` the farthest
    from the first."""

    key: tuple[str, ...]
    zone: str
    since_us: int
    last_us: int
    points: int = 1
    gap_us: int = 0
    moved_m: float = 0.0
    raised_us: int | None = None
    ended_us: int | None = None
    ended: Finding | None = None
    short: list[Finding] = field(default_factory=list)
    """What it lacked when it was last seen; nothing once raised."""
    first_offset: int = 0
    last_offset: int = 0

    @property
    def held_us(self) -> int:
        return self.last_us - self.since_us


def runs_of(rule: Rule, steps: Iterable[Step]) -> list[Run]:
    """In order of their beginnings."""
    runs: list[Run] = []
    known: dict[tuple[tuple[str, ...], str], Condition] = {}
    live: dict[tuple[tuple[str, ...], str], Run] = {}
    last: dict[tuple[tuple[str, ...], str], Run] = {}
    for step in steps:
        slot = step.key, step.zone if "zone" in rule.by else ""
        run = live.get(slot)
        begun = step.hit is not None and step.after is not None and step.after.points == 1
        if run is not None and (begun or step.after is None):
            end(rule, run, step, step.before or known[slot])
            del live[slot]
        if step.after is not None:
            known[slot] = step.after
        if step.hit is None:
            continue
        if begun or (step.after is None and step.before is None and step.told):
            run = Run(step.key, step.zone, step.time_us, step.time_us,
                      first_offset=step.hit.offset, last_offset=step.hit.offset)  # fmt: skip
            correct_gap(last.get(slot), run)
            runs.append(run)
            last[slot] = run
            if step.after is not None:
                live[slot] = run
        elif run is not None and step.after is not None:
            lengthen(run, step.hit, step.after)
        if run is not None and (begun or slot in live or step.told):
            note(rule, run, step)
    return runs


def correct_gap(before: Run | None, anew: Run) -> None:
    """A watch lets a run go once the gap is too long; how long it was only the next match tells."""
    if before is not None and before.ended is not None and before.ended.code == "no_more":
        facts = {"gap_s": seconds(anew.since_us - before.last_us), "max_gap_s": before.ended.facts["max_gap_s"]}
        before.ended, before.ended_us = Finding("gap", facts), anew.since_us


def lengthen(run: Run, hit: Hit, after: Condition) -> None:
    run.gap_us = max(run.gap_us, hit.time_us - run.last_us)
    run.last_us, run.points, run.last_offset = hit.time_us, after.points, hit.offset
    moved_m = distance_m(after.anchor_lon, after.anchor_lat, hit.lon, hit.lat)
    if moved_m == moved_m:
        run.moved_m = max(run.moved_m, moved_m)


def note(rule: Rule, run: Run, step: Step) -> None:
    """Whether it is raised with this, and else what it lacks."""
    if run.raised_us is None and step.after is not None and step.after.opened_us is not None:
        run.raised_us = step.after.opened_us
    if step.after is None and any(d.kind == "raised" for d in step.told):
        run.raised_us = step.time_us
    run.short = [] if run.raised_us is not None or step.after is None else lacking(rule, step.after)


def end(rule: Rule, run: Run, step: Step, before: Condition) -> None:
    """`before` is what was last known of it: a lane may let go of what is over without a step."""
    run.ended_us = step.time_us
    cleared = any(d.kind == "cleared" for d in step.told)
    run.ended = Finding("cleared") if cleared else why_ended(rule, before, step.hit, step.time_us)


def lacking(rule: Rule, condition: Condition) -> list[Finding]:
    """What a pending condition lacks to be raised, after its newest match."""
    variant = rule.variants[condition.variant]
    match variant.detect:
        case Dwell():
            return dwell_lacks(rule, variant, variant.detect, condition)
        case Hold():
            return held_lacks(variant, variant.detect.for_us, condition)
        case Event():
            seen = len(condition.times)
            within_s = variant.detect.within_us / SECOND_US
            return [Finding("times", {"seen": seen, "of": variant.detect.times, "within_s": within_s})]
        case _:
            return [Finding("pending", {"held_s": seconds(condition.last_us - condition.since_us)})]


def held_lacks(variant: Variant, for_us: int, condition: Condition) -> list[Finding]:
    first_us = variant.stages[0].at_us if variant.stages else 0
    held_us, due_us = condition.last_us - condition.since_us, max(for_us, first_us)
    if held_us >= due_us:
        return []
    return [Finding("held", {"held_s": seconds(held_us), "of_s": seconds(due_us)})]


def dwell_lacks(rule: Rule, variant: Variant, limits: Dwell, condition: Condition) -> list[Finding]:
    found = held_lacks(variant, limits.for_us, condition)
    if condition.points < limits.min_points:
        found.append(Finding("points", {"seen": condition.points, "of": limits.min_points}))
    if rule.neighbours is None:
        return found
    needs, met = needs_of(rule.neighbours), condition.met
    for place in range(USUAL):
        if met[place] < needs[place] * condition.points - SLACK:
            share = met[place] / condition.points
            which = "in_view" if place >= len(rule.neighbours.boxes) else f"neighbours {place + 1}"
            found.append(Finding("around", {"which": which, "share": round(share, 3), "of": needs[place]}))
    wait_us = waits_us(needs, met, condition.points)
    if condition.last_us < condition.since_us + wait_us:
        held_us = condition.last_us - condition.since_us
        found.append(Finding("usual_stop", {"held_s": seconds(held_us), "of_s": seconds(wait_us)}))
    return found


def why_ended(rule: Rule, before: Condition, hit: Hit | None, now_us: int) -> Finding:
    """Why a watch let a condition go, or began anew with this match."""
    if before.opened_us is not None and hit is None:
        return Finding("let_go")
    variant = rule.variants[before.variant if hit is None else hit.variant]
    match variant.detect:
        case Dwell():
            return dwell_ended(variant.detect, before, hit, now_us)
        case Hold():
            if hit is None or (before.opened_us is None and hit.signal == OPENS):
                return Finding("source_silent", {"last_s": seconds(now_us - before.last_us)})
            return Finding("anew" if hit.signal == OPENS else "not_open", {"value": hit.value})
        case Event():
            return gap(before, hit, now_us, variant.detect.within_us)
        case _:
            return Finding("begun_anew" if hit is not None else "let_go")


def dwell_ended(limits: Dwell, before: Condition, hit: Hit | None, now_us: int) -> Finding:
    gap_us = now_us - before.last_us
    if hit is None or gap_us > limits.max_gap_us:
        return gap(before, hit, now_us, limits.max_gap_us)
    moved_m = distance_m(before.anchor_lon, before.anchor_lat, hit.lon, hit.lat)
    if limits.max_move_m < inf and not moved_m <= limits.max_move_m:
        moved = None if moved_m != moved_m else round(moved_m, 2)
        return Finding("moved", {"moved_m": moved, "max_move_m": limits.max_move_m})
    return Finding("other_view")


def gap(before: Condition, hit: Hit | None, now_us: int, most_us: int) -> Finding:
    if hit is None:
        return Finding("no_more", {"max_gap_s": seconds(most_us)})
    return Finding("gap", {"gap_s": seconds(now_us - before.last_us), "max_gap_s": seconds(most_us)})


def seconds(us: int) -> float:
    return round(us / SECOND_US, 3)
