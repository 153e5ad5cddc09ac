"""Expression text → a checked `Expression` with both back ends. The one door to the expression language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.columns import Batch, Mask, Scalar
from rules.language import masks, typed
from rules.language.checking import Finding, Names, check
from rules.language.closures import Closure, closure
from rules.language.contradictions import impossible_field
from rules.language.syntax import BadSyntax, Logic, parse
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


def both(first: Checked | None, second: Checked | None) -> Checked | None:
    """True where both are; one that is not there asks nothing."""
    if first is None or second is None:
        return first or second
    return compiled(typed.All((first.tree, second.tree)), f"({first.text}) and ({second.text})")


def renamed(of: Checked, change: Callable[[str], str]) -> Checked:
    """The same condition over fields called otherwise."""
    return compiled(typed.renamed(of.tree, change), of.text)


def read_expression(text: str, names: Names) -> tuple[Checked | None, list[Finding]]:
    """The condition a text stands for; None where it stands for none, with the reasons."""
    try:
        tree = parse(text)
    except BadSyntax as why:
        return None, [Finding(why.code, why.message, why.span, why.hint)]
    node, findings = check(tree, names)
    never = None if node is None else impossible_field(node)
    if never is not None:
        message = f"nothing fulfils this: no {never} is all of that at once"
        findings = [*findings, Finding("E326", message, (0, len(text)))]
    return (None if node is None else compiled(node, text)), findings


ALWAYS = Checked(
    "true", "true", frozenset(), typed.Constant("flag", True), lambda batch: batch.record >= 0, lambda _: True
)
"""Stands where an expression was wrong; a bundle with it is never handed out."""


def conjuncts(of: Checked) -> list[Checked]:
    """The conditions that must all be true, each by itself."""
    if not isinstance(of.tree, typed.All):
        return [of]
    written = pieces(of.text)
    trees = of.tree.parts
    texts = written if len(written) == len(trees) else [""] * len(trees)
    return [compiled(tree, text or typed.canonical(tree)) for tree, text in zip(trees, texts, strict=True)]


def pieces(text: str) -> list[str]:
    """What stands between the `and`s; an empty text where brackets leave no whole one."""
    try:
        tree = parse(text)
    except BadSyntax:
        return []
    if not isinstance(tree, Logic) or tree.operator != "and":
        return []
    found = [text[slice(*part.span)] for part in tree.parts]
    return [piece if piece.count("(") == piece.count(")") else "" for piece in found]
