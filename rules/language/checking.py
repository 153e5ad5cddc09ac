"""Tree → typed expression: names are looked up, kinds and units must fit, macros and lists are put in.

Knows streams and what the file defines; knows no YAML. Everything wrong is collected, with its span in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any, NoReturn

import re2

from models.streams import Field
from rules.language import syntax
from rules.language.findings import did_you_mean, quoted
from rules.language.functions import FUNCTIONS, LATER, NAMES, PLACED, Function
from rules.language.syntax import Span, Tree
from rules.language.typed import (
    PRODUCT,
    All,
    Apply,
    Coalesce,
    Compare,
    Constant,
    FieldOf,
    IsNull,
    Kind,
    Not,
    OneOf,
    RowTime,
    Some,
    Typed,
)
from rules.language.units import WRITTEN, NoSuchUnit, WrongMeasure, converted

MAX_DEPTH = 24
MAX_NODES = 256
MAX_PATTERN_MEMORY = 1 << 20  # bytes RE2 may use for one pattern
Tokens = Callable[[str, str], str]
"""(field, clear text) → the token that stands for it in that field."""
ListValue = str | float | bool


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may speak of."""

    stream: str
    fields: Mapping[str, Field]
    zone: tzinfo
    zone_name: str
    lists: Mapping[str, Sequence[ListValue]] = field(default_factory=dict)
    macros: Mapping[str, Tree | None] = field(default_factory=dict)
    """None: its text is wrong and was reported."""
    params: Mapping[str, str | None] | None = None
    """Name to the number as written; None for a param that is no number. No mapping: params cannot be used here."""
    value_of: str | None = None
    """In the conditions of `hold` only `value` is known: this field."""
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    message: str
    span: Span
    hint: str | None = None


