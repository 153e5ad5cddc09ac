"""Slightly wrong versions of a rule, each one change of its file: would the tests notice?

A mutant is the text of a whole rule file (JSON is YAML) with one number a fifth more or less, one comparison another,
or one clause left out. What does not load is none; which tests kill it is for the caller to find out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from models.problems import Place
from rules.language.clauses import EXPRESSION_KEYS
from rules.language.expressions import Checked
from rules.language.findings import File
from rules.language.schema import SEVERITIES
from rules.language.source import ListNode, MapNode, Node, ScalarNode, compose, span

Path = tuple[str | int, ...]
"""Keys and numbers of items that lead to a value, from the top of the file."""

NUMBER = re.compile(r"(?<![\w.$])\d+(?:\.\d+)?(?![\w.]*\()")
QUANTITY = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?=$|[A-Za-z%°/]+$)")
TEXTS = re.compile(r"\"[^\"]*\"|'[^']*'")
COMPARISON = re.compile(r"<=|>=|==|!=|<|>")
OTHERS = {"<": ("<=", ">"), "<=": ("<", ">="), ">": (">=", "<"), ">=": (">", "<="), "==": ("!=",), "!=": ("==",)}
CONJUNCTION = re.compile(r"\s+(and|or)\s+")
EXPRESSIONS = (*EXPRESSION_KEYS, "of")
NOT_MUTATED = ("id", "revision", "name", "owner", "status", "message", "reason", "until", "code", "as", "version")
"""They decide nothing, or what they say is not the rule's to get wrong."""
DROPPABLE = frozenset(
    {
        "exempt", "overrides", "stages", "escalate", "neighbours", "merge", "cooldown", "active", "zones", "where",
        "no_data", "flap", "suppressed_by", "close", "not_in", "edge_buffer", "absent_for", "min_coverage", "timeout",
        "when", "below", "for", "close_for", "close_when", "max_move", "max_gap", "min_points", "repeat", "at_least",
        "abeam", "behind", "each_present", "require_any", "settle", "same_zone", "radius", "window", "clear_for",
        "plan", "department", "accept_within", "resolve_within", "never_suppress", "life_safety", "calendar", "set",
        "severity", "reliability", "distinct", "confidence", "down_after", "near", "parent", "expect_every",
    }
)  # fmt: skip
"""Clauses that can be left out, and then mean something else."""
LISTS = ("exempt", "overrides", "stages", "escalate", "neighbours", "any_of", "all_of", "sources", "steps", "by",
         "suppressed_by")  # fmt: skip
"""Lists that can lose an item."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`path` names what was changed, as in `detect.dwell.for`; `change` says how; `rule` whose it is."""

    rule: str
    path: str
    change: str
    place: Place
    text: str

    @property
    def name(self) -> str:
        return f"{self.path}: {self.change}"

    @property
    def is_dropped(self) -> bool:
        return self.change.startswith("without")


@dataclass(frozen=True, slots=True)
class Change:
    """A value in place of another; `gone`: none at all."""

    path: Path
    said: str
    value: Any = None
    gone: bool = False


def mutants(name: str, data: bytes) -> list[Mutant]:
    """Of every rule of a file, in order of their places; those of macros belong to each rule that uses them."""
    file = File(name)
    root = compose(file, data)
    if not isinstance(root, MapNode) or "rules" not in root.entries:
        return []
    whole = plain(root)
    found: list[Mutant] = []
    rules = root.entries["rules"].value
    for number, node in enumerate(rules.items if isinstance(rules, ListNode) else []):
        rule = str(whole["rules"][number].get("id", ""))
        start: Path = ("rules", number)
        for change in [*changes(node, start), *shared(root, whole["rules"][number])]:
            at = node_at(root, change.path)
            shown = ".".join(str(p) for p in change.path[2 if change.path[:2] == start else 0 :])
            text = json.dumps(with_change(whole, change.path, change), ensure_ascii=False)
            found.append(Mutant(rule, shown, change.said, file.place(span(at)), text))
    return found


def shared(root: MapNode, rule: Any) -> Iterator[Change]:
    """Of the macros and calendars that a rule uses."""
    written = json.dumps(rule)
    for kind, uses in (("macros", "macros.{}"), ("calendars", '"{}"')):
        entry = root.entries.get(kind)
        for name, below in entry.value.entries.items() if entry and isinstance(entry.value, MapNode) else ():
            if uses.format(name) in written:
                if kind == "macros" and isinstance(below.value, ScalarNode):
                    yield from expression(below.value, (kind, name))
                elif kind == "calendars" and isinstance(below.value, MapNode):
                    yield from calendar(below.value, (kind, name))


def calendar(node: MapNode, path: Path) -> Iterator[Change]:
    for key in ("days", "times"):
        entry = node.entries.get(key)
        if entry is not None and isinstance(entry.value, ListNode) and len(entry.value.items) > 1:
            for number in range(len(entry.value.items)):
                yield Change((*path, key, number), "without it", gone=True)
    if "holidays" in node.entries:
        yield Change((*path, "holidays"), "without it", gone=True)


