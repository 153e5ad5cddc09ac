"""Zone patterns: globs over `kind/id`, `*` for anything within one part."""

from __future__ import annotations

from collections.abc import Iterable

MAX_PATTERN = 200  # characters


def is_pattern(text: str) -> bool:
    """Two parts, no white space, nothing that looks like a pattern of another language."""
    kind, slash, name = text.partition("/")
    fine = bool(slash and kind and name) and "/" not in name and len(text) <= MAX_PATTERN
    return fine and not any(c.isspace() or c in "?[]{}\\" for c in text)


def zone_matches(pattern: str, path: str) -> bool:
    """Whether `kind/id` fits a pattern. Linear in the length of the path for each star."""
    kind, _, name = pattern.partition("/")
    its_kind, _, its_name = path.partition("/")
    return part_matches(kind, its_kind) and part_matches(name, its_name)


def part_matches(pattern: str, text: str) -> bool:
    first, *middle = pattern.split("*")
    if not middle:
        return pattern == text
    *middle, last = middle
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


class ZoneBook:
    """The zones there are, asked many times for the same few patterns."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self.names = tuple(sorted(self.paths))
        self._by_kind: dict[str, list[str]] = {}
        self._answers: dict[str, bool] = {}
        for path in self.names:
            kind, _, name = path.partition("/")
            self._by_kind.setdefault(kind, []).append(name)

    @property
    def kinds(self) -> list[str]:
        return list(self._by_kind)

    def has(self, pattern: str) -> bool:
        """Whether at least one zone fits."""
        if "*" not in pattern:
            return pattern in self.paths
        answer = self._answers.get(pattern)
        if answer is None:
            answer = self._answers[pattern] = self.search(pattern)
        return answer

    def search(self, pattern: str) -> bool:
        kind, _, name = pattern.partition("/")
        return any(
            part_matches(name, its_name)
            for its_kind, names in self._by_kind.items()
            if part_matches(kind, its_kind)
            for its_name in names
        )


def selected(include: Iterable[str], exclude: Iterable[str], path: str) -> bool:
    """Whether a rule with these patterns watches a zone."""
    return any(zone_matches(p, path) for p in include) and not any(zone_matches(p, path) for p in exclude)
