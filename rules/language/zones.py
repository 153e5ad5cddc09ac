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


def selected(include: Iterable[str], exclude: Iterable[str], path: str) -> bool:
    """Whether a rule with these patterns watches a zone."""
    return any(zone_matches(p, path) for p in include) and not any(zone_matches(p, path) for p in exclude)
