"""Every problem code: a file that has it, and every word its author then reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from models.problems import Problem, failed
from rules.language.codes import CODES
from rules.language.findings import MAX_PROBLEMS
from rules.language.load import MAX_RULES, SourceFile, load_rules, read_sources
from rules.language.source import MAX_BYTES
from tests.rules.language.world import CONTEXT, HEAD, HERE, rule_text

BAD = HERE / "bad"
LANGUAGE = Path(__file__).parents[3] / "rules" / "language"
MANY = HEAD + "".join(rule_text(id=f"r{n}") for n in range(MAX_RULES + 1))
MADE: dict[str, Callable[[], list[SourceFile]]] = {
    "E101": lambda: read_sources([BAD / "not-there.yaml"]),
    "E103": lambda: [SourceFile("E103.bad.yaml", b"version: 1 #" + b" " * MAX_BYTES)],
    "E129": lambda: [SourceFile("rules/empty", b"", nothing=True)],
    "E317": lambda: [SourceFile("E317.bad.yaml", MANY.encode())],
    "E109": lambda: [SourceFile("E109.bad.yaml", "".join(f"key{n}: 1\n" for n in range(MAX_PROBLEMS + 5)).encode())],
}
"""Codes whose file is none, or too long to keep."""
TOLD = {
    "E324": replace(CONTEXT, years=(2026, 2027)),
    "W502": replace(CONTEXT, today=date(2026, 6, 1)),
    "W503": replace(CONTEXT, today=date(2026, 6, 1)),
    "W701": replace(CONTEXT, tests=("other_test.yaml",)),
}
"""What a code needs to be told of the world."""


def problems_of(code: str) -> list[Problem]:
    if code in MADE:
        return load_rules(MADE[code](), CONTEXT)[1]
    files = sorted(BAD.glob(f"{code}.bad*.yaml"))
    return load_rules([SourceFile(file.name, file.read_bytes()) for file in files], TOLD.get(code, CONTEXT))[1]


@pytest.mark.parametrize("code", CODES)
def test_each_code_says_where_what_and_how_to_mend_it(code: str) -> None:
    problems = problems_of(code)
    shown = "\n".join(problem.text() for problem in (problems[-1:] if code == "E109" else problems)) + "\n"
    assert shown.replace(str(BAD), "bad") == (BAD / f"{code}.txt").read_text(encoding="utf-8")
    assert {problem.code for problem in problems} - ({"E111", "E112"} if code == "E109" else set()) == {code}
    assert failed(problems) == code.startswith("E")


def test_no_code_is_used_that_the_catalogue_lacks() -> None:
    used = {code for file in LANGUAGE.glob("*.py") for code in re.findall(r'"([EW]\d{3})"', file.read_text("utf-8"))}
    assert used == set(CODES)


def test_the_catalogue_is_complete_in_both_languages() -> None:
    for code, entry in CODES.items():
        assert entry.title, code
        assert re.search(r"[\u4e00-\u9fff]", entry.zh), code
        assert entry.explanation.endswith("."), code


def test_all_problems_of_all_files_come_in_one_run_in_order() -> None:
    first = SourceFile("a.yaml", b"version: 1\nrulez: []\nlists: 3\n")
    second = SourceFile("b.yaml", (HEAD + "  - {id: x}\n").encode())
    _, problems = load_rules([second, first], CONTEXT)
    begun = [(p.place.file, p.place.line, p.code) for p in problems][:2]
    assert begun == [("a.yaml", 2, "E111"), ("a.yaml", 3, "E113")]
    assert problems == sorted(problems, key=lambda p: p.place)
    assert {p.place.file for p in problems} == {"a.yaml", "b.yaml"}
    assert problems == load_rules([first, second], CONTEXT)[1]
