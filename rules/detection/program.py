"""Typed condition → a program for the loop of `rules.detection.selecting`: a third back end beside closures and masks.

It reads a batch where the scanner left it, before any column is made. What a program can't say (texts that are
computed, patterns, the wall clock, personal data) has none, and its mask is made by numpy. Only where loops are
compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from models.columns import F64, I32, PADDING, U8
from rules.detection import selecting as ops
from rules.detection.places import Place, Places
from rules.detection.rows import Rows
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
    Some,
    Typed,
)

LINKS = {
    "==": ops.EQUAL, "!=": ops.UNEQUAL, "<": ops.LESS, "<=": ops.AT_MOST, ">": ops.MORE, ">=": ops.AT_LEAST,
}  # fmt: skip
OF_TWO = {
    "+": ops.PLUS, "-": ops.MINUS, "*": ops.TIMES, "/": ops.OVER, "%": ops.MODULO, "min": ops.LEAST, "max": ops.MOST,
}  # fmt: skip
OF_ONE = {"minus": ops.NEGATIVE, "abs": ops.ABSOLUTE, "round": ops.ROUNDED}
DEEPEST = 64
"""Values on the stack; what needs more has no program. An expression has at most 24 levels, a chain some more."""


class Unsayable(Exception):
    """No program says this."""


class Programs(NamedTuple):
    """All programs of a lane: their steps, and the numbers and words that they name."""

    steps: Rows
    numbers: F64
    words: U8
    word_at: I32


class Writer:
    """Writes programs behind each other; each is named by its first step."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.steps: list[tuple[int, int, int, int, int]] = []
        self.numbers: list[float] = []
        self.words: list[bytes] = []
        self.depth = 0

    def done(self) -> Programs:
        sizes = np.cumsum([0, *map(len, self.words)])
        return Programs(
            np.array(self.steps, dtype=ops.STEP),
            np.array(self.numbers, dtype=np.float64),
            np.frombuffer(b"".join(self.words) + PADDING, np.uint8),
            sizes.astype(np.int32),
        )

    def write(self, conditions: Sequence[Typed], but: Sequence[tuple[Typed, int | None]] = ()) -> int:
        """A program: true where the conditions are, `but` not where one of these is true (before a moment).

        Raises Unsayable, and then has written nothing.
        """
        first = len(self.steps)
        self.depth = 0
        try:
            parts: list[Callable[[], None]] = [lambda node=node: self._flag(node) for node in conditions]  # type: ignore[misc]
            parts += [lambda one=one: self._unless(*one) for one in but]  # type: ignore[misc]
            self._joined(parts, ops.AND, ops.UNLESS_FALSE)
        except Unsayable:
            del self.steps[first:]
            raise
        self._step(ops.END)
        return first

    def _step(self, op: int, level: int = 0, slot: int = 0, at: int = 0, count: int = 0, *, deeper: int = 0) -> None:
        self.steps.append((op, level, slot, at, count))
        self.depth += deeper
        if self.depth > DEEPEST:
            raise Unsayable("too deep")

    def _joined(self, parts: Sequence[Callable[[], None]], op: int, unless: int) -> None:
        """The parts joined one by one, but no further than where the value is decided."""
        parts[0]()
        jumps = []
        for part in parts[1:]:
            jumps.append(len(self.steps))
            self._step(unless)
            part()
            self._step(op, deeper=-1)
        for jump in jumps:
            self.steps[jump] = (unless, 0, 0, len(self.steps), 0)

    def _unless(self, node: Typed, until_us: int | None) -> None:
        self._flag(node)
        self._step(ops.TRUE)
        if until_us is not None:
            self._step(ops.BEFORE, at=self._constant(float(until_us)), deeper=1)
            self._step(ops.AND, deeper=-1)
        self._step(ops.NOT)

    def _constant(self, number: float) -> int:
        self.numbers.append(number)
        return len(self.numbers) - 1

    def _push(self, number: float) -> None:
        self._step(ops.NUMBER, at=self._constant(number), deeper=1)

    def _flag(self, node: Typed) -> None:
        match node:
            case Constant(value=value):
                self._push(np.nan if value is None else float(value is True))
            case FieldOf(mixed=True):
                self._load(f"{node.name} as a flag")
            case All():
                self._joined([lambda part=part: self._flag(part) for part in node.parts], ops.AND, ops.UNLESS_FALSE)  # type: ignore[misc]
            case Some():
                self._joined([lambda part=part: self._flag(part) for part in node.parts], ops.OR, ops.UNLESS_TRUE)  # type: ignore[misc]
            case Not():
                self._flag(node.operand)
                self._step(ops.NOT)
            case Compare():
                self._compare(node)
            case OneOf():
                self._one_of(node)
            case IsNull():
                self._is_null(node.operand)
            case Coalesce():
                self._first_known(self._flag, node)
            case _:
                raise Unsayable(node)

    def _first_known(self, write: Callable[[Typed], None], node: Coalesce) -> None:
        parts = [lambda argument=argument: write(argument) for argument in node.arguments]
        self._joined(parts, ops.KNOWN, ops.UNLESS_KNOWN)

    def _compare(self, node: Compare) -> None:
        """A chain is the `and` of its links."""
        write = {"number": self._number_link, "flag": self._flag_link, "text": self._text_link}.get(node.of)
        if write is None:
            raise Unsayable(node)
        links = zip(node.operators, node.operands[:-1], node.operands[1:], strict=True)
        self._joined([lambda link=link: write(*link) for link in links], ops.AND, ops.UNLESS_FALSE)  # type: ignore[misc]

    def _number_link(self, operator: str, a: Typed, b: Typed) -> None:
        self._number(a)
        self._number(b)
        self._step(LINKS[operator], deeper=-1)

    def _flag_link(self, operator: str, a: Typed, b: Typed) -> None:
        self._flag(a)
        self._flag(b)
        self._step(LINKS[operator], deeper=-1)

    def _text_link(self, operator: str, a: Typed, b: Typed) -> None:
        if isinstance(a, Constant):
            a, b = b, a
        match a, b:
            case Constant(), Constant():
                self._push(float(str(a.value) == str(b.value)))
            case FieldOf(), Constant():
                self._text_in(a, [str(b.value)])
            case FieldOf(), FieldOf():
                one, other = self._text_place(a), self._text_place(b)
                self._step(ops.TEXT_SAME, *one, *other, deeper=1)
            case _:
                raise Unsayable("a computed text")
        if operator == "!=":
            self._step(ops.NOT)

    def _text_place(self, node: FieldOf) -> Place:
        if node.token:
            raise Unsayable("personal data")
        return self._known(self.places.text(node.name))

    @staticmethod
    def _known(place: Place | None) -> Place:
        if place is None:
            raise Unsayable("not read from records")
        return place

    def _text_in(self, node: FieldOf, words: Sequence[str]) -> None:
        place, first = self._text_place(node), len(self.words)
        self.words += [word.encode() for word in words]
        self._step(ops.TEXT_IN, *place, first, len(words), deeper=1)

    def _one_of(self, node: OneOf) -> None:
        match node.item:
            case FieldOf(kind="text") as field:
                self._text_in(field, sorted(str(value) for value in node.values))
            case item if item.kind == "text":
                raise Unsayable("a computed text")
            case item:
                (self._flag if item.kind == "flag" else self._number)(item)
                first = len(self.numbers)
                self.numbers += sorted(float(value) for value in node.values)
                self._step(ops.NUMBER_IN, at=first, count=len(node.values))

    def _is_null(self, operand: Typed) -> None:
        match operand:
            case FieldOf(kind="text"):
                self._step(ops.TEXT_NULL, *self._text_place(operand), deeper=1)
            case FieldOf(kind="mixed"):
                self._mixed_null(operand)
            case _ if operand.kind == "text":
                raise Unsayable("a computed text")
            case _:
                (self._flag if operand.kind == "flag" else self._number)(operand)
                self._step(ops.NULL)

    def _mixed_null(self, node: FieldOf) -> None:
        """Null as a number, as a flag and as a text."""
        self._step(ops.TEXT_NULL, *self._text_place(node), deeper=1)
        for name in (node.name, f"{node.name} as a flag"):
            self._load(name)
            self._step(ops.NULL)
            self._step(ops.AND, deeper=-1)

    def _load(self, name: str) -> None:
        self._step(ops.FIELD, *self._known(self.places.number(name)), deeper=1)

    def _number(self, node: Typed) -> None:
        match node:
            case Constant(value=value):
                self._push(np.nan if value is None else float(value))
            case FieldOf():
                self._load(node.name)
            case Coalesce():
                self._first_known(self._number, node)
            case Apply(name=name) if name in OF_ONE:
                self._number(node.arguments[0])
                self._step(OF_ONE[name])
            case Apply(name=name) if name in OF_TWO:
                self._number(node.arguments[0])
                for argument in node.arguments[1:]:
                    self._number(argument)
                    self._step(OF_TWO[name], deeper=-1)
            case _:
                raise Unsayable(node)
