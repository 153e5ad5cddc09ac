"""`hold`: what is held, the two levels between which nothing changes, and the window it is made of."""

from __future__ import annotations

from dataclasses import replace

from models.streams import Field
from models.times import SECOND_US
from rules.language.checking import Names
from rules.language.clauses import Clause, written_params
from rules.language.expressions import ALWAYS, Checked, negation
from rules.language.findings import did_you_mean, quoted
from rules.language.model import Aggregate, Hold
from rules.language.schema import FUNCTIONS, WINDOW
from rules.language.source import MapNode
from rules.language.typed import Compare, Constant, FieldOf

MAX_SAMPLES = 10_000
SLIDES = 10  # of a window, where none is written
VALUE = "value"
UNITLESS = ("rate", "count")


def read_hold(clause: Clause, names: Names | None) -> Hold:
    value_field, over = read_value(clause, names)
    inner = None if names is None or value_field is None else value_names(clause, names, value_field, over)
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
        over,
    )


# -- what is held ------------------------------------------------------------------------------------------------------


def read_value(clause: Clause, names: Names | None) -> tuple[str | None, Aggregate | None]:
    """The field, and the window where there is one. No field: it was reported. The empty one: rows are counted."""
    here = clause.get("value")
    if here is None:
        return None, None
    if isinstance(here.node, MapNode):
        return read_window(Clause.read(here, WINDOW, clause.params), names)
    return read_field(clause, "value", names), None


def read_field(clause: Clause, key: str, names: Names | None) -> str | None:
    """A field of the stream that has something to compare."""
    name, here = clause.text(key, None), clause.get(key)
    if name is None or names is None or here is None:
        return None
    if name not in names.fields:
        here.problem("E202", f"{names.stream} has no field {quoted(name)}", did_you_mean(name, names.fields))
        return None
    if names.fields[name].tokenised:
        here.problem("E308", f"{name} is kept as a token: there is nothing to hold")
        return None
    return name


def read_number_field(clause: Clause, key: str, names: Names | None) -> str | None:
    name, here = read_field(clause, key, names), clause.get(key)
    if name is None or names is None or here is None:
        return None
    if names.fields[name].kind not in ("number", "mixed"):
        here.problem("E132", f"{name} is {names.fields[name].kind}, where a number is due")
        return None
    return name


def read_window(clause: Clause, names: Names | None) -> tuple[str | None, Aggregate | None]:
    fn = clause.choice("fn", FUNCTIONS, "mean")
    field: str | None = ""
    if fn == "count" and clause.has("field"):
        clause.here.problem("E127", '"count" counts rows and takes no field', 'leave "field" out')
    elif fn != "count":
        if not clause.has("field"):
            clause.missing("field")
        field = read_number_field(clause, "field", names)
    window_us, slide_us = read_slide(clause)
    least = clause.whole("min_samples", 1, 1, MAX_SAMPLES)
    return field, Aggregate(fn, window_us, slide_us, least)  # type: ignore[arg-type]  # one of FUNCTIONS


def read_slide(clause: Clause) -> tuple[int, int]:
    """`window` and `slide`, microseconds."""
    window_us = clause.duration("window", SECOND_US, positive=True)
    slide_us = clause.duration("slide", max(window_us // SLIDES, 1), positive=True)
    here = clause.quantity("slide") or clause.here
    if slide_us > window_us:
        here.problem("E322", "the slide is longer than the window: rows between two looks would never count")
    return window_us, slide_us


def value_names(clause: Clause, names: Names, value_field: str, over: Aggregate | None) -> Names:
    """What the two conditions see: `value`, and nothing else."""
    params = written_params(clause)
    if over is None:
        return replace(names, value_of=value_field, params=params)
    unit = None if over.fn in UNITLESS else names.fields[value_field].unit
    name = value_field or VALUE
    return replace(names, fields={name: Field("number", unit)}, value_of=name, params=params)


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
