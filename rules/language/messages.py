"""Message templates: `{path|filter|filter}`, `{{` and `}}` for braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rules.language.typed import Kind

MAX_TEMPLATE = 1000  # characters: a message is read at a glance
PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
FILTERS: dict[str, tuple[Kind | Literal["list"], ...]] = {
    "round": ("number", "mixed"),
    "minutes": ("number",),
    "seconds": ("number",),
    "hours": ("number",),
    "level_name": ("number",),
    "count": ("list",),
    "mask": ("text",),
    "upper": ("text",),
    "lower": ("text",),
}
"""What each filter takes. `minutes`, `seconds`, `hours` take seconds; `count` takes a list of sources."""
EXTRA: dict[str, tuple[Kind | Literal["list"], str | None, str | None]] = {
    "zone.name": ("text", None, "zones"),
    "device.owner": ("text", None, "device_id"),
    "segment.name": ("text", None, "segment_id"),
    "place": ("text", None, None),
    "held": ("number", "s", None),
    "value": ("mixed", None, None),
    "sources": ("list", None, "joins"),
}
"""Known in every message beside the stream's fields: kind, unit, and what must be there: zones, joins, a field."""
Part = str | tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Holder:
    """One place-holder and where it stands in the template."""

    path: str
    filters: tuple[str, ...]
    start: int
    end: int


class BadTemplate(Exception):
    """The template cannot be read, from `start` to `end`."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message, self.start, self.end = message, start, end


def parse_template(text: str) -> list[str | Holder]:
    """Literal texts and place-holders, in order. Raises BadTemplate."""
    if len(text) > MAX_TEMPLATE:
        raise BadTemplate(f"the template has {len(text)} characters, {MAX_TEMPLATE} are allowed", 0, 1)
    found: list[str | Holder] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith(("{{", "}}"), at):
            literal.append(text[at])
            at += 2
        elif text[at] == "{":
            if literal:
                found.append("".join(literal))
                literal = []
            holder = place_holder(text, at)
            found.append(holder)
            at = holder.end
        elif text[at] == "}":
            raise BadTemplate('"}" closes nothing; a brace in the text is "}}"', at, at + 1)
        else:
            literal.append(text[at])
            at += 1
    return [*found, "".join(literal)] if literal else found


def place_holder(text: str, start: int) -> Holder:
    end = text.find("}", start)
    if end < 0:
        raise BadTemplate('"{" is never closed; a brace in the text is "{{"', start, len(text))
    path, *filters = (part.strip() for part in text[start + 1 : end].split("|"))
    if not PATH.fullmatch(path):
        raise BadTemplate(f'"{text[start : end + 1]}" names no field', start, end + 1)
    return Holder(path, tuple(filters), start, end + 1)


def parts(template: list[str | Holder]) -> tuple[Part, ...]:
    return tuple(p if isinstance(p, str) else (p.path, p.filters) for p in template)
