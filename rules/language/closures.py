"""Typed expression → a closure over one record. The same meaning as `masks.py`, held equal by a property test.

Every closure gives a value or None for null; and no closure raises.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from models.columns import Scalar
from rules.language import wallclock
from rules.language.checking import compiled_pattern
from rules.language.functions import DAYS, FUNCTIONS, OPERATORS
from rules.language.typed import (
    All,
    Apply,
    Coalesce,
    Compare,
    Constant,
    FieldOf,
    IsNull,
    Not,
    OneOf,
    RowTime,
    Some,
    Typed,
)

Record = Mapping[str, Scalar]
Closure = Callable[[Record], Any]
TIME_FIELD = "time_us"
"""Where a record carries its row's event time, microseconds UTC, for hour() and weekday()."""

PYTHON_TYPES: dict[str, tuple[type, ...]] = {"number": (int, float), "flag": (bool,), "text": (str,)}
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def closure(node: Typed) -> Closure:
    """The function of one record that the node stands for."""
    match node:
        case Constant(value=value):
            return lambda _: value
        case FieldOf():
            return field_of(node)
        case RowTime():
            return row_time(node)
        case Apply():
            return apply(node)
        case Coalesce():
            return coalesce([closure(a) for a in node.arguments])
        case IsNull():
            return is_null(node.operand)
        case Compare():
            return compare(node)
        case OneOf():
            return one_of(node)
        case Not():
            return negated(closure(node.operand))
        case All():
            return decided(closures(node.parts), False)
        case Some():
            return decided(closures(node.parts), True)


def closures(nodes: tuple[Typed, ...]) -> list[Closure]:
    return [closure(node) for node in nodes]


def field_of(node: FieldOf) -> Closure:
    name, alias = node.name, node.alias or node.name

    def read(record: Record) -> Scalar:
        value = record[name] if name in record else record.get(alias)
        return None if value != value else value  # NaN is null

    if not node.mixed or node.kind == "mixed":
        return read
    wanted = PYTHON_TYPES[node.kind]
    number = node.kind == "number"

    def part(record: Record) -> Scalar:
        value = read(record)
        return value if isinstance(value, wanted) and not (number and isinstance(value, bool)) else None

    return part


def row_time(node: RowTime) -> Closure:
    zone, by_hour = node.zone, node.part == "hour"

    def read(record: Record) -> Scalar:
        time_us = record.get(TIME_FIELD)
        if time_us is None:
            return None
        moment = int(time_us)
        return float(wallclock.hour(moment, zone)) if by_hour else DAYS[wallclock.weekday(moment, zone)]

    return read


def apply(node: Apply) -> Closure:
    function = (FUNCTIONS.get(node.name) or OPERATORS[node.name]).scalar
    if node.name == "matches":
        pattern = compiled_pattern(str(node.arguments[1].value))  # type: ignore[union-attr]  # a constant, checked
        text = closure(node.arguments[0])
        return lambda record: None if (t := text(record)) is None else pattern.search(t) is not None
    parts = closures(node.arguments)
    if node.kind == "number" and node.name != "len":
        return lambda record: finite(function, [part(record) for part in parts])

    def call(record: Record) -> Any:
        values = [part(record) for part in parts]
        return None if None in values else function(*values)

    return call


def finite(function: Callable[..., Any], values: list[Any]) -> float | None:
    if None in values:
        return None
    result = function(*values)
    return None if result is None or result - result != 0 else float(result)  # inf and nan are null


def coalesce(parts: list[Closure]) -> Closure:
    return lambda record: next((v for part in parts if (v := part(record)) is not None), None)


def is_null(operand: Typed) -> Closure:
    part = closure(operand)
    return lambda record: part(record) is None


def compare(node: Compare) -> Closure:
    if len(node.operands) == 2:
        left, right = closures(node.operands)
        holds = COMPARE[node.operators[0]]
        if isinstance(node.operands[1], Constant):
            value = node.operands[1].value
            return lambda record: None if (a := left(record)) is None else holds(a, value)

        def pair(record: Record) -> bool | None:
            a, b = left(record), right(record)
            return None if a is None or b is None else bool(holds(a, b))

        return pair
    parts, tests = closures(node.operands), [COMPARE[o] for o in node.operators]

    def chain(record: Record) -> bool | None:
        values = [part(record) for part in parts]
        found: bool | None = True
        for test, a, b in zip(tests, values, values[1:], strict=False):
            if a is None or b is None:
                found = None
            elif not test(a, b):
                return False
        return found

    return chain


def one_of(node: OneOf) -> Closure:
    item, values = closure(node.item), node.values
    return lambda record: None if (v := item(record)) is None else v in values


def negated(part: Closure) -> Closure:
    return lambda record: None if (v := part(record)) is None else not v


def decided(parts: list[Closure], decisive: bool) -> Closure:
    """`and` (one false decides) and `or` (one true decides); else one unknown makes it unknown."""

    def run(record: Record) -> bool | None:
        found: bool | None = not decisive
        for part in parts:
            value: bool | None = part(record)
            if value is None:
                found = None
            elif value is decisive:
                return decisive
        return found

    return run
