"""The problems found in one run, and what is needed to show them: the files' lines, the nearest known name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise

from models.problems import Place, Problem, Severity

MAX_PROBLEMS = 500  # of one file: nobody reads more, and a hostile file must not fill memory with them
MAX_SNIPPET = 400  # characters of a line worth showing
FEW_NAMES = 64  # so many are all compared; of more only those that share rare pairs of characters
COMMON = 500  # names with the same pair of characters: it tells nothing apart

Spot = tuple[int, int, int]
"""Line, column, length."""


class TooMany(Exception):
    """The file has as many problems as are shown; the rest of it is not checked."""


class File:
    """A file being checked: its name, its lines, its problems. The same problem twice is noted once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self._found: dict[tuple[Place, str, str], Problem] = {}

    @property
    def problems(self) -> list[Problem]:
        return list(self._found.values())

    def line(self, number: int) -> str | None:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else None

    def place(self, spot: Spot) -> Place:
        return Place(self.name, *spot)

    def add(self, code: str, message: str, spot: Spot, *, path: tuple[str, ...] = (), hint: str | None = None) -> None:
        place = self.place(spot)
        if len(self._found) >= MAX_PROBLEMS:
            ended = f"{MAX_PROBLEMS} problems up to here; the rest of the file was not checked"
            self._found.setdefault((place, "E109", ""), Problem(place=place, code="E109", message=ended))
            raise TooMany
        severity: Severity = "error" if code.startswith("E") else "warning"
        self._found.setdefault(
            (place, code, message),
            Problem(
                place=place, code=code, message=message, hint=hint, path=path, snippet=self.snippet(spot),
                severity=severity,
            ),
        )  # fmt: skip

    def snippet(self, spot: Spot) -> str | None:
        line = self.line(spot[0])
        if line is None or spot[1] > MAX_SNIPPET:
            return None
        text = line.rstrip() if len(line) <= MAX_SNIPPET else line[:MAX_SNIPPET] + " …"
        return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


def quoted(text: str) -> str:
    """Somebody's text inside a message: in quotes, on one line, not endless."""
    one_line = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return f'"{one_line}"' if len(one_line) <= 60 else f'"{one_line[:57]}…"'


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known word, or all of them where they are few."""
    names = tuple(sorted(known))
    near = nearest(word, names)
    if near is not None:
        return f'did you mean "{near}"?'
    return f"known here: {', '.join(names)}" if 0 < len(names) <= 12 else None


@lru_cache(maxsize=256)
def nearest(word: str, names: Sequence[str]) -> str | None:
    if len(word) > 80:
        return None
    found = get_close_matches(word, alike(word, names), n=1, cutoff=0.6)
    return found[0] if found else None


def alike(word: str, names: Sequence[str]) -> Sequence[str]:
    """The names worth comparing with a word."""
    if len(names) <= FEW_NAMES:
        return names
    pairs = by_pair(names)
    shared = Counter(n for pair in pairs_of(word) if len(with_pair := pairs.get(pair, [])) <= COMMON for n in with_pair)
    return [names[n] for n, _ in shared.most_common(FEW_NAMES)] or names[:FEW_NAMES]


@lru_cache(maxsize=8)
def by_pair(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        for pair in pairs_of(name):
            found.setdefault(pair, []).append(number)
    return found


def pairs_of(word: str) -> list[str]:
    """Each pair of neighbouring characters once, in order."""
    return list(dict.fromkeys(a + b for a, b in pairwise(word)))
