"""Expression text → tree, with the span of every part. Knows no stream, no types.

The grammar is `grammar.lark`; the parser keeps its own stack, so no text can exhaust Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

MAX_CHARACTERS = 2000
MAX_NUMBER = 40  # characters of a number: more are no measurement

Span = tuple[int, int]
"""First character and the one after the last, counted from 0."""
NUMBER = re.compile(r"(?P<amount>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![A-Za-z0-9]))?)(?P<unit>.*)")


@dataclass(slots=True)
class Number:
    span: Span
    amount: str
    unit: str | None


@dataclass(slots=True)
class Const:
    """A text, a flag or null."""

    span: Span
    value: str | bool | None


@dataclass(slots=True)
class Name:
    span: Span
    path: str


@dataclass(slots=True)
class Param:
    span: Span
    name: str


@dataclass(slots=True)
class Call:
    span: Span
    name: str
    name_span: Span
    arguments: tuple[Tree, ...]


@dataclass(slots=True)
class Minus:
    span: Span
    operand: Tree


@dataclass(slots=True)
class Negation:
    span: Span
    operand: Tree


@dataclass(slots=True)
class Arithmetic:
    span: Span
    operator: str
    left: Tree
    right: Tree


@dataclass(slots=True)
class Comparison:
    """`a < b <= c`; between is one of these."""

    span: Span
    operands: tuple[Tree, ...]
    operators: tuple[str, ...]


@dataclass(slots=True)
class Membership:
    """`options` None: `list_name` is one of the file's lists."""

    span: Span
    item: Tree
    options: tuple[Tree, ...] | None
    list_name: str | None
    options_span: Span
    negated: bool


@dataclass(slots=True)
class Logic:
    span: Span
    operator: str
    parts: tuple[Tree, ...]


Tree = Number | Const | Name | Param | Call | Minus | Negation | Arithmetic | Comparison | Membership | Logic


