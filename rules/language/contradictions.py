"""Conditions that no value can fulfil: `x < 3 and x > 5`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rules.language.typed import All, Compare, Constant, FieldOf, OneOf, Typed

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


@dataclass(slots=True)
class Room:
    """What a number may still be: from `low` to `high`; `open`: the end itself is not among it."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def narrow(self, operator: str, value: float) -> None:
        if operator in (">", ">=", "==") and (value, operator == ">") > (self.low, self.low_open):
            self.low, self.low_open = value, operator == ">"
        if operator in ("<", "<=", "==") and (value, operator != "<") < (self.high, not self.high_open):
            self.high, self.high_open = value, operator == "<"

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))


def impossible_field(tree: Typed) -> str | None:
    """A field that everything asked of it together leaves no value; None where there may be one."""
    numbers: dict[str, Room] = {}
    words: dict[str, frozenset[object]] = {}
    for part in asked(tree):
        for name, operator, value in bounds(part):
            room = numbers.setdefault(name, Room())
            room.narrow(operator, value)
            if room.empty:
                return name
        for name, among in choices(part):
            words[name] = words.get(name, among) & among
            if not words[name]:
                return name
    return None


def asked(tree: Typed) -> Iterator[Typed]:
    """All that must be true at once."""
    if isinstance(tree, All):
        for part in tree.parts:
            yield from asked(part)
    else:
        yield tree


def bounds(part: Typed) -> Iterator[tuple[str, str, float]]:
    """`field operator number` of each link of a comparison."""
    if not isinstance(part, Compare) or part.of != "number":
        return
    for left, operator, right in zip(part.operands, part.operators, part.operands[1:], strict=False):
        if isinstance(left, FieldOf) and isinstance(right, Constant) and operator in FLIPPED:
            yield left.name, operator, float(right.value or 0)
        elif isinstance(left, Constant) and isinstance(right, FieldOf) and operator in FLIPPED:
            yield right.name, FLIPPED[operator], float(left.value or 0)


def choices(part: Typed) -> Iterator[tuple[str, frozenset[object]]]:
    """The words a field may be, where a part names them."""
    if isinstance(part, OneOf) and isinstance(part.item, FieldOf) and part.item.kind == "text" and part.values:
        yield part.item.name, frozenset(part.values)
    elif isinstance(part, Compare) and part.of == "text" and part.operators == ("==",):
        left, right = part.operands
        if isinstance(left, Constant):
            left, right = right, left
        if isinstance(left, FieldOf) and isinstance(right, Constant):
            yield left.name, frozenset((right.value,))
