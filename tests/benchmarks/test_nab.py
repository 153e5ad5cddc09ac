from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.nab import Window, cases, scored

HALF = (2 / (1 + math.exp(-2.5)) - 1) / (2 / (1 + math.exp(-5)) - 1)
"""What an alarm half through a window is worth."""
SHARE_OF_THE_GREATEST = 0.75


def test_an_alarm_at_a_windows_first_row_is_worth_one_and_half_through_less() -> None:
    window = Window(500, 599)
    assert scored([500], [window], 1000).score == pytest.approx(1)
    assert scored([550], [window], 1000).score == pytest.approx(HALF)


def test_the_earliest_alarm_of_a_window_counts_and_only_once() -> None:
    assert scored([500, 520, 590], [Window(500, 599)], 1000).score == pytest.approx(1)


def test_a_missed_window_costs_one() -> None:
    assert scored([], [Window(500, 599), Window(700, 799)], 1000) == (-2, 2, 0, 0)


def test_a_false_alarm_costs_0_11_before_the_first_window_and_less_right_after_one() -> None:
    window = Window(500, 599)
    assert scored([300, 500], [window], 1000).score == pytest.approx(1 - 0.11)
    assert scored([500, 600], [window], 1000).score == pytest.approx(1 + 0.11 * (2 / (1 + math.exp(5 / 99)) - 1))
    assert scored([500, 999], [window], 1000).score == pytest.approx(1 - 0.11)


def test_alarms_while_learning_do_not_count() -> None:
    assert scored([0, 149], [Window(500, 599)], 1000) == (-1, 1, 0, 0)
    assert scored([150], [Window(500, 599)], 1000).false_alarms == 1
    assert scored([749, 750], [Window(9000, 9099)], 10_000).false_alarms == 1


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.nab", folder, "--json"], capture_output=True, text=True, check=False
    )


def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "windows.json").write_text('{"realTraffic/a.csv": []}')
    (tmp_path / "a.csv").write_text("timestamp,value\n2015-09-01 11:25:00,58\n2015-09-01 11:30:00,fast\n")
    done = run(tmp_path)
    assert done.returncode == 2
    assert "a.csv:3" in done.stderr


def test_most_real_anomalies_are_found_by_one_configuration(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "nab-traffic"
    done = run(folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["maximum"] == sum(len(windows) for _, _, windows in cases(folder)) == 7
    assert found["share"] >= SHARE_OF_THE_GREATEST
