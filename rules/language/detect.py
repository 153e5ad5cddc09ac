"""The primitives: one reader for each that is built."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from models.times import SECOND_US
from rules.language.checking import Names
from rules.language.clauses import Clause, Here
from rules.language.expressions import Checked, negation
from rules.language.findings import did_you_mean, quoted
from rules.language.model import Detect, Dwell, Event, Hold
from rules.language.schema import DETECT, DWELL, EVENT, HOLD, REPEAT, WINDOW
from rules.language.source import MapNode, ScalarNode
from rules.language.typed import Compare, Constant, FieldOf

MAX_GAP_US = 30 * SECOND_US  # a camera that reports each second may miss twenty-nine
MIN_POINTS = 2
MAX_TIMES = 10_000  # a ring of times is kept for each key
ALWAYS = Checked("true", "true", frozenset(), Constant("flag", True), lambda batch: batch.record >= 0, lambda _: True)
"""Stands where an expression was wrong; a bundle with it is never handed out."""


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


def read_detect(rule: Clause, primitive: Primitive, names: Names | None) -> Detect:
    """The primitive with the clause's params worked in."""
    clause = rule.clause("detect", DETECT)
    assert clause is not None
    match primitive.kind:
        case "dwell":
            return read_dwell(clause)
        case "hold":
            return read_hold(clause, names)
        case _:
            return read_event(clause)


def read_dwell(detect: Clause) -> Dwell:
    clause = detect.clause("dwell", DWELL)
    assert clause is not None
    return Dwell(
        for_us=clause.duration("for", SECOND_US, positive=True),
        max_move_m=clause.length("max_move", math.inf),
        max_gap_us=clause.duration("max_gap", MAX_GAP_US, positive=True),
        min_points=clause.whole("min_points", MIN_POINTS, 1, MAX_TIMES),
    )


def read_event(detect: Clause) -> Event:
    clause = detect.clause("event", EVENT)
    assert clause is not None
    repeat = clause.clause("repeat", REPEAT)
    if repeat is None:
        return Event()
    return Event(repeat.whole("times", 2, 2, MAX_TIMES), repeat.duration("within", SECOND_US, positive=True))


def read_hold(detect: Clause, names: Names | None) -> Hold:
    clause = detect.clause("hold", HOLD)
    assert clause is not None
    value_field = read_value_field(clause, names)
    inner = None if names is None or value_field is None else replace(
        names, value_of=value_field, params=written_params(clause)
    )  # fmt: skip
    open_when = clause.expression("open_when", inner)
    close_when = clause.expression("close_when", inner)
    if close_when is None and open_when is not None and not clause.has("close_when"):
        close_when = negation(open_when)
    if open_when is not None and close_when is not None:
        check_gap(clause, open_when, close_when)
    return Hold(
        value_field or "",
        open_when or ALWAYS,
        close_when or ALWAYS,
        clause.duration("for", 0),
        clause.duration("close_for", 0),
    )


def read_value_field(clause: Clause, names: Names | None) -> str | None:
    """The field that is held."""
    here = clause.get("value")
    if here is None:
        return None
    if isinstance(here.node, MapNode):
        Clause.read(here, WINDOW)
        return None
    name = clause.text("value", None)
    if name is None or names is None:
        return None
    if name not in names.fields:
        here.problem("E202", f"{names.stream} has no field {quoted(name)}", did_you_mean(name, names.fields))
        return None
    if names.fields[name].tokenised:
        here.problem("E308", f"{name} is kept as a token: there is nothing to hold")
        return None
    return name


def written_params(clause: Clause) -> dict[str, str | None]:
    return {name: scalar_text(here) for name, here in (clause.params or {}).items()}


def scalar_text(here: Here) -> str | None:
    return here.node.text if isinstance(here.node, ScalarNode) else None


# -- hysteresis --------------------------------------------------------------------------------------------------------

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def check_gap(clause: Clause, open_when: Checked, close_when: Checked) -> None:
    """Between the level that opens and the one that closes there should be room."""
    opens, closes = limit(open_when), limit(close_when)
    here = clause.get("close_when") or clause.get("open_when")
    if opens is None or closes is None or here is None:
        return
    if overlap(opens, closes):
        here.problem("E310", f"{open_when.text} opens and {close_when.text} closes: at some values both are true")
    elif opens[1] == closes[1]:
        here.problem(
            "W401", f"it opens and closes at {opens[1]:g}: a value there opens and closes in turns",
            "leave a gap: close_when further back than open_when",
        )  # fmt: skip


def limit(condition: Checked) -> tuple[str, float] | None:
    """`value >= 4` as (>=, 4); None where the condition has another shape."""
    tree = condition.tree
    turned = False
    if hasattr(tree, "operand") and not isinstance(tree, Compare):
        tree, turned = tree.operand, True
    if not isinstance(tree, Compare) or tree.of != "number" or len(tree.operators) != 1:
        return None
    (left, right), operator = tree.operands, tree.operators[0]
    if isinstance(left, Constant) and isinstance(right, FieldOf):
        left, right, operator = right, left, FLIPPED.get(operator, operator)
    if not isinstance(left, FieldOf) or not isinstance(right, Constant) or operator not in FLIPPED:
        return None
    if turned:
        operator = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[operator]
    return operator, float(right.value or 0)


def overlap(opens: tuple[str, float], closes: tuple[str, float]) -> bool:
    """Whether some value fulfils both."""
    (first, a), (second, b) = opens, closes
    if first[0] == second[0]:
        return True
    low, high = (a, b) if first[0] == ">" else (b, a)
    return low < high or (low == high and first.endswith("=") and second.endswith("="))
