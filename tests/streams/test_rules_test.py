"""`zhinao rules test`, `lint` and their reports, on the doors themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from rules.testing import coverage
from rules.testing.codes import CODES
from streams.commands.group import zhinao
from streams.rule_tests import read_suite
from streams.settings import SHIPPED_RULES, Settings
from tests.conftest import REPOSITORY

WATER = (SHIPPED_RULES / "water.yaml").read_text("utf-8")
ONE = """version: 1
tests:
  - name: high water
    streams:
      - sensor.readings: {set: {device_id: w-07, metric: water_level, unit: cm}, every: 20s, values: 20x10}
    expect:
      - {at: 2m, incidents: [{rule: ponding, state: STATE}]}
"""
BAD = {
    "E501": ONE.replace("rule: ponding", "rule: pond"),
    "E502": ONE.replace("sensor.readings", "sensor.reading"),
    "E503": ONE.replace("every: 20s", "every: 20s, path: [{at: 0s, zone: core/nowhere}]"),
    "E504": ONE.replace("{set:", "{use: gauge, set:"),
    "E505": ONE.replace("    expect:", "    same_as: another\n    expect:"),
    "E506": ONE.replace("20x10", "20xx"),
    "E507": "version: 1\ntests: []\n",
    "E508": ONE.replace("tests:", "world: {zones: nowhere.geojson}\ntests:"),
    "E509": ONE.replace("unit:", "units:"),
    "E510": ONE.replace(", values: 20x10", ""),
    "E511": ONE + ONE.split("tests:\n")[1],
    "E512": ONE.replace("at: 2m,", "at: 2,"),
}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "water.yaml").write_text(WATER, "utf-8")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "water_test.yaml"
    path.write_text(text, "utf-8")
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(zhinao, ["rules", *map(str, arguments)], prog_name="zhinao")


def test_what_is_as_expected_passes_and_what_is_not_is_told_with_both_sides(pack: Path) -> None:
    assert run("test", written(pack, ONE.replace("STATE", "dispatched"))).exit_code == 0
    failed = run("test", written(pack, ONE.replace("STATE", "closed")))
    assert failed.exit_code == 1
    assert "water_test.yaml:7: high water" in failed.output
    assert "at 2m00s, incidents: state: expected closed, got dispatched" in failed.output
    assert '应为 expected {"rule": "ponding", "state": "closed"}' in failed.output
    assert '实为 got      {"rule": "ponding", "state": "dispatched"}' in failed.output


def test_a_rule_file_stands_for_the_tests_beside_it(pack: Path) -> None:
    written(pack, ONE.replace("STATE", "dispatched"))
    assert "1 test of 1 file: all passed" in run("test", pack / "water.yaml").output
    assert "1 test of 1 file: all passed" in run("test", pack).output


def test_no_test_at_all_is_a_finding(pack: Path) -> None:
    ended = run("test", pack)
    assert ended.exit_code == 1
    assert "0 tests of 0 files" in ended.output


@pytest.mark.parametrize("code", CODES)
def test_each_mistake_in_a_test_file_has_its_place_and_code(pack: Path, code: str) -> None:
    suite, problems = read_suite(written(pack, BAD[code]), Settings.read())
    assert suite is None
    assert {problem.code for problem in problems} == {code}
    assert all(problem.place.line >= 1 and problem.place.file.endswith("water_test.yaml") for problem in problems)
    assert run("test", pack).exit_code == 2


def test_every_code_is_used_and_in_the_docs() -> None:
    used = (REPOSITORY / "rules" / "testing" / "reading.py").read_text("utf-8")
    docs = (REPOSITORY / "docs" / "rule-tests.md").read_text("utf-8")
    assert set(re.findall(r'"(E5\d\d)"', used)) == set(CODES)
    for code, entry in CODES.items():
        assert f"| {code} | {entry.zh} / {entry.title} | {entry.explanation} |" in docs


def test_the_example_of_the_docs_passes(pack: Path) -> None:
    docs = (REPOSITORY / "docs" / "rule-tests.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(version.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    ended = run("test", written(pack, example))
    assert ended.exit_code == 0, ended.output
    assert "2 tests" in ended.output


def test_a_record_of_the_test_that_is_refused_fails_it(pack: Path) -> None:
    ended = run(
        "test", written(pack, ONE.replace("unit: cm", "unit: m").replace("[{rule: ponding, state: STATE}]", "[]"))
    )
    assert ended.exit_code == 1
    assert "unit_mismatch" in ended.output


def test_json_and_junit_tell_the_same(pack: Path, tmp_path: Path) -> None:
    path = written(
        pack,
        ONE.replace("STATE", "closed")
        + ONE.split("tests:\n")[1].replace("STATE", "dispatched").replace("high", "other"),
    )
    report = tmp_path / "junit.xml"
    ended = run("test", path, "--json", "--junit", report)
    told = json.loads(ended.stdout)["tests"]
    assert [(one["test"], one["passed"]) for one in told] == [("high water", False), ("other water", True)]
    assert told[0]["differences"][0]["expected"] == {"rule": "ponding", "state": "closed"}
    suite = ElementTree.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in suite] == [True, False]


def test_coverage_below_the_least_is_a_finding(pack: Path) -> None:
    path = written(pack, ONE.replace("STATE", "dispatched"))
    assert run("test", path, "--min-coverage", "100%", "--processes", "1").exit_code == 1
    covered = run("test", path, "--coverage", "--processes", "1")
    assert covered.exit_code == 0
    assert "keeps silent" in covered.output


def test_a_mutant_that_no_test_notices_is_told_with_its_place_and_may_be_declared(pack: Path) -> None:
    path = written(pack, ONE.replace("STATE", "dispatched"))
    ended = run("test", path, "--mutate", "--processes", "1")
    assert ended.exit_code == 1
    assert "water.yaml:15:39: ponding: survived: detect.hold.open_when: `value >= 12cm`" in ended.output
    assert "type.severity" in ended.output
    assert run("test", path, "--mutate", "--min-killed", "1%", "--processes", "1").exit_code == 0
    declared = path.read_text("utf-8") + (
        'equivalent:\n  - {rule: ponding, path: "detect.hold.open_when: `value >= 12cm`", reason: for the test}\n'
    )
    excused = run("test", written(pack, declared), "--mutate", "--processes", "1").output
    assert "1 declared equivalent" in excused
    assert "`value >= 12cm`" not in excused
    wrong = declared.replace("12cm", "13cm")
    assert (
        "no mutant that survives is called" in run("test", written(pack, wrong), "--mutate", "--processes", "1").output
    )


def test_mutants_that_are_not_reached_in_time_are_told(pack: Path) -> None:
    path = written(pack, ONE.replace("STATE", "dispatched"))
    ended = run("test", path, "--mutate", "--min-killed", "0%", "--budget", "0s", "--processes", "1")
    assert ended.exit_code == 1
    assert "not reached in time" in ended.output


def test_the_shipped_packs_pass_their_tests() -> None:
    ended = run("test")
    assert ended.exit_code == 0, ended.output
    packs = [file for file in SHIPPED_RULES.glob("*.yaml") if not file.stem.endswith("_test")]
    assert [file.name for file in packs if not file.with_name(f"{file.stem}_test.yaml").is_file()] == []


def test_lint_finds_advice_and_check_does_not(tmp_path: Path) -> None:
    advised = REPOSITORY / "tests" / "rules" / "language" / "bad" / "W401.bad.yaml"
    assert run("check", advised).exit_code == 0
    assert run("lint", advised).exit_code == 1
    assert run("lint", "--no-strict", advised).exit_code == 0


def test_sarif_has_what_code_hosts_need(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nrulez: []\n", "utf-8")
    report = tmp_path / "found.sarif"
    assert run("check", wrong, "--sarif", report).exit_code == 1
    told = json.loads(report.read_bytes())
    assert told["version"] == "2.1.0"
    assert told["$schema"].endswith("sarif-2.1.0.json")
    (one,) = told["runs"]
    assert one["tool"]["driver"]["name"] == "zhinao"
    (result,) = one["results"]
    assert result["ruleId"] == one["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "E111"
    assert result["level"] == "error"
    assert result["message"]["text"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == str(wrong)
    assert place["region"] == {"startLine": 2, "startColumn": 1, "endColumn": 6}


REASONED = ONE.replace("values: 20x10", "values: 14.9x10").replace(
    "incidents: [{rule: ponding, state: STATE}]", "incidents: [], why_not: {rule: ponding, REASON}"
)


@pytest.mark.parametrize(
    "reason", ["stage: pattern", "stage: pattern, key: {device_id: w-07}", "stage: no_such_key, key: {device_id: w-99}"]
)
def test_silence_for_the_expected_reason_passes(pack: Path, reason: str) -> None:
    ended = run("test", written(pack, REASONED.replace("REASON", reason)))
    assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REASONED.replace("REASON", "stage: where"), "ponding was stopped at pattern"),
        (REASONED.replace("REASON", "stage: pattern, contains: exempt"), "ponding was stopped at pattern"),
        (REASONED.replace("14.9x10", "20x10").replace("incidents: [], ", "").replace("REASON", "stage: pattern"),
         "ponding was raised"),
    ],
)  # fmt: skip
def test_silence_for_another_reason_fails_and_is_told_the_real_one(pack: Path, text: str, said: str) -> None:
    ended = run("test", written(pack, text))
    assert ended.exit_code == 1
    assert f"why_not: {said}" in ended.output


def test_a_stage_that_there_is_not_is_told_with_those_that_are(pack: Path) -> None:
    ended = run("test", written(pack, REASONED.replace("REASON", "stage: exemt")))
    assert ended.exit_code == 2
    assert "exempt" in ended.output


def test_mutants_of_a_rule_on_states_are_judged_by_tests_that_send_measurements() -> None:
    suite, _ = read_suite(SHIPPED_RULES / "traffic_test.yaml", Settings.read())
    assert suite is not None
    (congestion,) = suite.city.bundle.rules
    assert coverage.tests_of(congestion, suite.file.tests) == list(suite.file.tests)