def changes(node: Node, path: Path) -> Iterator[Change]:
    """Of all that is below a node."""
    if isinstance(node, MapNode):
        for key, entry in node.entries.items():
            if key in NOT_MUTATED:
                continue
            if key in DROPPABLE:
                yield Change((*path, key), "without it", gone=True)
            yield from of_value(key, entry.value, (*path, key))
    elif isinstance(node, ListNode):
        drops = len(node.items) > 1 and path[-1] in LISTS
        for number, item in enumerate(node.items):
            if drops:
                yield Change((*path, number), "without it", gone=True)
            yield from changes(item, (*path, number))


def of_value(key: str, node: Node, path: Path) -> Iterator[Change]:
    if not isinstance(node, ScalarNode):
        yield from changes(node, path)
    elif key in EXPRESSIONS:
        yield from expression(node, path)
    elif isinstance(node.value, bool):
        yield Change(path, f"{str(not node.value).lower()}", not node.value)
    elif key == "severity" and node.text in SEVERITIES:
        other = SEVERITIES[SEVERITIES.index(node.text) - 1]
        yield Change(path, other, other)
    elif key == "kind" or isinstance(node.value, int | float) or QUANTITY.match(node.text):
        yield from numbers(node, path)


def numbers(node: ScalarNode, path: Path) -> Iterator[Change]:
    """A fifth more and less."""
    match = QUANTITY.match(node.text)
    if match is None:
        return
    unit = node.text[match.end() :]
    for written in fractions(match[0]) if unit else fifths(match[0]):
        text = written + unit
        value = json.loads(text) if isinstance(node.value, int | float) else text
        yield Change(path, text, value)


def fractions(number: str) -> list[str]:
    return [f"{float(number) * factor:.6g}" for factor in (0.8, 1.2)]


def fifths(number: str) -> list[str]:
    """Whole numbers stay whole and change at least by one."""
    if "." in number:
        return fractions(number)
    value = int(number)
    step = max(1, round(abs(value) / 5))
    return [str(value - step), str(value + step)]


def expression(node: ScalarNode, path: Path) -> Iterator[Change]:
    """Of a condition: each number, each comparison, each part of a conjunction left out."""
    text = str(node.text)
    quoted = [match.span() for match in TEXTS.finditer(text)]

    def free(match: re.Match[str]) -> bool:
        return not any(start <= match.start() < end for start, end in quoted)

    for match in filter(free, NUMBER.finditer(text)):
        for written in fifths(match[0]):
            yield replaced(path, text, match.span(), written)
    for match in filter(free, COMPARISON.finditer(text)):
        for written in OTHERS[match[0]]:
            yield replaced(path, text, match.span(), written)
    joints = [match for match in CONJUNCTION.finditer(text) if free(match)]
    if joints and "(" not in CALLS.sub("", text):
        yield from shortened(path, text, joints)


CALLS = re.compile(r"\w+\([^()]*\)|\bin\s*\([^()]*\)")


def shortened(path: Path, text: str, joints: Sequence[re.Match[str]]) -> Iterator[Change]:
    starts = [0, *(joint.end() for joint in joints)]
    ends = [*(joint.start() for joint in joints), len(text)]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        left = text[: joints[number - 1].start()] + text[end:] if number else text[starts[1] :]
        yield Change(path, f"without `{text[start:end]}`", left)


def replaced(path: Path, text: str, spot: tuple[int, int], written: str) -> Change:
    new = text[: spot[0]] + written + text[spot[1] :]
    return Change(path, f"`{new}`", new)


def meaning(value: object) -> object:
    """Of a checked rule what it does, comparable: a mutant with the same meaning is none. Places are left out."""
    if isinstance(value, Checked):
        return value.canonical
    if isinstance(value, tuple | list):
        return [meaning(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type | Place):
        return [meaning(getattr(value, field.name)) for field in fields(value) if not field.name.startswith("_")]
    return None if isinstance(value, Place) else repr(value)


# -- the whole file with one change ------------------------------------------------------------------------------------


def plain(node: Node) -> Any:
    match node:
        case MapNode(entries=found):
            return {key: plain(entry.value) for key, entry in found.items()}
        case ListNode(items=items):
            return [plain(item) for item in items]
        case ScalarNode(value=value):
            return value


def with_change(value: Any, path: Path, change: Change) -> Any:
    """A copy along the path; the rest is shared."""
    head: Any = path[0]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if path[1:]:
        copy[head] = with_change(value[head], path[1:], change)
    elif change.gone:
        del copy[head]
    else:
        copy[head] = change.value
    return copy


def node_at(node: Node, path: Path) -> Node:
    for step in path:
        if isinstance(node, MapNode):
            node = node.entries[str(step)].value
        elif isinstance(node, ListNode):
            node = node.items[int(step)]
    return node
