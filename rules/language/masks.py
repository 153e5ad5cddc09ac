"""Typed expression → a mask over a batch's columns. The same meaning as `closures.py`, held equal by a property test.

A condition is computed as two masks, where it is true and where it is false; null is neither. Where only the true rows
are asked for, the false ones are not computed. Texts compare as codes; what looks at a text runs once for each distinct
word. Constants stay scalars and broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.columns import Batch, Column, Flags, Mask, Mixed, Numbers, Texts
from rules.language import wallclock
from rules.language.checking import compiled_pattern
from rules.language.functions import DAYS, FUNCTIONS, OPERATORS
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

Pair = tuple[Any, Any]
"""Where it is true, where it is false: masks, or one flag for all rows."""
Masker = Callable[[Batch], Any]
Pairer = Callable[[Batch], Pair]
DAY_CODES = {day: code for code, day in enumerate(DAYS)}

TRUE_OF: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "!=": lambda a, b: (a < b) | (a > b),
}  # fmt: skip
OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def root(node: Typed) -> Callable[[Batch], Mask]:
    """The rows where a condition is true, always one flag a row."""
    inner = mask(node)

    def run(batch: Batch) -> Mask:
        with np.errstate(all="ignore"):
            found = np.asarray(inner(batch), dtype=np.bool_)
        return found if found.shape else np.full(len(batch), bool(found))

    return run


# -- conditions --------------------------------------------------------------------------------------------------------


def mask(node: Typed) -> Masker:
    """Where it is true."""
    match node:
        case All():
            return reduced(np.logical_and, [mask(part) for part in node.parts])
        case Some():
            return reduced(np.logical_or, [mask(part) for part in node.parts])
        case Compare(of="number") if len(node.operands) == 2:
            left, right = numbers(node.operands[0]), numbers(node.operands[1])
            test = TRUE_OF[node.operators[0]]
            return lambda batch: test(left(batch), right(batch))
        case _:
            both = pair(node)
            return lambda batch: both(batch)[0]


def reduced(function: Any, parts: Sequence[Masker]) -> Masker:
    def run(batch: Batch) -> Any:
        found = parts[0](batch)
        for part in parts[1:]:
            found = function(found, part(batch))
        return found

    return run


def pair(node: Typed) -> Pairer:
    """Where it is true and where it is false."""
    match node:
        case Constant(value=value):
            return lambda _: (np.bool_(value is True), np.bool_(value is False))
        case FieldOf():
            return flag_field(node)
        case All():
            return both_ways([pair(part) for part in node.parts], np.logical_and, np.logical_or)
        case Some():
            return both_ways([pair(part) for part in node.parts], np.logical_or, np.logical_and)
        case Not():
            inner = pair(node.operand)
            return lambda batch: inner(batch)[::-1]
        case Compare():
            return compare(node)
        case OneOf():
            return one_of(node)
        case IsNull():
            return is_null(node.operand)
        case Coalesce():
            return coalesced_flags([pair(argument) for argument in node.arguments])
        case Apply():
            return text_test(node)
        case _:
            raise AssertionError(node)


def both_ways(parts: Sequence[Pairer], if_true: Any, if_false: Any) -> Pairer:
    def run(batch: Batch) -> Pair:
        true, false = parts[0](batch)
        for part in parts[1:]:
            t, f = part(batch)
            true, false = if_true(true, t), if_false(false, f)
        return true, false

    return run


def column(batch: Batch, node: FieldOf) -> Column:
    try:
        return batch.columns[node.name]
    except KeyError:
        return batch.columns[node.alias or node.name]


def flag_field(node: FieldOf) -> Pairer:
    def run(batch: Batch) -> Pair:
        found = column(batch, node)
        values = (found.flag if isinstance(found, Mixed) else flags_of(found)).values
        return values == 1, values == 0

    return run


def flags_of(found: Column) -> Flags:
    assert isinstance(found, Flags), type(found)
    return found


def coalesced_flags(parts: Sequence[Pairer]) -> Pairer:
    def run(batch: Batch) -> Pair:
        true, false = parts[0](batch)
        for part in parts[1:]:
            t, f = part(batch)
            null = ~(true | false)
            true, false = true | (null & t), false | (null & f)
        return true, false

    return run


def compare(node: Compare) -> Pairer:
    """A chain is the `and` of its links, each operand computed once."""
    if node.of == "number":
        values = [numbers(operand) for operand in node.operands]
        link = number_link
    elif node.of == "flag":
        values = [pair(operand) for operand in node.operands]
        link = flag_link
    else:
        values = [words(operand) for operand in node.operands]
        link = text_link

    def run(batch: Batch) -> Pair:
        found = [value(batch) for value in values]
        true, false = link(node.operators[0], found[0], found[1])
        for operator, a, b in zip(node.operators[1:], found[1:-1], found[2:], strict=True):
            t, f = link(operator, a, b)
            true, false = true & t, false | f
        return true, false

    return run


def number_link(operator: str, a: Any, b: Any) -> Pair:
    return TRUE_OF[operator](a, b), TRUE_OF[OPPOSITE[operator]](a, b)


def flag_link(operator: str, a: Pair, b: Pair) -> Pair:
    same, other = (a[0] & b[0]) | (a[1] & b[1]), (a[0] & b[1]) | (a[1] & b[0])
    return (same, other) if operator == "==" else (other, same)


def text_link(operator: str, a: Texts | str, b: Texts | str) -> Pair:
    same, known = text_equal(a, b)
    return (same, known & ~same) if operator == "==" else (known & ~same, same)


def text_equal(a: Texts | str, b: Texts | str) -> Pair:
    """Where they are equal, and where both are known."""
    if isinstance(a, str) and isinstance(b, str):
        return np.bool_(a == b), np.bool_(True)
    if isinstance(a, str):
        a, b = b, a
    assert isinstance(a, Texts)
    if isinstance(b, str):
        return a.codes == a.lookup.get(b, -2), a.codes >= 0
    theirs = np.array([a.lookup.get(word, -2) for word in b.words] + [-2], dtype=np.int32)
    known = (a.codes >= 0) & (b.codes >= 0)
    return known & (a.codes == theirs[b.codes]), known


def one_of(node: OneOf) -> Pairer:
    if node.item.kind == "text":
        text, wanted = texts(node.item), node.values

        def among_words(batch: Batch) -> Pair:
            item = text(batch)
            table = np.zeros(len(item.words) + 1, dtype=np.bool_)
            table[[code for value in wanted if (code := item.lookup.get(str(value), -1)) >= 0]] = True
            true = table[item.codes]
            return true, (item.codes >= 0) & ~true

        return among_words
    if node.item.kind == "flag":
        return one_of_flags(node)
    number, values = numbers(node.item), np.array(sorted(node.values), dtype=np.float64)

    def among_numbers(batch: Batch) -> Pair:
        item = number(batch)
        true = np.isin(item, values)
        return true, ~true & ~np.isnan(item)

    return among_numbers


def one_of_flags(node: OneOf) -> Pairer:
    flag, with_true, with_false = pair(node.item), np.bool_(True in node.values), np.bool_(False in node.values)

    def run(batch: Batch) -> Pair:
        t, f = flag(batch)
        return (t & with_true) | (f & with_false), (t & ~with_true) | (f & ~with_false)

    return run


def is_null(operand: Typed) -> Pairer:
    null = null_of(operand)

    def run(batch: Batch) -> Pair:
        found = null(batch)
        return found, ~found

    return run


def null_of(node: Typed) -> Masker:
    if node.kind == "number":
        number = numbers(node)
        return lambda batch: np.isnan(number(batch))
    if node.kind == "text":
        text = texts(node)
        return lambda batch: text(batch).codes < 0
    if node.kind == "mixed":
        assert isinstance(node, FieldOf)
        return lambda batch: null_of_mixed(column(batch, node))
    flag = pair(node)

    def run(batch: Batch) -> Any:
        true, false = flag(batch)
        return ~(true | false)

    return run


def null_of_mixed(found: Column) -> Mask:
    assert isinstance(found, Mixed)
    return np.isnan(found.number.values) & (found.flag.values < 0) & (found.text.codes < 0)


# -- numbers -----------------------------------------------------------------------------------------------------------


def numbers(node: Typed) -> Masker:
    """float64 values, NaN where null; a constant stays one number."""
    match node:
        case Constant(value=value):
            number = np.float64(np.nan if value is None else float(value))
            return lambda _: number
        case FieldOf():
            return lambda batch: number_column(column(batch, node))
        case RowTime(zone=zone):
            return lambda batch: wallclock.hours(batch.time_us, zone).astype(np.float64)
        case Coalesce():
            return reduced(lambda a, b: np.where(np.isnan(a), b, a), [numbers(a) for a in node.arguments])
        case Apply(name="len"):
            text = texts(node.arguments[0])
            return lambda batch: by_word(text(batch), len, np.float64, np.nan)
        case Apply():
            return calculation(node)
        case _:
            raise AssertionError(node)


def number_column(found: Column) -> Any:
    if isinstance(found, Mixed):
        return found.number.values
    assert isinstance(found, Numbers), type(found)
    return found.values


def calculation(node: Apply) -> Masker:
    function = (FUNCTIONS.get(node.name) or OPERATORS[node.name]).columns
    assert function is not None
    parts = [numbers(argument) for argument in node.arguments]

    def run(batch: Batch) -> Any:
        found = function(*(part(batch) for part in parts))
        return np.where(np.isfinite(found), found, np.nan)

    return run


# -- texts -------------------------------------------------------------------------------------------------------------


def words(node: Typed) -> Callable[[Batch], Texts | str]:
    """A text for each row, or one for all of them."""
    if isinstance(node, Constant):
        text = str(node.value)
        return lambda _: text
    return texts(node)


def texts(node: Typed) -> Callable[[Batch], Texts]:
    match node:
        case Constant(value=value):
            word = str(value)
            return lambda batch: Texts(np.zeros(len(batch), dtype=np.int32), (word,), {word: 0})
        case FieldOf():
            return lambda batch: text_column(column(batch, node))
        case RowTime(zone=zone):
            return lambda batch: Texts(wallclock.weekdays(batch.time_us, zone).astype(np.int32), DAYS, DAY_CODES)
        case Apply(name="lower"):
            inner = texts(node.arguments[0])
            return lambda batch: mapped(inner(batch), str.lower)
        case Coalesce():
            parts = [texts(argument) for argument in node.arguments]
            return lambda batch: first_known([part(batch) for part in parts])
        case _:
            raise AssertionError(node)


def text_column(found: Column) -> Texts:
    if isinstance(found, Mixed):
        return found.text
    assert isinstance(found, Texts), type(found)
    return found


def mapped(text: Texts, change: Callable[[str], str]) -> Texts:
    lookup: dict[str, int] = {}
    codes = [lookup.setdefault(change(word), len(lookup)) for word in text.words]
    table = np.array([*codes, -1], dtype=np.int32)
    return Texts(table[text.codes], tuple(lookup), lookup)


def first_known(parts: Sequence[Texts]) -> Texts:
    lookup: dict[str, int] = {}
    codes = np.full(len(parts[0].codes), -1, dtype=np.int32)
    for part in parts:
        table = np.array([*(lookup.setdefault(w, len(lookup)) for w in part.words), -1], dtype=np.int32)
        codes = np.where(codes < 0, table[part.codes], codes)
    return Texts(codes, tuple(lookup), lookup)


def by_word(text: Texts, function: Callable[[str], Any], kind: Any, null: Any) -> Any:
    """`function` of each row's word, called once for each distinct word that occurs."""
    table = np.full(len(text.words) + 1, null, dtype=kind)
    used = range(len(text.words)) if len(text.codes) >= len(text.words) else np.unique(text.codes)
    for code in used:
        if code >= 0:
            table[code] = function(text.words[code])
    return table[text.codes]


def text_test(node: Apply) -> Pairer:
    text, pattern = texts(node.arguments[0]), node.arguments[1]
    assert isinstance(pattern, Constant)
    word = str(pattern.value)
    if node.name == "matches":
        compiled = compiled_pattern(word)

        def test(candidate: str) -> bool:
            return compiled.search(candidate) is not None
    else:
        function = FUNCTIONS[node.name].scalar

        def test(candidate: str) -> bool:
            return bool(function(candidate, word))

    def run(batch: Batch) -> Pair:
        item = text(batch)
        true = by_word(item, test, np.bool_, False)
        return true, (item.codes >= 0) & ~true

    return run
