"""The short notations of test files."""

from __future__ import annotations

import pytest

from rules.testing.series import MOST_VALUES, moment_us, series


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("2m05s", 125), ("1h30m", 5400), ("500ms", 0.5), ("1.5m", 90)]
)
def test_a_time_has_one_or_several_parts(text: str, seconds: float) -> None:
    assert moment_us(text) == round(seconds * 1_000_000)


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5s", "m5", "5x", "1m" * 30])
def test_anything_else_is_no_time(text: str) -> None:
    assert moment_us(text) is None


def test_a_series_repeats_ramps_and_leaves_out() -> None:
    assert series("0x2 20x3") == (0, 0, 20, 20, 20)
    assert series("0..30x4 5") == (0, 10, 20, 30, 5)
    assert series("1 _x2 true") == (1, None, None, True)


@pytest.mark.parametrize(
    "text", ["", "x3", "3x", "3x0", "a", "true..5x2", f"1x{MOST_VALUES + 1}", f"1x{MOST_VALUES} 1"]
)
def test_anything_else_is_no_series(text: str) -> None:
    assert series(text) is None
