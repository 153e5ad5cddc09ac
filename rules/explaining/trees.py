"""An expression over one record as a tree: every part with the value it had there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from models.columns import Scalar
from rules.language.closures import closure
from rules.language.expressions import Checked
from rules.language.model import Expression
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

SHOWN_VALUES = 8
"""Of a list of values, as text; the others are counted."""


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition, what it came to (null: unknown), the fields it read, and the conditions it is made of."""

    text: str
    truth: bool | None
    values: dict[str, Scalar] = {}
    parts: tuple[Seen, ...] = ()

    def blame(self) -> Seen:
        """The first comparison that keeps the whole from being true; of an `or` whose parts all fail, the whole."""
        if len(self.parts) == 1:
            return self.parts[0].blame() if self.parts[0].truth is not True else self
        failing = [part for part in self.parts if part.truth is not True]
        if not failing or (len(failing) == len(self.parts) and self.text == "any of"):
            return self
        return failing[0].blame()


def seen(expression: Expression, record: Mapping[str, Scalar]) -> Seen:
    """What `expression` saw in a record. Its truth is that of the expression's own value."""
    if not isinstance(expression, Checked):
        return Seen(expression.text, truth_of(expression.value(record)), read(expression.fields, record))
    return of_node(expression.tree, record)


def of_node(node: Typed, record: Mapping[str, Scalar]) -> Seen:
    truth = truth_of(closure(node)(record))
    match node:
        case All(parts=parts):
            return Seen("all of", truth, parts=tuple(of_node(p, record) for p in parts))
        case Some(parts=parts):
            return Seen("any of", truth, parts=tuple(of_node(p, record) for p in parts))
        case _:
            values = {name: closure(field)(record) for name, field in fields_of(node).items()}
            return Seen(written(node), truth, values)


def truth_of(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def read(fields: frozenset[str], record: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {name: record.get(name) for name in sorted(fields)}


def fields_of(node: Typed) -> dict[str, Typed]:
    """What the node reads of a record, by the name people know it by."""
    match node:
        case FieldOf():
            return {node.alias or node.name: node}
        case RowTime():
            return {f"{node.part}()": node}
        case Apply() | Coalesce():
            children = node.arguments
        case Compare():
            children = node.operands
        case OneOf():
            children = (node.item,)
        case IsNull() | Not():
            children = (node.operand,)
        case All() | Some():
            children = node.parts
        case _:
            children = ()
    return {name: field for child in children for name, field in fields_of(child).items()}


def written(node: Typed) -> str:
    """As an author would write it, macros and lists worked in."""
    match node:
        case Constant():
            return constant(node.value)
        case FieldOf():
            return node.alias or node.name
        case RowTime():
            return f"{node.part}()"
        case Apply(arguments=(left, right)) if not node.name.isalpha():
            return f"{written(left)} {node.name} {written(right)}"
        case Apply():
            return f"{node.name}({', '.join(written(a) for a in node.arguments)})"
        case Coalesce():
            return f"coalesce({', '.join(written(a) for a in node.arguments)})"
        case IsNull():
            return f"is_null({written(node.operand)})"
        case Not():
            return f"not ({written(node.operand)})"
        case OneOf():
            return f"{written(node.item)} in {values(sorted(node.values, key=str))}"
        case Compare():
            first, *others = node.operands
            pairs = zip(node.operators, others, strict=True)
            return " ".join([written(first), *(f"{o} {written(operand)}" for o, operand in pairs)])
        case All():
            return " and ".join(f"({written(p)})" for p in node.parts)
        case Some():
            return " or ".join(f"({written(p)})" for p in node.parts)


def constant(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case _:
            return f"{value:g}"


def values(listed: Sequence[object]) -> str:
    shown = [constant(value) for value in listed[:SHOWN_VALUES]]
    more = len(listed) - len(shown)
    return f"({', '.join(shown)}{f', … {more} more' if more else ''})"
