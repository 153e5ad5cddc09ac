"""Slightly wrong rules."""

from __future__ import annotations

import json

from rules.testing.coverage import is_clause
from rules.testing.mutants import Mutant, meaning, mutants
from tests.rules.language.world import HEAD, loaded, rule_text

DATA = (HEAD + rule_text()).encode()
HOLD = """
version: 1
rules:
  - id: high
    where: metric == "level > 3" and value >= 2 or status == "ok"
    detect: {hold: {value: value, open_when: value >= 15cm, for: 90s, close_for: 0.5m}}
    stages: [{at: 2m, do: remind_owner}, {at: $case, do: open_case}]
    close: {min_coverage: 80%}
    dispatch: {never_suppress: true}
    message: {zh: "3", en: "3"}
"""


def of(path: str, text: str = HOLD) -> dict[str, Mutant]:
    """By change those of one path."""
    return {one.change: one for one in mutants("r.yaml", text.encode()) if one.path == path}


def test_a_quantity_is_a_fifth_more_and_less_and_left_out() -> None:
    assert set(of("detect.hold.for")) == {"72s", "108s", "without it"}
    assert set(of("close.min_coverage")) == {"64%", "96%", "without it"}
    assert json.loads(of("detect.hold.for")["72s"].text)["rules"][0]["detect"]["hold"]["for"] == "72s"


def test_each_comparison_each_number_and_each_part_of_a_condition_is_changed_but_no_text() -> None:
    changes = set(of("where"))
    assert '`metric != "level > 3" and value >= 2 or status == "ok"`' in changes
    assert '`metric == "level > 3" and value > 2 or status == "ok"`' in changes
    assert '`metric == "level > 3" and value >= 3 or status == "ok"`' in changes
    assert "without `value >= 2`" in changes
    assert not any("level >= 3" in change or "level > 4" in change for change in changes)


def test_a_part_left_out_takes_the_word_before_it_with_it() -> None:
    changes = {change: one for change, one in of("where").items() if change.startswith("without `")}
    assert {change: json.loads(one.text)["rules"][0]["where"] for change, one in changes.items()} == {
        'without `metric == "level > 3"`': 'value >= 2 or status == "ok"',
        "without `value >= 2`": 'metric == "level > 3" or status == "ok"',
        'without `status == "ok"`': 'metric == "level > 3" and value >= 2',
    }


def test_an_item_of_a_list_is_left_out_and_a_flag_turned() -> None:
    assert json.loads(of("stages.1")["without it"].text)["rules"][0]["stages"] == [{"at": "2m", "do": "remind_owner"}]
    assert set(of("dispatch.never_suppress")) == {"false", "without it"}


def test_a_mutant_knows_its_place() -> None:
    place = of("close.min_coverage")["64%"].place
    assert (place.file, place.line, place.column) == ("r.yaml", 8, 27)


def test_what_decides_nothing_is_left_alone() -> None:
    assert not [one for one in mutants("r.yaml", HOLD.encode()) if one.path.startswith(("message", "id", "version"))]


def test_each_is_one_change_of_the_whole_file() -> None:
    found = mutants("r.yaml", HOLD.encode())
    assert len(found) == len({one.text for one in found})
    assert len({one.name for one in found}) == len(found)


def test_a_rule_means_the_same_wherever_it_is_written_and_something_else_with_another_number() -> None:
    text = HEAD + rule_text()
    rule, moved = loaded(text).rules[0], loaded("# further down\n\n" + text).rules[0]
    assert rule != moved
    assert meaning(rule) == meaning(moved)
    others = [loaded(one.text).rules[0] for one in mutants("r.yaml", text.encode()) if loads(one.text)]
    assert others
    assert any(meaning(rule) != meaning(other) for other in others)


def loads(text: str) -> bool:
    try:
        loaded(text)
    except AssertionError:
        return False
    return True


def test_a_clause_is_a_whole_thing_left_out() -> None:
    found = {one.name for one in mutants("r.yaml", HOLD.encode()) if is_clause(one)}
    assert "stages.1: without it" in found
    assert "close.min_coverage: without it" in found
    assert "where: without it" not in found
    assert "detect.hold.for: 72s" not in found
