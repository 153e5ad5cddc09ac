"""Runs as people and machines read them: text, JSON, JUnit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rules.testing.judging import Difference
from rules.testing.model import Plain
from rules.testing.running import Run

Results = Sequence[tuple[str, Sequence[Run]]]
"""By test file its runs."""


def text(results: Results) -> str:
    """Every difference with its place, what was expected and what there was."""
    shown = [
        f"{difference.place.file}:{difference.place.line}: {run.test.name}\n{difference_text(difference)}"
        for _, runs in results
        for run in runs
        for difference in run.differences
    ]
    return "\n".join(shown)


def difference_text(found: Difference) -> str:
    lines = [f"  at {clock(found.at_us)}, {found.what}: {found.said}"]
    if found.expected is not None:
        lines.append(f"    - 应为 expected {compact(found.expected)}")
    if found.got is not None:
        lines.append(f"    + 实为 got      {compact(found.got)}")
    return "\n".join(lines)


def clock(at_us: int) -> str:
    """`2m05s`, as test files write it."""
    seconds, below = divmod(at_us, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    tail = f"{seconds:02d}s" if minutes or hours else f"{seconds}s"
    fraction = f"{below // 1000}ms" if below else ""
    return f"{hours}h{minutes:02d}m{tail}{fraction}" if hours else f"{f'{minutes}m' if minutes else ''}{tail}{fraction}"


def compact(value: Plain) -> str:
    return json.dumps(value, ensure_ascii=False)


def data(results: Results) -> list[dict[str, object]]:
    return [
        {
            "file": name,
            "line": run.test.place.line,
            "test": run.test.name,
            "passed": run.passed,
            "differences": [difference_data(difference) for difference in run.differences],
        }
        for name, runs in results
        for run in runs
    ]


def difference_data(found: Difference) -> dict[str, object]:
    return {
        "line": found.place.line,
        "at": clock(found.at_us),
        "what": found.what,
        "said": found.said,
        "expected": found.expected,
        "got": found.got,
    }


def junit(results: Results) -> bytes:
    """One suite a file, one case a test."""
    root = Element("testsuites")
    for name, runs in results:
        failures = sum(not run.passed for run in runs)
        suite = SubElement(root, "testsuite", name=name, tests=str(len(runs)), failures=str(failures), errors="0")
        for run in runs:
            place = run.test.place
            case = SubElement(suite, "testcase", name=run.test.name, classname=name, file=name, line=str(place.line))
            if not run.passed:
                said = "\n".join(difference_text(difference) for difference in run.differences)
                failure = SubElement(case, "failure", message=printable(run.differences[0].said))
                failure.text = printable(said)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'.encode()


def printable(words: str) -> str:
    """XML has no place for control characters."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in words)
