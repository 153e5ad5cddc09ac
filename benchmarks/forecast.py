"""Speed forecasts against the last value and the usual value, on a table of sensors by rows of five minutes.

    python -m benchmarks.forecast SPEEDS.csv[.gz] [--train 0.8] [--start 2012-03-01] [--refit-rows 36] [--json]

The first part of the rows trains; each later row is forecast from the rows before it alone. Errors of a horizon are in
mph, over all steps up to it. Not-finite readings are missing and are not scored. `--scale N` times N sensors instead.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rules.traffic.forecasting import FittedModel, Forecaster, ForecastSettings, fit
from rules.traffic.intervals import Intervals
from rules.traffic.profiles import Floats, Ints, Profile, Slots

STEP_US = 300_000_000
SCORED = {"15_min": 3, "30_min": 6, "60_min": 12}
# Intervals start from the errors on the end of the training part, forecast from what came before.
CALIBRATION = 0.2
SCALE_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows by horizons by sensors."""

    actual: Floats
    model: Floats
    persistence: Floats
    profile: Floats
    low: Floats
    high: Floats


def read(path: Path) -> Floats:
    """Rows by sensors; raises ValueError, naming the file and the line, where a row has another width."""
    try:
        readings = np.genfromtxt(path, delimiter=",", skip_header=1, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not np.isfinite(readings).any():
        raise ValueError(f"{path}: no number in it")
    return readings


def times(start: str, rows: int) -> Ints:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return int(first.timestamp()) * 1_000_000 + STEP_US * np.arange(rows, dtype=np.int64)


def calibrated(when: Ints, readings: Floats, settings: ForecastSettings) -> Intervals:
    free_speed = np.nan_to_num(np.nanquantile(readings, 0.85, axis=0), nan=1.0)
    intervals = Intervals(len(settings.horizons), free_speed, settings.target_coverage)
    split = round(len(readings) * (1 - CALIBRATION))
    forecaster = Forecaster(readings.shape[1], settings).observe(when[:split], readings[:split])
    forecaster.refit()
    issued: list[Floats] = []
    for row in range(split, len(readings)):
        issued.append(forecaster.forecast().expected)
        forecaster.observe(when[row : row + 1], readings[row : row + 1])
        teach(intervals, issued, readings[row], settings)
    return intervals


def teach(intervals: Intervals, issued: list[Floats], reading: Floats, settings: ForecastSettings) -> None:
    for number, steps in enumerate(settings.horizons):
        if len(issued) >= steps:
            intervals.learn(number, issued[-steps][number], reading)


def run(when: Ints, readings: Floats, train_rows: int, refit_rows: int) -> Outcome:
    """Forecast after each row from the last of training on, as long as the whole hour ahead is known.

    Raises ValueError where there is too little to learn from or nothing to forecast.
    """
    settings = ForecastSettings()
    last = max(settings.horizons)
    needed = math.ceil(settings.least_rows / (1 - CALIBRATION))
    if not needed <= train_rows <= len(readings) - last:
        raise ValueError(
            f"{train_rows} of {len(readings)} rows to learn from: {needed} are needed, and {last} left over"
        )
    intervals = calibrated(when[:train_rows], readings[:train_rows], settings)
    forecaster = Forecaster(readings.shape[1], settings).observe(when[:train_rows], readings[:train_rows])
    forecaster.refit()
    columns: list[tuple[Floats, ...]] = []
    issued: list[Floats] = []
    for row in range(train_rows, len(readings) - last + 1):
        if row > train_rows and (row - train_rows) % refit_rows == 0:
            forecaster.refit()
        expected = forecaster.forecast().expected
        ranges = intervals.around(expected)
        ahead = when[row : row + last]
        assert forecaster.fitted is not None
        usual = forecaster.fitted.profile.at(Slots.of(ahead, STEP_US))
        persistence = np.tile(readings[row - 1], (last, 1))
        columns.append((readings[row : row + last], expected, persistence, usual, ranges.low, ranges.high))
        issued.append(expected)
        forecaster.observe(when[row : row + 1], readings[row : row + 1])
        teach(intervals, issued, readings[row], settings)
    return Outcome(*(np.stack(column) for column in zip(*columns, strict=True)))


def errors(outcome: Outcome, expected: Floats, steps: int) -> dict[str, float]:
    off = (expected - outcome.actual)[:, :steps]
    return {"rmse_mph": float(np.sqrt(np.nanmean(off**2))), "mae_mph": float(np.nanmean(np.abs(off)))}


def score(outcome: Outcome, steps: int) -> dict[str, Any]:
    of = {name: errors(outcome, getattr(outcome, name), steps) for name in ("model", "persistence", "profile")}
    model = of["model"]["rmse_mph"]
    actual, low, high = (part[:, :steps] for part in (outcome.actual, outcome.low, outcome.high))
    known = np.isfinite(actual)
    return {
        **of,
        "rmse_ratio_to_persistence": model / of["persistence"]["rmse_mph"],
        "skill_vs_persistence": 1 - model / of["persistence"]["rmse_mph"],
        "skill_vs_profile": 1 - model / of["profile"]["rmse_mph"],
        "interval_coverage": float(((actual >= low) & (actual <= high))[known].mean()),
        "interval_width_mph": float(np.nanmean(high - low)),
    }


def scale(sensors: int) -> dict[str, float]:
    """Seconds to forecast so many sensors at three horizons, learned from 100; raises SystemExit above the limit."""
    settings = ForecastSettings(horizons=(3, 6, 12))
    learned, rows = 100, settings.slots + 24
    readings = 40 + np.random.default_rng(1).normal(0, 3, (rows, sensors))
    when = times("2012-03-01", rows)
    forecaster = Forecaster(sensors, settings).observe(when, readings)
    forecaster.fitted = widened(fit(when, readings[:, :learned], settings), sensors, learned)
    before = time.perf_counter()
    forecaster.forecast()
    taken = time.perf_counter() - before
    if taken > SCALE_LIMIT_S:
        raise SystemExit(f"{sensors} sensors took {taken:.2f} s, more than {SCALE_LIMIT_S} s")
    return {"sensors": sensors, "horizons": len(settings.horizons), "forecast_s": taken}


def widened(model: FittedModel, sensors: int, learned: int) -> FittedModel:
    """The same model for more sensors, each with the weights of one that was learned."""
    of = np.arange(sensors) % learned
    profile = Profile(model.profile.workday[:, of], model.profile.weekend[:, of])
    return replace(
        model,
        profile=profile,
        usual=model.usual[of],
        neighbours=model.neighbours[of],
        closeness=model.closeness[of],
        weights=model.weights[:, of],
        free=model.free[of],
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speeds", type=Path, nargs="?")
    parser.add_argument("--train", type=float, default=0.8)
    parser.add_argument("--start", default="2012-03-01", help="local time of the first row")
    parser.add_argument("--refit-rows", type=int, default=36)
    parser.add_argument("--scale", type=int, metavar="SENSORS")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    if asked.scale:
        print(json.dumps(scale(asked.scale)))
        return 0
    try:
        report = measured(asked.speeds, asked.start, asked.train, asked.refit_rows)
    except (ValueError, OSError) as error:
        print(f"无法预测 / cannot be forecast: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=None if asked.json else 2))
    return 0


def measured(path: Path | None, start: str, train: float, refit_rows: int) -> dict[str, Any]:
    if path is None:
        raise ValueError("a table of speeds, or --scale")
    readings = read(path)
    train_rows = int(len(readings) * train)
    outcome = run(times(start, len(readings)), readings, train_rows, refit_rows)
    horizons = {name: score(outcome, steps) for name, steps in SCORED.items()}
    return {"rows": len(readings), "train_rows": train_rows, "forecasts": len(outcome.actual), "horizons": horizons}


if __name__ == "__main__":
    sys.exit(main())
