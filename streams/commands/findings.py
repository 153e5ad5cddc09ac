"""Problems as the authors' commands print them: each in full, then one line that sums them up; or as JSON."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import orjson

from models.problems import Problem, Severity, failed, in_order

# A missing file is "could not run": nothing was checked.
CHECKED_PATH = click.Path(exists=True, path_type=Path)


def report(problems: Iterable[Problem], checked: str, *, as_json: bool, note: str | None = None) -> int:
    """Print them in order; `checked` says what was looked at. Gives the exit code: 1 with an error among them."""
    found = in_order(problems)
    if as_json:
        sys.stdout.write(orjson.dumps([p.data() for p in found], option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for problem in found:
            click.echo(problem.text() if problem.severity == "error" else f"{problem.text()}\n  ({problem.severity})")
        click.echo(f"{checked}: {_counted(found)}")
    if note is not None:
        click.echo(note, err=True)
    return 1 if failed(found) else 0


def _counted(problems: Sequence[Problem]) -> str:
    if not problems:
        return "no problems"
    counts = Counter(p.severity for p in problems)
    words: dict[Severity, str] = {"error": "errors", "warning": "warnings", "advice": "advice"}
    parts = [f"{n} {severity if n == 1 else words[severity]}" for severity in words if (n := counts[severity])]
    return ", ".join(parts)


def counted(number: int, one: str) -> str:
    """`1 zone`, `3 zones`."""
    return f"{number} {one}{'' if number == 1 else 's'}"
