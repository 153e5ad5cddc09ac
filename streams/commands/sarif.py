"""Problems as SARIF 2.1.0, which code hosts show beside the lines."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from models.problems import Problem
from rules.language.codes import CODES

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
HELP = "docs/problems.md"
LEVELS = {"error": "error", "warning": "warning", "advice": "note"}


def sarif(problems: Sequence[Problem], version: str) -> bytes:
    """One run of one tool; each code it used is one of its rules."""
    used = sorted({problem.code for problem in problems})
    run = {
        "tool": {"driver": {"name": "zhinao", "version": version, "rules": [rule(code) for code in used]}},
        "columnKind": "unicodeCodePoints",
        "results": [result(problem, used.index(problem.code)) for problem in problems],
    }
    return orjson.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, option=orjson.OPT_INDENT_2) + b"\n"


def rule(code: str) -> dict[str, object]:
    known = CODES.get(code)
    if known is None:
        return {"id": code}
    return {
        "id": code,
        "shortDescription": {"text": f"{known.zh} / {known.title}"},
        "fullDescription": {"text": known.explanation},
        "help": {"text": f"{HELP}#{code.lower()}"},
    }


def result(problem: Problem, index: int) -> dict[str, object]:
    at = problem.place
    said = problem.message if problem.hint is None else f"{problem.message} ({problem.hint})"
    region = {"startLine": at.line, "startColumn": at.column, "endColumn": at.column + at.length}
    location = {"artifactLocation": {"uri": at.file.replace("\\", "/")}, "region": region}
    return {
        "ruleId": problem.code,
        "ruleIndex": index,
        "level": LEVELS[problem.severity],
        "message": {"text": said},
        "locations": [{"physicalLocation": location}],
    }
