"""Reading mappings key by key, with a problem at the right place for whatever does not fit.

A reader that finds something wrong notes it and gives the default, so that one run shows every mistake; what is read
counts only when no error was noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rules.language import units
from rules.language.checking import Finding, Names
from rules.language.expressions import Checked, read_expression
from rules.language.findings import File, did_you_mean, quoted
from rules.language.source import QUOTE, Entry, ListNode, MapNode, Node, ScalarNode, inside, span

T = TypeVar("T")
IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
EXPRESSION_KEYS = ("where", "when", "open_when", "close_when")


@dataclass(frozen=True, slots=True)
class Keys:
    """The closed set of keys of one clause. `required`: must be there."""

    known: tuple[str, ...]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Here:
    """A node of a file and the chain of places that leads to it."""

    file: File
    node: Node
    path: tuple[str, ...] = ()

    def at(self, node: Node, *path: str) -> Here:
        return Here(self.file, node, (*self.path, *path))

    def problem(self, code: str, message: str, hint: str | None = None) -> None:
        self.file.add(code, message, span(self.node), path=self.path, hint=hint)

    def problem_inside(self, code: str, message: str, part: tuple[int, int], hint: str | None = None) -> None:
        """A problem with some characters of a text."""
        if isinstance(self.node, ScalarNode):
            spot = inside(self.file, self.node, part[0], max(part[1], part[0] + 1))
            self.file.add(code, message, spot, path=self.path, hint=hint)
        else:
            self.problem(code, message, hint)


Params = Mapping[str, Here]


@dataclass(frozen=True, slots=True)
class Clause:
    """A mapping whose keys are a closed set. Of something else than a mapping nothing is found in it."""

    here: Here
    keys: Keys
    params: Params | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, here: Here, keys: Keys, params: Params | None = None) -> Clause:
        """Checks the keys."""
        node = here.node
        if not isinstance(node, MapNode):
            here.problem("E113", f"{last(here)} must be a mapping of keys, not {shown(node)}")
            return cls(here, keys, params)
        clause = cls(here, keys, params, node.entries)
        clause.check_keys(node)
        return clause

    def check_keys(self, node: MapNode) -> None:
        before: str | None = None
        for name, (key, value) in node.entries.items():
            if name not in self.keys.known:
                hint = did_you_mean(name, self.keys.known)
                if node.flow and before in EXPRESSION_KEYS and is_nothing(value):
                    hint = QUOTE
                if "：" in name:
                    hint = 'the colon is full-width: write ":" and a space'
                self.here.at(key).problem("E111", f"unknown key {quoted(name)} would be ignored", hint)
            before = name
        for name in self.keys.required:
            if name not in node.entries:
                self.missing(name)

    def missing(self, name: str) -> None:
        self.here.problem("E112", f'{last(self.here)} needs the key "{name}"')

    def has(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> Here | None:
        entry = self.entries.get(key)
        return None if entry is None else self.here.at(entry.value, key)

    # -- words and numbers ---------------------------------------------------------------------------------------------

    def text(self, key: str, default: T) -> str | T:
        here = self.get(key)
        if here is None:
            return default
        text = text_of(here, f'"{key}"')
        return default if text is None else text

    def name(self, key: str, default: T) -> str | T:
        text = self.text(key, None)
        if text is None:
            return default
        here = self.get(key)
        assert here is not None
        check_name(here, text)
        return text

    def choice(self, key: str, options: Sequence[str], default: T) -> str | T:
        text = self.text(key, None)
        if text is None:
            return default
        if text not in options:
            here = self.get(key)
            assert here is not None
            hint = did_you_mean(text, options)
            here.problem("E114", f'"{key}" is {quoted(text)}; it takes {either(options)}', hint)
            return default
        return text

    def flag(self, key: str, default: bool) -> bool:
        here = self.get(key)
        if here is None:
            return default
        if isinstance(here.node, ScalarNode) and isinstance(here.node.value, bool):
            return here.node.value
        here.problem("E113", f'"{key}" must be true or false, not {shown(here.node)}')
        return default

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        here = self.quantity(key)
        if here is None:
            return default
        value = here.node.value if isinstance(here.node, ScalarNode) else None
        if not isinstance(value, int) or isinstance(value, bool):
            here.problem("E113", f'"{key}" must be a whole number, not {shown(here.node)}')
            return default
        if not least <= value <= most:
            here.problem("E114", f'"{key}" is {value}; it takes {least} to {most}')
            return default
        return value

    # -- quantities ----------------------------------------------------------------------------------------------------

    def quantity(self, key: str) -> Here | None:
        """The value; where it is `$name`, the param's value at the param's place."""
        here = self.get(key)
        if here is None or not isinstance(here.node, ScalarNode) or not here.node.text.startswith("$"):
            return here
        name = here.node.text[1:]
        if self.params is None:
            here.problem("E206", f'"${name}" cannot be used here: overrides change detect, stages and close only')
            return None
        if name not in self.params:
            here.problem("E206", f"param {quoted(name)} is not defined", did_you_mean(name, self.params))
            return None
        return self.params[name]

    def duration(self, key: str, default: T, *, positive: bool = False) -> int | T:
        here = self.quantity(key)
        if here is None:
            return default
        text = here.node.text if isinstance(here.node, ScalarNode) else ""
        micros = units.duration_us(text)
        if micros is None:
            hint = f'did you mean "{text}s"?' if text.isdigit() else None
            here.problem("E115", f'"{key}" must be a duration such as 90s, 3m or 2h, not {shown(here.node)}', hint)
            return default
        if positive and micros == 0:
            here.problem("E301", f'"{key}" is {text}: it must be longer than nothing')
            return default
        return micros

    def length(self, key: str, default: T) -> float | T:
        here = self.quantity(key)
        if here is None:
            return default
        text = here.node.text if isinstance(here.node, ScalarNode) else ""
        metres = units.length_m(text)
        if metres is None:
            hint = f'did you mean "{text}m"?' if text.isdigit() else None
            here.problem("E116", f'"{key}" must be a length such as 12m or 1.5km, not {shown(here.node)}', hint)
            return default
        return metres

    def share(self, key: str, default: float) -> float:
        here = self.quantity(key)
        if here is None:
            return default
        text = here.node.text if isinstance(here.node, ScalarNode) else ""
        found = units.share(text)
        if found is None:
            hint = f'did you mean "{text}%"?' if text.isdigit() else None
            here.problem("E117", f'"{key}" must be a percentage such as 80%, not {shown(here.node)}', hint)
            return default
        return found

    def number(self, key: str, default: T, least: float, most: float) -> float | T:
        """A plain number between two limits, both included."""
        here = self.quantity(key)
        if here is None:
            return default
        value = here.node.value if isinstance(here.node, ScalarNode) else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            here.problem("E113", f'"{key}" must be a number, not {shown(here.node)}')
            return default
        if not least <= value <= most:
            here.problem("E114", f'"{key}" is {value:g}; it takes {least:g} to {most:g}')
            return default
        return float(value)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def items(self, key: str) -> list[Here]:
        """The items of a list, each with its number in the chain of places."""
        here = self.get(key)
        if here is None:
            return []
        if not isinstance(here.node, ListNode):
            here.problem("E113", f'"{key}" must be a list, not {shown(here.node)}', as_list(here.node))
            return []
        return [here.at(item) for item in here.node.items]

    def texts(self, key: str) -> list[tuple[Here, str]]:
        """The items of a list of texts."""
        found = [(item, text_of(item, f'an item of "{key}"')) for item in self.items(key)]
        return [(item, text) for item, text in found if text is not None]

    def one_or_more(self, key: str) -> list[tuple[Here, str]]:
        """One text, or a list of texts."""
        here = self.get(key)
        if here is None or not isinstance(here.node, ScalarNode):
            return self.texts(key)
        text = text_of(here, f'"{key}"')
        return [] if text is None else [(here, text)]

    def clause(self, key: str, keys: Keys) -> Clause | None:
        here = self.get(key)
        return None if here is None else Clause.read(here, keys, self.params)

    def clauses(self, key: str, keys: Keys) -> Iterator[Clause]:
        for number, item in enumerate(self.items(key), 1):
            yield Clause.read(Here(item.file, item.node, (*self.here.path, f"{key} #{number}")), keys, self.params)

    def expression(self, key: str, names: Names | None) -> Checked | None:
        """A condition; without names (the stream is unknown) nothing of it is checked."""
        here = self.get(key)
        if here is None:
            return None
        text = text_of(here, f'"{key}"', "an expression")
        if text is None or names is None:
            return None
        found, findings = read_expression(text, names)
        note(here, findings)
        return found


def written_params(clause: Clause) -> dict[str, str | None]:
    """Params as an expression may use them: what is written."""
    return {name: scalar_text(here) for name, here in (clause.params or {}).items()}


def scalar_text(here: Here) -> str | None:
    return here.node.text if isinstance(here.node, ScalarNode) else None


def note(here: Here, findings: Iterable[Finding]) -> None:
    """What is wrong inside an expression, at its characters."""
    for finding in findings:
        hint = finding.hint
        if hint is None and finding.code == "E130" and cut_short(here):
            hint = QUOTE
        here.problem_inside(finding.code, finding.message, finding.span, hint)


def cut_short(here: Here) -> bool:
    """Whether YAML ended a plain expression before its author did: at a comma inside { } or at a comment."""
    node = here.node
    if not isinstance(node, ScalarNode) or node.style != "":
        return False
    rest = (here.file.line(node.end_line) or "")[node.end_column - 1 :].lstrip()
    return rest.startswith((",", "#"))


def text_of(here: Here, what: str, due: str = "a text") -> str | None:
    node = here.node
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return node.value
    hint = f'quote it: "{node.text}"' if isinstance(node, ScalarNode) and node.value is not None else None
    here.problem("E113", f"{what} must be {due}, not {shown(node)}", hint)
    return None


def is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def as_list(node: Node) -> str | None:
    """How to make a list of what is none: a hint."""
    if isinstance(node, MapNode):
        return 'begin each item with "- "'
    written = node.text if isinstance(node, ScalarNode) else None
    return f"write [{written}]" if written and len(written) <= 40 else None


def check_name(here: Here, text: str) -> bool:
    if IDENTIFIER.fullmatch(text):
        return True
    here.problem("E119", f"{quoted(text)} is no name: lower-case letters, digits, - and _, beginning with a letter")
    return False


def last(here: Here) -> str:
    """How a clause is called in a message."""
    name = here.path[-1] if here.path else "a rule file"
    return name if " " in name else f'"{name}"'


def shown(node: Node) -> str:
    """A value as a message quotes it."""
    match node:
        case MapNode():
            return "a mapping"
        case ListNode():
            return "a list"
        case ScalarNode(value=None):
            return "nothing"
        case ScalarNode(value=str() as text):
            return quoted(text)
        case ScalarNode():
            return node.text


def either(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
