"""`zhinao rules explain` and `why-not`: what they say of a small recording, each kind of answer once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.commands.group import zhinao
from tests.conftest import REPOSITORY
from tests.rules.explaining.scene import RULES, Scene, scene

CAMERA = "cam-1"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(zhinao, ["rules", *arguments], prog_name="zhinao")


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def why_not(small: Scene, track: str, at: str, *more: str, rule: str = "parked") -> Result:
    return run(
        "why-not", str(small.recording), "--rule", rule, "--key", f"track_id={track}", "--at", at,
        "--rules", str(small.rules), *small.ground(), *more,
    )  # fmt: skip


def answer(small: Scene, track: str, at: str, rule: str = "parked") -> Any:
    found = orjson.loads(why_not(small, track, at, "--json", rule=rule).stdout)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("track", "at", "verdict"),
    [
        ("17", "07:10:15", "raised"),
        ("18", "07:10:18", "merged"),
        ("5", "07:10:20", "pattern"),
        ("6", "07:10:15", "zones"),
        ("7", "07:10:15", "where"),
        ("8", "07:10:15", "exempt"),
        ("9", "07:10:15", "zones"),
        ("30", "07:11:25", "active"),
        ("40", "07:10:15", "pattern"),
        ("99", "07:10:15", "no_such_key"),
    ],
)
def test_why_not_names_the_first_clause_that_failed(small: Scene, track: str, at: str, verdict: str) -> None:
    assert answer(small, track, at)["verdict"] == verdict


def test_a_gap_is_told_with_both_numbers_and_its_moment(small: Scene) -> None:
    told = why_not(small, "5", "07:10:18", "--lang", "en").stdout
    assert "held 8 s of 10 s" in told
    assert "gap 7 s > max_gap 4 s" in told
    assert "2026-03-02T07:10:15" in told


def test_moving_away_is_told_in_metres(small: Scene) -> None:
    told = why_not(small, "40", "07:10:15", "--lang", "en").stdout
    assert "moved 3.2 m > max_move 3 m" in told


def test_the_nearest_zone_is_told_in_metres(small: Scene) -> None:
    clause = answer(small, "6", "07:10:15")["clause"]
    assert clause["facts"]["nearest"] == "no-parking/a"
    assert clause["facts"]["metres"] == pytest.approx(40, abs=0.3)


def test_a_zone_that_is_excluded_is_named(small: Scene) -> None:
    assert answer(small, "9", "07:10:15")["clause"]["facts"] == {"excluded_by": "permit/bay"}


def test_the_comparison_that_failed_is_named_with_the_value_it_saw(small: Scene) -> None:
    told = why_not(small, "7", "07:10:15", "--lang", "en").stdout
    assert "speed_mps < 0.5" in told
    assert "speed_mps = 3" in told


def test_an_exemption_is_named_with_its_reason(small: Scene) -> None:
    assert "豁免：on duty" in why_not(small, "8", "07:10:15").stdout


def test_what_was_raised_later_says_when(small: Scene) -> None:
    told = why_not(small, "17", "07:10:08", "--lang", "en")
    assert "raised later, at 2026-03-02T07:10:10" in told.stdout
    assert told.exit_code == 1


def test_a_merged_raise_names_the_incident_it_joined(small: Scene) -> None:
    assert answer(small, "18", "07:10:18")["facts"]["incident"].startswith("i-")


def test_a_shadow_rule_and_a_draft_say_so(small: Scene) -> None:
    assert answer(small, "17", "07:10:15", rule="tried")["verdict"] == "shadow"
    assert answer(small, "17", "07:10:15", rule="drafted")["verdict"] == "draft"


def test_few_observations_are_told_beside_what_is_due(tmp_path: Path) -> None:
    small = scene(tmp_path, RULES.replace("min_points: 5", "min_points: 30"))
    told = why_not(small, "17", "07:10:20", "--lang", "en").stdout
    assert "seen 21 times of 30" in told


def test_dead_records_about_then_are_counted(small: Scene) -> None:
    assert answer(small, "5", "07:10:20")["lost"] == {"dead": 1}


def test_why_not_ends_with_0_only_where_it_was_raised(small: Scene) -> None:
    assert why_not(small, "17", "07:10:15").exit_code == 0
    assert why_not(small, "6", "07:10:15").exit_code == 1
    assert why_not(small, "6", "tomorrow").exit_code == 2
    assert why_not(small, "6", "07:10:15", rule="no-rule").exit_code == 2


def test_an_opening_is_explained_with_its_clauses_evidence_and_life(small: Scene) -> None:
    found = run(
        "explain", str(small.recording), "--rule", "parked", "--key", "track_id=17", "--json",
        "--rules", str(small.rules), *small.ground(),
    )  # fmt: skip
    (one,) = orjson.loads(found.stdout)
    (raised,) = one["raised"]
    assert raised["detection"]["opened_event_time"] == "2026-03-02T07:10:10.000+08:00"
    assert [c["clause"] for c in raised["row"]["clauses"]] == ["arrived", "by", "where", "zones", "active", "exempt"]
    where = next(c for c in raised["row"]["clauses"] if c["clause"] == "where")
    assert [part["truth"] for part in where["tree"]["parts"]] == [True, True]
    assert where["tree"]["parts"][0]["values"] == {"class": "car"}
    assert raised["run"]["points"] == 11
    assert all(e.startswith("camera.tracks/") for e in raised["evidence"])
    assert [change["reason"] for change in one["life"]][:1] == ["case_opened"]


def test_an_incident_is_explained_by_its_id_in_both_languages(small: Scene) -> None:
    everything = run("explain", str(small.recording), "--json", "--rules", str(small.rules), *small.ground())
    incident = next(one["incident_id"] for one in orjson.loads(everything.stdout) if one["incident_id"])
    for lang, word in (("zh", "证据"), ("en", "evidence")):
        told = run(
            "explain", str(small.recording), "--incident", incident, "--lang", lang,
            "--rules", str(small.rules), *small.ground(),
        )  # fmt: skip
        assert incident in told.stdout
        assert word in told.stdout
        assert "speed_mps = 0" in told.stdout


def test_nothing_to_explain_ends_with_1(small: Scene) -> None:
    found = run("explain", str(small.recording), "--incident", "i-none", "--rules", str(small.rules), *small.ground())
    assert found.exit_code == 1


def test_rule_files_are_explained_by_where_their_parts_run(small: Scene) -> None:
    told = run("explain", str(small.rules), "--lang", "en").stdout
    assert "parked revision 3 active\n  Detector camera.tracks: dwell, by sensor_id, track_id, zone\n" in told


CITY_DAY = str(REPOSITORY / "streams" / "recordings" / "pinghu.jsonl.gz")


def test_a_rule_on_states_is_explained_by_what_they_are_made_of() -> None:
    told = run("explain", CITY_DAY, "--rule", "congestion", "--lang", "en").stdout
    assert "quality.samples >= 3" in told
    assert "evidence traffic.measurements/" in told


def test_why_a_rule_on_states_was_not_raised_is_told() -> None:
    told = run("why-not", CITY_DAY, "--rule", "congestion", "--key", "segment_id=danghu-rd-04", "--at", "07:15:30",
               "--lang", "en").stdout  # fmt: skip
    assert "held 1 min of 3 min" in told
    assert "raised later, at 2026-03-02T07:17:00" in told
