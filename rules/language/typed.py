"""Typed expressions: what is left after checking. Every name is a field of the stream, every unit is worked in.

One tree; `closures.py` and `masks.py` run it, and mean the same by it. Three-valued: null is unknown, a comparison with
it is unknown, `and`, `or`, `not` are Kleene's, and a calculation with it, a division by zero or an overflow is null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Literal

Kind = Literal["number", "flag", "text", "mixed", "null"]
PRODUCT = "?"
"""The unit of what was multiplied or divided: nothing can be checked against it."""


@dataclass(frozen=True, slots=True)
class Constant:
    """`written` (the unit) and `exact` (the digits) are there while a number's unit has not met a field yet."""

    kind: Kind
    value: str | float | bool | None
    unit: str | None = None
    written: str | None = None
    exact: str = ""


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A field, or of a mixed one the part of `kind`. `alias`: the name it also has in a record (hold's `value`)."""

    name: str
    kind: Kind
    unit: str | None = None
    mixed: bool = False
    token: bool = False
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class RowTime:
    """A part of the row's event time on the wall clock of `zone`."""

    part: Literal["hour", "weekday"]
    kind: Kind
    zone: tzinfo
    zone_name: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of `functions.py`, or one of + - * / % and unary minus by its sign."""

    name: str
    kind: Kind
    arguments: tuple[Typed, ...]
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first that is not null."""

    kind: Kind
    arguments: tuple[Typed, ...]
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class IsNull:
    operand: Typed
    kind: Kind = "flag"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    """`a < b <= c`, each operand evaluated once. `of`: the kind of all operands."""

    of: Kind
    operands: tuple[Typed, ...]
    operators: tuple[str, ...]
    kind: Kind = "flag"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class OneOf:
    item: Typed
    values: frozenset[str] | frozenset[float] | frozenset[bool]
    kind: Kind = "flag"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Not:
    operand: Typed
    kind: Kind = "flag"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Typed, ...]
    kind: Kind = "flag"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Typed, ...]
    kind: Kind = "flag"
    unit: str | None = None


Typed = Constant | FieldOf | RowTime | Apply | Coalesce | IsNull | Compare | OneOf | Not | All | Some


def children(node: Typed) -> tuple[Typed, ...]:
    match node:
        case Apply() | Coalesce():
            return node.arguments
        case Compare():
            return node.operands
        case OneOf():
            return (node.item,)
        case IsNull() | Not():
            return (node.operand,)
        case All() | Some():
            return node.parts
        case _:
            return ()


def renamed(node: Typed, change: Callable[[str], str]) -> Typed:
    """The same with every field called otherwise."""
    match node:
        case FieldOf():
            return replace(node, name=change(node.name))
        case Apply() | Coalesce():
            return replace(node, arguments=tuple(renamed(child, change) for child in node.arguments))
        case Compare():
            return replace(node, operands=tuple(renamed(child, change) for child in node.operands))
        case OneOf():
            return replace(node, item=renamed(node.item, change))
        case IsNull() | Not():
            return replace(node, operand=renamed(node.operand, change))
        case All() | Some():
            return replace(node, parts=tuple(renamed(child, change) for child in node.parts))
        case _:
            return node


def fields(node: Typed) -> frozenset[str]:
    """The stream's fields an expression reads."""
    if isinstance(node, FieldOf):
        return frozenset((node.name,))
    return frozenset().union(*(fields(child) for child in children(node)))


def canonical(node: Typed) -> str:
    """One text for one meaning: what goes into a fingerprint."""
    match node:
        case Constant():
            return repr(node.value)
        case FieldOf():
            return f"{node.name}:{node.kind}"
        case RowTime():
            return f"{node.part}@{node.zone_name}"
        case OneOf():
            return f"in({canonical(node.item)},{sorted(node.values)!r})"
        case Compare():
            return f"({' '.join(node.operators)} {' '.join(canonical(o) for o in node.operands)})"
        case Apply():
            return f"{node.name}({','.join(canonical(a) for a in node.arguments)})"
        case _:
            return f"{type(node).__name__}({','.join(canonical(c) for c in children(node))})"