class Refused(Exception):
    """This part means nothing; the finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def refuse(code: str, message: str, span: Span, hint: str | None = None) -> NoReturn:
    raise Refused(Finding(code, message, span, hint))


KIND_NAMES: dict[Kind, str] = {
    "number": "a number", "flag": "true or false", "text": "a text", "mixed": "number, flag or text", "null": "null",
}  # fmt: skip


def check(tree: Tree, names: Names) -> tuple[Typed | None, list[Finding]]:
    """The typed condition, or None; and what is wrong or doubtful."""
    checker = Checker(names)
    try:
        node = checker.condition(tree, 1)
    except Refused as why:
        return None, [*checker.findings, why.finding]
    failed = any(f.code.startswith("E") for f in checker.findings)
    return (None if failed else node), checker.findings


class Checker:
    """One pass over one expression."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.findings: list[Finding] = []
        self.nodes = 0
        self.macros: tuple[str, ...] = ()

    def condition(self, tree: Tree, depth: int) -> Typed:
        """A part that must be true or false."""
        return self.as_flag(self.typed(tree, depth), tree)

    def as_flag(self, node: Typed, tree: Tree) -> Typed:
        if node.kind == "mixed":
            return narrowed(node, "flag")
        if node.kind not in ("flag", "null"):
            refuse("E132", f"this is {KIND_NAMES[node.kind]}, where a condition must be true or false", tree.span)
        return node

    def typed(self, tree: Tree, depth: int) -> Typed:
        self.nodes += 1
        if depth > MAX_DEPTH:
            refuse("E131", f"the expression is nested deeper than {MAX_DEPTH} levels", tree.span)
        if self.nodes > MAX_NODES:
            refuse("E131", f"the expression has more than {MAX_NODES} parts, macros included", tree.span)
        match tree:
            case syntax.Number():
                return self.number(tree.amount, tree.unit, tree.span)
            case syntax.Const():
                return constant(tree.value)
            case syntax.Param():
                return self.param(tree)
            case syntax.Name():
                return self.name(tree, depth)
            case syntax.Call():
                return self.call(tree, depth)
            case syntax.Minus():
                return self.calculation("minus", (tree.operand,), tree.span, depth)
            case syntax.Arithmetic():
                return self.calculation(tree.operator, (tree.left, tree.right), tree.span, depth)
            case syntax.Comparison():
                return self.comparison(tree, depth)
            case syntax.Membership():
                return self.membership(tree, depth)
            case syntax.Negation():
                return Not(self.condition(tree.operand, depth + 1))
            case syntax.Logic():
                return self.logic(tree, depth)

    def logic(self, tree: syntax.Logic, depth: int) -> Typed:
        """Each part is checked by itself, so that one run shows what is wrong in all of them."""
        parts: list[Typed] = []
        for part in tree.parts:
            try:
                parts.append(self.condition(part, depth + 1))
            except Refused as why:
                if why.finding.code == "E131":
                    raise
                self.findings.append(why.finding)
        return All(tuple(parts)) if tree.operator == "and" else Some(tuple(parts))

    # -- words ---------------------------------------------------------------------------------------------------------

    def number(self, amount: str, unit: str | None, span: Span) -> Constant:
        value = float(amount) if len(amount) <= syntax.MAX_NUMBER else float("inf")
        if abs(value) > 1e300:
            refuse("E118", f"number {amount[:24]} is out of range", span)
        if unit is not None and unit not in WRITTEN:
            refuse("E133", f'"{unit}" is no unit', span, did_you_mean(unit, WRITTEN))
        return Constant("number", value, written=unit, exact=amount)

    def param(self, tree: syntax.Param) -> Constant:
        if self.names.params is None:
            refuse(
                "E206", f'"${tree.name}" cannot be used here: overrides change detect, stages and close only', tree.span
            )
        if tree.name not in self.names.params:
            refuse("E206", f'param "{tree.name}" is not defined', tree.span, did_you_mean(tree.name, self.names.params))
        written = self.names.params[tree.name]
        found = syntax.NUMBER.fullmatch(written.lstrip("-")) if written is not None else None
        if found is None or written is None:
            refuse("E132", f'param "{tree.name}" is no number, so nothing can be compared with it', tree.span)
        return self.number("-" * written.startswith("-") + found["amount"], found["unit"] or None, tree.span)

    def name(self, tree: syntax.Name, depth: int) -> Typed:
        path = tree.path
        if path.startswith("macros."):
            return self.macro(path.removeprefix("macros."), tree.span, depth)
        if path.startswith("lists."):
            refuse("E130", f'"{path}" is a list: it can only stand after "in"', tree.span)
        if self.names.value_of is not None:
            if path != "value":
                refuse("E202", f'{quoted(path)} is not known here: the conditions of hold see "value" only', tree.span,
                       "what else must be true belongs to where")  # fmt: skip
            return self.field(self.names.value_of, alias="value")
        if path not in self.names.fields:
            refuse(
                "E202", f"{self.names.stream} has no field {quoted(path)}", tree.span,
                did_you_mean(path, self.names.fields),
            )  # fmt: skip
        return self.field(path)

    def field(self, name: str, alias: str | None = None) -> FieldOf:
        of = self.names.fields[name]
        return FieldOf(name, of.kind, of.unit, of.kind == "mixed", of.tokenised, alias)

    def macro(self, name: str, span: Span, depth: int) -> Typed:
        if name not in self.names.macros:
            refuse("E204", f"macro {quoted(name)} is not defined", span, did_you_mean(name, self.names.macros))
        if name in self.macros:
            refuse("E136", f'macro "{name}" contains itself: {" > ".join((*self.macros, name))}', span)
        tree = self.names.macros[name]
        if tree is None:
            return Constant("null", None)
        before, self.macros = self.macros, (*self.macros, name)
        noted = len(self.findings)
        try:
            node = self.typed(tree, depth + 1)
        except Refused as why:
            raise Refused(self.used(name, why.finding, span)) from None
        finally:
            self.macros = before
        self.findings[noted:] = [self.used(name, finding, span) for finding in self.findings[noted:]]
        return node

    def used(self, name: str, finding: Finding, span: Span) -> Finding:
        """A finding inside a macro, shown where the macro is used: there the stream is chosen."""
        if finding.code in ("E136", "E131") or finding.message.startswith("in macro"):
            return replace(finding, span=span)
        return replace(finding, message=f'in macro "{name}": {finding.message}', span=span)

    # -- kinds and units -----------------------------------------------------------------------------------------------

    def calculation(self, operator: str, trees: tuple[Tree, ...], span: Span, depth: int) -> Typed:
        nodes = [self.as_number(self.typed(tree, depth + 1), tree) for tree in trees]
        if operator in ("+", "-"):
            nodes = self.agreed(nodes, trees, span)
            return Apply(operator, "number", tuple(nodes), unit_of(nodes))
        if operator == "minus":
            return Apply(operator, "number", tuple(nodes), nodes[0].unit)
        plain = all(node.unit is None for node in nodes)
        return Apply(operator, "number", tuple(settled(n) for n in nodes), None if plain else PRODUCT)

    def as_number(self, node: Typed, tree: Tree) -> Typed:
        if node.kind == "mixed":
            return narrowed(node, "number")
        if node.kind != "number":
            refuse("E132", f"{described(tree)} is {KIND_NAMES[node.kind]}, where a number is due", tree.span)
        return node

    def agreed(self, nodes: Sequence[Typed], trees: Sequence[Tree], span: Span) -> list[Typed]:
        """Numbers in one unit: those written with another of the same measure are converted."""
        unit, known, name = self.common_unit(nodes, span)
        return [
            self.in_unit(node, tree, unit, known, name) if isinstance(node, Constant) else node
            for node, tree in zip(nodes, trees, strict=True)
        ]

    def common_unit(self, nodes: Sequence[Typed], span: Span) -> tuple[str | None, bool, str]:
        """The unit; whether a field (not only constants) decides it; and that field's name."""
        moving = [node for node in nodes if not isinstance(node, Constant)]
        units = sorted({node.unit for node in moving if node.unit is not None})
        if len(units) > 1:
            written = " and ".join(quoted(u) if u != PRODUCT else "a product" for u in units)
            refuse("E133", f"{written} do not go together: the two sides have different units", span)
        name = next((node.name for node in moving if isinstance(node, FieldOf)), "this")
        if moving:
            return (units[0] if units else None), True, name
        first = next((n.written for n in nodes if isinstance(n, Constant) and n.written), None)
        return first, first is not None, "this"

    def in_unit(self, node: Constant, tree: Tree, unit: str | None, known: bool, name: str) -> Constant:
        if node.written is None or not known:
            return replace(node, unit=unit)
        if unit is None:
            self.as_written(node, tree, name)
            return Constant(node.kind, node.value)
        if unit == PRODUCT:
            refuse("E133", f'"{node.written}" cannot be checked against a product', tree.span, "write the plain number")
        try:
            value = converted(node.exact, node.written, unit)
        except (WrongMeasure, NoSuchUnit):
            refuse("E133", f'"{node.written}" does not fit: {name} is in {unit}', tree.span)
        return Constant("number", value, unit)

    def as_written(self, node: Constant, tree: Tree, name: str) -> None:
        of = self.names.fields.get(name)
        if of is not None and of.kind == "number":
            message = f'{name} carries no unit: "{node.written}" is ignored and {node.value:g} compared'
            self.findings.append(Finding("W402", message, tree.span, "write the plain number"))

    # -- comparisons ---------------------------------------------------------------------------------------------------

    def comparison(self, tree: syntax.Comparison, depth: int) -> Typed:
        nodes = [self.typed(operand, depth + 1) for operand in tree.operands]
        kind = self.common_kind(nodes, tree.operands, tree.span)
        ordered = next((o for o in tree.operators if o not in ("==", "!=")), None)
        if ordered and kind != "number":
            refuse("E132", f'"{ordered}" orders numbers, and this is {KIND_NAMES[kind]}', tree.span)
        parts: list[Typed] = [narrowed(node, kind) for node in nodes]
        if kind == "number":
            parts = self.agreed(parts, tree.operands, tree.span)
        elif kind == "text":
            parts = self.tokenised(parts, tree.span)
        return Compare(kind, tuple(parts), tree.operators)

    def common_kind(self, nodes: Sequence[Typed], trees: Sequence[Tree], span: Span) -> Kind:
        for node, tree in zip(nodes, trees, strict=True):
            if node.kind == "null":
                refuse("E132", "nothing is ever equal to null, so this is never true", tree.span, "use is_null(…)")
        plain = [(n, t) for n, t in zip(nodes, trees, strict=True) if n.kind != "mixed"]
        if not plain:
            refuse("E132", "both sides may be number, flag or text, so nothing can be compared", span)
        first, first_tree = plain[0]
        for node, tree in plain[1:]:
            if node.kind != first.kind:
                message = (
                    f"{described(first_tree)} is {KIND_NAMES[first.kind]}, {described(tree)} is {KIND_NAMES[node.kind]}"
                )
                refuse("E132", message, tree.span if isinstance(node, Constant) else first_tree.span)
        return first.kind

    def tokenised(self, nodes: Sequence[Typed], span: Span) -> list[Typed]:
        """Texts beside a tokenised field become its tokens; anything else beside it never matches."""
        secret = next((n for n in nodes if isinstance(n, FieldOf) and n.token), None)
        if secret is None:
            return list(nodes)
        if any(not isinstance(n, Constant) and n != secret for n in nodes):
            refuse("E308", f"{secret.name} is kept as a token: it equals written texts only", span)
        return [Constant("text", self.token(secret, str(n.value))) if isinstance(n, Constant) else n for n in nodes]

    def token(self, of: FieldOf, word: str) -> str:
        return word if self.names.tokens is None else self.names.tokens(of.name, word)

    def membership(self, tree: syntax.Membership, depth: int) -> Typed:
        item = self.typed(tree.item, depth + 1)
        if item.kind == "null":
            refuse("E132", "null is in no list, so this is never true", tree.item.span, "use is_null(…)")
        if tree.options is None:
            options, trees = self.listed(tree, item), [tree.item] * self.length(tree)
        else:
            options, trees = [self.typed(option, depth + 1) for option in tree.options], list(tree.options)
        both, both_trees = [item, *options], [tree.item, *trees]
        kind = self.common_kind(both, both_trees, tree.span)
        both = [narrowed(node, kind) for node in both]
        if kind == "number":
            both = self.agreed(both, both_trees, tree.span)
        elif kind == "text":
            both = self.tokenised(both, tree.span)
        item, *options = both
        values = frozenset(option.value for option in options if isinstance(option, Constant))
        found = OneOf(item, values)  # type: ignore[arg-type]  # all of one kind, checked above
        return Not(found) if tree.negated else found

    def length(self, tree: syntax.Membership) -> int:
        return len(self.names.lists[(tree.list_name or "").removeprefix("lists.")])

    def listed(self, tree: syntax.Membership, item: Typed) -> list[Typed]:
        path = tree.list_name or ""
        name = path.removeprefix("lists.")
        if name == path:
            refuse("E203", f"{quoted(path)} is no list", tree.options_span, "write in lists.name or in (…)")
        if name not in self.names.lists:
            refuse(
                "E203", f"list {quoted(name)} is not defined", tree.options_span, did_you_mean(name, self.names.lists)
            )
        options: list[Typed] = [constant(value) for value in self.names.lists[name]]
        other = next((option for option in options if item.kind not in ("mixed", option.kind)), None)
        if other is not None:
            subject = f"{described(tree.item)} is {KIND_NAMES[item.kind]}"
            refuse("E132", f"{subject}, and {path} holds {KIND_NAMES[other.kind]}", tree.options_span)
        return options

    # -- functions -----------------------------------------------------------------------------------------------------

    def call(self, tree: syntax.Call, depth: int) -> Typed:
        name = tree.name
        if name in LATER:
            refuse("E190", f"`{name}` is not built yet", tree.name_span)
        if name not in NAMES:
            refuse("E210", f"function {quoted(name)} is not defined", tree.name_span, did_you_mean(name, NAMES))
        if name in ("hour", "weekday"):
            return self.row_time(tree)
        arguments = [self.typed(argument, depth + 1) for argument in tree.arguments]
        if name == "is_null":
            self.expect(tree, len(arguments) == 1, "one value")
            return IsNull(settled(arguments[0]))
        if name == "coalesce":
            return self.coalesce(tree, arguments)
        return self.apply(tree, FUNCTIONS[name], arguments)

    def expect(self, tree: syntax.Call, fits: bool, due: str) -> None:
        if not fits:
            refuse("E134", f"{tree.name} takes {due}; {len(tree.arguments)} given", tree.span)

    def row_time(self, tree: syntax.Call) -> Typed:
        self.expect(tree, not tree.arguments, "no arguments (it is that of the row's time)")
        if tree.name == "hour":
            return RowTime("hour", "number", self.names.zone, self.names.zone_name)
        return RowTime("weekday", "text", self.names.zone, self.names.zone_name)

    def coalesce(self, tree: syntax.Call, arguments: list[Typed]) -> Typed:
        self.expect(tree, len(arguments) >= 2, "two values or more")
        kind = self.common_kind(arguments, tree.arguments, tree.span)
        nodes: list[Typed] = [narrowed(node, kind) for node in arguments]
        if kind == "number":
            nodes = self.agreed(nodes, tree.arguments, tree.span)
        for node, argument in zip(nodes, tree.arguments, strict=True):
            self.not_secret(node, argument, tree.name)
        return Coalesce(kind, tuple(settled(n) for n in nodes), unit_of(nodes))

    def apply(self, tree: syntax.Call, function: Function, arguments: list[Typed]) -> Typed:
        least = function.at_least
        if least is not None:
            self.expect(tree, len(arguments) >= least, f"{least} numbers or more")
        else:
            due = " and ".join("a quoted text" if t == "literal" else f"a {t}" for t in function.takes)
            self.expect(tree, len(arguments) == len(function.takes), due)
        takes = function.takes if least is None else function.takes * len(arguments)
        nodes = [self.argument(*given, tree.name) for given in zip(arguments, takes, tree.arguments, strict=True)]
        if tree.name in PLACED:
            nodes = [self.row_place("lon", tree), self.row_place("lat", tree), *nodes]
        if tree.name == "matches":
            self.pattern(nodes[1], tree.arguments[1].span)
        if function.same_unit:
            nodes = self.agreed(nodes, tree.arguments, tree.span)
        unit = unit_of(nodes) if function.same_unit else function.unit
        return Apply(tree.name, function.gives, tuple(nodes), unit)

    def argument(self, node: Typed, due: str, tree: Tree, name: str) -> Typed:
        if due == "number":
            return self.as_number(node, tree)
        if due == "literal" and not (isinstance(node, Constant) and node.kind == "text"):
            refuse("E134", f"{name} takes a quoted text here", tree.span)
        if node.kind not in ("text", "mixed"):
            refuse("E134", f"{name} takes a text, and this is {KIND_NAMES[node.kind]}", tree.span)
        self.not_secret(node, tree, name)
        return narrowed(node, "text")

    def not_secret(self, node: Typed, tree: Tree, name: str) -> None:
        if isinstance(node, FieldOf) and node.token:
            refuse("E308", f"{node.name} is kept as a token: {name} has no text to look at", tree.span)

    def row_place(self, axis: str, tree: syntax.Call) -> Typed:
        if axis not in self.names.fields or self.names.value_of is not None:
            refuse("E202", f"{tree.name} needs the place of the row, which is not known here", tree.name_span)
        return self.field(axis)

    def pattern(self, node: Typed, span: Span) -> None:
        assert isinstance(node, Constant)
        try:
            compiled_pattern(str(node.value))
        except re2.error as why:
            reason = why.args[0] if why.args else "it cannot be read"
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            refuse("E135", f"{quoted(str(node.value))} is no RE2 pattern: {text}", span)


