"""The primitives of one stream: one reader for each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from models.times import SECOND_US
from rules.language import units
from rules.language.checking import Names
from rules.language.clauses import Clause, Here, shown, written_params
from rules.language.expressions import ALWAYS
from rules.language.findings import did_you_mean, quoted
from rules.language.holds import SLIDES, read_hold, read_number_field, read_slide
from rules.language.model import (
    Absent,
    Change,
    Count,
    Detect,
    Dwell,
    Event,
    InSequence,
    Near,
    Step,
    Transition,
)
from rules.language.schema import (
    CHANGES,
    DETECT,
    DIRECTIONS,
    OTHER,
    REPEAT,
    STEP,
)
from rules.language.source import MapNode, ScalarNode

__all__ = ["SLIDES", "Primitive", "find_primitive", "read_detect"]

MAX_GAP_US = 30 * SECOND_US  # a camera that reports each second may miss twenty-nine
MIN_POINTS = 2
MAX_TIMES = 10_000  # a ring of times is kept for each key
MAX_STEPS = 16
MAX_COUNT = 10_000  # different values are kept one by one
MAX_REACH_M = 5000.0  # across a district
COMPOSED = ("correlate", "any_of", "all_of")


@dataclass(frozen=True, slots=True)
class Primitive:
    """The one key under detect. `built` False: it was reported, and nothing that leans on it is checked."""

    kind: str
    built: bool


def find_primitive(rule: Clause) -> Primitive:
    """Which primitive the rule has; the problems of `detect` itself are noted here, once."""
    clause = rule.clause("detect", DETECT)
    if clause is None or not isinstance(clause.here.node, MapNode):
        return Primitive("", built=False)
    if len(clause.entries) != 1:
        written = ", ".join(clause.entries) or "none"
        clause.here.problem("E120", f"exactly one primitive belongs under detect; here are: {written}")
    kind = next(iter(clause.entries), "")
    return Primitive(kind, len(clause.entries) == 1 and kind in DETECT.known)


def read_detect(kind: str, clause: Clause, names: Names | None) -> Detect:
    """A primitive over one stream, from its own clause, with the clause's params worked in."""
    match kind:
        case "dwell":
            return read_dwell(clause)
        case "hold":
            return read_hold(clause, names)
        case "transition":
            return read_transition(clause)
        case "count":
            return read_count(clause, names)
        case "absent":
            return read_absent(clause)
        case "change":
            return read_change(clause, names)
        case "near":
            return read_near(clause, names)
        case "sequence":
            return read_sequence(clause, names)
        case _:
            return read_event(clause)


def read_dwell(clause: Clause) -> Dwell:
    return Dwell(
        for_us=clause.duration("for", SECOND_US, positive=True),
        max_move_m=clause.length("max_move", math.inf),
        max_gap_us=clause.duration("max_gap", MAX_GAP_US, positive=True),
        min_points=clause.whole("min_points", MIN_POINTS, 1, MAX_TIMES),
    )


def read_event(clause: Clause) -> Event:
    repeat = clause.clause("repeat", REPEAT)
    if repeat is None:
        return Event()
    return Event(repeat.whole("times", 2, 2, MAX_TIMES), repeat.duration("within", SECOND_US, positive=True))


def read_transition(clause: Clause) -> Transition:
    change: Literal["enter", "exit", "cross"] = clause.choice("change", CHANGES, "enter")  # type: ignore[assignment]  # one of them
    return Transition(change, clause.duration("settle", 0))


def read_count(clause: Clause, names: Names | None) -> Count:
    window_us, slide_us = read_slide(clause)
    present_us = clause.duration("each_present", 0)
    here = clause.quantity("each_present")
    if here is not None and present_us > window_us:
        here.problem("E322", f'"each_present" is {shown(here.node)}: longer than the window, so nothing ever counts')
    distinct = tuple(name for item, name in clause.one_or_more("distinct") if is_field(item, name, names))
    return Count(distinct, window_us, slide_us, clause.whole("at_least", 1, 1, MAX_COUNT), present_us)


def is_field(here: Here, name: str, names: Names | None) -> bool:
    if names is not None and name not in names.fields:
        here.problem("E202", f"{names.stream} has no field {quoted(name)}", did_you_mean(name, names.fields))
        return False
    return True


def read_absent(clause: Clause) -> Absent:
    found = Absent(
        for_us=clause.duration("for", SECOND_US, positive=True),
        expect_every_us=clause.duration("expect_every", None, positive=True),
        suspect=clause.choice("then", ("suspect", "raise"), "raise") == "suspect",
        parent=clause.name("parent", None),
        listed=clause.flag("listed", False),
    )
    here = clause.quantity("for")
    if here is not None and found.expect_every_us is not None and found.for_us < found.expect_every_us:
        here.problem("E323", f'"for" is {shown(here.node)}: shorter than it is expected, so it is always absent')
    return found


