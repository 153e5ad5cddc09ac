from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forecast import Outcome, run, times
from rules.traffic.profiles import Floats

DAY = 288
TRAINED = 2 * DAY
REFIT = 12
ALLOWED = {"15_min": 0.88, "30_min": 0.85, "60_min": 0.80}
"""RMSE by the last value's that a change of the model may not go above: somewhat more than it reaches."""


def speeds(rows: int) -> Floats:
    draw = np.random.default_rng(11)
    wave = 45 + 12 * np.sin(np.arange(rows) * 2 * np.pi / DAY)
    walk = np.zeros(rows)
    for row in range(1, rows):
        walk[row] = 0.95 * walk[row - 1] + draw.normal()
    return np.asarray(wave[:, None] + walk[:, None] + draw.normal(0, 0.2, (rows, 4)))


def forecast(readings: Floats) -> Outcome:
    return run(times("2012-03-01", len(readings)), readings, TRAINED, REFIT)


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.forecast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_later_readings_change_no_earlier_forecast_or_range() -> None:
    readings = speeds(TRAINED + 60)
    changed = readings.copy()
    changed[TRAINED + 20 :] = 3.0
    before, after = forecast(readings), forecast(changed)
    for now, then in ((before.model, after.model), (before.low, after.low), (before.high, after.high)):
        np.testing.assert_array_equal(now[:21], then[:21])
        assert not np.array_equal(now[21], then[21])


def test_too_little_to_learn_from_is_said(tmp_path: Path) -> None:
    table = tmp_path / "few.csv"
    np.savetxt(table, speeds(100), delimiter=",", header="a,b,c,d", comments="")
    done = benchmark(table, "--json")
    assert done.returncode == 2
    assert "80 of 100 rows" in done.stderr


def test_a_row_of_another_width_is_named(tmp_path: Path) -> None:
    table = tmp_path / "torn.csv"
    table.write_text("a,b\n60,61\n60\n")
    done = benchmark(table)
    assert done.returncode == 2
    assert "torn.csv" in done.stderr
    assert "3" in done.stderr


@pytest.mark.alone
def test_ten_thousand_segments_are_forecast_in_two_seconds() -> None:
    done = benchmark("--scale", "10000")
    assert done.returncode == 0, done.stderr


def test_real_speeds_are_forecast_better_than_by_the_last_and_the_usual_value(shared_dir: Path) -> None:
    done = benchmark(shared_dir / "data" / "los-speed" / "los_speed_first80pct.csv.gz", "--train", "0.8", "--json")
    assert done.returncode == 0, done.stderr
    for name, horizon in json.loads(done.stdout)["horizons"].items():
        assert horizon["rmse_ratio_to_persistence"] <= ALLOWED[name]
        assert horizon["skill_vs_profile"] > 0
        assert 0.87 <= horizon["interval_coverage"] <= 0.93
