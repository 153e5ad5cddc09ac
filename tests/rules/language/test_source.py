"""YAML as the language reads it: types, places, and what it does not take."""

from __future__ import annotations

import pytest

from rules.language.findings import File
from rules.language.source import ListNode, MapNode, Node, ScalarNode, compose, inside


def composed(text: str) -> tuple[File, MapNode]:
    file = File("f.yaml")
    root = compose(file, text.encode())
    assert isinstance(root, MapNode), [p.text() for p in file.problems]
    return file, root


def value(text: str) -> object:
    node = composed(f"a: {text}\n")[1].entries["a"].value
    assert isinstance(node, ScalarNode)
    return node.value


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("true", True), ("false", False), ("null", None), ("", None), ("1", 1), ("-3", -3), ("+4", 4), ("0", 0),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-2.5e-1", -0.25),
    ],
)  # fmt: skip
def test_the_few_words_that_are_no_text(written: str, typed: object) -> None:
    assert value(written) == typed
    assert type(value(written)) is type(typed)


@pytest.mark.parametrize(
    "written",
    ["22:30", "NO", "no", "yes", "On", "True", "FALSE", "Null", "~", "0505", "0x1F", "0o17", "1_000", ".inf", ".nan",
     "2026-03-02", "1e", "-1-", ".", "+", "12m", "$case"],
)  # fmt: skip
def test_everything_else_stays_text(written: str) -> None:
    assert value(written) == written


def test_quoted_words_are_text() -> None:
    assert (value('"1"'), value("'true'"), value('""')) == ("1", "true", "")


def test_every_key_value_and_item_knows_its_place() -> None:
    _, root = composed("a:\n  - {机: x, k: [1, 22]}\n")
    items = root.entries["a"].value
    assert isinstance(items, ListNode)
    inner = items.items[0]
    assert isinstance(inner, MapNode)
    key, numbers = inner.entries["k"]
    assert (key.line, key.column, key.end_column) == (2, 12, 13)
    assert isinstance(numbers, ListNode)
    assert [(n.line, n.column) for n in numbers.items] == [(2, 16), (2, 19)]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: one two\n", 1, 8),
        ("a: 'it''s ''q'' two'\n", 1, 17),
        ('a: "\\u4e00 \\" two"\n', 1, 15),
        ("a: one\n  x\n  two\n", 3, 3),
        ('a: "one\n  x two"\n', 2, 5),
        ("a: |\n  one\n  x two\n", 3, 5),
        ("a: >-\n  one\n\n  two\n", 4, 3),
        ("a: 中文 two\n", 1, 7),
    ],
)
def test_places_inside_a_text(text: str, line: int, column: int) -> None:
    file, root = composed(text)
    node = root.entries["a"].value
    assert isinstance(node, ScalarNode)
    at = node.text.index("two")
    assert inside(file, node, at, at + 3) == (line, column, 3)


def problems(data: bytes) -> list[tuple[str, int, int]]:
    file = File("f.yaml")
    compose(file, data)
    return [(p.code, p.place.line, p.place.column) for p in file.problems]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a: *x\n", ("E106", 1, 4)),
        (b"a: &x 1\n", ("E106", 1, 4)),
        (b"<<: {a: 1}\n", ("E106", 1, 1)),
        (b"a: !!str 1\n", ("E107", 1, 4)),
        (b"a: !x 1\n", ("E107", 1, 4)),
        (b"a: ! 1\n", ("E107", 1, 4)),
        (b"a: 1\n--- \nb: 1\n", ("E108", 2, 1)),
        (b"{a: 1, a: 2}\n", ("E110", 1, 8)),
        (b"a:\n  b: 1\n  c: 1\n  b: 2\n", ("E110", 4, 3)),
        (b"a: [1\n", ("E100", 2, 1)),
        (b"a: b: c\n", ("E100", 1, 5)),
        (b"a: \xff\n", ("E102", 1, 4)),
        (b"\xff\xfea\x00", ("E102", 1, 1)),
        (b"a: \x00\n", ("E102", 1, 4)),
        (b"a: \x1b[31m\n", ("E102", 1, 4)),
        (b"a:\n\t- 1\n", ("E105", 2, 1)),
        (b"? {a: 1}\n: 2\n", ("E113", 1, 3)),
        (b"a: 9999999999999999999\n", ("E118", 1, 4)),
        (b"a: 1e999\n", ("E118", 1, 4)),
    ],
)
def test_what_is_not_taken(data: bytes, found: tuple[str, int, int]) -> None:
    assert problems(data) == [found]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert problems(b"\xef\xbb\xbfa: 1\n") == []


def test_a_quoted_merge_sign_is_a_plain_key() -> None:
    assert problems(b'"<<": 1\n') == []


def test_lines_end_in_either_way() -> None:
    file, root = composed("a: 1\r\nb: x two\r\n")
    node: Node = root.entries["b"].value
    assert isinstance(node, ScalarNode)
    assert node.text == "x two"
    assert inside(file, node, 2, 5) == (2, 6, 3)
    assert file.line(2) == "b: x two"
