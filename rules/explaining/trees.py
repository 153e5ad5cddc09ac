"""An expression over one record as the conditions it is made of, each with the fields it read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from models.columns import Scalar
from rules.language.explaining import Explained, explained
from rules.language.expressions import Checked
from rules.language.model import Expression
from rules.language.typed import All, Some, Typed

TRUTHS = {"true": True, "false": False, "unknown": None, None: None}


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition, what it came to (null: unknown), the fields it read, and the conditions it is made of; `either`: one
    of them is enough."""

    text: str
    truth: bool | None
    values: dict[str, Scalar] = {}
    parts: tuple[Seen, ...] = ()
    either: bool = False

    def blame(self) -> Seen:
        """The first condition that keeps the whole from being true; an `or` is blamed as a whole."""
        failing = [part for part in self.parts if part.truth is not True]
        return self if self.either or not failing else failing[0].blame()

    def read(self) -> dict[str, Scalar]:
        """All fields that were read."""
        return self.values | {name: value for part in self.parts for name, value in part.read().items()}


def seen(expression: Expression, record: Mapping[str, Scalar]) -> Seen:
    if isinstance(expression, Checked):
        return msgspec.structs.replace(of_node(expression.tree, record), text=expression.text)
    found = expression.value(record)
    return Seen(expression.text, found if isinstance(found, bool) else None)


def of_node(node: Typed, record: Mapping[str, Scalar]) -> Seen:
    whole = explained(node, record)
    if isinstance(node, All | Some):
        parts = tuple(of_node(part, record) for part in node.parts)
        return Seen(whole.text, TRUTHS[whole.truth], {}, parts, isinstance(node, Some))
    return Seen(whole.text, TRUTHS[whole.truth], dict(leaves(whole)))


def leaves(of: Explained) -> Iterator[tuple[str, Scalar]]:
    if not of.parts:
        yield of.text, of.value
    for part in of.parts:
        yield from leaves(part)
