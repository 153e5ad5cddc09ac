"""Warnings that somebody accepts: `# lint: allow W401 until 2026-12-31 -- reason`, on their line or alone above it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from models.problems import Problem
from rules.language.findings import File, TooMany

MARK = re.compile(r"(?:^|\s)(#\s*lint:.*)$")
FORM = re.compile(
    r"#\s*lint:\s*allow\s+([A-Z]\d{3}(?:\s*,\s*[A-Z]\d{3})*)\s+until\s+(\d{4}-\d{2}-\d{2})\s+(?:--|—)\s*(\S.*)"
)
SHAPE = "# lint: allow W401 until 2026-12-31 -- reason"


@dataclass(frozen=True, slots=True)
class Waiver:
    """`codes` are accepted on `line` until the end of a day."""

    line: int
    codes: frozenset[str]
    until: date


def without_waived(file: File, today: date | None) -> list[Problem]:
    """The file's problems that nobody has accepted. A waiver that cannot be read is a problem of its own."""
    if not any("lint:" in line for line in file.lines):
        return file.problems
    with suppress(TooMany):
        accepted = {(w.line, code) for w in read_waivers(file, today) for code in w.codes}
        return [p for p in file.problems if (p.place.line, p.code) not in accepted]
    return file.problems


def read_waivers(file: File, today: date | None) -> Iterable[Waiver]:
    """Those that still hold."""
    for number, line in enumerate(file.lines, 1):
        found = MARK.search(line)
        if found is not None:
            spot = (number, found.start(1) + 1, len(found[1]))
            alone = line.lstrip().startswith("#")
            yield from read_waiver(file, found[1], spot, number + alone, today)


def read_waiver(file: File, text: str, spot: tuple[int, int, int], line: int, today: date | None) -> Iterator[Waiver]:
    found = FORM.fullmatch(text.strip())
    until = None if found is None else day_of(found[2])
    if found is None or until is None:
        file.add("E128", "this waiver cannot be read, so it accepts nothing", spot, hint=f"write {SHAPE}")
        return
    codes = frozenset(re.split(r"\s*,\s*", found[1]))
    errors = sorted(code for code in codes if not code.startswith("W"))
    if errors:
        file.add("E128", f"{errors[0]} is an error: only a warning can be accepted", spot, hint="mend it")
    elif today is not None and today > until:
        file.add("W503", f"the waiver ended with {until}: what it accepted is reported again", spot)
    else:
        yield Waiver(line, codes, until)


def day_of(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
