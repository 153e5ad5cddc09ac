"""Why an expression is true, false or unknown for one record: every part of it with its value.

Macros and lists are put in, units converted: the texts say what was compared, not how it was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
    children,
)
from rules.language.units import WRITTEN

Truth = Literal["true", "false", "unknown"]
FEW = 8  # words of a list that are worth reading
SIGNS = ("+", "-", "*", "/", "%")


@dataclass(frozen=True, slots=True)
class Explained:
    """One part: its text, its value (None: null), how true it is (None: it is no condition), what it is made of."""

    text: str
    value: Scalar
    truth: Truth | None
    parts: tuple[Explained, ...] = ()

    def data(self) -> dict[str, object]:
        """As JSON carries it."""
        return {
            "text": self.text,
            "value": self.value,
            "truth": self.truth,
            "parts": [part.data() for part in self.parts],
        }


def explain(expression: Expression, record: Mapping[str, Scalar]) -> Explained:
    """The whole tree for one record, as `expression.value` sees it. Constants are told by the texts around them."""
    if isinstance(expression, Checked):
        return explained(expression.tree, record)
    value = expression.value(record)
    return Explained(expression.text, value, truth_of(value))


def explained(node: Typed, record: Mapping[str, Scalar]) -> Explained:
    parts = tuple(explained(child, record) for child in children(node) if not isinstance(child, Constant))
    value = value_of(node, record, parts)
    flag = node.kind == "flag" or (node.kind == "null" and isinstance(node, Constant))
    return Explained(spoken(node), value, truth_of(value) if flag else None, parts)


def value_of(node: Typed, record: Mapping[str, Scalar], parts: tuple[Explained, ...]) -> Scalar:
    """Conditions are made of their parts' truths; what they are about is read like everywhere."""
    match node:
        case All() if len(parts) == len(node.parts):
            return decided([part.truth for part in parts], "false")
        case Some() if len(parts) == len(node.parts):
            return decided([part.truth for part in parts], "true")
        case Not() if parts:
            return {"true": False, "false": True, "unknown": None}[parts[0].truth or "unknown"]
        case _:
            found: Scalar = closure(node)(record)
            return found


def decided(truths: list[Truth | None], decisive: Truth) -> bool | None:
    if decisive in truths:
        return decisive == "true"
    return None if "unknown" in truths else decisive == "false"


def truth_of(value: Scalar) -> Truth:
    return "unknown" if value is None else "true" if value is True else "false"


# -- texts -------------------------------------------------------------------------------------------------------------


def spoken(node: Typed) -> str:
    """A part as an author would write it."""
    match node:
        case Constant():
            return constant(node)
        case FieldOf():
            return node.alias or node.name
        case RowTime():
            return f"{node.part}()"
        case All():
            return " and ".join(bracketed(part, (Some,)) for part in node.parts)
        case Some():
            return " or ".join(bracketed(part, (All,)) for part in node.parts)
        case Not(operand=OneOf() as inner):
            return membership(inner, "not in")
        case Not():
            return f"not {bracketed(node.operand, (All, Some))}"
        case IsNull():
            return f"is_null({spoken(node.operand)})"
        case Coalesce():
            return f"coalesce({', '.join(spoken(part) for part in node.arguments)})"
        case OneOf():
            return membership(node, "in")
        case Compare():
            return compared(node)
        case Apply():
            return applied(node)


def bracketed(node: Typed, kinds: tuple[type, ...]) -> str:
    return f"({spoken(node)})" if isinstance(node, kinds) else spoken(node)


def constant(node: Constant) -> str:
    match node.value:
        case None:
            return "null"
        case bool():
            return "true" if node.value else "false"
        case str():
            return f'"{node.value}"'
        case _:
            return number(node.value) + (node.unit if node.unit in WRITTEN else "")


def number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return str(int(value)) if whole else repr(value)


def membership(node: OneOf, word: str) -> str:
    values: list[Scalar] = sorted(node.values, key=str)
    shown = ", ".join(spoken(Constant(node.item.kind, value)) for value in values[:FEW])
    more = f", … {len(values) - FEW} more" if len(values) > FEW else ""
    return f"{bracketed(node.item, (Compare, All, Some))} {word} ({shown}{more})"


def compared(node: Compare) -> str:
    pieces = [bracketed(node.operands[0], (Compare, All, Some, Not, OneOf))]
    for operator, operand in zip(node.operators, node.operands[1:], strict=True):
        pieces += [operator, bracketed(operand, (Compare, All, Some, Not, OneOf))]
    return " ".join(pieces)


def applied(node: Apply) -> str:
    texts = [spoken(argument) for argument in node.arguments]
    if node.name in SIGNS:
        texts = [f"({text})" if is_sum(part) else text for text, part in zip(texts, node.arguments, strict=True)]
        return f" {node.name} ".join(texts)
    if node.name == "minus":
        return f"-({texts[0]})"
    if node.name in ("distance", "bearing"):
        texts = texts[2:]  # the row's own place
    return f"{node.name}({', '.join(texts)})"


def is_sum(node: Typed) -> bool:
    return isinstance(node, Apply) and node.name in SIGNS
