"""Forecasts of speeds: from the past alone, better than the last value, and honest about what they rest on."""

import numpy as np
import pytest

from rules.traffic.forecasting import Basis, Forecaster, ForecastSettings
from rules.traffic.intervals import Intervals
from rules.traffic.profiles import Floats, Ints, Slots, learn

HOURLY = ForecastSettings(step_us=1_800_000_000, horizons=(1, 2), lags=(0, 1, 2), neighbours=2, lead=1)
DAY = HOURLY.slots


def made(days: int, sensors: int = 4) -> tuple[Ints, Floats]:
    """Half-hour rows: a daily wave and a deviation that fades by a tenth a row, the same for neighbours."""
    rows = days * DAY
    draw = np.random.default_rng(7)
    shared = np.zeros(rows)
    for row in range(1, rows):
        shared[row] = 0.9 * shared[row - 1] + draw.normal()
    wave = 45 + 12 * np.sin(np.arange(rows) * 2 * np.pi / DAY)
    return HOURLY.step_us * np.arange(rows), wave[:, None] + shared[:, None] + draw.normal(0, 0.1, (rows, sensors))


def trained(when: Ints, readings: Floats) -> Forecaster:
    forecaster = Forecaster(readings.shape[1], HOURLY).observe(when, readings)
    forecaster.refit()
    return forecaster


def test_the_model_beats_the_last_value_and_the_usual_value() -> None:
    when, readings = made(14)
    start = 12 * DAY
    forecaster = trained(when[:start], readings[:start])
    off: dict[str, list[Floats]] = {"model": [], "last": [], "usual": []}
    for row in range(start, len(when) - 1):
        assert forecaster.fitted is not None
        actual = readings[row + 1]
        forecaster.observe(when[row : row + 1], readings[row : row + 1])
        usual = forecaster.fitted.profile.at(Slots.of(when[row + 1 : row + 2], HOURLY.step_us))[0]
        off["model"].append(forecaster.forecast().expected[0] - actual)
        off["last"].append(readings[row] - actual)
        off["usual"].append(usual - actual)
    squared = {name: float(np.mean(np.square(rows))) for name, rows in off.items()}
    assert squared["model"] < 0.9 * min(squared["last"], squared["usual"])


def test_rows_one_by_one_are_rows_at_once() -> None:
    when, readings = made(6)
    stepped = Forecaster(4, HOURLY)
    for row in range(len(when)):
        stepped.observe(when[row : row + 1], readings[row : row + 1])
    stepped.refit()
    np.testing.assert_array_equal(stepped.forecast().expected, trained(when, readings).forecast().expected)


@pytest.mark.parametrize(
    ("silent_rows", "basis"),
    [(0, Basis.MODEL), (3, Basis.MODEL), (4, Basis.DECAYED), (12, Basis.DECAYED), (13, Basis.PROFILE)],
)
def test_a_silent_sensor_falls_back_step_by_step(silent_rows: int, basis: Basis) -> None:
    when, readings = made(6)
    readings[len(readings) - silent_rows :, 0] = np.nan
    forecast = trained(when, readings).forecast()
    assert forecast.basis[0] is basis
    assert np.isfinite(forecast.expected).all()


def test_before_a_day_the_last_value_stands_in_and_nothing_is_forecast_of_a_sensor_never_read() -> None:
    when, readings = made(1)
    readings[:, 1] = np.nan
    forecast = trained(when[:5], readings[:5]).forecast()
    assert forecast.basis == (Basis.PERSISTENCE, Basis.NONE, Basis.PERSISTENCE, Basis.PERSISTENCE)
    np.testing.assert_array_equal(forecast.expected[:, 0], readings[4, 0])
    assert np.isnan(forecast.expected[:, 1]).all()


def test_a_sensor_never_read_stays_unknown_beside_those_that_are_forecast() -> None:
    when, readings = made(6)
    readings[:, 1] = np.nan
    forecast = trained(when, readings).forecast()
    assert forecast.basis == (Basis.MODEL, Basis.NONE, Basis.MODEL, Basis.MODEL)
    assert np.isnan(forecast.expected[:, 1]).all()
    assert np.isfinite(forecast.expected[:, [0, 2, 3]]).all()


def test_rows_out_of_order_are_refused() -> None:
    when, readings = made(1)
    with pytest.raises(ValueError, match="order"):
        Forecaster(4, HOURLY).observe(when[::-1], readings)


def test_a_day_says_nothing_of_itself_in_training() -> None:
    when, readings = made(5)
    slots = Slots.of(when, HOURLY.step_us)
    changed = readings.copy()
    changed[slots.day == 2, 0] += 30.0
    before, after = (learn(rows, slots, DAY)[1] for rows in (readings, changed))
    moved_by_the_overall_mean = after[slots.day == 2, 0] - before[slots.day == 2, 0]
    assert np.all(moved_by_the_overall_mean < 2.0)
    assert np.all(after[slots.day == 1, 0] - before[slots.day == 1, 0] > 2.0)


def test_ranges_hold_their_share_when_the_errors_grow() -> None:
    draw = np.random.default_rng(3)
    intervals = Intervals(1, np.full(200, 60.0), 0.9)
    held = []
    for row in range(900):
        expected = np.full(200, 40.0)
        actual = expected + draw.normal(0, 2 if row < 400 else 5, 200)
        if row > 600:
            ranges = intervals.around(expected[None])
            held.append(np.mean((actual >= ranges.low[0]) & (actual <= ranges.high[0])))
        intervals.learn(0, expected, actual)
    assert 0.87 <= np.mean(held) <= 0.93