def parts(tree: Tree) -> Iterator[Tree]:
    """A tree and everything in it, without recursion: it may be deeper than Python's stack."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(reversed(inner(part)))


def inner(tree: Tree) -> tuple[Tree, ...]:
    match tree:
        case Call():
            return tree.arguments
        case Minus() | Negation():
            return (tree.operand,)
        case Arithmetic():
            return (tree.left, tree.right)
        case Comparison():
            return tree.operands
        case Membership():
            return (tree.item, *(tree.options or ()))
        case Logic():
            return tree.parts
        case _:
            return ()


class BadSyntax(Exception):
    """The text is no expression."""

    def __init__(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.hint = code, message, span, hint


def around(first: Tree, last: Tree) -> Span:
    return first.span[0], last.span[1]


def token_span(token: Token) -> Span:
    assert token.start_pos is not None
    assert token.end_pos is not None
    return token.start_pos, token.end_pos


def number_of(text: str, span: Span, sign: str = "") -> Number:
    found = NUMBER.fullmatch(text)
    assert found is not None
    return Number(span, sign.strip("+") + found["amount"], found["unit"] or None)


@v_args(inline=True)
class Builder(Transformer[Token, Any]):
    """What the parser calls at each reduction."""

    def number(self, token: Token) -> Number:
        return number_of(token, token_span(token))

    def signed_number(self, sign: Token, token: Token) -> Number:
        return number_of(token, (token_span(sign)[0], token_span(token)[1]), sign)

    def text(self, token: Token) -> Const:
        return Const(token_span(token), str(token[1:-1]))

    def yes(self, token: Token) -> Const:
        return Const(token_span(token), True)

    def no(self, token: Token) -> Const:
        return Const(token_span(token), False)

    def null(self, token: Token) -> Const:
        return Const(token_span(token), None)

    def name(self, token: Token) -> Name:
        return Name(token_span(token), str(token))

    def param(self, token: Token) -> Param:
        return Param(token_span(token), str(token[1:]))

    def call(self, token: Token, *arguments: Tree | None) -> Call:
        given = tuple(a for a in arguments if a is not None)
        start, end = token_span(token)
        return Call((start, given[-1].span[1] + 1 if given else end + 2), str(token), (start, end), given)

    def signed(self, sign: Token, operand: Tree) -> Tree:
        start, end = token_span(sign)[0], operand.span[1]
        if isinstance(operand, Number) and not operand.amount.startswith("-"):
            return Number((start, end), sign.strip("+") + operand.amount, operand.unit)
        return operand if sign == "+" else Minus((start, end), operand)

    def binary(self, left: Tree, operator: Token, right: Tree) -> Arithmetic:
        return Arithmetic(around(left, right), str(operator), left, right)

    def chain(self, *parts: Any) -> Comparison:
        return Comparison(around(parts[0], parts[-1]), parts[::2], tuple(str(p) for p in parts[1::2]))

    def between(self, item: Tree, low: Tree, high: Tree) -> Comparison:
        return Comparison(around(item, high), (low, item, high), ("<=", "<="))

    def literals(self, *options: Tree) -> tuple[Tree, ...]:
        return options

    def listed(self, token: Token) -> Token:
        return token

    def membership(self, item: Tree, *rest: Any) -> Membership:
        options, negated = rest[-1], len(rest) == 2
        if isinstance(options, Token):
            start, end = token_span(options)
            return Membership((item.span[0], end), item, None, str(options), (start, end), negated)
        inner = around(options[0], options[-1])
        return Membership((item.span[0], inner[1] + 1), item, options, None, inner, negated)

    def negated(self, word: Token, operand: Tree) -> Negation:
        return Negation((token_span(word)[0], operand.span[1]), operand)

    def conjunction(self, *parts: Tree) -> Logic:
        return Logic(around(parts[0], parts[-1]), "and", parts)

    def disjunction(self, *parts: Tree) -> Logic:
        return Logic(around(parts[0], parts[-1]), "or", parts)


@lru_cache(maxsize=1)
def parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=Builder(), maybe_placeholders=False)


@lru_cache(maxsize=4096)
def parse(text: str) -> Tree:
    """The tree of an expression. Raises BadSyntax."""
    if len(text) > MAX_CHARACTERS:
        raise BadSyntax("E131", f"the expression has {len(text)} characters, {MAX_CHARACTERS} are allowed", (0, 1))
    if not text.strip():
        raise BadSyntax("E130", "the expression is empty", (0, 1))
    try:
        tree: Tree = parser().parse(text)  # type: ignore[assignment]  # the builder makes ours of Lark's tree
    except UnexpectedInput as why:
        raise explained(text, why) from None
    return tree


FULL_WIDTH = {
    "（": "(", "）": ")", "，": ",", "：": ":", "“": '"', "”": '"', "‘": "'", "’": "'", "＝": "==",
    "＜": "<", "＞": ">", "≥": ">=", "≤": "<=", "≠": "!=", "％": "%", "＋": "+", "－": "-",
}  # fmt: skip
INSTEAD = {"=": "equality is ==", "&": "write and", "|": "write or", "!": "write not, or != between two values"}


def explained(text: str, why: UnexpectedInput) -> BadSyntax:
    if isinstance(why, UnexpectedCharacters):
        at: Any = why.pos_in_stream
        found = text[at]
        if found in "\"'":
            message = f"the text that begins with {found} has no end"
            return BadSyntax("E130", message, (at, len(text)), "close the quote")
        if found in FULL_WIDTH:
            message = f'"{found}" is a full-width character: it means nothing in an expression'
            return BadSyntax("E130", message, (at, at + 1), f"write {FULL_WIDTH[found]}")
        return BadSyntax("E130", f'"{found}" is not expected here', (at, at + 1), INSTEAD.get(found))
    assert isinstance(why, UnexpectedToken)
    token = why.token
    if token.type == "$END":
        end = len(text.rstrip())
        return BadSyntax("E130", "the expression ends too early", (end, end + 1))
    span = token_span(token)
    hint = "is_null(…) tells whether a value is missing" if token.type == "NULL" else None
    return BadSyntax("E130", f'"{token}" is not expected here', span, hint)
