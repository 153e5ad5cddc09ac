"""Expression text → a checked `Expression` with both back ends. The one door to the expression language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.columns import Batch, Mask, Scalar
from rules.language import masks, typed
from rules.language.checking import Finding, Names, check
from rules.language.closures import Closure, closure
from rules.language.syntax import BadSyntax, parse
from rules.language.typed import Typed


@dataclass(frozen=True, slots=True)
class Checked:
    """A typed condition (`models.Expression`): equal when it means the same. Its tree and both back ends."""

    canonical: str
    text: str = field(compare=False)
    fields: frozenset[str] = field(compare=False)
    tree: Typed = field(compare=False, repr=False)
    _mask: Callable[[Batch], Mask] = field(compare=False, repr=False)
    _value: Closure = field(compare=False, repr=False)

    def mask(self, batch: Batch) -> Mask:
        """For each row, whether it is true."""
        return self._mask(batch)

    def value(self, record: Mapping[str, Scalar]) -> Scalar:
        """True, false or null for one record; absent fields are null, `time_us` is the row's time."""
        found: Scalar = self._value(record)
        return found


def compiled(tree: Typed, text: str) -> Checked:
    """Both back ends of a typed condition."""
    return Checked(typed.canonical(tree), text, typed.fields(tree), tree, masks.root(tree), closure(tree))


def negation(of: Checked) -> Checked:
    """True where the other is false."""
    return compiled(typed.Not(of.tree), f"not ({of.text})")


def read_expression(text: str, names: Names) -> tuple[Checked | None, list[Finding]]:
    """The condition a text stands for; None where it stands for none, with the reasons."""
    try:
        tree = parse(text)
    except BadSyntax as why:
        return None, [Finding(why.code, why.message, why.span, why.hint)]
    node, findings = check(tree, names)
    return (None if node is None else compiled(node, text)), findings
