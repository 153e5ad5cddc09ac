"""`zhinao rules backtest` and `diff` on a small recording, and what they count with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.backtest import Label, Made, fits, paired
from streams.commands.group import zhinao
from streams.sweeping import read_sweep
from tests.rules.explaining.scene import RULES, Scene, scene


def run(*arguments: str) -> Result:
    return CliRunner().invoke(zhinao, ["rules", *arguments], prog_name="zhinao")


@pytest.fixture
def small(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def backtest(small: Scene, *more: str) -> Result:
    return run("backtest", str(small.rules), "--input", str(small.recording), *small.ground(), *more)


def label(**more: Any) -> bytes:
    asked = {"rule": "parked", "from": "2026-03-02T07:10:00+08:00", "to": "2026-03-02T07:10:20+08:00", **more}
    return orjson.dumps(asked) + b"\n"


def made(identity: str, **more: Any) -> Made:
    fixed: dict[str, Any] = {
        "rule": "parked", "type": "0505", "zone": "no-parking/a", "key": {"track_id": "17"}, "lon": 121.02,
        "lat": 30.7, "opened_us": 1_000_000, "ended_us": None, "severity": "minor", "department": None,
        "steps": ("confirmed/case_opened",), "steps_us": (1_000_000,), "day": "2026-03-02", "hour": 7,
    }  # fmt: skip
    return Made(incident_id=identity, **{**fixed, **more})


def test_incidents_are_counted_per_rule_zone_and_day(small: Scene) -> None:
    (found,) = orjson.loads(backtest(small, "--json").stdout)
    assert found["counts"] == [{"rule": "parked", "zone": "no-parking/a", "day": "2026-03-02", "incidents": 1}]
    assert [(load["hour"], load["incidents"]) for load in found["loads"]] == [(7, 1)]


def test_a_backtest_gives_the_same_bytes_again(small: Scene) -> None:
    assert backtest(small, "--json").stdout == backtest(small, "--json").stdout


def test_labels_give_precision_and_recall(small: Scene, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    later = {"from": "2026-03-02T08:10:00+08:00", "to": "2026-03-02T08:20:00+08:00"}
    file.write_bytes(label(zone="no-parking/a") + label(zone="no-parking/b") + label(zone="no-parking/a", **later))
    (found,) = orjson.loads(backtest(small, "--json", "--labels", str(file)).stdout)
    (score,) = found["scores"]
    assert (score["incidents"], score["right"], score["labels"]) == (1, 1, 3)
    assert score["precision"] == 1.0
    assert score["found"] == 1 + (found["made"][0]["ended_us"] is None)


def test_a_bad_label_is_named_with_its_line(small: Scene, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_bytes(label(zone="no-parking/a") + label())
    found = backtest(small, "--labels", str(file))
    assert found.exit_code == 2
    assert "labels.jsonl:2" in found.output


def test_a_sweep_runs_every_value_and_draws_it(small: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = orjson.loads(backtest(small, "--param", "stand=10s..30s/20s", "--json", "--out", str(out)).stdout)
    assert [(one["value"], one["incidents"]) for one in found] == [("10s", 1), ("30s", 0)]
    assert (out / "sweep.svg").read_text().startswith("<svg")
    assert orjson.loads((out / "backtest.json").read_bytes()) == found


def test_a_path_that_no_rule_has_is_refused(small: Scene) -> None:
    found = backtest(small, "--param", "parked:detect.dwell.form=1s..2s/1s")
    assert found.exit_code == 2
    assert "no rule has" in found.output


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("case=2m..4m/1m", ("2m", "3m", "4m")),
        ("case=2..3/0.5", ("2", "2.5", "3")),
        ("r:detect.dwell.max_move=1.5m..2m/0.5m", ("1.5m", "2m")),
    ],
)
def test_a_sweep_is_read_with_its_unit(text: str, values: tuple[str, ...]) -> None:
    assert read_sweep(text).values == values


@pytest.mark.parametrize("text", ["case", "case=2m..1m/1m", "case=1m..2s/1m", "case=1m..2m/0m", "case=1s..900s/1s"])
def test_a_sweep_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"case"):
        read_sweep(text)


def diff(small: Scene, other: str, *more: str) -> Result:
    b = small.rules.with_name("b.yaml")
    b.write_text(other)
    return run("diff", str(small.rules), str(b), "--input", str(small.recording), *small.ground(), *more)


def test_the_same_rules_do_not_differ(small: Scene) -> None:
    found = diff(small, RULES, "--json", "--fail")
    assert found.exit_code == 0
    assert orjson.loads(found.stdout)["same"] == 1


def test_an_incident_that_opens_later_is_a_change_with_its_shift(small: Scene) -> None:
    found = diff(small, RULES.replace("stand: 10s", "stand: 14s"), "--json", "--fail")
    data = orjson.loads(found.stdout)
    assert found.exit_code == 1
    assert [one["opened_s"] for one in data["changed"]] == [4.0]
    assert data["tally"] == [["parked", "no-parking/a", "2026-03-02", 0, 0, 1, 0]]
    assert data["samples"]["changed"][0]["raised"][0]["run"]["points"] == 15


def test_incidents_of_one_side_alone_are_told_and_explained(small: Scene) -> None:
    other = RULES.replace("stand: 10s", "stand: 60s")
    data = orjson.loads(diff(small, other, "--json").stdout)
    assert (len(data["only_a"]), len(data["only_b"])) == (1, 0)
    told = diff(small, other, "--lang", "en").stdout
    assert "only A 1, only B 0, changed 0, same 0" in told
    assert "[only_a]" in told


def test_incidents_are_paired_by_thing_and_time() -> None:
    a, shifted, far = made("i-1"), made("i-2", opened_us=5_000_000), made("i-3", opened_us=9_000_000_000)
    pairs, only_a, only_b = paired([a], [far, shifted])
    assert [(x.incident_id, y.incident_id) for x, y in pairs] == [("i-1", "i-2")]
    assert (only_a, only_b) == ([], [far])


def test_a_label_asks_for_its_place_and_its_time() -> None:
    near = Label("1970-01-01T00:00:00+00:00", "1970-01-01T00:00:02+00:00", type="0505", lon=121.02, lat=30.7002)
    assert fits(made("i-1"), near)
    assert not fits(made("i-1", lat=30.71), near)
    assert not fits(made("i-1", opened_us=3_000_000), near)
    assert not fits(made("i-1", type="0501"), near)
