"""A mistake in a file somebody wrote: where it is, what it is, how to mend it. As text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "advice"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """1-based line and column in a file."""

    file: str
    line: int = 1
    column: int = 1
    length: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding. `path` is the chain of places inside the file, outermost first; `snippet` is the line itself."""

    place: Place
    code: str
    message: str
    hint: str | None = None
    path: tuple[str, ...] = ()
    snippet: str | None = None
    severity: Severity = "error"

    def text(self) -> str:
        """As the author sees it: place, code, message, the line with a caret, the chain of places, the hint."""
        at = self.place
        lines = [f"{at.file}:{at.line}:{at.column}: {self.code} {self.message}"]
        if self.snippet is not None:
            number = f"{at.line:>3}"
            lines.append(f"{number} | {self.snippet}")
            room = max(1, min(at.length, len(self.snippet) - at.column + 1))
            lines.append(f"{' ' * len(number)} | {caret_indent(self.snippet, at.column)}{'^' * room}")
        if self.path:
            lines.append("  in " + " > ".join(self.path))
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def data(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "path": list(self.path),
        }


def caret_indent(line: str, column: int) -> str:
    """Spaces up to `column`, as wide as a terminal draws what stands before it (CJK is two wide, tabs kept)."""
    before = line[: column - 1]
    return "".join("\t" if c == "\t" else "  " if c >= "\u1100" else " " for c in before)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sorted by place, so that two runs print the same."""
    return sorted(problems, key=lambda p: (p.place, p.code, p.message))


def failed(problems: Sequence[Problem]) -> bool:
    """True where an error is among them; advice alone is fine."""
    return any(p.severity == "error" for p in problems)
