"""YAML text → nodes that remember where they stand. Our own typing of plain words; no anchors, aliases, tags.

Knows nothing of rules. libyaml scans; what its events mean is decided here: only true, false, null, decimal integers
and floats are anything but text, so 22:30 stays text, NO stays text, and 0505 stays text (a leading zero is a code).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from rules.language.findings import File

MAX_BYTES = 2_000_000  # a thousand long rules have half of it
MAX_DEPTH = 40  # the language itself needs nine
MAX_NODES = 200_000  # keys and items of one file; a thousand long rules have fifty thousand
MAX_DIGITS = 18  # what float64 and int64 can still mean
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FRACTION = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "": None}
EXPRESSION_KEY = re.compile(r"\b(where|when|open_when|close_when)\s*:")
SHARE = "use lists, macros or params"
QUOTE = "quote this expression with '…'"


@dataclass(slots=True, eq=False)
class ScalarNode:
    """A word: its typed value, its text, and its style ('' plain, ' " quoted, | > block). Lines, columns from 1."""

    line: int
    column: int
    end_line: int
    end_column: int
    value: str | int | float | bool | None
    text: str
    style: str


@dataclass(slots=True, eq=False)
class ListNode:
    line: int
    column: int
    end_line: int
    end_column: int
    items: list[Node]


class Entry(NamedTuple):
    key: ScalarNode
    value: Node


@dataclass(slots=True, eq=False)
class MapNode:
    """`flow`: written with { }."""

    line: int
    column: int
    end_line: int
    end_column: int
    entries: dict[str, Entry]
    flow: bool


Node = ScalarNode | ListNode | MapNode


class Refused(Exception):
    """The document ends here; the problem is already noted."""


def compose(file: File, data: bytes) -> Node | None:
    """The one document of a file, or None with the problems noted in `file`. An empty file is None too."""
    try:
        text = decode(file, data)
        composer = Composer(file, text)
        return composer.document()
    except Refused:
        return None


def decode(file: File, data: bytes) -> str:
    """The text; fills the file's lines for later snippets."""
    if len(data) > MAX_BYTES:
        file.add("E103", f"the file has {len(data)} bytes, {MAX_BYTES} are allowed", (1, 1, 1))
        raise Refused
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        before = data[: why.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        file.add("E102", f"byte 0x{data[why.start]:02x} is not UTF-8, so the file cannot be read", (line, column, 1))
        raise Refused from None
    file.lines = text.replace("\r\n", "\n").split("\n")
    tab = text.find("\t")
    if tab >= 0:
        line = text.count("\n", 0, tab) + 1
        column = tab - text.rfind("\n", 0, tab)
        file.add("E105", "a tab stands here; it looks like spaces and is not", (line, column, 1), hint="use spaces")
        raise Refused
    return text


class Composer:
    """Events → nodes, refusing what the language does not have."""

    def __init__(self, file: File, text: str) -> None:
        self.file = file
        self.text = text
        self.events = self.scan(text)
        self.nodes = 0

    def scan(self, text: str) -> Iterator[yaml.Event]:
        try:
            get_event = yaml.CLoader(text).get_event
            while (event := get_event()) is not None:
                yield event
        except yaml.reader.ReaderError as why:
            before = text.encode()[: why.position].decode("utf-8", "ignore")
            at = (before.count("\n") + 1, len(before) - before.rfind("\n"), 1)
            self.file.add("E102", f"character {char_name(why.character)} is not allowed in a rule file", at)
            raise Refused from None
        except yaml.MarkedYAMLError as why:
            self.syntax_problem(why)
            raise Refused from None

    def syntax_problem(self, why: yaml.MarkedYAMLError) -> None:
        mark = why.problem_mark or why.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        written = self.file.line(line) or ""
        hint = QUOTE if EXPRESSION_KEY.search(written) else None
        about = f" ({why.context})" if why.context else ""
        self.file.add("E100", f"not YAML: {why.problem}{about}", (line, column, 1), hint=hint)

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.refuse("E108", "a second document begins here; only one is read", event)
            elif isinstance(event, yaml.NodeEvent):
                root = self.node(event, 1)
        if isinstance(root, ScalarNode) and root.text == "" and root.style == "":
            return None
        return root

    def node(self, event: yaml.Event, depth: int) -> Node:
        if type(event) is yaml.ScalarEvent and event.anchor is None and event.tag is None:
            return self.scalar(event)
        if isinstance(event, yaml.AliasEvent):
            self.refuse("E106", f'alias "*{event.anchor}": aliases are not allowed', event, SHARE)
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            self.refuse("E106", f'anchor "&{event.anchor}": anchors are not allowed', event, SHARE)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse("E107", f'tag "{tag}": tags are not allowed', event, "quote the value to make it text")
        if depth > MAX_DEPTH:
            self.refuse("E104", f"nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(event, depth)
        return self.mapping(event, depth)

    def count(self, event: yaml.Event) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.refuse("E103", f"the file has more than {MAX_NODES} entries", event, "write several files")

    def sequence(self, start: yaml.Event, depth: int) -> ListNode:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            self.count(event)
            items.append(self.node(event, depth + 1))
        return ListNode(*begin(start), *end(event), items)

    def mapping(self, start: yaml.Event, depth: int) -> MapNode:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.count(event)
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, ScalarNode):
                self.file.add("E113", "a key must be one word, not a list or mapping", (key.line, key.column, 1))
            elif key.text == "<<" and key.style == "":
                self.refuse("E106", 'merge key "<<": merging is not allowed', event, SHARE)
            elif key.text in entries:
                first_key = entries[key.text].key
                at = f"first at {first_key.line}:{first_key.column}"
                self.file.add("E110", f'key "{key.text}" is repeated ({at}); one of the two would be lost', span(key))
            else:
                entries[key.text] = Entry(key, value)
        return MapNode(*begin(start), *end(event), entries, bool(getattr(start, "flow_style", False)))

    def scalar(self, event: yaml.ScalarEvent) -> ScalarNode:
        first: Any = event.start_mark
        last: Any = event.end_mark
        text, style = event.value, event.style or ""
        node = ScalarNode(first.line + 1, first.column + 1, last.line + 1, last.column + 1, text, text, style)
        if style == "":
            if text in WORDS:
                node.value = WORDS[text]
            elif text[0] in "0123456789+-.":
                node.value = self.number(node)
        return node

    def number(self, node: ScalarNode) -> str | int | float:
        """A number where the text is one, else the text. Where it is out of range 1 stands in, which offends least."""
        text = node.text
        if WHOLE.fullmatch(text):
            if len(text) > MAX_DIGITS:
                shown = text if len(text) < 24 else text[:20] + "…"
                self.file.add("E118", f"number {shown} has {len(text)} digits, {MAX_DIGITS} are allowed", span(node))
                return 1
            return int(text)
        if FRACTION.fullmatch(text):
            number = float(text) if len(text) <= 40 else math.inf
            if not math.isfinite(number):
                self.file.add("E118", f"number {text[:24]} is out of range", span(node))
                return 1.0
            return number
        return text

    def refuse(self, code: str, message: str, event: yaml.Event, hint: str | None = None) -> None:
        (line, column), (last_line, last_column) = begin(event), end(event)
        length = max(1, last_column - column) if last_line == line else 1
        self.file.add(code, message, (line, column, length), hint=hint)
        raise Refused


def begin(event: yaml.Event) -> tuple[int, int]:
    """Line and column, from 1, of an event's first character."""
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1


def end(event: yaml.Event) -> tuple[int, int]:
    """Line and column after its last character."""
    mark: Any = event.end_mark
    return mark.line + 1, mark.column + 1


def char_name(character: object) -> str:
    code = character if isinstance(character, int) else ord(str(character)[0])
    return f"U+{code:04X}"


def span(node: Node) -> tuple[int, int, int]:
    """Line, column and length on that line; a node over several lines is shown by its first character."""
    length = node.end_column - node.column if node.end_line == node.line else 1
    return node.line, node.column, max(1, length)


# -- places inside a scalar ------------------------------------------------------------------------------------------

ESCAPES = {"x": 2, "u": 4, "U": 8}


def inside(file: File, node: ScalarNode, start: int, stop: int) -> tuple[int, int, int]:
    """Where characters `start` to `stop` of a scalar's text stand in the file.

    Folding changes nothing but white space, so the characters that are none of it are counted in both.
    """
    places = list(written(file, node))
    if not places:
        return span(node)
    solid = [i for i, c in enumerate(node.text) if not c.isspace()]
    first = min(bisect_right(solid, start - 1), len(places))
    if first == len(places):
        line, column = places[-1][0], places[-1][1] + 1
        return line, column, 1
    last = max(first, min(bisect_right(solid, stop - 1), len(places)) - 1)
    line, column = places[first]
    return line, column, max(1, places[last][1] - column + 1) if places[last][0] == line else 1


def written(file: File, node: ScalarNode) -> Iterator[tuple[int, int]]:
    """The place of each character of a scalar that is no white space, as the file has it."""
    line, column, quoted = node.line, node.column, node.style in ("'", '"')
    if node.style in ("|", ">"):
        line, column = line + 1, 1
    elif quoted:
        column += 1
    beyond = (node.end_line, node.end_column - (1 if quoted else 0))
    while (line, column) < beyond:
        text = file.line(line) or ""
        if column > len(text):
            line, column = line + 1, 1
            continue
        width = character_width(text, column - 1, node.style)
        if not text[column - 1].isspace():
            yield line, column
        column += width


def character_width(text: str, at: int, style: str) -> int:
    """How many written characters stand for one: doubled quotes and escapes."""
    if style == "'" and text[at] == "'":
        return 2
    if style == '"' and text[at] == "\\" and at + 1 < len(text):
        return 2 + ESCAPES.get(text[at + 1], 0)
    return 1