def compiled_pattern(text: str) -> Any:
    """A pattern that runs in linear time. Raises re2.error."""
    options = re2.Options()
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    return re2.compile(text, options)


def constant(value: str | float | bool | None) -> Constant:
    if value is None:
        return Constant("null", None)
    if isinstance(value, bool):
        return Constant("flag", value)
    if isinstance(value, str):
        return Constant("text", value)
    return Constant("number", float(value))


def narrowed(node: Typed, kind: Kind) -> Typed:
    """Of a mixed field the part of that kind."""
    if isinstance(node, FieldOf) and node.kind == "mixed":
        return replace(node, kind=kind)
    return node


def settled(node: Typed) -> Typed:
    """A constant whose unit met nothing counts as written."""
    if isinstance(node, Constant) and (node.written is not None or node.exact):
        return Constant(node.kind, node.value, node.unit)
    return node


def unit_of(nodes: Iterable[Typed]) -> str | None:
    return next((node.unit for node in nodes if node.unit is not None), None)


def described(tree: Tree) -> str:
    """How a part is called in a message."""
    match tree:
        case syntax.Name():
            return tree.path
        case syntax.Const(value=str() as text):
            return quoted(text)
        case syntax.Const():
            return str(tree.value).lower() if tree.value is not None else "null"
        case syntax.Number():
            return f"{tree.amount}{tree.unit or ''}"
        case syntax.Call():
            return f"{tree.name}(…)"
        case _:
            return "this"
