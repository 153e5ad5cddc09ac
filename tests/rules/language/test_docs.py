"""What the reference says is what is built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.streams import DETECTOR_TOPICS, STATES
from rules.language import schema
from rules.language.calendars import DAY_WORDS
from rules.language.clauses import Keys
from rules.language.codes import CODES
from rules.language.functions import NAMES
from rules.language.load import Context
from rules.language.messages import EXTRA, FILTERS
from tests.rules.language.world import CONTEXT, HERE, load

DOCS = Path(__file__).parents[3] / "docs"
RULES = (DOCS / "rules.md").read_text(encoding="utf-8")
PROBLEMS = (DOCS / "problems.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", RULES, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example: str) -> None:
    bundle, problems = load(example, Context(holidays=CONTEXT.holidays))
    assert bundle is not None, "\n".join(p.text() for p in problems)
    assert problems == []


def test_every_key_function_filter_and_stream_is_in_the_reference() -> None:
    clauses = [keys for keys in vars(schema).values() if isinstance(keys, Keys)]
    keys = {key for clause in clauses for key in clause.known}
    for word in (*keys, *NAMES, *FILTERS, *EXTRA, *DETECTOR_TOPICS, STATES, *DAY_WORDS[7:]):
        assert re.search(rf"\b{re.escape(word)}\b", RULES), word


def test_every_code_has_its_section() -> None:
    sections = re.findall(r"^## ([EW]\d{3})$", PROBLEMS, re.MULTILINE)
    assert sections == list(CODES)
    for code, entry in CODES.items():
        section = PROBLEMS.split(f"\n## {code}\n")[1].split("\n## ")[0]
        assert entry.title in section.lower() or entry.title in section, code
        assert entry.zh in section
        assert entry.explanation in section
        shown = re.findall(r"```text\n(.*?)\n```", section, re.DOTALL)[0]
        assert shown in (HERE / "bad" / f"{code}.txt").read_text(encoding="utf-8"), code