def read_near(clause: Clause, names: Names | None) -> Near:
    other = clause.clause("of", OTHER)
    inner = None if names is None else replace(names, params=written_params(clause))
    return Near(
        (None if other is None else other.expression("where", inner)) or ALWAYS,
        reach(clause, "within", 1.0),
        clause.duration("for", 0),
        clause.duration("max_gap", MAX_GAP_US, positive=True),
    )


def reach(clause: Clause, key: str, default: float) -> float:
    """A distance between two things that belong together: above nothing, at most a district."""
    metres = clause.length(key, default)
    here = clause.quantity(key)
    if here is not None and not 0 < metres <= MAX_REACH_M:
        hint = f"above nothing, at most {MAX_REACH_M / 1000:g}km"
        here.problem(
            "E316", f'"{key}" is {shown(here.node)}: what belongs together is nearer, and not in one point', hint
        )
    return metres


# -- change ------------------------------------------------------------------------------------------------------------


def read_change(clause: Clause, names: Names | None) -> Change:
    field = read_number_field(clause, "field", names)
    at_least, relative = read_size(clause, field, names)
    return Change(
        field or "",
        clause.duration("over", SECOND_US, positive=True),
        at_least,
        relative,
        clause.choice("direction", DIRECTIONS, "up"),  # type: ignore[arg-type]  # one of DIRECTIONS
    )


def read_size(clause: Clause, field: str | None, names: Names | None) -> tuple[float, bool]:
    """How much, in the field's unit; and whether it is a share of the value itself."""
    here = clause.quantity("at_least")
    if here is None:
        return 1.0, False
    found = units.amount(here.node.text) if isinstance(here.node, ScalarNode) else None
    if found is None or float(found[0]) <= 0:
        due = "a number above nothing, with a unit where it has one, or a percentage"
        here.problem("E114", f'"at_least" is {shown(here.node)}; it takes {due}')
        return 1.0, False
    written, unit = found
    if unit == "%":
        return float(written) / 100, True
    return in_unit_of(here, written, unit, field, names), False


def in_unit_of(here: Here, written: str, unit: str, field: str | None, names: Names | None) -> float:
    its = None if names is None or field is None else names.fields[field].unit
    if not unit or its is None:
        return float(written)
    try:
        return units.converted(written, unit, its)
    except units.NoSuchUnit:
        here.problem("E133", f"{quoted(unit)} is no unit", did_you_mean(unit, units.WRITTEN))
    except units.WrongMeasure:
        here.problem("E133", f"{quoted(unit)} does not fit: {field} is in {its}")
    return float(written)


# -- sequence ----------------------------------------------------------------------------------------------------------


def read_sequence(clause: Clause, names: Names | None) -> InSequence:
    """Of one stream: its steps see the same rows."""
    inner = None if names is None else replace(names, params=written_params(clause))
    return in_sequence(clause, tuple(read_step(step, inner) for step in steps_of(clause)))


def in_sequence(clause: Clause, steps: tuple[Step, ...]) -> InSequence:
    return InSequence(
        steps,
        clause.duration("within", SECOND_US, positive=True),
        reach(clause, "near", 1.0) if clause.has("near") else None,
        clause.duration("max_gap", MAX_GAP_US, positive=True),
    )


def read_step(step: Clause, names: Names | None, part: str = "") -> Step:
    return Step(
        step.name("as", ""),
        step.expression("where", names) or ALWAYS,
        step.flag("not", False),
        step.duration("for", 0),
        part,
    )


def steps_of(clause: Clause) -> list[Clause]:
    """The steps, after what holds of them together has been checked."""
    steps = list(clause.clauses("steps", STEP))
    here = clause.get("steps") or clause.here
    if clause.has("steps") and not 2 <= len(steps) <= MAX_STEPS:
        here.problem("E114", f'"steps" has {len(steps)} items; it takes 2 to {MAX_STEPS}')
    if steps and steps[0].flag("not", False):
        steps[0].here.problem("E318", "a sequence cannot begin with what must not come: it would begin at no time")
    for step in steps:
        if step.flag("not", False) and step.has("for"):
            step.here.problem("E318", "what must not come has no time for which it holds", 'leave "for" out')
    check_names_apart(steps)
    return steps


def check_names_apart(items: list[Clause]) -> None:
    seen: set[str] = set()
    for item in items:
        name, here = item.text("as", ""), item.get("as")
        if here is not None and name in seen:
            here.problem("E126", f"{quoted(name)} is used twice: nothing could tell the two apart")
        seen.add(name)
